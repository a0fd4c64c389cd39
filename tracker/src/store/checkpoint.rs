//! The checkpoint: the tables of facts, which are written behind the log, in transactions of their own.
//!
//! Invariant: of each origin, the tables have every fact up to the event that `checkpoints` names, and perhaps more; what
//! follows is in the log, and here. So a start reads the tables and then the tail of the log, and the log is never cut
//! beyond the checkpoint. Facts may be written in any order, and twice: joining does not mind.

use std::collections::{BTreeMap, VecDeque};

use common::id::OriginId;
use common::wire::limits::MAX_BATCH_BYTES;
use common::wire::sync::Head;
use rusqlite::{Connection, Row};

use super::error::Result;
use super::fact_rows;
use super::log::{self, Versions};
use super::log_rows;
use crate::fact::{Fact, LATEST_VERSION, Stamp};

/// Rows that may be behind. From then on, each batch writes more of them than it brings.
pub(super) const MAX_BEHIND: usize = 1 << 16;

/// An event whose facts are not in the tables.
#[derive(Debug)]
struct Entry {
    head: Head,
    stamp: Stamp,
    facts: Vec<Fact>,
}

/// The events that are on disk and whose facts are not in the tables yet, of each origin in their order.
#[derive(Debug, Default)]
pub(super) struct Behind {
    entries: VecDeque<Entry>,
    weight: usize,
}

/// How many rows the facts of an event make, and one for itself.
pub(super) fn weight(facts: &[Fact]) -> usize {
    let rows = |fact: &Fact| match fact {
        Fact::Accepted { kicks_seen, .. } => 1 + kicks_seen.len(),
        _ => 1,
    };
    1 + facts.iter().map(rows).sum::<usize>()
}

impl Behind {
    pub(super) fn push(&mut self, head: Head, stamp: Stamp, facts: Vec<Fact>) {
        self.weight += weight(&facts);
        self.entries.push_back(Entry { head, stamp, facts });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many rows are behind.
    pub(super) const fn weight(&self) -> usize {
        self.weight
    }

    /// Writes facts of the first events, until they are `most` rows, or `enough` says so, which is asked now and then. How
    /// many events that were: they are to be [dropped](Self::drop_first) when the transaction is on disk.
    pub(super) fn write(&self, tx: &Connection, most: usize, enough: &dyn Fn() -> bool) -> Result<usize> {
        let mut reached: BTreeMap<OriginId, Head> = BTreeMap::new();
        let (mut events, mut rows, mut next_look) = (0, 0, LOOK_EVERY);
        for entry in &self.entries {
            if rows >= next_look {
                if enough() {
                    break;
                }
                next_look = rows + LOOK_EVERY;
            }
            if rows >= most {
                break;
            }
            for fact in &entry.facts {
                fact_rows::join(tx, fact, entry.stamp)?;
            }
            rows += weight(&entry.facts);
            reached.insert(entry.head.origin, entry.head);
            events += 1;
        }
        reached.values().try_for_each(|head| write_head(tx, head))?;
        Ok(events)
    }

    /// Writes all of them.
    pub(super) fn write_all(&self, tx: &Connection) -> Result<usize> {
        self.write(tx, usize::MAX, &|| false)
    }

    /// The facts of the first `events` are in the tables.
    pub(super) fn drop_first(&mut self, events: usize) {
        let gone = self.entries.drain(..events.min(self.entries.len()));
        self.weight -= gone.map(|entry| weight(&entry.facts)).sum::<usize>();
    }

    /// What the tables lack: the tail of the log.
    pub(super) fn read(conn: &Connection) -> Result<Self> {
        let written: Versions = heads(conn)?.iter().map(|h| (h.origin, h.seq)).collect();
        let mut behind = Self::default();
        for head in log_rows::heads(conn)? {
            let mut after = written.get(&head.origin).copied().unwrap_or_default();
            loop {
                let page = log_rows::events_of(conn, head.origin, after, MAX_BATCH_BYTES)?;
                let Some(last) = page.last() else { break };
                after = last.seq;
                for event in page {
                    let at = Head { origin: event.origin, seq: event.seq, hash: log::hash_of(&event)? };
                    behind.push(at, log::stamp_of(&event), log::facts_of(&event)?);
                }
            }
        }
        Ok(behind)
    }

    /// Every fact that is behind.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Stamp, &Fact)> {
        self.entries.iter().flat_map(|entry| entry.facts.iter().map(|fact| (entry.stamp, fact)))
    }
}

/// Joins to the tables what is in the log and an earlier release did not understand: it has counted those events as written.
/// Nothing, if the tables are those of this release.
pub(super) fn take_in_later_facts(conn: &mut Connection) -> Result<()> {
    let understood: u32 = conn.query_row("SELECT ver FROM understood", [], |r| r.get(0))?;
    if understood >= LATEST_VERSION {
        return Ok(());
    }
    let tx = conn.transaction()?;
    for head in log_rows::heads(&tx)? {
        let mut after = 0;
        loop {
            let page = log_rows::events_of(&tx, head.origin, after, MAX_BATCH_BYTES)?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            for event in page.iter().filter(|event| event.ver > understood) {
                let stamp = log::stamp_of(event);
                log::facts_of(event)?.iter().try_for_each(|fact| fact_rows::join(&tx, fact, stamp).map(drop))?;
            }
        }
    }
    tx.execute("UPDATE understood SET ver = ?1", [LATEST_VERSION])?;
    Ok(tx.commit()?)
}

/// Rows between two looks at whether somebody waits.
const LOOK_EVERY: usize = 64;

/// The tables have everything of an origin up to here.
pub(super) fn write_head(tx: &Connection, head: &Head) -> Result<()> {
    let sql = "INSERT INTO checkpoints (origin, seq, hash) VALUES (?1, ?2, ?3)
               ON CONFLICT DO UPDATE SET seq = excluded.seq, hash = excluded.hash WHERE excluded.seq > seq";
    tx.prepare_cached(sql)?.execute((head.origin.as_bytes(), head.seq, head.hash))?;
    Ok(())
}

/// How much of each origin the tables have.
pub(super) fn heads(conn: &Connection) -> Result<Vec<Head>> {
    let mut find = conn.prepare_cached("SELECT origin, seq, hash FROM checkpoints ORDER BY origin")?;
    let row = |r: &Row<'_>| Ok(Head { origin: OriginId::new(r.get(0)?), seq: r.get(1)?, hash: r.get(2)? });
    let rows = find.query_map([], row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
