//! `download_kills [KILLS] [folder]`: one seeder of a file, or of a folder, and a downloader that is killed (SIGKILL) over and over; every file must be
//! right in the end, nothing that was verified may be fetched again, and what was fetched in vain is told.

#![allow(clippy::print_stdout, reason = "it reports to a terminal")]

use std::process::ExitCode;
use std::time::Instant;

use harness::{Interrupted, Kind};

fn main() -> ExitCode {
    let kills: u32 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(50);
    let kind = if std::env::args().nth(2).is_some_and(|what| what == "folder") { Kind::Folder } else { Kind::File };
    let began = Instant::now();
    let seen = Interrupted::run(kind, kills, |seen| report(seen, began));
    report(&seen, began);
    if seen.wrong == 0 && seen.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(seen: &Interrupted, began: Instant) {
    let Interrupted { kills, files, wrong, lost, size, served } = seen;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{kills} kills: {files} files right, {wrong} wrong, {lost} verified bytes lost; {:.1} MiB served for {:.1} MiB, {:.2} MiB in vain per kill; {:.0} s",
        mib(*served),
        mib(*size),
        mib(served.saturating_sub(*size)) / f64::from((*kills).max(1)),
        began.elapsed().as_secs_f64()
    );
}
