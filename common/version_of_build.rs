//! Build script of both programs: what `--version` says, which is the release and the commit.
//!
//! The commit is that of the checkout, or what the variable SHOAL_COMMIT says, for those who build from an archive. Without
//! git and without that there is none. No time: the same sources make the same program.

#![allow(clippy::print_stdout, reason = "so cargo is told")]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Digits of a commit that are shown.
const DIGITS: &str = "--short=12";

fn main() {
    println!("cargo:rerun-if-env-changed=SHOAL_COMMIT");
    println!("cargo:rerun-if-changed=../common/version_of_build.rs");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let said = env::var("SHOAL_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = said.or_else(commit_of_checkout).map(|commit| format!(" ({commit})")).unwrap_or_default();
    println!("cargo:rustc-env=SHOAL_VERSION={version}{commit}");
}

/// The commit that is checked out, if these sources are a checkout of their own and not part of another.
fn commit_of_checkout() -> Option<String> {
    let root = Path::new(&env::var_os("CARGO_MANIFEST_DIR")?).join("..").canonicalize().ok()?;
    let top = PathBuf::from(git(&root, &["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != root {
        return None;
    }
    // Asked again when another commit is checked out, or made: then the branch is another, also where git keeps no log. What is
    // not there would be asked for ever.
    let branch = git(&root, &["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "logs/HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        let path = git(&root, &["rev-parse", "--git-path", name]).map(|path| root.join(path));
        if let Some(path) = path.filter(|path| path.exists()) {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    git(&root, &["rev-parse", DIGITS, "HEAD"])
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").current_dir(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
