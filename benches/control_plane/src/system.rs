//! What the system says of processes and of itself: processor time, memory, load. Linux only: read from /proc.

use std::fs;
use std::time::{Duration, Instant};

/// A figure that cannot be read must not count as none.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Processor time that process `pid` has used, in user space and in the kernel, threads that have ended included.
pub(crate) fn cpu_of(pid: u32) -> Duration {
    let stat = read(&format!("/proc/{pid}/stat"));
    // The name is in parentheses and may hold anything; utime and stime are the 12th and 13th field after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    of_ticks(ticks)
}

/// Processor time that the whole machine has used, idle and waiting left out.
fn cpu_of_machine() -> Duration {
    let stat = read("/proc/stat");
    let fields: Vec<u64> =
        stat.lines().next().unwrap_or_default().split_whitespace().filter_map(|f| f.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    of_ticks(fields.iter().enumerate().filter(|(n, _)| !matches!(n, 3 | 4) && *n < 8).map(|(_, ticks)| ticks).sum())
}

fn of_ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The load of the last minute.
pub(crate) fn load() -> f64 {
    let load = read("/proc/loadavg");
    load.split_whitespace().next().and_then(|f| f.parse().ok()).unwrap_or_default()
}

/// Resident memory of process `pid`, in bytes: all of it, and the part that is not pages of files.
pub(crate) fn memory_of(pid: u32) -> (u64, u64) {
    let status = read(&format!("/proc/{pid}/status"));
    let kib = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    (kib("VmRSS:") << 10, kib("RssAnon:") << 10)
}

/// Processors of this machine.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Lets this process and its children open `files` files, as far as the system allows. Says how many it does.
pub(crate) fn allow_files(files: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|n| n >= files) {
        return files;
    }
    let maximum = now.maximum.map(|m| m.max(files));
    if setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum }).is_err() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(files)
}

/// Measures what some processes use from when it is made.
#[derive(Debug)]
pub(crate) struct Meter {
    pids: Vec<u32>,
    began: Instant,
    theirs: Duration,
    ours: Duration,
    machine: Duration,
}

/// What was used while a [`Meter`] ran.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// Wall time.
    pub(crate) wall: Duration,
    /// Processor time of the processes.
    pub(crate) cpu: Duration,
    /// Share of the machine, from 0 to 1, that went to others than the processes and this one.
    pub(crate) others: f64,
}

impl Meter {
    pub(crate) fn start(pids: &[u32]) -> Self {
        let (pids, ours) = (pids.to_vec(), cpu_of(std::process::id()));
        let theirs = pids.iter().map(|pid| cpu_of(*pid)).sum();
        Self { pids, began: Instant::now(), theirs, ours, machine: cpu_of_machine() }
    }

    pub(crate) fn stop(self) -> Used {
        let wall = self.began.elapsed();
        let cpu = self.pids.iter().map(|pid| cpu_of(*pid)).sum::<Duration>().saturating_sub(self.theirs);
        let ours = cpu_of(std::process::id()).saturating_sub(self.ours);
        let others = cpu_of_machine().saturating_sub(self.machine).saturating_sub(cpu + ours);
        Used { wall, cpu, others: (others.as_secs_f64() / wall.as_secs_f64() / cores() as f64).min(1.0) }
    }
}

/// Waits until process `pid` does next to nothing, such as what it tidies up after its start.
pub(crate) fn wait_until_idle(pid: u32) {
    const LOOK: Duration = Duration::from_millis(200);
    const PATIENCE: Duration = Duration::from_secs(300);
    let until = Instant::now() + PATIENCE;
    let mut quiet = 0;
    while quiet < 2 && Instant::now() < until {
        let before = cpu_of(pid);
        std::thread::sleep(LOOK);
        let busy = cpu_of(pid).saturating_sub(before) > LOOK / 15;
        quiet = if busy { 0 } else { quiet + 1 };
    }
}
