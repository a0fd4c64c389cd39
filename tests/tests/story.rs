//! The main job over real processes: two trackers, members, a real file, and deaths in between.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use harness::{Client, Cluster, Live, PATIENCE, random_file};

const MIB: u64 = 1 << 20;

/// Alice with a group `lab` and a file of `len` bytes shared in it.
fn sharing(cluster: &Cluster, len: u64) -> (Client, Live) {
    let alice = cluster.user("alice");
    random_file(&alice.home().join("data.bin"), len).unwrap();
    let mut live = alice.live();
    live.ok("create_group lab");
    live.ok("upload_file data.bin lab");
    (alice, live)
}

/// A new member of `lab`, accepted by `admin`.
fn member(cluster: &Cluster, admin: &mut Live, name: &str) -> Client {
    let client = cluster.user(name);
    client.ok(&["join_group lab"]);
    admin.ok(&format!("accept_request lab {name}"));
    client
}

fn assert_same(a: &Path, b: &Path) {
    assert!(std::fs::read(a).unwrap() == std::fs::read(b).unwrap(), "{} and {} differ", a.display(), b.display());
}

#[test]
fn a_file_reaches_two_members_and_the_second_is_served_by_both() {
    let cluster = Cluster::start(2);
    let (alice, mut a) = sharing(&cluster, 48 * MIB + 12_345);
    let bob = member(&cluster, &mut a, "bob");
    let mut b = bob.live();
    let files = b.ok("list_files lab");
    assert_eq!(files["files"][0]["name"], "data.bin");
    assert_eq!(files["files"][0]["size"], 48 * MIB + 12_345);
    assert_eq!(files["files"][0]["uploader"], "alice");
    assert_eq!(files["files"][0]["seeders"], 1);

    let got = b.ok("download_file lab data.bin downloads");
    assert_eq!(got["path"].as_str().map(Path::new), Some(bob.downloads().join("data.bin").as_path()));
    assert_same(&alice.home().join("data.bin"), &bob.downloads().join("data.bin"));

    let carol = member(&cluster, &mut a, "carol");
    assert_eq!(carol.ok(&["list_files lab"])["files"][0]["seeders"], 2);
    // So that both have their turn, however busy the machine is.
    a.ok("limit up 16M");
    b.ok("limit up 16M");
    let got = carol.ok(&["download_file lab data.bin downloads/copy.bin"]);
    assert_same(&alice.home().join("data.bin"), &carol.downloads().join("copy.bin"));
    let bytes: Vec<u64> = got["peers"].as_array().unwrap().iter().map(|p| p["bytes"].as_u64().unwrap()).collect();
    assert!(bytes.len() == 2 && bytes.iter().all(|&b| b > 8 * MIB), "spread over both seeders: {got}");
    assert!(a.stop() && b.stop());
}

#[test]
fn a_download_whose_version_was_replaced_ends_and_says_so() {
    let cluster = Cluster::start(1);
    let (alice, mut a) = sharing(&cluster, 8 * MIB);
    let bob = member(&cluster, &mut a, "bob");
    let mut b = bob.live_with(&["--limit-down", "1M"]);
    let download = b.send("download_file lab data.bin downloads");
    let begun = Instant::now();
    while bob.ok(&["show_downloads"])["downloads"][0]["have"].as_u64().unwrap_or_default() == 0 {
        assert!(begun.elapsed() < PATIENCE, "it never begins");
    }
    random_file(&alice.home().join("data.bin"), MIB).unwrap();
    a.ok("upload_file data.bin lab --replace");
    let ended = b.result(download, PATIENCE).expect("it ends");
    assert_eq!((&ended["ok"], &ended["error"]["code"]), (&false.into(), &"no_such_file".into()), "{ended}");
    assert!(ended["error"]["message"].as_str().is_some_and(|text| text.contains("newer version")), "{ended}");
    b.ok("limit down off");
    b.ok("download_file lab data.bin downloads");
    assert_same(&alice.home().join("data.bin"), &bob.downloads().join("data.bin"));
    assert!(a.stop() && b.stop());
}

#[test]
fn lengths_at_every_edge_and_odd_names_arrive_whole() {
    let cluster = Cluster::start(1);
    let (alice, mut a) = sharing(&cluster, 1);
    let bob = member(&cluster, &mut a, "bob");
    let mut b = bob.live();
    let kib = 1 << 10;
    let odd = [
        ("empty", 0),
        ("one byte", 1),
        ("exact multiple", 64 * kib),
        ("one more", 64 * kib + 1),
        ("one less", 64 * kib - 1),
        ("it's a \"quoted\" name", 5000),
        ("Grüße an データ 🎉.bin", 70_000),
        ("it -rf", 10),
        ("#hash $HOME", 10),
    ];
    for (name, len) in odd {
        random_file(&alice.home().join(name), len).unwrap();
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        a.ok(&format!("upload_file \"./{quoted}\" lab --piece-size 16KiB"));
        let found = b.ok("list_files lab");
        let row = found["files"].as_array().unwrap().iter().find(|f| f["name"] == name).unwrap().clone();
        assert_eq!(row["size"], len);
        let id = row["file_id"].as_str().unwrap();
        b.ok(&format!("download_file lab id:{} downloads", &id[..16]));
        assert_same(&alice.home().join(name), &bob.downloads().join(name));
    }
}

#[test]
fn everything_is_there_again_after_a_tracker_was_killed() {
    let mut cluster = Cluster::start(1);
    let (alice, mut a) = sharing(&cluster, MIB);
    let bob = member(&cluster, &mut a, "bob");
    cluster.user("carol").ok(&["join_group lab"]);
    let before = a.ok("list_files lab");
    drop(a);

    cluster.kill_tracker(1);
    cluster.start_tracker(1);

    let mut a = alice.live();
    assert_eq!(a.ok("whoami")["user"], "alice");
    assert_eq!(a.ok("list_requests lab")["requests"][0]["user"], "carol");
    assert_eq!(a.ok("list_members lab")["members"].as_array().unwrap().len(), 2);
    let after = a.ok("list_files lab");
    assert_eq!(after["files"][0]["file_id"], before["files"][0]["file_id"]);
    bob.ok(&["download_file lab data.bin downloads"]);
    assert_same(&alice.home().join("data.bin"), &bob.downloads().join("data.bin"));
}

#[test]
fn a_tracker_that_dies_in_mid_download_does_not_stop_it() {
    let mut cluster = Cluster::start(1);
    let (alice, mut a) = sharing(&cluster, 64 * MIB);
    let bob = member(&cluster, &mut a, "bob");
    let mut b = bob.live_with(&["--limit-down", "16MiB"]);
    let download = b.send("download_file lab data.bin downloads");
    wait_for_part(&bob);
    cluster.kill_tracker(1);
    let result = b.result(download, PATIENCE).expect("the download ends");
    assert!(result["ok"] == true, "{result}");
    assert_same(&alice.home().join("data.bin"), &bob.downloads().join("data.bin"));
    cluster.start_tracker(1);
    assert_eq!(b.ok("list_files lab")["files"][0]["name"], "data.bin");
}

#[test]
fn a_seeder_that_dies_in_mid_download_is_replaced() {
    let cluster = Cluster::start(1);
    let (alice, mut a) = sharing(&cluster, 64 * MIB);
    let bob = member(&cluster, &mut a, "bob");
    let mut b = bob.live();
    b.ok("download_file lab data.bin downloads");
    let carol = member(&cluster, &mut a, "carol");
    let mut c = carol.live_with(&["--limit-down", "16MiB"]);
    let download = c.send("download_file lab data.bin downloads");
    wait_for_part(&carol);
    a.process.kill();
    let result = c.result(download, PATIENCE).expect("the download ends");
    assert!(result["ok"] == true, "{result}");
    assert_same(&alice.home().join("data.bin"), &carol.downloads().join("data.bin"));
}

#[test]
fn the_first_tracker_that_answers_is_used() {
    let mut cluster = Cluster::prepare(2);
    cluster.start_tracker(2);
    let alice = cluster.user("alice");
    let status = alice.ok(&["status"]);
    assert_eq!(status["trackers"][0]["up"], false);
    assert_eq!((&status["trackers"][1]["up"], &status["trackers"][1]["current"]), (&true.into(), &true.into()));
    assert_eq!(status["user"], "alice");
}

#[test]
fn a_file_that_changes_or_vanishes_is_no_longer_offered() {
    let cluster = Cluster::start(1);
    let (alice, mut a) = sharing(&cluster, MIB);
    let bob = member(&cluster, &mut a, "bob");
    random_file(&alice.home().join("other.bin"), MIB).unwrap();
    a.ok("upload_file other.bin lab");
    assert!(a.stop());

    std::fs::write(alice.home().join("data.bin"), "changed").unwrap();
    std::fs::remove_file(alice.home().join("other.bin")).unwrap();
    let mut a = alice.live();
    a.ok("whoami");
    for name in ["data.bin", "other.bin"] {
        let told = a.process.stderr.wait_for(PATIENCE, |l| l.contains(name).then_some(()));
        assert!(told.is_some(), "{name}: {}", a.process.stderr.text());
        bob.refused(&format!("download_file lab {name} downloads"), "no_seeders");
    }
}

/// Waits until a download has put verified bytes on disk; its file is allocated before.
fn wait_for_part(client: &Client) {
    let deadline = Instant::now() + PATIENCE;
    let filled = |e: std::fs::DirEntry| std::fs::read(e.path()).is_ok_and(|b| b.iter().any(|&x| x != 0));
    while !std::fs::read_dir(client.downloads()).unwrap().flatten().any(filled) {
        assert!(Instant::now() < deadline, "the download never began");
        std::thread::sleep(Duration::from_millis(1));
    }
}
