//! The one thread that writes. It gathers the commands that wait into one batch: decides them in memory, one after the other,
//! writes what they have come to in one transaction (group commit), and then joins it to the state and answers. Nobody
//! is answered, and nothing is shown, before it is on disk; a batch that fails leaves no trace.
//!
//! A batch is short, so that who overtakes waits for little, and so that those who ask the state do: it is closed after some
//! milliseconds, and as soon as it has a job that overtakes. What no command decides runs alone, in a transaction of its
//! own. When the disk is full, the batch is undone and said so; the thread lives on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::batch::{self, Batch, Record};
use super::checkpoint::Behind;
use super::error::{Result, StoreError};
use super::jobs::{Closed, Jobs, Next, Queued, Work};
use super::ledger::{Ledger, Sqlite};
use super::log::{Asked, Log, Versions};
use super::manifest::NewManifest;
use super::mutation::{self, Mutations};
use super::open::DataDir;
use super::reserve::Reserve;
use crate::fact::Fact;
use crate::failpoint::{self, Point};
use crate::limits::Payer;
use crate::state::State;

/// Commands in one batch at most, and for how long they may be decided: bounds how long the first of them waits, and
/// whoever asks the state meanwhile.
const MAX_BATCH: usize = 256;
const BATCH_TIME: Duration = Duration::from_millis(3);
/// After so long without work the tables of facts are brought up to date, so many rows at a time; sooner, if more than
/// that are behind.
const IDLE: Duration = Duration::from_secs(1);
const IDLE_WHEN_MUCH_IS_BEHIND: Duration = Duration::from_millis(20);
const ROWS_AT_ONCE: usize = 4096;

/// Milliseconds since 1970 by the wall clock, or by a test's.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What a command decided.
#[derive(Debug)]
pub struct Change<T> {
    /// The facts that it states; none, if it found nothing to change.
    pub facts: Vec<Fact>,
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

/// Answers, once it is certain how a batch ended.
pub(super) trait Finish {
    fn finish(self: Box<Self>, committed: Result<()>);
}

/// What is decided in memory.
pub(super) trait Decide: Finish + Send {
    fn decide(&mut self, batch: &mut Batch<'_>);
}

/// What is done in the database.
pub(super) trait Alone: Finish + Send {
    /// Whether the tables of facts have to be up to date for it.
    fn needs_facts(&self) -> bool;
    /// Does it in a transaction that fails if it does; what it changes in the state goes to `mutations`.
    fn run(&mut self, tx: &Connection, mutations: &mut Mutations, now_ms: u64) -> Result<()>;
}

/// Decides one command.
pub(super) struct Command<F, G, T, E> {
    pub(super) asked: Asked,
    /// What is decided, and what is then made of it on the state with it.
    pub(super) decide: Option<(F, G)>,
    pub(super) outcome: Option<std::result::Result<Written<T>, E>>,
    pub(super) reply: oneshot::Sender<std::result::Result<Written<T>, E>>,
}

impl<F, G, V, T, E> Decide for Command<F, G, T, E>
where
    F: FnOnce(&State) -> std::result::Result<Change<V>, E> + Send,
    G: FnOnce(&State, &[Fact], V) -> std::result::Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn decide(&mut self, batch: &mut Batch<'_>) {
        let Some((decide, then)) = self.decide.take() else { return };
        let mark = batch.mark();
        let outcome = command(batch, self.asked, decide, then);
        if outcome.is_err() {
            batch.back_to(mark);
        }
        self.outcome = Some(outcome);
    }
}

impl<F, G, T, E: From<StoreError>> Finish for Command<F, G, T, E> {
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

fn command<V, T, E: From<StoreError>>(
    batch: &mut Batch<'_>,
    asked: Asked,
    decide: impl FnOnce(&State) -> std::result::Result<Change<V>, E>,
    then: impl FnOnce(&State, &[Fact], V) -> std::result::Result<T, E>,
) -> std::result::Result<Written<T>, E> {
    if let Some(answer) = batch.answered(asked)? {
        return Ok(Written::Repeated(answer));
    }
    let Change { facts, manifest, answer, value } = contained(|| decide(batch.state))?;
    if !batch.room && facts.iter().any(Fact::adds) {
        return Err(StoreError::Full.into());
    }
    if facts.is_empty() {
        return contained(|| then(batch.state, &facts, value)).map(Written::Done);
    }
    let (event, hash) = batch.next(asked, &facts, answer)?;
    if let Some(manifest) = manifest {
        batch.add_manifest(manifest);
    }
    batch.state_facts(super::log::stamp_of(&event), &facts);
    let value = contained(|| then(batch.state, &facts, value))?;
    batch.enter(event, hash, facts);
    Ok(Written::Done(value))
}

/// A defect in one command is not to end the thread: it only looks at the state.
fn contained<T, E: From<StoreError>>(look: impl FnOnce() -> std::result::Result<T, E>) -> std::result::Result<T, E> {
    catch_unwind(AssertUnwindSafe(look)).unwrap_or_else(|_| Err(StoreError::Panicked.into()))
}

/// What the sibling brings.
pub(super) struct Replay<F, T> {
    pub(super) work: Option<F>,
    pub(super) outcome: Option<Result<T>>,
    pub(super) reply: oneshot::Sender<Result<T>>,
}

impl<F, T> Decide for Replay<F, T>
where
    F: FnOnce(&mut Batch<'_>) -> Result<T> + Send,
    T: Send,
{
    fn decide(&mut self, batch: &mut Batch<'_>) {
        let Some(work) = self.work.take() else { return };
        let (mark, log) = (batch.mark(), batch.log.clone());
        let outcome = work(batch);
        if outcome.is_err() {
            batch.back_to(mark);
            *batch.log = log;
        }
        self.outcome = Some(outcome);
    }
}

impl<F, T> Finish for Replay<F, T> {
    fn finish(self: Box<Self>, committed: Result<()>) {
        let Self { outcome, reply, .. } = *self;
        let _ = reply.send(committed.and_then(|()| outcome.unwrap_or(Err(StoreError::Closed))));
    }
}

/// Housekeeping, and what mends tables.
pub(super) struct Upkeep<F, T> {
    pub(super) needs_facts: bool,
    pub(super) work: Option<F>,
    pub(super) outcome: Option<T>,
    pub(super) reply: oneshot::Sender<Result<T>>,
}

impl<F, T> Alone for Upkeep<F, T>
where
    F: FnOnce(&Connection, &mut Mutations, u64) -> Result<T> + Send,
    T: Send,
{
    fn needs_facts(&self) -> bool {
        self.needs_facts
    }

    fn run(&mut self, tx: &Connection, mutations: &mut Mutations, now_ms: u64) -> Result<()> {
        let Some(work) = self.work.take() else { return Ok(()) };
        self.outcome = Some(contained(|| work(tx, mutations, now_ms))?);
        Ok(())
    }
}

impl<F, T> Finish for Upkeep<F, T> {
    fn finish(self: Box<Self>, committed: Result<()>) {
        let Self { outcome, reply, .. } = *self;
        let _ = reply.send(committed.and_then(|()| outcome.ok_or(StoreError::Closed)));
    }
}

/// The writer's own things.
pub(super) struct Writer {
    pub(super) ledger: Sqlite,
    pub(super) log: Log,
    /// What is on disk, and not in the tables of facts.
    pub(super) behind: Behind,
    pub(super) clock: WallClock,
    pub(super) reserve: Arc<Reserve>,
    pub(super) state: Arc<RwLock<State>>,
    pub(super) versions: watch::Sender<Arc<Versions>>,
    pub(super) jobs: Jobs,
    /// Held until the connection is closed.
    pub(super) _dir: DataDir,
}

impl Writer {
    /// Works until the queue is closed and everything that waited is done.
    pub(super) fn run(mut self) {
        let mut carried = None;
        loop {
            let idle = match self.behind.weight() {
                0 => None,
                ROWS_AT_ONCE.. => Some(IDLE_WHEN_MUCH_IS_BEHIND),
                _ => Some(IDLE),
            };
            let first = match carried.take() {
                Some(first) => first,
                None => match self.jobs.wait(idle) {
                    Next::Job(first) => first,
                    Next::Idle => {
                        self.checkpoint(ROWS_AT_ONCE, true);
                        continue;
                    }
                    Next::Closed(Closed::Tidy) => break,
                    Next::Closed(Closed::Untidy) => return,
                },
            };
            carried = match first.work {
                Work::Decide(job) => self.commit(Queued { caller: first.caller, work: job }),
                Work::Alone(job) => {
                    let (caller, started) = (first.caller, Instant::now());
                    if job.needs_facts() && self.behind.weight() > ROWS_AT_ONCE && self.checkpoint(ROWS_AT_ONCE, false)
                    {
                        // A piece at a time, and commands in between.
                        self.jobs.finish(&caller, started.elapsed());
                        self.jobs.put_back(Queued { caller, work: Work::Alone(job) });
                    } else {
                        self.run_alone(job);
                        self.jobs.finish(&caller, started.elapsed());
                    }
                    None
                }
            };
        }
        while !self.behind.is_empty() && self.checkpoint(ROWS_AT_ONCE, false) {}
        self.ledger.tidy();
    }

    /// Decides `first` and what else waits, writes that, and answers. Returns the next job, if that is to run alone.
    fn commit(&mut self, first: Queued<Box<dyn Decide>>) -> Option<Queued> {
        let (before, now_ms) = (self.log.clone(), (self.clock)());
        let mut ran: Vec<Box<dyn Decide>> = Vec::new();
        let (records, next) = self.decide(first, now_ms, &mut ran);
        let committed = match records.is_empty() {
            true => Ok(0),
            false => self.ledger.append(&self.log, &records, &self.behind, now_ms),
        };
        match &committed {
            Ok(events) => {
                self.behind.drop_first(*events);
                if !records.is_empty() {
                    failpoint::reach(Point::AfterCommit);
                    self.publish(|state, behind| batch::join(state, behind, records));
                }
            }
            Err(e) => {
                tracing::error!("a transaction of {} commands failed: {e}", ran.len());
                self.log = before;
            }
        }
        let committed = committed.map(drop);
        ran.into_iter().for_each(|job| job.finish(committed.clone()));
        next
    }

    fn decide(
        &mut self,
        first: Queued<Box<dyn Decide>>,
        now_ms: u64,
        ran: &mut Vec<Box<dyn Decide>>,
    ) -> (Vec<Record>, Option<Queued>) {
        let (begun, room) = (Instant::now(), self.reserve.has_room());
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch::new(&mut state, &mut self.log, &self.ledger, now_ms, room);
        let (mut next, mut urgent) = (Some(first), false);
        while let Some(Queued { caller, work: mut job }) = next {
            let started = Instant::now();
            job.decide(&mut batch);
            ran.push(job);
            self.jobs.finish(&caller, started.elapsed());
            urgent |= caller.overtakes && caller.payer != Payer::Tracker;
            let enough = urgent || ran.len() >= MAX_BATCH || begun.elapsed() >= BATCH_TIME;
            let queued = if ran.len() < 2 * MAX_BATCH { self.jobs.next(enough) } else { None };
            next = match queued {
                Some(Queued { caller, work: Work::Decide(work) }) => Some(Queued { caller, work }),
                alone => return (batch.end(), alone),
            };
        }
        (batch.end(), None)
    }

    /// Runs a job, on tables that are up to date if it needs that.
    fn run_alone(&mut self, mut job: Box<dyn Alone>) {
        let (mut mutations, now_ms) = (Mutations::new(), (self.clock)());
        let Self { ledger, behind, .. } = self;
        let committed = ledger.transaction(|tx| {
            let events = if job.needs_facts() { behind.write_all(tx)? } else { 0 };
            job.run(tx, &mut mutations, now_ms)?;
            Ok(events)
        });
        if let Ok(events) = &committed {
            self.behind.drop_first(*events);
            if *events > 0 {
                failpoint::reach(Point::AfterCheckpoint);
            }
            if !mutations.is_empty() {
                self.publish(|state, _| mutation::apply(state, mutations));
            }
        }
        job.finish(committed.map(drop));
    }

    /// Brings the tables of facts up to date, until `most` rows are written, or somebody waits if it `makes_way`. Says whether
    /// that could be done.
    fn checkpoint(&mut self, most: usize, makes_way: bool) -> bool {
        let Self { ledger, behind, jobs, .. } = self;
        let somebody_waits = || makes_way && jobs.waiting() != (0, 0);
        match ledger.checkpoint(behind, most, &somebody_waits) {
            Ok(events) => {
                self.behind.drop_first(events);
                failpoint::reach(Point::AfterCheckpoint);
                true
            }
            // Nothing is lost: they are in the log.
            Err(e) => {
                tracing::warn!("the tables of facts could not be brought up to date: {e}");
                false
            }
        }
    }

    /// Joins in memory what is on disk, and says how much that is: at once, so that nobody sees what is not published.
    fn publish(&mut self, join: impl FnOnce(&mut State, &mut Behind)) {
        // A state that a panic left half changed stays poisoned: nobody reads it.
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        join(&mut state, &mut self.behind);
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
