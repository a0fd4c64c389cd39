//! Where a tracker's time goes while a load runs, as Linux's perf samples it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Samples a second: no multiple of what timers do.
const RATE: &str = "499";

/// A recording that goes on.
#[derive(Debug)]
pub(crate) struct Profile {
    perf: Child,
    recorded: PathBuf,
}

impl Profile {
    /// Samples process `pid` for `time`, for a report that is called `name` in `dir`. Nothing without `dir`.
    pub(crate) fn start(dir: Option<&Path>, name: &str, pid: u32, time: Duration) -> Option<Self> {
        let recorded = dir?.join(format!("{name}.perf"));
        let mut command = Command::new("perf");
        command.arg("record").arg("-o").arg(&recorded).args(["-F", RATE, "-g", "-p", &pid.to_string()]);
        command.args(["--", "sleep", &time.as_secs_f64().to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(perf) => Some(Self { perf, recorded }),
            Err(e) => {
                eprintln!("cannot profile: {e}; Debian's linux-perf has it");
                None
            }
        }
    }

    /// Writes the report: the functions in which the time was spent, with most of it first.
    pub(crate) fn finish(mut self) {
        if !self.perf.wait().is_ok_and(|status| status.success()) {
            eprintln!("perf could not record {}", self.recorded.display());
            return;
        }
        let mut command = Command::new("perf");
        command.args([
            "report",
            "--stdio",
            "--no-children",
            "-g",
            "none",
            "--sort",
            "symbol",
            "--percent-limit",
            "0.5",
        ]);
        let report = command.arg("-i").arg(&self.recorded).output().map(|o| o.stdout).unwrap_or_default();
        let text = String::from_utf8_lossy(&report).into_owned();
        let lines = text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty());
        let lines: Vec<&str> = lines.map(|l| l.trim_end_matches([' ', '-'])).collect();
        fs::write(self.recorded.with_extension("txt"), lines.join("\n") + "\n").expect("the report");
    }
}
