//! Connections to seeders that have served a file, kept for a while for the next one: over a long line, dialling costs two
//! round trips, and a new connection sends slowly at first.
//!
//! Invariant: nobody is served over an idle connection; whoever takes one has to show a ticket again. Each belongs to one
//! task, which closes it when it ends at the other side, when nobody takes it in time, or when all are dropped.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::id::DeviceId;
use common::task::TaskGroup;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::peer_stream::{PeerStream, Socket};

/// How long one is kept: less than a seeder waits for the next file.
const KEEP: Duration = Duration::from_secs(20);
/// How many are kept at most; the oldest goes first.
const MAX_IDLE: usize = 32;

/// Whom a connection goes to.
type Place = (DeviceId, SocketAddr);
/// Asks the task that has a connection for it.
type Ask<S> = oneshot::Sender<oneshot::Sender<PeerStream<S>>>;

/// The idle connections of this device. Clones are the same.
#[derive(Debug)]
pub(crate) struct IdleConnections<S = Socket>(Arc<Mutex<State<S>>>);

#[derive(Debug)]
struct State<S> {
    last: u64,
    /// By age.
    idle: BTreeMap<u64, Ask<S>>,
    /// The newest last.
    places: HashMap<Place, Vec<u64>>,
}

impl<S> Clone for IdleConnections<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Default for IdleConnections<S> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { last: 0, idle: BTreeMap::new(), places: HashMap::new() })))
    }
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> IdleConnections<S> {
    /// Keeps `stream`, which rests. What keeps it is a task of `tasks`.
    pub(crate) fn keep(&self, device: DeviceId, address: SocketAddr, mut stream: PeerStream<S>, tasks: &TaskGroup) {
        let place = (device, address);
        let (ask, asked) = oneshot::channel();
        let number = self.lock().add(place, ask);
        let all = self.clone();
        tasks.spawn("idle connection", async move {
            let taker: Option<oneshot::Sender<PeerStream<S>>> = tokio::select! {
                biased;
                () = stream.ended() => None,
                taker = asked => taker.ok(),
                () = tokio::time::sleep(KEEP) => None,
            };
            match taker {
                // Whoever asked may have gone away; then it is closed.
                Some(taker) => drop(taker.send(stream)),
                None => all.lock().remove(number, place),
            }
        });
    }

    /// An idle connection to `device` at `address`, the one that was used last, if there is any.
    pub(crate) async fn take(&self, device: DeviceId, address: SocketAddr) -> Option<PeerStream<S>> {
        loop {
            let ask = self.lock().take((device, address))?;
            let (taker, taken) = oneshot::channel();
            if ask.send(taker).is_ok()
                && let Ok(stream) = taken.await
            {
                return Some(stream);
            }
        }
    }

    /// Closes all: they were used under a login that has ended.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.idle.clear();
        state.places.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> State<S> {
    fn add(&mut self, place: Place, ask: Ask<S>) -> u64 {
        if self.idle.len() >= MAX_IDLE {
            // Its task closes it when it finds that nobody can ask any more.
            self.idle.pop_first();
        }
        self.last += 1;
        self.idle.insert(self.last, ask);
        self.places.entry(place).or_default().push(self.last);
        self.last
    }

    fn take(&mut self, place: Place) -> Option<Ask<S>> {
        let numbers = self.places.get_mut(&place)?;
        let ask = loop {
            match numbers.pop() {
                Some(number) => match self.idle.remove(&number) {
                    Some(ask) => break Some(ask),
                    None => continue,
                },
                None => break None,
            }
        };
        if numbers.is_empty() {
            self.places.remove(&place);
        }
        ask
    }

    fn remove(&mut self, number: u64, place: Place) {
        self.idle.remove(&number);
        if let Some(numbers) = self.places.get_mut(&place) {
            numbers.retain(|n| *n != number);
            if numbers.is_empty() {
                self.places.remove(&place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use common::connection::split;
    use common::wire::limits::MAX_PEER_FRAME;
    use common::wire::peer::{Goodbye, LeecherFrame, SeederFrame};
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn place(n: u8) -> Place {
        (DeviceId::new([n; 32]), ([127, 0, 0, 1], u16::from(n)).into())
    }

    fn keep(all: &IdleConnections<DuplexStream>, (device, address): Place, round_trip: u64) -> DuplexStream {
        let (ours, theirs) = duplex(1 << 10);
        all.keep(device, address, PeerStream::new(ours, Duration::from_millis(round_trip), true), &TaskGroup::new());
        theirs
    }

    async fn take(all: &IdleConnections<DuplexStream>, (device, address): Place) -> Option<u128> {
        all.take(device, address).await.map(|stream| stream.round_trip.as_millis())
    }

    #[tokio::test]
    async fn the_one_that_was_used_last_is_taken_and_each_only_once() {
        let all = IdleConnections::default();
        let _seeders = [keep(&all, place(1), 1), keep(&all, place(2), 2), keep(&all, place(1), 3)];
        assert_eq!(take(&all, place(3)).await, None);
        assert_eq!(take(&all, place(1)).await, Some(3));
        assert_eq!(take(&all, place(1)).await, Some(1));
        assert_eq!(take(&all, place(1)).await, None);
        assert_eq!(take(&all, place(2)).await, Some(2));
        assert!(all.lock().places.is_empty() && all.lock().idle.is_empty());
    }

    #[tokio::test]
    async fn one_that_the_seeder_has_ended_is_not_taken() {
        let all = IdleConnections::default();
        let gone = keep(&all, place(1), 1);
        let (_reader, mut writer) = split::<_, LeecherFrame, SeederFrame>(keep(&all, place(1), 2), MAX_PEER_FRAME);
        drop(gone);
        writer.send(&SeederFrame::Have { piece: 1 }).await.expect("sent");
        assert_eq!(take(&all, place(1)).await, Some(2), "news of the file before are no end");
        let (_reader, mut writer) = split::<_, LeecherFrame, SeederFrame>(keep(&all, place(1), 3), MAX_PEER_FRAME);
        writer.send(&SeederFrame::Goodbye(Goodbye::Leaving)).await.expect("sent");
        assert_eq!(take(&all, place(1)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_keeps_one_for_long_or_many() {
        let all = IdleConnections::default();
        let _seeder = keep(&all, place(1), 1);
        tokio::time::sleep(KEEP + Duration::from_millis(1)).await;
        assert!(all.lock().places.is_empty());
        let seeders: Vec<_> = (0..=MAX_IDLE).map(|_| keep(&all, place(2), 1)).collect();
        assert_eq!(all.lock().idle.len(), MAX_IDLE);
        let mut byte = [0];
        let mut first = seeders.into_iter().next().expect("one");
        assert_eq!(tokio::io::AsyncReadExt::read(&mut first, &mut byte).await.expect("closed"), 0);
        all.close();
        assert_eq!(take(&all, place(2)).await, None);
    }
}
