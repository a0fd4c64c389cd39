//! A child process whose output is read as it comes, and which never outlives its owner.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long anything that must happen may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of one stream so far, and whether it has ended.
#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

/// One output stream of a process.
#[derive(Debug, Clone, Default)]
pub struct Output(Arc<(Mutex<Lines>, Condvar)>);

impl Output {
    fn follow(stream: impl Read + Send + 'static) -> Self {
        let output = Self::default();
        let to = output.clone();
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
                to.update(|l| l.lines.push(text));
                line.clear();
            }
            to.update(|l| l.ended = true);
        });
        output
    }

    fn update(&self, change: impl FnOnce(&mut Lines)) {
        change(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.1.notify_all();
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    /// All lines so far, as one text.
    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// Waits for a line that `wanted` accepts and gives what it makes of it; `None` when the stream
    /// ends, or `patience` does, without one.
    pub fn wait_for<T>(&self, patience: Duration, wanted: impl Fn(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut seen = 0;
        let mut lines = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = lines.lines[seen..].iter().find_map(|l| wanted(l)) {
                return Some(found);
            }
            seen = lines.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                return None;
            }
            lines = self.0.1.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait_end(&self, patience: Duration) {
        let lines = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.0.1.wait_timeout_while(lines, patience, |l| !l.ended);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    /// What it prints.
    pub stdout: Output,
    /// What it says.
    pub stderr: Output,
}

impl Process {
    /// Starts `command` with all three streams piped.
    ///
    /// # Panics
    /// When it cannot be started.
    #[expect(clippy::panic, reason = "a test harness")]
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(e) => panic!("cannot start {command:?}: {e}"),
        };
        let stdout = child.stdout.take().map(Output::follow).unwrap_or_default();
        let stderr = child.stderr.take().map(Output::follow).unwrap_or_default();
        Self { stdin: child.stdin.take(), child, stdout, stderr }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Types a line. A process that no longer reads is not an error here.
    pub fn type_line(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = writeln!(stdin, "{line}").and_then(|()| stdin.flush());
        }
    }

    /// Types a part of a line.
    pub fn type_part(&mut self, text: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush());
        }
    }

    /// Ends its input.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name, such as `TERM`, `INT`, `STOP`, `CONT`. After `STOP` none of its threads runs any more.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn signal(&self, name: &str) {
        let _ = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        if name == "STOP" {
            // One thread takes the signal when its turn comes, and stops the others: on a busy machine they answer until then.
            let deadline = Instant::now() + PATIENCE;
            while !self.has_stopped() {
                assert!(Instant::now() < deadline, "{} does not stop", self.id());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Whether all threads are stopped, where the system says so.
    fn has_stopped(&self) -> bool {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.id())) else { return true };
        let runs = |thread: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // After the name in parentheses (proc_pid_stat(5)); what has ended meanwhile has none.
            stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['T', 'Z', 'X']))
        };
        !threads.flatten().any(runs)
    }

    /// Waits until it has ended and its output is read.
    ///
    /// # Panics
    /// When that takes longer than `patience`.
    #[expect(clippy::panic, reason = "a test harness")]
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                self.stdout.wait_end(patience);
                self.stderr.wait_end(patience);
                return status;
            }
            if Instant::now() > deadline {
                self.kill();
                panic!(
                    "still running after {patience:?}\nstdout: {}\nstderr: {}",
                    self.stdout.text(),
                    self.stderr.text()
                );
            }
            // The end of a child has no portable wait with a time-out.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
