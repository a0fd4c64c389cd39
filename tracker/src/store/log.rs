//! The history of this run: numbers, chains and dates events, and remembers what was answered.
//!
//! Invariant: within an origin, `seq` has no gaps and each event carries the hash of the one before it. A run
//! has an origin of its own, so that a database restored from a backup never reuses a number.

use std::collections::BTreeMap;

use common::codec;
use common::id::{DeviceId, OriginId, RequestId};
use common::ticket::UnixSeconds;
use common::wire::limits::MAX_FRAME;
use rusqlite::{Connection, OptionalExtension};

use super::error::{Result, StoreError};
use super::join::join;
use crate::fact::{Delta, Hlc, HybridClock, Stamp};

/// Events whose body is a list of deltas: the only kind so far.
const KIND_DELTAS: u32 = 1;
/// Version of that body.
const VERSION: u32 = 1;
/// Longest body, in bytes. The largest command states a few thousand facts.
const MAX_BODY: usize = MAX_FRAME;
/// `prev_hash` of an origin's first event.
const NO_HASH: [u8; 32] = [0; 32];
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

/// The writer's place in the history. Cloned before a transaction, put back if it fails.
#[derive(Debug, Clone)]
pub(super) struct Log {
    origin: OriginId,
    head: [u8; 32],
    clock: HybridClock,
    versions: Versions,
    /// What this origin's events have already named as seen.
    named: Versions,
}

impl Log {
    /// Begins a run with what `conn` holds of earlier ones.
    pub(super) fn open(conn: &Connection) -> Result<Self> {
        let clock: i64 = conn.query_row("SELECT hlc FROM clock", [], |r| r.get(0))?;
        let mut rows = conn.prepare("SELECT origin, seq FROM versions")?;
        let versions = rows
            .query_map([], |r| Ok((OriginId::new(r.get(0)?), r.get(1)?)))?
            .collect::<rusqlite::Result<Versions>>()?;
        let clock = HybridClock::after(Hlc::from_stored(clock));
        Ok(Self { origin: OriginId::random(), head: NO_HASH, clock, versions, named: Versions::new() })
    }

    pub(super) const fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Joins `deltas` to the state and appends the event that carries them.
    pub(super) fn append(&mut self, tx: &Connection, asked: Asked, deltas: &[Delta], now_ms: u64) -> Result<()> {
        let stamp = Stamp { hlc: self.clock.tick(now_ms), origin: self.origin };
        deltas.iter().try_for_each(|d| join(tx, d, stamp))?;
        let seq = self.versions.get(&self.origin).copied().unwrap_or_default() + 1;
        let deps = encode(&self.newly_seen())?;
        let body = encode(&deltas)?;
        let hash = self.hash(seq, stamp.hlc, &deps, asked, &body);
        tx.prepare_cached(EVENT)?.execute((
            self.origin.as_bytes(),
            seq,
            stamp.hlc.to_stored(),
            &deps,
            KIND_DELTAS,
            VERSION,
            asked.device.as_bytes(),
            asked.request.as_bytes(),
            &body,
            self.head,
        ))?;
        tx.prepare_cached(VERSIONS)?.execute((self.origin.as_bytes(), seq, hash))?;
        tx.prepare_cached("UPDATE clock SET hlc = ?1")?.execute([stamp.hlc.to_stored()])?;
        self.head = hash;
        self.named = self.versions.clone();
        self.versions.insert(self.origin, seq);
        Ok(())
    }

    /// Events of other origins that no earlier event of this one has named. With the chain, they
    /// say everything that was known when the event was decided.
    fn newly_seen(&self) -> Vec<(OriginId, u64)> {
        let new = |(origin, seq): &(&OriginId, &u64)| **origin != self.origin && self.named.get(*origin) != Some(*seq);
        self.versions.iter().filter(new).map(|(origin, seq)| (*origin, *seq)).collect()
    }

    fn hash(&self, seq: u64, hlc: Hlc, deps: &[u8], asked: Asked, body: &[u8]) -> [u8; 32] {
        let mut h = blake3::Hasher::new_derive_key(HASH_CONTEXT);
        h.update(&self.head).update(self.origin.as_bytes()).update(&seq.to_le_bytes());
        h.update(&hlc.to_stored().to_le_bytes()).update(&KIND_DELTAS.to_le_bytes()).update(&VERSION.to_le_bytes());
        h.update(asked.device.as_bytes()).update(asked.request.as_bytes());
        for part in [deps, body] {
            h.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        *h.finalize().as_bytes()
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    codec::encode(value, MAX_BODY).map_err(|_| StoreError::Content("an event would be too long"))
}

/// What was answered to this request, if it has had its effect.
pub(super) fn recorded(conn: &Connection, asked: Asked) -> Result<Option<Vec<u8>>> {
    let mut find = conn.prepare_cached("SELECT answer FROM requests WHERE device = ?1 AND request_id = ?2")?;
    Ok(find.query_row((asked.device.as_bytes(), asked.request.as_bytes()), |r| r.get(0)).optional()?)
}

/// Remembers what is answered.
pub(super) fn record(tx: &Connection, asked: Asked, answer: &[u8], now: UnixSeconds) -> Result<()> {
    let sql = "INSERT INTO requests (device, request_id, answer, at) VALUES (?1, ?2, ?3, ?4)";
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
    INSERT INTO events (origin, seq, hlc, deps, kind, ver, device, request_id, body, prev_hash)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const VERSIONS: &str = "
    INSERT INTO versions (origin, seq, hash) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET seq = excluded.seq, hash = excluded.hash";
