//! A large download that is stopped in the middle and gone on with: how soon, and how much is reread for it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crowd::begin;
use crate::interrupted::{blake3_of, have, io_of, row};
use crate::process::PATIENCE;
use crate::{Cluster, Live, random_file};

/// How often is looked.
const LOOK: Duration = Duration::from_millis(2);

/// What was seen.
#[derive(Debug, Clone, Copy)]
pub struct Resumed {
    /// Bytes that were there when the downloader was stopped.
    pub had: u64,
    /// From the start of its next process until it lists them.
    pub listed: Duration,
    /// From the start of its seeder until there is more.
    pub went_on: Duration,
    /// Bytes that this process had read from files by then.
    pub reread: u64,
    /// From the start of a process whose download is finished until the file is listed with this seeder alone.
    pub shared: Duration,
    /// Bytes that this process had read from files by then.
    pub shared_reread: u64,
}

impl Resumed {
    /// With a file of `len` bytes, stopped (SIGTERM) when half of it is there, and again when all is.
    ///
    /// # Panics
    /// When something does not come up, the download does not end, or the copy is wrong.
    #[expect(clippy::expect_used, reason = "a test harness")]
    pub fn run(len: u64) -> Self {
        let cluster = Cluster::start(2);
        let [alice, bob] = ["alice", "bob"].map(|name| cluster.user(name));
        let file = cluster.dir().join("file");
        random_file(&file, len).expect("a file");
        // So slow that it can be stopped in the middle.
        let mut seeder = alice.live_with(&["--limit-up", &(len / 8).to_string()]);
        seeder.ok("create_group lab");
        let upload = seeder.send(&format!("upload_file {} lab", file.display()));
        assert!(seeder.result(upload, PATIENCE * 20).is_some_and(|r| r["ok"] == true), "uploaded");
        bob.ok(&["join_group lab"]);
        seeder.ok("accept_request lab bob");

        begin(&bob, 0, "download_file lab file downloads");
        let mut live = bob.live();
        until(&mut live, |row| have(row) >= len / 2);
        assert!(seeder.stop(), "the seeder stops");
        let had = have(&row(&mut live).expect("it is listed"));
        assert!(live.stop() && had < len, "it stops in the middle");

        let began = Instant::now();
        let mut live = bob.live();
        until(&mut live, |row| have(row) >= had);
        let listed = began.elapsed();
        // What was being hashed when it was stopped is there, too.
        let had = have(&row(&mut live).expect("it is listed"));
        let began = Instant::now();
        let seeder = alice.live();
        until(&mut live, |row| have(row) > had);
        // What comes through sockets is not counted.
        let (went_on, reread) = (began.elapsed(), io_of(live.process.id(), "rchar"));
        until(&mut live, |row| row["state"] == "complete");
        assert!(live.stop() && seeder.stop(), "both stop");
        assert!(blake3_of(&file) == blake3_of(&bob.downloads().join("file")), "the copy is right");

        let began = Instant::now();
        let mut live = bob.live();
        while live.ok("list_files lab")["files"][0]["seeders"] != 1 {
            assert!(began.elapsed() < PATIENCE, "it is not shared");
            std::thread::sleep(LOOK);
        }
        let (shared, shared_reread) = (began.elapsed(), io_of(live.process.id(), "rchar"));
        live.stop();
        Self { had, listed, went_on, reread, shared, shared_reread }
    }
}

/// Waits until the only download is so.
fn until(live: &mut Live, is_so: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + PATIENCE * 10;
    while !row(live).is_some_and(|row| is_so(&row)) {
        assert!(Instant::now() < deadline, "it does not come to that: {:?}", row(live));
        std::thread::sleep(LOOK);
    }
}
