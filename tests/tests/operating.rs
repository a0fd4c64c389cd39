//! What operators do: back up, restore, list trackers by name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::process::Command;

use harness::{Cluster, PATIENCE, until_level};

fn groups(of: &harness::Client) -> Vec<String> {
    let listed = of.ok(&["list_groups"]);
    let mut names: Vec<_> =
        listed["groups"].as_array().unwrap().iter().map(|g| g["group"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_backup_is_restored_while_the_other_tracker_is_up() {
    let mut cluster = Cluster::start(2);
    let alice = cluster.user("alice");
    alice.ok(&["create_group before"]);
    let backup = cluster.dir().join("backup 1.db");
    cluster.tracker(1).process.type_line("backup backup 1.db");
    let said = |line: &str| line.starts_with("saved backup 1.db").then_some(());
    cluster.tracker(1).process.stdout.wait_for(PATIENCE, said).expect("it is told");
    cluster.tracker(1).process.type_line("backup backup 1.db");
    let refused = |line: &str| line.contains("exists already").then_some(());
    cluster.tracker(1).process.stderr.wait_for(PATIENCE, refused).expect("nothing is overwritten");
    alice.ok(&["create_group after"]);

    // From another process, while it runs.
    let second = cluster.dir().join("second.db");
    let mut command = cluster.tracker_command(1);
    let saved = command.arg("--backup").arg(&second).output().unwrap();
    assert!(saved.status.success() && second.exists(), "{saved:?}");

    // Killed, so that a log lies beside the database.
    cluster.kill_tracker(1);
    let data = cluster.data_of(1);
    for name in ["tracker.db", "tracker.db-wal", "tracker.db-shm"] {
        let _ = fs::remove_file(data.join(name));
    }
    fs::copy(&backup, data.join("tracker.db")).unwrap();
    cluster.start_tracker(1);
    until_level(&cluster, &cluster.client("onlooker"), PATIENCE);
    assert_eq!(groups(&alice), ["after", "before"]);
    // By itself it has caught up with what happened since the backup.
    cluster.kill_tracker(2);
    assert_eq!(groups(&alice), ["after", "before"]);
    alice.ok(&["create_group later"]);
}

#[test]
fn trackers_and_clients_find_each_other_by_name() {
    let mut cluster = Cluster::prepare(2);
    let list: String = cluster.addresses.iter().map(|a| format!("localhost:{}\n", a.port())).collect();
    fs::write(cluster.info(), list).unwrap();
    cluster.start_tracker(1);
    cluster.start_tracker(2);
    let alice = cluster.user("alice");
    alice.ok(&["create_group lab"]);
    until_level(&cluster, &cluster.client("onlooker"), PATIENCE);
    let status = alice.ok(&["status"]);
    let port = cluster.addresses[0].port();
    assert_eq!(status["trackers"][0]["address"], format!("localhost:{port}"));
    cluster.kill_tracker(1);
    assert_eq!(groups(&alice), ["lab"], "the two had found each other");
}

#[test]
fn shapes_of_other_programs_are_answered_with_the_line_that_does_it() {
    let dir = tempfile::tempdir().unwrap();
    for shape in [&["5000"][..], &["127.0.0.1", "5000"], &["127.0.0.1:5000"]] {
        let output = Command::new(harness::binary("tracker")).current_dir(dir.path()).args(shape).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        for part in ["echo 127.0.0.1:5000 > tracker_info.txt", "tracker_info.txt 1", "--trial"] {
            assert!(said.contains(part), "{said}");
        }
    }
}
