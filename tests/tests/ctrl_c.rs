//! Ctrl-C in whatever takes its time, at the prompt and in scripts, in a pseudo-terminal: it ends what runs, soon, and
//! nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Client, Cluster, PATIENCE, Terminal, binary, random_file};
use portable_pty::CommandBuilder;

const CTRL_C: &str = "\x03";
/// How soon a command has to end. Most of it is how busy the machine is.
const SOON: Duration = Duration::from_secs(20);

/// A client in a terminal, with further arguments.
fn open(client: &Client, arguments: &[&str]) -> Terminal {
    let mut command = client.command();
    in_terminal(command.args(arguments), client.home())
}

fn in_terminal(command: &Command, directory: &Path) -> Terminal {
    let mut builder = CommandBuilder::new(command.get_program());
    builder.args(command.get_args());
    builder.cwd(directory);
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
    ended(t, line);
}

/// Presses Ctrl-C while `what` is going on: the prompt is there again soon, and works.
fn ended(t: &mut Terminal, what: &str) {
    let pressed = Instant::now();
    t.press(CTRL_C);
    t.until_text("interrupted");
    until_prompt(t);
    assert!(pressed.elapsed() < SOON, "{what}: {:?}\n{}", pressed.elapsed(), t.text());
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

/// A folder with one file that is `gib` long and takes no room.
fn large_folder(client: &Client, name: &str, gib: u64) {
    std::fs::create_dir(client.home().join(name)).unwrap();
    large_file(client, &format!("{name}/all.bin"), gib);
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
    large_file(&alice, "long.bin", 3);
    large_folder(&alice, "endless", 256);
    large_folder(&alice, "long", 3);
    let mut t = open(&alice, &[]);
    interrupted(&mut t, "upload_file endless.bin lab", shows("hashing endless.bin"));
    interrupted(&mut t, "upload_file endless lab", shows("hashing endless"));
    for name in ["long.bin", "long"] {
        enter(&mut t, &format!("upload_file {name} lab"));
        t.until_text(&format!("{name} in `lab`"));
    }
    interrupted(&mut t, "verify lab long.bin", shows("verifying long.bin"));
    interrupted(&mut t, "verify lab long", shows("verifying long"));
    // They are still shared.
    enter(&mut t, "list_shares");
    let seeds = |t: &Terminal, name: &str| t.text().lines().any(|l| l.contains("seeding") && l.ends_with(name));
    t.until("both shares", |t| seeds(t, "long.bin") && seeds(t, "long"));
    enter(&mut t, "quit");
    assert_eq!(exit_code(t), 0);
}

#[test]
fn at_the_prompt_questions_to_a_tracker_that_does_not_answer_end() {
    let mut cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    std::fs::create_dir(alice.home().join("results")).unwrap();
    random_file(&alice.home().join("results/all.bin"), 1000).unwrap();
    let mut t = open(&alice, &[]);
    for line in ["create_group lab", "upload_file results lab"] {
        enter(&mut t, line);
    }
    t.until_text("results in `lab`");
    for line in [
        "search results",
        "list_groups",
        "doctor",
        "info lab results",
        "news",
        "list_files lab",
        "list_files lab results",
        "login alice password-of-alice",
        "subscribe lab inbox",
    ] {
        cluster.tracker(1).process.signal("STOP");
        interrupted(&mut t, line, |t| t.line().is_empty());
        cluster.tracker(1).process.signal("CONT");
        enter(&mut t, "whoami");
        t.until("her name", |t| t.text().lines().any(|l| l == "alice"));
    }
    enter(&mut t, "quit");
    assert_eq!(exit_code(t), 0);
}

/// A line that lets whoever has it into the group `lab`, which is made.
fn invitation(client: &Client) -> String {
    client.ok(&["create_group lab", "invite lab"])["invite"].as_str().unwrap().to_owned()
}

#[test]
fn an_invitation_that_was_pasted_unseen_ends_before_and_after_it_is_sent() {
    let mut cluster = Cluster::start(1);
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    let line = invitation(&alice);
    let mut t = open(&bob, &[]);
    enter(&mut t, "accept_invite");
    let asked = |t: &Terminal| t.line().trim_end().ends_with("the line that you were sent:");
    t.until("the question", asked);
    t.press(&line[..40]);
    t.press(CTRL_C);
    until_prompt(&t);
    enter(&mut t, "list_groups");
    t.until("the group, without him", |t| t.text().lines().any(|l| l.starts_with("lab") && !l.contains("member")));

    t.press("\x0c");
    enter(&mut t, "accept_invite");
    t.until("the question again", asked);
    cluster.tracker(1).process.signal("STOP");
    t.press(&line);
    // The cursor may stand at the edge in between.
    t.until("all of it", |t| t.text().matches('*').count() == line.len());
    t.press("\r");
    t.until("it has begun", |t| t.line().is_empty());
    ended(&mut t, "accept_invite");
    cluster.tracker(1).process.signal("CONT");
    enter(&mut t, "accept_invite");
    t.until("the question once more", asked);
    t.press(&format!("{line}\r"));
    // It may have been taken before.
    t.until("that he is in", |t| ["a member of `lab` now", "already"].iter().any(|text| t.text().contains(text)));
    enter(&mut t, "quit");
    assert_eq!(exit_code(t), 0);
}

#[test]
fn a_newcomer_may_leave_each_question_and_come_in_later() {
    let mut cluster = Cluster::start(1);
    let line = invitation(&cluster.user("alice"));
    // What is answered before Ctrl-C; then the question that it is pressed at.
    let name = ("your name here:", "bob\r");
    let password = ("password for bob:", "a-secret-pass\r");
    let again = ("the same password again:", "a-secret-pass\r");
    let asked = |t: &Terminal, question: &str| {
        let question = question.to_owned();
        t.until(&question.clone(), move |t| t.line().trim_end().ends_with(&question));
    };
    let mut command = Command::new(binary("client"));
    command.args(["127.0.0.1:0", "--invite", &line]);
    for answered in [&[][..], &[name], &[name, password], &[name, password, again]] {
        let directory = cluster.dir().join(format!("newcomer-{}", answered.len()));
        std::fs::create_dir(&directory).unwrap();
        let mut t = in_terminal(&command, &directory);
        let stops = answered.len() == 3;
        for (at, (question, answer)) in answered.iter().enumerate() {
            asked(&t, question);
            if stops && at == 2 {
                cluster.tracker(1).process.signal("STOP");
            }
            t.press(answer);
        }
        match [name, password, again].get(answered.len()) {
            Some((question, _)) => asked(&t, question),
            None => t.until("the tracker is asked", |t| t.line().is_empty()),
        }
        let pressed = Instant::now();
        t.press(CTRL_C);
        t.until_text("not in the group yet: start with the same --invite again");
        t.until("a prompt of nobody", |t| t.line().trim_end() == "shoal>");
        assert!(pressed.elapsed() < SOON, "{answered:?}: {:?}\n{}", pressed.elapsed(), t.text());
        cluster.tracker(1).process.signal("CONT");
        enter(&mut t, "help whoami");
        t.until_text("Show who is logged in");
        enter(&mut t, "quit");
        assert_eq!(exit_code(t), 0);

        if !stops {
            continue;
        }
        let mut t = in_terminal(&command, &directory);
        for (question, answer) in answered {
            asked(&t, question);
            t.press(answer);
        }
        t.until_text("you are a member of `lab` now");
        t.until("a prompt of his", |t| t.line().trim_end() == "bob@shoal>");
    }
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
