//! The scheduler: virtual time, one event after the other, all chance from one seed.

mod ask;
mod judge;
mod step;
mod strike;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use common::id::{GroupId, OriginId, UserId};
use common::wire::sync::Batch;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::check;
use crate::check::Confirmed;
use crate::clients::Clients;
use crate::faults::{Fault, Plan};
use crate::node::Node;
use crate::op::{Op, bytes};
use crate::report::Report;
use crate::wire::{Arrival, Wire};

/// How long faults and commands go on, in virtual time.
const ACT: Duration = Duration::from_secs(60);
/// How long it may take afterwards until both agree: more than it takes to notice a dead connection, and to
/// compare the two states.
const SETTLE: Duration = Duration::from_secs(240);
/// Bytes that a handshake takes, each way.
const HANDSHAKE: u64 = 2_500;
/// What a command may wait beyond its patience, for the scheduler's own steps.
const SLACK: Duration = Duration::from_millis(100);
/// Events between two looks at the disks.
const LOOK_EVERY: u64 = 40;

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
    Clients,
}

pub(crate) struct World {
    rng: fastrand::Rng,
    pub(crate) rt: Runtime,
    _dir: TempDir,
    base: Instant,
    pub(crate) now: Duration,
    pub(crate) nodes: [Node; 2],
    pub(crate) clients: Clients,
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
    bulk: usize,
    invitations: bool,
    waiting: [Vec<Waiting>; 2],
    acknowledged: Vec<Acknowledged>,
    // What is checked.
    behind: Option<usize>,
    names_hold: bool,
    confirmed: Confirmed,
    told: [Confirmed; 2],
    ended: [BTreeSet<[u8; 16]>; 2],
    events: u64,
    pub(crate) report: Report,
    loud: bool,
}

/// Plays one run.
///
/// # Panics
/// When something does not hold.
pub fn run(plan: &Plan, seed: u64) -> Report {
    play(World::new(plan, seed), plan)
}

/// The same, with so many clients; their lines are `disturbed`, or only as slow as they are.
///
/// # Panics
/// When something does not hold.
pub fn run_with_clients(plan: &Plan, seed: u64, many: usize, disturbed: bool) -> Report {
    let mut world = World::new(plan, seed);
    world.clients = Clients::new(many, seed);
    if disturbed {
        world.clients.disturb(ACT);
    }
    play(world, plan)
}

fn play(mut world: World, plan: &Plan) -> Report {
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
            faults.push((at(&mut rng), plan.chance(&mut rng)));
        }
        faults.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Self {
            rt: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
            base: Instant::now(),
            now: Duration::ZERO,
            nodes: [Node::new(1, dir.path()), Node::new(2, dir.path())],
            clients: Clients::new(0, seed),
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
            bulk: plan.bulk,
            invitations: plan.invitations,
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

    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        if self.loud {
            #[allow(clippy::print_stderr, reason = "asked for")]
            {
                eprintln!("{:>9.3} {}", self.now.as_secs_f64(), what());
            }
        }
    }

    pub(crate) fn instant(&self) -> Instant {
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
        let stalled = [0, 1].map(|i: usize| self.nodes[i].stalled_until);
        all.extend(self.clients.next(self.base, stalled).map(|at| (at, Event::Clients)));
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
                let op = match self.invitations {
                    true => Op::about_invitations(&mut self.rng, &self.users, &self.groups),
                    false => Op::new(&mut self.rng, &self.users, &self.groups, self.bulk),
                };
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
            Event::Clients => self.clients_step(),
            Event::Flap => {
                self.drop_connection(0);
                self.flap = self.flap.map(|(_, until)| (self.now + Duration::from_secs(1), until));
                self.flap = self.flap.filter(|(at, until)| at < until);
            }
        }
        self.serve_all_clients();
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
        self.clients_lose(i);
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

    pub(crate) fn kill_for_a_while(&mut self, i: usize) {
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
            self.wires[i].carry(self.now, conn, HANDSHAKE);
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
}
