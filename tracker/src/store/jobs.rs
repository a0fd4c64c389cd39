//! What waits for the writer, and in which order it is done.
//!
//! Users take turns by the time that their commands take. Who overtakes is before all others, also within the batch
//! that is being gathered. A command that nobody waits for any more is taken out.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::StoreError;
use super::writer::{Alone, Decide};
use crate::limits::fair_queue::FairQueue;
use crate::limits::{Caller, Payer};

/// Commands of one payer that wait at most. More than its connections have calls, but for a crowd behind one address.
const MAX_WAITING_EACH: usize = 1024;

/// A job and who asks for it.
pub(super) struct Queued<W = Work> {
    pub(super) caller: Caller,
    pub(super) work: W,
}

/// How a job is done.
pub(super) enum Work {
    /// In memory, in a batch with others.
    Decide(Box<dyn Decide>),
    /// In the database, in a transaction of its own.
    Alone(Box<dyn Alone>),
}

/// What there is to do.
pub(super) enum Next {
    /// This.
    Job(Queued),
    /// Nothing, for long enough.
    Idle,
    /// Nothing any more.
    Closed(Closed),
}

/// The queue, between those who ask and the one thread that writes. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Jobs(Arc<Shared>);

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    came: Condvar,
}

struct Inner {
    overtaking: FairQueue<Queued>,
    ordinary: FairQueue<Queued>,
    closed: Option<Closed>,
}

/// How a queue was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// What is behind is to be written.
    Tidy,
    /// The program goes, as if it were killed.
    Untidy,
}

impl Default for Inner {
    fn default() -> Self {
        Self { overtaking: FairQueue::new(usize::MAX), ordinary: FairQueue::new(usize::MAX), closed: None }
    }
}

impl Inner {
    fn lane(&mut self, overtakes: bool) -> &mut FairQueue<Queued> {
        if overtakes { &mut self.overtaking } else { &mut self.ordinary }
    }

    fn is_empty(&self) -> bool {
        self.overtaking.waiting() == 0 && self.ordinary.waiting() == 0
    }

    fn pop(&mut self) -> Option<Queued> {
        let popped = self.overtaking.pop().or_else(|| self.ordinary.pop());
        popped.map(|(_, queued)| queued)
    }
}

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job. It is taken out again if the place is dropped before it has begun.
    pub(super) fn submit(&self, caller: Caller, work: Work) -> Result<Place, StoreError> {
        let mut inner = self.lock();
        if inner.closed.is_some() {
            return Err(StoreError::Closed);
        }
        let Caller { payer, overtakes, .. } = caller;
        let lane = inner.lane(overtakes);
        if lane.waiting_of(payer) >= MAX_WAITING_EACH && payer != Payer::Tracker {
            return Err(StoreError::Busy);
        }
        let number = lane.push(payer, Queued { caller, work });
        drop(inner);
        self.0.came.notify_one();
        Ok(Place { jobs: self.clone(), overtakes, payer, number })
    }

    /// Puts a job back, behind those of others that wait.
    pub(super) fn put_back(&self, queued: Queued) {
        let mut inner = self.lock();
        inner.lane(queued.caller.overtakes).push(queued.caller.payer, queued);
    }

    /// Waits for the next job, and at most for `patience`.
    pub(super) fn wait(&self, patience: Option<Duration>) -> Next {
        let mut inner = self.lock();
        loop {
            if let Some(queued) = inner.pop() {
                return Next::Job(queued);
            }
            if let Some(how) = inner.closed {
                return Next::Closed(how);
            }
            inner = match patience {
                None => self.0.came.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let waited = self.0.came.wait_timeout(inner, patience);
                    let (inner, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    if timeout.timed_out() && inner.is_empty() {
                        return Next::Idle;
                    }
                    inner
                }
            };
        }
    }

    /// The next job, if one waits and, after `enough`, only if it overtakes.
    pub(super) fn next(&self, enough: bool) -> Option<Queued> {
        let mut inner = self.lock();
        if enough { inner.overtaking.pop().map(|(_, queued)| queued) } else { inner.pop() }
    }

    /// A job of `caller` has run for so long.
    pub(super) fn finish(&self, caller: &Caller, took: Duration) {
        self.lock().lane(caller.overtakes).finish(caller.payer, took);
    }

    /// How many wait: of those who overtake, and of the others.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.overtaking.waiting(), inner.ordinary.waiting())
    }

    /// Takes no more; what waits is still to be done.
    pub(super) fn close(&self, how: Closed) {
        self.lock().closed.get_or_insert(how);
        self.0.came.notify_all();
    }
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (overtaking, ordinary) = self.waiting();
        f.debug_struct("Jobs").field("overtaking", &overtaking).field("ordinary", &ordinary).finish()
    }
}

/// The place of a job in the queue.
pub(super) struct Place {
    jobs: Jobs,
    overtakes: bool,
    payer: Payer,
    number: u64,
}

impl Place {
    /// Takes the job out: whether it had not begun.
    pub(super) fn give_up(&self) -> bool {
        let taken = self.jobs.lock().lane(self.overtakes).remove(self.payer, self.number);
        taken.is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Who overtakes is served, whoever waits for it.
        if !self.overtakes {
            self.give_up();
        }
    }
}
