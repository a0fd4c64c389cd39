//! `kills [CYCLES]`: two trackers, clients that keep asking, and kill -9 over and over; then both must have
//! everything that a client was told is done, once.

#![allow(clippy::print_stdout, reason = "it reports to a terminal")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::{Asker, Cluster, Verdict, until_level};
use rand::RngExt;

/// Clients that ask at the same time.
const ASKERS: usize = 3;

fn main() -> ExitCode {
    let cycles: u32 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(50);
    let began = Instant::now();
    let mut cluster = Cluster::start(2);
    let clients: Vec<_> = (0..ASKERS).map(|n| cluster.user(&format!("user{n}"))).collect();
    let askers: Vec<_> = clients.iter().map(|c| Asker::start(c.live(), c.name(), Duration::ZERO)).collect();
    let mut rng = rand::rng();
    let (mut single, mut both) = (0, 0);
    for cycle in 0..cycles {
        std::thread::sleep(Duration::from_millis(rng.random_range(0..900)));
        let number = rng.random_range(1..=2);
        let all = rng.random_range(0..10) == 0;
        cluster.kill_tracker(number);
        if all {
            cluster.kill_tracker(3 - number);
            both += 1;
        } else {
            single += 1;
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(0..300)));
        cluster.start_tracker(number);
        if all {
            cluster.start_tracker(3 - number);
        }
        if cycle % 50 == 49 {
            println!("{} cycles, {:.0} s", cycle + 1, began.elapsed().as_secs_f64());
        }
    }
    let histories: Vec<_> = askers.into_iter().map(Asker::finish).collect();
    let asker = &clients[0];
    until_level(&cluster, asker, Duration::from_secs(120));
    let verdict = Verdict::of(&cluster, asker, &histories);
    println!("{single} kills of one, {both} of both, {:.0} s: {verdict}", began.elapsed().as_secs_f64());
    if verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
