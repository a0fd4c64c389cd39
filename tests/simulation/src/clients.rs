//! Clients: the real state machine of the client's failover, each over lines of its own to both trackers.
//!
//! Each makes groups under names of its own and lists all groups, one after the other. What must hold: it never sees less
//! than it has seen, unless it has said so; what it was acknowledged is there in the end; it is answered in time.

mod ask;
mod judge;
mod line;
mod network;
mod serve;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use client::trackers::machine::{LoggedIn, Machine, Session};
use common::id::{DeviceId, RequestId, SessionId, UserId};
use common::secret::ClusterSecret;
use common::ticket::{SessionToken, Signed};
use common::wire::client::{Call, Response, ServerFrame};
use line::Line;

use crate::op::bytes;

/// Fastest and slowest line, in bytes per second.
const RATES: std::ops::Range<u32> = 14..24;

/// All clients, and what the trackers have of theirs.
#[derive(Debug)]
pub(crate) struct Clients {
    rng: fastrand::Rng,
    pub(crate) all: Vec<Client>,
    /// Calls that each tracker works on.
    held: [Vec<Held>; 2],
    /// A disk was replaced: what only that one had may be missed.
    disk_replaced: bool,
    /// No further calls are made.
    over: bool,
    conns: u64,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Client {
    machine: Machine,
    device: DeviceId,
    session: Session,
    links: [Link; 2],
    /// When it makes its next call.
    next_at: Duration,
    asked: Option<Asked>,
    count: u32,
    /// What it has seen, or was told is done.
    known: BTreeSet<String>,
    /// What it has made itself.
    own: BTreeSet<String>,
    /// When each tracker could not serve it for the last time.
    unwell: [Option<Duration>; 2],
    /// When its own line to each tracker is disturbed, and for how long.
    cuts: Vec<(Duration, usize, Duration)>,
}

/// What a client waits for.
#[derive(Debug)]
struct Asked {
    number: u64,
    made: Duration,
    /// The name that it makes; none, if it reads.
    makes: Option<String>,
}

/// A client's end of what is between it and one tracker.
#[derive(Debug)]
struct Link {
    keeper: Keeper,
    backoff: Duration,
    up: Line<Call>,
    /// `None`: the connection is closed.
    down: Line<Option<Box<ServerFrame>>>,
}

/// What the client does about a connection.
#[derive(Debug, Clone, Copy)]
enum Keeper {
    /// Dials at this time.
    Idle { at: Duration },
    /// Will know at this time, whether it succeeds.
    Dialling { at: Duration, reached: bool },
    /// Is connected.
    Up { conn: u64, since: Duration },
}

/// A call that a tracker works on.
#[derive(Debug)]
struct Held {
    client: usize,
    conn: u64,
    call: Call,
    since: Duration,
    /// What it came to, and the event of this run that has to be on both disks before it is told.
    done: Option<(Response, u64)>,
}

impl Clients {
    /// So many, with a seed of their own.
    pub(crate) fn new(many: usize, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x00c1_1e27);
        let key = ClusterSecret::generate().cluster_key();
        let all = (0..many)
            .map(|n| {
                let id = [u8::try_from(n).expect("few") + 100; 32];
                let user_id = UserId::new(bytes(&mut rng));
                let device = DeviceId::new(id);
                let token = SessionToken {
                    session: SessionId::new(bytes(&mut rng)),
                    user: user_id,
                    device,
                    credentials: 1,
                    expires: u64::MAX,
                };
                let token = Signed::sign(&token, &key).expect("signed");
                let who = LoggedIn { user: format!("client{n}").parse().expect("a name"), user_id };
                let session = Session { who, token };
                let mut ids = rng.fork();
                let names = vec!["tracker 1".to_owned(), "tracker 2".to_owned()];
                let machine = Machine::new(names, Some(session.clone()), 0, move || RequestId::new(bytes(&mut ids)));
                let links = [0, 1].map(|i| {
                    let delay = Duration::from_micros(rng.u64(50..60_000));
                    let rate = 1 << rng.u32(RATES);
                    let keeper = Keeper::Idle { at: Duration::from_millis(200 * i) };
                    let backoff = network::RETRY_FIRST;
                    Link { keeper, backoff, up: Line::new(delay, rate), down: Line::new(delay, rate) }
                });
                Client {
                    machine,
                    device,
                    session,
                    links,
                    next_at: Duration::from_millis(rng.u64(0..2000)),
                    asked: None,
                    count: 0,
                    known: BTreeSet::new(),
                    own: BTreeSet::new(),
                    unwell: [None; 2],
                    cuts: Vec::new(),
                }
            })
            .collect();
        Self { rng, all, held: [Vec::new(), Vec::new()], disk_replaced: false, over: false, conns: 0 }
    }

    /// Their lines are disturbed now and then, for some seconds, within `act`.
    pub(crate) fn disturb(&mut self, act: Duration) {
        for client in &mut self.all {
            for _ in 0..self.rng.usize(0..4) {
                let time = Duration::from_millis(self.rng.u64(50..15_000));
                client.cuts.push((act.mul_f64(self.rng.f64()), self.rng.usize(0..2), time));
            }
        }
    }

    /// Whether nobody waits, and no call of theirs is worked on.
    pub(crate) fn are_quiet(&self) -> bool {
        self.all.iter().all(|client| client.asked.is_none()) && self.held.iter().all(Vec::is_empty)
    }

    /// When something is to be done for them next.
    pub(crate) fn next(&self, base: Instant, stalled: [Duration; 2]) -> Option<Duration> {
        let mut all = Vec::new();
        for client in &self.all {
            let wake = client.machine.poll_timeout();
            all.extend(wake.map(|at| at.saturating_duration_since(base)));
            if client.asked.is_none() && !self.over {
                all.push(client.next_at);
            }
            all.extend(client.cuts.iter().map(|(at, ..)| *at));
            for (i, link) in client.links.iter().enumerate() {
                all.extend(link.up.next().map(|at| at.max(stalled[i])));
                all.extend(link.down.next());
                match link.keeper {
                    Keeper::Idle { at } | Keeper::Dialling { at, .. } => all.push(at),
                    Keeper::Up { .. } => {}
                }
            }
        }
        for (i, held) in self.held.iter().enumerate() {
            all.extend(held.iter().map(|h| (h.since + serve::patience(h)).max(stalled[i])));
        }
        all.into_iter().min()
    }
}
