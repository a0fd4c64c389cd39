//! One running client and the faces that are attached to it, as processes: all of them at the same data directory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use harness::{Client, Cluster, Live, PATIENCE, Process, Script, Terminal, random_file};
use portable_pty::CommandBuilder;
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// Alice with a group `lab`, a file of `len` bytes shared in it, and bob as a member.
fn sharing(cluster: &Cluster, len: u64) -> (Client, Live, Client) {
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    random_file(&alice.home().join("data.bin"), len).unwrap();
    let mut a = alice.live();
    a.ok("create_group lab");
    a.ok("upload_file data.bin lab");
    bob.ok(&["join_group lab"]);
    a.ok("accept_request lab bob");
    (alice, a, bob)
}

/// The service of this client, once it serves.
fn service(client: &Client, options: &[&str]) -> Live {
    let mut live = client.live_with(options);
    live.ok("whoami");
    live
}

fn assert_same(a: &Path, b: &Path) {
    assert!(std::fs::read(a).unwrap() == std::fs::read(b).unwrap(), "{} and {} differ", a.display(), b.display());
}

fn until(what: &str, mut wanted: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted() {
        assert!(Instant::now() < deadline, "never: {what}");
        // Looked for from outside: nobody tells.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Bytes of its first download that a client has.
fn have(live: &mut Live) -> u64 {
    live.ok("show_downloads")["downloads"][0]["have"].as_u64().unwrap_or_default()
}

fn at_prompt(client: &Client) -> Terminal {
    let command = client.command();
    let mut builder = CommandBuilder::new(command.get_program());
    builder.args(command.get_args());
    builder.cwd(client.home());
    builder.env("TERM", "xterm-256color");
    Terminal::open(builder, 40, 100)
}

fn until_prompt(terminal: &Terminal) {
    terminal.until("an empty prompt", |t| t.line().trim_end().ends_with('>'));
}

fn exit_code(mut terminal: Terminal) -> u32 {
    let mut code = None;
    until("the end of a prompt", || {
        code = terminal.child.try_wait().unwrap().map(|status| status.exit_code());
        code.is_some()
    });
    code.unwrap()
}

/// Lines of every kind, and what they come to.
fn of_every_kind(client: &Client) -> Vec<(Option<i32>, Vec<Value>, String)> {
    let told = |script: Script| (script.code, script.results, script.stderr);
    let human = |line: &str| {
        let out = client.command().args(["-c", line]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code(), vec![text(&out.stdout).into()], text(&out.stderr))
    };
    let json = [
        &["whoami"][..],
        &["list_groups", "list_members lab", "list_requests lab"],
        &["list_files lab"],
        &["join_group nowhere", "whoami"],
        &["nonsense"],
        &["login"],
        &["login bob wrong-password"],
        &["login bob"],
        &["list_files 'lab"],
        &["pause_download 77"],
        &["download_file lab nothing ."],
        &["download_file lab data.bin /nowhere/at/all"],
        &["upload_file nothing-here lab"],
        &["show_downloads", "list_shares"],
        &["help login"],
        &["quit", "whoami"],
    ];
    let json = json.iter().map(|lines| told(client.run(lines)));
    let people = ["whoami", "list_groups", "list_files lab", "list_members lab", "join_group nowhere", "help"];
    json.chain(people.iter().map(|line| human(line))).collect()
}

#[test]
fn an_attached_script_prints_and_returns_what_one_with_an_engine_of_its_own_does() {
    let cluster = Cluster::start(1);
    let (_alice, _a, bob) = sharing(&cluster, 1000);
    let alone = of_every_kind(&bob);
    let _service = service(&bob, &[]);
    let attached = of_every_kind(&bob);
    for (alone, attached) in alone.iter().zip(&attached) {
        assert_eq!(alone, attached);
    }
    assert!(alone.iter().any(|(code, ..)| *code == Some(1)) && alone.iter().any(|(code, ..)| *code == Some(0)));
}

#[test]
fn an_attached_script_that_cannot_reach_a_tracker_says_so_by_its_exit_status() {
    let mut cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let _service = service(&alice, &[]);
    cluster.kill_tracker(1);
    let unreachable = alice.run(&["list_groups", "whoami"]);
    assert_eq!((unreachable.code, unreachable.error()), (Some(3), "trackers_unreachable"), "{unreachable:?}");
}

#[test]
fn two_prompts_share_a_service_and_leave_it_until_one_shuts_it_down() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let mut live = service(&alice, &[]);
    let (mut first, mut second) = (at_prompt(&alice), at_prompt(&alice));
    for prompt in [&first, &second] {
        prompt.until_text("attached to the client that runs");
        prompt.until_text("logged in as alice");
        prompt.until("her name", |t| t.line().trim_end().ends_with("alice@shoal>"));
    }
    first.press("create_group laboratory\r");
    first.until_text("group `laboratory` created");
    second.press("list_files lab");
    second.completes("list_files laboratory ");
    second.press("\r");
    second.until_text("shares no files yet");
    first.press("quit\r");
    assert_eq!(exit_code(first), 0);
    assert_eq!(live.ok("whoami")["user"], "alice", "the service goes on");
    let third = at_prompt(&alice);
    until_prompt(&third);
    until_prompt(&second);
    second.press("shutdown\r");
    assert_eq!(exit_code(second), 0);
    assert_eq!(live.process.wait(PATIENCE).code(), Some(0));
    third.until_text("it was shut down from elsewhere");
    assert_eq!(exit_code(third), 0);
}

/// Whoever logs in by one face is logged in at all.
#[test]
fn a_login_by_one_face_shows_at_the_prompt_of_another() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let _live = service(&alice, &[]);
    let mut prompt = at_prompt(&alice);
    prompt.until("her name", |t| t.line().trim_end().ends_with("alice@shoal>"));
    alice.ok(&["logout"]);
    let begun = Instant::now();
    // The name is that of the moment at which the prompt was drawn.
    while prompt.line().trim_end() != "shoal>" {
        assert!(begun.elapsed() < PATIENCE, "{}", prompt.text());
        prompt.press("\r");
        std::thread::sleep(Duration::from_millis(100));
    }
    prompt.press("login alice password-of-alice\r");
    prompt.until("her name at once", |t| t.line().trim_end().ends_with("alice@shoal>"));
}

#[test]
fn a_download_goes_on_when_the_face_that_began_it_is_killed() {
    let cluster = Cluster::start(1);
    let (alice, _a, bob) = sharing(&cluster, 6 * MIB);
    let mut b = service(&bob, &["--limit-down", "1M"]);
    let mut face = Process::start(bob.command().args(["--json", "-c", "download_file lab data.bin downloads"]));
    until("some of it", || have(&mut b) > 0);
    face.kill();
    let begun = have(&mut b);
    assert!(begun < 6 * MIB, "it was killed before the end");
    let row = b.ok("show_downloads")["downloads"][0].clone();
    assert_eq!(row["state"], "downloading", "{row}");
    assert_eq!(row["n"], b.ok("show_downloads")["downloads"][0]["n"]);
    // Asked for again it is the same download, and waited for.
    b.ok("download_file lab data.bin downloads");
    assert_same(&alice.home().join("data.bin"), &bob.downloads().join("data.bin"));
}

#[test]
fn a_service_that_is_killed_in_a_download_ends_its_faces_and_resumes_where_it_was() {
    let cluster = Cluster::start(1);
    let (alice, _a, bob) = sharing(&cluster, 6 * MIB);
    let mut b = service(&bob, &["--limit-down", "1M"]);
    let mut face = Process::start(bob.command().args(["--json", "-c", "download_file lab data.bin downloads"]));
    until("some of it", || have(&mut b) > MIB);
    b.process.kill();
    assert!(bob.home().join("data/control.sock").exists(), "nobody was there to remove it");
    assert_eq!(face.wait(PATIENCE).code(), Some(1));
    let last: Value = serde_json::from_str(face.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["command"], &last["error"]["code"]), (&"download_file".into(), &"interrupted".into()), "{last}");
    // The socket is stale. Who holds the data directory's lock replaces it.
    let mut again = service(&bob, &[]);
    assert!(have(&mut again) > 0, "what had come is kept");
    assert_eq!(bob.ok(&["whoami"])["user"], "bob", "the new one is attached to");
    until("the rest", || bob.downloads().join("data.bin").exists());
    assert_same(&alice.home().join("data.bin"), &bob.downloads().join("data.bin"));
}

#[test]
fn an_interrupted_attached_script_stops_what_it_began_and_nothing_else() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    alice.ok(&["create_group lab"]);
    let mut live = service(&alice, &[]);
    // Takes a minute to hash, and no room.
    std::fs::File::create(alice.home().join("large.bin")).unwrap().set_len(256 << 30).unwrap();
    let fds = format!("/proc/{}/fd", live.process.id());
    let is_hashed = || {
        let links = std::fs::read_dir(&fds).unwrap().flatten().map(|e| std::fs::read_link(e.path()));
        links.flatten().any(|path| path.ends_with("large.bin"))
    };
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let mut face = Process::start(alice.command().args(["--json", "-c", "upload_file large.bin lab"]));
        until("the service hashes it", is_hashed);
        face.signal(signal);
        assert_eq!(face.wait(PATIENCE).code(), Some(status));
        let last: Value = serde_json::from_str(face.stdout.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&last["command"], &last["error"]["code"]),
            (&"upload_file".into(), &"interrupted".into()),
            "{last}"
        );
        until("the hashing has stopped", || !is_hashed());
    }
    assert_eq!(live.ok("whoami")["user"], "alice");
}

#[test]
fn paths_count_from_where_the_face_was_started() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    alice.ok(&["create_group lab"]);
    let _live = service(&alice, &[]);
    let elsewhere = alice.home().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    random_file(&elsewhere.join("only-there.bin"), 1000).unwrap();
    let mut command = alice.command();
    command.current_dir(&elsewhere).args(["--json", "-c", "upload_file only-there.bin lab"]);
    let out = command.output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stdout));
}

#[test]
fn a_script_that_others_are_attached_to_stays_until_they_have_left() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let mut first = Process::start(alice.command().arg("--json"));
    first.type_line("whoami");
    assert!(first.stdout.wait_for(PATIENCE, |l| l.contains("alice").then_some(())).is_some());
    let mut second = Process::start(alice.command().arg("--json"));
    second.type_line("whoami");
    assert!(second.stdout.wait_for(PATIENCE, |l| l.contains("alice").then_some(())).is_some());
    first.end_input();
    let stays = first.stderr.wait_for(PATIENCE, |l| l.contains("staying until").then_some(()));
    assert!(stays.is_some(), "{first:?}");
    second.type_line("list_groups");
    assert!(second.stdout.wait_for(PATIENCE, |l| l.contains("groups").then_some(())).is_some(), "{second:?}");
    second.end_input();
    assert_eq!(second.wait(PATIENCE).code(), Some(0));
    assert_eq!(first.wait(PATIENCE).code(), Some(0));
}

#[test]
fn one_that_is_to_stay_takes_the_place_of_a_client_that_ends() {
    let cluster = Cluster::start(1);
    let (_alice, _a, bob) = sharing(&cluster, 1000);
    let mut first = service(&bob, &[]);
    let mut second = Process::start(bob.command().args(["--stay", "-c", "whoami"]));
    let waits = second.stderr.wait_for(PATIENCE, |l| l.contains("staying to take its place").then_some(()));
    assert!(waits.is_some(), "{second:?}");
    first.process.kill();
    let serves = second.stderr.wait_for(PATIENCE, |l| l.contains("staying to seed").then_some(()));
    assert!(serves.is_some(), "{second:?}");
    assert_eq!(bob.ok(&["whoami"])["user"], "bob");
    // But not that of one which somebody ended on purpose.
    let mut third = Process::start(bob.command().args(["--stay", "-c", "whoami"]));
    let waits = third.stderr.wait_for(PATIENCE, |l| l.contains("staying to take its place").then_some(()));
    assert!(waits.is_some(), "{third:?}");
    bob.ok(&["shutdown"]);
    assert_eq!(second.wait(PATIENCE).code(), Some(0));
    assert_eq!(third.wait(PATIENCE).code(), Some(0));
}

#[test]
fn of_many_that_start_at_once_one_serves_and_the_others_attach() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let start = |_| {
        let mut process = Process::start(alice.command().args(["--json", "-c", "whoami", "-c", "list_groups"]));
        process.end_input();
        process
    };
    let mut all: Vec<_> = (0..6).map(start).collect();
    for process in &mut all {
        assert_eq!(process.wait(PATIENCE).code(), Some(0), "{process:?}");
        assert_eq!(process.stdout.lines().len(), 2, "{process:?}");
    }
}

#[test]
fn options_that_concern_the_engine_are_said_to_be_the_running_clients() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let mut live = service(&alice, &[]);
    let listen = live.ok("status")["listen"].as_str().unwrap().to_owned();
    let data = alice.home().join("data");
    let mut command = std::process::Command::new(harness::binary("client"));
    command.current_dir(alice.home()).args(["127.0.0.1:1", "../tracker_info.txt", "--data-dir"]).arg(data);
    let out = command.args(["--limit-up", "1M", "--limit-down", "2M", "-c", "whoami"]).output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(0), "{said}");
    for what in ["--limit-up is left out", "--limit-down is left out", &format!("listens on {listen}")] {
        assert!(said.contains(what), "{what}: {said}");
    }
}

/// It accepts connections, as the kernel does for it, and says nothing.
#[test]
fn a_client_that_is_stopped_is_waited_for_and_then_named() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let live = service(&alice, &[]);
    live.process.signal("STOP");
    let refused = alice.run(&["whoami"]);
    live.process.signal("CONT");
    assert_eq!((refused.code, refused.error()), (Some(2), "in_use"), "{refused:?}");
    assert!(refused.stderr.contains("does not answer"), "{refused:?}");
    assert_eq!(alice.ok(&["whoami"])["user"], "alice");
}

#[test]
fn lines_that_were_not_read_are_run_by_the_one_that_takes_over() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let mut first = service(&alice, &[]);
    let mut second = alice.live();
    second.ok("whoami");
    // In the middle of a line, and with more to come.
    second.process.type_part("list_gro");
    first.process.kill();
    // A line that is read before the end is noticed runs on what is no longer there.
    let (socket, deadline) = (alice.home().join("data/control.sock"), Instant::now() + PATIENCE);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < deadline, "{second:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    second.process.type_part("ups\nlist_shares\n");
    second.process.end_input();
    let last = second.process.stdout.wait_for(PATIENCE, |l| l.contains("list_shares").then_some(()));
    assert!(last.is_some(), "{second:?}");
    let ran: Vec<Value> = second.process.stdout.lines().iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    let ran: Vec<_> = ran.iter().map(|r| (r["command"].as_str().unwrap(), r["ok"] == true)).collect();
    assert_eq!(ran, [("whoami", true), ("list_groups", true), ("list_shares", true)]);
}

#[test]
fn a_limit_holds_for_running_downloads_at_once_and_over_restarts() {
    let cluster = Cluster::start(1);
    let (alice, _a, bob) = sharing(&cluster, 24 * MIB);
    let mut b = service(&bob, &[]);
    assert_eq!(b.ok("limit down 1M"), serde_json::json!({ "up": null, "down": MIB }), "and nothing else");
    let mut face = Process::start(bob.command().args(["--json", "-c", "download_file lab data.bin downloads"]));
    until("some of it", || have(&mut b) > 0);
    let begun = Instant::now();
    b.ok("limit down off");
    assert_eq!(face.wait(PATIENCE).code(), Some(0), "{face:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "it went on at 1 MiB/s: {:?}", begun.elapsed());
    assert_same(&alice.home().join("data.bin"), &bob.downloads().join("data.bin"));
    // The same by an attached face, and in the file that people edit.
    bob.ok(&["limit up 3M", "limit down 5000000"]);
    let file = bob.home().join("data/settings.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("up = \"3M\"") && text.contains("down = \"5000000\""), "{text}");
    std::fs::write(&file, text.replace("up = ", "# the line at home\nup = ")).unwrap();
    drop(b);
    let mut b = service(&bob, &[]);
    assert_eq!(b.ok("status")["limits"], serde_json::json!({ "up": 3 * MIB, "down": 5_000_000 }));
    b.ok("limit up 4M");
    drop(b);
    // What is said at the start goes before it, and does not change it.
    let mut b = service(&bob, &["--limit-up", "7M"]);
    assert_eq!(b.ok("status")["limits"], serde_json::json!({ "up": 7 * MIB, "down": 5_000_000 }));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("# the line at home\nup = \"4M\""), "{text}");
    for wrong in ["limit up fast", "limit up 0"] {
        assert!(b.refused(wrong, "invalid_argument").contains("or `off`"));
    }
    b.refused("limit sideways 1M", "invalid_argument");
}

#[test]
fn settings_that_cannot_be_understood_are_told_by_their_line_and_kept() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let file = alice.home().join("data/settings.toml");
    let text = "# mine\n[limit]\nup = \"fast\"\n";
    std::fs::write(&file, text).unwrap();
    let refused = alice.run(&["whoami"]);
    assert_eq!((refused.code, refused.error()), (Some(2), "invalid_argument"), "{refused:?}");
    assert!(refused.stderr.contains("settings.toml, line 3: `fast` is not a rate"), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    std::fs::write(&file, "colour = 'blue'\n").unwrap();
    let done = alice.run(&["whoami"]);
    assert!(done.code == Some(0) && done.stderr.contains("no setting `colour`"), "{done:?}");
}

#[test]
fn a_prompt_asks_before_it_ends_those_that_are_attached_to_it() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let mut holder = at_prompt(&alice);
    holder.until("her name", |t| t.line().trim_end().ends_with("alice@shoal>"));
    let mut attached = Process::start(alice.command().arg("--json"));
    attached.type_line("whoami");
    assert!(attached.stdout.wait_for(PATIENCE, |l| l.contains("alice").then_some(())).is_some());
    holder.press("quit\r");
    holder.until_text("1 other client is attached to this one");
    holder.press("\r");
    holder.until("the prompt again", |t| t.line().trim_end().ends_with("alice@shoal>"));
    attached.type_line("list_groups");
    assert!(attached.stdout.wait_for(PATIENCE, |l| l.contains("groups").then_some(())).is_some(), "{attached:?}");
    holder.press("quit\r");
    holder.until("the question", |t| t.line().trim_end().ends_with("[y/N]"));
    holder.press("y\r");
    assert_eq!(exit_code(holder), 0);
    assert_eq!(attached.wait(PATIENCE).code(), Some(1));
    // Nobody is asked where nobody is attached.
    let mut alone = at_prompt(&alice);
    until_prompt(&alone);
    alone.press("quit\r");
    assert_eq!(exit_code(alone), 0);
}

/// A client that is to stay, attached to the one that runs, once it has nothing more to do there.
fn successor(client: &Client) -> Process {
    let waiting = Process::start(client.command().args(["--stay", "-c", "whoami"]));
    let waits = waiting.stderr.wait_for(PATIENCE, |l| l.contains("staying to take its place").then_some(()));
    assert!(waits.is_some(), "{waiting:?}");
    waiting
}

fn assert_serves(successor: &Process, client: &Client) {
    let serves = successor.stderr.wait_for(PATIENCE, |l| l.contains("staying to seed").then_some(()));
    assert!(serves.is_some(), "{successor:?}");
    assert_eq!(client.ok(&["whoami"])["user"], client.name());
}

#[test]
fn a_prompt_ends_unasked_where_who_is_attached_takes_its_place() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let mut holder = at_prompt(&alice);
    holder.until("her name", |t| t.line().trim_end().ends_with("alice@shoal>"));
    let successor = successor(&alice);
    // Another one does end with it, and is counted alone.
    let mut attached = Process::start(alice.command().arg("--json"));
    attached.type_line("whoami");
    assert!(attached.stdout.wait_for(PATIENCE, |l| l.contains("alice").then_some(())).is_some());
    holder.press("quit\r");
    holder.until_text("1 other client is attached to this one");
    holder.press("n\r");
    holder.until("the prompt again", |t| t.line().trim_end().ends_with("alice@shoal>"));
    attached.end_input();
    assert_eq!(attached.wait(PATIENCE).code(), Some(0));
    holder.press("quit\r");
    assert_eq!(exit_code(holder), 0);
    assert_serves(&successor, &alice);
}

#[test]
fn a_script_ends_where_who_is_attached_takes_its_place() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let mut first = Process::start(alice.command().arg("--json"));
    first.type_line("whoami");
    assert!(first.stdout.wait_for(PATIENCE, |l| l.contains("alice").then_some(())).is_some());
    let successor = successor(&alice);
    first.end_input();
    assert_eq!(first.wait(PATIENCE).code(), Some(0), "{first:?}");
    assert_serves(&successor, &alice);
}

#[test]
fn a_link_from_a_client_that_does_not_stay_says_so() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let alone = alice.run(&["web"]);
    assert!(alone.code == Some(0) && alone.stderr.contains("start one that stays (`--stay --web`)"), "{alone:?}");
    let _live = service(&alice, &[]);
    let attached = alice.run(&["web"]);
    assert!(attached.code == Some(0) && !attached.stderr.contains("stays"), "{attached:?}");
}

#[test]
fn whether_others_can_reach_a_client_is_told_only_as_far_as_it_was_seen() {
    let cluster = Cluster::start(1);
    let (_alice, mut a, bob) = sharing(&cluster, 1000);
    let state = |live: &mut Live| live.ok("status")["reach"].clone();
    assert_eq!(state(&mut a), serde_json::json!({ "state": "loopback" }));
    bob.ok(&["download_file lab data.bin downloads"]);
    let reach = state(&mut a);
    assert!(reach["state"] == "loopback" && reach["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{reach}");
    let mut command = std::process::Command::new(harness::binary("client"));
    let info = cluster.dir().join("tracker_info.txt");
    command.current_dir(bob.home()).arg("0.0.0.0:0").arg(info).args(["--json", "-c", "status"]);
    let out = command.arg("--data-dir").arg(bob.home().join("data")).output().unwrap();
    let status: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(status["data"]["reach"], serde_json::json!({ "state": "unknown" }), "{status}");
}
