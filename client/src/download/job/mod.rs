//! One download: what it is, what is wanted of it, and how it stands.
//!
//! A [`driver`] takes it through its states while it is awake. Invariant: it has at most one driver.

mod copy;
mod driver;
mod ending;
mod reuse;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

pub(crate) use self::driver::{Opened, drive};
pub(crate) use self::ending::discard;
use super::picker::PieceState;
use super::progress::{DownloadId, DownloadRow, Progress, State};
use super::spec::Spec;
use super::swarm::Told;
use crate::error::Error;
use crate::settings::Ways;
use crate::settings::limit::Limit;
use crate::trackers::group_names::GroupNames;
use crate::transfer::rate::RateLimit;

/// What the user wants of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It should go on.
    Run,
    /// It should rest.
    Pause,
    /// It should be given up.
    Cancel,
    /// The program is about to end.
    Stop,
}

/// One download. It sleeps until it is driven.
pub(crate) struct Job {
    // Immutable.
    pub(crate) spec: Spec,
    // Each guards itself.
    pub(crate) progress: watch::Sender<Progress>,
    /// How each piece stands; empty before it first goes on, and told only while somebody looks.
    pub(crate) pieces: watch::Sender<Vec<PieceState>>,
    /// How fast it may come now.
    pub(crate) down: RateLimit,
    /// How fast it may come, and be sent to others, by the time of day; also on the disk.
    limit: Mutex<Ways<Limit>>,
    /// Whether the user let it rest; also on the disk.
    paused: AtomicBool,
    /// What is wanted, and how often it was said: resuming what has failed is news.
    wanted: watch::Sender<(Wanted, u64)>,
    driven: watch::Sender<bool>,
}

impl Job {
    /// A download of which `have` bytes are there.
    pub(crate) fn new(spec: Spec, have: u64) -> Self {
        let wanted = if spec.paused { Wanted::Pause } else { Wanted::Run };
        let mut progress = Progress { have, ..Progress::begun(spec.layout.len()) };
        if spec.paused {
            progress.halt(State::Paused, None);
        }
        Self {
            progress: watch::Sender::new(progress),
            pieces: watch::Sender::default(),
            down: RateLimit::default(),
            limit: Mutex::new(Ways { up: spec.up.clone(), down: spec.down.clone() }),
            paused: AtomicBool::new(spec.paused),
            wanted: watch::Sender::new((wanted, 0)),
            driven: watch::Sender::new(false),
            spec,
        }
    }

    /// Where a run tells how it stands.
    pub(crate) const fn told(&self) -> Told<'_> {
        Told { progress: &self.progress, pieces: &self.pieces }
    }

    /// Whether a driver should be started for it; it counts as driven from here on, with what is
    /// wanted by what the user said last.
    pub(crate) fn awaken(&self) -> bool {
        let asleep = self.driven.send_if_modified(|driven| !std::mem::replace(driven, true));
        if asleep {
            let wanted = if self.paused.load(Ordering::Relaxed) { Wanted::Pause } else { Wanted::Run };
            self.say(wanted);
        }
        asleep
    }

    /// How fast it may come, and be sent to others.
    pub(crate) fn limit(&self) -> MutexGuard<'_, Ways<Limit>> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the user let it rest, or go on.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Says what is wanted, and waits until a pause shows.
    pub(crate) async fn want(&self, wanted: Wanted) {
        if wanted == Wanted::Run || !*self.driven.borrow() {
            // At once, so that nobody takes the old end for the new one.
            self.progress.send_if_modified(|p| show(p, wanted));
        }
        self.say(wanted);
        if wanted == Wanted::Pause {
            let mut progress = self.progress.subscribe();
            let resting = progress.wait_for(|p| matches!(p.state, State::Paused | State::Complete | State::Failed));
            tokio::select! {
                _ = resting => {}
                () = self.asleep() => {}
            }
        }
    }

    fn say(&self, wanted: Wanted) {
        self.wanted.send_modify(|w| *w = (wanted, w.1 + 1));
    }

    async fn asleep(&self) {
        // The sender is our own: this cannot fail.
        let _ = self.driven.subscribe().wait_for(|driven| !driven).await;
    }

    /// Whether it has a driver.
    pub(crate) fn driven(&self) -> watch::Receiver<bool> {
        self.driven.subscribe()
    }

    /// Whether it waits for somebody who gives anything, or for somebody who drives it. One that the user let rest does not.
    pub(crate) fn is_unserved(&self) -> bool {
        match self.progress.borrow().state {
            State::Waiting => true,
            State::Downloading => !*self.driven.borrow(),
            State::Paused | State::Complete | State::Failed => false,
        }
    }

    /// Waits until its driver has let go of everything, for at most `limit`; whether it has.
    pub(crate) async fn ended(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.asleep()).await.is_ok()
    }

    /// Its line in the list.
    pub(crate) fn row(&self, names: &GroupNames) -> DownloadRow {
        let Spec { n, group, group_id, name, file_id, folder, .. } = &self.spec;
        let group = names.present(*group_id, group);
        let mut progress = self.progress.borrow().clone();
        if !*self.driven.borrow() && progress.state == State::Downloading {
            progress.state = State::Waiting;
            progress.reason = Some("it goes on in a client that stays, or when it is asked for again".to_owned());
        }
        let within = folder.as_ref().and_then(|folder| folder.choice.path.clone());
        let (n, name, file_id, path) = (DownloadId(*n), name.clone(), *file_id, self.spec.path());
        DownloadRow { n, group, name, file_id, within, path, progress }
    }

    fn wanted(&self) -> Wanted {
        self.wanted.borrow().0
    }

    fn halt(&self, state: State, error: Option<Error>) {
        self.progress.send_modify(|p| p.halt(state, error));
    }
}

/// Shows what is wanted of a download that has come to rest.
fn show(progress: &mut Progress, wanted: Wanted) -> bool {
    let state = match wanted {
        Wanted::Run if matches!(progress.state, State::Failed | State::Paused) => State::Downloading,
        Wanted::Pause if progress.done.is_none() => State::Paused,
        _ => return false,
    };
    progress.halt(state, None);
    true
}

/// Puts a job to sleep, whatever ends its driver.
struct Asleep<'a>(&'a Job);

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        self.0.driven.send_replace(false);
    }
}
