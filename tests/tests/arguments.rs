//! `--help` and `--version` of both programs, and lines whose arguments are wrong: what they are answered with works.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::Command;

use harness::{Client, Cluster, binary, random_file};

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

/// The lines in backquotes that a refusal has, without placeholders.
fn remedies(client: &Client, line: &str, code: &str) -> Vec<String> {
    let refused = client.refused(line, code);
    let is_line = |quoted: &&str| quoted.contains(" lab ") && !quoted.contains('<');
    refused.split('`').skip(1).step_by(2).filter(is_line).map(str::to_owned).collect()
}

#[test]
fn remedies_with_names_that_need_quotes_work_as_they_are() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let folder = alice.home().join("my src");
    std::fs::create_dir(&folder).unwrap();
    random_file(&folder.join("main.rs"), 1000).unwrap();
    random_file(&alice.home().join("my file"), 1000).unwrap();
    // What is verified has to be here.
    let mut live = alice.live();
    live.ok("create_group lab");
    live.ok("upload_file 'my src' lab");
    live.ok("upload_file 'my file' lab");
    for (line, code, expected) in [
        ("list_files lab 'my src/nothere'", "invalid_argument", &["list_files lab 'my src'"][..]),
        ("list_files lab 'my file'", "invalid_argument", &["info lab 'my file'"]),
        ("info lab 'my src/main.rs'", "invalid_argument", &["info lab 'my src'", "list_files lab 'my src/main.rs'"]),
        ("verify lab 'my src/main.rs'", "invalid_argument", &["verify lab 'my src'"]),
        ("download_file lab 'my file'", "usage", &["download_file lab 'my file' ."]),
        ("stop_share lab 'my src/main.rs'", "invalid_argument", &["stop_share lab 'my src'"]),
    ] {
        let remedies = remedies(&alice, line, code);
        assert_eq!(remedies, expected, "{line}");
        if line.starts_with("download_file") {
            continue; // It is there already.
        }
        remedies.iter().for_each(|remedy| drop(live.ok(remedy)));
    }
    live.ok("upload_file 'my src' lab");
    let listed = live.ok("list_files lab 'my src/main.rs'");
    assert_eq!((&listed["files"][0]["path"], &listed["entries"]), (&"main.rs".into(), &1.into()), "{listed}");
}

#[test]
fn what_is_too_much_on_a_line_is_named() {
    let cluster = Cluster::start(1);
    let x = cluster.client("x");
    for (line, code, what) in [
        ("list_files lab my src", "usage", "`src` is an argument too many; put quotes round a name with spaces"),
        ("create_group -x", "usage", "`create_group` has no option `-x`"),
        ("search -x", "usage", "`search -- -x`"),
        ("limit up -5", "invalid_argument", "`-5` is not a rate"),
        ("limit up 1M --group lab --download 3", "usage", "exclude each other"),
        ("subscribe lab *.rs", "usage", "`subscribe lab '*.rs' <destination>`"),
    ] {
        let refused = x.refused(line, code);
        assert!(refused.contains(what), "{line}: {refused}");
    }
    assert!(!x.home().join("*.rs").exists());
}
