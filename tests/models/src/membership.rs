//! Membership of one user in one group: removal wins.
//!
//! Participants: two trackers, each with a log and a row; a user who asks to join, leaves, and asks
//! again; an admin who accepts, rejects, kicks; a link that is cut, half-opened and resumed from
//! version vectors; disks that are replaced by an older copy. Users and groups do not influence each
//! other here, so one of each stands for all.
//!
//! Goals: a member has a live accept that has seen every kick its tracker knows of ([`REMOVAL_WINS`],
//! [`KICK_HOLDS`]); ended never revives ([`ENDED_STAYS`]); equal version vectors mean equal state
//! ([`CONVERGENCE`]), which is the join of the events whatever their order ([`REPLAY`]); events arrive
//! gap-free, after what they depend on ([`NO_GAP`]); and every history comes to both trackers knowing
//! the same ([`SETTLED`], [`ENDS`]).
//!
//! # The rule
//!
//! 1. A request is named by the event that made it, and only goes forward: pending, accepted, ended.
//! 2. An accept records the kicks its tracker knew of that user in that group. It counts if that is
//!    every kick that is known; it may be repeated when it does not.
//! 3. Leave, withdraw, reject and kick end every request their tracker knew; a kick is a fence besides.
//! 4. A member is who has a request that is accepted, not ended, by an accept that counts.
//! 5. A tracker that starts on an older disk starts a new origin.
//!
//! # What the searches have shown
//!
//! `cargo test -p shoal-models` (and, where marked, `-- --ignored`); states counted without repetition.
//!
//! | commands | drops | disks replaced | states | |
//! |---|---|---|---|---|
//! | 4 | 2 | 0 | 49,391 | |
//! | 6 | 1 | 0 | 368,151 | |
//! | 4 | 0 | 1 | 191,980 | |
//! | 6 | 2 | 0 | 1,511,627 | ignored |
//! | 7 | 1 | 0 | 2,041,652 | ignored |
//! | 4 | 1 | 1 | 1,678,905 | ignored |
//! | 5 | 0 | 1 | 1,795,734 | ignored |
//!
//! Each mutant of [`Rule`] makes a member of a user who was kicked, or revives what was ended.
//!
//! # Not covered
//!
//! Who is the admin, and hand-overs; tickets and revocation; snapshots; a truncated log; an origin that
//! is used again (a mere restart keeps its origin here: a new one would only rename events).
//! A leave is no fence, by design: a request that was made and accepted at the other tracker, and that
//! the leave could not know, outlives it ([`OUTLIVED`]).

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Model, Property};

use crate::link::{Link, OldConnections, Side};

// ---- The rule ----

/// A run of one tracker: every start has a new one, so that it never issues the same [`Dot`] twice.
pub type Origin = u8;

/// Names an event, and the request that a join event makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dot {
    /// Who issued it.
    pub origin: Origin,
    /// Counts from 1 within the origin.
    pub seq: u8,
}

/// A version vector: how many events of each origin are known, without trailing zeros.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Seen(Vec<u8>);

impl Seen {
    /// Number of known events of an origin.
    fn of(&self, origin: Origin) -> u8 {
        self.0.get(usize::from(origin)).copied().unwrap_or(0)
    }

    /// Whether the event is known.
    pub fn covers(&self, dot: Dot) -> bool {
        self.of(dot.origin) >= dot.seq
    }

    fn covers_all(&self, other: &Self) -> bool {
        (0..).zip(&other.0).all(|(origin, &seq)| self.of(origin) >= seq)
    }

    fn insert(&mut self, dot: Dot) {
        let index = usize::from(dot.origin);
        if self.0.len() <= index {
            self.0.resize(index + 1, 0);
        }
        self.0[index] = dot.seq;
    }
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Delta {
    /// The user asks to join.
    Requested(Dot),
    /// The admin accepted the request.
    Accepted {
        /// Which.
        request: Dot,
        /// Every kick that was known by then.
        kicks_seen: BTreeSet<Dot>,
    },
    /// The request was withdrawn or rejected, or the membership that came of it is over.
    Ended(Dot),
    /// The admin removed the user: no acceptance that did not know of this counts.
    Kicked(Dot),
}

/// An entry of a tracker's log: what one command was decided into.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// Its name.
    pub dot: Dot,
    /// What its tracker knew when it was issued.
    pub deps: Seen,
    /// Hybrid logical clock: greater than that of everything in `deps`.
    pub clock: u8,
    /// What it states.
    pub deltas: Vec<Delta>,
}

/// How far a request has come. It never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Phase {
    /// Waits for the admin.
    #[default]
    Pending,
    /// Accepted: makes a member if one of the accepts counts.
    Accepted,
    /// Rejected, withdrawn, left or kicked. For good.
    Ended,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Request {
    /// How far it has come.
    pub phase: Phase,
    /// The kicks that each accept had seen. Not their union: an accept must count by itself.
    pub accepts: BTreeSet<BTreeSet<Dot>>,
}

/// What a tracker knows of one user in one group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Row {
    /// Requests ever made.
    pub requests: BTreeMap<Dot, Request>,
    /// The fences: kicks ever decided.
    pub kicks: BTreeSet<Dot>,
    /// Only for [`Rule::LastWriterWins`]: the latest (clock, event), and whether it made a member.
    latest: Option<(u8, Dot, bool)>,
}

/// Which rule decides who is a member. All but the first are mutants, there to be refuted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Absorbing phases, and accepts that must have seen every kick.
    DotsAndFence,
    /// Absorbing phases only.
    DotsOnly,
    /// The latest decision, by (clock, event).
    LastWriterWins,
    /// Dots and fence, but the phase that is applied last replaces the one before.
    NotAbsorbing,
}

impl Row {
    /// Takes an event in, one's own or the sibling's alike: commutative, associative, idempotent.
    pub fn join(&mut self, event: &Event, rule: Rule) {
        for delta in &event.deltas {
            match delta {
                Delta::Requested(request) => self.reach(*request, Phase::Pending, rule),
                Delta::Accepted { request, kicks_seen } => {
                    self.reach(*request, Phase::Accepted, rule);
                    self.requests.entry(*request).or_default().accepts.insert(kicks_seen.clone());
                }
                Delta::Ended(request) => self.reach(*request, Phase::Ended, rule),
                Delta::Kicked(kick) => {
                    self.kicks.insert(*kick);
                }
            }
        }
        if rule == Rule::LastWriterWins {
            let member = event.deltas.iter().any(|delta| matches!(delta, Delta::Accepted { .. }));
            self.latest = self.latest.max(Some((event.clock, event.dot, member)));
        }
    }

    fn reach(&mut self, request: Dot, phase: Phase, rule: Rule) {
        let mine = &mut self.requests.entry(request).or_default().phase;
        *mine = if rule == Rule::NotAbsorbing { phase } else { phase.max(*mine) };
    }

    /// Whether the user is a member.
    pub fn is_member(&self, rule: Rule) -> bool {
        if rule == Rule::LastWriterWins {
            return self.latest.is_some_and(|(_, _, member)| member);
        }
        self.requests.values().any(|request| {
            let counts = |seen: &BTreeSet<Dot>| rule == Rule::DotsOnly || self.kicks.is_subset(seen);
            request.phase == Phase::Accepted && request.accepts.iter().any(counts)
        })
    }

    fn in_phase(&self, which: impl Fn(Phase) -> bool) -> BTreeSet<Dot> {
        let requests = self.requests.iter().filter(|(_, request)| which(request.phase));
        requests.map(|(dot, _)| *dot).collect()
    }

    /// Requests that have ended.
    pub fn ended(&self) -> BTreeSet<Dot> {
        self.in_phase(|phase| phase == Phase::Ended)
    }

    /// Requests that have not: what leave, reject and kick end, and, while the user is not a member,
    /// what an admin can accept (again, if a kick had not been seen by the accept there was).
    pub fn live(&self) -> BTreeSet<Dot> {
        self.in_phase(|phase| phase != Phase::Ended)
    }

    /// What a command states, decided by the rules on what this tracker knows.
    pub fn decide(&self, command: Command, dot: Dot) -> Vec<Delta> {
        let ended = self.live().into_iter().map(Delta::Ended);
        match command {
            Command::Join => vec![Delta::Requested(dot)],
            Command::Accept(request) => vec![Delta::Accepted { request, kicks_seen: self.kicks.clone() }],
            Command::End => ended.collect(),
            Command::Kick => ended.chain([Delta::Kicked(dot)]).collect(),
        }
    }
}

/// What a user or an admin asks of a tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Also: join again.
    Join,
    /// One particular request.
    Accept(Dot),
    /// Leave, withdraw or reject: the same facts.
    End,
    /// Remove the member.
    Kick,
}

// ---- The model ----

/// What travels between trackers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Message {
    /// First on a connection: what the sender knows. Answered with everything else, then followed live.
    Hello(Seen),
    /// The event with that name.
    Event(Dot),
}

/// What a tracker has on disk. Its log is the part of all logs that `seen` covers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Disk {
    seen: Seen,
    row: Row,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Tracker {
    disk: Disk,
    backup: Option<Disk>,
    origin: Origin,
    /// Whether the sibling's hello was received on this connection.
    following: bool,
    /// History: requests this disk has ever known to be ended.
    ended: BTreeSet<Dot>,
}

/// A state of the whole system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    trackers: [Tracker; 2],
    link: Link<Message>,
    /// Every event ever issued, by origin.
    logs: Vec<Vec<Event>>,
    /// History: an event arrived before one it depends on.
    gap: bool,
    commands: u8,
    drops: u8,
    restores: u8,
}

/// One step of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A tracker takes a command.
    Command(Side, Command),
    /// A tracker handles the oldest message.
    Receive(Side),
    /// A tracker gets onto a new connection.
    Connect(Side),
    /// A tracker loses its connection, or restarts.
    Drop(Side),
    /// A tracker's disk is copied.
    Backup(Side),
    /// A tracker's disk is replaced by the copy, and it starts with a new origin.
    Restore(Side),
}

/// The system to be checked, and how much of it.
#[derive(Debug, Clone)]
pub struct Membership {
    /// [`Rule::DotsAndFence`], or a mutant.
    pub rule: Rule,
    /// Commands taken by either tracker, in all.
    pub commands: u8,
    /// Connections lost while both were on them.
    pub drops: u8,
    /// Disks replaced by an older copy.
    pub restores: u8,
}

/// Property: a member has a live accept that has seen every kick the tracker knows of.
pub const REMOVAL_WINS: &str = "removal wins";
/// Property: who was kicked is a member only by an accept that has seen the kick.
pub const KICK_HOLDS: &str = "a kick holds until an accept that has seen it";
/// Property: a request that was ended stays so.
pub const ENDED_STAYS: &str = "ended never revives";
/// Property: equal version vectors, equal rows.
pub const CONVERGENCE: &str = "equal vectors mean equal state";
/// Property: the row is the join of the events in any order.
pub const REPLAY: &str = "state is the join of the events";
/// Property: events arrive in order, after all they depend on.
pub const NO_GAP: &str = "no event before its dependencies";
/// Property: connected and drained, both know everything that either knows.
pub const SETTLED: &str = "drained and connected means equal vectors";
/// Property: every history ends connected and drained.
pub const ENDS: &str = "every history ends settled";
/// Example: kicked at one tracker while the other let the user leave, join and be accepted again.
pub const FENCED: &str = "a fence overrules an accept";
/// Example: a member by an accept, elsewhere, of a request that the leave had not seen.
pub const OUTLIVED: &str = "a request outlives a leave that had not seen it";
/// Example: a kicked user is a member again.
pub const BACK: &str = "a kicked user comes back";

impl State {
    fn new() -> Self {
        let tracker =
            |origin| Tracker { disk: Disk::default(), backup: None, origin, following: false, ended: BTreeSet::new() };
        Self {
            trackers: [tracker(0), tracker(1)],
            link: Link::default(),
            logs: vec![Vec::new(), Vec::new()],
            gap: false,
            commands: 0,
            drops: 0,
            restores: 0,
        }
    }

    fn tracker(&mut self, side: Side) -> &mut Tracker {
        &mut self.trackers[side as usize]
    }

    fn disk(&self, side: Side) -> &Disk {
        &self.trackers[side as usize].disk
    }

    fn event(&self, dot: Dot) -> Option<&Event> {
        self.logs.get(usize::from(dot.origin))?.get(usize::from(dot.seq) - 1)
    }

    /// The events that `seen` covers, every one after all it depends on.
    fn known(&self, seen: &Seen) -> Vec<&Event> {
        let mut events: Vec<_> = self.logs.iter().flatten().filter(|e| seen.covers(e.dot)).collect();
        events.sort_by_key(|event| (event.clock, event.dot));
        events
    }

    /// One path to state: own and foreign events go through here.
    fn apply(&mut self, side: Side, event: &Event, rule: Rule) {
        let tracker = self.tracker(side);
        tracker.disk.seen.insert(event.dot);
        tracker.disk.row.join(event, rule);
        tracker.ended.extend(tracker.disk.row.ended());
    }

    fn issue(&mut self, side: Side, command: Command, rule: Rule) -> Option<()> {
        let origin = self.trackers[side as usize].origin;
        let disk = self.disk(side);
        let clock = self.known(&disk.seen).last().map_or(1, |event| event.clock + 1);
        let dot = Dot { origin, seq: disk.seen.of(origin) + 1 };
        let event = Event { dot, deps: disk.seen.clone(), clock, deltas: disk.row.decide(command, dot) };
        self.apply(side, &event, rule);
        self.logs.get_mut(usize::from(origin))?.push(event);
        self.commands += 1;
        if self.trackers[side as usize].following {
            self.link.send(side, Message::Event(dot));
        }
        Some(())
    }

    fn connect(&mut self, side: Side) {
        self.link.connect(side, OldConnections::Discarded);
        self.tracker(side).following = false;
        let seen = self.disk(side).seen.clone();
        self.link.send(side, Message::Hello(seen));
    }

    fn receive(&mut self, side: Side, rule: Rule) -> Option<()> {
        match self.link.receive(side)? {
            Message::Hello(theirs) => {
                self.tracker(side).following = true;
                let missing = self.known(&self.disk(side).seen).into_iter().map(|event| event.dot);
                let missing: Vec<_> = missing.filter(|dot| !theirs.covers(*dot)).collect();
                for dot in missing {
                    self.link.send(side, Message::Event(dot));
                }
            }
            Message::Event(dot) => {
                let event = self.event(dot)?.clone();
                let seen = &self.disk(side).seen;
                let next = seen.of(dot.origin) + 1 == dot.seq && seen.covers_all(&event.deps);
                if next {
                    self.apply(side, &event, rule);
                } else if !seen.covers(dot) {
                    self.gap = true;
                }
            }
        }
        Some(())
    }

    fn restore(&mut self, side: Side) -> Option<()> {
        let disk = self.trackers[side as usize].backup.clone()?;
        let origin = Origin::try_from(self.logs.len()).ok()?;
        self.logs.push(Vec::new());
        self.restores += 1;
        self.link.drop_end(side, OldConnections::Discarded);
        let tracker = self.tracker(side);
        tracker.disk = disk;
        tracker.origin = origin;
        tracker.following = false;
        tracker.ended = tracker.disk.row.ended();
        Some(())
    }

    /// Whether a member at `side` has an accept, of a request that `fits`, that was caused after all
    /// the kicks. Said of the events and what they depend on, without the row.
    fn has_accept(&self, side: Side, rule: Rule, fits: impl Fn(&[&Event], &Dot) -> bool) -> bool {
        let disk = self.disk(side);
        if !disk.row.is_member(rule) {
            return true;
        }
        let events = self.known(&disk.seen);
        let saw_every_kick = |accept: &Event| {
            let mut kicks = events.iter().filter(|event| event.deltas.contains(&Delta::Kicked(event.dot)));
            kicks.all(|kick| accept.deps.covers(kick.dot))
        };
        events.iter().any(|event| match event.deltas.as_slice() {
            [Delta::Accepted { request, .. }] => fits(&events, request) && saw_every_kick(event),
            _ => false,
        })
    }

    /// The join of a tracker's events in the least likely order: the latest first.
    fn replayed(&self, side: Side, rule: Rule) -> Row {
        let mut row = Row::default();
        for event in self.known(&self.disk(side).seen).into_iter().rev() {
            row.join(event, rule);
        }
        row
    }
}

impl Membership {
    fn command_actions(&self, state: &State, side: Side, actions: &mut Vec<Action>) {
        // Trackers are alike: whatever can happen first at B can happen first at A.
        if state.commands == self.commands || (state.commands == 0 && side == Side::B) {
            return;
        }
        let row = &state.disk(side).row;
        let (member, live) = (row.is_member(self.rule), row.live());
        let mut push = |command| actions.push(Action::Command(side, command));
        if member {
            push(Command::Kick);
        } else if live.is_empty() {
            push(Command::Join);
        }
        if member || !live.is_empty() {
            push(Command::End);
        }
        if !member {
            live.into_iter().for_each(|dot| push(Command::Accept(dot)));
        }
    }
}

impl Model for Membership {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for side in Side::BOTH {
            self.command_actions(state, side, actions);
            if state.link.can_receive(side, OldConnections::Discarded) {
                actions.push(Action::Receive(side));
            }
            if state.link.can_connect(side) {
                actions.push(Action::Connect(side));
            }
            if state.link.is_dead(side) || (state.link.is_up(side) && state.drops < self.drops) {
                actions.push(Action::Drop(side));
            }
            if state.restores < self.restores && state.commands > 0 {
                let tracker = &state.trackers[side as usize];
                match &tracker.backup {
                    None => actions.push(Action::Backup(side)),
                    Some(backup) if *backup != tracker.disk => actions.push(Action::Restore(side)),
                    Some(_) => {}
                }
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Command(side, command) => state.issue(side, command, self.rule)?,
            Action::Receive(side) => state.receive(side, self.rule)?,
            Action::Connect(side) => state.connect(side),
            Action::Drop(side) => {
                state.drops += u8::from(!state.link.is_dead(side));
                state.link.drop_end(side, OldConnections::Discarded);
                state.tracker(side).following = false;
            }
            Action::Backup(side) => {
                let disk = state.disk(side).clone();
                state.tracker(side).backup = Some(disk);
            }
            Action::Restore(side) => state.restore(side)?,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = self.promises();
        if self.commands >= COMMANDS_OF_EXAMPLES {
            properties.extend(examples());
        }
        properties
    }
}

impl Membership {
    fn promises(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(REMOVAL_WINS, |model: &Self, state: &State| {
                let live = |events: &[&Event], request: &Dot| {
                    !events.iter().any(|event| event.deltas.contains(&Delta::Ended(*request)))
                };
                Side::BOTH.into_iter().all(|side| state.has_accept(side, model.rule, live))
            }),
            Property::always(KICK_HOLDS, |model: &Self, state: &State| {
                Side::BOTH.into_iter().all(|side| state.has_accept(side, model.rule, |_, _| true))
            }),
            Property::always(ENDED_STAYS, |_, state: &State| {
                state.trackers.iter().all(|t| t.ended.is_subset(&t.disk.row.ended()))
            }),
            Property::always(CONVERGENCE, |_, state: &State| {
                let [a, b] = Side::BOTH.map(|side| state.disk(side));
                a.seen != b.seen || a.row == b.row
            }),
            Property::always(REPLAY, |model: &Self, state: &State| {
                let same = |side| state.replayed(side, model.rule) == state.disk(side).row;
                Side::BOTH.into_iter().all(same)
            }),
            Property::always(NO_GAP, |_, state: &State| !state.gap),
            Property::always(SETTLED, |_, state: &State| {
                let [a, b] = Side::BOTH.map(|side| state.disk(side));
                !state.link.is_quiet() || a.seen == b.seen
            }),
            // Every step uses up a message, a connection or a bound, so histories end, and as this
            // holds in final states only, the search misses nothing where paths join.
            Property::eventually(ENDS, |model: &Self, state: &State| {
                state.link.is_quiet() && {
                    let mut actions = Vec::new();
                    model.actions(state, &mut actions);
                    actions.is_empty()
                }
            }),
        ]
    }
}

/// The examples need as many: join, accept, removal, and another join and accept.
const COMMANDS_OF_EXAMPLES: u8 = 5;

fn examples() -> [Property<Membership>; 3] {
    [
        Property::sometimes(FENCED, |_, state: &State| {
            let row = &state.disk(Side::A).row;
            row.is_member(Rule::DotsOnly) && !row.is_member(Rule::DotsAndFence)
        }),
        Property::sometimes(OUTLIVED, |_, state: &State| {
            let disk = state.disk(Side::A);
            if !disk.row.is_member(Rule::DotsAndFence) {
                return false;
            }
            let events = state.known(&disk.seen);
            let is_accept = |event: &Event| matches!(event.deltas[..], [Delta::Accepted { .. }]);
            let is_end = |event: &Event| matches!(event.deltas[..], [Delta::Ended(_)]);
            let saw = |accept: &Event| events.iter().any(|end| is_end(end) && accept.deps.covers(end.dot));
            events.iter().any(|event| is_end(event)) && !events.iter().any(|event| is_accept(event) && saw(event))
        }),
        Property::sometimes(BACK, |_, state: &State| {
            let row = &state.disk(Side::A).row;
            !row.kicks.is_empty() && row.is_member(Rule::DotsAndFence)
        }),
    ]
}
