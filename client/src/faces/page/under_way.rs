//! What was begun on the page and takes its time: how far it is, and for a while how it has ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::id::GroupName;

use crate::engine::{Progress, ProgressSink};
use crate::error::Error;

/// How long what is over is shown.
const SHOWN: Duration = Duration::from_secs(20);

/// How far something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// So many bytes of the request have come; with its length, if the browser told.
    Arriving(u64, Option<u64>),
    /// So many bytes of so many have been read from the disk.
    Reading(u64, u64),
    /// It is done.
    Done,
    /// It is not, and why.
    Failed(String),
}

/// Something that takes its time.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) group: GroupName,
    /// What it is about.
    pub(super) name: String,
    pub(super) stage: Stage,
    ended: Option<Instant>,
}

/// All of one kind. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct UnderWay(Arc<Mutex<(u64, BTreeMap<u64, Work>)>>);

impl UnderWay {
    /// Those of `group`, in the order in which they began.
    pub(super) fn of(&self, group: &GroupName) -> Vec<(u64, Work)> {
        let mut all = self.locked();
        all.1.retain(|_, w| w.ended.is_none_or(|at| at.elapsed() < SHOWN));
        all.1.iter().filter(|(_, w)| w.group == *group).map(|(n, w)| (*n, w.clone())).collect()
    }

    /// Shows a further one, until what is returned is dropped or ended.
    pub(super) fn begin(&self, group: GroupName, name: String, stage: Stage) -> Shown {
        let mut all = self.locked();
        all.0 += 1;
        let n = all.0;
        all.1.insert(n, Work { group, name, stage, ended: None });
        Shown(Arc::new(Watched { all: self.clone(), n }))
    }

    fn locked(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Work>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that is shown. When its last clone is dropped before its end, it has been broken off.
#[derive(Clone)]
pub(super) struct Shown(Arc<Watched>);

struct Watched {
    all: UnderWay,
    n: u64,
}

impl Shown {
    /// Shows how far it is.
    pub(super) fn set(&self, stage: Stage) {
        let over = matches!(stage, Stage::Done | Stage::Failed(_));
        if let Some(work) = self.0.all.locked().1.get_mut(&self.0.n) {
            work.stage = stage;
            work.ended = over.then(Instant::now);
        }
    }

    /// Shows that it has ended, and in words why, if it has failed.
    pub(super) fn end<T>(&self, result: &Result<T, Error>, words: impl Fn(&Error) -> String) {
        self.set(match result {
            Ok(_) => Stage::Done,
            Err(e) => Stage::Failed(words(e)),
        });
    }

    /// Shows how much a command has read, as it tells.
    pub(super) fn progress(&self) -> ProgressSink {
        let shown = self.clone();
        Arc::new(move |progress| {
            if let Progress::Hashing(read) | Progress::Verifying(read) = progress {
                shown.set(Stage::Reading(read.done, read.total));
            }
        })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(work) = self.all.locked().1.get_mut(&self.n)
            && work.ended.is_none()
        {
            work.stage = Stage::Failed("it was broken off".to_owned());
            work.ended = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::progress::Hashing;

    #[test]
    fn how_far_it_is_is_shown_and_how_it_has_ended() {
        let (all, lab) = (UnderWay::default(), "lab".parse::<GroupName>().expect("a name"));
        let stages = || all.of(&lab).into_iter().map(|(_, work)| work.stage).collect::<Vec<_>>();
        let [first, second] = ["a", "b"].map(|name| all.begin(lab.clone(), name.to_owned(), Stage::Reading(0, 0)));
        first.progress()(&Progress::Verifying(Hashing { name: "a".to_owned(), done: 3, total: 9 }));
        assert_eq!(stages(), [Stage::Reading(3, 9), Stage::Reading(0, 0)]);
        first.end(&Ok::<_, Error>(()), ToString::to_string);
        drop((first, second));
        assert_eq!(stages(), [Stage::Done, Stage::Failed("it was broken off".to_owned())]);
        assert!(all.of(&"other".parse().expect("a name")).is_empty());
    }
}
