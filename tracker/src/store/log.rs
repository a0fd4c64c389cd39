//! The history of this run: numbers, chains and dates events. Pure.
//!
//! Invariant: within an origin, `seq` has no gaps and each event carries the hash of the one before it. A run
//! has an origin of its own, so that a database restored from a backup never reuses a number.

use std::collections::{BTreeMap, HashSet};

use common::codec;
use common::id::{DeviceId, OriginId, RequestId};
use common::wire::limits::{Bytes, List, MAX_BATCH_BYTES, MAX_FRAME};
use common::wire::sync::{Event, Head, VersionVector};

use super::error::{Result, StoreError};
use crate::fact::{FIRST_VERSION, Fact, Hlc, HybridClock, LATEST_VERSION, Stamp};

/// Events whose body is a list of facts: the only kind so far.
pub(super) const KIND_FACTS: u32 = 1;
/// Longest body, in bytes. The largest command states a few thousand facts.
const MAX_BODY: usize = MAX_BATCH_BYTES;
/// `prev_hash` of an origin's first event.
pub(super) const NO_HASH: [u8; 32] = [0; 32];
const HASH_CONTEXT: &str = "shoal event 1";

/// For each origin, the number of its last event that is in the state.
pub type Versions = BTreeMap<OriginId, u64>;

/// Who asked for a change, and under which id: what makes a repetition recognisable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked {
    /// The device.
    pub device: DeviceId,
    /// Its request.
    pub request: RequestId,
}

/// The writer's place in the history. It moves as decisions are taken, and goes back if they do not reach the disk.
#[derive(Debug, Clone)]
pub(super) struct Log {
    origin: OriginId,
    clock: HybridClock,
    versions: Versions,
    /// The hash of the last event of each origin.
    hashes: BTreeMap<OriginId, [u8; 32]>,
    /// What other origins have that no event of this one has named as seen.
    unnamed: Versions,
    /// Origins of which nothing more is applied.
    quarantined: HashSet<OriginId>,
}

impl Log {
    /// Begins a run with what earlier ones have left: the latest time, and what there is of each origin.
    pub(super) fn new(origin: OriginId, latest: Hlc, heads: &[Head], quarantined: HashSet<OriginId>) -> Self {
        let versions: Versions = heads.iter().map(|h| (h.origin, h.seq)).collect();
        let hashes = heads.iter().map(|h| (h.origin, h.hash)).collect();
        let clock = HybridClock::after(latest);
        Self { origin, clock, unnamed: versions.clone(), versions, hashes, quarantined }
    }

    /// The largest time so far.
    pub(super) const fn latest(&self) -> Hlc {
        self.clock.last()
    }

    pub(super) const fn versions(&self) -> &Versions {
        &self.versions
    }

    pub(super) const fn quarantined(&self) -> &HashSet<OriginId> {
        &self.quarantined
    }

    /// Nothing more is applied of `origin`.
    pub(super) fn quarantine(&mut self, origin: OriginId) {
        self.quarantined.insert(origin);
    }

    /// The hash of the last event of an origin.
    pub(super) fn head(&self, origin: OriginId) -> [u8; 32] {
        self.hashes.get(&origin).copied().unwrap_or(NO_HASH)
    }

    /// The event that states `facts`, as the next of this run. The history goes on with it once it is [entered](Self::enter).
    pub(super) fn next(&mut self, asked: Asked, facts: &[Fact], answer: Vec<u8>, now_ms: u64) -> Result<Event> {
        let body = fitting(encode(&facts)?)?;
        let answer = fitting(answer)?;
        // With the chain, they say everything that was known when the event was decided.
        let newly_seen = self.unnamed.iter().map(|(origin, seq)| (*origin, *seq));
        Ok(Event {
            origin: self.origin,
            seq: self.versions.get(&self.origin).copied().unwrap_or_default() + 1,
            hlc: self.clock.tick(now_ms).to_stored().cast_unsigned(),
            deps: VersionVector(List::first_of(newly_seen)),
            kind: KIND_FACTS,
            ver: facts.iter().map(Fact::version).max().unwrap_or(FIRST_VERSION),
            device: asked.device,
            request: asked.request,
            body,
            answer,
            prev_hash: self.head(self.origin),
        })
    }

    /// Goes on with an event, of whichever origin, that follows on what is there.
    pub(super) fn enter(&mut self, e: &Event, hash: [u8; 32]) {
        self.clock.absorb(Hlc::from_stored(e.hlc.cast_signed()));
        self.go_to(&Head { origin: e.origin, seq: e.seq, hash });
        if e.origin == self.origin {
            self.unnamed.clear();
        }
    }

    /// Takes over how much the sibling has, whose facts have been joined. Says whether that is more than was here.
    pub(super) fn adopt(&mut self, head: &Head) -> bool {
        let more = self.versions.get(&head.origin).is_none_or(|have| *have < head.seq);
        if more {
            self.go_to(head);
        }
        more
    }

    fn go_to(&mut self, head: &Head) {
        self.versions.insert(head.origin, head.seq);
        self.hashes.insert(head.origin, head.hash);
        if head.origin != self.origin {
            self.unnamed.insert(head.origin, head.seq);
        }
    }

    /// Takes note of a time that the sibling has used.
    pub(super) fn absorb(&mut self, seen: Hlc) {
        self.clock.absorb(seen);
    }
}

/// When and by whom an event was stated.
pub(super) fn stamp_of(e: &Event) -> Stamp {
    Stamp { hlc: Hlc::from_stored(e.hlc.cast_signed()), origin: e.origin }
}

/// What an event weighs in the log, in bytes: its parts, and about as much as the row itself takes.
pub(super) fn weight(e: &Event) -> u64 {
    (e.body.len() + e.answer.len() + e.deps.0.len() * 24 + 160) as u64
}

/// The hash of an event and, through its `prev_hash`, of all before it.
pub(super) fn hash_of(e: &Event) -> Result<[u8; 32]> {
    let mut h = blake3::Hasher::new_derive_key(HASH_CONTEXT);
    h.update(&e.prev_hash).update(e.origin.as_bytes()).update(&e.seq.to_le_bytes());
    h.update(&e.hlc.to_le_bytes()).update(&e.kind.to_le_bytes()).update(&e.ver.to_le_bytes());
    h.update(e.device.as_bytes()).update(e.request.as_bytes());
    for part in [&encode(&e.deps)?[..], &e.body[..], &e.answer[..]] {
        h.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    Ok(*h.finalize().as_bytes())
}

fn fitting(bytes: Vec<u8>) -> Result<Bytes<MAX_BATCH_BYTES>> {
    Bytes::new(bytes).ok_or(StoreError::Content("an event would be too long"))
}

pub(super) fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    codec::encode(value, MAX_BODY).map_err(|_| StoreError::Content("an event would be too long"))
}

/// What an event states; nothing, if a later release made it: then it is kept and passed on.
pub(super) fn facts_of(e: &Event) -> Result<Vec<Fact>> {
    if e.kind != KIND_FACTS || !(FIRST_VERSION..=LATEST_VERSION).contains(&e.ver) {
        return Ok(Vec::new());
    }
    codec::decode(&e.body, MAX_FRAME).map_err(|_| StoreError::Content("the sibling sent an event that cannot be read"))
}
