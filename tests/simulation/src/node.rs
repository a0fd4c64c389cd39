//! One tracker: its disk, its store and its state machine, with what a process around them does.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::id::OriginId;
use tokio::runtime::Runtime;
use tracker::replica::link::carry_out;
use tracker::replica::machine::{Done, Job, Machine};
use tracker::store::Store;

/// Milliseconds since 1970 at which every run begins.
pub(crate) const EPOCH_MS: u64 = 1_700_000_000_000;

/// A tracker that runs.
pub(crate) struct Process {
    pub(crate) store: Store,
    pub(crate) machine: Machine,
    pub(crate) jobs: VecDeque<(Duration, Job)>,
    /// The connection that it is on.
    pub(crate) conn: Option<u64>,
}

/// A tracker, whether it runs or not.
pub(crate) struct Node {
    pub(crate) number: u16,
    dir: PathBuf,
    wall: Arc<AtomicU64>,
    pub(crate) process: Option<Process>,
    /// Its clock is off by so many milliseconds.
    pub(crate) skew_ms: i64,
    /// Stopped, as by SIGSTOP.
    pub(crate) stalled_until: Duration,
    /// What every access to its disk takes besides.
    pub(crate) disk: Duration,
    /// Writes of what the sibling sends fail until then.
    pub(crate) full_until: Duration,
    pub(crate) has_backup: bool,
}

impl Node {
    pub(crate) fn new(number: u16, root: &Path) -> Self {
        Self {
            number,
            dir: root.join(number.to_string()),
            wall: Arc::new(AtomicU64::new(EPOCH_MS)),
            process: None,
            skew_ms: 0,
            stalled_until: Duration::ZERO,
            disk: Duration::ZERO,
            full_until: Duration::ZERO,
            has_backup: false,
        }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.dir.join("tracker.db")
    }

    fn backup(&self) -> PathBuf {
        self.dir.with_extension("backup")
    }

    pub(crate) fn tell_time(&self, now: Duration) {
        let ms = EPOCH_MS + u64::try_from(now.as_millis()).expect("a short run");
        self.wall.store(ms.saturating_add_signed(self.skew_ms), Ordering::Relaxed);
    }

    pub(crate) fn wall_ms(&self) -> u64 {
        self.wall.load(Ordering::Relaxed)
    }

    pub(crate) fn start(&mut self, origin: OriginId, now: Instant) {
        let wall = Arc::clone(&self.wall);
        let store = Store::open_as(&self.dir, Arc::new(move || wall.load(Ordering::Relaxed)), origin).expect("opened");
        let machine = Machine::new(self.number, origin, (*store.versions()).clone(), now);
        self.process = Some(Process { store, machine, jobs: VecDeque::new(), conn: None });
    }

    /// Killed: what was committed stays, everything else is gone.
    pub(crate) fn kill(&mut self, rt: &Runtime) {
        if let Some(process) = self.process.take() {
            rt.block_on(process.store.crash());
        }
    }

    /// The disk as it is now, kept. Only while it does not run; a disk that was just lost has nothing to keep.
    pub(crate) fn back_up(&mut self) {
        if !self.dir.is_dir() {
            return;
        }
        copy(&self.dir, &self.backup());
        self.has_backup = true;
    }

    pub(crate) fn restore(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
        copy(&self.backup(), &self.dir);
    }

    pub(crate) fn wipe(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("read").flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

impl Process {
    /// Everything that the state machine asked of the disk is done before a new connection, and nobody
    /// hears of it.
    pub(crate) fn drain(&mut self, number: u16, rt: &Runtime) {
        for (_, job) in std::mem::take(&mut self.jobs) {
            let _ = rt.block_on(carry_out(self.store.clone(), number, job));
        }
    }

    pub(crate) fn do_job(&mut self, number: u16, rt: &Runtime, job: Job) -> Done {
        rt.block_on(carry_out(self.store.clone(), number, job))
    }
}
