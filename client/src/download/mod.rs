//! Fetching files: from a name in a group to a verified file on the disk, whatever happens in between.
//!
//! [`Downloads`] keeps the list of downloads; each has a `job` that drives it through its states. A piece's
//! way: manifest, [`picker`], `peer` fetches it, `verify` judges it, `disk` writes it, `journal`
//! remembers it. Invariant: unverified bytes never reach the disk, and a download that was begun is either on
//! the list, complete, or cancelled by the user, over any number of restarts.
//!
//! Does not know the prompt; how downloads stand is told as [`Progress`].

mod assembly;
mod contacts;
mod destination;
mod disk;
mod durable_io;
mod folder;
mod idle_connections;
mod inquiry;
mod job;
pub mod journal;
mod limits;
mod manifest;
mod peer;
mod peer_connection;
mod peer_discovery;
mod peer_stream;
pub mod picker;
mod progress;
mod revocation_gossip;
mod spec;
mod start;
mod stats;
mod striped_peer;
mod swarm;
pub(crate) mod unlisted;
mod verify;
mod wait;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::id::UserId;
use common::task::TaskGroup;
use common::tls::{DeviceKey, PeerConnector};
use common::wire::refusal::Refusal;
use futures::future::BoxFuture;
use tokio::sync::watch;

pub use self::folder::Choice;
pub(crate) use self::folder::chooses;
use self::idle_connections::IdleConnections;
pub use self::inquiry::{Inquiry, SeederAnswer};
use self::job::{Job, Opened, Wanted};
use self::journal::Journal;
pub use self::picker::{PieceState, Strategy};
pub(crate) use self::progress::label;
pub use self::progress::{DownloadId, DownloadRow, Downloaded, PeerProgress, Progress, State};
use self::spec::{Spec, Specs};
use self::swarm::Ground;
use crate::error::Error;
use crate::share::{Shares, blocking};
use crate::trackers::Directory;
use crate::transfer::Limits;
use crate::transfer::pool::Budget;

/// Bytes that all downloads may have asked for and not yet written.
const BUDGET: u64 = 96 << 20;
/// How long a stop may take, before it is left unfinished: the next start will clean up.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What [`Downloads::open`] needs.
pub struct DownloadConfig {
    /// Where unfinished downloads are remembered.
    pub data_dir: PathBuf,
    /// This device.
    pub device: Arc<DeviceKey>,
    /// The trackers.
    pub trackers: Arc<dyn Directory>,
    /// What this device shares: finished downloads are seeded.
    pub shares: Shares,
    /// What the tasks belong to.
    pub tasks: TaskGroup,
    /// How fast it may go.
    pub limits: Limits,
}

/// The downloads of this device. Clones are the same.
#[derive(Clone)]
pub struct Downloads(Arc<Inner>);

struct Inner {
    ground: Ground,
    specs: Specs,
    /// One start at a time, so that two for the same file meet.
    starting: tokio::sync::Mutex<()>,
    list: Mutex<List>,
    /// The minute of the day whose limits hold; held while they are applied, so that none is undone by an older look.
    minute: Mutex<u16>,
    /// Told when one joins or leaves the list.
    listed: watch::Sender<()>,
}

#[derive(Default)]
struct List {
    last: u64,
    jobs: BTreeMap<u64, Arc<Job>>,
}

impl Downloads {
    /// Opens the list. Nothing goes on before [`Downloads::restore`].
    ///
    /// # Errors
    /// When the data directory cannot be used.
    pub fn open(config: DownloadConfig) -> Result<Self, Error> {
        let DownloadConfig { data_dir, device, trackers, shares, tasks, limits } = config;
        let specs = Specs::open(&data_dir)?;
        let list = known(&specs).map_err(|e| Error::from_io("read the unfinished downloads in", &data_dir, e))?;
        let ground = Ground {
            directory: trackers,
            shares,
            own: device.id(),
            connector: PeerConnector::new(&device),
            idle: IdleConnections::default(),
            tasks,
            limits,
            budget: Budget::new(BUDGET),
        };
        let tasks = ground.tasks.clone();
        let inner = Inner {
            ground,
            specs,
            starting: tokio::sync::Mutex::default(),
            list: Mutex::new(list),
            minute: Mutex::default(),
            listed: watch::Sender::new(()),
        };
        let downloads = Self(Arc::new(inner));
        tasks.spawn("download-session", downloads.clone().follow_session());
        Ok(downloads)
    }

    /// How a download stands, and every change of it.
    pub fn watch(&self, id: DownloadId) -> Option<watch::Receiver<Progress>> {
        self.job(id).ok().map(|job| job.progress.subscribe())
    }

    /// How each piece of a download stands, told about four times a second while it goes on and somebody has this. Empty
    /// before the first time.
    pub fn pieces(&self, id: DownloadId) -> Option<watch::Receiver<Vec<PieceState>>> {
        self.job(id).ok().map(|job| job.pieces.subscribe())
    }

    /// One download.
    pub fn row(&self, id: DownloadId) -> Option<DownloadRow> {
        self.job(id).ok().map(|job| job.row(self.0.ground.shares.group_names()))
    }

    /// All downloads of this run and those that are unfinished, by number.
    pub fn list(&self) -> Vec<DownloadRow> {
        let names = self.0.ground.shares.group_names();
        self.jobs().into_iter().map(|job| job.row(names)).collect()
    }

    /// Resolves when [`Downloads::list`] may have become different from what it was when this was called. What happens
    /// before the first poll counts.
    pub fn change(&self) -> impl Future<Output = ()> + use<> {
        let mut changes = vec![changed(self.0.ground.directory.session()), changed(self.0.listed.subscribe())];
        for job in self.jobs() {
            changes.push(changed(job.progress.subscribe()));
            changes.push(changed(job.driven()));
        }
        async move { drop(futures::future::select_all(changes).await) }
    }

    /// Lets a download rest until it is resumed, also over restarts.
    ///
    /// # Errors
    /// When there is no such download, or it is over.
    pub async fn pause(&self, id: DownloadId) -> Result<(), Error> {
        let job = self.unfinished(id)?;
        self.save(&job, |spec| spec.paused = true).await?;
        job.set_paused(true);
        job.want(Wanted::Pause).await;
        Ok(())
    }

    /// Goes on with a download that rests or has failed.
    ///
    /// # Errors
    /// When there is no such download, or it is over.
    pub async fn resume(&self, id: DownloadId) -> Result<(), Error> {
        let job = self.unfinished(id)?;
        self.save(&job, |spec| spec.paused = false).await?;
        job.set_paused(false);
        job.want(Wanted::Run).await;
        self.drive(&job, None);
        Ok(())
    }

    /// Gives a download up, and removes what has come of it. One that is complete only leaves the list.
    ///
    /// # Errors
    /// When there is no such download, it is in a step that has to come to its end, or its files cannot be removed.
    pub async fn cancel(&self, id: DownloadId) -> Result<(), Error> {
        let job = self.job(id)?;
        job.want(Wanted::Cancel).await;
        if !job.ended(STOP_TIMEOUT).await {
            // What is removed under its hands might be what has just got its final name.
            return Err(Error::InvalidArgument(format!(
                "download {} is being checked on the disk, which takes a while; cancel it again in a moment",
                id.0
            )));
        }
        if job.progress.borrow().done.is_none() {
            let (specs, n) = (self.0.specs.clone(), job.spec.n);
            blocking(move || {
                job::discard(&specs.get(n)?)?;
                specs.remove(n)
            })
            .await?;
        }
        self.locked().jobs.remove(&id.0);
        self.apply_again();
        self.0.listed.send_replace(());
        Ok(())
    }

    async fn save(&self, job: &Job, change: impl FnOnce(&mut Spec) + Send + 'static) -> Result<(), Error> {
        let (specs, n) = (self.0.specs.clone(), job.spec.n);
        blocking(move || specs.change(n, change)).await
    }

    /// Goes on with the unfinished downloads of the user who is logged in.
    pub async fn restore(&self) {
        let Ok(user) = self.user() else { return };
        let _one = self.0.starting.lock().await;
        let unfinished = |job: &Arc<Job>| job.spec.user == user && job.progress.borrow().done.is_none();
        self.jobs().iter().filter(|job| unfinished(job)).for_each(|job| self.drive(job, None));
    }

    /// Downloads belong to who began them: a logout or another login stops them.
    async fn follow_session(self) {
        let mut session = self.0.ground.directory.session();
        let mut before: Option<UserId> = None;
        loop {
            let now = session.borrow_and_update().as_ref().map(|s| s.user_id);
            self.apply_again();
            if before.is_some() && now != before {
                self.0.ground.idle.close();
                for job in self.all().iter().filter(|job| Some(job.spec.user) != now) {
                    job.want(Wanted::Stop).await;
                }
            }
            before = now;
            if session.changed().await.is_err() {
                return;
            }
        }
    }

    /// Stops all downloads so that the next run can go on at once. To be called before the tasks are
    /// cancelled.
    pub async fn shutdown(&self) {
        let jobs = self.all();
        futures::future::join_all(jobs.iter().map(|job| async {
            job.want(Wanted::Stop).await;
            // The next start cleans up after one that does not end.
            let _ = job.ended(STOP_TIMEOUT).await;
        }))
        .await;
    }

    /// Starts the job's driver, unless it has one.
    fn drive(&self, job: &Arc<Job>, opened: Option<Opened>) {
        if job.awaken() {
            let driver = job::drive(Arc::clone(job), self.0.ground.clone(), self.0.specs.clone(), opened);
            self.0.ground.tasks.spawn("download", driver);
        }
    }

    fn user(&self) -> Result<UserId, Error> {
        let session = self.0.ground.directory.session();
        let user = session.borrow().as_ref().map(|s| s.user_id);
        user.ok_or(Error::Refused(Refusal::NotLoggedIn))
    }

    fn next_number(&self) -> u64 {
        let mut list = self.locked();
        list.last += 1;
        list.last
    }

    /// The unfinished download to this path.
    fn at(&self, path: &Path) -> Option<Arc<Job>> {
        self.jobs().into_iter().find(|job| job.spec.path() == path && job.progress.borrow().done.is_none())
    }

    fn job(&self, id: DownloadId) -> Result<Arc<Job>, Error> {
        let job = self.jobs().into_iter().find(|job| job.spec.n == id.0);
        job.ok_or_else(|| Error::InvalidArgument(format!("there is no download {id}; `show_downloads` shows all")))
    }

    fn unfinished(&self, id: DownloadId) -> Result<Arc<Job>, Error> {
        let job = self.job(id)?;
        if job.progress.borrow().done.is_some() {
            return Err(Error::InvalidArgument(format!("download {id} is complete")));
        }
        Ok(job)
    }

    /// Those of the user, or all while nobody is logged in.
    fn jobs(&self) -> Vec<Arc<Job>> {
        let user = self.user().ok();
        let mut jobs = self.all();
        jobs.retain(|job| user.is_none_or(|user| user == job.spec.user));
        jobs
    }

    fn all(&self) -> Vec<Arc<Job>> {
        self.locked().jobs.values().cloned().collect()
    }

    fn locked(&self) -> MutexGuard<'_, List> {
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves at the first change after this call, or never where nobody can make one.
fn changed<T: Send + Sync + 'static>(mut seen: watch::Receiver<T>) -> BoxFuture<'static, ()> {
    seen.mark_unchanged();
    Box::pin(async move {
        if seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// The unfinished downloads of earlier runs, asleep.
fn known(specs: &Specs) -> std::io::Result<List> {
    let job = |spec: Spec| {
        let have = Journal::peek(&specs.journal(spec.n), spec.layout, spec.file_id);
        (spec.n, Arc::new(Job::new(spec, have)))
    };
    Ok(List { last: specs.highest()?, jobs: specs.load()?.into_iter().map(job).collect() })
}
