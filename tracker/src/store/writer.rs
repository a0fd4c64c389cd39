//! The one thread that writes. It gathers the commands that wait into one transaction (group
//! commit), and nobody is answered before that transaction is on disk. A batch is short, so that who overtakes
//! waits for little: it is closed after some milliseconds, and as soon as it has a job that overtakes.
//!
//! Each command runs in a savepoint of its own, so that one that is refused or fails leaves no trace, and
//! the others of its batch stand. When the disk is full, the batch is undone and said so; the thread lives on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::error::{Result, StoreError};
use super::jobs::{Jobs, Queued};
use super::log::{self, Asked, Log, Versions};
use super::manifest::NewManifest;
use super::mutation;
use super::open::DataDir;
use super::questions::State;
use super::readers::STEPS;
use super::reserve::Reserve;
use super::tables::Tables;
use crate::fact::Delta;
use crate::failpoint::{self, Point};
use crate::limits::{Caller, Payer};
use crate::state;

/// Commands in one transaction at most, and for how long they may run: bounds how long the first of them waits.
const MAX_BATCH: usize = 256;
const BATCH_TIME: Duration = Duration::from_millis(20);
/// A decision that has taken so much of a processor is given up while something waits that overtakes it, or anything of
/// somebody else. Its caller is told to come back. Not by the clock: where the machine or its disk is slow, so is everybody.
const YIELD_TO_OVERTAKING: Duration = Duration::from_millis(30);
const YIELD_TO_ANY: Duration = Duration::from_millis(150);

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
    /// Ends a decision that is of no use any more, or that holds up others.
    patience: &'a Patience,
    /// Who asks.
    caller: &'a Caller,
}

/// Which decision runs, for SQLite to ask now and then whether it may go on. Only decisions are interrupted: they
/// only read, so that the batch goes on without them.
#[derive(Debug, Clone, Default)]
pub(super) struct Patience(Arc<Mutex<Option<(Caller, Duration)>>>);

impl Patience {
    fn lock(&self) -> MutexGuard<'_, Option<(Caller, Duration)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a decision of `caller`, which may be interrupted.
    fn with<T>(&self, caller: &Caller, decide: impl FnOnce() -> T) -> T {
        *self.lock() = Some((caller.clone(), processor_time()));
        let ended = End(self);
        let outcome = decide();
        drop(ended);
        outcome
    }

    /// Whether what runs on this thread is to be interrupted, while so many wait: who overtake, and others but the one who
    /// asked for it.
    fn is_over(&self, waiting: impl FnOnce(Payer) -> (usize, usize)) -> bool {
        let running = self.lock();
        let Some((caller, since)) = running.as_ref() else { return false };
        if caller.overtakes {
            return false;
        }
        if caller.has_given_up() {
            return true;
        }
        let took = processor_time().saturating_sub(*since);
        if took < YIELD_TO_OVERTAKING {
            return false;
        }
        let (overtaking, ordinary) = waiting(caller.payer);
        overtaking > 0 || (ordinary > 0 && took >= YIELD_TO_ANY)
    }
}

/// How long this thread has run on a processor.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Also of a decision that panics.
struct End<'a>(&'a Patience);

impl Drop for End<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

/// A piece of work for the writer.
pub(super) trait Job: Send {
    /// Does it, in the transaction of its batch.
    fn run(&mut self, on: &Running<'_>, log: &mut Log);
    /// Answers, once it is certain how the batch ended.
    fn finish(self: Box<Self>, committed: Result<()>);
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
    let Running { conn, now_ms, room, patience, caller } = *on;
    if let Some(answer) = log::recorded(conn, asked)? {
        return Ok(Written::Repeated(answer));
    }
    let change = patience.with(caller, || decide(&State::Tables(Tables::new(conn))))?;
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

/// What no command decides here: what the sibling brings, and housekeeping.
pub(super) struct Undecided<F, T> {
    pub(super) work: Option<F>,
    pub(super) outcome: Option<Result<T>>,
    pub(super) reply: oneshot::Sender<Result<T>>,
}

impl<F, T> Job for Undecided<F, T>
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
    pub(super) jobs: Jobs,
    pub(super) patience: Patience,
    /// Held until the connection is closed.
    pub(super) _dir: DataDir,
}

impl Writer {
    /// Works until the queue is closed and everything that waited is done.
    pub(super) fn run(mut self) {
        let (patience, jobs) = (self.patience.clone(), self.jobs.clone());
        let interrupted = move || patience.is_over(|payer| jobs.waiting_beside(payer));
        if let Err(e) = self.conn.progress_handler(STEPS, Some(interrupted)) {
            tracing::warn!("long decisions cannot be interrupted: {e}");
        }
        while let Some(first) = self.jobs.wait() {
            self.commit(first);
        }
        // So that the database is one file again, which can be copied.
        if let Err(e) = self.conn.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::debug!("tidying up at the end: {e}");
        }
    }

    fn commit(&mut self, first: Queued) {
        let before = self.log.mark();
        let mut ran = Vec::new();
        let committed = self.transaction(first, &mut ran);
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

    /// Runs `first` and what else waits, into `ran`, and commits it. On failure none has taken effect.
    fn transaction(&mut self, first: Queued, ran: &mut Vec<Box<dyn Job>>) -> Result<()> {
        if let Err(e) = execute(&self.conn, "BEGIN IMMEDIATE") {
            self.jobs.finish(&first.caller, Duration::ZERO);
            ran.push(first.job);
            return Err(e);
        }
        let (begun, now_ms, room) = (Instant::now(), (self.clock)(), self.reserve.has_room());
        let (mut next, mut urgent) = (Some(first), false);
        while let Some(Queued { caller, mut job }) = next {
            let started = Instant::now();
            let on = Running { conn: &self.conn, now_ms, room, patience: &self.patience, caller: &caller };
            job.run(&on, &mut self.log);
            ran.push(job);
            self.jobs.finish(&caller, started.elapsed());
            if self.conn.is_autocommit() {
                return Err(StoreError::Full);
            }
            urgent |= caller.overtakes && caller.payer != Payer::Tracker;
            let enough = urgent || ran.len() >= MAX_BATCH || begun.elapsed() >= BATCH_TIME;
            next = if ran.len() < 2 * MAX_BATCH { self.jobs.next(enough) } else { None };
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
