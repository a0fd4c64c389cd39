//! Trackers on free ports of this machine, in a directory of their own.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rand::{Rng, RngExt};
use tempfile::TempDir;

use crate::process::{PATIENCE, Process};
use crate::{Client, binary, failing_tracker};

/// A directory with a tracker_info.txt, the trackers that run from it, and their clients' data.
#[derive(Debug)]
pub struct Cluster {
    dir: TempDir,
    /// Where the trackers listen.
    pub addresses: Vec<SocketAddr>,
    /// The trackers, by index; `None` when stopped.
    pub trackers: Vec<Option<Tracker>>,
}

impl Cluster {
    /// Starts `n` trackers and waits until all accept connections.
    ///
    /// # Panics
    /// When one does not come up.
    pub fn start(n: usize) -> Self {
        let mut cluster = Self::prepare(n);
        (1..=n).for_each(|number| cluster.start_tracker(number));
        cluster
    }

    /// The directory and the list for `n` trackers, none of them started.
    ///
    /// # Panics
    /// When the directory cannot be made.
    #[expect(clippy::expect_used, reason = "a test harness")]
    pub fn prepare(n: usize) -> Self {
        let dir = tempfile::Builder::new().prefix("shoal-").tempdir().expect("a temporary directory");
        let addresses = free_addresses(n).expect("free ports");
        let list: String = addresses.iter().map(|a| format!("{a}\n")).collect();
        std::fs::write(dir.path().join("tracker_info.txt"), list).expect("tracker_info.txt");
        Self { dir, addresses, trackers: (0..n).map(|_| None).collect() }
    }

    /// Where everything of this cluster lies.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The list of trackers.
    pub fn info(&self) -> PathBuf {
        self.dir().join("tracker_info.txt")
    }

    /// Starts tracker `number` (from 1) and waits until it accepts connections.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_tracker(&mut self, number: usize) {
        let command = self.tracker_command(number);
        self.start_from(number, command);
    }

    /// The same with further options.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_tracker_with(&mut self, number: usize, options: &[&str]) {
        let mut command = self.tracker_command(number);
        command.args(options);
        self.start_from(number, command);
    }

    /// The same with a tracker that kills itself when it comes by `point` (see the tracker's `failpoint`) for
    /// so many times.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_tracker_that_dies(&mut self, number: usize, point: &str, times: u32) {
        let mut command = self.command_of(failing_tracker(), number);
        command.env("SHOAL_FAILPOINT", format!("{point}:{times}"));
        self.start_from(number, command);
    }

    #[expect(clippy::panic, reason = "a test harness")]
    fn start_from(&mut self, number: usize, mut command: Command) {
        let mut process = Process::start(&mut command);
        let ready = format!("tracker {number} ready on {}", self.addresses[number - 1]);
        if process.stdout.wait_for(PATIENCE, |line| (line == ready).then_some(())).is_none() {
            let status = process.wait(Duration::from_secs(1));
            panic!("tracker {number}: {status}\n{}\n{}", process.stdout.text(), process.stderr.text());
        }
        self.trackers[number - 1] = Some(Tracker { process });
    }

    /// The command line that starts tracker `number`.
    pub fn tracker_command(&self, number: usize) -> Command {
        self.command_of(binary("tracker"), number)
    }

    fn command_of(&self, program: PathBuf, number: usize) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir()).arg("tracker_info.txt").arg(number.to_string());
        // Clients here make more groups than a person would.
        command.args(["--quota-factor", "0"]);
        command
    }

    /// Running tracker `number`.
    ///
    /// # Panics
    /// When it is stopped.
    #[expect(clippy::expect_used, reason = "a test harness")]
    pub fn tracker(&mut self, number: usize) -> &mut Tracker {
        self.trackers[number - 1].as_mut().expect("a running tracker")
    }

    /// Kills tracker `number` with SIGKILL.
    pub fn kill_tracker(&mut self, number: usize) {
        self.trackers[number - 1] = None;
    }

    /// Stops tracker `number` in good order, with SIGTERM.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop_tracker(&mut self, number: usize) {
        let tracker = self.tracker(number);
        tracker.process.signal("TERM");
        tracker.process.wait(PATIENCE);
        self.trackers[number - 1] = None;
    }

    /// Waits until tracker `number` has ended by itself, and says whether that was by SIGKILL.
    ///
    /// # Panics
    /// When it is still there after `patience`.
    #[cfg(unix)]
    pub fn tracker_died(&mut self, number: usize, patience: Duration) -> bool {
        use std::os::unix::process::ExitStatusExt;
        const SIGKILL: i32 = 9;
        let status = self.tracker(number).process.wait(patience);
        self.trackers[number - 1] = None;
        status.signal() == Some(SIGKILL)
    }

    /// Where tracker `number` keeps its database.
    pub fn data_of(&self, number: usize) -> PathBuf {
        self.dir().join(format!("data/tracker-{number}"))
    }

    /// A list that names only tracker `number`.
    ///
    /// # Panics
    /// When it cannot be written.
    #[expect(clippy::expect_used, reason = "a test harness")]
    pub fn info_of(&self, number: usize) -> PathBuf {
        let list = self.dir().join(format!("only-{number}.txt"));
        std::fs::write(&list, format!("{}\n", self.addresses[number - 1])).expect("a list");
        list
    }

    /// A client named `name` with a data directory and a download directory of its own.
    pub fn client(&self, name: &str) -> Client {
        Client::new(self, name)
    }

    /// A client with an account of its own name, logged in.
    pub fn user(&self, name: &str) -> Client {
        let client = self.client(name);
        client.ok(&[&format!("create_user {name} password-of-{name}"), &format!("login {name} password-of-{name}")]);
        client
    }
}

/// A running tracker.
#[derive(Debug)]
pub struct Tracker {
    /// Its process.
    pub process: Process,
}

impl Tracker {
    /// Asks it to stop, and waits until it has; whether it said that all is well.
    pub fn quit(&mut self) -> bool {
        self.process.type_line("quit");
        self.process.wait(PATIENCE).success()
    }
}

/// `n` different addresses of this machine that nobody listens on at the moment, and that nobody gets who asks for any port:
/// systems give those from above, so that a tracker may be started there again.
///
/// # Errors
/// When there are none.
pub fn free_addresses(n: usize) -> io::Result<Vec<SocketAddr>> {
    const TRIES: u32 = 1000;
    let bind = || TcpListener::bind(("127.0.0.1", rand::rng().random_range(12_000..32_000))).ok();
    let free = || (0..TRIES).find_map(|_| bind()).ok_or_else(|| io::Error::other("no free port"));
    let listeners: Vec<_> = (0..n).map(|_| free()).collect::<Result<_, _>>()?;
    listeners.iter().map(TcpListener::local_addr).collect()
}

/// Writes a file of `len` random bytes.
///
/// # Errors
/// When it cannot be written.
pub fn random_file(path: &Path, len: u64) -> io::Result<()> {
    let mut file = io::BufWriter::new(std::fs::File::create(path)?);
    let mut rng = rand::rng();
    let mut buffer = vec![0; 1 << 20];
    let mut left = len;
    while left > 0 {
        let n = left.min(buffer.len() as u64) as usize;
        rng.fill_bytes(&mut buffer[..n]);
        file.write_all(&buffer[..n])?;
        left -= n as u64;
    }
    file.flush()
}
