//! The decisions of one batch. Each is joined to the state in memory as it is taken, so that the next sees it, and all are
//! taken back before anybody else may look: what is not on disk is not shown.

use std::collections::{BTreeSet, HashMap};

use common::id::OriginId;
use common::wire::sync::{Event, Head};
use rusqlite::Connection;

use super::checkpoint::{self, Behind};
use super::error::Result;
use super::facts::StampedFact;
use super::ledger::Ledger;
use super::log::{self, Asked, Log};
use super::manifest::NewManifest;
use super::{fact_rows, log_rows, votes};
use crate::fact::{Fact, Stamp};
use crate::state::{State, Undo};
use crate::vote::{NameKind, Vote};

/// What a decision leaves: written to disk first, and then joined.
#[derive(Debug)]
pub(super) enum Record {
    /// An event, its hash, and what it states.
    Event(Box<Event>, [u8; 32], Vec<Fact>),
    /// Facts that no event here carries: part of the sibling's state.
    Facts(Vec<StampedFact>),
    /// The sibling's state up to here has been joined.
    Adopted(Head),
    /// This tracker's vote on a name, in lower case.
    Vote(NameKind, String, Vote),
    /// A manifest.
    Manifest(Box<NewManifest>),
    /// Two events of this origin have the same number.
    Quarantine(OriginId, u64),
}

impl Record {
    /// What it adds to what is behind.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Event(_, _, facts) => checkpoint::weight(facts),
            Self::Facts(_) | Self::Adopted(_) | Self::Vote(..) | Self::Manifest(_) | Self::Quarantine(..) => 0,
        }
    }
}

/// A batch while it is decided.
pub(super) struct Batch<'a> {
    pub(super) state: &'a mut State,
    pub(super) log: &'a mut Log,
    /// For what is not in memory: old answers, old events.
    pub(super) ledger: &'a dyn Ledger,
    /// Milliseconds since 1970.
    pub(super) now_ms: u64,
    /// Whether the disk has room for more than the reserve.
    pub(super) room: bool,
    undo: Vec<Undo>,
    records: Vec<Record>,
    /// Events of this batch, by who asked for them.
    asked: HashMap<Asked, usize>,
}

/// How far a batch was, so that it can go back there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    undo: usize,
    records: usize,
}

impl<'a> Batch<'a> {
    pub(super) fn new(state: &'a mut State, log: &'a mut Log, ledger: &'a dyn Ledger, now_ms: u64, room: bool) -> Self {
        Self { state, log, ledger, now_ms, room, undo: Vec::new(), records: Vec::new(), asked: HashMap::new() }
    }

    /// What was answered to a request that has had its effect.
    pub(super) fn answered(&self, asked: Asked) -> Result<Option<Vec<u8>>> {
        match self.asked.get(&asked).and_then(|n| self.records.get(*n)) {
            Some(Record::Event(event, ..)) => Ok(Some(event.answer.to_vec())),
            _ => self.ledger.answered(asked),
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { undo: self.undo.len(), records: self.records.len() }
    }

    /// Nothing since `mark` was.
    pub(super) fn back_to(&mut self, mark: Mark) {
        self.take_back(mark.undo);
        self.records.truncate(mark.records);
        self.asked.retain(|_, n| *n < mark.records);
    }

    fn take_back(&mut self, to: usize) {
        while self.undo.len() > to {
            if let Some(undo) = self.undo.pop() {
                self.state.undo(undo);
            }
        }
    }

    /// The event that states `facts`, and its hash: to be [entered](Self::enter) when they are joined.
    pub(super) fn next(&mut self, asked: Asked, facts: &[Fact], answer: Vec<u8>) -> Result<(Event, [u8; 32])> {
        let event = self.log.next(asked, facts, answer, self.now_ms)?;
        let hash = log::hash_of(&event)?;
        Ok((event, hash))
    }

    /// Joins a fact; says whether it was anything new.
    pub(super) fn join(&mut self, stamp: Stamp, fact: &Fact) -> bool {
        let undo = self.state.join(stamp, fact);
        let new = undo.is_some();
        self.undo.extend(undo);
        new
    }

    /// Joins what an event states, and votes for each claim that is the first on its name.
    pub(super) fn state_facts(&mut self, stamp: Stamp, facts: &[Fact]) {
        for fact in facts {
            self.join(stamp, fact);
            if let Some(cast) = votes::on_claim(self.state, fact, stamp) {
                self.cast(cast.kind, cast.name, cast.vote);
            }
        }
    }

    /// Enters an event whose facts have been joined.
    pub(super) fn enter(&mut self, event: Event, hash: [u8; 32], facts: Vec<Fact>) {
        self.log.enter(&event, hash);
        let asked = Asked { device: event.device, request: event.request };
        // Who asked twice is answered as the first time, here as on disk.
        self.asked.entry(asked).or_insert(self.records.len());
        self.records.push(Record::Event(Box::new(event), hash, facts));
    }

    pub(super) fn cast(&mut self, kind: NameKind, name: String, vote: Vote) {
        self.undo.push(self.state.set_vote(kind, &name, vote));
        self.records.push(Record::Vote(kind, name, vote));
    }

    /// A manifest is here, if it was not.
    pub(super) fn add_manifest(&mut self, manifest: NewManifest) {
        if !self.state.has_manifest(manifest.id()) {
            self.undo.push(self.state.add_manifest(manifest.id(), manifest.head()));
            self.records.push(Record::Manifest(Box::new(manifest)));
        }
    }

    /// Keeps facts that have been joined and that no event here carries.
    pub(super) fn keep_facts(&mut self, facts: Vec<StampedFact>) {
        self.records.push(Record::Facts(facts));
    }

    pub(super) fn adopt(&mut self, head: Head) {
        if self.log.adopt(&head) {
            self.records.push(Record::Adopted(head));
        }
    }

    pub(super) fn quarantine(&mut self, origin: OriginId, seq: u64) {
        self.log.quarantine(origin);
        self.records.push(Record::Quarantine(origin, seq));
    }

    /// What the batch has come to. The state is as it was.
    pub(super) fn end(mut self) -> Vec<Record> {
        self.take_back(0);
        self.records
    }
}

/// Writes what a batch has come to, in the transaction `tx`.
pub(super) fn write(tx: &Connection, log: &Log, records: &[Record], now_ms: u64) -> Result<()> {
    let adopts = records.iter().any(|record| matches!(record, Record::Adopted(_)));
    let mut moved = BTreeSet::new();
    for record in records {
        match record {
            Record::Event(event, _, facts) => {
                log_rows::write_event(tx, event, now_ms / 1000)?;
                moved.insert(event.origin);
                // The log may be about to lose it, and then it is not to be behind.
                let stamp = log::stamp_of(event);
                facts.iter().filter(|_| adopts).try_for_each(|fact| fact_rows::join(tx, fact, stamp).map(drop))?;
            }
            Record::Facts(facts) => {
                facts.iter().try_for_each(|(stamp, fact)| fact_rows::join(tx, fact, *stamp).map(drop))?;
            }
            Record::Adopted(head) => {
                log_rows::adopt(tx, head)?;
                moved.insert(head.origin);
            }
            Record::Vote(kind, name, vote) => votes::write(tx, *kind, name, *vote)?,
            Record::Manifest(manifest) => manifest.write(tx)?,
            Record::Quarantine(origin, seq) => log_rows::quarantine(tx, *origin, *seq, now_ms / 1000)?,
        }
    }
    log_rows::write_place(tx, log, moved)
}

/// Joins what is on disk to the state, for good.
pub(super) fn join(state: &mut State, behind: &mut Behind, records: Vec<Record>) {
    for record in records {
        match record {
            Record::Event(event, hash, facts) => {
                let stamp = log::stamp_of(&event);
                facts.iter().for_each(|fact| drop(state.join(stamp, fact)));
                behind.push(Head { origin: event.origin, seq: event.seq, hash }, stamp, facts);
            }
            Record::Facts(facts) => facts.iter().for_each(|(stamp, fact)| drop(state.join(*stamp, fact))),
            Record::Vote(kind, name, vote) => drop(state.set_vote(kind, &name, vote)),
            Record::Manifest(manifest) => drop(state.add_manifest(manifest.id(), manifest.head())),
            Record::Adopted(_) | Record::Quarantine(..) => {}
        }
    }
}
