//! Synchronisation with the sibling as a state machine: no sockets, no database, no clock of its own.
//!
//! It is told of connections, messages, finished jobs, commits and the time, and says what to send
//! ([`Machine::poll_transmit`]), what to do with the database ([`Machine::poll_job`]), when to wake it
//! ([`Machine::poll_timeout`]) and when the connection is worth nothing any more ([`Machine::wants_drop`]).
//!
//! Invariants: messages of the sibling are handled in the order they came, one at a time. A vote is read from the
//! disk before it is shipped. Nothing is acknowledged before it is on disk. The mode is dual only
//! while the sibling acknowledges everything within [`PATIENCE`].

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::id::OriginId;
use common::wire::client::Mode;
use common::wire::limits::List;
use common::wire::sync::{
    Ack, Batch, Event, Facts, Head, Hello, ManifestPart, NameVote, StateDigest, SyncFrame, VERSION, VersionVector,
};

use super::steady::Steady;
use crate::fact::ManifestId;
use crate::store::{Applied, Cursor, Outbox, Versions};

/// How long a command waits for the sibling; then it is away.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How long the sibling may take to acknowledge while nobody waits for it.
const PATIENCE_BEHIND: Duration = Duration::from_secs(10);
/// Silence after which a sign of life is asked for, and after which the connection is given up.
const QUIET: Duration = Duration::from_secs(1);
const DEAD: Duration = Duration::from_secs(4);
/// How long an empty tracker waits for the first word of a sibling that may have everything.
pub const FIRST_CONTACT: Duration = Duration::from_secs(2);
/// Batches that are sent before the first of them is acknowledged.
const WINDOW: u64 = 4;
/// Events that came before what they depend on, at most.
const MAX_HELD: usize = 4096;
/// Pieces in a manifest, at most; see `common::pieces`.
const MAX_PARTS: usize = 1 + (common::pieces::MAX_PIECES as usize) / common::wire::limits::MAX_PART;
/// How often the two states are compared while nothing happens.
const COMPARE_EVERY: Duration = Duration::from_secs(60);

/// Something to do with the database.
#[derive(Debug, Clone)]
pub enum Job {
    /// Read what to say first.
    Introduce,
    /// Compare the sibling's heads with ours.
    Compare(Vec<Head>),
    /// Read what the sibling lacks next.
    Outbox {
        /// What it has.
        after: Versions,
        /// Which changes of votes it has.
        votes_after: u64,
        /// Up to which change it has the same confirmed votes.
        agreed: u64,
    },
    /// Apply events and votes.
    Apply(Arc<[Event]>, Vec<NameVote>),
    /// Join facts.
    Join(Arc<[u8]>, Option<Arc<[Head]>>),
    /// Read our heads, to be sent with the last part of the facts.
    Heads,
    /// Read facts from there on.
    Facts(Cursor),
    /// Read part of a manifest.
    ReadManifest([u8; 32], u32),
    /// Store a manifest.
    StoreManifest(ManifestId, Vec<ManifestPart>),
    /// Refuse an origin from now on.
    Quarantine(OriginId),
    /// Condense the state.
    Digest,
    /// Read the facts of these parts of the state.
    ReadParts(Vec<usize>),
    /// Join facts of parts that differ, where the log does not contradict them.
    Mend(Arc<[u8]>),
}

/// How a job ended.
#[derive(Debug, Clone)]
pub enum Done {
    /// What to know of ourselves before anything is said.
    Introduced {
        /// What to say.
        hello: Hello,
        /// Where our log begins.
        floors: Versions,
        /// How many changes of votes there have been by then.
        votes: u64,
        /// Origins of which nothing more is applied.
        quarantined: Vec<OriginId>,
    },
    /// Origins that differ.
    Compared(Vec<OriginId>),
    /// What the sibling lacks.
    Outbox(Outbox),
    /// What became of a batch, or of facts.
    Applied(Applied),
    /// Our heads.
    Heads(Vec<Head>),
    /// Facts, and where to go on.
    Facts(Vec<u8>, Option<Cursor>),
    /// The answer about a manifest, with the number of pieces still to be sent.
    Manifest(SyncFrame),
    /// The manifest is there.
    Stored,
    /// That is done.
    Quarantined,
    /// The state in condensed form, and of what.
    Digest(Versions, Vec<u64>),
    /// Facts, in as many messages.
    Parts(Vec<Vec<u8>>),
    /// How many facts were mended.
    Mended(usize),
    /// It could not be done.
    Failed(String),
}

/// Why the connection is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It did not acknowledge in time.
    #[error("it did not acknowledge within {} ms", .0.as_millis())]
    Slow(Duration),
    /// It did not give a sign of life.
    #[error("it is silent")]
    Silent,
    /// It broke the protocol.
    #[error("it broke the protocol: {0}")]
    Violation(&'static str),
    /// It is not the sibling.
    #[error("{0}")]
    Stranger(String),
    /// Our own database failed.
    #[error("here: {0}")]
    Ours(String),
}

/// What others may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Whether commands wait for the sibling.
    pub mode: Mode,
    /// Whether there is a connection.
    pub linked: bool,
    /// The last event of this run that the sibling has on disk.
    pub acked: u64,
    /// Whether commands may be served.
    pub open: bool,
    /// The sibling's present run, when it was last heard of.
    pub sibling: Option<OriginId>,
    /// Events that the sibling is known to lack.
    pub lag: u64,
    /// Counts what the sibling's votes have changed.
    pub votes: u64,
    /// What an operator should know.
    pub alarms: Alarms,
}

/// What is not as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alarms {
    /// Origins that were found to be used twice.
    pub forked: u64,
    /// How far the sibling's clock was ahead at most, in milliseconds, where that was too far.
    pub skew_ms: u64,
    /// How often the two states were found to differ where they should not.
    pub differing: u64,
}

/// Clocks that differ by more are told to the operator.
const SKEW: u64 = 60_000;

/// A message that waits for its turn.
#[derive(Debug)]
enum Inbound {
    Batch(Batch),
    Facts(Facts),
}

/// One connection.
#[derive(Debug)]
struct Conn {
    // Introductions.
    said_hello: bool,
    theirs: Option<Hello>,
    ours: Option<(Hello, Versions, u64)>,
    compared: bool,
    // What goes out.
    sent: Versions,
    acked: Versions,
    /// What of ours the sibling knows to be on disk here.
    told: Versions,
    votes_after: u64,
    /// Confirmed votes up to this change are the same there.
    agreed: u64,
    number: u64,
    acked_number: u64,
    /// There may be something new to read.
    dirty: bool,
    reading: bool,
    facts: Option<Sending>,
    // What comes in.
    inbound: VecDeque<Inbound>,
    applying: bool,
    held: Vec<Event>,
    /// What `Apply` was last asked to do.
    current: Option<Current>,
    fetching: Option<(ManifestId, Vec<ManifestPart>)>,
    wanted_heads: Vec<Head>,
    // Time.
    heard: Instant,
    spoke: Instant,
    /// When it last acknowledged something, or had acknowledged everything.
    last_ack: Instant,
    compare_at: Instant,
    digest_of: Option<StateDigest>,
    digesting: bool,
}

/// Facts on their way out.
#[derive(Debug)]
struct Sending {
    heads: Option<Vec<Head>>,
    cursor: Option<Cursor>,
}

#[derive(Debug)]
enum Current {
    Batch { number: u64, events: Arc<[Event]>, votes: Vec<NameVote> },
    Facts { number: u64, packed: Arc<[u8]>, complete: Option<Arc<[Head]>> },
}

/// The state machine of one tracker.
#[derive(Debug)]
pub struct Machine {
    tracker_no: u16,
    origin: OriginId,
    versions: Versions,
    conn: Option<Conn>,
    steady: Steady,
    gate: Gate,
    sibling: Option<OriginId>,
    /// Origins of which nothing more is applied, by either.
    quarantined: HashSet<OriginId>,
    /// The sibling refuses what we say in this run.
    refused: bool,
    transmit: VecDeque<SyncFrame>,
    jobs: VecDeque<Job>,
    trouble: Option<Trouble>,
    alarms: Alarms,
    votes: u64,
    /// What has newly come from the sibling.
    news: Vec<crate::store::Fact>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// Empty; the sibling may have everything.
    Shut {
        until: Option<Instant>,
    },
}

impl Machine {
    /// A tracker that has `versions` on disk, and a sibling somewhere.
    pub fn new(tracker_no: u16, origin: OriginId, versions: Versions, now: Instant) -> Self {
        let gate = if versions.is_empty() { Gate::Shut { until: Some(now + FIRST_CONTACT) } } else { Gate::Open };
        Self {
            tracker_no,
            origin,
            versions,
            conn: None,
            steady: Steady::default(),
            gate,
            sibling: None,
            quarantined: HashSet::new(),
            refused: false,
            transmit: VecDeque::new(),
            jobs: VecDeque::new(),
            trouble: None,
            alarms: Alarms::default(),
            votes: 0,
            news: Vec::new(),
        }
    }

    // ---- What it is told ----

    /// There is a new connection. Every job of an older one must have ended.
    pub fn connected(&mut self, now: Instant) {
        self.disconnected(now);
        self.conn = Some(Conn::new(now));
        self.jobs.push_back(Job::Introduce);
    }

    /// The connection is gone.
    pub fn disconnected(&mut self, now: Instant) {
        self.transmit.clear();
        self.jobs.clear();
        self.trouble = None;
        if self.conn.take().is_some() {
            self.steady.lost(now);
            if self.gate != Gate::Open {
                self.gate = Gate::Shut { until: Some(now + FIRST_CONTACT) };
            }
        }
    }

    /// Nobody listens where the sibling should be.
    pub fn unreachable(&mut self) {
        if self.conn.is_none() {
            self.gate = Gate::Open;
        }
    }

    /// This is on disk here now.
    pub fn committed(&mut self, now: Instant, versions: &Versions) {
        let own = versions.get(&self.origin).copied().unwrap_or_default();
        let grown = own > self.versions.get(&self.origin).copied().unwrap_or_default();
        if self.versions == *versions {
            return;
        }
        self.versions.clone_from(versions);
        if let Some(conn) = &mut self.conn {
            conn.dirty = true;
            if grown {
                self.steady.owes(now, own);
            }
        }
        self.pump();
    }

    /// The sibling says this.
    pub fn handle_message(&mut self, now: Instant, message: SyncFrame) {
        let Some(conn) = &mut self.conn else { return };
        conn.heard = now;
        if conn.theirs.is_none() && !matches!(message, SyncFrame::Hello(_)) {
            return self.violation("it did not introduce itself");
        }
        match message {
            SyncFrame::Hello(hello) => self.on_hello(hello),
            SyncFrame::Batch(batch) => self.on_inbound(Inbound::Batch(batch)),
            SyncFrame::Facts(facts) => self.on_inbound(Inbound::Facts(facts)),
            SyncFrame::Ack(ack) => self.on_ack(now, &ack),
            SyncFrame::WantManifest(id) => self.jobs.push_back(Job::ReadManifest(id, 0)),
            SyncFrame::Manifest(part) => self.on_manifest(part),
            SyncFrame::NoManifest(_) => self.violation("it lacks a manifest that its events name"),
            SyncFrame::Digest(digest) => self.on_digest(digest),
            SyncFrame::Repair(facts) => self.jobs.push_back(Job::Mend(facts.facts.into_vec().into())),
            SyncFrame::Quarantined(origin) => {
                self.refused |= origin == self.origin;
                self.quarantined.insert(origin);
                self.alarms.forked += 1;
                self.jobs.push_back(Job::Quarantine(origin));
            }
            SyncFrame::Ping => self.transmit.push_back(SyncFrame::Pong),
            SyncFrame::Pong => {}
        }
        self.pump();
    }

    /// A job has ended.
    pub fn handle_done(&mut self, now: Instant, done: Done) {
        let Some(conn) = &mut self.conn else { return };
        match done {
            Done::Introduced { hello, floors, votes, quarantined } => {
                self.transmit.push_back(SyncFrame::Hello(hello.clone()));
                conn.said_hello = true;
                conn.ours = Some((hello, floors, votes));
                self.quarantined.extend(quarantined);
                self.introduced(now);
            }
            Done::Compared(forked) => {
                conn.compared = true;
                self.on_forked(&forked);
                self.introduced(now);
            }
            Done::Outbox(out) => self.on_outbox(now, out),
            Done::Applied(applied) => self.on_applied(now, applied),
            Done::Heads(heads) => {
                if let Some(sending) = &mut conn.facts {
                    sending.heads = Some(heads);
                    conn.reading = false;
                }
            }
            Done::Facts(packed, next) => self.on_facts_read(now, packed, next),
            Done::Manifest(frame) => self.on_manifest_read(frame),
            Done::Stored => {
                conn.fetching = None;
                conn.applying = false;
                self.retry();
            }
            Done::Quarantined => {}
            Done::Digest(versions, buckets) => self.on_digest_read(versions, buckets),
            Done::Parts(parts) => {
                for part in parts {
                    if let Some(facts) = List::new(part) {
                        self.transmit.push_back(SyncFrame::Repair(Facts { number: 0, facts, complete: None }));
                    }
                }
            }
            Done::Mended(count) => tracing::warn!(count, "facts that differed from the sibling's were mended"),
            Done::Failed(reason) => self.trouble = Some(Trouble::Ours(reason)),
        }
        self.pump();
    }

    /// The time has come that [`Self::poll_timeout`] named.
    pub fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.gate, Gate::Shut { until: Some(until) } if until <= now) {
            self.gate = Gate::Open;
        }
        if self.conn.is_none() {
            return;
        }
        if self.steady.overdue(now, PATIENCE) {
            self.trouble = Some(Trouble::Slow(PATIENCE));
            self.steady.lost(now);
            return;
        }
        let refused = self.refused;
        self.steady.advance(now, refused);
        self.compare_when_idle(now);
        let Some(conn) = &mut self.conn else { return };
        if now.saturating_duration_since(conn.heard) >= DEAD {
            self.trouble = Some(Trouble::Silent);
        } else if conn.number > conn.acked_number && now.saturating_duration_since(conn.last_ack) >= PATIENCE_BEHIND {
            self.trouble = Some(Trouble::Slow(PATIENCE_BEHIND));
        } else if conn.said_hello && now.saturating_duration_since(conn.spoke) >= QUIET {
            conn.spoke = now;
            self.transmit.push_back(SyncFrame::Ping);
        }
        self.pump();
    }

    // ---- What it wants ----

    /// The next message to send.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<SyncFrame> {
        let frame = self.transmit.pop_front();
        if let (Some(_), Some(conn)) = (&frame, &mut self.conn) {
            conn.spoke = now;
        }
        frame
    }

    /// The next thing to do with the database.
    pub fn poll_job(&mut self) -> Option<Job> {
        self.jobs.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let gate = match self.gate {
            Gate::Shut { until } => until,
            Gate::Open => None,
        };
        let conn = self.conn.as_ref().map(|c| {
            let ack = (c.number > c.acked_number).then_some(c.last_ack + PATIENCE_BEHIND);
            let speak = c.said_hello.then_some(c.spoke + QUIET);
            let compare = self.in_step().then_some(c.compare_at);
            [Some(c.heard + DEAD), ack, speak, compare].into_iter().flatten().min()
        });
        [gate, conn.flatten(), self.steady.wake(PATIENCE)].into_iter().flatten().min()
    }

    /// Why the connection should be dropped, if it should.
    pub fn wants_drop(&mut self) -> Option<Trouble> {
        self.trouble.take()
    }

    /// What others may want to know.
    pub fn view(&self) -> View {
        let acked = |o: &OriginId| self.conn.as_ref().and_then(|c| c.acked.get(o)).copied().unwrap_or_default();
        let counted = self.versions.iter().filter(|(o, _)| !self.quarantined.contains(o));
        let lag = counted.map(|(o, seq)| seq.saturating_sub(acked(o))).sum();
        View {
            mode: if self.steady.is_dual() { Mode::Dual } else { Mode::Solo },
            linked: self.conn.as_ref().is_some_and(|c| c.theirs.is_some()),
            acked: acked(&self.origin),
            open: self.gate == Gate::Open,
            sibling: self.sibling,
            lag,
            votes: self.votes,
            alarms: self.alarms.clone(),
        }
    }

    /// Facts that have newly come from the sibling, to be told to whom they concern.
    pub fn take_news(&mut self) -> Vec<crate::store::Fact> {
        std::mem::take(&mut self.news)
    }

    // ---- Introductions ----

    fn on_hello(&mut self, hello: Hello) {
        let Some(conn) = &mut self.conn else { return };
        if conn.theirs.is_some() {
            return self.violation("it introduced itself twice");
        }
        if hello.version != VERSION {
            let text = format!("it speaks version {} of the protocol, and this release {VERSION}", hello.version);
            self.trouble = Some(Trouble::Stranger(text));
            return;
        }
        if hello.tracker_no == self.tracker_no {
            let text = format!(
                "it says that it, too, is tracker {}; start one of them with the other number",
                self.tracker_no
            );
            self.trouble = Some(Trouble::Stranger(text));
            return;
        }
        self.sibling = Some(hello.origin);
        self.jobs.push_back(Job::Compare(hello.heads.to_vec()));
        conn.theirs = Some(hello);
    }

    /// Both have said what they have, and it does not contradict: the stream begins.
    fn introduced(&mut self, now: Instant) {
        let Some(conn) = &mut self.conn else { return };
        let (Some(theirs), Some((ours, floors, votes)), true) = (&conn.theirs, &conn.ours, conn.compared) else {
            return;
        };
        conn.acked = theirs.heads.iter().map(|h| (h.origin, h.seq)).collect();
        conn.sent.clone_from(&conn.acked);
        conn.told = ours.heads.iter().map(|h| (h.origin, h.seq)).collect();
        conn.agreed = if theirs.names == ours.names { *votes } else { 0 };
        let has = |origin: &OriginId| conn.acked.get(origin).copied().unwrap_or_default();
        if floors.iter().any(|(origin, floor)| has(origin) < *floor) {
            conn.facts = Some(Sending { heads: None, cursor: Some(Cursor::default()) });
        }
        conn.wanted_heads = theirs.heads.to_vec();
        conn.dirty = true;
        conn.last_ack = now;
        let ours = self.versions.iter().filter(|(o, _)| !self.quarantined.contains(o));
        self.steady.begin(now, ours.map(|(o, seq)| (*o, *seq)).collect(), &conn.acked);
        let refused = self.refused;
        self.steady.advance(now, refused);
        self.open_when_level();
        self.apply_next();
    }

    /// An empty tracker serves once it has what its sibling had.
    fn open_when_level(&mut self) {
        let Some(conn) = &self.conn else { return };
        if conn.compared && conn.ours.is_some() && self.gate != Gate::Open {
            let level = conn
                .wanted_heads
                .iter()
                .filter(|h| !self.quarantined.contains(&h.origin))
                .all(|h| self.versions.get(&h.origin).is_some_and(|have| *have >= h.seq));
            self.gate = if level { Gate::Open } else { Gate::Shut { until: None } };
        }
    }

    fn on_forked(&mut self, forked: &[OriginId]) {
        for origin in forked {
            tracing::error!(origin = %format_args!("{origin:.8}"), "events of this run differ between the trackers: it is quarantined");
            self.alarms.forked += 1;
            self.refused |= *origin == self.origin;
            self.quarantined.insert(*origin);
            self.transmit.push_back(SyncFrame::Quarantined(*origin));
        }
    }

    // ---- What goes out ----

    /// Starts whatever can be started.
    fn pump(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        let open = conn.compared && conn.ours.is_some() && conn.theirs.is_some();
        if !open || conn.reading || conn.number - conn.acked_number >= WINDOW {
            return;
        }
        if let Some(sending) = &conn.facts {
            let job = match (&sending.heads, &sending.cursor) {
                (None, _) => Job::Heads,
                (Some(_), Some(cursor)) => Job::Facts(cursor.clone()),
                (Some(_), None) => return,
            };
            conn.reading = true;
            self.jobs.push_back(job);
        } else if conn.dirty {
            conn.dirty = false;
            conn.reading = true;
            let after = conn.sent.clone();
            self.jobs.push_back(Job::Outbox { after, votes_after: conn.votes_after, agreed: conn.agreed });
        }
    }

    fn on_outbox(&mut self, now: Instant, out: Outbox) {
        let Some(conn) = &mut self.conn else { return };
        conn.reading = false;
        conn.dirty |= !out.complete;
        for event in &out.events {
            let sent = conn.sent.entry(event.origin).or_default();
            *sent = event.seq.max(*sent);
        }
        conn.votes_after = out.votes_after;
        if !out.events.is_empty() || !out.votes.is_empty() {
            conn.count(now);
            let (events, votes) = (List::first_of(out.events), List::first_of(out.votes));
            self.transmit.push_back(SyncFrame::Batch(Batch { number: conn.number, events, votes }));
        }
    }

    fn on_facts_read(&mut self, now: Instant, packed: Vec<u8>, next: Option<Cursor>) {
        let Some(conn) = &mut self.conn else { return };
        let Some(sending) = &mut conn.facts else { return };
        conn.reading = false;
        let complete = match (&next, &sending.heads) {
            (None, Some(heads)) => {
                for head in heads {
                    let sent = conn.sent.entry(head.origin).or_default();
                    *sent = head.seq.max(*sent);
                }
                Some(List::first_of(heads.iter().copied()))
            }
            _ => None,
        };
        sending.cursor = next;
        if complete.is_some() {
            conn.facts = None;
        }
        conn.count(now);
        let Some(facts) = List::new(packed) else { return self.violation("we made a part that is too long") };
        self.transmit.push_back(SyncFrame::Facts(Facts { number: conn.number, facts, complete }));
    }

    fn on_manifest_read(&mut self, frame: SyncFrame) {
        if let SyncFrame::Manifest(part) = &frame {
            let next = part.first.saturating_add(u32::try_from(part.pieces.len()).unwrap_or(u32::MAX));
            if next < part.layout.count() && !part.pieces.is_empty() {
                self.jobs.push_back(Job::ReadManifest(part.id, next));
            }
        }
        self.transmit.push_back(frame);
    }

    fn on_ack(&mut self, now: Instant, ack: &Ack) {
        let Some(conn) = &mut self.conn else { return };
        if ack.number > conn.number {
            return self.violation("it acknowledged what was not sent");
        }
        conn.acked_number = conn.acked_number.max(ack.number);
        conn.last_ack = now;
        for (origin, seq) in ack.versions.0.iter() {
            let acked = conn.acked.entry(*origin).or_default();
            *acked = (*seq).max(*acked);
        }
        let own = conn.acked.get(&self.origin).copied().unwrap_or_default();
        self.steady.acked(now, own, &conn.acked);
        let refused = self.refused;
        self.steady.advance(now, refused);
    }

    // ---- What comes in ----

    fn on_inbound(&mut self, message: Inbound) {
        let Some(conn) = &mut self.conn else { return };
        // The sibling keeps to its window, so more than twice that is no accident.
        if conn.inbound.len() as u64 > 2 * WINDOW {
            return self.violation("it does not wait for acknowledgements");
        }
        conn.inbound.push_back(message);
        self.apply_next();
    }

    fn apply_next(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        if conn.applying || !conn.compared {
            return;
        }
        let Some(message) = conn.inbound.pop_front() else { return };
        conn.current = Some(match message {
            Inbound::Batch(batch) => {
                let mut events = std::mem::take(&mut conn.held);
                events.extend(batch.events.into_vec());
                events.sort_by_key(|e| (e.hlc, e.origin, e.seq));
                Current::Batch { number: batch.number, events: events.into(), votes: batch.votes.into_vec() }
            }
            Inbound::Facts(facts) => Current::Facts {
                number: facts.number,
                packed: facts.facts.into_vec().into(),
                complete: facts.complete.map(|heads| heads.into_vec().into()),
            },
        });
        self.retry();
    }

    fn retry(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        let job = match &conn.current {
            Some(Current::Batch { events, votes, .. }) => Job::Apply(Arc::clone(events), votes.clone()),
            Some(Current::Facts { packed, complete, .. }) => Job::Join(Arc::clone(packed), complete.clone()),
            None => return,
        };
        conn.applying = true;
        self.jobs.push_back(job);
    }

    fn on_applied(&mut self, now: Instant, mut applied: Applied) {
        let Some(conn) = &mut self.conn else { return };
        conn.applying = false;
        conn.dirty |= applied.votes;
        self.votes += u64::from(applied.votes);
        self.versions.clone_from(&applied.versions);
        self.news.append(&mut applied.facts);
        if applied.ahead_ms > SKEW && applied.ahead_ms > self.alarms.skew_ms {
            tracing::error!(ms = applied.ahead_ms, "the other tracker's clock is ahead of this one's; set both by NTP");
            self.alarms.skew_ms = applied.ahead_ms;
        }
        let Some(current) = conn.current.take() else { return };
        let number = match current {
            Current::Batch { number, events, votes } => {
                let rest = events.get(applied.done..).unwrap_or_default();
                if let Some(missing) = applied.missing {
                    conn.current = Some(Current::Batch { number, events: rest.into(), votes });
                    return self.fetch(missing);
                }
                if !rest.is_empty() {
                    // Came before what it depends on; whatever brings that will try again.
                    conn.held = rest.to_vec();
                    if conn.held.len() > MAX_HELD {
                        return self.violation("its events do not follow on each other");
                    }
                }
                number
            }
            Current::Facts { number, packed, complete } => {
                if let Some(missing) = applied.missing {
                    conn.current = Some(Current::Facts { number, packed, complete });
                    return self.fetch(missing);
                }
                number
            }
        };
        if conn.held.is_empty() {
            let known = |(o, seq): &(OriginId, u64)| *o == self.origin || conn.told.get(o).is_some_and(|t| t >= seq);
            let new: Vec<_> = applied.versions.iter().map(|(o, s)| (*o, *s)).filter(|v| !known(v)).collect();
            for (origin, seq) in &new {
                conn.told.insert(*origin, *seq);
                // It came from there.
                conn.acked.insert(*origin, *seq);
                let sent = conn.sent.entry(*origin).or_default();
                *sent = (*seq).max(*sent);
            }
            self.transmit.push_back(SyncFrame::Ack(Ack { number, versions: VersionVector(List::first_of(new)) }));
        }
        let acked = conn.acked.clone();
        let own = acked.get(&self.origin).copied().unwrap_or_default();
        self.steady.acked(now, own, &acked);
        self.on_forked(&applied.forked);
        self.open_when_level();
        self.apply_next();
    }

    fn fetch(&mut self, id: ManifestId) {
        let Some(conn) = &mut self.conn else { return };
        conn.applying = true;
        conn.fetching = Some((id, Vec::new()));
        self.transmit.push_back(SyncFrame::WantManifest(id.0));
    }

    fn on_manifest(&mut self, part: ManifestPart) {
        let Some(conn) = &mut self.conn else { return };
        let Some((id, parts)) = &mut conn.fetching else {
            return self.violation("it sent a manifest that nobody asked for");
        };
        let have: usize = parts.iter().map(|p| p.pieces.len()).sum();
        if part.id != id.0 || part.first as usize != have || parts.len() > MAX_PARTS {
            return self.violation("it sent a manifest out of order");
        }
        let have = have + part.pieces.len();
        let (all, empty) = (part.layout.count() as usize, part.pieces.is_empty());
        parts.push(part);
        if have >= all {
            let job = Job::StoreManifest(*id, std::mem::take(parts));
            self.jobs.push_back(job);
        } else if empty {
            self.violation("it sent a manifest with a gap");
        }
    }

    // ---- Comparing ----

    /// Whether both have the same, as far as is known.
    fn in_step(&self) -> bool {
        self.conn.as_ref().is_some_and(|c| {
            c.compared
                && c.facts.is_none()
                && !c.dirty
                && !c.applying
                && !c.reading
                && c.inbound.is_empty()
                && c.number == c.acked_number
                && !c.digesting
                && c.acked == self.versions
        })
    }

    fn compare_when_idle(&mut self, now: Instant) {
        if !self.in_step() {
            return;
        }
        let Some(conn) = &mut self.conn else { return };
        if conn.compare_at <= now {
            conn.compare_at = now + COMPARE_EVERY;
            conn.digesting = true;
            self.jobs.push_back(Job::Digest);
        }
    }

    fn on_digest(&mut self, theirs: StateDigest) {
        let Some(conn) = &mut self.conn else { return };
        let same: Versions = theirs.versions.0.iter().copied().collect();
        if same == self.versions && conn.digest_of.is_none() {
            conn.digest_of = Some(theirs);
            self.jobs.push_back(Job::Digest);
        }
    }

    fn on_digest_read(&mut self, versions: Versions, buckets: Vec<u64>) {
        let Some(conn) = &mut self.conn else { return };
        if let Some(theirs) = conn.digest_of.take() {
            let same: Versions = theirs.versions.0.iter().copied().collect();
            let differing: Vec<usize> =
                (0..buckets.len()).filter(|i| theirs.buckets.get(*i) != buckets.get(*i)).collect();
            if same == versions && !differing.is_empty() {
                self.alarms.differing += 1;
                tracing::error!(
                    parts = differing.len(),
                    "the trackers have the same events and not the same state: mending it"
                );
                self.jobs.push_back(Job::ReadParts(differing));
            }
            if !conn.digesting {
                return;
            }
        }
        conn.digesting = false;
        let versions = VersionVector(List::first_of(versions));
        self.transmit.push_back(SyncFrame::Digest(StateDigest { versions, buckets: List::first_of(buckets) }));
    }

    fn violation(&mut self, what: &'static str) {
        self.trouble = Some(Trouble::Violation(what));
    }
}

impl Conn {
    /// One more batch or part is sent.
    fn count(&mut self, now: Instant) {
        if self.number == self.acked_number {
            self.last_ack = now;
        }
        self.number += 1;
    }

    fn new(now: Instant) -> Self {
        Self {
            said_hello: false,
            theirs: None,
            ours: None,
            compared: false,
            sent: Versions::new(),
            acked: Versions::new(),
            told: Versions::new(),
            votes_after: 0,
            agreed: 0,
            number: 0,
            acked_number: 0,
            dirty: false,
            reading: false,
            facts: None,
            inbound: VecDeque::new(),
            applying: false,
            held: Vec::new(),
            current: None,
            fetching: None,
            wanted_heads: Vec::new(),
            heard: now,
            spoke: now,
            last_ack: now,
            compare_at: now,
            digest_of: None,
            digesting: false,
        }
    }
}
