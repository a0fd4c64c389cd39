//! Ctrl-C in whatever takes its time, at the prompt and in scripts, in a pseudo-terminal: it ends what runs, soon, and
//! nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs::File;
use std::time::{Duration, Instant};

use harness::{Client, Cluster, PATIENCE, Terminal, random_file};
use portable_pty::CommandBuilder;

const CTRL_C: &str = "\x03";
/// How soon a command has to end. Most of it is how busy the machine is.
const SOON: Duration = Duration::from_secs(20);

/// A client in a terminal, with further arguments.
fn open(client: &Client, arguments: &[&str]) -> Terminal {
    let command = client.command();
    let mut builder = CommandBuilder::new(command.get_program());
    builder.args(command.get_args());
    builder.args(arguments);
    builder.cwd(client.home());
    builder.env("TERM", "xterm-256color");
    Terminal::open(builder, 40, 100)
}

fn until_prompt(t: &Terminal) {
    t.until("an empty prompt", |t| t.line().trim_end().ends_with('>'));
}

fn enter(t: &mut Terminal, line: &str) {
    until_prompt(t);
    t.press(line);
    t.until("the typed line", |t| t.line().ends_with(line));
    t.press("\r");
}

/// Presses Ctrl-C once `begun` is seen: the prompt is there again soon, and works.
fn interrupted(t: &mut Terminal, line: &str, begun: impl Fn(&Terminal) -> bool) {
    enter(t, line);
    t.until(&format!("{line} has begun"), begun);
    let pressed = Instant::now();
    t.press(CTRL_C);
    t.until_text("interrupted");
    until_prompt(t);
    assert!(pressed.elapsed() < SOON, "{line}: {:?}\n{}", pressed.elapsed(), t.text());
    enter(t, "help whoami");
    t.until_text("Show who is logged in");
    // So that the next one is not taken for the second of two that leave.
    t.press("\x0c");
    t.until("a clear screen", |t| !t.text().contains("interrupted"));
}

fn exit_code(mut t: Terminal) -> u32 {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = t.child.try_wait().unwrap() {
            return status.exit_code();
        }
        // Nobody tells when a child has ended.
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("still there\n{}", t.text());
}

/// A file that is `gib` long and takes no room.
fn large_file(client: &Client, name: &str, gib: u64) {
    File::create(client.home().join(name)).unwrap().set_len(gib << 30).unwrap();
}

fn shows(text: &'static str) -> impl Fn(&Terminal) -> bool {
    move |t| t.text().lines().any(|line| line.starts_with(text) && line.contains("% "))
}

#[test]
fn at_the_prompt_hashing_and_verifying_end() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    alice.ok(&["create_group lab"]);
    large_file(&alice, "endless.bin", 256);
    large_file(&alice, "long.bin", 6);
    let mut t = open(&alice, &[]);
    interrupted(&mut t, "upload_file endless.bin lab", shows("hashing endless.bin"));
    enter(&mut t, "upload_file long.bin lab");
    t.until_text("long.bin in `lab`");
    interrupted(&mut t, "verify lab long.bin", shows("verifying long.bin"));
    // It is still shared.
    enter(&mut t, "list_shares");
    t.until("the share", |t| t.text().lines().any(|l| l.contains("seeding") && l.contains("long.bin")));
    enter(&mut t, "quit");
    assert_eq!(exit_code(t), 0);
}

#[test]
fn at_the_prompt_questions_to_a_tracker_that_does_not_answer_end() {
    let mut cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let mut t = open(&alice, &[]);
    until_prompt(&t);
    for line in ["search results", "list_groups", "doctor"] {
        cluster.tracker(1).process.signal("STOP");
        interrupted(&mut t, line, |t| t.line().is_empty());
        cluster.tracker(1).process.signal("CONT");
        enter(&mut t, "whoami");
        t.until("her name", |t| t.text().lines().any(|l| l == "alice"));
    }
    enter(&mut t, "quit");
    assert_eq!(exit_code(t), 0);
}

#[test]
fn in_a_script_hashing_ends_with_130_and_publishes_nothing() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    alice.ok(&["create_group lab"]);
    large_file(&alice, "endless.bin", 256);
    let mut t = open(&alice, &["-c", "upload_file endless.bin lab", "-c", "whoami"]);
    t.until("it hashes", shows("hashing endless.bin"));
    let pressed = Instant::now();
    t.press(CTRL_C);
    assert_eq!(exit_code(t), 130);
    assert!(pressed.elapsed() < SOON, "{:?}", pressed.elapsed());
    assert_eq!(alice.ok(&["list_files lab"])["total"], 0);
}

#[test]
fn in_a_script_a_download_ends_with_130_and_goes_on_later() {
    let cluster = Cluster::start(1);
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    random_file(&alice.home().join("data.bin"), 8 << 20).unwrap();
    let mut a = alice.live();
    a.ok("create_group lab");
    a.ok("upload_file data.bin lab");
    bob.ok(&["join_group lab"]);
    a.ok("accept_request lab bob");
    bob.ok(&["limit down 1M"]);
    let mut t = open(&bob, &["-c", "download_file lab data.bin downloads"]);
    t.until("it has some", |t| t.text().lines().any(|l| l.starts_with("data.bin") && !l.contains("  0%")));
    let pressed = Instant::now();
    t.press(CTRL_C);
    assert_eq!(exit_code(t), 130);
    assert!(pressed.elapsed() < SOON, "{:?}", pressed.elapsed());
    let left = bob.ok(&["limit down off", "show_downloads"]);
    assert!(left["downloads"][0]["have"].as_u64().unwrap() > 0, "{left}");
    bob.ok(&["download_file lab data.bin downloads"]);
    let same = |a: &Client, path: &str| std::fs::read(a.home().join(path)).unwrap();
    assert!(same(&alice, "data.bin") == same(&bob, "downloads/data.bin"));
}
