//! How fast two trackers are, with real processes of the release build: durable commands per second, catching up,
//! failover. Each prints its figures, one line each; they are for comparing within one run.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "it reports to a terminal, and a failure ends it"
)]

mod catch_up;
mod commands;
mod failover;
mod plain;
mod raw;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Durable commands per second, dual and solo, beside plain SQLite commits on the same disk
    Commands {
        /// Commands of each connection; an account may make 256 groups
        #[arg(long, default_value_t = 200)]
        each: u32,
        /// How often everything is measured
        #[arg(long, default_value_t = 3)]
        rounds: u32,
    },
    /// How long an empty tracker takes to have what the other one has
    CatchUp {
        /// Events that the other one has
        #[arg(long, default_value_t = 100_000)]
        events: u64,
    },
    /// How long a client waits for an answer when its tracker is killed
    Failover {
        /// Kills
        #[arg(long, default_value_t = 20)]
        kills: u32,
    },
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match Arguments::parse().what {
        What::Commands { each, rounds } => commands::run(&runtime, each, rounds),
        What::CatchUp { events } => catch_up::run(&runtime, events),
        What::Failover { kills } => failover::run(kills),
    }
}
