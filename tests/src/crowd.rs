//! One downloader among many: its memory with many seeders for one file, and with many downloads at once.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::PATIENCE;
use crate::{Client, Cluster, Live, random_file};

/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Anonymous resident memory of a downloader at its highest, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// While it had one file from many seeders.
    pub peers: u64,
    /// While it had many files at once.
    pub downloads: u64,
}

impl Crowd {
    /// One file of `len` bytes from `peers` seeders, then `downloads` files of 1 MiB each, all at once.
    ///
    /// # Panics
    /// When something does not come up, or a download fails.
    pub fn run(peers: usize, len: u64, downloads: usize) -> Self {
        Self { peers: from_many(peers, len), downloads: many_at_once(downloads) }
    }
}

/// The peak of one that downloads from `peers` seeders.
#[expect(clippy::expect_used, reason = "a test harness")]
fn from_many(peers: usize, len: u64) -> u64 {
    let cluster = Cluster::start(1);
    let file = cluster.dir().join("file");
    random_file(&file, len).expect("a file");
    let first = cluster.user("first");
    let mut first_live = first.live();
    first_live.ok("create_group lab");
    first_live.ok(&format!("upload_file {} lab", file.display()));
    let others: Vec<_> = (1..peers).map(|n| cluster.user(&format!("seeder{n}"))).collect();
    let mut seeders: Vec<_> = others.iter().map(|c| joined(&mut first_live, c, &["--limit-up", "8MiB"])).collect();
    for live in &mut seeders {
        // The same content again: one more seeder.
        live.ok(&format!("upload_file {} lab", file.display()));
    }
    let bob = cluster.user("bob");
    let mut live = joined(&mut first_live, &bob, &[]);
    let id = live.process.id();
    let (_, peak) = watched(id, || live.ok("download_file lab file downloads"));
    assert!(fs::read(bob.downloads().join("file")).expect("a copy") == fs::read(&file).expect("the file"));
    live.stop();
    peak
}

/// The peak of one that downloads `count` files at the same time.
#[expect(clippy::expect_used, reason = "a test harness")]
fn many_at_once(count: usize) -> u64 {
    let cluster = Cluster::start(1);
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    let mut seeder = alice.live();
    seeder.ok("create_group lab");
    for n in 0..count {
        let file = cluster.dir().join(format!("file{n}"));
        random_file(&file, 1 << 20).expect("a file");
        seeder.ok(&format!("upload_file {} lab", file.display()));
    }
    joined(&mut seeder, &bob, &[]).stop();
    // A script has one at a time. So each is begun while nobody seeds it, and left; then all go on.
    seeder.stop();
    (0..count).for_each(|n| begin(&bob, n, &format!("download_file lab file{n} downloads")));
    let seeder = alice.live();
    let mut live = bob.live();
    let id = live.process.id();
    let ((), peak) = watched(id, || {
        let deadline = Instant::now() + PATIENCE * 6;
        while files(&bob.downloads(), "part") > 0 {
            assert!(Instant::now() < deadline, "they do not end: {}", live.ok("show_downloads"));
            thread::sleep(LOOK * 20);
        }
    });
    seeder.stop();
    let right = |n| {
        let name = format!("file{n}");
        fs::read(bob.downloads().join(&name)).ok() == fs::read(cluster.dir().join(&name)).ok()
    };
    assert!((0..count).all(right), "all are right");
    live.stop();
    peak
}

/// Begins download number `n` with `line`, and stops the process as soon as that is remembered: a script has one at a
/// time, and nothing else meanwhile.
pub(crate) fn begin(bob: &Client, n: usize, line: &str) {
    let mut live = bob.live();
    live.send(line);
    let deadline = Instant::now() + PATIENCE;
    while files(&bob.home().join("data/downloads"), "json") <= n {
        assert!(Instant::now() < deadline, "it does not begin");
        thread::sleep(LOOK);
    }
    live.process.signal("TERM");
    live.process.wait(PATIENCE);
}

/// Files in `directory` whose names end so.
fn files(directory: &Path, ending: &str) -> usize {
    let names = fs::read_dir(directory).into_iter().flatten().flatten();
    names.filter(|e| e.path().extension().is_some_and(|e| e == ending)).count()
}

/// `client` as a member of the group of `admin`.
fn joined(admin: &mut Live, client: &Client, options: &[&str]) -> Live {
    let mut live = client.live_with(options);
    live.ok("join_group lab");
    admin.ok(&format!("accept_request lab {}", client.name()));
    live
}

/// What `work` gives, and the most anonymous resident memory of process `id` meanwhile, in bytes.
fn watched<T>(id: u32, work: impl FnOnce() -> T) -> (T, u64) {
    let (done, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(anonymous(id), Ordering::Relaxed);
                thread::sleep(LOOK);
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    });
    (result, peak.into_inner())
}

fn anonymous(id: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let kib = text.lines().find_map(|l| l.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.unwrap_or(0_u64) << 10
}
