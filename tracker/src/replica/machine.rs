//! Synchronisation with the sibling as a state machine: no sockets, no database, no clock of its own.
//!
//! It is told of connections, messages, finished jobs, commits and the time, and says what to send
//! ([`Machine::poll_transmit`]), what to do with the database ([`Machine::poll_job`]), when to wake it
//! ([`Machine::poll_timeout`]) and when the connection is worth nothing any more ([`Machine::wants_drop`]).
//!
//! Invariants: messages of the sibling are handled in the order they came, one at a time. A vote is read from the
//! disk before it is shipped. Nothing is acknowledged before it is on disk. The mode is dual only
//! while the sibling acknowledges everything within [`PATIENCE`].

mod compare;
mod conn;
mod introduce;
mod job;
mod receive;
mod send;
mod trees;

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use common::id::OriginId;
use common::wire::client::Mode;
use common::wire::limits::{List, MAX_PRESENCE};
use common::wire::sync::{Facts, Presence, SyncFrame};

use super::batch_sizer::BatchSizer;
use super::mode_hysteresis::ModeHysteresis;
use crate::store::{StampedFact, Versions};
use conn::{Conn, Fetching, Inbound};
pub use job::{Done, Job};

/// How long a command waits for the sibling; then it is away.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How long the sibling may take to acknowledge while nobody waits for it, besides the time on the slowest line.
const PATIENCE_BEHIND: Duration = Duration::from_secs(10);
/// Silence after which a sign of life is asked for, and after which the connection is given up.
const QUIET: Duration = Duration::from_secs(1);
const DEAD: Duration = Duration::from_secs(4);
/// How long an empty tracker waits for the first word of a sibling that may have everything.
pub const FIRST_CONTACT: Duration = Duration::from_secs(2);

/// Jobs that have not ended, before no further message is taken. One that is taken may ask for several.
const MAX_JOBS: usize = 16;
/// How often each tells the other what its clock says.
const CLOCK_EVERY: Duration = Duration::from_secs(15);
/// What an announcement weighs on the line, about, in bytes.
const ANNOUNCEMENT_BYTES: usize = 64;
/// Of how many comparisons the best counts.
const CLOCKS_COMPARED: usize = 4;

/// Why the connection is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It did not acknowledge in time.
    #[error("it did not acknowledge within {} s", .0.as_secs())]
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
    /// Since when.
    pub mode_since: Instant,
    /// Whether there is a connection.
    pub linked: bool,
    /// The last event of this run that the sibling has on disk.
    pub acked: u64,
    /// Whether commands may be served.
    pub open: bool,
    /// Whether everything is here that the sibling had when it was last met; not while it is away.
    pub level: bool,
    /// The sibling's present run, when it was last heard of.
    pub sibling: Option<OriginId>,
    /// Events that the sibling is known to lack.
    pub lag: u64,
    /// Counts what the sibling's votes have changed.
    pub votes: u64,
    /// What an operator should know.
    pub alarms: Alarms,
}

impl View {
    /// Of a tracker that serves by itself since `mode_since`.
    pub(super) fn alone(mode_since: Instant) -> Self {
        Self {
            mode: Mode::Solo,
            mode_since,
            linked: false,
            acked: 0,
            open: true,
            level: true,
            sibling: None,
            lag: 0,
            votes: 0,
            alarms: Alarms::default(),
        }
    }
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
    /// By how many seconds the sibling's clock is ahead of this one's, or behind it if that is negative; as far as the
    /// delay of the line lets it be known, and the sibling tells.
    pub clock_ahead_s: Option<i64>,
}

/// The state machine of one tracker.
#[derive(Debug)]
pub struct Machine {
    tracker_no: u16,
    origin: OriginId,
    versions: Versions,
    conn: Option<Conn>,
    hysteresis: ModeHysteresis,
    gate: Gate,
    sibling: Option<OriginId>,
    /// What it had when the last connection ended.
    had: Versions,
    // What outlives a connection, so that a line that breaks again and again carries everything over in the end.
    sizer: BatchSizer,
    resume: Option<send::Resume>,
    /// The manifest that was being fetched, as far as it had come.
    partial_manifest: Option<Fetching>,
    /// New passwords among facts, until all facts have come.
    passwords: Vec<StampedFact>,
    mode: (Mode, Instant),
    /// Milliseconds since 1970, when that was last told.
    wall_ms: u64,
    /// How far the sibling's clock was ahead, the latest last, in milliseconds.
    clocks: VecDeque<i64>,
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
    news: Vec<StampedFact>,
    /// Who is connected to the sibling, as it says.
    presence: VecDeque<Presence>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// Empty; the sibling may have everything.
    Shut {
        until: Instant,
    },
    /// The sibling has said that it has what is lacking here: nothing but that opens it.
    Behind,
}

impl Machine {
    /// A tracker that has `versions` on disk, and a sibling somewhere.
    pub fn new(tracker_no: u16, origin: OriginId, versions: Versions, now: Instant) -> Self {
        let gate = if versions.is_empty() { Gate::Shut { until: now + FIRST_CONTACT } } else { Gate::Open };
        Self {
            tracker_no,
            origin,
            versions,
            conn: None,
            hysteresis: ModeHysteresis::default(),
            gate,
            sibling: None,
            had: Versions::new(),
            sizer: BatchSizer::default(),
            resume: None,
            partial_manifest: None,
            passwords: Vec::new(),
            mode: (Mode::Solo, now),
            wall_ms: 0,
            clocks: VecDeque::new(),
            quarantined: HashSet::new(),
            refused: false,
            transmit: VecDeque::new(),
            jobs: VecDeque::new(),
            trouble: None,
            alarms: Alarms::default(),
            votes: 0,
            news: Vec::new(),
            presence: VecDeque::new(),
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
        self.sizer.disconnected();
        if let Some(conn) = self.conn.take() {
            if conn.is_introduced() {
                self.had = conn.acked;
            }
            self.partial_manifest =
                conn.fetching.filter(|fetching| !fetching.parts.is_empty()).or(self.partial_manifest.take());
            self.clocks.clear();
            self.hysteresis.lost(now);
            self.note_mode(now);
            if let Gate::Shut { until } = &mut self.gate {
                *until = now + FIRST_CONTACT;
            }
        }
    }

    /// Nobody listens where the sibling should be.
    pub fn unreachable(&mut self) {
        if self.conn.is_none() && self.gate != Gate::Behind {
            self.gate = Gate::Open;
        }
    }

    /// This is on disk here now.
    pub fn committed(&mut self, now: Instant, versions: &Versions) {
        if self.versions == *versions {
            return;
        }
        self.note_own(now, versions);
        self.versions.clone_from(versions);
        if let Some(conn) = &mut self.conn {
            conn.dirty = true;
        }
        self.pump();
    }

    /// If this tracker has more of its own than was known, it is to be sent, and acknowledged in time. To be called
    /// wherever `versions` may have news: a command that is committed while something of the sibling's is applied is
    /// first seen there.
    fn note_own(&mut self, now: Instant, versions: &Versions) {
        let own = versions.get(&self.origin).copied().unwrap_or_default();
        let known = self.versions.get(&self.origin).copied().unwrap_or_default();
        if let Some(conn) = self.conn.as_mut().filter(|_| own > known) {
            conn.dirty = true;
            self.hysteresis.owes(now, own);
        }
    }

    /// Part of a message has come. However slow the line is, the sibling is there.
    pub fn arriving(&mut self, now: Instant) {
        if let Some(conn) = &mut self.conn {
            conn.heard = now;
        }
    }

    /// What the wall clock says, in milliseconds since 1970: only to be compared with the sibling's.
    pub fn tell_wall_clock(&mut self, wall_ms: u64) {
        self.wall_ms = wall_ms;
    }

    /// Changes of who is connected here, to be told to the sibling; see [`Self::wants_presence`].
    pub fn tell_presence(&mut self, now: Instant, changes: Presence) {
        let bytes = (changes.here.len() + changes.gone.len()) * ANNOUNCEMENT_BYTES;
        let pace = self.sizer.share_of_line(bytes);
        if let Some(conn) = &mut self.conn {
            conn.presence_at = now + pace;
            self.transmit.push_back(SyncFrame::Presence(changes));
        }
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
            SyncFrame::WantManifest(id) => self.on_want_manifest(now, id, None),
            SyncFrame::WantManifestFrom { id, first } => self.on_want_manifest(now, id, Some(first)),
            SyncFrame::Presence(changes) => self.presence.push_back(changes),
            SyncFrame::Clock(theirs) => self.on_clock(theirs),
            SyncFrame::Manifest(part) => self.on_manifest(part),
            SyncFrame::NoManifest(id) => self.on_no_manifest(id),
            SyncFrame::Digest(digest) => self.on_digest(digest),
            SyncFrame::Repair(facts) => self.jobs.push_back(Job::Mend(facts.facts.into_vec().into())),
            SyncFrame::Quarantined(origin) => {
                self.refused |= origin == self.origin;
                self.quarantined.insert(origin);
                self.alarms.forked += 1;
                self.jobs.push_back(Job::Quarantine(origin));
            }
            SyncFrame::Ping => conn.pong_due = true,
            SyncFrame::Pong => {}
            SyncFrame::FolderManifest { part, tree } => self.on_folder_manifest(part, tree),
            SyncFrame::WantTree { tree, offset } => self.on_want_tree(now, tree, offset),
            SyncFrame::Tree(part) => self.on_tree(part),
            SyncFrame::NoTree(tree) => self.on_no_tree(tree),
        }
        self.pump();
    }

    /// A job has ended.
    pub fn handle_done(&mut self, now: Instant, done: Done) {
        let Some(conn) = &mut self.conn else { return };
        conn.running = conn.running.saturating_sub(1);
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
            Done::Manifest(frame) => self.on_manifest_read(now, frame),
            Done::Stored => {
                conn.fetching = None;
                conn.applying = false;
                self.retry();
            }
            Done::TreeFound(have) => self.on_tree_found(have),
            Done::Lacking(manifests) => {
                conn.lacking = manifests.into();
                self.apply_next();
            }
            Done::Quarantined => {}
            Done::Digest(versions, buckets) => self.on_digest_read(versions, buckets),
            Done::Parts(parts) => {
                conn.reading_parts = false;
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
        if matches!(self.gate, Gate::Shut { until } if until <= now) {
            self.gate = Gate::Open;
        }
        if self.conn.is_none() {
            return;
        }
        if self.hysteresis.overdue(now, PATIENCE) {
            // Nobody waits for it any more. What is on its way may still arrive: the line is slow, or it is dead,
            // which silence will tell.
            let ours = self.countable().collect();
            self.hysteresis.fell_behind(now, ours);
        }
        self.advance(now);
        self.compare_when_idle(now);
        let (takes, patience) = (self.takes_messages(), self.patience_behind());
        let Some(conn) = &mut self.conn else { return };
        if !takes {
            // Not listened to, it cannot be blamed for silence.
            conn.heard = now;
        }
        if conn.revision > 0 && conn.clock_at <= now && conn.said_hello {
            conn.clock_at = now + CLOCK_EVERY;
            self.transmit.push_back(SyncFrame::Clock(self.wall_ms));
        }
        if now.saturating_duration_since(conn.heard) >= DEAD {
            self.trouble = Some(Trouble::Silent);
        } else if conn.number > conn.acked_number && now.saturating_duration_since(conn.last_ack) >= patience {
            self.trouble = Some(Trouble::Slow(patience));
        } else if conn.said_hello && now.saturating_duration_since(conn.spoke) >= QUIET {
            conn.spoke = now;
            self.transmit.push_back(SyncFrame::Ping);
        }
        self.pump();
    }

    // ---- What it wants ----

    /// The next message to send.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<SyncFrame> {
        let pong_due = self.conn.as_mut().is_some_and(|conn| std::mem::take(&mut conn.pong_due));
        let frame = if pong_due { Some(SyncFrame::Pong) } else { self.transmit.pop_front() };
        if let (Some(_), Some(conn)) = (&frame, &mut self.conn) {
            conn.spoke = now;
        }
        // What waits for the way to be free.
        self.pump();
        frame
    }

    /// Whether another message may be handled: not while the database has much to do for those before.
    pub fn takes_messages(&self) -> bool {
        self.jobs.len() + self.conn.as_ref().map_or(0, |conn| conn.running) < MAX_JOBS
    }

    /// How many changes of who is connected here may be told to the sibling now; none, if it does not listen or
    /// something waits before that. Half of the line is left to what is acknowledged.
    pub fn wants_presence(&self, now: Instant) -> usize {
        let listens = |conn: &Conn| conn.compared && conn.revision > 0 && conn.presence_at <= now;
        match &self.conn {
            Some(conn) if self.transmit.is_empty() && listens(conn) => {
                (self.sizer.limit() / ANNOUNCEMENT_BYTES).clamp(1, MAX_PRESENCE)
            }
            _ => 0,
        }
    }

    /// Whether the sibling of this connection is ready to hear who is connected here.
    pub fn listens_to_presence(&self) -> bool {
        self.conn.as_ref().is_some_and(|conn| conn.compared && conn.revision > 0)
    }

    /// The next thing to do with the database.
    pub fn poll_job(&mut self) -> Option<Job> {
        let job = self.jobs.pop_front();
        if let (Some(_), Some(conn)) = (&job, &mut self.conn) {
            conn.running += 1;
        }
        job
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let gate = match self.gate {
            Gate::Shut { until } => Some(until),
            Gate::Behind | Gate::Open => None,
        };
        let conn = self.conn.as_ref().map(|c| {
            let ack = (c.number > c.acked_number).then(|| c.last_ack + self.patience_behind());
            let clock = (c.said_hello && c.revision > 0).then_some(c.clock_at);
            let speak = c.said_hello.then_some(c.spoke + QUIET);
            let compare = self.in_step().then_some(c.compare_at);
            [Some(c.heard + DEAD), ack, speak, compare, clock].into_iter().flatten().min()
        });
        [gate, conn.flatten(), self.hysteresis.wake(PATIENCE)].into_iter().flatten().min()
    }

    /// Why the connection should be dropped, if it should.
    pub fn wants_drop(&mut self) -> Option<Trouble> {
        self.trouble.take()
    }

    /// What others may want to know.
    pub fn view(&self) -> View {
        let acked = |o: &OriginId| self.conn.as_ref().and_then(|c| c.acked.get(o)).copied().unwrap_or_default();
        let conn = self.conn.as_ref().filter(|c| c.is_introduced());
        let known = conn.map_or(&self.had, |c| &c.acked);
        let lag = self.countable().map(|(o, seq)| seq.saturating_sub(known.get(&o).copied().unwrap_or_default())).sum();
        View {
            mode: self.mode_now(),
            mode_since: self.mode.1,
            linked: conn.is_some(),
            acked: acked(&self.origin),
            open: self.gate == Gate::Open,
            level: self.is_level(),
            sibling: self.sibling,
            lag,
            votes: self.votes,
            alarms: self.alarms.clone(),
        }
    }

    /// Facts that have newly come from the sibling, to be told to whom they concern.
    pub fn take_news(&mut self) -> Vec<StampedFact> {
        std::mem::take(&mut self.news)
    }

    /// Who has come and gone at the sibling, the earliest first.
    pub fn take_presence(&mut self) -> Option<Presence> {
        self.presence.pop_front()
    }

    // ---- Within ----

    const fn mode_now(&self) -> Mode {
        if self.hysteresis.is_dual() { Mode::Dual } else { Mode::Solo }
    }

    fn note_mode(&mut self, now: Instant) {
        if self.mode.0 != self.mode_now() {
            self.mode = (self.mode_now(), now);
        }
    }

    /// Moves to dual if the time has come.
    fn advance(&mut self, now: Instant) {
        self.hysteresis.advance(now, self.refused);
        self.note_mode(now);
    }

    /// What is here, but for runs of which nothing is sent.
    fn countable(&self) -> impl Iterator<Item = (OriginId, u64)> {
        self.versions.iter().filter(|(o, _)| !self.quarantined.contains(o)).map(|(o, seq)| (*o, *seq))
    }

    /// How long the sibling may take for the next acknowledgement, if nobody waits for it.
    fn patience_behind(&self) -> Duration {
        let serving = self.conn.as_ref().and_then(|conn| conn.serving.as_ref()?.sent).map_or(0, |(_, bytes)| bytes);
        PATIENCE_BEHIND + self.sizer.slowest(serving)
    }

    /// The delay of the line makes the sibling's clock seem late, never early: the earliest of the last few is nearest.
    fn on_clock(&mut self, theirs: u64) {
        if self.clocks.len() >= CLOCKS_COMPARED {
            self.clocks.pop_front();
        }
        self.clocks.push_back(theirs.cast_signed().saturating_sub(self.wall_ms.cast_signed()));
        self.alarms.clock_ahead_s = self.clocks.iter().max().map(|ms| ms / 1000);
    }

    fn violation(&mut self, what: &'static str) {
        self.trouble = Some(Trouble::Violation(what));
    }
}

#[cfg(test)]
mod tests;
