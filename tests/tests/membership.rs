//! Membership governs transfer: what a kicked, leaving or logged-out member can still get.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use harness::{Client, Cluster, Live, PATIENCE, random_file};

const MIB: u64 = 1 << 20;

/// `len` bytes shared in `lab` by alice, and by each of `others` after downloading them.
fn group(cluster: &Cluster, len: u64, others: &[&str]) -> Vec<(Client, Live)> {
    let alice = cluster.user("alice");
    random_file(&alice.home().join("data.bin"), len).unwrap();
    let mut members = vec![(alice.clone(), alice.live())];
    members[0].1.ok("create_group lab");
    members[0].1.ok("upload_file data.bin lab");
    for name in others {
        let client = admit(cluster, &mut members[0].1, name);
        let mut live = client.live();
        live.ok("download_file lab data.bin downloads");
        members.push((client, live));
    }
    members
}

fn admit(cluster: &Cluster, admin: &mut Live, name: &str) -> Client {
    let client = cluster.user(name);
    client.ok(&["join_group lab"]);
    admin.ok(&format!("accept_request lab {name}"));
    client
}

fn part_file(client: &Client) -> Option<std::path::PathBuf> {
    std::fs::read_dir(client.downloads()).unwrap().flatten().map(|e| e.path()).find(|p| p.is_file())
}

/// Waits until a download has put verified bytes on disk.
fn wait_for_bytes(client: &Client) {
    let begun = Instant::now();
    let empty = |p: std::path::PathBuf| std::fs::read(p).is_ok_and(|b| b.iter().all(|&x| x == 0));
    while part_file(client).is_none_or(empty) {
        assert!(begun.elapsed() < PATIENCE, "the download never began");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_kick_in_mid_download_stops_every_seeder_within_a_second() {
    let cluster = Cluster::start(1);
    let mut members = group(&cluster, 64 * MIB, &["bob", "carol"]);
    let mallory = admit(&cluster, &mut members[0].1, "mallory");
    // A slow taker: at this rate the file takes half a minute.
    let mut m = mallory.live_with(&["--limit-down", "2MiB"]);
    let download = m.send("download_file lab data.bin downloads");
    wait_for_bytes(&mallory);
    members[0].1.ok("remove_member lab mallory");
    let kicked = Instant::now();
    let refused = m.result(download, PATIENCE);
    assert!(refused.as_ref().is_none_or(|r| r["ok"] == false), "{refused:?}");
    assert!(kicked.elapsed() < Duration::from_secs(1), "told after {:?}", kicked.elapsed());
    std::thread::sleep(Duration::from_secs(1).saturating_sub(kicked.elapsed()));
    let after_one_second = snapshot(&mallory);
    assert!(!after_one_second.is_empty(), "what has come is kept");
    // Two further seconds at the allowed rate would be 4 MiB.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(snapshot(&mallory), after_one_second, "nothing arrives any more");
    m.refused("list_files lab", "not_a_member");
    m.refused("download_file lab data.bin downloads/again", "not_a_member");
    for (client, live) in &mut members {
        let row = live.ok("list_files lab");
        assert_eq!(row["files"][0]["seeders"], 3, "{}", client.name());
    }
}

/// What is in each file of a client's downloads.
fn snapshot(client: &Client) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(client.downloads()).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn leaving_withdraws_what_one_shared_and_says_so() {
    let cluster = Cluster::start(1);
    let mut members = group(&cluster, MIB, &["bob"]);
    let (_, b) = &mut members[1];
    let left = b.ok("leave_group lab");
    let _ = left;
    b.refused("list_files lab", "not_a_member");
    b.refused("list_members lab", "not_a_member");
    let a = &mut members[0].1;
    assert_eq!(a.ok("list_files lab")["files"][0]["seeders"], 1, "bob no longer seeds");
    members[1].1.ok("join_group lab");
    members[0].1.ok("accept_request lab bob");
    assert_eq!(members[0].1.ok("list_files lab")["files"][0]["uploader"], "alice");

    members[0].1.ok("make_admin lab bob");
    members[0].1.ok("leave_group lab");
    let files = members[1].1.ok("list_files lab");
    assert!(files["files"].as_array().unwrap().is_empty(), "alice's share went with her: {files}");
}

#[test]
fn logging_out_ends_what_the_login_was_fetching() {
    let cluster = Cluster::start(1);
    let mut members = group(&cluster, 64 * MIB, &[]);
    let bob = admit(&cluster, &mut members[0].1, "bob");
    let mut b = bob.live_with(&["--limit-down", "2MiB"]);
    let download = b.send("download_file lab data.bin downloads");
    wait_for_bytes(&bob);
    // The password is changed from elsewhere, which ends this login.
    let elsewhere = cluster.client("bob-2");
    elsewhere.ok(&["login bob password-of-bob", "change_password password-of-bob another-password"]);
    let changed = Instant::now();
    let refused = b.result(download, PATIENCE);
    assert!(refused.as_ref().is_some_and(|r| r["ok"] == false), "{refused:?}");
    assert!(changed.elapsed() < Duration::from_secs(2), "told after {:?}", changed.elapsed());
    b.refused("list_groups", "not_logged_in");
}

#[test]
fn a_stranger_learns_group_names_and_nothing_else() {
    let cluster = Cluster::start(1);
    let mut members = group(&cluster, MIB, &[]);
    let eve = cluster.user("eve");
    let mut e = eve.live();
    let groups = e.ok("list_groups");
    assert_eq!(groups["groups"][0]["group"], "lab");
    for line in
        ["list_files lab", "list_members lab", "download_file lab data.bin downloads", "stop_share lab data.bin"]
    {
        e.refused(line, "not_a_member");
    }
    assert!(part_file(&eve).is_none());
    members[0].1.ok("list_files lab");
}

#[test]
fn who_comes_back_by_an_invitation_shares_again_at_once() {
    let cluster = Cluster::start(1);
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    random_file(&alice.home().join("data.bin"), 1000).unwrap();
    let mut a = alice.live();
    a.ok("create_group lab");
    a.ok("upload_file data.bin lab");
    bob.ok(&["join_group lab"]);
    a.ok("accept_request lab bob");
    let mut b = bob.live();
    b.ok("download_file lab data.bin downloads");
    let until = |b: &mut Live, state: &str| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listed = b.ok("list_shares");
            if listed["shares"][0]["state"] == state {
                return;
            }
            assert!(Instant::now() < deadline, "never {state}: {listed}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    until(&mut b, "seeding");
    a.ok("remove_member lab bob");
    until(&mut b, "refused");
    let line = a.ok("invite lab")["invite"].as_str().unwrap().to_owned();
    let back = Instant::now();
    b.ok(&format!("accept_invite {line}"));
    until(&mut b, "seeding");
    // Trackers that refused are asked again after seconds at first, and then after minutes.
    assert!(back.elapsed() < Duration::from_secs(4), "{:?}", back.elapsed());
    assert!(a.stop() && b.stop());
}
