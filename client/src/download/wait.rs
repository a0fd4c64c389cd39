//! Waiting for the end of a download, for scripts: with patience, but not for ever.

use std::time::{Duration, Instant};

use super::job::Job;
use super::spec::Spec;
use super::{DownloadId, Downloaded, Downloads, Progress, State};
use crate::error::Error;

/// How long a script waits for a seeder when there is none.
const NOBODY: Duration = Duration::from_secs(10);
/// How long it waits when there are seeders, but none of them can be used.
const NOBODY_USABLE: Duration = Duration::from_secs(30);

impl Downloads {
    /// Waits for the end of a download. Cancel safe; the download goes on either way.
    ///
    /// # Errors
    /// Why it failed or rests; [`Error::NoSeeders`] when nobody gives anything for a while.
    pub async fn finished(&self, id: DownloadId) -> Result<Downloaded, Error> {
        let job = self.job(id)?;
        let mut progress = job.progress.subscribe();
        let begun = Instant::now();
        loop {
            let patience = {
                let now = progress.borrow_and_update();
                if let Some(end) = end_of(&now) {
                    return end;
                }
                now.waiting.map(|w| w.since.max(begun) + if w.listed { NOBODY_USABLE } else { NOBODY })
            };
            if patience.is_some_and(|until| until <= Instant::now()) {
                return Err(self.nobody(&job));
            }
            tokio::select! {
                changed = progress.changed() => if changed.is_err() {
                    return Err(Error::Internal("the client is about to stop".to_owned()));
                },
                () = sleep_until(patience) => {}
            }
        }
    }

    fn nobody(&self, job: &Job) -> Error {
        let reason = job.progress.borrow().reason.clone().unwrap_or_else(|| "no seeder answers".to_owned());
        let Spec { name, group, group_id, .. } = &job.spec;
        let group = self.0.ground.shares.group_names().present(*group_id, group);
        Error::NoSeeders(format!(
            "`{name}` of `{group}` is not complete: {reason}; what has come is kept, try again later"
        ))
    }
}

/// What a progress says about the end, if it is one.
fn end_of(progress: &Progress) -> Option<Result<Downloaded, Error>> {
    if let Some(done) = &progress.done {
        return Some(Ok(Downloaded::clone(done)));
    }
    let over = matches!(progress.state, State::Failed | State::Paused);
    over.then(|| {
        Err(progress
            .error
            .clone()
            .unwrap_or_else(|| Error::InvalidArgument("the download was paused; `resume_download` goes on".to_owned())))
    })
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}
