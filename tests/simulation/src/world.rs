//! The scheduler: virtual time, one event after the other, all chance from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use common::id::{GroupId, OriginId, UserId};
use common::wire::client::Mode;
use common::wire::limits::List;
use common::wire::sync::{Batch, SyncFrame};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tracker::replica::machine::{Done, Job, PATIENCE};
use tracker::store::{Change, LogBounds, StoreError, Written};

use crate::check::{self, Confirmed};
use crate::faults::{Fault, Plan};
use crate::node::Node;
use crate::op::{Op, What, bytes};
use crate::wire::{Arrival, Wire};

/// How long faults and commands go on, in virtual time.
const ACT: Duration = Duration::from_secs(60);
/// How long it may take afterwards until both agree: more than it takes to notice a dead connection, and to
/// compare the two states.
const SETTLE: Duration = Duration::from_secs(240);
/// What a command may wait beyond its patience, for the scheduler's own steps.
const SLACK: Duration = Duration::from_millis(100);
/// Events between two looks at the disks.
const LOOK_EVERY: u64 = 40;

/// What a run has seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Commands that had an effect.
    pub commands: u64,
    /// Acknowledged as being on both disks.
    pub dual: u64,
    /// Acknowledged as being on one.
    pub solo: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Processes that were started.
    pub starts: u64,
    /// Frames that arrived.
    pub frames: u64,
    /// Messages with facts instead of events.
    pub facts: u64,
    /// Runs in which the events, applied anew, were compared with the state.
    pub replayed: u64,
    /// Faults that struck.
    pub faults: u64,
}

impl Report {
    /// The sum of both.
    pub fn add(&mut self, other: &Self) {
        self.commands += other.commands;
        self.dual += other.dual;
        self.solo += other.solo;
        self.connections += other.connections;
        self.starts += other.starts;
        self.frames += other.frames;
        self.facts += other.facts;
        self.replayed += other.replayed;
        self.faults += other.faults;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commands, dual, solo, connections, starts, frames, facts, replayed, faults } = self;
        write!(
            f,
            "{faults} faults, {commands} commands ({dual} dual, {solo} solo), {starts} starts, {connections} connections, {frames} frames \
             ({facts} of facts), {replayed} replays"
        )
    }
}

/// An acknowledgement that a client was given.
struct Acknowledged {
    dual: bool,
    origin: OriginId,
    seq: u64,
}

/// A command that waits for its acknowledgement.
struct Waiting {
    op: Op,
    origin: OriginId,
    seq: u64,
    since: Duration,
}

enum Event {
    Job(usize),
    Arrival(usize),
    Timeout(usize),
    Dial,
    Probe,
    Restart(usize),
    Command,
    Fault,
    Flap,
    Again,
}

struct World {
    rng: fastrand::Rng,
    rt: Runtime,
    _dir: TempDir,
    base: Instant,
    now: Duration,
    nodes: [Node; 2],
    /// Towards each node.
    wires: [Wire; 2],
    conn: u64,
    dial_at: Duration,
    probe_at: Duration,
    restart_at: [Option<Duration>; 2],
    // What is to happen.
    commands: Vec<Duration>,
    faults: Vec<(Duration, Fault)>,
    again: Vec<(Duration, usize, Op)>,
    armed: Option<(usize, Fault)>,
    flap: Option<(Duration, Duration)>,
    last_batch: Option<Batch>,
    // What clients know.
    users: Vec<UserId>,
    groups: Vec<GroupId>,
    waiting: [Vec<Waiting>; 2],
    acknowledged: Vec<Acknowledged>,
    // What is checked.
    behind: Option<usize>,
    names_hold: bool,
    confirmed: Confirmed,
    told: [Confirmed; 2],
    ended: [BTreeSet<[u8; 16]>; 2],
    events: u64,
    report: Report,
    loud: bool,
}

/// Plays one run.
///
/// # Panics
/// When something does not hold.
pub fn run(plan: &Plan, seed: u64) -> Report {
    let mut world = World::new(plan, seed);
    world.start(0);
    world.start(1);
    while world.now < ACT || world.busy() {
        world.step();
    }
    world.heal();
    world.settle();
    let report = world.report;
    if plan.certain.is_empty() && plan.random == 0 {
        assert_eq!(report.connections, 1, "a connection was dropped, and nothing had happened");
    }
    for node in &mut world.nodes {
        node.kill(&world.rt);
    }
    report
}

impl World {
    fn new(plan: &Plan, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let shm = std::path::Path::new("/dev/shm");
        let dir = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.expect("a directory");
        let at = |rng: &mut fastrand::Rng| ACT.mul_f64(rng.f64());
        let mut commands: Vec<Duration> = (0..plan.commands).map(|_| at(&mut rng)).collect();
        commands.sort_unstable_by(|a, b| b.cmp(a));
        let mut times: Vec<Duration> = plan.certain.iter().map(|_| at(&mut rng)).collect();
        times.sort_unstable();
        let mut faults: Vec<_> = times.into_iter().zip(plan.certain.iter().copied()).collect();
        for _ in 0..plan.random {
            faults.push((at(&mut rng), Plan::chance(&mut rng)));
        }
        faults.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Self {
            rt: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
            base: Instant::now(),
            now: Duration::ZERO,
            nodes: [Node::new(1, dir.path()), Node::new(2, dir.path())],
            wires: [Wire::default(), Wire::default()],
            conn: 0,
            dial_at: Duration::ZERO,
            probe_at: Duration::ZERO,
            restart_at: [None; 2],
            commands,
            faults,
            again: Vec::new(),
            armed: None,
            flap: None,
            last_batch: None,
            users: Vec::new(),
            groups: Vec::new(),
            waiting: [Vec::new(), Vec::new()],
            acknowledged: Vec::new(),
            behind: None,
            names_hold: true,
            confirmed: BTreeMap::new(),
            told: [BTreeMap::new(), BTreeMap::new()],
            ended: [BTreeSet::new(), BTreeSet::new()],
            events: 0,
            report: Report::default(),
            loud: std::env::var_os("SIMULATION_TRACE").is_some(),
            _dir: dir,
            rng,
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.loud {
            #[allow(clippy::print_stderr, reason = "asked for")]
            {
                eprintln!("{:>9.3} {}", self.now.as_secs_f64(), what());
            }
        }
    }

    fn instant(&self) -> Instant {
        self.base + self.now
    }

    fn busy(&self) -> bool {
        !self.faults.is_empty() || !self.commands.is_empty()
    }

    // ---- Time ----

    /// Whatever is due first.
    fn next(&self) -> Option<(Duration, Event)> {
        let mut all: Vec<(Duration, Event)> = Vec::new();
        for i in 0..2 {
            let stalled = self.nodes[i].stalled_until;
            if let Some(p) = &self.nodes[i].process {
                all.extend(p.jobs.iter().map(|(at, _)| *at).min().map(|at| (at.max(stalled), Event::Job(i))));
                let wake = p.machine.poll_timeout().map(|w| w.saturating_duration_since(self.base));
                all.extend(wake.map(|at| (at.max(stalled), Event::Timeout(i))));
            }
            all.extend(self.wires[i].next().map(|at| (at.max(stalled), Event::Arrival(i))));
            all.extend(self.restart_at[i].map(|at| (at, Event::Restart(i))));
        }
        if self.nodes[0].process.as_ref().is_some_and(|p| p.conn.is_none()) {
            all.push((self.dial_at.max(self.nodes[0].stalled_until), Event::Dial));
        }
        if self.nodes[1].process.as_ref().is_some_and(|p| p.conn.is_none() && !p.machine.view().open) {
            all.push((self.probe_at.max(self.nodes[1].stalled_until), Event::Probe));
        }
        all.extend(self.commands.last().map(|at| (*at, Event::Command)));
        all.extend(self.faults.last().map(|(at, _)| (*at, Event::Fault)));
        all.extend(self.flap.map(|(at, _)| (at, Event::Flap)));
        all.extend(self.again.iter().map(|(at, ..)| *at).min().map(|at| (at, Event::Again)));
        all.into_iter().min_by_key(|(at, _)| *at)
    }

    fn step(&mut self) {
        let Some((at, event)) = self.next() else {
            self.now += Duration::from_secs(1);
            return;
        };
        self.now = self.now.max(at);
        self.nodes.iter().for_each(|n| n.tell_time(self.now));
        match event {
            Event::Job(i) => self.job(i),
            Event::Arrival(i) => self.arrival(i),
            Event::Timeout(i) => {
                let now = self.instant();
                if let Some(p) = &mut self.nodes[i].process {
                    p.machine.handle_timeout(now);
                }
                self.pump(i);
            }
            Event::Dial => self.dial(),
            Event::Probe => {
                self.probe_at = self.now + Duration::from_millis(200);
                let absent = self.nodes[0].process.is_none();
                if let (true, Some(p)) = (absent, &mut self.nodes[1].process) {
                    p.machine.unreachable();
                }
            }
            Event::Restart(i) => self.start(i),
            Event::Command => {
                self.commands.pop();
                let op = Op::new(&mut self.rng, &self.users, &self.groups);
                let node = self.rng.usize(0..2);
                self.command(node, op);
            }
            Event::Again => {
                if let Some(at) = (0..self.again.len()).min_by_key(|i| self.again[*i].0) {
                    let (_, node, op) = self.again.swap_remove(at);
                    self.command(node, op);
                }
            }
            Event::Fault => {
                if let Some((_, fault)) = self.faults.pop() {
                    self.fault(fault);
                }
            }
            Event::Flap => {
                self.drop_connection(0);
                self.flap = self.flap.map(|(_, until)| (self.now + Duration::from_secs(1), until));
                self.flap = self.flap.filter(|(at, until)| at < until);
            }
        }
        self.events += 1;
        if self.events.is_multiple_of(LOOK_EVERY) {
            self.look();
        }
        self.nobody_waits_too_long();
    }

    // ---- Processes ----

    fn start(&mut self, i: usize) {
        self.restart_at[i] = None;
        if self.nodes[i].process.is_some() {
            return;
        }
        let origin = OriginId::new(bytes(&mut self.rng));
        let now = self.instant();
        self.nodes[i].start(origin, now);
        self.report.starts += 1;
        self.say(|| format!("tracker {} starts as {origin:.8}", i + 1));
    }

    fn kill(&mut self, i: usize, away: Duration) {
        if self.nodes[i].process.is_none() {
            return;
        }
        self.say(|| format!("tracker {} is killed", i + 1));
        let conn = self.nodes[i].process.as_ref().and_then(|p| p.conn);
        self.nodes[i].kill(&self.rt);
        self.wires[i].lose();
        if let Some(conn) = conn {
            // What it had sent and the other not read may be lost with it.
            if self.rng.bool() {
                self.wires[1 - i].lose();
            }
            self.wires[1 - i].send(self.now, Duration::from_millis(1), conn, Arrival::Closed);
        }
        for w in std::mem::take(&mut self.waiting[i]) {
            // The client asks the other one, under the same id.
            self.again.push((self.now + Duration::from_millis(self.rng.u64(1..2000)), 1 - i, w.op));
        }
        self.restart_at[i] = Some(self.now + away);
    }

    fn kill_for_a_while(&mut self, i: usize) {
        let away = Duration::from_millis(self.rng.u64(20..6000));
        self.kill(i, away);
    }

    fn dial(&mut self) {
        self.dial_at = self.now + Duration::from_millis(self.rng.u64(50..1000));
        let cut = self.wires.iter().any(|w| w.cut_until > self.now);
        if cut || self.nodes[1].stalled_until > self.now {
            return;
        }
        if self.nodes[1].process.is_none() {
            if let Some(p) = &mut self.nodes[0].process {
                p.machine.unreachable();
            }
            return;
        }
        self.conn += 1;
        self.report.connections += 1;
        let (now, conn) = (self.instant(), self.conn);
        self.say(|| format!("connection {conn}"));
        for i in 0..2 {
            let number = self.nodes[i].number;
            if let Some(p) = &mut self.nodes[i].process {
                p.machine.disconnected(now);
                p.drain(number, &self.rt);
                p.conn = Some(conn);
                p.machine.connected(now);
                p.machine.committed(now, &check::versions(&p.store));
            }
        }
        self.pump(0);
        self.pump(1);
    }

    fn drop_connection(&mut self, i: usize) {
        let (now, number) = (self.instant(), self.nodes[i].number);
        let Some(p) = &mut self.nodes[i].process else { return };
        let Some(conn) = p.conn.take() else { return };
        p.machine.disconnected(now);
        p.drain(number, &self.rt);
        self.wires[1 - i].send(self.now, Duration::from_millis(1), conn, Arrival::Closed);
        self.dial_at = self.now + Duration::from_millis(self.rng.u64(25..100));
        self.release(i);
    }

    // ---- What happens to a process ----

    /// Lets a state machine have what it wants.
    fn pump(&mut self, i: usize) {
        let now = self.instant();
        let Some(p) = &mut self.nodes[i].process else { return };
        if let Some(trouble) = p.machine.wants_drop() {
            self.say(|| format!("tracker {} drops the connection: {trouble}", i + 1));
            return self.drop_connection(i);
        }
        let disk = self.nodes[i].disk;
        let Some(p) = &mut self.nodes[i].process else { return };
        while let Some(job) = p.machine.poll_job() {
            let takes = Duration::from_micros(self.rng.u64(50..3000)) + disk;
            p.jobs.push_back((self.now + takes, job));
        }
        let Some(conn) = p.conn else { return };
        while let Some(frame) = p.machine.poll_transmit(now) {
            let delay = Duration::from_micros(self.rng.u64(50..5000));
            self.wires[1 - i].send(self.now, delay, conn, Arrival::Frame(Box::new(frame)));
        }
        let _ = p.machine.take_news();
        self.release(i);
    }

    fn job(&mut self, i: usize) {
        let (number, full) = (self.nodes[i].number, self.nodes[i].full_until > self.now);
        let Some(p) = &mut self.nodes[i].process else { return };
        let Some(at) = (0..p.jobs.len()).min_by_key(|j| p.jobs[*j].0) else { return };
        let Some((_, job)) = p.jobs.remove(at) else { return };
        let takes_in = matches!(job, Job::Apply(..) | Job::Join(..));
        let snapshot = matches!(job, Job::Facts(_) | Job::Join(..));
        if self.hit(i, Fault::KillBeforeCommit, takes_in) {
            return self.kill_for_a_while(i);
        }
        let Some(p) = &mut self.nodes[i].process else { return };
        let done = if full && (takes_in || matches!(job, Job::StoreManifest(..) | Job::Compare(_))) {
            Done::Failed("the disk is full".to_owned())
        } else {
            p.do_job(number, &self.rt, job)
        };
        if self.hit(i, Fault::KillAfterCommit, takes_in) || self.hit(i, Fault::KillInSnapshot, snapshot) {
            return self.kill_for_a_while(i);
        }
        let now = self.instant();
        let Some(p) = &mut self.nodes[i].process else { return };
        p.machine.handle_done(now, done);
        p.machine.committed(now, &check::versions(&p.store));
        self.pump(i);
    }

    fn arrival(&mut self, i: usize) {
        let Some((conn, what)) = self.wires[i].take() else { return };
        if self.nodes[i].process.as_ref().is_none_or(|p| p.conn != Some(conn)) {
            return;
        }
        match what {
            Arrival::Closed => self.drop_connection(i),
            Arrival::Frame(frame) => {
                if self.hit(i, Fault::KillAfterShip, matches!(*frame, SyncFrame::Ack(_))) {
                    return self.kill_for_a_while(i);
                }
                for frame in self.tamper(i, *frame) {
                    self.say(|| {
                        format!("to {}: {}", i + 1, format!("{frame:?}").chars().take(100).collect::<String>())
                    });
                    self.report.frames += 1;
                    self.report.facts += u64::from(matches!(frame, SyncFrame::Facts(_)));
                    let now = self.instant();
                    if let Some(p) = &mut self.nodes[i].process {
                        p.machine.handle_message(now, frame);
                    }
                    self.pump(i);
                }
            }
        }
    }

    /// Whether the fault that is armed for this node strikes here.
    fn hit(&mut self, i: usize, fault: Fault, here: bool) -> bool {
        let hit = here && self.armed == Some((i, fault)) && self.rng.u8(0..3) == 0;
        if hit {
            self.armed = None;
            self.report.faults += 1;
        }
        hit
    }

    /// What becomes of a message on its way.
    fn tamper(&mut self, i: usize, frame: SyncFrame) -> Vec<SyncFrame> {
        let SyncFrame::Batch(batch) = frame else { return vec![frame] };
        let fault = match self.armed {
            Some((_, f @ (Fault::Duplicate | Fault::Reorder | Fault::Replay | Fault::Malform))) => f,
            _ => {
                self.last_batch = Some(batch.clone());
                return vec![SyncFrame::Batch(batch)];
            }
        };
        self.armed = None;
        self.report.faults += 1;
        self.say(|| format!("{fault:?} on the way to tracker {}", i + 1));
        let (number, mut events, votes) = (batch.number, batch.events.to_vec(), batch.votes.clone());
        match fault {
            Fault::Duplicate => vec![SyncFrame::Batch(batch.clone()), SyncFrame::Batch(batch)],
            Fault::Reorder => {
                self.rng.shuffle(&mut events);
                vec![SyncFrame::Batch(Batch { number, events: List::first_of(events), votes })]
            }
            Fault::Replay => {
                let old = self.last_batch.clone().map(|old| Batch { votes: List::default(), ..old });
                old.into_iter().chain([batch]).map(SyncFrame::Batch).collect()
            }
            _ => {
                for event in &mut events {
                    let mut body = event.body.to_vec();
                    body.truncate(body.len() / 2);
                    event.body = List::first_of(body);
                }
                vec![SyncFrame::Batch(Batch { number, events: List::first_of(events), votes })]
            }
        }
    }

    // ---- Clients ----

    fn command(&mut self, i: usize, op: Op) {
        if self.nodes[i].stalled_until > self.now || self.nodes[i].full_until > self.now {
            return;
        }
        let Some(p) = &mut self.nodes[i].process else { return };
        if !p.machine.view().open {
            return;
        }
        let deciding = op.clone();
        let written = self.rt.block_on(p.store.write(op.asked, move |state| {
            let decided = deciding.decide(state)?;
            let some = !decided.deltas.is_empty();
            Ok::<_, StoreError>(Change {
                deltas: decided.deltas,
                manifest: decided.manifest,
                answer: vec![1],
                value: some,
            })
        }));
        match written.expect("written") {
            Written::Done(false) => return,
            Written::Done(true) => self.report.commands += 1,
            Written::Repeated(answer) => assert_eq!(answer, [1], "another answer to the same request"),
        }
        match &op.what {
            What::User { .. } => self.users.push(op.mint("user")),
            What::Group { .. } => self.groups.push(op.mint("group")),
            _ => {}
        }
        if self.hit(i, Fault::KillAfterCommit, true) {
            self.again.push((self.now + Duration::from_millis(500), 1 - i, op));
            return self.kill_for_a_while(i);
        }
        let now = self.instant();
        let Some(p) = &mut self.nodes[i].process else { return };
        let (origin, versions) = (p.store.origin(), check::versions(&p.store));
        let seq = versions.get(&origin).copied().unwrap_or_default();
        p.machine.committed(now, &versions);
        self.waiting[i].push(Waiting { op, origin, seq, since: self.now });
        self.pump(i);
        self.release(i);
    }

    /// Acknowledges what can be.
    fn release(&mut self, i: usize) {
        let Some(p) = &self.nodes[i].process else { return };
        let view = p.machine.view();
        let mut told = false;
        let still = std::mem::take(&mut self.waiting[i]);
        for w in still {
            let dual = view.linked && view.acked >= w.seq;
            if dual || view.mode == Mode::Solo {
                *(if dual { &mut self.report.dual } else { &mut self.report.solo }) += 1;
                self.acknowledged.push(Acknowledged { dual, origin: w.origin, seq: w.seq });
                told = true;
            } else {
                self.waiting[i].push(w);
            }
        }
        if told && self.hit(i, Fault::KillAfterAcknowledgement, true) {
            self.kill_for_a_while(i);
        }
    }

    fn nobody_waits_too_long(&mut self) {
        for i in 0..2 {
            self.release(i);
            if self.nodes[i].stalled_until + SLACK > self.now {
                continue;
            }
            let awake = self.nodes[i].stalled_until;
            for w in &self.waiting[i] {
                let waited = self.now.saturating_sub(w.since.max(awake));
                assert!(waited <= PATIENCE + SLACK, "a command has waited for {waited:?} at tracker {}", i + 1);
            }
        }
    }

    // ---- Faults ----

    fn fault(&mut self, fault: Fault) {
        let i = self.rng.usize(0..2);
        self.say(|| format!("{fault:?}, tracker {}", i + 1));
        self.report.faults += 1;
        match fault {
            Fault::KillBeforeCommit
            | Fault::KillAfterCommit
            | Fault::KillAfterShip
            | Fault::KillInSnapshot
            | Fault::KillAfterAcknowledgement
            | Fault::Duplicate
            | Fault::Reorder
            | Fault::Replay
            | Fault::Malform => {
                // Counted when it strikes.
                self.report.faults -= 1;
                self.armed = Some((i, fault));
            }
            Fault::Partition(time) => self.wires.iter_mut().for_each(|w| w.cut_until = self.now + time),
            Fault::OneWay(time) => self.wires[i].cut_until = self.now + time,
            Fault::Break => self.drop_connection(i),
            Fault::Flap(time) => self.flap = Some((self.now, self.now + time)),
            Fault::Stall(time) => self.nodes[i].stalled_until = self.now + time,
            Fault::SlowDisk(time) => {
                self.nodes[i].disk = time;
                self.faults.push((self.now + Duration::from_secs(20), Fault::SlowDisk(Duration::ZERO)));
                if time.is_zero() {
                    self.report.faults -= 1;
                    self.faults.pop();
                    self.nodes.iter_mut().for_each(|n| n.disk = Duration::ZERO);
                }
                self.faults.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
            }
            Fault::FullDisk(time) => self.nodes[i].full_until = self.now + time,
            Fault::Clock(ms) => self.nodes[i].skew_ms = ms,
            Fault::ClockBack => self.nodes.iter_mut().for_each(|n| n.skew_ms = 0),
            Fault::CutLog => {
                if let Some(p) = &self.nodes[i].process {
                    let none = LogBounds { bytes: 0, age_ms: u64::MAX };
                    self.rt.block_on(p.store.trim_log(none, 0)).expect("cut");
                }
            }
            Fault::FlipRow => {
                self.alter(i, "UPDATE users SET name = name || 'x' WHERE id = (SELECT min(id) FROM users)");
            }
            Fault::LoseDerived => {
                self.alter(i, "DELETE FROM live WHERE membership = (SELECT max(membership) FROM live)");
            }
            Fault::Backup => {
                self.kill(i, Duration::from_millis(100));
                self.nodes[i].back_up();
            }
            Fault::Restore | Fault::Wipe | Fault::RestoreWhileOtherIsDown => self.replace_disk(i, fault),
            Fault::RestoreBoth => {
                // Beyond what is promised for names; everything else must hold.
                self.names_hold = false;
                for i in 0..2 {
                    self.kill(i, Duration::from_millis(100));
                    if self.nodes[i].has_backup {
                        self.nodes[i].restore();
                    }
                    self.forget(i);
                }
                self.account_for_disks(false);
            }
        }
    }

    fn replace_disk(&mut self, i: usize, fault: Fault) {
        // One at a time: the sibling's only after the first has synchronised.
        self.note_level();
        if self.behind.is_some_and(|b| b != i) || (fault != Fault::Wipe && !self.nodes[i].has_backup) {
            self.report.faults -= 1;
            return;
        }
        if fault == Fault::RestoreWhileOtherIsDown {
            self.kill(1 - i, Duration::from_secs(5));
        }
        self.kill(i, Duration::from_millis(200));
        if fault == Fault::Wipe {
            self.nodes[i].wipe()
        } else {
            self.nodes[i].restore()
        }
        self.behind = Some(i);
        self.forget(i);
        self.account_for_disks(true);
    }

    /// What was seen on a disk that is gone binds nobody.
    fn forget(&mut self, i: usize) {
        self.told[i].clear();
        self.ended[i].clear();
    }

    /// A disk was replaced. What clients were told is on both must be on the other; the rest may be lost.
    fn account_for_disks(&mut self, one: bool) {
        let have: Vec<BTreeMap<[u8; 16], u64>> = self.nodes.iter().map(on_disk).collect();
        self.acknowledged.retain(|a| {
            let somewhere = have.iter().any(|h| h.get(a.origin.as_bytes()).copied().unwrap_or_default() >= a.seq);
            assert!(somewhere || !(a.dual && one), "acknowledged as dual, and lost with one disk");
            somewhere
        });
    }

    fn note_level(&mut self) {
        let level = |n: &Node| n.process.as_ref().is_some_and(|p| p.machine.view().linked && p.machine.view().lag == 0);
        if self.nodes.iter().all(level) && self.wires.iter().all(|w| w.len() == 0) && self.same_votes() {
            self.behind = None;
        }
    }

    fn same_votes(&self) -> bool {
        let [a, b] = [0, 1].map(|i| check::votes(&check::open(&self.nodes[i].database())));
        a == b && a.iter().all(|v| v.3 == 2)
    }

    fn alter(&mut self, i: usize, sql: &str) {
        if self.nodes[i].process.is_some() {
            let conn = rusqlite::Connection::open(self.nodes[i].database()).expect("opened");
            conn.busy_timeout(Duration::from_secs(5)).expect("set");
            conn.execute(sql, []).expect("altered");
        }
    }

    // ---- What holds ----

    fn look(&mut self) {
        for i in 0..2 {
            if self.nodes[i].process.is_none() {
                continue;
            }
            let conn = check::open(&self.nodes[i].database());
            let unsound = check::unsound_members(&conn);
            assert!(unsound.is_empty(), "members who should not be, at tracker {}: {unsound:x?}", i + 1);
            let ended: BTreeSet<_> = check::ended(&conn).into_iter().collect();
            assert!(ended.is_superset(&self.ended[i]), "what had ended is not any more");
            self.ended[i] = ended;
            let confirmed = check::confirmed(&conn);
            for (name, owner) in confirmed.iter().filter(|_| self.names_hold) {
                // A group's name is free again when everybody has left.
                let known = self.confirmed.insert(name.clone(), *owner);
                assert!(name.0 == 1 || known.is_none_or(|k| k == *owner), "two confirmed owners of {name:?}");
            }
            for (name, owner) in self.told[i].iter().filter(|(n, _)| n.0 == 0 && self.names_hold) {
                assert_eq!(confirmed.get(name), Some(owner), "a confirmed name was taken away: {name:?}");
            }
            self.told[i] = confirmed;
        }
    }

    fn heal(&mut self) {
        self.say(|| "everything is mended".to_owned());
        self.armed = None;
        self.flap = None;
        self.wires.iter_mut().for_each(|w| w.cut_until = Duration::ZERO);
        for i in 0..2 {
            self.nodes[i].stalled_until = self.nodes[i].stalled_until.min(self.now);
            self.nodes[i].disk = Duration::ZERO;
            self.nodes[i].full_until = Duration::ZERO;
            self.restart_at[i] = self.restart_at[i].map(|_| self.now);
        }
    }

    fn settled(&self) -> bool {
        let processes: Vec<_> = self.nodes.iter().filter_map(|n| n.process.as_ref()).collect();
        let [a, b] = processes.as_slice() else { return false };
        let up = |p: &crate::node::Process| {
            let view = p.machine.view();
            view.linked && view.open && view.lag == 0 && p.jobs.is_empty()
        };
        up(a)
            && up(b)
            && self.wires.iter().all(|w| w.len() == 0)
            && self.again.is_empty()
            && self.waiting.iter().all(Vec::is_empty)
            && check::versions(&a.store) == check::versions(&b.store)
    }

    fn settle(&mut self) {
        let until = self.now + SETTLE;
        let (mut digests, mut level) = ((vec![], vec![]), false);
        while self.now < until {
            self.step();
            level |= self.settled();
            self.say(|| {
                format!(
                    "wires {:?} again {} waiting {:?} jobs {:?}",
                    self.wires.iter().map(Wire::len).collect::<Vec<_>>(),
                    self.again.len(),
                    self.waiting.iter().map(Vec::len).collect::<Vec<_>>(),
                    self.nodes.iter().map(|n| n.process.as_ref().map(|p| p.jobs.len())).collect::<Vec<_>>()
                )
            });
            if self.settled() && self.same_votes() {
                digests = self.digests();
                if digests.0 == digests.1 && self.missing_members().is_empty() {
                    break;
                }
            }
        }
        let votes = [0, 1].map(|i| check::votes(&check::open(&self.nodes[i].database())));
        assert!(
            level,
            "the two never agree: {:?}, {:?}",
            self.nodes[0].process.as_ref().map(|p| (p.machine.view(), check::versions(&p.store))),
            self.nodes[1].process.as_ref().map(|p| (p.machine.view(), check::versions(&p.store)))
        );
        assert!(!digests.0.is_empty(), "the votes never agree: {votes:?}");
        assert_eq!(digests.0, digests.1, "the same events, and not the same state");
        let missing = self.missing_members();
        assert!(missing.is_empty(), "accepted, and not members: {missing:x?}");
        self.look();
        self.verdict();
    }

    fn missing_members(&self) -> Vec<[u8; 16]> {
        self.nodes.iter().flat_map(|n| check::missing_members(&check::open(&n.database()))).collect()
    }

    fn digests(&self) -> (Vec<u64>, Vec<u64>) {
        let digest = |i: usize| {
            let store = &self.nodes[i].process.as_ref().expect("running").store;
            self.rt.block_on(store.digest()).expect("read").1
        };
        (digest(0), digest(1))
    }

    fn verdict(&mut self) {
        for i in 0..2 {
            let store = &self.nodes[i].process.as_ref().expect("running").store;
            let versions = check::versions(store);
            for a in &self.acknowledged {
                let has = versions.get(&a.origin).copied().unwrap_or_default() >= a.seq;
                assert!(has, "acknowledged and not at tracker {}: {:.8} {}", i + 1, a.origin, a.seq);
            }
            let flaw = self.rt.block_on(store.log_flaw()).expect("read");
            assert_eq!(flaw, None);
            let forked = self.rt.block_on(store.quarantined()).expect("read");
            assert!(forked.is_empty(), "quarantined, and nobody used a number twice: {forked:?}");
            let doubled = check::doubled(&check::open(&self.nodes[i].database()));
            assert!(doubled.is_empty(), "carried out more than once at one tracker: {doubled:?}");
        }
        let dir = self._dir.path().join("replay");
        let store = &self.nodes[0].process.as_ref().expect("running").store;
        if let Some((state, replayed)) = check::replayed(&self.rt, store, &dir) {
            assert_eq!(state, replayed, "the state is not what the events say");
            self.report.replayed += 1;
        }
    }
}

/// The version vector on a disk, whether its tracker runs or not.
fn on_disk(node: &Node) -> BTreeMap<[u8; 16], u64> {
    if !node.database().exists() {
        return BTreeMap::new();
    }
    let conn = check::open(&node.database());
    let mut find = conn.prepare("SELECT origin, seq FROM versions").expect("prepared");
    let rows = find.query_map([], |r| Ok((r.get(0)?, r.get::<_, i64>(1)?.cast_unsigned()))).expect("queried");
    rows.collect::<rusqlite::Result<_>>().expect("rows")
}
