//! `download_memory [PEERS] [MIB] [DOWNLOADS]`: the memory of one downloader that has a file of so many MiB from so many
//! seeders, and of one that has so many files at once.

#![allow(clippy::print_stdout, reason = "it reports to a terminal")]

use std::process::ExitCode;

use harness::Crowd;

/// What a downloader may take, in bytes.
const PROMISED: u64 = 128 << 20;

fn main() -> ExitCode {
    let argument = |n: usize, or: u64| std::env::args().nth(n).and_then(|a| a.parse().ok()).unwrap_or(or);
    let (peers, mib, downloads) = (argument(1, 50), argument(2, 256), argument(3, 200));
    let seen = Crowd::run(peers as usize, mib << 20, downloads as usize);
    let show = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("{mib} MiB from {peers} seeders: at most {:.1} MiB of anonymous memory", show(seen.peers));
    println!("{downloads} files of 1 MiB at once: at most {:.1} MiB", show(seen.downloads));
    if seen.peers.max(seen.downloads) <= PROMISED { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
