//! The interface as scripts see it: exit codes, JSON, error codes, refusals that lose nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::process::Command;
use std::time::Duration;

use harness::{Cluster, PATIENCE, Process, binary, random_file};

#[test]
fn every_rule_of_groups_has_its_error_code() {
    let cluster = Cluster::start(1);
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    let mut a = alice.live();
    let mut b = bob.live();
    cluster.client("x").refused("create_user alice another-password", "user_exists");
    cluster.client("x").refused("login alice wrong-password", "bad_credentials");
    cluster.client("x").refused("login nobody wrong-password", "bad_credentials");
    cluster.client("x").refused("list_groups", "not_logged_in");
    cluster.client("x").refused("create_user carol short", "invalid_argument");
    for bad in [".x", "-x", "'a b'", "a/b", &"n".repeat(65), "é"] {
        let refused = cluster.client("x").run(&[&format!("create_user -- {bad} long-enough-password")]);
        assert!(["invalid_argument", "usage"].contains(&refused.error()), "{bad}: {refused:?}");
    }

    a.ok("create_group lab");
    b.refused("create_group lab", "group_exists");
    b.refused("join_group nowhere", "no_such_group");
    b.refused("list_files lab", "not_a_member");
    b.refused("list_members lab", "not_a_member");
    b.refused("list_requests lab", "not_admin");
    b.refused("download_file lab x downloads", "not_a_member");
    a.refused("join_group lab", "already_member");
    a.refused("accept_request lab bob", "no_such_request");
    b.ok("join_group lab");
    b.refused("join_group lab", "already_requested");
    assert_eq!(relation(&b.ok("list_groups"), "lab"), "pending");
    b.ok("leave_group lab");
    assert_eq!(relation(&b.ok("list_groups"), "lab"), "none");
    b.ok("join_group lab");
    a.ok("reject_request lab bob");
    b.ok("join_group lab");
    b.refused("accept_request lab bob", "not_admin");
    a.ok("accept_request lab bob");
    a.refused("accept_request lab bob", "no_such_request");
    assert_eq!(relation(&b.ok("list_groups"), "lab"), "member");
    assert_eq!(a.ok("list_members lab")["members"].as_array().unwrap().len(), 2);
    b.refused("remove_member lab alice", "not_admin");
    a.refused("remove_member lab nobody", "no_such_user");
    a.refused("make_admin lab nobody", "no_such_user");

    a.ok("make_admin lab bob");
    assert_eq!(relation(&b.ok("list_groups"), "lab"), "admin");
    a.refused("remove_member lab bob", "not_admin");
    b.ok("remove_member lab alice");
    a.refused("list_files lab", "not_a_member");
    a.ok("join_group lab");
    b.ok("accept_request lab alice");
    b.ok("leave_group lab");
    assert_eq!(relation(&a.ok("list_groups"), "lab"), "admin");
    a.ok("leave_group lab");
    assert!(a.ok("list_groups")["groups"].as_array().unwrap().is_empty(), "the last one closes the group");
    a.refused("leave_group lab", "no_such_group");
}

fn relation(groups: &serde_json::Value, group: &str) -> String {
    let rows = groups["groups"].as_array().unwrap();
    rows.iter().find(|g| g["group"] == group).unwrap()["relation"].as_str().unwrap().to_owned()
}

#[test]
fn files_have_their_error_codes_and_nothing_is_overwritten() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let mut a = alice.live();
    a.ok("create_group lab");
    let home = alice.home();
    random_file(&home.join("data.bin"), 300_000).unwrap();
    random_file(&home.join("other.bin"), 300_000).unwrap();
    let up = a.ok("upload_file data.bin lab");
    assert_eq!((&up["size"], &up["piece_size"], &up["pieces"]), (&300_000.into(), &262_144.into(), &2.into()));
    a.refused("upload_file missing.bin lab", "io");
    a.refused("upload_file data.bin nowhere", "no_such_group");
    a.refused("upload_file other.bin lab --name data.bin", "file_exists");
    a.refused("upload_file other.bin lab --piece-size 17KiB", "invalid_argument");
    a.refused("upload_file other.bin lab --name ../escape", "invalid_argument");

    let bob = cluster.user("bob");
    let mut b = bob.live();
    b.ok("join_group lab");
    a.ok("accept_request lab bob");
    b.refused("download_file lab missing.bin downloads", "no_such_file");
    b.refused("download_file lab id:0123456789 downloads", "no_such_file");
    b.refused("download_file lab id:xyz downloads", "invalid_argument");
    std::fs::write(bob.downloads().join("data.bin"), "precious").unwrap();
    b.refused("download_file lab data.bin downloads", "destination_exists");
    assert_eq!(std::fs::read_to_string(bob.downloads().join("data.bin")).unwrap(), "precious");
    b.refused("download_file lab data.bin no/such/dir/x", "invalid_argument");
    b.ok("download_file lab data.bin downloads --force");
    assert_eq!(std::fs::read(bob.downloads().join("data.bin")).unwrap(), std::fs::read(home.join("data.bin")).unwrap());
    b.ok("stop_share lab data.bin");
    a.ok("stop_share lab data.bin");
    assert_eq!(b.ok("list_files lab")["files"][0]["seeders"], 0);
    let carol = cluster.user("carol");
    carol.ok(&["join_group lab"]);
    a.ok("accept_request lab carol");
    carol.refused("download_file lab data.bin downloads", "no_seeders");
    a.ok("upload_file other.bin lab --name data.bin");
    let files = a.ok("list_files lab");
    assert_eq!(files["files"].as_array().unwrap().len(), 1, "{files}");
}

#[test]
fn json_is_one_object_a_command_and_nothing_else() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let script = alice.run(&["whoami", "list_groups", "create_group 'x", "whoami"]);
    assert_eq!(script.code, Some(1));
    assert_eq!(script.stdout.lines().count(), 3, "stops at the first failure: {script:?}");
    for (line, result) in script.stdout.lines().zip(&script.results) {
        assert!(line.starts_with(r#"{"v":1,"command":""#), "{line}");
        assert_eq!(result["ok"] == true, result.get("data").is_some());
        assert_eq!(result["ok"] == false, result.get("error").is_some());
    }
    assert_eq!(script.results[0]["data"], serde_json::json!({"user": "alice"}));
    assert_eq!(script.error(), "usage");
}

#[test]
fn unknown_commands_and_missing_arguments_are_explained() {
    let cluster = Cluster::start(1);
    let x = cluster.client("x");
    assert!(x.refused("creat_group lab", "usage").contains("create_group"));
    assert!(x.refused("create_group", "usage").contains("create_group"));
    assert!(x.refused("list_files", "usage").contains("list_files"));
    x.refused("", "usage");
}

#[test]
fn exit_codes() {
    let mut cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let code = |lines: &[&str]| alice.run(lines).code;
    assert_eq!(code(&["whoami"]), Some(0));
    assert_eq!(code(&["join_group nowhere"]), Some(1));
    let status = |arguments: &[&str]| {
        Command::new(binary("client")).args(arguments).current_dir(cluster.dir()).output().unwrap().status.code()
    };
    assert_eq!(status(&[]), Some(2));
    assert_eq!(status(&["nonsense", "tracker_info.txt"]), Some(2));
    assert_eq!(status(&["127.0.0.1:0", "no_such_file.txt"]), Some(2));
    assert_eq!(status(&["127.0.0.1:0", "tracker_info.txt", "--no-such-option"]), Some(2));
    assert_eq!(status(&["127.0.0.1:0", "tracker_info.txt", "-f", "no_such_script"]), Some(2));
    cluster.kill_tracker(1);
    let unreachable = alice.run(&["whoami", "list_groups"]);
    assert_eq!((unreachable.code, unreachable.error()), (Some(3), "trackers_unreachable"));

    cluster.start_tracker(1);
    let mut live = alice.live();
    live.ok("whoami");
    live.process.signal("INT");
    assert!(live.process.wait(PATIENCE).code().is_some_and(|c| c == 0 || c == 130));
}

#[test]
fn scripts_come_from_files_and_pipes_and_go_on_only_if_asked() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let script = alice.home().join("script");
    std::fs::write(&script, "# a comment\n\ncreate_group one\njoin_group nowhere\ncreate_group two\n").unwrap();
    let run = |extra: &[&str]| {
        let mut command = alice.command();
        let mut p = Process::start(command.args(["--json", "-f", "script"]).args(extra));
        p.end_input();
        (p.wait(PATIENCE).code(), p.stdout.lines().len())
    };
    assert_eq!(run(&[]), (Some(1), 2));
    assert_eq!(run(&["--keep-going"]), (Some(1), 3), "`one` exists by now, `two` is made");

    let mut piped = Process::start(&mut alice.command());
    piped.type_line("whoami");
    piped.type_line("list_groups");
    piped.end_input();
    assert_eq!(piped.wait(PATIENCE).code(), Some(0));
    let out = piped.stdout.text();
    assert!(out.contains("alice") && out.contains("one") && out.contains("two"), "{out}");
    assert!(!out.contains('\u{1b}') && !piped.stderr.text().contains('\u{1b}'), "no colours in a pipe");
}

#[test]
fn a_script_may_begin_with_a_byte_order_mark() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    std::fs::write(alice.home().join("script"), "\u{feff}whoami\nlist_groups\n").unwrap();
    let mut from_file = Process::start(alice.command().args(["--json", "-f", "script"]));
    assert_eq!(from_file.wait(PATIENCE).code(), Some(0), "{from_file:?}");
    let mut piped = Process::start(alice.command().arg("--json"));
    piped.type_line("\u{feff}whoami");
    piped.end_input();
    assert_eq!(piped.wait(PATIENCE).code(), Some(0), "{piped:?}");
    assert!(from_file.stdout.text().contains("alice") && piped.stdout.text().contains("alice"));
}

#[test]
fn a_script_that_cannot_be_read_is_named_and_exit_status_2() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    std::fs::create_dir(alice.home().join("scripts")).unwrap();
    // The second can be opened, and its first bytes cannot be read.
    let scripts = if cfg!(target_os = "linux") { &["scripts", "/proc/self/mem"][..] } else { &["scripts"] };
    for script in scripts {
        let run = |options: &[&str]| {
            let out = alice.command().args(["-f", script]).args(options).output().unwrap();
            (out.status.code(), String::from_utf8(out.stderr).unwrap(), String::from_utf8(out.stdout).unwrap())
        };
        for options in [&[][..], &["--keep-going"], &["--stay", "--keep-going"]] {
            let (code, said, _) = run(options);
            assert!(code == Some(2) && said.contains(script), "{script} {options:?}: {code:?} {said}");
        }
        let (code, _, said) = run(&["--json"]);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!((code, &said["error"]["code"], &said["command"]), (Some(2), &"io".into(), &serde_json::Value::Null));
    }
}

#[test]
fn two_clients_in_one_directory_do_not_disturb_each_other_and_one_data_directory_has_one_engine() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let mut live = alice.live();
    live.ok("whoami");
    let mut second = alice.command();
    let out = second.args(["-c", "whoami"]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!((out.status.code(), String::from_utf8_lossy(&out.stdout).trim()), (Some(0), "alice"), "{said}");
    drop(live);

    let start = |port: &str| {
        let mut command = Command::new(binary("client"));
        command.current_dir(cluster.dir()).args([port, "tracker_info.txt", "--json", "--stay"]);
        Process::start(&mut command)
    };
    let mut both = [start("127.0.0.1:0"), start("127.0.0.2:0")];
    for p in &mut both {
        p.type_line("status");
        assert!(p.stdout.wait_for(PATIENCE, |l| l.contains(r#""ok":true"#).then_some(())).is_some(), "{p:?}");
    }
}

#[test]
fn a_session_outlives_processes_until_logout_or_a_new_password() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    assert_eq!(alice.ok(&["whoami"])["user"], "alice");
    let elsewhere = cluster.client("alice-2");
    elsewhere.ok(&["login alice password-of-alice"]);
    alice.refused("change_password wrong-old-one new-password", "bad_credentials");
    alice.ok(&["change_password password-of-alice new-password-of-alice", "list_groups"]);
    elsewhere.refused("list_groups", "not_logged_in");
    alice.ok(&["list_groups"]);
    alice.ok(&["logout"]);
    alice.refused("list_groups", "not_logged_in");
    alice.refused("login alice password-of-alice", "bad_credentials");
    alice.ok(&["login alice new-password-of-alice"]);
}

#[test]
fn secrets_are_private_and_passwords_are_in_no_file() {
    use std::os::unix::fs::PermissionsExt;
    let cluster = Cluster::start(1);
    cluster.user("alice");
    let mut found = 0;
    let mut todo = vec![cluster.dir().to_owned()];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(17).any(|w| w == b"password-of-alice"), "{}", path.display());
        if path.file_name().is_some_and(|n| n != "tracker_info.txt") {
            let mode = path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode & 0o077, 0, "{} is {mode:o}", path.display());
            found += 1;
        }
    }
    assert!(found >= 4, "database, secret, key and session");
}

#[test]
fn stay_seeds_until_it_is_told_to_end() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let mut command = alice.command();
    let mut p = Process::start(command.args(["--json", "--stay", "-c", "whoami"]));
    p.end_input();
    assert!(p.stdout.wait_for(PATIENCE, |l| l.contains("alice").then_some(())).is_some());
    assert!(p.stdout.wait_for(Duration::from_millis(300), |_| None::<()>).is_none());
    p.signal("TERM");
    assert_eq!(p.wait(PATIENCE).code(), Some(0));
}

/// What a client that is called with these arguments says on stdout, as JSON, and its exit status.
fn json_of(command: &mut Command) -> (serde_json::Value, Option<i32>) {
    let out = command.output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "one object: {text}");
    (serde_json::from_str(&text).unwrap(), out.status.code())
}

#[test]
fn whatever_keeps_a_client_from_starting_is_an_object_and_exit_status_2() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    std::fs::write(cluster.dir().join("bad.txt"), "nonsense\n").unwrap();
    let mut live = alice.live();
    live.ok("whoami");
    let of = |arguments: &[&str]| {
        let mut command = Command::new(binary("client"));
        command.current_dir(cluster.dir()).args(arguments).args(["--json", "-c", "whoami"]);
        json_of(&mut command)
    };
    let data = alice.home().join("data");
    let list = "tracker_info.txt";
    for (arguments, code) in [
        (&[port.as_str(), list][..], "in_use"),
        (&["127.0.0.1:0", list, "--data-dir", data.to_str().unwrap(), "-f", "missing"], "io"),
        (&["127.0.0.1:0", "missing.txt"], "io"),
        (&["127.0.0.1:0", "bad.txt"], "invalid_argument"),
        (&["127.0.0.1:0", list, "-f", "missing"], "io"),
        (&["no-such-machine.invalid:0", list], "invalid_argument"),
        (&["127.0.0.1", "7000"], "usage"),
        (&["127.0.0.1:0", list, "--no-such-option"], "usage"),
        (&["127.0.0.1:0", list, "--password-fd", "77"], "io"),
    ] {
        let (said, status) = of(arguments);
        assert_eq!((&said["error"]["code"], status), (&code.into(), Some(2)), "{arguments:?}: {said}");
        assert!(said["command"].is_null() && said["ok"] == false && said["v"] == 1, "{said}");
    }
    let (said, _) = of(&["127.0.0.1", "7000"]);
    let message = said["error"]["message"].as_str().unwrap();
    // With options it is not clear what was meant.
    assert!(message.contains("has no port"), "{message}");
    let out = Command::new(binary("client")).args(["127.0.0.1", "7000"]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("`client 127.0.0.1:7000 tracker_info.txt`"), "{said}");
}

#[test]
fn an_interrupted_script_says_so_and_which_signal_it_was() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    alice.ok(&["create_group lab"]);
    let large = alice.home().join("large.bin");
    // Takes a minute to hash, and no room.
    std::fs::File::create(&large).unwrap().set_len(256 << 30).unwrap();
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        for busy in [false, true] {
            let mut command = alice.command();
            let mut p = Process::start(command.arg("--json"));
            p.type_line("whoami");
            assert!(p.stdout.wait_for(PATIENCE, |l| l.contains("whoami").then_some(())).is_some());
            if busy {
                p.type_line("upload_file large.bin lab");
                let fds = format!("/proc/{}/fd", p.id());
                let is_open = || {
                    let links = std::fs::read_dir(&fds).unwrap().flatten().map(|e| std::fs::read_link(e.path()));
                    links.flatten().any(|path| path.ends_with("large.bin"))
                };
                let deadline = std::time::Instant::now() + PATIENCE;
                while !is_open() {
                    assert!(std::time::Instant::now() < deadline, "never hashed");
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            p.signal(signal);
            assert_eq!(p.wait(PATIENCE).code(), Some(status));
            let last: serde_json::Value = serde_json::from_str(p.stdout.lines().last().unwrap()).unwrap();
            let command = if busy { "upload_file".into() } else { serde_json::Value::Null };
            assert_eq!((&last["command"], &last["error"]["code"]), (&command, &"interrupted".into()), "{last}");
        }
    }
}

#[test]
fn passwords_come_from_a_descriptor_or_the_environment() {
    let cluster = Cluster::start(1);
    let carol = cluster.client("carol");
    carol.refused("create_user carol", "usage");
    std::fs::write(carol.home().join("passwords"), "first-password\nfirst-password\nsecond-password\n").unwrap();
    let client = carol.command();
    let line: Vec<_> = std::iter::once(client.get_program()).chain(client.get_args()).collect();
    let line = line.iter().map(|word| format!("'{}'", word.to_string_lossy())).collect::<Vec<_>>().join(" ");
    let lines =
        "-c 'create_user carol' -c 'login carol' -c 'change_password first-password third-password' -c 'login carol'";
    let script = format!("{line} --json --password-fd 3 {lines} 3<passwords");
    let out = Command::new("sh").current_dir(carol.home()).args(["-c", &script]).output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert_eq!(said.lines().filter(|l| l.contains(r#""ok":true"#)).count(), 3, "{said}");
    assert!(said.lines().last().unwrap().contains("bad_credentials"), "the third line is the second password: {said}");
    let mut command = carol.command();
    command.env("SHOAL_PASSWORD", "third-password").args(["--json", "-c", "login carol"]);
    assert_eq!(json_of(&mut command).1, Some(0));
}

#[test]
fn an_upload_of_a_script_that_ends_says_that_nobody_seeds_it() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    random_file(&alice.home().join("data.bin"), 1000).unwrap();
    let said = alice.run(&["create_group lab", "upload_file data.bin lab"]);
    assert!(said.stderr.contains("not seeded") && said.stderr.contains("`--stay`"), "{said:?}");
    let mut live = alice.live();
    live.ok("upload_file data.bin lab --name other.bin");
    assert!(!live.process.stderr.text().contains("not seeded"), "{:?}", live.process);
}

#[test]
fn a_client_may_be_called_by_a_name_of_this_machine() {
    let cluster = Cluster::start(1);
    let mut command = Command::new(binary("client"));
    command.current_dir(cluster.dir()).args(["localhost:0", "tracker_info.txt", "--json", "-c", "status"]);
    let (said, status) = json_of(&mut command);
    assert_eq!(status, Some(0), "{said}");
    assert!(said["data"]["listen"].as_str().unwrap().starts_with("127.0.0.1:"), "{said}");
    assert!(cluster.dir().join("data/client-127.0.0.1-0").is_dir());
}

#[test]
fn leaving_tells_a_request_from_a_membership() {
    let cluster = Cluster::start(1);
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    alice.ok(&["create_group lab"]);
    assert_eq!(bob.ok(&["join_group lab", "leave_group lab"])["was"], "pending");
    bob.ok(&["join_group lab"]);
    alice.ok(&["accept_request lab bob"]);
    assert_eq!(bob.ok(&["leave_group lab"])["was"], "member");
    bob.refused("leave_group lab", "not_a_member");
}
