//! A tracker that cannot start says why in one sentence and exits with 1 or 2.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::net::TcpListener;
use std::process::Output;

use harness::{Cluster, PATIENCE};

fn start(cluster: &Cluster, arguments: &[&str]) -> (i32, String) {
    let mut command = std::process::Command::new(harness::binary("tracker"));
    let Output { status, stdout, stderr } = command.current_dir(cluster.dir()).args(arguments).output().unwrap();
    assert!(stdout.is_empty(), "nothing is ready");
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn wrong_arguments_and_lists_are_usage_errors() {
    let cluster = Cluster::prepare(1);
    std::fs::write(cluster.dir().join("bad.txt"), "127.0.0.1:5000\nnot an address\n").unwrap();
    for (arguments, expected) in [
        (&[][..], "Usage"),
        (&["tracker_info.txt", "0"], "0"),
        (&["tracker_info.txt", "2"], "2"),
        (&["tracker_info.txt", "one"], "one"),
        (&["missing.txt", "1"], "missing.txt"),
        (&["bad.txt", "1"], "bad.txt, line 2"),
        (&[".", "1"], "."),
    ] {
        let (code, said) = start(&cluster, arguments);
        assert_eq!(code, 2, "{arguments:?}: {said}");
        assert!(said.contains(expected) && !said.contains("panicked"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_busy_port_is_named() {
    let cluster = Cluster::prepare(1);
    let _taken = TcpListener::bind(cluster.addresses[0]).unwrap();
    let (code, said) = start(&cluster, &["tracker_info.txt", "1"]);
    assert_eq!(code, 1);
    assert!(said.contains(&cluster.addresses[0].to_string()), "{said}");
}

#[test]
fn a_missing_database_is_made_and_a_damaged_or_newer_one_is_refused_untouched() {
    let mut cluster = Cluster::start(1);
    cluster.user("alice");
    assert!(cluster.tracker(1).quit());
    let dir = cluster.dir().join("data/tracker-1");
    let database = std::fs::read_dir(&dir).unwrap().flatten().map(|e| e.path());
    let database =
        database.into_iter().find(|p| std::fs::read(p).is_ok_and(|b| b.starts_with(b"SQLite format 3\0"))).unwrap();
    let good = std::fs::read(&database).unwrap();

    let newer = rusqlite::Connection::open(&database).unwrap();
    newer
        .execute("INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (999, 'future', '2030-01-01T00:00:00Z', '1')", [])
        .unwrap();
    drop(newer);
    let (code, said) = start(&cluster, &["tracker_info.txt", "1"]);
    assert!(code == 1 && said.contains("newer"), "{code}: {said}");

    for damage in [b"this is not a database at all, but text that somebody put here".to_vec(), scribbled(&good)] {
        std::fs::write(&database, &damage).unwrap();
        let (code, said) = start(&cluster, &["tracker_info.txt", "1"]);
        assert!(code == 1 && said.contains("damaged"), "{code}: {said}");
        assert!(std::fs::read(&database).unwrap() == damage, "left as it was");
    }

    std::fs::write(&database, &good).unwrap();
    cluster.start_tracker(1);
    assert_eq!(cluster.client("alice").ok(&["whoami"])["user"], "alice");
}

fn scribbled(good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    bytes[4096..].iter_mut().step_by(7).for_each(|b| *b ^= 0x5a);
    bytes
}

#[test]
fn a_second_tracker_on_the_same_data_is_refused() {
    let cluster = Cluster::start(1);
    let (code, said) = start(&cluster, &["tracker_info.txt", "1"]);
    assert_eq!(code, 1, "{said}");
    assert_eq!(said.lines().filter(|l| !l.trim().is_empty()).count(), 1, "one sentence: {said}");
}

#[test]
fn a_log_that_is_no_terminal_has_no_colours() {
    let cluster = Cluster::prepare(1);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    std::fs::write(cluster.info(), format!("{}\n", taken.local_addr().unwrap())).unwrap();
    let mut command = std::process::Command::new(harness::binary("tracker"));
    let said =
        command.current_dir(cluster.dir()).args(["tracker_info.txt", "1"]).env("RUST_LOG", "trace").output().unwrap();
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("TRACE") || said.contains("DEBUG") || said.contains("INFO"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
}

#[test]
fn it_goes_on_without_input_and_stops_on_quit_or_a_signal() {
    let mut cluster = Cluster::start(1);
    cluster.tracker(1).process.end_input();
    cluster.user("alice");
    cluster.tracker(1).process.signal("TERM");
    assert!(cluster.tracker(1).process.wait(PATIENCE).success());
    cluster.start_tracker(1);
    cluster.tracker(1).process.type_line("help");
    cluster.tracker(1).process.type_line("status");
    assert!(cluster.tracker(1).quit());
}
