//! How fast the tracker is, as real processes over the real protocol, beside redis over TLS, plain SQLite and argon2 in
//! the same run, with the processor time of the tracker alone. See README.md beside this.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "it reports to a terminal, and a failure ends it"
)]

mod beside;
mod connection;
mod dataset;
mod goals;
mod load;
mod profile;
mod report;
mod rows;
mod system;
mod tracker;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use report::Report;
use rows::Bench;

/// Files that twenty thousand connections need, and what else is open.
const FILES: u64 = 20_500;

#[derive(Debug, Parser)]
#[command(about)]
struct Arguments {
    /// Measure only this row; may be given several times
    #[arg(long, value_enum, value_name = "ROW")]
    only: Vec<Row>,
    /// Everything small and short: whether it works, not how fast it is
    #[arg(long)]
    quick: bool,
    /// How often the figures that are compared are taken; medians are printed
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How long each load runs
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Append each measurement to this file, as a line of JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Profile the tracker with perf during reads and commands, into this directory
    #[arg(long, value_name = "DIR")]
    profile: Option<PathBuf>,
    /// The tracker's program [default: built as this one was]
    #[arg(long, value_name = "PROGRAM")]
    tracker: Option<PathBuf>,
    /// Where states are made and kept for the next run [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    states: Option<PathBuf>,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    /// A request that touches no state
    Status,
    /// Twenty seeders of a share
    FindPeers,
    /// A share by its name
    FindFile,
    /// Twenty shares
    ListFiles,
    /// A signed ticket
    GetTicket,
    /// A page of 1,000 groups of 100,000
    ListGroups,
    /// Of a member of a group of 10,000
    Login,
    /// Durable commands of two trackers
    CommandsDual,
    /// Durable commands of a tracker whose sibling is away
    CommandsSolo,
    /// Lookups with 1,000 to 1,000,000 shares in one group
    GrowthShares,
    /// Lookups with 1,000 to 1,000,000 groups and users
    GrowthUsers,
    /// Words in 1,000,000 names
    Search,
    /// Of a share, a member, a group, a login
    Memory,
    /// With 1,000,000 shares, warm and cold
    Start,
    /// 20,000 connections that do nothing
    Idle,
    /// 5,000 logins at once
    Storm,
}

impl Row {
    /// As it is called in the report.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::FindPeers => "find-peers",
            Self::FindFile => "find-file",
            Self::ListFiles => "list-files",
            Self::GetTicket => "get-ticket",
            Self::ListGroups => "list-groups",
            Self::Login => "login",
            Self::CommandsDual => "commands-dual",
            Self::CommandsSolo => "commands-solo",
            Self::GrowthShares => "growth-shares",
            Self::GrowthUsers => "growth-users",
            Self::Search => "search",
            Self::Memory => "memory",
            Self::Start => "start",
            Self::Idle => "idle",
            Self::Storm => "storm",
        }
    }
}

/// Which rows are measured.
#[derive(Debug)]
pub(crate) struct Wanted(Vec<Row>);

impl Wanted {
    fn has(&self, row: Row) -> bool {
        self.0.is_empty() || self.0.contains(&row)
    }
}

fn main() {
    let arguments = Arguments::parse();
    let files = system::allow_files(FILES);
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let quick = arguments.quick;
    let program = arguments.tracker.unwrap_or_else(|| harness::binary("tracker"));
    let mut bench = Bench {
        program: program.canonicalize().expect("the tracker's program"),
        states: arguments.states.unwrap_or_else(|| temporary.path().to_owned()),
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
        report: Report::new(arguments.json.as_deref()),
        wanted: Wanted(arguments.only),
        profiles: arguments.profile,
        files,
        quick,
        time: Duration::from_secs_f64(if quick { 0.2 } else { arguments.seconds }),
        rounds: if quick { 1 } else { arguments.rounds },
    };
    eprintln!("{} processors, load {:.1}", system::cores(), system::load());
    rows::reads::run(&mut bench);
    rows::commands::run(&mut bench);
    rows::growth::run(&mut bench);
    rows::search::run(&mut bench);
    rows::memory::run(&mut bench);
    rows::start::run(&mut bench);
    rows::idle::run(&mut bench);
    rows::storm::run(&mut bench);
    bench.report.print();
    if !quick {
        goals::print(&bench.report);
    }
}
