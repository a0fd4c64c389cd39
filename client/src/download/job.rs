//! One download, driven through its states until it is complete, cancelled, or the program ends.
//!
//! Owns the open disk between runs of the [`swarm`](super::swarm). Invariant: what the user wants
//! ([`Wanted`]) is looked at between any two steps, and the disk is closed cleanly whenever it is let go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::backoff::Backoff;
use common::manifest::Manifest;
use common::pieces::{Bitfield, MAX_BLOCK_LEN};
use common::wire::client::Request;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::destination::Destination;
use super::disk::{Disk, Resumed};
use super::progress::{DownloadId, DownloadRow, Downloaded, Progress, State, Waiting};
use super::spec::{Spec, Specs};
use super::swarm::{End, Ground, Ran, Swarm, Task};
use super::verify::{RawPiece, verify};
use crate::error::Error;
use crate::share::{Key, Offer, Share, blocking};
use crate::transfer::stamp::Stamp;

/// How often a download that found the disk full looks for room.
const ROOM_LOOK: Duration = Duration::from_secs(5);
/// Room at which it goes on, in bytes, unless it needs less.
const ROOM_ENOUGH: u64 = 64 << 20;
/// Delays between attempts to reach the trackers for what is needed to begin.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

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
    started: Instant,
    // Each guards itself.
    pub(crate) progress: watch::Sender<Progress>,
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
            started: Instant::now(),
            progress: watch::Sender::new(progress),
            paused: AtomicBool::new(spec.paused),
            wanted: watch::Sender::new((wanted, 0)),
            driven: watch::Sender::new(false),
            spec,
        }
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

    /// Waits until its driver has let go of everything, for at most `limit`.
    pub(crate) async fn ended(&self, limit: Duration) {
        // The next start cleans up after a driver that does not end.
        let _ = tokio::time::timeout(limit, self.asleep()).await;
    }

    /// Its line in the list.
    pub(crate) fn row(&self) -> DownloadRow {
        let Spec { n, group, name, .. } = &self.spec;
        let mut progress = self.progress.borrow().clone();
        if !*self.driven.borrow() && progress.state == State::Downloading {
            progress.state = State::Waiting;
            progress.reason = Some("it goes on in a client that stays, or when it is asked for again".to_owned());
        }
        DownloadRow { n: DownloadId(*n), group: group.clone(), name: name.clone(), path: self.spec.path(), progress }
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

/// Drives `job` to its end; `opened` is what its start has opened already.
pub(crate) async fn drive(job: Arc<Job>, ground: Ground, specs: Specs, opened: Option<(Disk, Arc<Manifest>)>) {
    let sleeper = Arc::clone(&job);
    let _asleep = Asleep(&sleeper);
    let have = opened.as_ref().map(|(_, m)| Bitfield::empty(m.layout()));
    let mut driver = Driver { job, ground, specs, open: None };
    driver.open = opened.zip(have).map(|((disk, manifest), have)| Open { disk: Arc::new(disk), manifest, have });
    driver.drive().await;
}

struct Driver {
    job: Arc<Job>,
    ground: Ground,
    specs: Specs,
    open: Option<Open>,
}

/// A download whose file is open.
struct Open {
    disk: Arc<Disk>,
    manifest: Arc<Manifest>,
    have: Bitfield,
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
        if self.open.is_none() {
            let Some(manifest) = stop.run_until_cancelled(self.manifest()).await.transpose()? else { return Ok(false) };
            match self.reopen(Arc::clone(&manifest)).await? {
                Resumed::Unfinished(disk, have) => self.open = Some(Open { disk: Arc::new(disk), manifest, have }),
                Resumed::Finished(stamp) => {
                    self.settle(stamp, None, false).await?;
                    return Ok(true);
                }
            }
        }
        self.copy_local(stop).await?;
        let Some(Open { disk, manifest, have }) = &self.open else { return Ok(false) };
        let task = self.task(manifest, disk, have.clone());
        let Ran { end, offer, announced } = Swarm::run(&self.ground, &task, &self.job.progress, stop).await;
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

    fn task(&self, manifest: &Arc<Manifest>, disk: &Arc<Disk>, have: Bitfield) -> Task {
        let spec = &self.job.spec;
        Task {
            group: spec.group.clone(),
            key: self.key(),
            strategy: spec.strategy,
            manifest: Arc::clone(manifest),
            disk: Arc::clone(disk),
            have,
        }
    }

    fn key(&self) -> Key {
        Key { group: self.job.spec.group_id, file_id: self.job.spec.file_id }
    }

    /// The manifest; while no tracker can be asked, it waits.
    async fn manifest(&self) -> Result<Arc<Manifest>, Error> {
        let spec = &self.job.spec;
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let since = Instant::now();
        loop {
            let wanted =
                super::Sought { group: &spec.group, file_id: spec.file_id, layout: spec.layout, sha1: spec.sha1 };
            match super::manifest(&self.ground, wanted).await {
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

    async fn reopen(&self, manifest: Arc<Manifest>) -> Result<Resumed, Error> {
        let (spec, journal) = (self.job.spec.clone(), self.specs.journal(self.job.spec.n));
        let pool = self.ground.shares.pool().clone();
        let specs = self.specs.clone();
        blocking(move || {
            let place = Destination::open(&spec.directory, spec.file_name.clone())?;
            let resumed = Disk::resume(place, &spec.part, &journal, &manifest, &pool)?;
            if let Resumed::Unfinished(disk, _) = &resumed
                && disk.part() != spec.part
            {
                specs.save(&Spec { part: disk.part().to_owned(), ..spec })?;
            }
            Ok(resumed)
        })
        .await
    }

    /// Copies what this device has in another place, verified as if it came from a peer.
    async fn copy_local(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let Some(offer) = self.ground.shares.local_copy(self.job.spec.file_id) else { return Ok(()) };
        let Some(open) = &mut self.open else { return Ok(()) };
        if offer.layout != open.manifest.layout() || open.have.is_full() {
            return Ok(());
        }
        let (disk, manifest, have) = (Arc::clone(&open.disk), Arc::clone(&open.manifest), open.have.clone());
        let (job, pool, stop) = (Arc::clone(&self.job), self.ground.shares.pool().clone(), stop.clone());
        open.have = blocking(move || {
            let mut copy = Copy { offer: &offer, disk: &disk, manifest: &manifest, have };
            copy.run(&pool, &stop, |have| job.progress.send_modify(|p| p.have = have))?;
            Ok(copy.have)
        })
        .await?;
        Ok(())
    }

    /// All pieces are there: the file gets its name, and is seeded from now on.
    async fn finish(&mut self, offer: Option<Arc<Offer>>, announced: bool) -> Result<(), Error> {
        let Some(Open { disk, .. }) = &self.open else { return Ok(()) };
        let (disk, force) = (Arc::clone(disk), self.job.spec.force);
        let (_, stamp) = blocking(move || disk.finish(force)).await?;
        self.open = None;
        self.settle(stamp, offer, announced).await
    }

    /// The file has its name: what is left is to remember it as a share and forget the download.
    async fn settle(&self, stamp: Stamp, offer: Option<Arc<Offer>>, announced: bool) -> Result<(), Error> {
        let spec = self.job.spec.clone();
        // A share that is there stays where it is; this is a copy of it.
        let is_copy = offer.is_none() && self.ground.shares.offers(self.key());
        let (shares, specs) = (self.ground.shares.clone(), self.specs.clone());
        let share = share(&spec, stamp);
        blocking(move || {
            if !is_copy {
                shares.settle(share)?;
            }
            specs.remove(spec.n)
        })
        .await?;
        self.complete();
        if !is_copy && !announced {
            let (group, file_id) = (self.job.spec.group.clone(), self.job.spec.file_id);
            if let Err(error) = self.ground.directory.call(Request::StartSeeding { group, file_id }).await {
                // The next login announces it again.
                tracing::warn!(%error, name = %self.job.spec.name, "a finished download could not be announced as a share");
            }
        }
        Ok(())
    }

    fn complete(&self) {
        let Spec { group, name, file_id, layout, .. } = &self.job.spec;
        let seconds = self.job.started.elapsed().as_secs_f64();
        self.job.progress.send_modify(|p| {
            let peers = p.peers.iter().filter(|peer| peer.bytes > 0).cloned().collect();
            let done = Downloaded {
                group: group.clone(),
                name: name.clone(),
                path: self.job.spec.path(),
                size: layout.len(),
                file_id: *file_id,
                seconds,
                peers,
            };
            p.halt(State::Complete, None);
            p.have = layout.len();
            p.done = Some(Arc::new(done));
        });
    }

    /// What has come is no longer served.
    async fn withdraw(&self, offer: Option<Arc<Offer>>) {
        let Some(offer) = offer else { return };
        self.ground.shares.end_offer(&offer);
        let (group, file_id) = (self.job.spec.group.clone(), self.job.spec.file_id);
        let told = self.ground.directory.call(Request::StopSeeding { group, file_id });
        // Nobody to tell: whoever asks for it here learns it then.
        let _ = tokio::time::timeout(Duration::from_secs(2), told).await;
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

fn share(spec: &Spec, stamp: Stamp) -> Share {
    Share {
        user: spec.user,
        group: spec.group.clone(),
        group_id: spec.group_id,
        name: spec.name.clone(),
        file_id: spec.file_id,
        layout: spec.layout,
        sha1: spec.sha1,
        path: spec.path(),
        stamp,
    }
}

/// Removes what an unfinished download left in its destination. Blocks on the disk.
pub(crate) fn discard(spec: &Spec) -> Result<(), Error> {
    let place = Destination::open(&spec.directory, spec.file_name.clone())?;
    place.remove_part(&spec.part).map_err(|e| Error::from_io("remove the unfinished file of", &spec.path(), e))
}

/// Copying from a share of this device.
struct Copy<'a> {
    offer: &'a Offer,
    disk: &'a Disk,
    manifest: &'a Manifest,
    have: Bitfield,
}

impl Copy<'_> {
    /// Copies until all is there or something is not as it should be: then peers give the rest.
    fn run(
        &mut self,
        pool: &crate::transfer::pool::Pool,
        stop: &CancellationToken,
        progress: impl Fn(u64),
    ) -> Result<(), Error> {
        let layout = self.manifest.layout();
        let Ok(file) = self.offer.source().open() else { return Ok(()) };
        let mut done = 0;
        for piece in layout.pieces() {
            if !self.have.has(piece) {
                if stop.is_cancelled() {
                    return Ok(());
                }
                let mut parts: Vec<_> =
                    layout.blocks(piece, MAX_BLOCK_LEN).map(|b| pool.take(b.len as usize)).collect();
                let mut slices: Vec<&mut [u8]> = parts.iter_mut().map(|p| &mut p[..]).collect();
                if self.offer.source().read(&file, layout.range(piece).start, &mut slices).is_err() {
                    return Ok(());
                }
                let Ok(verified) = verify(self.manifest, RawPiece { piece, parts }) else { return Ok(()) };
                self.disk.write(&verified).map_err(|e| Error::from_io("write", &self.disk.destination().path(), e))?;
                self.have.set(piece);
            }
            done += u64::from(layout.len_of(piece));
            progress(done);
        }
        Ok(())
    }
}
