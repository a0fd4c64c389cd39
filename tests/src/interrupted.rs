//! A downloader that is killed over and over, and what that cost.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::RngExt;
use serde_json::Value;

use crate::process::PATIENCE;
use crate::{Client, Cluster, Live, random_file};

/// Length of the file that is downloaded, or of all files of the folder, in bytes.
const LEN: u64 = 64 << 20;
/// What its seeder gives at most: slow enough to be killed in the middle of it.
const RATE: &str = "64MiB";
/// The longest that a process lives before it is killed.
const LIFE: Duration = Duration::from_millis(700);
/// A download is left alone after so many kills.
const KILLS_PER_FILE: u32 = 12;

/// Longest file of the folder, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// What is downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One file.
    File,
    /// A folder of some thousand files.
    Folder,
}

impl Kind {
    #[expect(clippy::expect_used, reason = "a test harness")]
    fn make(self, path: &Path) {
        match self {
            Self::File => random_file(path, LEN).expect("a file"),
            Self::Folder => random_folder(path, LEN, MAX_FILE).expect("a folder"),
        }
    }

    #[expect(clippy::expect_used, reason = "a test harness")]
    fn remove(self, path: &Path) {
        match self {
            Self::File => std::fs::remove_file(path),
            Self::Folder => std::fs::remove_dir_all(path),
        }
        .expect("removed");
    }

    fn digest(self, path: &Path) -> Option<blake3::Hash> {
        match self {
            Self::File => blake3_of(path),
            Self::Folder => folder_digest(path),
        }
    }
}

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
    /// Kills a downloader `kills` times with SIGKILL, at any moment, until every file or folder it began is complete.
    ///
    /// # Panics
    /// When something does not come up or a download does not end.
    pub fn run(kind: Kind, kills: u32, mut report: impl FnMut(&Self)) -> Self {
        let cluster = Cluster::start(1);
        let [alice, bob] = ["alice", "bob"].map(|name| cluster.user(name));
        let file = cluster.dir().join("file");
        kind.make(&file);
        let mut seeder = alice.live_with(&["--limit-up", RATE]);
        seeder.ok("create_group lab");
        seeder.ok(&format!("upload_file {} lab", file.display()));
        bob.ok(&["join_group lab"]);
        seeder.ok("accept_request lab bob");
        let hash = kind.digest(&file);
        let mut seen = Self::default();
        while seen.kills < kills {
            let before = written_by(seeder.process.id());
            seen.one(&bob, kills);
            seen.served += written_by(seeder.process.id()) - before;
            let copy = bob.downloads().join("file");
            if kind.digest(&copy) == hash {
                seen.files += 1;
            } else {
                seen.wrong += 1;
            }
            seen.size += LEN;
            bob.ok(&["stop_share lab file"]);
            kind.remove(&copy);
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

/// Makes a folder of files of random lengths up to `longest`, `len` bytes in all, some of them executable, some folders empty.
///
/// # Errors
/// When it cannot be made.
pub fn random_folder(path: &Path, len: u64, longest: u64) -> std::io::Result<()> {
    let mut rng = rand::rng();
    let (mut left, mut n) = (len, 0u32);
    while left > 0 {
        let folder = path.join(format!("{}/{}", n % 7, n % 31));
        std::fs::create_dir_all(&folder)?;
        let here = rng.random_range(0..=longest).min(left);
        let file = folder.join(format!("file-{n}.bin"));
        random_file(&file, here)?;
        if n.is_multiple_of(50) {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
            std::fs::create_dir_all(path.join(format!("empty/{n}")))?;
        }
        left -= here;
        n += 1;
    }
    Ok(())
}

/// One digest of all that is below a folder: paths, contents, whether files may be run, and empty folders; `None` if there is
/// something else.
pub fn folder_digest(path: &Path) -> Option<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    for below in below(path)? {
        let met = std::fs::symlink_metadata(path.join(&below)).ok()?;
        hasher.update(below.to_str()?.as_bytes()).update(&[0, u8::from(met.is_dir())]);
        if met.is_file() {
            hasher.update(&[u8::from(met.permissions().mode() & 0o100 != 0)]);
            hasher.update(blake3_of(&path.join(&below))?.as_bytes());
        } else if !met.is_dir() {
            return None;
        }
    }
    Some(hasher.finalize())
}

/// Paths of all that is below a folder, in order.
fn below(path: &Path) -> Option<Vec<PathBuf>> {
    let (mut all, mut folders) = (Vec::new(), vec![path.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).ok()? {
            let entry = entry.ok()?.path();
            all.push(entry.strip_prefix(path).ok()?.to_owned());
            if std::fs::symlink_metadata(&entry).ok()?.is_dir() {
                folders.push(entry);
            }
        }
    }
    all.sort();
    Some(all)
}
