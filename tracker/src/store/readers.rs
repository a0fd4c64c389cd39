//! A few connections that only read, each used by one blocking thread at a time, and who gets the next one.
//!
//! Users take turns by the time that their queries take, and one has only some of the connections. Who overtakes is
//! before all others, and one connection is kept for those. A query that nobody waits for any more is interrupted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error::StoreError;
use super::tables::Tables;
use crate::limits::fair_queue::FairQueue;
use crate::limits::{Caller, Payer};

/// Connections that one payer uses at a time.
const EACH: usize = 2;
/// Connections kept for those who overtake.
const KEPT: usize = 1;
/// Queries of one payer that wait at most. More than its connections have calls, but for a crowd behind one address.
const MAX_WAITING_EACH: usize = 1024;
/// Steps of SQLite's machine between two looks at whether a query is still of use: some tens of microseconds.
pub(super) const STEPS: std::ffi::c_int = 1000;

/// The connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Readers(Arc<Shared>);

#[derive(Debug)]
struct Shared(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    free: Vec<Connection>,
    /// How many connections are for those who do not overtake.
    ordinary_at_most: usize,
    overtaking: FairQueue<oneshot::Sender<Turn>>,
    ordinary: FairQueue<oneshot::Sender<Turn>>,
}

impl Inner {
    fn lane(&mut self, overtakes: bool) -> &mut FairQueue<oneshot::Sender<Turn>> {
        if overtakes { &mut self.overtaking } else { &mut self.ordinary }
    }

    fn next(&mut self) -> Option<(bool, Payer, oneshot::Sender<Turn>)> {
        if self.free.is_empty() {
            return None;
        }
        if let Some((payer, start)) = self.overtaking.pop() {
            return Some((true, payer, start));
        }
        if self.ordinary.running() >= self.ordinary_at_most {
            return None;
        }
        self.ordinary.pop().map(|(payer, start)| (false, payer, start))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives free connections to those who are next.
    fn hand_out(self: &Arc<Self>) {
        loop {
            let mut inner = self.lock();
            let Some((overtakes, payer, start)) = inner.next() else { return };
            let conn = inner.free.pop();
            drop(inner);
            let turn = Turn { shared: Arc::clone(self), overtakes, payer, begun: Instant::now(), conn };
            // Whoever has gone meanwhile: its turn is dropped, and gives the connection back.
            let _ = start.send(turn);
        }
    }
}

impl Readers {
    pub(super) fn new(connections: Vec<Connection>) -> Self {
        let ordinary_at_most = connections.len().saturating_sub(KEPT).max(1);
        Self(Arc::new(Shared(Mutex::new(Inner {
            free: connections,
            ordinary_at_most,
            overtaking: FairQueue::new(EACH),
            ordinary: FairQueue::new(EACH),
        }))))
    }

    /// Runs `query` for `caller`, on a state that does not change meanwhile. Dropped while it waits, it is as if it had
    /// not been asked.
    pub(super) async fn read<T, E, F>(&self, caller: &Caller, query: F) -> Result<T, E>
    where
        F: FnOnce(&Tables<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let turn = self.turn(caller).await?;
        let caller = caller.clone();
        let reading = tokio::task::spawn_blocking(move || turn.run(caller, query));
        reading.await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }

    async fn turn(&self, caller: &Caller) -> Result<Turn, StoreError> {
        let (start, started) = oneshot::channel();
        let entry = {
            let mut inner = self.0.lock();
            let lane = inner.lane(caller.overtakes);
            if lane.waiting_of(caller.payer) >= MAX_WAITING_EACH && caller.payer != Payer::Tracker {
                return Err(StoreError::Busy);
            }
            let number = lane.push(caller.payer, start);
            Entry { shared: &self.0, overtakes: caller.overtakes, payer: caller.payer, number }
        };
        self.0.hand_out();
        let turn = tokio::select! {
            biased;
            turn = started => turn.map_err(|_| StoreError::Closed),
            () = caller.gives_up() => Err(StoreError::Abandoned),
        };
        drop(entry);
        turn
    }

    /// How many queries wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        let inner = self.0.lock();
        inner.ordinary.waiting() + inner.overtaking.waiting()
    }
}

/// A place in the queue, given up when it is dropped.
struct Entry<'a> {
    shared: &'a Shared,
    overtakes: bool,
    payer: Payer,
    number: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let removed = self.shared.lock().lane(self.overtakes).remove(self.payer, self.number);
        drop(removed);
    }
}

/// A connection that goes back where it came from, also when its user panics.
#[derive(Debug)]
struct Turn {
    shared: Arc<Shared>,
    overtakes: bool,
    payer: Payer,
    begun: Instant,
    conn: Option<Connection>,
}

impl Turn {
    fn run<T, E: From<StoreError>>(
        mut self,
        caller: Caller,
        query: impl FnOnce(&Tables<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let conn = self.conn.as_mut().ok_or(StoreError::Closed)?;
        conn.progress_handler(STEPS, Some(move || caller.has_given_up())).map_err(StoreError::from)?;
        let outcome = snapshot(conn, query);
        conn.progress_handler(STEPS, None::<fn() -> bool>).map_err(StoreError::from)?;
        outcome
    }
}

fn snapshot<T, E: From<StoreError>>(
    conn: &Connection,
    query: impl FnOnce(&Tables<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let tx = conn.unchecked_transaction().map_err(StoreError::from)?;
    let outcome = query(&Tables::new(conn));
    tx.finish().map_err(StoreError::from)?;
    outcome
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        inner.free.extend(self.conn.take());
        inner.lane(self.overtakes).finish(self.payer, self.begun.elapsed());
        drop(inner);
        self.shared.hand_out();
    }
}
