//! `--help` and `--version` of both programs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::Command;

use harness::binary;

/// What a program prints for an option, in a terminal that is wide.
fn printed(program: &str, option: &str) -> String {
    let output = Command::new(binary(program)).arg(option).env("COLUMNS", "200").output().unwrap();
    assert!(output.status.success(), "{program} {option}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commit that is checked out, if these sources are a checkout of their own.
fn commit() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let git = |arguments: &[&str]| {
        let output = Command::new("git").current_dir(root).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        output.status.success().then_some(text)
    };
    let top = Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    (top == root.canonicalize().ok()?).then(|| git(&["rev-parse", "HEAD"]))?
}

#[test]
fn version_names_the_release_and_the_commit_of_the_checkout() {
    let shown = ["client", "tracker"].map(|program| printed(program, "--version"));
    for (program, shown) in ["client", "tracker"].into_iter().zip(&shown) {
        assert!(shown.starts_with(&format!("{program} {}", env!("CARGO_PKG_VERSION"))), "{shown}");
    }
    if commit().is_none() {
        eprintln!(
            "NOT CHECKED: that --version names the commit; these sources are no git checkout, or there is no git"
        );
        return;
    }
    for shown in shown {
        let commit = shown.trim_end().rsplit_once('(').and_then(|(_, commit)| commit.strip_suffix(')'));
        let commit = commit.unwrap_or_else(|| panic!("no commit: {shown}"));
        let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        assert!(commit.len() == 12 && commit.chars().all(is_digit), "12 hexadecimal digits: {shown}");
    }
}

#[test]
fn help_fits_80_columns_in_a_wider_terminal() {
    for program in ["client", "tracker"] {
        let help = printed(program, "--help");
        let longest = help.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(longest.chars().count() <= 80, "{program}: {longest}");
        assert!(
            help.lines().any(|line| line.chars().count() > 60),
            "{program}: it is not wrapped for a narrow one\n{help}"
        );
    }
}
