//! Two trackers from the outside: what one was told the other knows, and nobody notices a kill.

use std::time::{Duration, Instant};

use harness::{Asker, Cluster, groups_at, until_dual};

#[test]
#[ignore = "long: run it by name with --ignored"]
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
#[ignore = "long: run it by name with --ignored"]
fn the_sibling_may_start_later_and_a_lost_disk_comes_back() {
    let mut cluster = Cluster::prepare(2);
    cluster.start_tracker(2);
    let alice = cluster.user("alice");
    alice.ok(&["create_group lab"]);
    cluster.start_tracker(1);
    until_dual(&alice, Duration::from_secs(20));
    assert_eq!(groups_at(&cluster, &alice, 1), ["lab"]);
    cluster.kill_tracker(2);
    std::fs::remove_dir_all(cluster.dir().join("data/tracker-2")).expect("a lost disk");
    cluster.start_tracker(2);
    // Empty, with a sibling that has everything: it waits for that before it answers.
    assert_eq!(groups_at(&cluster, &alice, 2), ["lab"]);
}

#[test]
#[ignore = "long: run it by name with --ignored"]
fn kills_lose_nothing_and_are_hardly_noticed() {
    let mut cluster = Cluster::start(2);
    let alice = cluster.user("alice");
    let asker = Asker::start(alice.live(), "g");
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
    assert!(history.slowest < Duration::from_secs(3), "a command took {:?}: {:?}", history.slowest, history.unknown);
}

#[test]
#[ignore = "long: run it by name with --ignored"]
fn three_trackers_are_refused_in_a_sentence() {
    let cluster = Cluster::prepare(3);
    let began = Instant::now();
    let output = cluster.tracker_command(1).output().expect("run");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("one or two"), "{output:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
}
