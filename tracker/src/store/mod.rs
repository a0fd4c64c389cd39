//! What the tracker knows: on disk, and as a value in memory. One thread writes; questions are answered from memory, by
//! whoever asks them. A few connections read from the disk beside it what is not in memory: the log, manifests, recorded
//! answers.
//!
//! Every change of state goes through [`Store::write`]: it is decided on the state as it is at that
//! moment, becomes facts, and is answered when they are on disk. Knows nothing of sockets and messages.

mod backup;
mod batch;
mod bounds;
mod checkpoint;
mod error;
mod fact_rows;
mod facts;
#[cfg(test)]
mod fairness_tests;
mod jobs;
mod ledger;
mod load;
mod log;
mod log_rows;
mod manifest;
mod mutation;
mod open;
mod presence;
mod readers;
mod remote;
mod replication;
mod reserve;
mod search;
mod sweep;
mod tables;
#[cfg(test)]
mod tests;
mod trees;
mod votes;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread;

use common::id::{DeviceId, OriginId};
use common::ticket::UnixSeconds;
use tokio::sync::{oneshot, watch};

pub use crate::state::{
    Account, GroupEntry, InvitationEntry, LoginRow, NewsQuery, Seat, Seeder, SeedingFact, SessionRow, Share, Standing,
    State,
};
pub use backup::{BackupError, back_up};
pub use bounds::LogBounds;
pub use error::StoreError;
pub use facts::{Cursor, StampedFact};
pub use log::{Asked, Versions};
pub use manifest::NewManifest;
pub use open::OpenError;
pub use presence::PresenceRow;
pub use remote::{Absent, Applied, Outbox};
pub use search::Found;
pub use sweep::Swept;
pub use tables::Tables;
pub use trees::{BadTree, CheckedTree, StagedTree, TreePlace};
pub use writer::{Change, WallClock, Written};

use crate::fact::Fact;
use crate::limits::Caller;
use crate::state::{ListedShare, ShareId};
use batch::Batch;
use checkpoint::Behind;
use jobs::{Closed, Jobs, Work};
use ledger::Sqlite;
#[cfg(test)]
use mutation::Mutation;
use mutation::Mutations;
use open::DataDir;
use readers::Readers;
use reserve::{FreeBytes, Reserve};
use search::{Rounds, Search};
use trees::StagedTrees;
use writer::{Command, Replay, Upkeep, Writer};

/// Connections that read.
const READERS: usize = 6;
/// Recorded answers forgotten in one transaction, so that commands do not wait for long.
const PRUNED_AT_ONCE: u32 = 1000;

/// Shares that have changed, and what the state has in it, if those were all.
type ChangedShares = (Vec<(ShareId, Option<ListedShare>)>, Option<Versions>);

/// The open database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    jobs: Jobs,
    readers: Readers,
    /// What has been published. Held for as long as one question takes, or the facts of one batch.
    state: Arc<RwLock<State>>,
    versions: watch::Receiver<Arc<Versions>>,
    /// This run.
    origin: OriginId,
    clock: Clock,
    reserve: Arc<Reserve>,
    writer: Arc<WriterThread>,
    staged_trees: StagedTrees,
    search: Arc<OnceLock<Search>>,
    search_rounds: watch::Sender<Rounds>,
    data_dir: PathBuf,
}

/// Sizes, for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Accounts.
    pub users: u64,
    /// Groups with members.
    pub groups: u64,
    /// Events in the log.
    pub events: u64,
}

/// The thread that writes. It ends with the last handle, if it is not told to before.
#[derive(Debug)]
struct WriterThread {
    jobs: Jobs,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.jobs.close(Closed::Untidy);
    }
}

/// The wall clock, as the writer has it.
#[derive(Clone)]
struct Clock(WallClock);

impl Clock {
    fn seconds(&self) -> UnixSeconds {
        (self.0)() / 1000
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl Store {
    /// Opens the database in `data_dir`, or makes it. Blocks on the disk.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(data_dir: &Path, clock: WallClock) -> Result<Self, OpenError> {
        Self::open_as(data_dir, clock, OriginId::random())
    }

    /// The same, for a simulation that repeats itself: `origin` must never have been used before.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_as(data_dir: &Path, clock: WallClock, origin: OriginId) -> Result<Self, OpenError> {
        Self::open_with(data_dir, clock, origin, reserve::free_on_disk(data_dir))
    }

    /// The same, on a disk that has as much room as `free` says.
    pub(crate) fn open_with(
        data_dir: &Path,
        clock: WallClock,
        origin: OriginId,
        free: FreeBytes,
    ) -> Result<Self, OpenError> {
        let dir = DataDir::lock(data_dir)?;
        let (mut conn, is_checked) = dir.writer()?;
        let unreadable = |e| open::unreadable(data_dir, &e);
        checkpoint::take_in_later_facts(&mut conn).map_err(unreadable)?;
        let log = log_rows::open(&conn, origin).map_err(unreadable)?;
        let behind = Behind::read(&conn).map_err(unreadable)?;
        let state = load::state(&conn, &behind).map_err(unreadable)?;
        let state = Arc::new(RwLock::new(state));
        let readers = (0..READERS).map(|_| dir.reader()).collect::<Result<Vec<_>, _>>()?;
        let (publish, versions) = watch::channel(Arc::new(log.versions().clone()));
        let (jobs, reserve) = (Jobs::default(), Arc::new(Reserve::new(free)));
        let writer = Writer {
            ledger: Sqlite { conn },
            log,
            behind,
            clock: Arc::clone(&clock),
            reserve: Arc::clone(&reserve),
            state: Arc::clone(&state),
            versions: publish,
            jobs: jobs.clone(),
            _dir: dir,
        };
        let writer = thread::Builder::new().name("store writer".into()).spawn(move || writer.run());
        let writer = writer.map_err(|source| OpenError::Directory { path: data_dir.to_owned(), source })?;
        let writer = Arc::new(WriterThread { jobs: jobs.clone(), thread: Mutex::new(Some(writer)) });
        let readers = Readers::new(readers);
        if !is_checked {
            check_behind(data_dir, &jobs)?;
        }
        let (data_dir, staged_trees, clock) = (data_dir.to_owned(), StagedTrees::default(), Clock(clock));
        let (search, search_rounds) = (Arc::default(), watch::Sender::default());
        Ok(Self {
            jobs,
            readers,
            state,
            versions,
            origin,
            clock,
            reserve,
            writer,
            staged_trees,
            search,
            search_rounds,
            data_dir,
        })
    }

    /// Decides a command of `caller` on the state as it is, applies what it decides, and returns when that is
    /// on disk. A command that was asked before has no second effect.
    ///
    /// Cancel safe in the sense that it matters here: dropped at any moment, the command either takes effect as a
    /// whole or not at all, and asking again tells which. One that overtakes takes effect.
    ///
    /// # Errors
    /// What `decide` refuses, or a [`StoreError`]; then nothing has changed.
    pub async fn write_for<T, E, F>(&self, caller: &Caller, asked: Asked, decide: F) -> Result<Written<T>, E>
    where
        F: FnOnce(&State) -> Result<Change<T>, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.write_then(caller, asked, decide, |_, _, value| Ok(value)).await
    }

    /// As [`Self::write_for`], with what `then` makes of the decided facts and value on the state with them, at the same
    /// moment.
    ///
    /// # Errors
    /// What `decide` or `then` refuses, or a [`StoreError`]; then nothing has changed.
    pub async fn write_then<V, T, E, F, G>(
        &self,
        caller: &Caller,
        asked: Asked,
        decide: F,
        then: G,
    ) -> Result<Written<T>, E>
    where
        F: FnOnce(&State) -> Result<Change<V>, E> + Send + 'static,
        G: FnOnce(&State, &[Fact], V) -> Result<T, E> + Send + 'static,
        V: 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, mut answer) = oneshot::channel();
        let command = Command { asked, decide: Some((decide, then)), outcome: None, reply };
        let place = self.jobs.submit(caller.clone(), Work::Decide(Box::new(command)))?;
        let answered = tokio::select! {
            biased;
            answered = &mut answer => answered,
            () = caller.gives_up() => {
                if place.give_up() {
                    return Err(StoreError::Abandoned.into());
                }
                answer.await
            }
        };
        answered.unwrap_or_else(|_| Err(StoreError::Unknown.into()))
    }

    /// [`Self::write_for`] of the tracker itself.
    ///
    /// # Errors
    /// What `decide` refuses, or a [`StoreError`]; then nothing has changed.
    pub async fn write<T, E, F>(&self, asked: Asked, decide: F) -> Result<Written<T>, E>
    where
        F: FnOnce(&State) -> Result<Change<T>, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.write_for(&Caller::tracker(), asked, decide).await
    }

    /// Whether the disk has room for commands that add. The operator is told when that changes.
    pub fn disk_has_room(&self) -> bool {
        self.reserve.has_room()
    }

    /// What was answered to this request of `caller`, if it has had its effect.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recorded(&self, caller: &Caller, asked: Asked) -> Result<Option<Vec<u8>>, StoreError> {
        self.readers.read(caller, move |state| log_rows::recorded(state.conn, asked)).await
    }

    /// Asks the state, as it is at one moment. Sees everything that was acknowledged before, and nothing that is not
    /// published. Never waits: the task that asks finds the answer itself.
    ///
    /// # Errors
    /// What `query` gives, or a [`StoreError`].
    #[expect(clippy::unused_async, reason = "callers need not know that nothing waits")]
    pub async fn read<T, E, F>(&self, query: F) -> Result<T, E>
    where
        F: FnOnce(&State) -> Result<T, E>,
        E: From<StoreError>,
    {
        // Poisoned, if the writer ended by a panic while it changed the state: nobody may believe that state.
        let state = self.state.read().map_err(|_| StoreError::Panicked)?;
        query(&state)
    }

    /// Up to `most` shares that have changed since they were last taken from here; and, if those were all, what the state has
    /// in it.
    fn take_changed_shares(&self, most: usize) -> Result<ChangedShares, StoreError> {
        let mut state = self.state.write().map_err(|_| StoreError::Panicked)?;
        let changed = state.take_changed(most);
        // Both are changed under this lock.
        Ok((changed, state.is_unchanged().then(|| (**self.versions.borrow()).clone())))
    }

    /// If the state is that of `place`, who follows it knows all of it.
    fn forget_changed_shares(&self, place: &Versions) -> Result<bool, StoreError> {
        let mut state = self.state.write().map_err(|_| StoreError::Panicked)?;
        let is_level = **self.versions.borrow() == *place;
        if is_level {
            state.forget_changed();
        }
        Ok(is_level)
    }

    /// Of some shares, what there is now.
    fn listed_shares(&self, shares: Vec<ShareId>) -> Result<Vec<(ShareId, Option<ListedShare>)>, StoreError> {
        let state = self.state.read().map_err(|_| StoreError::Panicked)?;
        Ok(shares.into_iter().map(|share| (share.clone(), state.listed_share(&share))).collect())
    }

    /// Asks the tables for `caller`, on a thread of its own, for what is not in memory.
    ///
    /// # Errors
    /// What `query` gives, or a [`StoreError`].
    pub async fn read_tables_for<T, E, F>(&self, caller: &Caller, query: F) -> Result<T, E>
    where
        F: FnOnce(&Tables<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.readers.read(caller, query).await
    }

    /// The same, for the tracker itself.
    ///
    /// # Errors
    /// What `query` gives, or a [`StoreError`].
    pub async fn read_tables<T, E, F>(&self, query: F) -> Result<T, E>
    where
        F: FnOnce(&Tables<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.readers.read(&Caller::tracker(), query).await
    }

    /// Copies the database, as it is at one moment, to the new file `to`; its length in bytes. Commands go on.
    ///
    /// # Errors
    /// See [`BackupError`]; nothing is left behind then.
    pub async fn back_up(&self, to: &Path) -> Result<u64, BackupError> {
        let (data_dir, copy) = (self.data_dir.clone(), to.to_owned());
        let done = tokio::task::spawn_blocking(move || back_up(&data_dir, &copy)).await;
        let panicked = |_| BackupError::File { path: to.to_owned(), source: std::io::Error::other("it panicked") };
        done.map_err(panicked)?
    }

    /// How much there is.
    ///
    /// # Errors
    /// When the writer has ended by a panic.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        let state = self.state.read().map_err(|_| StoreError::Panicked)?;
        let (users, groups) = (state.user_count(), state.open_group_count());
        Ok(Counts { users, groups, events: self.versions().values().sum() })
    }

    /// Brings the tables of facts up to date with what was acknowledged before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        self.upkeep_of_facts(|_, _| Ok(())).await
    }

    /// What differs between the state in memory, and what the tables and the facts in them, joined in another order,
    /// say. To be called while nothing is written.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn verify(&self) -> Result<Vec<String>, StoreError> {
        self.checkpoint().await?;
        let read = |s: &Tables<'_>| {
            Ok::<_, StoreError>((load::state(s.conn, &Behind::default())?, load::live_memberships(s.conn)?))
        };
        let (loaded, live) = self.readers.read(&Caller::tracker(), read).await?;
        let state = self.state.read().map_err(|_| StoreError::Panicked)?;
        Ok(load::differences(&state, &loaded, &live))
    }

    /// Returns when the writer has ended: after [`Self::close`], or because it panicked. Nothing can be changed from then
    /// on, and what is in memory may be half a change.
    pub async fn writer_ended(&self) {
        // The writer has the only sender.
        let mut versions = self.versions.clone();
        while versions.changed().await.is_ok() {}
    }

    /// How much of the common history is here: everything that was acknowledged, and no less.
    pub fn versions(&self) -> Arc<Versions> {
        Arc::clone(&self.versions.borrow())
    }

    /// Notes who is here at `now`, and that `gone` are not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn save_presence(
        &self,
        here: Vec<PresenceRow>,
        gone: Vec<DeviceId>,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        self.upkeep(move |tx| presence::save(tx, &here, &gone, now)).await
    }

    /// Forgets answers that were recorded before `before`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prune_requests(&self, before: UnixSeconds) -> Result<(), StoreError> {
        while self.upkeep(move |tx| log_rows::prune(tx, before, PRUNED_AT_ONCE)).await? == PRUNED_AT_ONCE as usize {}
        Ok(())
    }

    /// Writes down a manifest of such a length, under a number, without its pieces.
    #[cfg(test)]
    pub(crate) async fn claim_manifest(
        &self,
        number: u8,
        layout: common::pieces::PieceLayout,
    ) -> Result<crate::fact::ManifestId, StoreError> {
        let id = [number; 32];
        let head = crate::state::ManifestHead { layout, sha1: common::id::Sha1Digest::new([number; 20]), folder: None };
        let sql = "INSERT INTO manifests (id, file_id, len, piece_len, sha1) VALUES (?1, ?1, ?2, ?3, ?4)";
        let work = move |tx: &rusqlite::Connection, mutations: &mut Mutations| {
            mutations.push(Mutation::ManifestAdded(crate::fact::ManifestId(id), head));
            tx.execute(sql, (id, layout.len(), layout.piece_len(), head.sha1.as_bytes()))?;
            Ok(crate::fact::ManifestId(id))
        };
        self.upkeep_of_facts(work).await
    }

    /// Does what no fact is needed for, in a transaction of its own.
    async fn upkeep<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&rusqlite::Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.upkeep_for(Caller::tracker(), work).await
    }

    /// The same, as `caller`'s turn.
    async fn upkeep_for<T, F>(&self, caller: Caller, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&rusqlite::Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.alone(caller, false, |tx, _, _| work(tx)).await
    }

    /// Works on the tables of facts, and so on the state.
    async fn upkeep_of_facts<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&rusqlite::Connection, &mut Mutations) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.alone(Caller::tracker(), true, |tx, mutations, _| work(tx, mutations)).await
    }

    /// Works in the database, in a transaction of its own, at a time in milliseconds since 1970.
    async fn alone<T, F>(&self, caller: Caller, needs_facts: bool, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&rusqlite::Connection, &mut Mutations, u64) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Upkeep { needs_facts, work: Some(work), outcome: None, reply };
        self.submit(caller, Work::Alone(Box::new(job)), answer).await
    }

    /// Takes in what the sibling brings.
    async fn replay<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&mut Batch<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Work::Decide(Box::new(Replay { work: Some(work), outcome: None, reply }));
        self.submit(Caller::replica(), job, answer).await
    }

    /// Has a job of the tracker itself done, and waits for what comes of it.
    async fn submit<T>(
        &self,
        caller: Caller,
        work: Work,
        answer: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let _place = self.jobs.submit(caller, work)?;
        answer.await.unwrap_or(Err(StoreError::Unknown))
    }

    /// Finishes what waits, and closes the file. Further commands are refused.
    pub async fn close(&self) {
        self.end(Closed::Tidy).await;
    }

    /// Ends with the tables as far behind as they are, for a simulation: as a tracker that is killed, but for what waits.
    pub async fn crash(&self) {
        self.end(Closed::Untidy).await;
    }

    async fn end(&self, how: Closed) {
        self.jobs.close(how);
        let writer = self.writer.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && !matches!(tokio::task::spawn_blocking(|| writer.join()).await, Ok(Ok(())))
        {
            tracing::error!("the database's writer ended by a panic");
        }
    }
}

/// Has the whole file looked at. A tracker whose database is damaged ends.
fn check_behind(data_dir: &Path, jobs: &Jobs) -> Result<(), OpenError> {
    let (jobs, path) = (jobs.clone(), data_dir.to_owned());
    let check = move || match open::check_behind(&path) {
        Err(e @ OpenError::Damaged { .. }) => {
            tracing::error!("{e}");
            jobs.close(Closed::Untidy);
        }
        // It may be gone already, in a test.
        Err(e) => tracing::debug!("the database was not checked: {e}"),
        Ok(()) => {}
    };
    let begun = thread::Builder::new().name("store check".into()).spawn(check);
    begun.map(drop).map_err(|source| OpenError::Directory { path: data_dir.to_owned(), source })
}
