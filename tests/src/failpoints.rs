//! `failpoints [EACH]`: two trackers, clients that keep asking both, and a tracker that dies at each named point so
//! many times; then both must have everything that a client was told is done, once.
//!
//! Needs a tracker that is built for it, and builds it. Slow: some seconds for each death.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "it reports to a terminal, and a failure ends it")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::{Asker, Client, Cluster, PATIENCE, Verdict, until_level};
use rand::RngExt;

/// Where a tracker dies while it writes, ships and acknowledges.
const STEADY: [&str; 4] = ["before-commit", "after-commit", "after-ship", "before-acknowledgement"];
/// Where it dies while its tables follow the log, which they do when nobody asks for anything for a second.
const CHECKPOINT: [&str; 2] = ["in-checkpoint", "after-checkpoint"];
/// Where it dies while the state is sent because the log is cut: the sender, and the receiver.
const SNAPSHOT: [&str; 2] = ["sending-snapshot", "joining-snapshot"];
/// It dies the first to the last of so many times that it comes by.
const TIMES: std::ops::Range<u32> = 1..60;
const CHECKPOINT_TIMES: std::ops::Range<u32> = 1..4;
/// As many groups make a state that needs several messages.
const ENOUGH: i64 = 3000;
/// How long clients rest between commands: as good as not at all, so long that three of them leave a second free now
/// and then, and so long that the state stays of that size.
const PAUSE_STEADY: Duration = Duration::from_millis(5);
const PAUSE_CHECKPOINT: Duration = Duration::from_secs(5);
const PAUSE_SNAPSHOT: Duration = Duration::from_millis(30);

fn main() -> ExitCode {
    let each: u32 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(25);
    // In the last part both are away now and then, also for the client that knows both.
    let parts = [steady(each), checkpoints(each), snapshots(each)];
    if parts.iter().all(Verdict::holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Deaths of a tracker that writes, ships and acknowledges.
fn steady(each: u32) -> Verdict {
    deaths(each, &STEADY, TIMES, PAUSE_STEADY)
}

/// Deaths of a tracker whose tables follow its log.
fn checkpoints(each: u32) -> Verdict {
    deaths(each, &CHECKPOINT, CHECKPOINT_TIMES, PAUSE_CHECKPOINT)
}

fn deaths(each: u32, points: &[&str], times: std::ops::Range<u32>, pause: Duration) -> Verdict {
    let mut scene = Scene::set(pause);
    for point in points {
        let began = Instant::now();
        (0..each).for_each(|_| die_at(&mut scene.cluster, point, times.clone()));
        println!("{point:<24}{each:>4} deaths, {:.0} s", began.elapsed().as_secs_f64());
    }
    scene.end()
}

/// Deaths of a tracker that sends its state, or joins it.
fn snapshots(each: u32) -> Verdict {
    let mut scene = Scene::set(PAUSE_SNAPSHOT);
    wait_for_state(&scene.cluster);
    for point in SNAPSHOT {
        let began = Instant::now();
        (0..each).for_each(|_| die_in_snapshot(&mut scene.cluster, &scene.witness, point));
        println!("{point:<24}{each:>4} deaths, {:.0} s", began.elapsed().as_secs_f64());
    }
    scene.end()
}

/// Two trackers, a client that knows both, and one that knows each: whoever may choose does not go to the tracker that
/// was just started.
struct Scene {
    cluster: Cluster,
    askers: Vec<Asker>,
    witness: Client,
}

impl Scene {
    fn set(pause: Duration) -> Self {
        let cluster = Cluster::start(2);
        let (user, witness) = (cluster.user("both"), cluster.user("witness"));
        let only = [1, 2].map(|n| cluster.user(&format!("only{n}")).with_info(&cluster.info_of(n)));
        let clients = [&user, &only[0], &only[1]];
        let askers = clients.iter().map(|c| Asker::start(c.live(), c.name(), pause)).collect();
        Self { cluster, askers, witness }
    }

    fn end(self) -> Verdict {
        let histories: Vec<_> = self.askers.into_iter().map(Asker::finish).collect();
        until_level(&self.cluster, &self.witness, PATIENCE * 3);
        let verdict = Verdict::of(&self.cluster, &self.witness, &histories);
        println!("{verdict}");
        verdict
    }
}

/// One tracker is started anew, dies at `point`, and is started again; the other one is left alone.
fn die_at(cluster: &mut Cluster, point: &str, times: std::ops::Range<u32>) {
    let mut rng = rand::rng();
    let number = rng.random_range(1..=2);
    cluster.kill_tracker(number);
    cluster.start_tracker_that_dies(number, point, rng.random_range(times));
    assert!(cluster.tracker_died(number, PATIENCE), "at {point}");
    std::thread::sleep(Duration::from_millis(rng.random_range(0..300)));
    cluster.start_tracker(number);
}

/// One tracker has lost its disk and the other has no log: while the state is sent, one of them dies.
fn die_in_snapshot(cluster: &mut Cluster, witness: &Client, point: &str) {
    until_level(cluster, witness, PATIENCE * 3);
    let empty = rand::rng().random_range(1..=2);
    let full = 3 - empty;
    // What was acknowledged until now is on both disks.
    cluster.kill_tracker(empty);
    std::fs::remove_dir_all(cluster.data_of(empty)).expect("a lost disk");
    cluster.stop_tracker(full);
    cut_log(cluster, full);
    let dies = if point == "sending-snapshot" { full } else { empty };
    for number in [full, empty] {
        if number == dies {
            cluster.start_tracker_that_dies(number, point, 1);
        } else {
            cluster.start_tracker(number);
        }
    }
    assert!(cluster.tracker_died(dies, PATIENCE), "at {point}");
    cluster.start_tracker(dies);
}

/// As the tracker does it to a log that is too long, only at once. It must have stopped in good order: what its tables
/// lack is in the log.
fn cut_log(cluster: &Cluster, number: usize) {
    let conn = rusqlite::Connection::open(cluster.data_of(number).join("tracker.db")).expect("opened");
    conn.execute_batch(
        "BEGIN;
         INSERT INTO floors (origin, seq) SELECT origin, max(seq) FROM events GROUP BY origin
             ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq);
         DELETE FROM events;
         COMMIT;",
    )
    .expect("cut");
}

fn wait_for_state(cluster: &Cluster) {
    let path = cluster.data_of(1).join("tracker.db");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = rusqlite::Connection::open_with_flags(path, flags).expect("opened");
    let until = Instant::now() + PATIENCE * 5;
    let count =
        || conn.query_row("SELECT count(*) FROM votes WHERE kind = 1", [], |r| r.get::<_, i64>(0)).expect("counted");
    while count() < ENOUGH {
        assert!(Instant::now() < until, "only {} groups", count());
        std::thread::sleep(Duration::from_millis(200));
    }
}
