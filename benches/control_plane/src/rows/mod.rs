//! The rows of the table, a file for each kind.

pub(crate) mod commands;
pub(crate) mod growth;
pub(crate) mod idle;
pub(crate) mod memory;
pub(crate) mod reads;
pub(crate) mod search;
pub(crate) mod start;
pub(crate) mod storm;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::dataset::{Dataset, Size};
use crate::profile::Profile;
use crate::report::Report;
use crate::{Row, Wanted};

/// What every row works with.
pub(crate) struct Bench {
    /// The tracker's program.
    pub(crate) program: PathBuf,
    /// Where states are kept.
    pub(crate) states: PathBuf,
    /// On one thread, so that the load takes one processor at most, as redis-benchmark does.
    pub(crate) runtime: Runtime,
    pub(crate) report: Report,
    pub(crate) wanted: Wanted,
    /// Where profiles go, if there are to be any.
    pub(crate) profiles: Option<PathBuf>,
    /// Files that a process here may open.
    pub(crate) files: u64,
    /// Everything is small and short.
    pub(crate) quick: bool,
    /// How long a load runs.
    pub(crate) time: Duration,
    /// How often the figures that are compared are taken.
    pub(crate) rounds: u32,
}

impl Bench {
    pub(crate) fn dataset(&self, size: Size) -> Dataset {
        Dataset::open(&self.states, size)
    }

    /// One or the other, by whether this is only a smoke.
    pub(crate) const fn sized(&self, full: u64, quick: u64) -> u64 {
        if self.quick { quick } else { full }
    }

    pub(crate) fn wants(&self, row: Row) -> bool {
        self.wanted.has(row)
    }

    /// Profiles process `pid` for as long as a load runs, if that was asked for.
    pub(crate) fn profile(&self, name: &str, pid: u32) -> Option<Profile> {
        Profile::start(self.profiles.as_deref(), name, pid, self.time)
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }
}
