//! Dependencies between the rooms point one way: what docs/ARCHITECTURE.md says, held against the sources.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// A room, and what it must not know.
const RULES: [(&str, &[&str]); 34] = [
    ("common/src/tree", &["crate::wire", "tokio::", "std::fs"]),
    ("common/src/manifest", &["crate::wire", "tokio::", "std::fs"]),
    ("common/src/invitation.rs", &["crate::wire", "tokio::", "std::fs"]),
    ("common/src/reset_code.rs", &["crate::wire", "tokio::", "std::fs"]),
    ("tracker/src/arguments.rs", &["crate::", "super::", "common::"]),
    ("client/src/download/picker", &["tokio"]),
    ("client/src/faces/render.rs", &["tokio"]),
    ("client/src/faces/render", &["tokio"]),
    (
        "client/src/settings",
        &["crate::trackers", "crate::share", "crate::download", "crate::engine", "crate::faces", "tokio::"],
    ),
    (
        "client/src/invited.rs",
        &["crate::trackers", "crate::share", "crate::download", "crate::engine", "crate::faces", "tokio::"],
    ),
    ("client/src/places.rs", &["crate::", "tokio::"]),
    (
        "client/src/own_files.rs",
        &["crate::trackers", "crate::share", "crate::download", "crate::engine", "crate::faces", "tokio::"],
    ),
    ("common/src/id.rs", &["crate::wire", "crate::manifest", "crate::pieces", "tokio::"]),
    ("common/src/pieces.rs", &["crate::wire", "crate::manifest", "tokio::"]),
    ("common/src/manifest.rs", &["crate::wire", "tokio::", "std::fs"]),
    ("common/src/tree.rs", &["crate::wire", "tokio::", "std::fs"]),
    ("common/src/wire", &["crate::codec", "crate::connection", "crate::tls", "tokio::", "std::fs"]),
    ("common/src/codec.rs", &["crate::connection", "crate::tls", "tokio::"]),
    ("tracker/src/fact.rs", &["crate::", "tokio::", "rusqlite"]),
    (
        "tracker/src/vote.rs",
        &["crate::state", "crate::store", "crate::replica", "crate::command", "tokio::", "rusqlite"],
    ),
    ("tracker/src/rules.rs", &["crate::store", "crate::command", "crate::session", "tokio::", "rusqlite"]),
    ("tracker/src/quota.rs", &["crate::", "tokio::", "rusqlite"]),
    (
        "tracker/src/state",
        &["crate::store", "crate::command", "crate::replica", "crate::session", "tokio::", "rusqlite"],
    ),
    ("tracker/src/limits", &["crate::store", "crate::command", "crate::session", "crate::state", "rusqlite"]),
    (
        "tracker/src/store",
        &[
            "crate::command",
            "crate::replica",
            "crate::session",
            "crate::hub",
            "crate::presence",
            "common::wire::client",
        ],
    ),
    ("tracker/src/replica", &["crate::command", "crate::session", "crate::server", "rusqlite"]),
    ("tracker/src/command", &["crate::session", "crate::server", "common::connection", "rusqlite"]),
    ("tracker/src/session.rs", &["crate::server", "crate::replica", "rusqlite"]),
    ("client/src/transfer", &["crate::trackers", "crate::share", "crate::download", "crate::engine", "crate::faces"]),
    ("client/src/trackers", &["crate::transfer", "crate::share", "crate::download", "crate::engine", "crate::faces"]),
    ("client/src/share", &["crate::download", "crate::engine", "crate::faces"]),
    ("client/src/download", &["crate::engine", "crate::faces"]),
    (
        "client/src/engine",
        &["crate::faces", "axum", "hyper", "indicatif", "rustyline", "std::io::stdin", "std::io::stdout"],
    ),
    ("client/src/faces", &["crate::trackers", "crate::share", "crate::download", "crate::transfer", "crate::start"]),
];
/// The window is a face that shows what no command tells.
const EXEMPT: &str = "client/src/faces/page";

fn sources(dir: &Path) -> Vec<PathBuf> {
    if dir.is_file() {
        return vec![dir.to_owned()];
    }
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// Files that are only there for tests.
const TESTS: [&str; 3] = ["tests", "round_trip", "golden"];

fn is_test(path: &Path) -> bool {
    path.components().any(|part| TESTS.iter().any(|word| part.as_os_str().to_string_lossy().contains(word)))
}

/// The code of a file before its tests: comments may speak of anything.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn rooms_know_only_those_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (room, forbidden) in RULES {
        let files = sources(&root.join(room));
        // Beside a room that is one file its tests may be.
        let files: Vec<_> = files.into_iter().filter(|file| !is_test(file.strip_prefix(root).unwrap())).collect();
        assert!(!files.is_empty(), "{room}");
        for file in files.iter().filter(|file| !file.starts_with(root.join(EXEMPT))) {
            let code = code(file);
            let known: Vec<_> = forbidden.iter().filter(|word| code.contains(**word)).collect();
            assert!(known.is_empty(), "{}: {room} must not know {known:?}", file.display());
        }
    }
}
