//! Two trackers from the outside: what one was told the other knows, and nobody notices a kill.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::{Asker, Client, Cluster, Live, PATIENCE, groups_at, until_dual, until_level};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value};

/// How long a client may wait for the answer to a command whose tracker dies.
const FAILOVER: Duration = Duration::from_secs(3);

#[test]
fn what_one_acknowledges_the_other_knows() {
    let mut cluster = Cluster::start(2);
    let alice = cluster.user("alice");
    until_dual(&alice, Duration::from_secs(20));
    alice.ok(&["create_group lab"]);
    for number in [1, 2] {
        assert_eq!(groups_at(&cluster, &alice, number), ["lab"], "tracker {number}");
    }
    cluster.kill_tracker(1);
    alice.ok(&["create_group studio"]);
    assert_eq!(groups_at(&cluster, &alice, 2), ["lab", "studio"]);
    cluster.start_tracker(1);
    until_dual(&alice, Duration::from_secs(30));
    assert_eq!(groups_at(&cluster, &alice, 1), ["lab", "studio"]);
}

#[test]
fn the_sibling_may_start_later_and_a_lost_disk_comes_back() {
    let mut cluster = Cluster::prepare(2);
    cluster.start_tracker(2);
    let alice = cluster.user("alice");
    alice.ok(&["create_group lab"]);
    cluster.start_tracker(1);
    until_dual(&alice, Duration::from_secs(20));
    assert_eq!(groups_at(&cluster, &alice, 1), ["lab"]);
    cluster.kill_tracker(2);
    std::fs::remove_dir_all(cluster.data_of(2)).expect("a lost disk");
    cluster.start_tracker(2);
    // Empty, with a sibling that has everything: it waits for that before it answers.
    assert_eq!(groups_at(&cluster, &alice, 2), ["lab"]);
}

#[test]
fn kills_lose_nothing_and_are_hardly_noticed() {
    let mut cluster = Cluster::start(2);
    let alice = cluster.user("alice");
    let asker = Asker::start(alice.live(), "g", Duration::ZERO);
    for cycle in 0..6 {
        std::thread::sleep(Duration::from_millis(300));
        let number = 1 + cycle % 2;
        cluster.kill_tracker(number);
        cluster.start_tracker(number);
    }
    let history = asker.finish();
    until_dual(&alice, Duration::from_secs(60));
    let seen = [1, 2].map(|number| groups_at(&cluster, &alice, number));
    assert_eq!(seen[0], seen[1]);
    for group in &history.done {
        assert_eq!(seen[0].iter().filter(|g| *g == group).count(), 1, "{group} was acknowledged");
    }
    assert!(!history.done.is_empty());
    assert!(history.slowest < FAILOVER, "a command took {:?}: {:?}", history.slowest, history.unknown);
}

/// The number of the tracker that a client's commands go to.
fn current(live: &mut Live) -> usize {
    let status = live.ok("status");
    let rows = status["trackers"].as_array().expect("rows");
    1 + rows.iter().position(|row| row["current"] == true).expect("a tracker")
}

/// Waits until a group is in the database of a tracker, whether anybody was told or not.
fn until_committed(data: &Path, group: &str) {
    let conn = Connection::open_with_flags(data.join("tracker.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).expect("opened");
    let until = Instant::now() + PATIENCE;
    let vote = "SELECT count(*) FROM votes WHERE kind = 1 AND name = ?1";
    let count = || conn.query_row(vote, [group], |r| r.get::<_, i64>(0));
    while count().expect("counted") == 0 {
        assert!(Instant::now() < until, "{group} is not made");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_command_in_flight_is_answered_when_its_tracker_is_killed() {
    let mut cluster = Cluster::start(2);
    let (alice, witness) = (cluster.user("alice"), cluster.user("witness"));
    until_dual(&witness, Duration::from_secs(20));
    let mut live = alice.live();
    for group in ["first", "second"] {
        let number = current(&mut live);
        // The command is on one disk, and waits for the other tracker, which is held up; nobody was told.
        cluster.tracker(3 - number).process.signal("STOP");
        let asked = live.send(&format!("create_group {group}"));
        until_committed(&cluster.data_of(number), group);
        cluster.kill_tracker(number);
        let killed = Instant::now();
        cluster.tracker(3 - number).process.signal("CONT");
        let answer = live.result(asked, PATIENCE).expect("an answer");
        let waited = killed.elapsed();
        assert_eq!(answer["ok"], true, "{answer}");
        assert!(waited < FAILOVER, "answered after {waited:?}");
        cluster.start_tracker(number);
        until_dual(&witness, Duration::from_secs(60));
    }
    // Carried out at both trackers under one request id: one group each.
    for number in [1, 2] {
        assert_eq!(groups_at(&cluster, &witness, number), ["first", "second"], "tracker {number}");
    }
    assert!(live.stop());
}

#[test]
fn a_command_that_a_tracker_never_read_is_answered_by_the_other() {
    let mut cluster = Cluster::start(2);
    let (alice, witness) = (cluster.user("alice"), cluster.user("witness"));
    until_dual(&witness, Duration::from_secs(20));
    let mut live = alice.live();
    let number = current(&mut live);
    cluster.tracker(number).process.signal("STOP");
    let asked = live.send("create_group lab");
    assert!(live.result(asked, Duration::from_millis(300)).is_none(), "a stopped tracker answers nothing");
    cluster.kill_tracker(number);
    let killed = Instant::now();
    let answer = live.result(asked, PATIENCE).expect("an answer");
    assert_eq!(answer["ok"], true, "{answer}");
    assert!(killed.elapsed() < FAILOVER, "answered after {:?}", killed.elapsed());
    assert_eq!(groups_at(&cluster, &witness, 3 - number), ["lab"]);
    assert!(live.stop());
}

#[test]
fn a_login_that_only_a_dead_tracker_knew_holds_again_when_it_is_back() {
    let mut cluster = Cluster::start(2);
    let (alice, witness) = (cluster.user("alice"), cluster.user("witness"));
    until_level(&cluster, &witness, Duration::from_secs(20));
    let mut live = alice.live();
    live.ok("logout");
    cluster.kill_tracker(2);
    live.ok("create_user carol password-of-carol");
    live.ok("login carol password-of-carol");
    cluster.kill_tracker(1);
    cluster.start_tracker(2);
    // Nobody here knows of carol. Her token says that there is one, so she is told to try again and not logged out.
    let asked = live.send("create_group lab");
    let answer = live.result(asked, Duration::from_secs(5)).expect("an answer");
    assert_eq!(answer["error"]["code"], "busy", "{answer}");
    cluster.start_tracker(1);
    until_level(&cluster, &witness, Duration::from_secs(60));
    let since = Instant::now();
    let answer = loop {
        let asked = live.send("create_group lab");
        let answer = live.result(asked, PATIENCE).expect("an answer");
        // Whoever tries again as told is served as soon as the tracker in use has heard of the account.
        if answer["error"]["code"] != "busy" || since.elapsed() > PATIENCE {
            break answer;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(answer["ok"], true, "{answer}");
    until_level(&cluster, &witness, Duration::from_secs(60));
    for number in [1, 2] {
        assert_eq!(groups_at(&cluster, &witness, number), ["lab"], "tracker {number}");
    }
    assert!(live.stop());
}

#[test]
fn three_trackers_are_refused_in_a_sentence() {
    let cluster = Cluster::prepare(3);
    // The first command line may have to wait for the program to be built.
    let mut command = cluster.tracker_command(1);
    let began = Instant::now();
    let output = command.output().expect("run");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("one or two"), "{output:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn what_only_a_dead_tracker_acknowledged_its_client_asks_of_the_other() {
    let mut cluster = Cluster::start(2);
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    until_level(&cluster, &alice, Duration::from_secs(20));
    let mut live = alice.live();
    live.ok("create_group lab");
    bob.ok(&["join_group lab"]);
    cluster.kill_tracker(2);
    // One builds on the other, so that their order matters.
    live.ok("accept_request lab bob");
    live.ok("make_admin lab bob");
    live.ok("create_group solo");
    cluster.kill_tracker(1);
    cluster.start_tracker(2);
    let asked = Instant::now();
    live.ok("create_group after");
    assert!(asked.elapsed() < FAILOVER * 2, "answered after {:?}", asked.elapsed());
    // The first tracker is still away.
    let here = bob.with_info(&cluster.info_of(2));
    assert_eq!(groups_at(&cluster, &bob, 2), ["after", "lab", "solo"]);
    let members = |client: &Client| client.ok(&["list_members lab"]).to_string();
    let before = members(&here);
    assert!(before.contains("bob"), "{before}");
    cluster.start_tracker(1);
    until_level(&cluster, &bob, Duration::from_secs(60));
    for number in [1, 2] {
        assert_eq!(groups_at(&cluster, &bob, number), ["after", "lab", "solo"], "tracker {number}");
        assert_eq!(members(&bob.with_info(&cluster.info_of(number))), before, "tracker {number}");
    }
    assert!(live.stop());
}

#[test]
fn a_seeder_that_reaches_only_one_tracker_is_found_through_the_other() {
    let cluster = Cluster::start(2);
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    until_level(&cluster, &alice, Duration::from_secs(20));
    alice.ok(&["create_group lab"]);
    bob.ok(&["join_group lab"]);
    alice.ok(&["accept_request lab bob"]);
    let content = alice.home().join("data.bin");
    harness::random_file(&content, 100_000).expect("a file");
    for (seeds_at, asks_at) in [(1, 2), (2, 1)] {
        let mut seeder = alice.with_info(&cluster.info_of(seeds_at)).live();
        seeder.ok("upload_file data.bin lab");
        let copy = bob.downloads().join(format!("by-{asks_at}"));
        let line = format!("download_file lab data.bin {}", copy.display());
        bob.with_info(&cluster.info_of(asks_at)).ok(&[&line]);
        assert_eq!(std::fs::read(&copy).expect("a copy"), std::fs::read(&content).expect("a file"));
        assert!(seeder.stop());
    }
}

/// What a client's description of its interface says that the data of a line's answer has.
fn fields_of_answers(socket: &Path) -> impl Fn(&str) -> Map<String, Value> + use<> {
    let mut stream = UnixStream::connect(socket).expect("a running client");
    let request = "GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let document: Value = serde_json::from_str(body).expect("JSON");
    move |line| {
        let command = line.split(' ').next().unwrap_or_default();
        let answer = &document["paths"][format!("/v1/{command}")]["post"]["responses"]["200"];
        let data = &answer["content"]["application/json"]["schema"]["properties"]["data"];
        data["properties"].as_object().expect(command).clone()
    }
}

#[test]
fn what_only_one_tracker_has_is_said() {
    let mut cluster = Cluster::start(2);
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    until_level(&cluster, &alice, Duration::from_secs(20));
    alice.ok(&["create_group lab"]);
    bob.ok(&["join_group lab"]);
    let both = alice.ok(&["accept_request lab bob"]);
    assert!(both.get("provisional").is_none(), "{both}");
    cluster.kill_tracker(2);
    std::fs::write(alice.home().join("a.txt"), "a").expect("a file");
    // A client that is attached to another tells the same.
    let mut live = alice.live();
    live.ok("whoami");
    let described = fields_of_answers(&alice.home().join("data/control.sock"));
    for line in
        ["upload_file a.txt lab", "stop_share lab a.txt", "invite lab", "revoke_invite lab 1", "create_group studio"]
    {
        let data = alice.ok(&[line]);
        assert_eq!(data["provisional"], true, "{line}: {data}");
        assert!(described(line).contains_key("provisional"), "{line}");
    }
    let asked = alice.ok(&["list_members lab"]);
    assert!(asked.get("provisional").is_none(), "it changes nothing: {asked}");
    assert!(!described("list_members").contains_key("provisional"));
    let mut kick = alice.command();
    let kick = kick.args(["-c", "remove_member lab bob"]).output().expect("run");
    let told = String::from_utf8_lossy(&kick.stderr);
    assert!(
        kick.status.success() && told.contains("the other tracker is away and has not heard of this yet"),
        "{told}"
    );
    assert!(described("remove_member").contains_key("provisional"));
    assert!(told.contains("may go on sharing with bob until then"), "{told}");
    assert!(live.stop());
}

#[test]
fn a_kick_that_was_sent_and_not_answered_is_not_said_to_have_failed() {
    let mut cluster = Cluster::start(2);
    let (alice, eve) = (cluster.user("alice"), cluster.user("eve"));
    until_level(&cluster, &alice, Duration::from_secs(20));
    alice.ok(&["create_group lab"]);
    eve.ok(&["join_group lab"]);
    alice.ok(&["accept_request lab eve"]);
    let mut live = alice.live();
    live.ok("list_members lab");
    (1..=2).for_each(|number| cluster.tracker(number).process.signal("STOP"));
    let asked = live.send("remove_member lab eve");
    let answer = live.result(asked, PATIENCE * 3).expect("an answer");
    (1..=2).for_each(|number| cluster.tracker(number).process.signal("CONT"));
    let said = answer["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(answer["error"]["code"], "trackers_unreachable", "{answer}");
    assert!(said.contains("may have been done all the same: `list_members lab` shows it"), "{said}");
    // And so it was.
    until_level(&cluster, &alice, Duration::from_secs(60));
    let members = live.ok("list_members lab").to_string();
    assert!(!members.contains("eve"), "{members}");
    assert!(live.stop());
}

/// Runs a line beside a client that stays, again and again until its data are as wanted.
fn until(client: &Client, line: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let data = client.ok(&[line]);
        if wanted(&data) {
            return data;
        }
        assert!(Instant::now() < deadline, "{line}: {data}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Alice's group with Bob in it, known to both trackers, and a first version of what is shared there.
fn lab(cluster: &Cluster) -> (Client, Live, Client) {
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    let mut seeds = alice.live();
    seeds.ok("create_group lab");
    bob.ok(&["join_group lab"]);
    seeds.ok("accept_request lab bob");
    share(&alice, &mut seeds);
    until_level(cluster, &bob, PATIENCE);
    (alice, seeds, bob)
}

/// Shares another content as z.bin, which takes a while to come.
fn share(alice: &Client, seeds: &mut Live) {
    let before = alice.run(&["info lab z.bin"]).data()["file_id"].clone();
    harness::random_file(&alice.home().join("z.bin"), 8 << 20).expect("a file");
    let shared = seeds.ok("upload_file z.bin lab --replace");
    assert_ne!(shared["file_id"], before);
    // Trackers tell in seconds when something was published: what comes next is later.
    let second = |at: SystemTime| at.duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let published = second(SystemTime::now());
    while second(SystemTime::now()) == published {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Bob's last download, once it is in this state.
fn until_download(bob: &Client, what: impl Fn(&Value) -> bool) -> Value {
    let last = |data: &Value| data["downloads"].as_array().and_then(|rows| rows.last()).cloned().unwrap_or_default();
    last(&until(bob, "show_downloads", |data| what(&last(data))))
}

/// Fetches the share slowly, until some of it is here; the number of the line.
fn begin(bob: &Client, fetches: &mut Live) -> usize {
    fetches.ok("limit down 400K");
    let asked = fetches.send("download_file lab z.bin downloads");
    until_download(bob, |row| row["state"] == "downloading" && row["have"].as_u64() > Some(0));
    asked
}

fn has_reason(row: &Value, reason: &str) -> bool {
    row["reason"].as_str().is_some_and(|said| said.contains(reason))
}

const WITHDRAWN: &str = "does not share this any more";
const UNKNOWN: &str = "the tracker that can be reached does not know this share; the other one may";

#[test]
fn a_download_that_is_replaced_ends_with_one_tracker_and_asking_again_fetches_the_new_version() {
    let mut cluster = Cluster::start(2);
    let (alice, mut seeds, bob) = lab(&cluster);
    let mut fetches = bob.live();
    for dead in [2, 1] {
        cluster.kill_tracker(dead);
        let asked = begin(&bob, &mut fetches);
        share(&alice, &mut seeds);
        let answer = fetches.result(asked, PATIENCE * 2).expect("an answer");
        assert_eq!(answer["error"]["code"], "no_such_file", "{answer}");
        let said = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(said.contains(WITHDRAWN), "{answer}");
        fetches.ok("limit down off");
        fetches.ok("download_file lab z.bin downloads");
        let (came, shared) = (bob.downloads().join("z.bin"), alice.home().join("z.bin"));
        assert!(std::fs::read(&came).expect("there") == std::fs::read(shared).expect("there"));
        std::fs::remove_file(came).expect("removed");
        share(&alice, &mut seeds);
        cluster.start_tracker(dead);
        until_level(&cluster, &cluster.client("onlooker"), PATIENCE);
    }
    assert!(fetches.stop() && seeds.stop());
}

#[test]
fn a_download_that_was_replaced_while_it_rested_ends_by_the_word_of_the_tracker_that_is_left() {
    let mut cluster = Cluster::start(2);
    let (alice, mut seeds, bob) = lab(&cluster);
    let mut fetches = bob.live();
    begin(&bob, &mut fetches);
    bob.ok(&["pause_download 1"]);
    assert!(fetches.stop());
    // The one that is left has never told this client of the version that it fetches.
    cluster.kill_tracker(1);
    share(&alice, &mut seeds);
    let mut fetches = bob.live();
    fetches.ok("resume_download 1");
    until_download(&bob, |row| row["state"] == "failed" && has_reason(row, WITHDRAWN));
    fetches.ok("limit down off");
    fetches.ok("download_file lab z.bin downloads");
    assert!(fetches.stop() && seeds.stop());
}

#[test]
fn a_tracker_that_only_knows_the_older_version_does_not_end_a_download_of_the_newer_one() {
    let mut cluster = Cluster::start(2);
    let (alice, mut seeds, bob) = lab(&cluster);
    cluster.kill_tracker(2);
    share(&alice, &mut seeds);
    let mut fetches = bob.live();
    let asked = begin(&bob, &mut fetches);
    assert!(seeds.stop());
    // Nobody gives anything, and that shows at once.
    let row = until_download(&bob, |row| row["state"] == "waiting");
    assert_eq!((&row["rate"], &bob.ok(&["status"])["rate_down"]), (&0.into(), &0.into()), "{row}");
    cluster.kill_tracker(1);
    cluster.start_tracker(2);
    until_download(&bob, |row| row["state"] == "waiting" && has_reason(row, UNKNOWN));
    let refused = bob.refused("download_file lab z.bin downloads", "invalid_argument");
    assert!(refused.contains("is already going to that destination"), "{refused}");
    cluster.start_tracker(1);
    until_level(&cluster, &cluster.client("onlooker"), PATIENCE);
    let seeds = alice.live();
    drop(fetches.result(asked, PATIENCE));
    fetches.ok("limit down off");
    until_download(&bob, |row| row["state"] == "complete");
    let (came, shared) = (bob.downloads().join("z.bin"), alice.home().join("z.bin"));
    assert!(std::fs::read(came).expect("there") == std::fs::read(shared).expect("there"));
    assert!(fetches.stop() && seeds.stop());
}

#[test]
fn what_one_tracker_does_not_know_is_said_and_ends_when_both_say_so() {
    let mut cluster = Cluster::start(2);
    let (_alice, mut seeds, bob) = lab(&cluster);
    cluster.kill_tracker(1);
    let mut fetches = bob.live();
    begin(&bob, &mut fetches);
    bob.ok(&["pause_download 1"]);
    seeds.ok("leave_group lab");
    fetches.ok("resume_download 1");
    until_download(&bob, |row| row["state"] == "waiting" && has_reason(row, UNKNOWN));
    cluster.start_tracker(1);
    until_level(&cluster, &cluster.client("onlooker"), PATIENCE);
    until_download(&bob, |row| row["state"] == "failed" && has_reason(row, WITHDRAWN));
    assert!(fetches.stop() && seeds.stop());
}
