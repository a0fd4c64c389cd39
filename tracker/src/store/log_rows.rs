//! The log on disk: events, the version vector, where the log begins, quarantines, recorded answers.

use std::collections::{BTreeSet, HashSet};

use common::codec;
use common::id::OriginId;
use common::ticket::UnixSeconds;
use common::wire::limits::{List, MAX_EVENTS, MAX_FRAME};
use common::wire::sync::{Event, Head, VersionVector};
use rusqlite::{Connection, OptionalExtension, Row};

use super::checkpoint;
use super::error::{Result, StoreError};
use super::log::{Asked, Log, Versions, encode, weight};
use crate::fact::Hlc;

/// Events of one origin looked at in one reading.
const READ_AT_ONCE: usize = MAX_EVENTS;

/// The history so far, gone on with by the run `origin`.
pub(super) fn open(conn: &Connection, origin: OriginId) -> Result<Log> {
    let latest = conn.query_row("SELECT hlc FROM clock", [], |r| r.get(0).map(Hlc::from_stored))?;
    Ok(Log::new(origin, latest, &heads(conn)?, quarantined(conn)?))
}

/// Writes where the history is, of the origins that have moved.
pub(super) fn write_place(tx: &Connection, log: &Log, moved: BTreeSet<OriginId>) -> Result<()> {
    let mut put = tx.prepare_cached(
        "INSERT INTO versions (origin, seq, hash) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET seq = excluded.seq, hash = excluded.hash",
    )?;
    for origin in moved {
        if let Some(seq) = log.versions().get(&origin) {
            put.execute((origin.as_bytes(), seq, log.head(origin)))?;
        }
    }
    tx.prepare_cached("UPDATE clock SET hlc = ?1")?.execute([log.latest().to_stored()])?;
    Ok(())
}

/// Writes an event, and that its asker was answered.
pub(super) fn write_event(tx: &Connection, e: &Event, now: UnixSeconds) -> Result<()> {
    tx.prepare_cached(EVENT)?.execute(rusqlite::params![
        e.origin.as_bytes(),
        e.seq,
        e.hlc,
        encode(&e.deps)?,
        e.kind,
        e.ver,
        e.device.as_bytes(),
        e.request.as_bytes(),
        &e.body[..],
        e.prev_hash,
        &e.answer[..],
        weight(e),
    ])?;
    let sql = "INSERT OR IGNORE INTO requests (device, request_id, answer, at) VALUES (?1, ?2, ?3, ?4)";
    let row = (e.device.as_bytes(), e.request.as_bytes(), &e.answer[..], now.cast_signed());
    tx.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Events of an origin that follow on number `after`, until they are heavier than `most` bytes.
pub(super) fn events_of(conn: &Connection, origin: OriginId, after: u64, most: usize) -> Result<Vec<Event>> {
    let sql = "SELECT seq, hlc, deps, kind, ver, device, request_id, body, answer, prev_hash FROM events
               WHERE origin = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
    let mut find = conn.prepare_cached(sql)?;
    let mut rows = find.query((origin.as_bytes(), after, READ_AT_ONCE as u64))?;
    let (mut events, mut size) = (Vec::new(), 0);
    while let Some(r) = rows.next()? {
        let long = StoreError::Content("an event is too long");
        let deps: Vec<u8> = r.get(2)?;
        let event = Event {
            origin,
            seq: r.get(0)?,
            hlc: r.get(1)?,
            deps: codec::decode::<VersionVector>(&deps, MAX_FRAME)
                .map_err(|_| StoreError::Content("an event is damaged"))?,
            kind: r.get(3)?,
            ver: r.get(4)?,
            device: r.get::<_, [u8; 32]>(5)?.into(),
            request: r.get::<_, [u8; 16]>(6)?.into(),
            body: List::new(r.get(7)?).ok_or(long.clone())?,
            answer: List::new(r.get(8)?).ok_or(long)?,
            prev_hash: r.get(9)?,
        };
        size += weight(&event);
        events.push(event);
        if size > most as u64 {
            break;
        }
    }
    Ok(events)
}

/// The hash of an event that we have: the head of its origin, or what the next one names.
pub(super) fn hash_at(conn: &Connection, origin: OriginId, seq: u64) -> Result<Option<[u8; 32]>> {
    let sql = "SELECT hash FROM versions WHERE origin = ?1 AND seq = ?2
               UNION ALL SELECT prev_hash FROM events WHERE origin = ?1 AND seq = ?2 + 1 LIMIT 1";
    Ok(conn.prepare_cached(sql)?.query_row((origin.as_bytes(), seq), |r| r.get(0)).optional()?)
}

/// What is here of each origin.
pub(super) fn heads(conn: &Connection) -> Result<Vec<Head>> {
    let mut find = conn.prepare_cached("SELECT origin, seq, hash FROM versions ORDER BY origin")?;
    let row = |r: &Row<'_>| Ok(Head { origin: OriginId::new(r.get(0)?), seq: r.get(1)?, hash: r.get(2)? });
    let rows = find.query_map([], row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Up to which event of each origin the log has been cut off.
pub(super) fn floors(conn: &Connection) -> Result<Versions> {
    let mut find = conn.prepare_cached("SELECT origin, seq FROM floors")?;
    let rows = find.query_map([], |r| Ok((OriginId::new(r.get(0)?), r.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Notes that the sibling's state up to `head` has been joined: of that origin, the log begins there.
pub(super) fn adopt(tx: &Connection, head: &Head) -> Result<()> {
    let floor = "INSERT INTO floors (origin, seq) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET seq = excluded.seq";
    tx.prepare_cached(floor)?.execute((head.origin.as_bytes(), head.seq))?;
    tx.prepare_cached("DELETE FROM events WHERE origin = ?1")?.execute([head.origin.as_bytes()])?;
    checkpoint::write_head(tx, head)
}

/// Nothing more is applied of `origin`.
pub(super) fn quarantine(conn: &Connection, origin: OriginId, seq: u64, now: UnixSeconds) -> Result<()> {
    let sql = "INSERT OR IGNORE INTO quarantines (origin, seq, at) VALUES (?1, ?2, ?3)";
    conn.prepare_cached(sql)?.execute((origin.as_bytes(), seq, now))?;
    Ok(())
}

/// Origins of which nothing more is applied.
pub(super) fn quarantined(conn: &Connection) -> Result<HashSet<OriginId>> {
    let mut find = conn.prepare_cached("SELECT origin FROM quarantines")?;
    let rows = find.query_map([], |r| r.get(0).map(OriginId::new))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// What was answered to this request, if it has had its effect.
pub(super) fn recorded(conn: &Connection, asked: Asked) -> Result<Option<Vec<u8>>> {
    let mut find = conn.prepare_cached("SELECT answer FROM requests WHERE device = ?1 AND request_id = ?2")?;
    Ok(find.query_row((asked.device.as_bytes(), asked.request.as_bytes()), |r| r.get(0)).optional()?)
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
