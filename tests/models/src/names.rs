//! Names by two votes: at most one confirmed owner per name, ever.
//!
//! Participants: two trackers, clients that claim one name at either or both of them, and a world
//! that cuts, half-opens and reopens the link, restarts trackers, and puts older or empty disks under
//! them. Names do not influence each other, so one name stands for all.
//!
//! Goals: one confirmed owner ever ([`ONE_OWNER`]); a confirmed name is never taken away
//! ([`NEVER_TAKEN`]); whenever both are on one connection and nothing is in flight, both have confirmed
//! the same claim ([`SETTLED`]), and every history comes to that ([`ENDS`]).
//!
//! # The rule
//!
//! A tracker has on disk, per name, the claims it knows and one [`Vote`]: a claim and a [`Stage`].
//! 1. It refuses a client's claim while it knows another owner's claim.
//! 2. The first claim it sees, from a client or from its sibling, gets its vote, provisionally.
//! 3. A vote is committed before it is shipped, and shipped when a connection begins and whenever it
//!    changes. What was sent on an older connection is never read.
//! 4. A vote that is received changes one's own by [`Vote::meet`], and by nothing else.
//!
//! That a vote is *alike* is not enough to confirm: it may be the vote of a disk that is gone, whose
//! owner now votes otherwise. A pledge says "I vote so, knowing that you do": it cannot move any
//! more, so only a pledge confirms, and a confirmed name is on record at both trackers before anyone
//! is told.
//!
//! # What the searches have shown
//!
//! `cargo test -p shoal-models` (and, where marked, `-- --ignored`); states counted without repetition.
//!
//! | owners of the claims | claims | drops | disks replaced | states | |
//! |---|---|---|---|---|---|
//! | 0 1 2 | 2 | 3 | 0 | 18,197 | |
//! | 0 1 0 1 | 2 | 3 | 0 | 33,921 | |
//! | 0 1 0 1 | 3 | 0 | 1 | 279,855 | |
//! | 0 1 2 | 3 | 1 | 1 | 968,114 | |
//! | 0 1 | 3 | 0 | 2, in turn | 366,613 | |
//! | 0 1 0 1 | 3 | 1 | 1 | 2,573,794 | ignored |
//! | 0 1 2 | 3 | 2 | 1 | 3,461,581 | ignored |
//! | 0 1 2 | 3 | 0 | 2, in turn | 1,380,317 | ignored |
//! | 0 1 | 3 | 1 | 2, in turn | 2,630,777 | ignored |
//!
//! Each mutant of [`Rule`] confirms two owners, and so does the rule itself if both disks go back
//! without having synchronised in between ([`Restores::Any`]): there the guarantee ends.
//!
//! While no disk goes back the mutants are as good as the rule, and the tests say so: at most two
//! claims can get a first vote, and votes move to the smaller one only. It is a restored or emptied
//! disk that makes the check on the current vote necessary.
//!
//! # Not covered
//!
//! How the log ships claims (here each connection repeats them all, which is harmless: knowing a
//! claim twice is knowing it once); what the loser is called; the replies to clients. A tracker on an
//! empty disk is modelled as serving at once, which is worse than what it is to do.

use stateright::{Model, Property};

use crate::link::{Link, OldConnections, Side};

// ---- The rule ----

/// One client's claim on the name, ordered by `stamp`: the earlier claim is the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    /// Stands for (hlc, origin).
    pub stamp: u8,
    /// Stands for the random id that the name would be bound to.
    pub owner: u8,
}

/// How far a tracker's vote has come. It never goes back, except with the disk it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Voted; the sibling's vote is not known.
    Provisional,
    /// The sibling is known to have voted alike. A provisional vote cannot move this one.
    Pledged,
    /// The sibling is known to have pledged alike, or to have confirmed. The owner may be told.
    Confirmed,
}

/// A tracker's vote: durable, local, and shipped when a connection begins and whenever it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vote {
    /// The claim voted for.
    pub claim: Claim,
    /// How far it has come.
    pub stage: Stage,
}

impl Vote {
    /// The vote for the first claim a tracker sees.
    pub fn first(claim: Claim) -> Self {
        Self { claim, stage: Stage::Provisional }
    }

    /// Whether this vote stands when it meets one for another owner: the further stage, else the
    /// earlier claim.
    fn stands_against(self, other: Self) -> bool {
        match self.stage.cmp(&other.stage) {
            std::cmp::Ordering::Equal => self.claim < other.claim,
            order => order.is_gt(),
        }
    }

    /// My vote after `theirs`, the sibling's current vote, was received on the current connection.
    ///
    /// The sibling's vote is known to be current, and to stay, once it is pledged: it was then cast
    /// by a tracker that knew mine. So a pledge confirms, and a mere vote only earns a pledge.
    pub fn meet(self, theirs: Self) -> Self {
        let alike = self.claim.owner == theirs.claim.owner;
        if !alike && self.stands_against(theirs) {
            return self;
        }
        let mine = if alike { self } else { Self::first(theirs.claim) };
        let learnt = match theirs.stage {
            Stage::Provisional => Stage::Pledged,
            Stage::Pledged | Stage::Confirmed => Stage::Confirmed,
        };
        Self { claim: mine.claim.min(theirs.claim), stage: mine.stage.max(learnt) }
    }
}

/// Which rule the trackers follow. All but the first are mutants, there to be refuted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// [`Vote::meet`], with votes on disk, and nothing read from an older connection.
    TwoVotes,
    /// Confirms as soon as votes are alike, without knowing that the sibling's is current.
    AnyVote,
    /// Handles messages of an older connection late, as a queue does that forgets whose they are.
    OldConnections,
    /// Moves to the earlier claim on every split, whatever has been pledged.
    EarliestAlways,
    /// Forgets on a restart what was not confirmed, and votes again for the first claim.
    VotesInMemory,
}

impl Rule {
    fn old_connections(self) -> OldConnections {
        match self {
            Self::OldConnections => OldConnections::Handled,
            _ => OldConnections::Discarded,
        }
    }

    fn meet(self, mine: Vote, theirs: Vote) -> Vote {
        let alike = mine.claim.owner == theirs.claim.owner;
        match self {
            Self::AnyVote => {
                let stage = Stage::Confirmed;
                let vote = mine.meet(theirs);
                if vote.claim.owner == theirs.claim.owner { Vote { stage, ..vote } } else { vote }
            }
            Self::EarliestAlways if !alike && mine.claim < theirs.claim => mine,
            Self::EarliestAlways if !alike => Vote::first(theirs.claim).meet(theirs),
            _ => mine.meet(theirs),
        }
    }
}

// ---- The model ----

/// What travels between trackers, in this order when a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Message {
    /// A claim the sender knows: an event of the log.
    Claim(Claim),
    /// The sender's vote; `None` only at the beginning of a connection. Never part of the log.
    Vote(Option<Vote>),
}

/// What a tracker has on disk about the name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Disk {
    /// Claims in the order they were seen.
    claims: Vec<Claim>,
    /// `Some` as soon as there is a claim.
    vote: Option<Vote>,
}

impl Disk {
    /// Notes a claim; the first one seen gets the vote. Says whether the vote changed.
    fn on_claim(&mut self, claim: Claim) -> bool {
        if !self.claims.contains(&claim) {
            self.claims.push(claim);
        }
        let first = self.vote.is_none();
        self.vote.get_or_insert(Vote::first(claim));
        first
    }

    /// Takes the sibling's vote into account. Says whether the own vote changed.
    fn on_vote(&mut self, theirs: Vote, rule: Rule) -> bool {
        self.on_claim(theirs.claim);
        let before = self.vote;
        self.vote = before.map(|mine| rule.meet(mine, theirs));
        self.vote != before
    }

    /// What a restart does to votes that are not on disk.
    fn forget_vote(&mut self) {
        if self.confirmed().is_none() {
            self.vote = self.claims.first().map(|claim| Vote::first(*claim));
        }
    }

    fn confirmed(&self) -> Option<u8> {
        self.vote.filter(|vote| vote.stage == Stage::Confirmed).map(|vote| vote.claim.owner)
    }
}

/// One tracker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Tracker {
    disk: Disk,
    backup: Option<Disk>,
    /// History: the owner this disk was seen to confirm. Forgotten when the disk is replaced.
    told: Option<u8>,
}

/// A state of the whole system.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct State {
    trackers: [Tracker; 2],
    link: Link<Message>,
    /// History: owners confirmed anywhere, ever, as a bit set.
    confirmed_ever: u8,
    /// The tracker whose disk was replaced and that has not synchronised since.
    behind: Option<Side>,
    claims_made: u8,
    drops: u8,
    restores: u8,
}

/// One step of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A client claims the name at a tracker that knows no claim on it.
    Claim(Side, Claim),
    /// A tracker handles the oldest message.
    Receive(Side),
    /// A tracker gets onto a new connection.
    Connect(Side),
    /// A tracker loses its connection, or restarts.
    Drop(Side),
    /// A tracker's disk is copied.
    Backup(Side),
    /// A tracker's disk is replaced by the copy.
    Restore(Side),
    /// A tracker's disk is replaced by an empty one.
    Wipe(Side),
}

/// Which disks may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restores {
    /// One at a time: the sibling's only after the first has synchronised.
    OneAtATime,
    /// Any, at any time.
    Any,
}

/// How much of the world is explored.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Owner of the claim with each stamp; any of them may be made at either tracker or both.
    pub owners: Vec<u8>,
    /// Claims made at a tracker, in all.
    pub claims: u8,
    /// Connections lost while both were on them, or restarts.
    pub drops: u8,
    /// Disks replaced, by an older copy of their own or by an empty one.
    pub restores: u8,
    /// Which ones.
    pub which: Restores,
}

/// The system to be checked.
#[derive(Debug, Clone)]
pub struct Names {
    /// How much is explored.
    pub bounds: Bounds,
    /// [`Rule::TwoVotes`], or a mutant.
    pub rule: Rule,
}

/// Property: at most one owner was ever confirmed.
pub const ONE_OWNER: &str = "at most one confirmed owner, ever";
/// Property: what a disk has confirmed stays confirmed on it.
pub const NEVER_TAKEN: &str = "a confirmed name is never taken away";
/// Property: drained and connected, both have confirmed the same claim, and know the same claims.
pub const SETTLED: &str = "drained and connected means agreed";
/// Property: whatever happens, when nothing more happens the link is up and drained.
pub const ENDS: &str = "every history ends settled";
/// Example: two owners claimed the name, and one was confirmed.
pub const SPLIT_RESOLVED: &str = "a split is resolved";

impl State {
    fn tracker(&mut self, side: Side) -> &mut Tracker {
        &mut self.trackers[side as usize]
    }

    fn disk(&self, side: Side) -> &Disk {
        &self.trackers[side as usize].disk
    }

    /// Ships the vote, and keeps the history.
    fn vote_changed(&mut self, side: Side) {
        let vote = self.disk(side).vote;
        if let Some(owner) = self.disk(side).confirmed() {
            self.confirmed_ever |= 1 << owner;
            self.tracker(side).told.get_or_insert(owner);
        }
        self.link.send(side, Message::Vote(vote));
    }

    fn claim(&mut self, side: Side, claim: Claim) {
        self.claims_made += 1;
        self.tracker(side).disk.on_claim(claim);
        self.link.send(side, Message::Claim(claim));
        self.vote_changed(side);
    }

    fn connect(&mut self, side: Side, rule: Rule) {
        self.link.connect(side, rule.old_connections());
        for claim in self.disk(side).claims.clone() {
            self.link.send(side, Message::Claim(claim));
        }
        self.link.send(side, Message::Vote(self.disk(side).vote));
    }

    fn receive(&mut self, side: Side, rule: Rule) {
        let changed = match self.link.receive(side) {
            Some(Message::Claim(claim)) => self.tracker(side).disk.on_claim(claim),
            Some(Message::Vote(theirs)) => {
                if self.behind == Some(side) {
                    self.behind = None;
                }
                theirs.is_some_and(|theirs| self.tracker(side).disk.on_vote(theirs, rule))
            }
            None => false,
        };
        if changed {
            self.vote_changed(side);
        }
    }

    fn lose_connection(&mut self, side: Side, rule: Rule) {
        self.drops += u8::from(!self.link.is_dead(side));
        self.link.drop_end(side, rule.old_connections());
        if rule == Rule::VotesInMemory {
            self.tracker(side).disk.forget_vote();
        }
    }

    fn replace_disk(&mut self, side: Side, disk: Disk) {
        self.restores += 1;
        self.behind = Some(side);
        // The process is gone, and with it everything it had in memory.
        self.link.drop_end(side, OldConnections::Discarded);
        let told = disk.confirmed();
        let tracker = self.tracker(side);
        tracker.disk = disk;
        tracker.told = told;
    }

    fn agreed(&self) -> bool {
        let [a, b] = Side::BOTH.map(|side| self.disk(side));
        let same_claims = a.claims.len() == b.claims.len() && a.claims.iter().all(|c| b.claims.contains(c));
        let confirmed = a.vote.is_none() || a.confirmed().is_some_and(|owner| self.confirmed_ever == 1 << owner);
        same_claims && a.vote == b.vote && confirmed
    }
}

impl Names {
    fn may_restore(&self, state: &State, side: Side) -> bool {
        state.restores < self.bounds.restores
            && (self.bounds.which == Restores::Any || state.behind.is_none_or(|behind| behind == side))
    }

    fn claim_actions(&self, state: &State, side: Side, actions: &mut Vec<Action>) {
        // Trackers are alike: whatever can happen first at B can happen first at A.
        let mirrored = state.claims_made == 0 && side == Side::B;
        if mirrored || state.claims_made == self.bounds.claims || !state.disk(side).claims.is_empty() {
            return;
        }
        for (stamp, &owner) in (0..).zip(&self.bounds.owners) {
            actions.push(Action::Claim(side, Claim { stamp, owner }));
        }
    }

    fn disk_actions(&self, state: &State, side: Side, actions: &mut Vec<Action>) {
        if !self.may_restore(state, side) {
            return;
        }
        let tracker = &state.trackers[side as usize];
        let empty = tracker.disk == Disk::default();
        if !empty {
            actions.push(Action::Wipe(side));
        }
        if tracker.backup.as_ref().is_some_and(|backup| *backup != tracker.disk) {
            actions.push(Action::Restore(side));
        }
        if tracker.backup.is_none() && !empty {
            actions.push(Action::Backup(side));
        }
    }
}

impl Model for Names {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for side in Side::BOTH {
            self.claim_actions(state, side, actions);
            if state.link.can_receive(side, self.rule.old_connections()) {
                actions.push(Action::Receive(side));
            }
            if state.link.can_connect(side) {
                actions.push(Action::Connect(side));
            }
            if state.link.is_dead(side) || (state.link.is_up(side) && state.drops < self.bounds.drops) {
                actions.push(Action::Drop(side));
            }
            self.disk_actions(state, side, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Claim(side, claim) => state.claim(side, claim),
            Action::Receive(side) => state.receive(side, self.rule),
            Action::Connect(side) => state.connect(side, self.rule),
            Action::Drop(side) => state.lose_connection(side, self.rule),
            Action::Backup(side) => {
                let disk = state.disk(side).clone();
                state.tracker(side).backup = Some(disk);
            }
            Action::Restore(side) => {
                let disk = state.tracker(side).backup.clone()?;
                state.replace_disk(side, disk);
            }
            Action::Wipe(side) => state.replace_disk(side, Disk::default()),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_OWNER, |_, state: &State| state.confirmed_ever.count_ones() <= 1),
            Property::always(NEVER_TAKEN, |_, state: &State| {
                state.trackers.iter().all(|t| t.told.is_none() || t.disk.confirmed() == t.told)
            }),
            Property::always(SETTLED, |_, state: &State| !state.link.is_quiet() || state.agreed()),
            // Every step uses up a message, a connection or a bound, so histories end, and as this
            // holds in final states only, the search misses nothing where paths join.
            Property::eventually(ENDS, |model: &Self, state: &State| {
                state.link.is_quiet() && {
                    let mut actions = Vec::new();
                    model.actions(state, &mut actions);
                    actions.is_empty()
                }
            }),
            Property::sometimes(SPLIT_RESOLVED, |_, state: &State| {
                let claims = &state.disk(Side::A).claims;
                let split = claims.windows(2).any(|pair| pair[0].owner != pair[1].owner);
                split && state.agreed()
            }),
        ]
    }
}
