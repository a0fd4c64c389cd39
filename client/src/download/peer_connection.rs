//! The swarm's end of one connection: what is under way on it, and how much should be.
//!
//! Pure but for the channel to the connection's task.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::id::DeviceId;
use common::pieces::BlockRange;
use common::ticket::{Signed, Ticket};
use common::wire::limits::MAX_QUEUE;
use tokio::sync::mpsc;

use super::peer::{Gauge, ToPeer};
use super::revocation_gossip::RevocationGossip;
use crate::share::Known;
use crate::transfer::meter::Meter;

/// Bytes under way to begin with, on each connection.
const FIRST_WINDOW: u64 = 4 << 20;
/// Most bytes under way.
const MAX_WINDOW: u64 = 64 << 20;
/// Shortest time over which the rate is measured.
const MEASURE: Duration = Duration::from_millis(100);
/// Requests under way; the seeder takes a few more.
const MAX_REQUESTS: usize = MAX_QUEUE - 32;

/// One seeder, on one connection or two.
#[derive(Debug)]
pub(crate) struct PeerConnection {
    pub(crate) device: DeviceId,
    /// The ticket that the seeder saw last.
    shown: Signed<Ticket>,
    orders: mpsc::Sender<ToPeer>,
    gauge: Arc<Gauge>,
    /// Of what has come, what has been looked at.
    seen: u64,
    /// Of what has come, what there was when the window was last set, and when that was.
    measured: (Instant, u64),
    meter: Meter,
    /// The round trip of the idle connection, once the seeder has been greeted.
    round_trip: Duration,
    /// Something may be asked of it.
    is_ready: bool,
    /// It is asked before it has said what it has.
    pub(crate) assumed: bool,
    window: u64,
    /// Requests and bytes that are neither answered nor refused.
    requests: usize,
    bytes: u64,
    cancelling: HashSet<BlockRange>,
    /// Revocations that the seeder is to hear of.
    revocation_gossip: RevocationGossip,
    /// The picker had less for it than there was room for.
    pub(crate) starved: bool,
    /// The picker calls it silent.
    pub(crate) snubbed: bool,
}

impl PeerConnection {
    /// So many connections that are being made, to be greeted with the ticket `shown`.
    pub(crate) fn new(
        now: Instant,
        device: DeviceId,
        connections: u64,
        shown: Signed<Ticket>,
        orders: mpsc::Sender<ToPeer>,
        gauge: Arc<Gauge>,
    ) -> Self {
        Self {
            device,
            shown,
            orders,
            gauge,
            seen: 0,
            measured: (now, 0),
            meter: Meter::new(now, 0),
            round_trip: Duration::ZERO,
            is_ready: false,
            assumed: false,
            window: FIRST_WINDOW * connections,
            requests: 0,
            bytes: 0,
            cancelling: HashSet::new(),
            revocation_gossip: RevocationGossip::new(now),
            starved: false,
            snubbed: false,
        }
    }

    /// The seeder has been greeted.
    pub(crate) const fn greeted(&mut self, round_trip: Duration) {
        self.round_trip = round_trip;
    }

    /// Something may be asked of the seeder.
    pub(crate) fn ready(&mut self, now: Instant) {
        self.is_ready = true;
        self.starved = true;
        self.measured = (now, self.total());
    }

    /// Whether something may be asked of the seeder.
    pub(crate) const fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Whether the seeder has said that it serves us.
    pub(crate) const fn serves_us(&self) -> bool {
        self.is_ready && !self.assumed
    }

    /// Looks at the counters: bytes that have come since the last look.
    pub(crate) fn look(&mut self, now: Instant) -> u64 {
        let total = self.total();
        let fresh = total - std::mem::replace(&mut self.seen, total);
        self.meter.update(now, total);
        self.widen(now, total);
        fresh
    }

    /// Lets the window grow to twice what is under way at the present rate (the bandwidth-delay product;
    /// while the window limits the rate, this doubles it). Measured over a whole round trip, since bytes
    /// come in bursts.
    fn widen(&mut self, now: Instant, total: u64) {
        if !self.is_ready {
            return;
        }
        let round_trip = self.round_trip;
        let (since, before) = self.measured;
        let elapsed = now.saturating_duration_since(since);
        if elapsed < round_trip.max(MEASURE) {
            return;
        }
        let wanted = 2.0 * (total - before) as f64 * round_trip.as_secs_f64() / elapsed.as_secs_f64();
        self.window = self.window.max(wanted as u64).min(MAX_WINDOW);
        self.measured = (now, total);
    }

    /// Bytes that should be under way on it.
    pub(crate) const fn window(&self) -> u64 {
        self.window
    }

    /// Bytes that have come over it.
    pub(crate) fn total(&self) -> u64 {
        self.gauge.received.load(Ordering::Relaxed)
    }

    /// Whether our own limit keeps us from reading what it sends.
    pub(crate) fn is_held_back(&self) -> bool {
        self.gauge.held_back.load(Ordering::Relaxed)
    }

    /// Bytes per second, now.
    pub(crate) fn rate(&self) -> u64 {
        self.meter.rate()
    }

    /// How many more bytes to ask for, in blocks of `block` bytes, if this connection may have `most` under way.
    pub(crate) fn room(&self, most: u64, block: u64) -> u64 {
        let window = self.window.min(most).max(block);
        let by_count = (MAX_REQUESTS.saturating_sub(self.requests) as u64).saturating_mul(block);
        window.saturating_sub(self.bytes).min(by_count)
    }

    /// Asks for `blocks`; `false` if the connection takes no orders.
    pub(crate) fn request(&mut self, blocks: Vec<BlockRange>) -> bool {
        self.requests += blocks.len();
        self.bytes += blocks.iter().map(|b| u64::from(b.len)).sum::<u64>();
        self.order(ToPeer::Request(blocks))
    }

    /// Asks no longer for `block`.
    pub(crate) fn cancel(&mut self, block: BlockRange) -> bool {
        self.cancelling.insert(block);
        self.order(ToPeer::Cancel(block))
    }

    /// A request was answered, by bytes or by a refusal; `true` if we had cancelled it.
    pub(crate) fn answered(&mut self, block: BlockRange) -> bool {
        self.requests = self.requests.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(block.len));
        self.cancelling.remove(&block)
    }

    /// Shows the seeder a newer ticket.
    pub(crate) fn renew(&mut self, ticket: &Signed<Ticket>) {
        if self.shown != *ticket && self.order(ToPeer::Renew(ticket.clone())) {
            self.shown = ticket.clone();
        }
    }

    /// Tells the seeder of revocations, as many as are due.
    pub(crate) fn tell_of(&mut self, now: Instant, known: &Known) {
        let Self { revocation_gossip, orders, .. } = self;
        revocation_gossip.heard(known.next());
        revocation_gossip.tell(now, |number| {
            let order = ToPeer::Revoked(known.fresh(number)?.signed.clone());
            Some(orders.try_send(order).is_ok())
        });
    }

    /// Passes an order on; `false` if the connection does not keep up with its orders.
    pub(crate) fn order(&self, order: ToPeer) -> bool {
        self.orders.try_send(order).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(now: Instant) -> (PeerConnection, Arc<Gauge>, mpsc::Receiver<ToPeer>) {
        let (orders, taken) = mpsc::channel(8);
        let gauge = Arc::default();
        let tracker = crate::trackers::fake::FakeTracker::new();
        tracker.join(DeviceId::new([1; 32]), "bob");
        let ticket = tracker.ticket(DeviceId::new([1; 32])).expect("a member");
        (PeerConnection::new(now, DeviceId::new([1; 32]), 1, ticket, orders, Arc::clone(&gauge)), gauge, taken)
    }

    #[test]
    fn the_window_grows_to_what_a_long_line_holds_and_no_further() {
        let start = Instant::now();
        let (mut connection, gauge, _taken) = connection(start);
        connection.greeted(Duration::from_millis(200));
        connection.ready(start);
        assert_eq!(connection.room(u64::MAX, 1 << 20), FIRST_WINDOW);
        // What a link of 100 MB/s gives a window, looked at with every block.
        for i in 1..=2000u32 {
            let rate = (connection.window as f64 / 0.2).min(100e6);
            gauge.received.fetch_add((rate * 0.005) as u64, Ordering::Relaxed);
            connection.look(start + Duration::from_millis(5) * i);
        }
        assert!((39_000_000..=41_000_000).contains(&connection.window), "{}", connection.window);
        for i in 1..=20u32 {
            gauge.received.fetch_add(1 << 30, Ordering::Relaxed);
            connection.look(start + Duration::from_secs(10) + Duration::from_millis(250) * i);
        }
        assert_eq!(connection.window, MAX_WINDOW);
        assert_eq!(connection.room(1000, 16 << 10), 16 << 10, "one block is always allowed");
    }

    #[test]
    fn a_ticket_is_shown_once() {
        let (mut connection, _, mut taken) = connection(Instant::now());
        let shown = connection.shown.clone();
        connection.renew(&shown);
        assert!(taken.try_recv().is_err());
        let tracker = crate::trackers::fake::FakeTracker::new();
        tracker.join(connection.device, "bob");
        let newer = tracker.ticket(connection.device).expect("a member");
        connection.renew(&newer);
        connection.renew(&newer);
        assert!(matches!(taken.try_recv(), Ok(ToPeer::Renew(ticket)) if ticket == newer));
        assert!(taken.try_recv().is_err());
    }

    #[test]
    fn requests_are_bounded_in_bytes_and_in_number() {
        let now = Instant::now();
        let (mut connection, _, mut taken) = connection(now);
        let block = |n| BlockRange { piece: n, offset: 0, len: 16 << 10 };
        assert!(connection.request((0..MAX_REQUESTS as u32 - 1).map(block).collect()));
        assert_eq!(connection.room(u64::MAX, 16 << 10), 16 << 10);
        assert!(connection.request(vec![block(999)]));
        assert_eq!(connection.room(u64::MAX, 16 << 10), 0);
        assert!(connection.cancel(block(999)));
        assert!(connection.answered(block(999)) && !connection.answered(block(0)));
        assert_eq!(connection.room(u64::MAX, 16 << 10), 32 << 10);
        assert!(matches!(taken.try_recv(), Ok(ToPeer::Request(_))));
    }
}
