//! Invitations: from an empty directory to a verified download, and who does not come in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Client, Cluster, Live, PATIENCE, Process, Terminal, binary, random_file, until_level};
use portable_pty::CommandBuilder;
use serde_json::Value;

/// A group with a file that its admin seeds.
struct Lab {
    cluster: Cluster,
    alice: Client,
    seeding: Live,
}

impl Lab {
    fn open(cluster: Cluster) -> Self {
        let alice = cluster.user("alice");
        random_file(&alice.home().join("data.bin"), 3 << 20).unwrap();
        let mut seeding = alice.live();
        seeding.ok("create_group lab");
        seeding.ok("upload_file data.bin lab");
        Self { cluster, alice, seeding }
    }

    fn invite(&mut self, options: &str) -> String {
        let made = self.seeding.ok(&format!("invite lab {options}"));
        made["invite"].as_str().expect("a line").to_owned()
    }

    /// A directory with nothing in it.
    fn empty(&self, name: &str) -> PathBuf {
        let dir = self.cluster.dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        dir
    }

    fn is_downloaded(&self, path: &Path) -> bool {
        std::fs::read(path).is_ok_and(|bytes| bytes == std::fs::read(self.alice.home().join("data.bin")).unwrap())
    }
}

/// `client 127.0.0.1:0 --invite LINE` in a directory, and nothing else.
fn newcomer(dir: &Path, line: &str) -> Command {
    let mut command = Command::new(binary("client"));
    command.current_dir(dir).args(["127.0.0.1:0", "--invite", line]);
    command
}

/// Runs the lines of a newcomer's script; the exit status and the objects.
fn script(dir: &Path, line: &str, lines: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let mut command = newcomer(dir, line);
    command.arg("--json").args(lines.iter().flat_map(|line| ["-c", line]));
    let mut process = Process::start(&mut command);
    process.end_input();
    let status = process.wait(PATIENCE * 3);
    let objects = process.stdout.lines().iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    (status.code(), objects, process.stderr.text())
}

fn in_terminal(dir: &Path, line: &str) -> Terminal {
    let command = newcomer(dir, line);
    let mut builder = CommandBuilder::new(command.get_program());
    builder.args(command.get_args());
    builder.cwd(dir);
    builder.env("TERM", "xterm-256color");
    Terminal::open(builder, 40, 100)
}

fn at_question(t: &Terminal, question: &str) {
    t.until(question, |t| t.line().trim_end().ends_with(question));
}

fn at_prompt(t: &Terminal) {
    t.until("a prompt", |t| t.line().trim_end().ends_with("@shoal>"));
}

fn ends(mut t: Terminal) {
    let deadline = Instant::now() + PATIENCE;
    while t.child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "still there\n{}", t.text());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What all files below a directory say.
fn kept_in(dir: &Path) -> String {
    let mut all = String::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => dirs.push(entry.path()),
                kind if kind.is_file() => all += &String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()),
                _ => {}
            }
        }
    }
    all
}

/// The way in, as a person goes it.
fn comes_in(lab: &mut Lab, name: &str) {
    let line = lab.invite("--uses 1");
    let dir = lab.empty(name);
    let mut t = in_terminal(&dir, &line);
    at_question(&t, "your name here:");
    assert!(t.text().contains("You are invited to `lab` by alice (1 use left, until 20"), "{}", t.text());
    t.press(&format!("{name}\r"));
    at_question(&t, &format!("password for {name}:"));
    t.press("a-secret-pass\r");
    at_question(&t, "the same password again:");
    t.press("a-secret-pass\r");
    t.until_text("you are a member of `lab` now");
    at_prompt(&t);
    t.press("download_file lab data.bin .\r");
    t.until_text("verified");
    assert!(lab.is_downloaded(&dir.join("data.bin")));
    at_prompt(&t);
    t.press("quit\r");
    ends(t);
    let list = std::fs::read_to_string(dir.join("tracker_info.txt")).unwrap();
    assert!(list.contains("cluster sha256:"), "{list}");
    // Bytes 33 to 48 of what the line stands for.
    let secret = &line["shoal-invite:".len() + 53..][..24];
    assert!(!kept_in(&dir).contains(secret) && !kept_in(&dir).contains("a-secret-pass"));
}

#[test]
fn from_an_empty_directory_to_a_verified_download() {
    let mut lab = Lab::open(Cluster::start(2));
    comes_in(&mut lab, "bob");
    let rows = lab.seeding.ok("list_invites lab");
    assert_eq!((&rows["invites"][0]["used"], &rows["invites"][0]["state"]), (&1.into(), &"used_up".into()), "{rows}");
}

#[test]
fn also_while_either_tracker_is_dead() {
    for dead in [1, 2] {
        let mut lab = Lab::open(Cluster::start(2));
        harness::until_dual(&lab.alice, PATIENCE);
        lab.cluster.kill_tracker(dead);
        comes_in(&mut lab, "bob");
    }
}

#[test]
fn in_a_script_the_option_writes_the_list_and_the_lines_do_the_rest() {
    let mut lab = Lab::open(Cluster::start(1));
    let line = lab.invite("--uses 2 --expires 1h");
    let dir = lab.empty("bob");
    let create = format!("create_user bob bobs-password --invite {line}");
    let accept = format!("accept_invite {line}");
    let lines = [create.as_str(), "login bob bobs-password", &accept, "download_file lab data.bin ."];
    let (code, objects, said) = script(&dir, &line, &lines);
    assert_eq!((code, objects.len()), (Some(0), 4), "{objects:?} {said}");
    assert_eq!(objects[2]["data"]["group"], "lab");
    assert!(lab.is_downloaded(&dir.join("data.bin")) && !said.contains(&line), "{said}");
    // Once more, with the list and the login that are there.
    let (code, objects, _) = script(&dir, &line, &[&accept]);
    assert_eq!((code, objects[0]["error"]["code"].as_str()), (Some(1), Some("already_member")));
}

#[test]
fn a_list_of_other_trackers_is_left_alone() {
    let mut lab = Lab::open(Cluster::start(1));
    let line = lab.invite("");
    let dir = lab.empty("bob");
    std::fs::write(dir.join("tracker_info.txt"), "127.0.0.1:9\n").unwrap();
    let (code, objects, said) = script(&dir, &line, &["whoami"]);
    assert_eq!((code, objects[0]["error"]["code"].as_str()), (Some(2), Some("invalid_argument")), "{said}");
    assert!(!said.contains(&line) && !objects[0].to_string().contains(&line));
    assert_eq!(std::fs::read_to_string(dir.join("tracker_info.txt")).unwrap(), "127.0.0.1:9\n");
    let (code, objects, said) = script(&lab.empty("carol"), &line[..line.len() - 4], &["whoami"]);
    assert_eq!((code, objects[0]["error"]["code"].as_str()), (Some(2), Some("invalid_argument")), "{said}");
    assert!(!said.contains(&line[..60]), "{said}");
    let other = Cluster::start(1);
    let dave = other.user("dave");
    let refused = dave.refused(&format!("accept_invite {line}"), "invalid_argument");
    assert!(refused.contains("other trackers"), "{refused}");
}

#[test]
fn accounts_by_invitation_only() {
    let mut cluster = Cluster::prepare(2);
    cluster.start_tracker_with(1, &["--registration", "invite"]);
    cluster.start_tracker_with(2, &["--registration", "invite"]);
    // The first account is free.
    let mut lab = Lab::open(cluster);
    let stranger = lab.cluster.client("mallory");
    let refused = stranger.refused("create_user mallory mallorys-password", "invalid_argument");
    assert!(refused.contains("by invitation") && refused.contains("--invite"), "{refused}");
    comes_in(&mut lab, "bob");
    let line = lab.invite("--uses 1");
    lab.seeding.ok("revoke_invite lab 2");
    stranger.refused(&format!("create_user mallory mallorys-password --invite {line}"), "no_such_invite");
}

#[test]
fn revoked_used_up_and_removed() {
    let mut lab = Lab::open(Cluster::start(2));
    let (bob, carol) = (lab.cluster.user("bob"), lab.cluster.user("carol"));
    let first = lab.invite("--uses 1");
    assert_eq!(bob.ok(&[&format!("accept_invite {first}")])["group"], "lab");
    carol.refused(&format!("accept_invite {first}"), "no_such_invite");
    bob.refused(&format!("accept_invite {first}"), "already_member");
    let second = lab.invite("--uses 5");
    lab.seeding.ok("remove_member lab bob");
    let refused = bob.refused(&format!("accept_invite {second}"), "no_such_invite");
    assert!(refused.contains("removed after it was made"), "{refused}");
    let third = lab.invite("--uses 5");
    bob.ok(&[&format!("accept_invite {third}"), "list_files lab"]);
    lab.seeding.ok("revoke_invite lab 3");
    lab.seeding.refused("revoke_invite lab 3", "no_such_invite");
    carol.refused(&format!("accept_invite {third}"), "no_such_invite");
    carol.ok(&[&format!("accept_invite {second}")]);
    let rows = lab.seeding.ok("list_invites lab");
    let states: Vec<_> = rows["invites"].as_array().unwrap().iter().map(|i| i["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["used_up", "open", "revoked"]);
}

/// Nobody is asked for a name in vain.
fn is_told(t: &Terminal, why: &str) {
    t.until_text(why);
    t.until("a prompt of nobody", |t| t.line().trim_end() == "shoal>");
    let text = t.text();
    assert!(!text.contains("your name here") && text.contains("next: login <user>"), "{text}");
}

#[test]
fn a_newcomer_with_an_invitation_that_is_over_is_told_why_and_is_asked_nothing() {
    let mut lab = Lab::open(Cluster::start(2));
    let revoked = lab.invite("--uses 5");
    lab.seeding.ok("revoke_invite lab 1");
    let t = in_terminal(&lab.empty("carol"), &revoked);
    is_told(&t, "the invitation to `lab` by alice was revoked; ask alice for another");
    assert!(t.text().contains("create_user <user>, and join_group lab"), "{}", t.text());
    // Logged in or not, at the prompt and in scripts.
    let dave = lab.cluster.user("dave");
    let checked = dave.ok(&[&format!("check_invite {revoked}")]);
    assert_eq!((&checked["state"], &checked["group"]), (&"revoked".into(), &"lab".into()), "{checked}");

    // Bob has come in, and begins anew with the same line on another machine.
    let line = lab.invite("--uses 1");
    let bob = lab.cluster.user("bob");
    bob.ok(&[&format!("accept_invite {line}")]);
    let mut t = in_terminal(&lab.empty("bob-again"), &line);
    is_told(&t, "the invitation to `lab` by alice is used up; ask alice for another");
    t.press("login bob\r");
    at_question(&t, "password of bob:");
    t.press("password-of-bob\r");
    at_prompt(&t);
    t.press("list_files lab\r");
    t.until_text("data.bin");
}

#[test]
fn one_that_only_a_tracker_knows_that_is_away_is_not_called_dead() {
    let mut lab = Lab::open(Cluster::start(2));
    until_level(&lab.cluster, &lab.cluster.client("onlooker"), PATIENCE);
    lab.cluster.kill_tracker(1);
    let line = lab.invite("--uses 1");
    lab.cluster.kill_tracker(2);
    lab.cluster.start_tracker(1);
    let dir = lab.empty("bob");
    let t = in_terminal(&dir, &line);
    is_told(&t, "may know it");
    assert!(t.text().contains("start with the same --invite again"), "{}", t.text());
    drop(t);
    lab.cluster.start_tracker(2);
    let mut t = in_terminal(&dir, &line);
    at_question(&t, "your name here:");
    t.until_text("You are invited to `lab` by alice");
    t.press("\u{4}");
}
