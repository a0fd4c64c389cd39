//! The history of this run: numbers, chains and dates events, and remembers what was answered.
//!
//! Invariant: within an origin, `seq` has no gaps and each event carries the hash of the one before it. A run
//! has an origin of its own, so that a database restored from a backup never reuses a number.

use std::collections::BTreeMap;

use common::codec;
use common::id::{DeviceId, OriginId, RequestId};
use common::ticket::UnixSeconds;
use common::wire::limits::{Bytes, List, MAX_BATCH_BYTES};
use common::wire::sync::{Event, Head, VersionVector};
use rusqlite::{Connection, OptionalExtension};

use super::error::{Result, StoreError};
use super::join::join;
use super::mutation::{Mutation, Mutations};
use super::votes;
use crate::fact::{Delta, Hlc, HybridClock, Stamp};

/// Events whose body is a list of deltas: the only kind so far.
pub(super) const KIND_DELTAS: u32 = 1;
/// Version of that body.
pub(super) const VERSION: u32 = 1;
/// Longest body, in bytes. The largest command states a few thousand facts.
const MAX_BODY: usize = MAX_BATCH_BYTES;
/// `prev_hash` of an origin's first event.
pub(super) const NO_HASH: [u8; 32] = [0; 32];
const HASH_CONTEXT: &str = "shoal event 1";

/// For each origin, the number of its last event that is in the state.
pub type Versions = BTreeMap<OriginId, u64>;

/// Who asked for a change, and under which id: what makes a repetition recognisable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The device.
    pub device: DeviceId,
    /// Its request.
    pub request: RequestId,
}

/// The writer's place in the history, and what its transaction changes in the state.
#[derive(Debug)]
pub(super) struct Log {
    place: Place,
    pub(super) mutations: Mutations,
}

/// Where a history was, so that it can go back there.
#[derive(Debug)]
pub(super) struct Mark {
    place: Place,
    mutations: usize,
}

#[derive(Debug, Clone)]
struct Place {
    origin: OriginId,
    head: [u8; 32],
    clock: HybridClock,
    versions: Versions,
    /// What this origin's events have already named as seen.
    named: Versions,
}

impl Log {
    /// Begins a run with what `conn` holds of earlier ones.
    pub(super) fn open(conn: &Connection, origin: OriginId) -> Result<Self> {
        let clock: i64 = conn.query_row("SELECT hlc FROM clock", [], |r| r.get(0))?;
        let mut rows = conn.prepare("SELECT origin, seq FROM versions")?;
        let versions = rows
            .query_map([], |r| Ok((OriginId::new(r.get(0)?), r.get(1)?)))?
            .collect::<rusqlite::Result<Versions>>()?;
        let clock = HybridClock::after(Hlc::from_stored(clock));
        let place = Place { origin, head: NO_HASH, clock, versions, named: Versions::new() };
        Ok(Self { place, mutations: Mutations::new() })
    }

    /// Notes where this is, before something that may fail.
    pub(super) fn mark(&self) -> Mark {
        Mark { place: self.place.clone(), mutations: self.mutations.len() }
    }

    /// It has failed: nothing of it was.
    pub(super) fn back_to(&mut self, mark: Mark) {
        self.place = mark.place;
        self.mutations.truncate(mark.mutations);
    }

    pub(super) const fn versions(&self) -> &Versions {
        &self.place.versions
    }

    /// Joins `deltas` to the state and appends the event that carries them.
    pub(super) fn append(
        &mut self,
        tx: &Connection,
        asked: Asked,
        deltas: &[Delta],
        answer: &[u8],
        now_ms: u64,
    ) -> Result<()> {
        let stamp = Stamp { hlc: self.place.clock.tick(now_ms), origin: self.place.origin };
        state_facts(tx, deltas, stamp, &mut self.mutations)?;
        let event = Event {
            origin: self.place.origin,
            seq: self.place.versions.get(&self.place.origin).copied().unwrap_or_default() + 1,
            hlc: stamp.hlc.to_stored().cast_unsigned(),
            deps: VersionVector(List::first_of(self.newly_seen())),
            kind: KIND_DELTAS,
            ver: VERSION,
            device: asked.device,
            request: asked.request,
            body: fitting(encode(&deltas)?)?,
            answer: fitting(answer.to_vec())?,
            prev_hash: self.place.head,
        };
        self.place.head = self.enter(tx, &event)?;
        self.place.named = self.place.versions.clone();
        Ok(())
    }

    /// Writes an event, of whichever origin, that follows on what is there. Returns its hash.
    pub(super) fn enter(&mut self, tx: &Connection, e: &Event) -> Result<[u8; 32]> {
        let (hash, deps) = (hash_of(e)?, encode(&e.deps)?);
        tx.prepare_cached(EVENT)?.execute(rusqlite::params![
            e.origin.as_bytes(),
            e.seq,
            e.hlc,
            deps,
            e.kind,
            e.ver,
            e.device.as_bytes(),
            e.request.as_bytes(),
            &e.body[..],
            e.prev_hash,
            &e.answer[..],
            weight(e),
        ])?;
        tx.prepare_cached(VERSIONS)?.execute((e.origin.as_bytes(), e.seq, hash))?;
        self.place.clock.absorb(Hlc::from_stored(e.hlc.cast_signed()));
        tx.prepare_cached("UPDATE clock SET hlc = ?1")?.execute([self.place.clock.last().to_stored()])?;
        self.place.versions.insert(e.origin, e.seq);
        Ok(hash)
    }

    /// Takes over how much the sibling has, whose facts have been joined.
    pub(super) fn adopt(&mut self, tx: &Connection, head: &Head) -> Result<()> {
        if self.place.versions.get(&head.origin).is_some_and(|have| *have >= head.seq) {
            return Ok(());
        }
        tx.prepare_cached(VERSIONS)?.execute((head.origin.as_bytes(), head.seq, head.hash))?;
        let floor = "INSERT INTO floors (origin, seq) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET seq = excluded.seq";
        tx.prepare_cached(floor)?.execute((head.origin.as_bytes(), head.seq))?;
        tx.prepare_cached("DELETE FROM events WHERE origin = ?1")?.execute([head.origin.as_bytes()])?;
        self.place.versions.insert(head.origin, head.seq);
        Ok(())
    }

    /// Takes note of a time that the sibling has used, and keeps it.
    pub(super) fn absorb(&mut self, tx: &Connection, seen: Hlc) -> Result<()> {
        self.place.clock.absorb(seen);
        tx.prepare_cached("UPDATE clock SET hlc = ?1")?.execute([self.place.clock.last().to_stored()])?;
        Ok(())
    }

    /// Events of other origins that no earlier event of this one has named. With the chain, they
    /// say everything that was known when the event was decided.
    fn newly_seen(&self) -> Vec<(OriginId, u64)> {
        let new = |(origin, seq): &(&OriginId, &u64)| {
            **origin != self.place.origin && self.place.named.get(*origin) != Some(*seq)
        };
        self.place.versions.iter().filter(new).map(|(origin, seq)| (*origin, *seq)).collect()
    }
}

/// Joins facts, and casts a vote on each claim that is the first on its name.
pub(super) fn state_facts(tx: &Connection, deltas: &[Delta], stamp: Stamp, mutations: &mut Mutations) -> Result<()> {
    deltas.iter().try_for_each(|delta| {
        join(tx, delta, stamp)?;
        mutations.push(Mutation::Joined(stamp, delta.clone()));
        votes::on_claim(tx, delta, stamp, mutations)
    })
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

/// What was answered to this request, if it has had its effect.
pub(super) fn recorded(conn: &Connection, asked: Asked) -> Result<Option<Vec<u8>>> {
    let mut find = conn.prepare_cached("SELECT answer FROM requests WHERE device = ?1 AND request_id = ?2")?;
    Ok(find.query_row((asked.device.as_bytes(), asked.request.as_bytes()), |r| r.get(0)).optional()?)
}

/// Remembers what is answered.
pub(super) fn record(tx: &Connection, asked: Asked, answer: &[u8], now: UnixSeconds) -> Result<()> {
    let sql = "INSERT OR IGNORE INTO requests (device, request_id, answer, at) VALUES (?1, ?2, ?3, ?4)";
    tx.prepare_cached(sql)?.execute((asked.device.as_bytes(), asked.request.as_bytes(), answer, now.cast_signed()))?;
    Ok(())
}

/// Forgets up to `most` answers given before `before`; returns how many.
pub(super) fn prune(tx: &Connection, before: UnixSeconds, most: u32) -> Result<usize> {
    let sql = "DELETE FROM requests WHERE (device, request_id) IN
        (SELECT device, request_id FROM requests WHERE at < ?1 LIMIT ?2)";
    Ok(tx.prepare_cached(sql)?.execute((before.cast_signed(), most))?)
}

const EVENT: &str = "
    INSERT INTO events (origin, seq, hlc, deps, kind, ver, device, request_id, body, prev_hash, answer, weight)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
const VERSIONS: &str = "
    INSERT INTO versions (origin, seq, hash) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET seq = excluded.seq, hash = excluded.hash";
