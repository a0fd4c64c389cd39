//! Runs the simulation: `simulate --runs 10000`, `simulate --seed 17`, `simulate --named 100`.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::panic, reason = "it reports to a terminal")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use clap::Parser;
use simulation::{Plan, Report, run, run_with_clients};

#[derive(Parser)]
struct Arguments {
    /// Runs with faults by chance
    #[arg(long, default_value_t = 1000)]
    runs: u64,
    /// Runs of each named fault
    #[arg(long, default_value_t = 20)]
    named: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only the plan of this name
    #[arg(long)]
    plan: Option<String>,
    /// Clients in each run
    #[arg(long, default_value_t = 0)]
    clients: usize,
    /// Threads
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let began = Instant::now();
    let mut plans: Vec<(Plan, u64)> = Plan::named().into_iter().map(|p| (p, arguments.named)).collect();
    plans.push((Plan::random(), arguments.runs));
    plans.push((Plan::random_lines(), arguments.runs / 4));
    let mut failed = 0;
    for (plan, runs) in plans.into_iter().filter(|(p, _)| arguments.plan.as_ref().is_none_or(|n| n == p.name)) {
        let (failures, total) = many(&plan, &arguments, runs);
        failed += failures.len();
        println!("{:<42} {runs:>6} runs  {:>3} failed  {total}", plan.name, failures.len());
        for (seed, what) in failures.iter().take(5) {
            println!("    seed {seed}: {what}");
        }
    }
    println!("{:.1} s", began.elapsed().as_secs_f64());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The seeds that failed, and the sum of what the others saw.
fn many(plan: &Plan, arguments: &Arguments, runs: u64) -> (Vec<(u64, String)>, Report) {
    let Arguments { seed: first, jobs, clients, .. } = *arguments;
    let next = Arc::new(AtomicU64::new(first));
    let found = Arc::new(Mutex::new((Vec::new(), Report::default())));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (next, found) = (Arc::clone(&next), Arc::clone(&found));
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + runs {
                        return;
                    }
                    let outcome = catch_unwind(AssertUnwindSafe(|| match clients {
                        0 => run(plan, seed),
                        many => run_with_clients(plan, seed, many, true),
                    }));
                    if let Ok(mut found) = found.lock() {
                        match outcome {
                            Ok(report) => found.1.add(&report),
                            Err(panic) => {
                                let fixed = panic.downcast_ref::<&str>().copied();
                                let text = panic.downcast_ref::<String>().map(String::as_str).or(fixed);
                                let text = text.unwrap_or("a panic");
                                found.0.push((seed, text.to_owned()));
                            }
                        }
                    }
                }
            });
        }
    });
    found.lock().map(|f| (f.0.clone(), f.1)).unwrap_or_default()
}
