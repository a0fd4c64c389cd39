//! A group that loses its name to another, as its members live through it: what they share and fetch goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use harness::{Cluster, Live, PATIENCE, until_level};
use serde_json::Value;

/// Asks until `right` is true of the answer.
fn until(live: &mut Live, line: &str, right: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let answer = live.run(line);
        if right(&answer["data"]) {
            return answer["data"].clone();
        }
        assert!(begun.elapsed() < PATIENCE, "{line}: {answer}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The state, group and name of the first share.
fn share(data: &Value) -> (&str, &str, &str) {
    let first = &data["shares"][0];
    let text = |field: &str| first[field].as_str().unwrap_or_default();
    (text("state"), text("group"), text("name"))
}

#[test]
fn shares_and_downloads_of_a_group_that_lost_its_name_go_on() {
    let mut cluster = Cluster::start(2);
    let (alice, bob, carol) = (cluster.user("alice"), cluster.user("bob"), cluster.user("carol"));
    until_level(&cluster, &alice, Duration::from_secs(30));
    // Apart: each tracker gives `team` away.
    cluster.kill_tracker(2);
    alice.ok(&["create_group team"]);
    cluster.kill_tracker(1);
    cluster.start_tracker(2);
    bob.ok(&["create_group team"]);
    std::fs::write(bob.home().join("file.bin"), vec![7; 6 << 20]).expect("written");
    let mut seeder = bob.live();
    seeder.ok("upload_file file.bin team");
    carol.ok(&["join_group team"]);
    seeder.ok("accept_request team carol");
    let mut leecher = carol.live_with(&["--limit-down", "512K"]);
    let download = leecher.send("download_file team file.bin downloads");
    let begun = Instant::now();
    while !carol.home().join("data/downloads/1.json").exists() {
        assert!(begun.elapsed() < PATIENCE, "it begins");
        std::thread::sleep(Duration::from_millis(50));
    }
    cluster.start_tracker(1);
    until_level(&cluster, &alice, Duration::from_secs(60));
    let is_told_apart = |(state, group, _): (&str, &str, &str)| state == "seeding" && group.starts_with("team~");
    let listed = until(&mut seeder, "list_shares", |d| is_told_apart(share(d)));
    let (_, now, name) = share(&listed);
    assert_eq!(name, "file.bin", "{listed}");

    // Put out of the group that has the name now, he keeps what he shares in his own.
    seeder.ok("join_group team");
    alice.ok(&["accept_request team bob", "remove_member team bob"]);
    std::thread::sleep(Duration::from_secs(2)); // Time in which it must not happen.
    assert_eq!(share(&seeder.ok("list_shares")), ("seeding", now, "file.bin"));

    // And over a restart, with a data directory that knows the group by its old name.
    assert!(seeder.stop());
    let _ = std::fs::remove_file(bob.home().join("data/group-names.json"));
    let mut seeder = bob.live();
    until(&mut seeder, "list_shares", |d| share(d) == ("seeding", now, "file.bin"));

    // The download goes on meanwhile, or is begun again where it was.
    let done = leecher.result(download, PATIENCE * 2).expect("an end");
    if done["ok"] != true {
        leecher.ok(&format!("download_file {now} file.bin downloads"));
    }
    assert_eq!(std::fs::read(carol.downloads().join("file.bin")).expect("there"), vec![7; 6 << 20]);
    assert!(leecher.stop() && seeder.stop());
}

#[test]
fn a_file_that_lost_its_name_stays_shared_and_is_called_what_the_group_calls_it() {
    let mut cluster = Cluster::start(2);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| cluster.user(name));
    alice.ok(&["create_group lab"]);
    for member in [&bob, &carol] {
        member.ok(&["join_group lab"]);
        alice.ok(&[&format!("accept_request lab {}", member.name())]);
    }
    until_level(&cluster, &alice, Duration::from_secs(30));
    // Apart: each tracker gives `data.bin` away.
    std::fs::write(alice.home().join("data.bin"), "of alice").expect("written");
    std::fs::write(bob.home().join("data.bin"), "of bob").expect("written");
    cluster.kill_tracker(2);
    let mut a = alice.live();
    a.ok("upload_file data.bin lab");
    cluster.kill_tracker(1);
    cluster.start_tracker(2);
    let mut b = bob.live();
    b.ok("upload_file data.bin lab");
    cluster.start_tracker(1);
    until_level(&cluster, &carol, Duration::from_secs(60));

    let named = |data: &Value| {
        let all = data["shares"].as_array().expect("shares").iter();
        let seeding = all.filter(|share| share["state"] == "seeding");
        seeding.map(|share| share["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    // Whoever was the second is told, and fetches what has the name.
    let all = until(&mut b, "list_files lab", |d| d["total"] == 2);
    let name_of = |user: &str| {
        let files = all["files"].as_array().expect("files").iter();
        let mut hers = files.filter(|file| file["uploader"] == user);
        hers.next().expect("a file")["name"].as_str().expect("a name").to_owned()
    };
    let lost = if name_of("alice") == "data.bin" { "bob" } else { "alice" };
    let new_name = name_of(lost);
    let (loser, winner, home) =
        if lost == "bob" { (&mut b, &mut a, bob.home()) } else { (&mut a, &mut b, alice.home()) };
    // A tracker that had not heard of it has ended nothing.
    until(winner, "list_shares", |d| named(d) == ["data.bin"]);
    assert!(new_name.starts_with("data.bin~"), "{all}");
    loser.ok("download_file lab data.bin downloads");
    until(loser, "list_shares", |d| named(d) == ["data.bin", new_name.as_str()]);
    assert_eq!(std::fs::read_to_string(home.join("data.bin")).expect("there"), format!("of {lost}"));
    carol.ok(&[&format!("download_file lab {new_name} downloads")]);
    let fetched = std::fs::read_to_string(carol.downloads().join(&new_name)).expect("there");
    assert_eq!(fetched, format!("of {lost}"));
    loser.ok(&format!("stop_share lab {new_name}"));
    assert_eq!(named(&loser.ok("list_shares")), ["data.bin"]);
    assert!(a.stop() && b.stop());
}
