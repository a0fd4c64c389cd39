//! Trackers under test: real processes, from a directory of their own.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::Process;
use tempfile::TempDir;

use crate::dataset::Dataset;
use crate::system;

/// How long a tracker may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(600);
/// The database within a data directory.
const DATABASE: &str = "tracker.db";

/// One or two trackers and their databases.
#[derive(Debug)]
pub(crate) struct Cluster {
    program: PathBuf,
    dir: TempDir,
    pub(crate) addresses: Vec<SocketAddr>,
    running: Vec<Option<Process>>,
}

impl Cluster {
    /// `n` trackers, none of them started, each with a copy of `dataset`.
    pub(crate) fn prepare(program: &Path, dataset: &Dataset, n: usize) -> Self {
        let dir = tempfile::Builder::new().prefix("shoal-bench-").tempdir().expect("a temporary directory");
        let listeners: Vec<_> = (0..n).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().expect("an address")).collect();
        let list: String = addresses.iter().map(|a| format!("{a}\n")).collect();
        fs::write(dir.path().join("tracker_info.txt"), list).expect("a list");
        fs::copy(dataset.secret(), dir.path().join("cluster.secret")).expect("the secret");
        for number in 1..=n {
            let data = dir.path().join(format!("data/tracker-{number}"));
            fs::create_dir_all(&data).expect("a data directory");
            fs::copy(dataset.database(), data.join(DATABASE)).expect("a copy");
            File::open(data.join(DATABASE)).and_then(|f| f.sync_all()).expect("on disk");
        }
        Self { program: program.to_owned(), dir, addresses, running: (0..n).map(|_| None).collect() }
    }

    /// One tracker with a copy of `dataset`, started, and done with what it does after a start.
    pub(crate) fn solo(program: &Path, dataset: &Dataset) -> Self {
        let mut cluster = Self::prepare(program, dataset, 1);
        cluster.start(1);
        system::wait_until_idle(cluster.pid(1));
        cluster
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts tracker `number`, from 1. Says how long it took until it was ready.
    pub(crate) fn start(&mut self, number: usize) -> Duration {
        let mut command = Command::new(&self.program);
        command.current_dir(self.dir()).args(["tracker_info.txt", &number.to_string(), "--quota-factor", "0"]);
        let began = Instant::now();
        let mut process = Process::start(&mut command);
        let ready = format!("tracker {number} ready on {}", self.addresses[number - 1]);
        if process.stdout.wait_for(PATIENCE, |line| (line == ready).then_some(())).is_none() {
            let status = process.wait(Duration::from_secs(1));
            panic!("tracker {number}: {status}\n{}\n{}", process.stdout.text(), process.stderr.text());
        }
        let took = began.elapsed();
        self.running[number - 1] = Some(process);
        took
    }

    /// The process id of tracker `number`.
    pub(crate) fn pid(&self, number: usize) -> u32 {
        self.running[number - 1].as_ref().expect("a running tracker").id()
    }

    /// The process ids of all that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.running.iter().flatten().map(Process::id).collect()
    }

    /// Tells tracker `number` to stop, and waits until it has.
    pub(crate) fn quit(&mut self, number: usize) {
        if let Some(mut process) = self.running[number - 1].take() {
            process.type_line("quit");
            assert!(process.wait(PATIENCE).success(), "{}", process.stderr.text());
        }
    }

    /// Kills tracker `number`.
    pub(crate) fn kill(&mut self, number: usize) {
        self.running[number - 1] = None;
    }

    /// What tracker `number` has complained of.
    pub(crate) fn complaints(&self, number: usize) -> Vec<String> {
        let lines = self.running[number - 1].as_ref().map(|p| p.stderr.lines()).unwrap_or_default();
        lines.into_iter().filter(|l| l.contains("ERROR") || l.contains("WARN")).collect()
    }

    /// Has the system forget which pages of the stopped tracker's files it has in memory. Says how many bytes those
    /// files have.
    pub(crate) fn forget_pages(&self, number: usize) -> u64 {
        let mut bytes = 0;
        for entry in fs::read_dir(self.dir().join(format!("data/tracker-{number}"))).expect("the data directory") {
            let file = File::open(entry.expect("an entry").path()).expect("opened");
            file.sync_all().expect("on disk");
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("dropped");
            bytes += file.metadata().map_or(0, |m| m.len());
        }
        bytes
    }
}
