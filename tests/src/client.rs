//! One installation of the client, driven the way a script would: command lines in, JSON out.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::process::{PATIENCE, Process};
use crate::{Cluster, binary};

/// A data directory, and the command line that belongs to it.
#[derive(Debug, Clone)]
pub struct Client {
    name: String,
    home: PathBuf,
    info: PathBuf,
}

/// What a script did.
#[derive(Debug)]
pub struct Script {
    /// Exit status.
    pub code: Option<i32>,
    /// One JSON object per command.
    pub results: Vec<Value>,
    /// Everything on stdout.
    pub stdout: String,
    /// Everything on stderr.
    pub stderr: String,
}

impl Script {
    /// The error code of the last command, or `""`.
    pub fn error(&self) -> &str {
        self.results.last().and_then(|r| r["error"]["code"].as_str()).unwrap_or_default()
    }

    /// `data` of the last command.
    pub fn data(&self) -> &Value {
        self.results.last().map_or(&Value::Null, |r| &r["data"])
    }
}

impl Client {
    #[expect(clippy::expect_used, reason = "a test harness")]
    pub(crate) fn new(cluster: &Cluster, name: &str) -> Self {
        let home = cluster.dir().join(name);
        std::fs::create_dir_all(home.join("downloads")).expect("a home");
        Self { name: name.to_owned(), home, info: cluster.info() }
    }

    /// The user's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same client with another list of trackers.
    pub fn with_info(&self, info: &Path) -> Self {
        Self { name: self.name.clone(), home: self.home.clone(), info: info.to_owned() }
    }

    /// Its working directory: data in `data`, downloads in `downloads`.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Where this client's downloads go.
    pub fn downloads(&self) -> PathBuf {
        self.home.join("downloads")
    }

    /// `client 127.0.0.1:0 tracker_info.txt --data-dir …`, to be completed.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary("client"));
        command
            .current_dir(&self.home)
            .arg("127.0.0.1:0")
            .arg(&self.info)
            .arg("--data-dir")
            .arg(self.home.join("data"));
        command
    }

    /// Runs `lines` as one script with `--json`.
    pub fn run(&self, lines: &[&str]) -> Script {
        let mut command = self.command();
        command.arg("--json");
        lines.iter().for_each(|line| {
            command.arg("-c").arg(line);
        });
        finish(Process::start(&mut command))
    }

    /// Runs `lines`, which must all succeed; the data of the last.
    ///
    /// # Panics
    /// When one fails.
    pub fn ok(&self, lines: &[&str]) -> Value {
        let script = self.run(lines);
        assert!(script.code == Some(0) && script.results.len() == lines.len(), "{}: {lines:?}: {script:#?}", self.name);
        script.data().clone()
    }

    /// Runs one line, which must fail with this code.
    ///
    /// # Panics
    /// When it does not.
    pub fn refused(&self, line: &str, code: &str) -> String {
        let script = self.run(&[line]);
        assert_eq!((script.code, script.error()), (Some(1), code), "{}: {line}: {script:#?}", self.name);
        script.results[0]["error"]["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Starts a process that takes lines on its standard input, one after the other, and seeds
    /// meanwhile and after.
    pub fn live(&self) -> Live {
        self.live_with(&[])
    }

    /// The same with further options.
    pub fn live_with(&self, options: &[&str]) -> Live {
        let mut command = self.command();
        self.live_from(command.args(options))
    }

    /// The same, of a command line that has begun already.
    pub fn live_from(&self, command: &mut Command) -> Live {
        let process = Process::start(command.args(["--json", "--stay", "--keep-going"]));
        Live { process, name: self.name.clone(), sent: 0 }
    }
}

fn finish(mut process: Process) -> Script {
    process.end_input();
    let status = process.wait(PATIENCE * 3);
    let lines = process.stdout.lines();
    Script {
        code: status.code(),
        results: lines.iter().filter_map(|l| serde_json::from_str(l).ok()).collect(),
        stdout: process.stdout.text(),
        stderr: process.stderr.text(),
    }
}

/// A client process that is fed lines.
#[derive(Debug)]
pub struct Live {
    /// Its process.
    pub process: Process,
    name: String,
    sent: usize,
}

impl Live {
    /// The client's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a line without waiting for its result; its number, for [`Live::result`].
    pub fn send(&mut self, line: &str) -> usize {
        self.process.type_line(line);
        self.sent += 1;
        self.sent - 1
    }

    /// The result of line `number`, if it comes within `patience`.
    pub fn result(&self, number: usize, patience: Duration) -> Option<Value> {
        let seen = std::cell::Cell::new(0);
        self.process.stdout.wait_for(patience, |line| {
            let here = seen.replace(seen.get() + 1) == number;
            here.then(|| serde_json::from_str(line).unwrap_or_default())
        })
    }

    /// Runs a line to its end, whatever that is.
    ///
    /// # Panics
    /// When no result comes.
    pub fn run(&mut self, line: &str) -> Value {
        let number = self.send(line);
        let result = self.result(number, PATIENCE * 3);
        result.unwrap_or_else(|| self.fail(line))
    }

    /// Runs a line that must succeed; its data.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok(&mut self, line: &str) -> Value {
        let result = self.run(line);
        assert!(result["ok"] == true, "{}: {line}: {result}", self.name);
        result["data"].clone()
    }

    /// Runs a line that must fail with this code; its message.
    ///
    /// # Panics
    /// When it does not.
    pub fn refused(&mut self, line: &str, code: &str) -> String {
        let result = self.run(line);
        assert_eq!(result["error"]["code"], code, "{}: {line}: {result}", self.name);
        result["error"]["message"].as_str().unwrap_or_default().to_owned()
    }

    #[expect(clippy::panic, reason = "a test harness")]
    fn fail(&self, line: &str) -> ! {
        panic!("{}: {line}: no result\n{}\n{}", self.name, self.process.stdout.text(), self.process.stderr.text())
    }

    /// Asks it to stop (SIGTERM) and waits until it has; whether it ended well.
    pub fn stop(mut self) -> bool {
        self.process.signal("TERM");
        self.process.wait(PATIENCE).success()
    }
}
