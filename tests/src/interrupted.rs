//! A downloader that is killed over and over, and what that cost.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::RngExt;
use serde_json::Value;

use crate::process::PATIENCE;
use crate::{Client, Cluster, Live, random_file};

/// Length of the file that is downloaded, in bytes.
const LEN: u64 = 64 << 20;
/// What its seeder gives at most: slow enough to be killed in the middle of it.
const RATE: &str = "64MiB";
/// The longest that a process lives before it is killed.
const LIFE: Duration = Duration::from_millis(700);
/// A download is left alone after so many kills.
const KILLS_PER_FILE: u32 = 12;

/// What was seen.
#[derive(Debug, Default)]
pub struct Interrupted {
    /// Processes killed while they downloaded.
    pub kills: u32,
    /// Files that were completed with the right content.
    pub files: u32,
    /// Files that were not.
    pub wrong: u32,
    /// Verified bytes that a process knew of and the next one did not.
    pub lost: u64,
    /// Bytes of the completed files.
    pub size: u64,
    /// Bytes that the seeder wrote to its sockets for them.
    pub served: u64,
}

impl Interrupted {
    /// Kills a downloader `kills` times with SIGKILL, at any moment, until every file it began is complete.
    ///
    /// # Panics
    /// When something does not come up or a download does not end.
    #[expect(clippy::expect_used, reason = "a test harness")]
    pub fn run(kills: u32, mut report: impl FnMut(&Self)) -> Self {
        let cluster = Cluster::start(1);
        let [alice, bob] = ["alice", "bob"].map(|name| cluster.user(name));
        let file = cluster.dir().join("file");
        random_file(&file, LEN).expect("a file");
        let mut seeder = alice.live_with(&["--limit-up", RATE]);
        seeder.ok("create_group lab");
        seeder.ok(&format!("upload_file {} lab", file.display()));
        bob.ok(&["join_group lab"]);
        seeder.ok("accept_request lab bob");
        let hash = blake3_of(&file);
        let mut seen = Self::default();
        while seen.kills < kills {
            let before = written_by(seeder.process.id());
            seen.one(&bob, kills);
            seen.served += written_by(seeder.process.id()) - before;
            let copy = bob.downloads().join("file");
            if blake3_of(&copy) == hash {
                seen.files += 1;
            } else {
                seen.wrong += 1;
            }
            seen.size += LEN;
            bob.ok(&["stop_share lab file"]);
            std::fs::remove_file(copy).expect("removed");
            report(&seen);
        }
        seen
    }

    /// One file, with up to `kills` kills in all.
    fn one(&mut self, bob: &Client, kills: u32) {
        let copy = bob.downloads().join("file");
        let (mut known, mut here) = (0u64, 0);
        loop {
            let mut live = bob.live();
            let asked = match row(&mut live) {
                Some(row) => {
                    self.lost += known.saturating_sub(have(&row));
                    None
                }
                None if copy.exists() => return,
                None => Some(live.send("download_file lab file downloads")),
            };
            if self.kills >= kills || here >= KILLS_PER_FILE {
                return complete(live, asked);
            }
            // Any moment is as good as another.
            std::thread::sleep(rand::rng().random_range(Duration::ZERO..LIFE));
            if asked.is_none() {
                known = row(&mut live).map_or(known, |r| have(&r));
            }
            live.process.kill();
            self.kills += 1;
            here += 1;
        }
    }
}

/// Waits for the end of the download that `asked` began, or of the one that went on by itself.
fn complete(mut live: Live, asked: Option<usize>) {
    let deadline = Instant::now() + PATIENCE;
    if let Some(number) = asked {
        let result = live.result(number, PATIENCE).unwrap_or_default();
        assert!(result["ok"] == true, "{result}");
    }
    while let Some(row) = row(&mut live).filter(|r| r["state"] != "complete") {
        assert!(Instant::now() < deadline, "it does not end: {row}");
        // No command of a script waits for a download that went on by itself.
        std::thread::sleep(Duration::from_millis(20));
    }
    live.stop();
}

/// The line of the only download, if it has one.
pub(crate) fn row(live: &mut Live) -> Option<Value> {
    live.ok("show_downloads")["downloads"].as_array().and_then(|rows| rows.first().cloned())
}

/// Verified bytes of a download.
pub(crate) fn have(row: &Value) -> u64 {
    row["have"].as_u64().unwrap_or_default()
}

/// Bytes that process `id` has written, to sockets for the most part.
fn written_by(id: u32) -> u64 {
    io_of(id, "wchar")
}

/// What the system has counted of process `id`: bytes that it read from files (`rchar`) or wrote (`wchar`).
pub(crate) fn io_of(id: u32, what: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/io")).unwrap_or_default();
    let count = |line: &str| line.strip_prefix(what)?.strip_prefix(": ")?.parse().ok();
    text.lines().find_map(count).unwrap_or_default()
}

pub(crate) fn blake3_of(path: &Path) -> Option<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path).ok()?).ok()?;
    Some(hasher.finalize())
}
