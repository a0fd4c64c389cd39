//! `doctor`, over real programs: what is well, what is not and how that is mended, and members who try to connect.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use harness::{Client, Cluster, Live, PATIENCE, Process, until_level};
use serde_json::Value;

/// The findings whose text has `part`.
fn about<'a>(found: &'a Value, part: &str) -> Vec<&'a Value> {
    let all = found["data"]["findings"].as_array().unwrap_or_else(|| panic!("{found}"));
    all.iter().filter(|f| f["what"].as_str().unwrap().contains(part)).collect()
}

/// Alice and bob in a group; both stay.
fn group(cluster: &Cluster) -> (Client, Live, Live) {
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    let (mut a, mut b) = (alice.live(), bob.live());
    a.ok("create_group lab");
    b.ok("join_group lab");
    a.ok("accept_request lab bob");
    (alice, a, b)
}

/// Runs it until `wanted` is there: a client that has just come is not announced yet.
fn until(live: &mut Live, wanted: &str) -> Value {
    let mut last = Value::Null;
    // Few: it is throttled.
    for _ in 0..4 {
        last = live.run("doctor");
        if !about(&last, wanted).is_empty() {
            return last;
        }
        std::thread::sleep(std::time::Duration::from_secs(4)); // Nobody tells from outside.
    }
    panic!("never {wanted}: {last}");
}

#[test]
fn all_is_well_and_a_member_has_connected() {
    let cluster = Cluster::start(2);
    let (_alice, mut a, _b) = group(&cluster);
    until_level(&cluster, &cluster.client("onlooker"), PATIENCE);
    let found = until(&mut a, "bob has connected to 127.0.0.1:");
    assert!(found["ok"] == true && found["error"].is_null(), "{found}");
    assert_eq!(about(&found, "is up (revision ").len(), 2, "{found}");
    for part in
        ["both trackers have everything", "clock and the trackers' agree", "listens at 127.0.0.1:", "settings.toml"]
    {
        assert_eq!(about(&found, part).len(), 1, "{part}: {found}");
    }
}

#[test]
fn nobody_there_is_said_and_no_fault() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice");
    let found = alice.run(&["doctor"]);
    assert_eq!(found.code, Some(0), "{found:?}");
    assert_eq!(about(&found.results[0], "nobody was there to try").len(), 1, "{found:?}");
}

#[test]
fn what_is_not_well_is_told_with_its_remedy_and_exit_status_1() {
    let mut cluster = Cluster::start(2);
    let alice = cluster.user("alice");
    cluster.stop_tracker(2);
    fs::set_permissions(alice.home().join("data"), fs::Permissions::from_mode(0o755)).unwrap();
    let script = alice.run(&["doctor", "whoami"]);
    assert_eq!((script.code, script.results.len()), (Some(1), 1), "{script:?}");
    let found = &script.results[0];
    assert!(found["ok"] == false && found["error"]["code"] == "unhealthy", "{found}");
    for (part, remedy) in [
        ("does not answer; the other one does its work", "start it"),
        ("one tracker does the work of both", "start the other tracker"),
        ("others may use the data directory", "chmod 700 "),
    ] {
        let findings = about(found, part);
        assert!(findings.len() == 1 && findings[0]["ok"] == false, "{part}: {found}");
        assert!(findings[0]["remedy"].as_str().unwrap().contains(remedy), "{part}: {found}");
    }
    // People see the same, also through another process.
    let mut live = alice.live();
    live.ok("whoami");
    let mut process = Process::start(alice.command().args(["-c", "doctor"]));
    assert_eq!(process.wait(PATIENCE).code(), Some(1), "{process:?}");
    let text = process.stdout.text();
    assert!(text.contains("BAD  others may use") && text.contains("ok   "), "{text}");
    assert!(process.stderr.text().contains("not as they should be"), "{process:?}");
}
