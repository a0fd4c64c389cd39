//! Dependencies between the rooms of the client point one way: what docs/ARCHITECTURE.md says, held against the sources.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// A room, and what it must not know.
const RULES: [(&str, &[&str]); 6] = [
    ("transfer", &["crate::trackers", "crate::share", "crate::download", "crate::engine", "crate::faces"]),
    ("trackers", &["crate::transfer", "crate::share", "crate::download", "crate::engine", "crate::faces"]),
    ("share", &["crate::download", "crate::engine", "crate::faces"]),
    ("download", &["crate::engine", "crate::faces"]),
    ("engine", &["crate::faces", "axum", "hyper", "indicatif", "rustyline", "std::io::stdin", "std::io::stdout"]),
    ("faces", &["crate::trackers", "crate::share", "crate::download", "crate::transfer", "crate::start"]),
];
/// The window is a face that shows what no command tells.
const EXEMPT: &str = "faces/page";

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// The code of a file: comments may speak of anything.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn rooms_know_only_those_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (room, forbidden) in RULES {
        let files = sources(&root.join(room));
        assert!(!files.is_empty(), "{room}");
        for file in files.iter().filter(|file| !file.starts_with(root.join(EXEMPT))) {
            let code = code(file);
            let known: Vec<_> = forbidden.iter().filter(|word| code.contains(**word)).collect();
            assert!(known.is_empty(), "{}: {room} must not know {known:?}", file.display());
        }
    }
}
