//! What keeps the history, as those who decide know it. They do not know that it is SQLite.

use common::id::OriginId;
use rusqlite::Connection;

use super::batch::{self, Record};
use super::checkpoint::{Behind, MAX_BEHIND};
use super::error::{Result, StoreError};
use super::log::{Asked, Log};
use super::log_rows;
use crate::failpoint::{self, Point};

/// What a batch is taken to bring at least: if too much is behind, four times as much is written with it.
const LEAST: usize = 256;

/// A history on disk. What it writes is durable when it returns; what fails has left nothing.
pub(super) trait Ledger {
    /// What was answered to a request that has had its effect.
    fn answered(&self, asked: Asked) -> Result<Option<Vec<u8>>>;

    /// The hash of an event, if that is still known.
    fn hash_at(&self, origin: OriginId, seq: u64) -> Result<Option<[u8; 32]>>;

    /// Appends what a batch has come to, at a time in milliseconds since 1970, and how far `log` is with it. May write facts that are behind as
    /// well: returns of how many events.
    fn append(&mut self, log: &Log, records: &[Record], behind: &Behind, now_ms: u64) -> Result<usize>;

    /// Writes facts that are behind, until they are `most` or `enough` says so. Returns of how many events.
    fn checkpoint(&mut self, behind: &Behind, most: usize, enough: &dyn Fn() -> bool) -> Result<usize>;
}

/// The history in a database of SQLite.
pub(super) struct Sqlite {
    pub(super) conn: Connection,
}

impl Ledger for Sqlite {
    fn answered(&self, asked: Asked) -> Result<Option<Vec<u8>>> {
        log_rows::recorded(&self.conn, asked)
    }

    fn hash_at(&self, origin: OriginId, seq: u64) -> Result<Option<[u8; 32]>> {
        log_rows::hash_at(&self.conn, origin, seq)
    }

    fn append(&mut self, log: &Log, records: &[Record], behind: &Behind, now_ms: u64) -> Result<usize> {
        // The log is about to lose events.
        let all = records.iter().any(|r| matches!(r, Record::Adopted(_)));
        let brought: usize = records.iter().map(Record::weight).sum();
        self.transaction(|tx| {
            let events = match all {
                true => behind.write_all(tx)?,
                false if behind.weight() > MAX_BEHIND => behind.write(tx, 4 * brought.max(LEAST), &|| false)?,
                false => 0,
            };
            batch::write(tx, log, records, now_ms)?;
            failpoint::reach(Point::BeforeCommit);
            Ok(events)
        })
    }

    fn checkpoint(&mut self, behind: &Behind, most: usize, enough: &dyn Fn() -> bool) -> Result<usize> {
        self.transaction(|tx| {
            let events = behind.write(tx, most, enough)?;
            failpoint::reach(Point::InCheckpoint);
            Ok(events)
        })
    }
}

impl Sqlite {
    /// Runs `work` in a transaction. On failure nothing of it was.
    pub(super) fn transaction<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let conn = &self.conn;
        execute(conn, "BEGIN IMMEDIATE")?;
        let outcome = work(conn).and_then(|value| {
            // On a full disk SQLite may have undone the whole transaction by itself.
            if conn.is_autocommit() {
                return Err(StoreError::Full);
            }
            execute(conn, "COMMIT").map(|()| value)
        });
        if outcome.is_err() && !conn.is_autocommit() {
            execute(conn, "ROLLBACK")?;
        }
        outcome
    }

    /// Makes the database one file again, which can be copied.
    pub(super) fn tidy(&mut self) {
        if let Err(e) = self.conn.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::debug!("tidying up at the end: {e}");
        }
    }
}

fn execute(conn: &Connection, sql: &str) -> Result<()> {
    conn.prepare_cached(sql)?.execute([])?;
    Ok(())
}
