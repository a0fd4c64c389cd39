//! Limits of single downloads, by the time of day: of what comes, and of what is sent of their shares.
//!
//! Invariant: what is kept with a download and what holds are changed together. What comes is limited until the download is
//! over; what is sent while it is on the list, also once it is complete. Where several downloads are of one share, the
//! smallest of their limits counts for what is sent. Does not know what time it is.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::{DownloadId, Downloads, Job};
use crate::error::Error;
use crate::settings::limit::{Hours, Limit, Rate};
use crate::settings::{Direction, Ways};
use crate::transfer::rate::ShareKey;

impl Downloads {
    /// Limits how fast a download may come, or what is sent of its share: at these hours, or where there are none, at any
    /// time. Holds from the next [`Downloads::apply_limits`] on. Blocks on the disk.
    ///
    /// # Errors
    /// When there is no such download, it has nothing more to fetch, or it cannot be kept; then nothing is changed.
    pub fn limit(&self, id: DownloadId, direction: Direction, rate: Rate, hours: &[Hours]) -> Result<(), Error> {
        let job = match direction {
            Direction::Up => self.job(id)?,
            Direction::Down => self.unfinished(id)?,
        };
        // What is complete leaves the list at the next start, and is not remembered.
        if !is_over(&job) {
            self.0.specs.change(id.0, |spec| match direction {
                Direction::Up => spec.up.change(rate, hours),
                Direction::Down => spec.down.change(rate, hours),
            })?;
        }
        job.limit().of_mut(direction).change(rate, hours);
        Ok(())
    }

    /// The downloads with limits of their own, and those.
    pub fn limits(&self) -> Vec<(DownloadId, Ways<Limit>)> {
        let limits = self.jobs().into_iter().map(|job| (DownloadId(job.spec.n), limit_of(&job)));
        limits.filter(|(_, limit)| *limit != Ways::default()).collect()
    }

    /// Makes all downloads keep to what holds at a minute of the day.
    pub fn apply_limits(&self, minute: u16) {
        let mut holds = self.minute();
        *holds = minute;
        self.apply(&holds);
    }

    /// The same after the list, or who is logged in, has changed.
    pub(super) fn apply_again(&self) {
        self.apply(&self.minute());
    }

    fn apply(&self, minute: &MutexGuard<'_, u16>) {
        for job in self.all() {
            let rate = job.limit().down.at(**minute);
            if job.down.get() != rate {
                job.down.set(rate);
            }
        }
        self.0.ground.limits.set_up_of(&sent(&self.jobs(), **minute));
    }

    fn minute(&self) -> MutexGuard<'_, u16> {
        self.0.minute.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Minutes from `minute` on until another limit may hold.
    pub fn until_next_limit(&self, minute: u16) -> Option<u16> {
        let next = |job: Arc<Job>| {
            let Ways { up, down } = limit_of(&job);
            [up, down].iter().filter_map(|limit| limit.until_next(minute)).min()
        };
        self.all().into_iter().filter_map(next).min()
    }
}

/// What limits the sending of shares at a minute of the day.
fn sent(jobs: &[Arc<Job>], minute: u16) -> HashMap<ShareKey, NonZeroU64> {
    let mut rates: HashMap<ShareKey, NonZeroU64> = HashMap::new();
    for job in jobs {
        if let Some(rate) = job.limit().up.at(minute) {
            let known = rates.entry((job.spec.group_id, job.spec.file_id)).or_insert(rate);
            *known = rate.min(*known);
        }
    }
    rates
}

/// What limits a download yet.
fn limit_of(job: &Job) -> Ways<Limit> {
    let Ways { up, down } = job.limit().clone();
    Ways { up, down: if is_over(job) { Limit::default() } else { down } }
}

fn is_over(job: &Job) -> bool {
    job.progress.borrow().done.is_some()
}
