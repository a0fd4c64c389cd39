//! Drives a download through its states until it is complete, cancelled, or the program ends.
//!
//! Owns the open disk between runs of the [`swarm`](crate::download::swarm). Invariant: what the user wants
//! ([`Wanted`]) is looked at between any two steps, and the disk is closed cleanly whenever it is let go.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::backoff::Backoff;
use common::manifest::Manifest;
use common::pieces::{Bitfield, PieceIndex};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Asleep, Job, Wanted};
use crate::download::destination::Destination;
use crate::download::disk::{Disk, Resumed};
use crate::download::folder::FolderPlan;
use crate::download::manifest::{Sought, manifest, tree};
use crate::download::progress::{State, Waiting};
use crate::download::spec::{Spec, Specs};
use crate::download::swarm::{End, Ground, Ran, Seeded, Swarm, Task};
use crate::error::Error;
use crate::share::{Key, blocking};
use crate::transfer::rate::RateLimits;

/// How often a download that found the disk full looks for room.
const ROOM_LOOK: Duration = Duration::from_secs(5);
/// Room at which it goes on, in bytes, unless it needs less.
const ROOM_ENOUGH: u64 = 64 << 20;
/// Delays between attempts to reach the trackers for what is needed to begin.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// What the start of a download has opened already.
pub(crate) struct Opened {
    pub(crate) disk: Disk,
    pub(crate) manifest: Arc<Manifest>,
    /// If it is a folder.
    pub(crate) plan: Option<FolderPlan>,
    /// Who seeds it, where the trackers have said so.
    pub(crate) seeded: Option<Seeded>,
}

/// Drives `job` to its end, beginning with what is `opened`.
pub(crate) async fn drive(job: Arc<Job>, ground: Ground, specs: Specs, opened: Option<Opened>) {
    let sleeper = Arc::clone(&job);
    let _asleep = Asleep(&sleeper);
    let (open, seeded) = match opened {
        Some(Opened { disk, manifest, plan, seeded }) => {
            let have = Bitfield::empty(manifest.layout());
            (Some(Open::new(Arc::new(disk), manifest, plan.as_ref(), have)), seeded)
        }
        None => (None, None),
    };
    Driver { job, ground, specs, open, seeded, begun: Instant::now() }.drive().await;
}

pub(super) struct Driver {
    pub(super) job: Arc<Job>,
    pub(super) ground: Ground,
    pub(super) specs: Specs,
    pub(super) open: Option<Open>,
    /// Of use to the first run only: it grows old.
    seeded: Option<Seeded>,
    /// When it went on last.
    pub(super) begun: Instant,
}

/// A download whose file is open.
pub(super) struct Open {
    pub(super) disk: Arc<Disk>,
    pub(super) manifest: Arc<Manifest>,
    pub(super) have: Bitfield,
    /// The pieces that are to be fetched, whether they are here or not.
    pub(super) wanted: Bitfield,
}

impl Open {
    fn new(disk: Arc<Disk>, manifest: Arc<Manifest>, plan: Option<&FolderPlan>, have: Bitfield) -> Self {
        let layout = manifest.layout();
        let wanted = plan.map_or_else(|| Bitfield::full(layout), |plan| plan.chosen.pieces(&plan.tree, layout));
        Self { disk, manifest, have, wanted }
    }

    /// Whether a piece is to be fetched, and is not here.
    pub(super) fn lacks(&self, piece: PieceIndex) -> bool {
        self.wanted.has(piece) && !self.have.has(piece)
    }
}

/// What came of one attempt.
enum Attempt {
    Complete,
    Interrupted,
    Failed(Error),
}

impl Driver {
    async fn drive(&mut self) {
        let mut wanted = self.job.wanted.subscribe();
        loop {
            let now = wanted.borrow_and_update().0;
            match now {
                Wanted::Cancel | Wanted::Stop => return self.close().await,
                Wanted::Pause => {
                    self.close().await;
                    self.job.halt(State::Paused, None);
                }
                Wanted::Run => match self.attempt(&mut wanted).await {
                    Attempt::Complete => return,
                    Attempt::Interrupted => continue,
                    Attempt::Failed(error) => {
                        self.close().await;
                        let full = matches!(error, Error::DiskFull { .. });
                        self.job.halt(if full { State::Paused } else { State::Failed }, Some(error));
                        if full && self.room_or_news(&mut wanted).await {
                            continue;
                        }
                    }
                },
            }
            if wanted.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits for room on the disk; `false` when the user wants something first.
    async fn room_or_news(&self, wanted: &mut watch::Receiver<(Wanted, u64)>) -> bool {
        loop {
            tokio::select! {
                _ = wanted.changed() => {
                    wanted.mark_changed();
                    return false;
                }
                () = tokio::time::sleep(ROOM_LOOK) => {}
            }
            let spec = self.job.spec.clone();
            let room = blocking(move || {
                let place = Destination::open(&spec.directory, spec.file_name.clone())?;
                place.room().map_err(|e| Error::from_io("look at", &spec.directory, e))
            });
            if room.await.is_ok_and(|room| room >= ROOM_ENOUGH.min(self.job.spec.layout.len())) {
                self.job.halt(State::Downloading, None);
                return true;
            }
        }
    }

    /// From wherever it stands to the end, or until something else is wanted.
    async fn attempt(&mut self, wanted: &mut watch::Receiver<(Wanted, u64)>) -> Attempt {
        let stop = CancellationToken::new();
        let job = Arc::clone(&self.job);
        let work = self.work(&stop);
        tokio::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return match result {
                    Ok(true) => Attempt::Complete,
                    Ok(false) => Attempt::Interrupted,
                    Err(error) => Attempt::Failed(error),
                },
                // Told, not dropped: the work comes to a stop by itself.
                changed = wanted.changed(), if !stop.is_cancelled() => if changed.is_err() || job.wanted() != Wanted::Run {
                    stop.cancel();
                },
            }
        }
    }

    /// `true` when the download is complete, `false` when it was stopped.
    async fn work(&mut self, stop: &CancellationToken) -> Result<bool, Error> {
        self.begun = Instant::now();
        if self.open.is_none() {
            let Some(known) = stop.run_until_cancelled(self.known()).await.transpose()? else { return Ok(false) };
            let (manifest, plan) = known;
            match self.reopen(Arc::clone(&manifest), plan.clone()).await? {
                Resumed::Unfinished(disk, have) => self.open = Some(Open::new(disk, manifest, plan.as_ref(), have)),
                Resumed::Finished(placed) => {
                    self.settle(placed, plan.as_ref(), None, false).await?;
                    return Ok(true);
                }
            }
        }
        self.tell_size();
        // First what is there and may stay where it is.
        self.reuse_older(stop).await?;
        self.copy_local(stop).await?;
        let Some(open) = &self.open else { return Ok(false) };
        let task = self.task(open);
        let seeded = self.seeded.take();
        let Ran { end, offer, announced } = Swarm::run(&self.ground, &task, seeded, self.job.told(), stop).await;
        match end {
            End::Complete => {
                let done = self.finish(offer.clone(), announced).await;
                if done.is_err() {
                    self.withdraw(offer).await;
                }
                done.map(|()| true)
            }
            End::Stopped => {
                // At the end of the program the offer ends with it, and the trackers notice.
                if self.job.wanted() != Wanted::Stop {
                    self.withdraw(offer).await;
                }
                self.close().await;
                Ok(false)
            }
            End::Failed(error) => {
                self.withdraw(offer).await;
                Err(error)
            }
        }
    }

    /// How much is to come, and how much of it is here.
    fn tell_size(&self) {
        let Some(open) = &self.open else { return };
        let layout = open.manifest.layout();
        let bytes = |count: &dyn Fn(PieceIndex) -> bool| -> u64 {
            layout.pieces().filter(|p| count(*p)).map(|p| u64::from(layout.len_of(p))).sum()
        };
        let (size, lacking) = (bytes(&|p| open.wanted.has(p)), bytes(&|p| open.lacks(p)));
        let files = open.disk.folder().map(|folder| folder.files());
        self.job.progress.send_modify(|p| (p.size, p.have, p.files) = (size, size - lacking, files));
    }

    fn task(&self, open: &Open) -> Task {
        let Open { disk, manifest, have, wanted } = open;
        let spec = &self.job.spec;
        Task {
            group: spec.group.clone(),
            key: self.key(),
            name: spec.name.clone(),
            publication: spec.publication.clone(),
            strategy: spec.strategy,
            manifest: Arc::clone(manifest),
            disk: Arc::clone(disk),
            have: have.clone(),
            wanted: wanted.clone(),
            down: self.limits(),
        }
    }

    /// All that limit how fast it may come.
    fn limits(&self) -> RateLimits {
        let all = &self.ground.limits;
        RateLimits::of([self.job.down.clone(), all.of(self.job.spec.group_id).down, all.down.clone()])
    }

    pub(super) fn key(&self) -> Key {
        Key { group: self.job.spec.group_id, file_id: self.job.spec.file_id }
    }

    /// The manifest, and what is to be fetched of a folder; while no tracker can be asked, it waits.
    async fn known(&self) -> Result<(Arc<Manifest>, Option<FolderPlan>), Error> {
        let spec = &self.job.spec;
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let since = Instant::now();
        loop {
            let Spec { group, group_id, file_id, layout, sha1, .. } = spec;
            let (group_id, file_id, layout, sha1) = (*group_id, *file_id, *layout, *sha1);
            let wanted = Sought { group, group_id, file_id, layout, sha1, begun: Vec::new() };
            match self.ask(wanted).await {
                Err(error @ (Error::TrackersUnreachable(_) | Error::Timeout(_))) => {
                    self.job.progress.send_modify(|p| {
                        p.halt(State::Waiting, Some(error));
                        p.error = None;
                        p.waiting = Some(Waiting { since, listed: true });
                    });
                    tokio::time::sleep(backoff.next_delay()).await;
                }
                done => return done,
            }
        }
    }

    async fn ask(&self, wanted: Sought<'_>) -> Result<(Arc<Manifest>, Option<FolderPlan>), Error> {
        let spec = &self.job.spec;
        let manifest = manifest(&self.ground, wanted).await?;
        let Some(folder) = &spec.folder else { return Ok((manifest, None)) };
        let tree = tree(&self.ground, &spec.group, spec.group_id, folder.tree, spec.layout.len()).await?;
        let chosen = folder.choice.clone().among(Arc::clone(&tree)).await?;
        let single = folder.choice.path.is_some();
        // A folder that has come there meanwhile is added to as one that was there before.
        let merge = folder.merge || (spec.force && !single);
        Ok((manifest, Some(FolderPlan { tree, chosen, single, merge })))
    }

    async fn reopen(&self, manifest: Arc<Manifest>, plan: Option<FolderPlan>) -> Result<Resumed, Error> {
        let (spec, journal) = (self.job.spec.clone(), self.specs.journal(self.job.spec.n));
        let pool = self.ground.shares.pool().clone();
        let specs = self.specs.clone();
        blocking(move || {
            let place = Destination::open(&spec.directory, spec.file_name.clone())?;
            // Not as it was read: it may have been paused or limited since.
            let note = |part: &OsStr| specs.change(spec.n, |spec| spec.part = part.to_owned());
            Disk::resume(place, &spec.part, &journal, &manifest, plan.as_ref(), &pool, note)
        })
        .await
    }

    /// Lets go of the disk, so that going on later rereads nothing.
    async fn close(&mut self) {
        let Some(Open { disk, .. }) = self.open.take() else { return };
        let closed = blocking(move || disk.close().map_err(|e| Error::from_io_about("close the unfinished file", e)));
        if let Err(error) = closed.await {
            tracing::warn!(%error, "what is on the disk will be hashed again");
        }
    }
}
