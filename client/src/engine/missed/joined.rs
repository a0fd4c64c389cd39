//! Groups that a command of this client has joined: its answer says so, and news need not.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::id::GroupName;

/// For how long: by then the news of it have come.
const RECENT: Duration = Duration::from_secs(120);

/// See the module.
#[derive(Debug, Default)]
pub(in crate::engine) struct JoinedHere(Mutex<Vec<(Instant, GroupName)>>);

impl JoinedHere {
    /// A group was joined.
    pub(in crate::engine) fn note(&self, group: &GroupName) {
        let mut joined = self.locked();
        joined.retain(|(at, _)| at.elapsed() < RECENT);
        joined.push((Instant::now(), group.clone()));
    }

    /// Whether it was just now.
    pub(super) fn has(&self, group: &GroupName) -> bool {
        self.locked().iter().any(|(at, joined)| at.elapsed() < RECENT && joined == group)
    }

    fn locked(&self) -> MutexGuard<'_, Vec<(Instant, GroupName)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
