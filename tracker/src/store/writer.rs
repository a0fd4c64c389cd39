//! The one thread that writes. It gathers the commands that wait into one transaction (group
//! commit), and nobody is answered before that transaction is on disk.
//!
//! Each command runs in a savepoint of its own, so that one that is refused or fails leaves no trace, and
//! the others of its batch stand. When the disk is full, the batch is undone and said so; the thread lives on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::{Result, StoreError};
use super::log::{self, Asked, Log, Versions};
use super::manifest::NewManifest;
use super::mutation::{self, Mutations};
use super::open::DataDir;
use super::questions::State;
use super::reserve::Reserve;
use super::tables::Tables;
use crate::fact::Delta;
use crate::failpoint::{self, Point};
use crate::state;

/// Commands in one transaction at most: bounds how long the first of them waits.
const MAX_BATCH: usize = 256;

/// Milliseconds since 1970 by the wall clock, or by a test's.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What a command decided.
#[derive(Debug)]
pub struct Change<T> {
    /// The facts that it states; none, if it found nothing to change.
    pub deltas: Vec<Delta>,
    /// A manifest that the facts refer to.
    pub manifest: Option<NewManifest>,
    /// What to answer if the same is asked again.
    pub answer: Vec<u8>,
    /// For the caller.
    pub value: T,
}

/// How a command ended.
#[derive(Debug)]
pub enum Written<T> {
    /// It has taken effect.
    Done(T),
    /// It had taken effect before, and this was answered.
    Repeated(Vec<u8>),
}

/// What a piece of work runs in.
pub(super) struct Running<'a> {
    /// The transaction of its batch.
    pub(super) conn: &'a Connection,
    /// Milliseconds since 1970.
    pub(super) now_ms: u64,
    /// Whether the disk has room for more than the reserve.
    pub(super) room: bool,
}

/// A piece of work for the writer.
pub(super) trait Job: Send {
    /// Does it, in the transaction of its batch.
    fn run(&mut self, on: &Running<'_>, log: &mut Log);
    /// Answers, once it is certain how the batch ended.
    fn finish(self: Box<Self>, committed: Result<()>);
}

/// What the writer is told.
pub(super) enum Work {
    /// To do this.
    Do(Box<dyn Job>),
    /// To finish what waits, and end.
    Stop,
}

/// Decides and applies one command.
pub(super) struct Command<F, G, T, E> {
    pub(super) asked: Asked,
    /// What is decided, and what is then made of it on the state with it.
    pub(super) decide: Option<(F, G)>,
    pub(super) outcome: Option<std::result::Result<Written<T>, E>>,
    pub(super) reply: oneshot::Sender<std::result::Result<Written<T>, E>>,
}

impl<F, G, V, T, E> Job for Command<F, G, T, E>
where
    F: FnOnce(&State<'_>) -> std::result::Result<Change<V>, E> + Send,
    G: FnOnce(&State<'_>, &[Delta], V) -> std::result::Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, on: &Running<'_>, log: &mut Log) {
        let Some(decide) = self.decide.take() else { return };
        let before = log.mark();
        let outcome = savepoint(on.conn, || apply(on, log, self.asked, decide));
        if outcome.is_err() {
            log.back_to(before);
        }
        self.outcome = Some(outcome);
    }

    fn finish(self: Box<Self>, committed: Result<()>) {
        let outcome = match (committed, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(StoreError::Closed.into()),
            (Err(e), _) => Err(e.into()),
        };
        // A caller that has gone away does not need the answer; its retry will find it recorded.
        let _ = self.reply.send(outcome);
    }
}

fn apply<V, T, E: From<StoreError>>(
    on: &Running<'_>,
    log: &mut Log,
    asked: Asked,
    (decide, then): (
        impl FnOnce(&State<'_>) -> std::result::Result<Change<V>, E>,
        impl FnOnce(&State<'_>, &[Delta], V) -> std::result::Result<T, E>,
    ),
) -> std::result::Result<Written<T>, E> {
    let Running { conn, now_ms, room } = *on;
    if let Some(answer) = log::recorded(conn, asked)? {
        return Ok(Written::Repeated(answer));
    }
    let change = decide(&State::Tables(Tables::new(conn)))?;
    if !room && change.deltas.iter().any(Delta::adds) {
        return Err(StoreError::Full.into());
    }
    if !change.deltas.is_empty() {
        if let Some(manifest) = &change.manifest {
            manifest.store(conn, &mut log.mutations)?;
        }
        log.append(conn, asked, &change.deltas, &change.answer, now_ms)?;
        log::record(conn, asked, &change.answer, now_ms / 1000)?;
    }
    Ok(Written::Done(then(&State::Tables(Tables::new(conn)), &change.deltas, change.value)?))
}

/// Housekeeping: writes what is not part of the history.
pub(super) struct Upkeep<F, T> {
    pub(super) work: Option<F>,
    pub(super) outcome: Option<Result<T>>,
    pub(super) reply: oneshot::Sender<Result<T>>,
}

impl<F, T> Job for Upkeep<F, T>
where
    F: FnOnce(&Connection, &mut Mutations) -> Result<T> + Send,
    T: Send,
{
    fn run(&mut self, on: &Running<'_>, log: &mut Log) {
        let Some(work) = self.work.take() else { return };
        let before = log.mark();
        let outcome = savepoint(on.conn, || work(on.conn, &mut log.mutations));
        if outcome.is_err() {
            log.back_to(before);
        }
        self.outcome = Some(outcome);
    }

    fn finish(self: Box<Self>, committed: Result<()>) {
        let Self { outcome, reply, .. } = *self;
        let _ = reply.send(committed.and_then(|()| outcome.unwrap_or(Err(StoreError::Closed))));
    }
}

/// What the sibling brings: it changes the state by what was decided elsewhere.
pub(super) struct Replay<F, T> {
    pub(super) work: Option<F>,
    pub(super) outcome: Option<Result<T>>,
    pub(super) reply: oneshot::Sender<Result<T>>,
}

impl<F, T> Job for Replay<F, T>
where
    F: FnOnce(&Connection, &mut Log, u64) -> Result<T> + Send,
    T: Send,
{
    fn run(&mut self, on: &Running<'_>, log: &mut Log) {
        let Some(work) = self.work.take() else { return };
        let before = log.mark();
        let outcome = savepoint(on.conn, || work(on.conn, log, on.now_ms));
        if outcome.is_err() {
            log.back_to(before);
        }
        self.outcome = Some(outcome);
    }

    fn finish(self: Box<Self>, committed: Result<()>) {
        let Self { outcome, reply, .. } = *self;
        let _ = reply.send(committed.and_then(|()| outcome.unwrap_or(Err(StoreError::Closed))));
    }
}

/// Runs `f` so that it leaves no trace if it fails, or panics.
fn savepoint<T, E: From<StoreError>>(
    conn: &Connection,
    f: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    execute(conn, "SAVEPOINT command")?;
    let outcome = catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| Err(StoreError::Panicked.into()));
    // On a full disk SQLite may have undone the whole transaction by itself, savepoint included.
    if !conn.is_autocommit() {
        if outcome.is_err() {
            execute(conn, "ROLLBACK TO command")?;
        }
        execute(conn, "RELEASE command")?;
    }
    outcome
}

fn execute(conn: &Connection, sql: &str) -> Result<()> {
    conn.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// The writer's own things.
pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) log: Log,
    pub(super) clock: WallClock,
    pub(super) reserve: Arc<Reserve>,
    pub(super) state: Arc<RwLock<state::State>>,
    pub(super) versions: watch::Sender<Arc<Versions>>,
    /// Held until the connection is closed.
    pub(super) _dir: DataDir,
}

impl Writer {
    /// Works until it is told to stop, or the last handle is gone, and everything that waited is done.
    pub(super) fn run(mut self, mut waiting: mpsc::Receiver<Work>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut batch = Vec::new();
            let mut next = Some(first);
            while let Some(work) = next {
                match work {
                    Work::Do(job) => batch.push(job),
                    Work::Stop => waiting.close(),
                }
                next = if batch.len() < MAX_BATCH { waiting.try_recv().ok() } else { None };
            }
            self.commit(batch);
        }
        // So that the database is one file again, which can be copied.
        if let Err(e) = self.conn.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::debug!("tidying up at the end: {e}");
        }
    }

    fn commit(&mut self, batch: Vec<Box<dyn Job>>) {
        let mut waiting = batch.into_iter();
        while waiting.len() > 0 {
            let before = self.log.mark();
            let mut ran = Vec::with_capacity(waiting.len());
            let committed = self.transaction(&mut waiting, &mut ran);
            match &committed {
                Ok(()) => {
                    failpoint::reach(Point::AfterCommit);
                    self.publish();
                }
                Err(e) => {
                    tracing::error!("a transaction of {} commands failed: {e}", ran.len());
                    self.log.back_to(before);
                }
            }
            ran.into_iter().for_each(|job| job.finish(committed.clone()));
        }
    }

    /// Runs jobs off `waiting` into `ran`, and commits them. On failure none has taken effect.
    fn transaction(
        &mut self,
        waiting: &mut impl Iterator<Item = Box<dyn Job>>,
        ran: &mut Vec<Box<dyn Job>>,
    ) -> Result<()> {
        if let Err(e) = execute(&self.conn, "BEGIN IMMEDIATE") {
            ran.extend(waiting);
            return Err(e);
        }
        let on = Running { conn: &self.conn, now_ms: (self.clock)(), room: self.reserve.has_room() };
        for mut job in waiting {
            job.run(&on, &mut self.log);
            ran.push(job);
            if self.conn.is_autocommit() {
                return Err(StoreError::Full);
            }
        }
        failpoint::reach(Point::BeforeCommit);
        let committed = execute(&self.conn, "COMMIT");
        if committed.is_err() && !self.conn.is_autocommit() {
            execute(&self.conn, "ROLLBACK")?;
        }
        committed
    }

    /// Applies in memory what is on disk, and says how much that is: at once, so that nobody sees what is not published.
    fn publish(&mut self) {
        let mutations = std::mem::take(&mut self.log.mutations);
        // A state that a panic left half changed stays poisoned: nobody reads it.
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        mutation::apply(&mut state, mutations);
        let new = self.log.versions();
        self.versions.send_if_modified(|old| {
            let changed = **old != *new;
            if changed {
                *old = Arc::new(new.clone());
            }
            changed
        });
    }
}
