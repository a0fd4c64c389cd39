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
mod job;
mod journal;
mod line;
mod peer;
pub mod picker;
mod progress;
mod scout;
mod spec;
mod swarm;
mod tally;
mod verify;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::id::{FileId, GroupName, Sha1Digest, UserId};
use common::manifest::Manifest;
use common::pieces::PieceLayout;
use common::task::TaskGroup;
use common::tls::{DeviceKey, PeerConnector};
use common::wire::client::{FileInfo, FileSelector, Request, Response};
use common::wire::refusal::Refusal;
use tokio::sync::watch;

use self::destination::Destination;
use self::disk::Disk;
use self::job::{Job, Wanted};
use self::journal::Journal;
pub use self::picker::Strategy;
pub use self::progress::{DownloadId, DownloadRow, Downloaded, PeerProgress, Progress, State};
use self::spec::{Draft, Spec, Specs};
use self::swarm::Ground;
use crate::error::Error;
use crate::share::{Shares, blocking};
use crate::trackers::unexpected;
use crate::transfer::pool::Budget;
use crate::transfer::{Directory, Limits};

/// Bytes that all downloads may have asked for and not yet written.
const BUDGET: u64 = 96 << 20;
/// How long a script waits for a seeder when there is none.
const NOBODY: Duration = Duration::from_secs(10);
/// How long it waits when there are seeders, but none of them can be used.
const NOBODY_USABLE: Duration = Duration::from_secs(30);
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
            tasks,
            down: limits.down,
            budget: Budget::new(BUDGET),
        };
        let tasks = ground.tasks.clone();
        let inner = Inner { ground, specs, starting: tokio::sync::Mutex::default(), list: Mutex::new(list) };
        let downloads = Self(Arc::new(inner));
        tasks.spawn("download-session", downloads.clone().follow_session());
        Ok(downloads)
    }

    /// Begins to download `file` of `group` to `destination`, or goes on if that was begun before.
    /// Looks at everything that can be known beforehand: the file, the destination, the room on the disk.
    ///
    /// # Errors
    /// When there is no such file, the destination is taken or not there, or the disk is full.
    pub async fn start(
        &self,
        group: GroupName,
        file: FileSelector,
        destination: &Path,
        strategy: Strategy,
        force: bool,
    ) -> Result<DownloadId, Error> {
        let _one = self.0.starting.lock().await;
        let user = self.user()?;
        let info = self.find(&group, file).await?;
        let destination = blocking({
            let (path, name) = (destination.to_owned(), info.name.clone());
            move || Destination::resolve(&path, &name)
        })
        .await?;
        if let Some(job) = self.at(&destination.path()) {
            return self.go_on(&job, &info).await;
        }
        let destination = blocking(move || destination.check_free(force).map(|()| destination)).await?;
        let sought = Sought { group: &group, file_id: info.file_id, layout: info.layout, sha1: info.sha1 };
        let manifest = manifest(&self.0.ground, sought).await?;
        let n = self.next_number();
        let journal = self.0.specs.journal(n);
        let (disk, manifest) =
            blocking(move || Ok((Disk::create(destination, &journal, &manifest)?, manifest))).await?;
        let draft = Draft {
            user,
            group,
            group_id: info.group_id,
            name: info.name,
            file_id: info.file_id,
            layout: info.layout,
            sha1: info.sha1,
            strategy,
            force,
        };
        let place = disk.destination();
        let spec = draft.finish(n, place.directory().to_owned(), place.name().to_owned(), disk.part().to_owned());
        let specs = self.0.specs.clone();
        let (spec, disk) = blocking(move || match specs.save(&spec) {
            Ok(()) => Ok((spec, disk)),
            Err(e) => {
                disk.discard()?;
                Err(e)
            }
        })
        .await?;
        let job = Arc::new(Job::new(spec, 0));
        self.locked().jobs.insert(n, Arc::clone(&job));
        self.drive(&job, Some((disk, manifest)));
        Ok(DownloadId(n))
    }

    /// The same file to the same place again: the download that is there goes on.
    async fn go_on(&self, job: &Arc<Job>, info: &FileInfo) -> Result<DownloadId, Error> {
        let id = DownloadId(job.spec.n);
        if (job.spec.group_id, job.spec.file_id) != (info.group_id, info.file_id) {
            let text = format!(
                "download {id}, of `{}`, is already going to that destination; choose another, or `cancel_download {id}`",
                job.spec.name
            );
            return Err(Error::InvalidArgument(text));
        }
        self.resume(id).await?;
        Ok(id)
    }

    async fn find(&self, group: &GroupName, file: FileSelector) -> Result<FileInfo, Error> {
        match self.0.ground.directory.call(Request::FindFile { group: group.clone(), file }).await? {
            Response::File(info) => Ok(info),
            _ => Err(unexpected()),
        }
    }

    /// How a download stands, and every change of it.
    pub fn watch(&self, id: DownloadId) -> Option<watch::Receiver<Progress>> {
        self.job(id).ok().map(|job| job.progress.subscribe())
    }

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
        let Spec { name, group, .. } = &job.spec;
        Error::NoSeeders(format!(
            "`{name}` of `{group}` is not complete: {reason}; what has come is kept, try again later"
        ))
    }

    /// All downloads of this run and those that are unfinished, by number.
    pub fn list(&self) -> Vec<DownloadRow> {
        self.jobs().into_iter().map(|job| job.row()).collect()
    }

    /// Lets a download rest until it is resumed, also over restarts.
    ///
    /// # Errors
    /// When there is no such download, or it is over.
    pub async fn pause(&self, id: DownloadId) -> Result<(), Error> {
        let job = self.unfinished(id)?;
        self.save(&job, true).await?;
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
        self.save(&job, false).await?;
        job.set_paused(false);
        job.want(Wanted::Run).await;
        self.drive(&job, None);
        Ok(())
    }

    /// Gives a download up, and removes what has come of it. One that is complete only leaves the list.
    ///
    /// # Errors
    /// When there is no such download, or its files cannot be removed.
    pub async fn cancel(&self, id: DownloadId) -> Result<(), Error> {
        let job = self.job(id)?;
        job.want(Wanted::Cancel).await;
        job.ended(STOP_TIMEOUT).await;
        if job.progress.borrow().done.is_none() {
            let (specs, n) = (self.0.specs.clone(), job.spec.n);
            blocking(move || {
                job::discard(&specs.get(n)?)?;
                specs.remove(n)
            })
            .await?;
        }
        self.locked().jobs.remove(&id.0);
        Ok(())
    }

    async fn save(&self, job: &Job, paused: bool) -> Result<(), Error> {
        let (specs, n) = (self.0.specs.clone(), job.spec.n);
        blocking(move || specs.save(&Spec { paused, ..specs.get(n)? })).await
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
            if before.is_some() && now != before {
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
            job.ended(STOP_TIMEOUT).await;
        }))
        .await;
    }

    /// Starts the job's driver, unless it has one.
    fn drive(&self, job: &Arc<Job>, opened: Option<(Disk, Arc<Manifest>)>) {
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

/// The unfinished downloads of earlier runs, asleep.
fn known(specs: &Specs) -> std::io::Result<List> {
    let job = |spec: Spec| {
        let have = Journal::peek(&specs.journal(spec.n), spec.layout, spec.file_id);
        (spec.n, Arc::new(Job::new(spec, have)))
    };
    Ok(List { last: specs.highest()?, jobs: specs.load()?.into_iter().map(job).collect() })
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

/// Which manifest is needed.
struct Sought<'a> {
    group: &'a GroupName,
    file_id: FileId,
    layout: PieceLayout,
    sha1: Sha1Digest,
}

/// The manifest of a share: from the disk, or else from the trackers, in parts.
async fn manifest(ground: &Ground, sought: Sought<'_>) -> Result<Arc<Manifest>, Error> {
    let Sought { group, file_id, layout, sha1 } = sought;
    let manifests = ground.shares.manifests().clone();
    if let Some(known) = blocking(move || Ok(manifests.load(file_id, layout))).await? {
        return Ok(Arc::new(known));
    }
    let mut pieces = Vec::new();
    while (pieces.len() as u64) < u64::from(layout.count()) {
        let first = pieces.len() as u32;
        match ground.directory.call(Request::GetManifest { group: group.clone(), file_id, first }).await? {
            Response::ManifestPart(part) if !part.is_empty() => pieces.extend(part.into_vec()),
            _ => return Err(unexpected()),
        }
    }
    let manifests = ground.shares.manifests().clone();
    blocking(move || {
        let manifest = Manifest::new(layout, file_id, sha1, pieces);
        let manifest = manifest.map_err(|e| Error::Integrity(format!("{e}; its publisher has to upload it again")))?;
        manifests.save(&manifest)?;
        Ok(Arc::new(manifest))
    })
    .await
}
