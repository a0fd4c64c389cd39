//! Bounds of the log, and a check of it.
//!
//! Invariant: of each origin a beginning is cut off, and noted as its floor; the rest has no gap.

use common::id::OriginId;
use common::wire::limits::MAX_BATCH_BYTES;
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::Result;
use super::log::{self, NO_HASH};
use super::log_rows;
use crate::fact::Hlc;

/// How much of the log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBounds {
    /// Weight of all events, in bytes.
    pub bytes: u64,
    /// Age of the oldest, in milliseconds.
    pub age_ms: u64,
}

impl Default for LogBounds {
    /// 256 MiB, or a week: a tracker that was away for longer gets the state instead of the events.
    fn default() -> Self {
        Self { bytes: 256 << 20, age_ms: 7 * 24 * 3600 * 1000 }
    }
}

/// Up to which time events are to go; `None` if all may stay.
pub(super) fn beyond(conn: &Connection, bounds: LogBounds, now_ms: u64) -> Result<Option<Hlc>> {
    let sql = "SELECT hlc FROM (SELECT hlc, sum(weight) OVER (ORDER BY hlc DESC, origin DESC) AS total FROM events)
               WHERE total > ?1 ORDER BY hlc DESC LIMIT 1";
    let heavy: Option<i64> = conn.prepare_cached(sql)?.query_row([bounds.bytes], |r| r.get(0)).optional()?;
    let old = Hlc::at_millis(now_ms.saturating_sub(bounds.age_ms));
    let oldest: Option<i64> = conn.prepare_cached("SELECT min(hlc) FROM events")?.query_row([], |r| r.get(0))?;
    let old = oldest.filter(|o| Hlc::from_stored(*o) < old).map(|_| old);
    Ok(heavy.map(Hlc::from_stored).max(old))
}

/// Cuts off up to `most` events that are not later than `until`. Returns how many.
pub(super) fn cut(conn: &Connection, until: Hlc, most: u64) -> Result<usize> {
    let sql = "SELECT origin, max(seq) FROM (SELECT origin, seq FROM events WHERE hlc <= ?1 ORDER BY hlc LIMIT ?2)
               GROUP BY origin";
    let mut find = conn.prepare_cached(sql)?;
    let row = |r: &Row<'_>| Ok((r.get(0)?, r.get(1)?));
    let ends: Vec<([u8; 16], u64)> =
        find.query_map((until.to_stored(), most), row)?.collect::<rusqlite::Result<_>>()?;
    let floor =
        "INSERT INTO floors (origin, seq) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)";
    let mut count = 0;
    for (origin, seq) in ends {
        conn.prepare_cached(floor)?.execute((origin, seq))?;
        count += conn.prepare_cached("DELETE FROM events WHERE origin = ?1 AND seq <= ?2")?.execute((origin, seq))?;
    }
    Ok(count)
}

/// What is wrong with the log; `None` if every origin's events follow on each other, from its floor to
/// its head, each naming the hash of the one before it.
pub(super) fn flaw(conn: &Connection) -> Result<Option<String>> {
    let floors = log_rows::floors(conn)?;
    for head in log_rows::heads(conn)? {
        let mut at = floors.get(&head.origin).copied().unwrap_or_default();
        let mut hash = (at == 0).then_some(NO_HASH);
        loop {
            let page = log_rows::events_of(conn, head.origin, at, MAX_BATCH_BYTES)?;
            if page.is_empty() {
                break;
            }
            for event in page {
                if event.seq != at + 1 {
                    return Ok(Some(said(head.origin, at, "is followed by a gap")));
                }
                if hash.is_some_and(|h| h != event.prev_hash) {
                    return Ok(Some(said(head.origin, event.seq, "does not follow on the one before it")));
                }
                hash = Some(log::hash_of(&event)?);
                at = event.seq;
            }
        }
        if at != head.seq {
            return Ok(Some(said(head.origin, at, "is the last, and the version vector says otherwise")));
        }
        if hash.is_some_and(|h| h != head.hash) && floors.get(&head.origin) != Some(&head.seq) {
            return Ok(Some(said(head.origin, at, "has another hash than the version vector says")));
        }
    }
    Ok(None)
}

fn said(origin: OriginId, seq: u64, what: &str) -> String {
    format!("event {seq} of run {origin:.8} {what}")
}
