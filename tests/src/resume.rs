//! `resume [GIB]`: a download of so many GiB is stopped when half of it is there, and again when all is; how soon
//! each goes on, and what is reread for it.

#![allow(clippy::print_stdout, reason = "it reports to a terminal")]

use std::process::ExitCode;
use std::time::Duration;

use harness::Resumed;

/// What is promised.
const SOON: Duration = Duration::from_secs(1);
/// Programs and libraries, journals and manifests, in bytes; far less than a piece of a large file times its pieces.
const LITTLE: u64 = 16 << 20;

fn main() -> ExitCode {
    let gib: f64 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(10.0);
    let seen = Resumed::run((gib * f64::from(1 << 30)) as u64);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "stopped with {:.0} MiB: listed after {:.2} s; more of it {:.2} s after its seeder was started, {:.1} MiB reread",
        mib(seen.had),
        seen.listed.as_secs_f64(),
        seen.went_on.as_secs_f64(),
        mib(seen.reread)
    );
    println!(
        "stopped when finished: shared after {:.2} s, {:.1} MiB reread",
        seen.shared.as_secs_f64(),
        mib(seen.shared_reread)
    );
    let soon = seen.listed.max(seen.shared) < SOON;
    if soon && seen.reread.max(seen.shared_reread) < LITTLE { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
