//! What a person sets: limits of the whole client, of groups and of downloads, by the clock; settings and where they come from.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::time::{Duration, Instant};

use harness::{Client, Cluster, Live, PATIENCE, Process, random_file};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
/// The longest look at who gets something; a slot is handed over after a second.
const LOOK: Duration = Duration::from_millis(300);

/// Alice, who seeds a file of `len` bytes in `lab` and in `other`, and bob as a member of both.
fn sharing(cluster: &Cluster, len: u64) -> (Live, Client) {
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    random_file(&alice.home().join("data.bin"), len).unwrap();
    random_file(&alice.home().join("more.bin"), len).unwrap();
    let mut a = alice.live();
    for (group, file) in [("lab", "data.bin"), ("other", "more.bin")] {
        a.ok(&format!("create_group {group}"));
        a.ok(&format!("upload_file {file} {group}"));
        bob.ok(&[&format!("join_group {group}")]);
        a.ok(&format!("accept_request {group} bob"));
    }
    (a, bob)
}

/// How long a download takes.
fn fetched(live: &mut Live, line: &str) -> f64 {
    live.ok(line)["seconds"].as_f64().unwrap()
}

/// Hours around now, and others, in UTC.
fn hours() -> (String, String) {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let hour = |from: u64, until: u64| format!("{:02}:00-{:02}:00", from % 24, until % 24);
    let now = seconds / 3600 % 24;
    (hour(now + 23, now + 2), hour(now + 5, now + 8))
}

#[test]
fn a_limit_of_a_group_holds_there_only_and_is_kept_under_its_id() {
    let cluster = Cluster::start(1);
    let (_alice, bob) = sharing(&cluster, 4 * MIB);
    let mut b = bob.live();
    let set = b.ok("limit down 512K --group lab");
    let row = json!({ "direction": "down", "group": "lab", "rate": MIB / 2, "now": true });
    assert_eq!(set, json!({ "up": null, "down": null, "limits": [row] }));
    let slow = fetched(&mut b, "download_file lab data.bin downloads");
    let fast = fetched(&mut b, "download_file other more.bin downloads");
    assert!(slow > 6.0 && fast < slow / 2.0, "{slow} s under the limit, {fast} s without");
    b.refused("limit down 1M --group nowhere", "no_such_group");
    let text = std::fs::read_to_string(bob.home().join("data/settings.toml")).unwrap();
    assert!(
        text.contains("[limit.group.") && text.contains("name = \"lab\"") && text.contains("down = \"512K\""),
        "{text}"
    );
    assert!(b.stop());
    let mut b = bob.live();
    assert_eq!(b.ok("limit")["limits"], json!([row]), "after a restart");
    b.ok("limit down off --group lab");
    assert_eq!(b.ok("limit"), json!({ "up": null, "down": null }));
}

#[test]
fn of_the_limits_of_a_download_its_group_and_the_client_the_smallest_holds() {
    let cluster = Cluster::start(1);
    let (_alice, bob) = sharing(&cluster, 24 * MIB);
    let mut b = bob.live();
    b.ok("limit down 1M");
    b.ok("limit down 20M --group lab");
    let mut face = Process::start(bob.command().args(["--json", "-c", "download_file lab data.bin downloads"]));
    let mut have = || b.ok("show_downloads")["downloads"][0]["have"].as_u64().unwrap_or_default();
    let deadline = Instant::now() + PATIENCE;
    while have() == 0 {
        assert!(Instant::now() < deadline, "nothing came");
        // Nobody tells from outside.
        std::thread::sleep(Duration::from_millis(20));
    }
    let (before, begun) = (have(), Instant::now());
    std::thread::sleep(Duration::from_secs(2)); // It is measured.
    let rate = (have() - before) as f64 / begun.elapsed().as_secs_f64();
    assert!(rate < 1.8 * MIB as f64, "a larger limit of the group lifts none of the client: {rate}");
    b.ok("limit down 100K --download 1");
    b.ok("limit down off");
    let rows = b.ok("limit")["limits"].clone();
    assert!(
        rows.as_array().unwrap().contains(&json!({ "direction": "down", "n": 1, "rate": 102_400, "now": true })),
        "{rows}"
    );
    for direction in ["up", "down"] {
        b.refused(&format!("limit {direction} 1M --download 9"), "invalid_argument");
    }
    // It lasts as long as the download, also over a restart.
    face.signal("INT");
    face.wait(PATIENCE);
    assert!(b.stop());
    let mut b = bob.live();
    b.ok("whoami");
    assert_eq!(b.ok("limit")["limits"][1]["n"], 1);
    b.ok("limit down off --download 1");
    b.ok("download_file lab data.bin downloads");
    assert_eq!(b.ok("limit")["limits"].as_array().unwrap().len(), 1, "only that of the group is left");
}

/// The limits of download 1: direction, rate and hours of each, and whether it holds now.
fn of_download(live: &mut Live) -> Vec<(String, Option<u64>, Option<String>, bool)> {
    let told = live.ok("limit");
    let rows = told["limits"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |row: &Value, name: &str| row[name].as_str().map(str::to_owned);
    let rows = rows.iter().filter(|row| row["n"] == 1);
    let row = |row: &Value| {
        (text(row, "direction").unwrap(), row["rate"].as_u64(), text(row, "at"), row["now"].as_bool().unwrap())
    };
    rows.map(row).collect()
}

#[test]
fn a_download_has_limits_both_ways_and_by_the_clock_also_over_a_restart() {
    let cluster = Cluster::start(1);
    let (mut a, bob) = sharing(&cluster, 4 * MIB);
    let (now, later) = hours();
    let live = |client: &Client| client.live_from(client.command().env("TZ", "UTC"));
    let mut b = live(&bob);
    let mut face = Process::start(
        bob.command().args(["--json", "-c", "limit down 64K", "-c"]).arg("download_file lab data.bin downloads"),
    );
    let deadline = Instant::now() + PATIENCE;
    while b.ok("show_downloads")["downloads"].as_array().is_none_or(Vec::is_empty) {
        assert!(Instant::now() < deadline, "it has not begun");
        // Nobody tells from outside.
        std::thread::sleep(Duration::from_millis(20));
    }
    for (direction, rate, at) in
        [("down", "1M", ""), ("down", "512K", &now), ("up", "256K", &now), ("up", "1K", &later)]
    {
        let at = if at.is_empty() { String::new() } else { format!(" --at {at}") };
        b.ok(&format!("limit {direction} {rate} --download 1{at}"));
    }
    let row = |direction: &str, rate: Option<u64>, at: Option<&String>, now: bool| {
        (direction.to_owned(), rate, at.cloned(), now)
    };
    // Hours are told in their order.
    let mut up = vec![row("up", Some(MIB / 4), Some(&now), true), row("up", Some(1024), Some(&later), false)];
    up.sort_by_key(|row| row.2.clone());
    let up: Vec<_> = up.into_iter().chain([row("up", None, None, false)]).collect();
    let down = [row("down", Some(MIB / 2), Some(&now), true), row("down", Some(MIB), None, false)];
    let all: Vec<_> = up.iter().chain(&down).cloned().collect();
    assert_eq!(of_download(&mut b), all);
    face.signal("INT");
    face.wait(PATIENCE);
    assert!(b.stop());
    let mut b = live(&bob);
    b.ok("whoami");
    assert_eq!(of_download(&mut b), all, "after a restart");
    b.ok("limit down off");
    let took = fetched(&mut b, "download_file lab data.bin downloads");
    assert!(took > 3.0, "{took} s at 512 KiB/s");
    assert_eq!(of_download(&mut b), up, "what comes has come, and what is sent is limited while it is listed");

    // From bob alone.
    let carol = cluster.user("carol");
    carol.ok(&["join_group lab"]);
    a.ok("accept_request lab carol");
    a.ok("stop_share lab data.bin");
    let mut c = carol.live();
    let slow = fetched(&mut c, "download_file lab data.bin downloads");
    b.ok("limit up off --download 1");
    assert_eq!(of_download(&mut b), []);
    c.ok("stop_share lab data.bin");
    let fast = fetched(&mut c, "download_file lab data.bin downloads/again.bin");
    assert!(slow > 12.0 && fast < slow / 2.0, "{slow} s under the limit, {fast} s without");
}

#[test]
fn a_limit_at_hours_holds_then_and_the_plain_one_otherwise() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let (now, later) = hours();
    let mut command = alice.command();
    let mut live = alice.live_from(command.env("TZ", "UTC"));
    live.ok("limit up 10M");
    assert_eq!(live.ok(&format!("limit up 1M --at {later}"))["up"], 10 * MIB);
    let both = live.ok(&format!("limit up 2M --at {now}"));
    let by_hours = |live: &mut Live| live.ok("show limit_up")["settings"][0]["by_hours"] == true;
    assert!(by_hours(&mut live), "what is shown is not all that is set");
    assert_eq!(both["up"], 2 * MIB);
    let holds: Vec<_> = both["limits"].as_array().unwrap().iter().filter(|row| row["now"] == true).collect();
    assert!(
        holds.len() == 1 && holds[0]["at"] == json!(now) && both["limits"].as_array().unwrap().len() == 3,
        "{both}"
    );
    live.refused("limit up 1M --at 25:00-26:00", "invalid_argument");
    assert!(live.stop());
    let mut command = alice.command();
    let mut live = alice.live_from(command.env("TZ", "UTC"));
    assert_eq!(live.ok("status")["limits"]["up"], 2 * MIB, "after a restart");
    assert_eq!(live.ok("limit up off"), json!({ "up": null, "down": null }), "at any time, and the hours are gone");
    assert!(!by_hours(&mut live));
}

#[test]
fn a_setting_comes_from_the_command_line_the_environment_or_the_file() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let from = |row: &Value| (row["value"].as_str().unwrap().to_owned(), row["from"].as_str().unwrap().to_owned());
    let slots = |data: Value| data["settings"][0].clone();
    let own = |value: &str, from: &str| (value.to_owned(), from.to_owned());
    assert_eq!(from(&slots(alice.ok(&["show seeding_slots"]))), own("8", "default"));
    assert_eq!(from(&slots(alice.ok(&["set seeding_slots 3"]))), own("3", "file"));
    assert_eq!(from(&slots(alice.ok(&["show seeding_slots"]))), own("3", "file"));
    let mut command = alice.command();
    let mut live = alice.live_from(command.env("SHOAL_SEEDING_SLOTS", "5").env("SHOAL_LIMIT_UP", "1M"));
    assert_eq!(from(&slots(live.ok("show seeding_slots"))), own("5", "environment"));
    assert_eq!(live.ok("status")["limits"]["up"], MIB);
    let set = slots(live.ok("set seeding_slots off"));
    assert_eq!((from(&set), &set["next_start"]), (own("off", "file"), &json!("environment")));
    assert_eq!(live.ok("set")["settings"].as_array().unwrap().len(), 3);
    assert!(live.stop());
    let mut command = alice.command();
    command.env("SHOAL_SEEDING_SLOTS", "5").args(["--seeding-slots", "0", "--limit-up", "off"]);
    let mut live = alice.live_from(&mut command);
    assert_eq!(from(&slots(live.ok("show seeding_slots"))), own("off", "flag"));
    let refused = live.refused("set colour blue", "invalid_argument");
    assert!(refused.contains("limit_up, limit_down, seeding_slots"), "{refused}");
    assert!(live.refused("set seeding_slots many", "invalid_argument").contains("no number of uploads"));
    assert_eq!(from(&slots(live.ok("set seeding_slots default"))), own("8", "default"));
    assert!(live.stop());
    let wrong =
        Process::start(alice.command().env("SHOAL_LIMIT_UP", "fast").args(["--json", "-c", "whoami"])).wait(PATIENCE);
    assert_eq!(wrong.code(), Some(2));
}

#[test]
fn what_holds_is_printed_as_a_file_that_says_the_same() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    alice.ok(&[
        "create_group lab",
        "limit up 3M",
        "limit up 1M --at 8-18",
        "limit down 2M --group lab",
        "set seeding_slots 2",
    ]);
    let printed = |client: &Client| {
        let mut command = client.command();
        let out = command.env("SHOAL_LIMIT_DOWN", "7M").arg("--print-config").output().unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    let text = printed(&alice);
    for part in [
        "up = \"3M\"",
        "\"08:00-18:00\" = \"1M\"",
        "down = \"7M\"",
        "from SHOAL_LIMIT_DOWN in the environment",
        "name = \"lab\"",
        "slots = 2",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let other = cluster.user("bob");
    std::fs::write(other.home().join("data/settings.toml"), &text).unwrap();
    let values = |text: &str| text.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>().join("\n");
    assert_eq!(values(&printed(&other)), values(&text));
    // It takes no data directory: one that runs is not in its way, and none is made.
    let _live = alice.live();
    printed(&alice);
    let nowhere = cluster.client("carol");
    printed(&nowhere);
    assert!(!nowhere.home().join("data").exists());
}

#[test]
fn from_one_slot_everybody_gets_all() {
    let cluster = Cluster::start(1);
    let (mut a, bob) = sharing(&cluster, 4 * MIB);
    let carol = cluster.user("carol");
    carol.ok(&["join_group lab"]);
    a.ok("accept_request lab carol");
    a.ok("set seeding_slots 1");
    // So that both are there at the same time.
    a.ok("limit up 1M");
    let mut lives = [bob.live(), carol.live()];
    lives.iter_mut().for_each(|live| drop(live.ok("whoami")));
    let fetch = |client: &Client, line: &str| Process::start(client.command().args(["--json", "-c", line]));
    // Not the same file: they would give it to each other.
    let mut one = fetch(&bob, "download_file other more.bin downloads");
    let mut two = fetch(&carol, "download_file lab data.bin downloads");
    // Whoever has the slot gets something, and the other nothing until it is handed over.
    let (mut before, mut alone, mut together) = ([0; 2], 0, 0);
    let deadline = Instant::now() + PATIENCE;
    let mut looked = Instant::now();
    while before != [4 * MIB; 2] {
        assert!(Instant::now() < deadline, "{before:?}");
        std::thread::sleep(Duration::from_millis(200));
        let have = lives.each_mut().map(|live| {
            let listed = live.ok("show_downloads");
            listed["downloads"][0]["have"].as_u64().unwrap_or_default()
        });
        match have.iter().zip(before).filter(|(have, before)| **have > before + MIB / 16).count() {
            // In so long a look each may have had the slot.
            2 if looked.elapsed() > LOOK => {}
            2 => together += 1,
            grew => alone += grew,
        }
        (before, looked) = (have, Instant::now());
    }
    assert!(together + alone >= 6, "too few looks: {together}, {alone}");
    assert!(together * 3 <= alone, "both at once in {together} of {} moments", together + alone);
    assert!(one.wait(PATIENCE).success() && two.wait(PATIENCE).success(), "{one:?} {two:?}");
}

#[test]
fn progress_is_told_as_lines_of_json() {
    let cluster = Cluster::start(1);
    let (_alice, bob) = sharing(&cluster, 2 * MIB);
    let script = bob.run(&["limit down 1M", "download_file lab data.bin downloads"]);
    assert_eq!(script.code, Some(0), "{script:?}");
    let told: Vec<Value> = script.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told: Vec<_> = told.iter().filter(|line| line["event"] == "progress").collect();
    assert!(!told.is_empty() && told.len() < 20, "{script:?}");
    assert!(
        told.iter().all(|line| line["v"] == 1 && line["what"] == "download" && line["size"] == 2 * MIB),
        "{told:?}"
    );
}
