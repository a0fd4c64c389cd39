//! What is asked of the disk, because it is not in memory: the log, manifests, recorded answers, where devices were.

use rusqlite::Connection;

use super::error::Result;

/// The tables as of one moment.
#[derive(Debug, Clone, Copy)]
pub struct Tables<'a> {
    pub(super) conn: &'a Connection,
}

impl<'a> Tables<'a> {
    pub(super) const fn new(conn: &'a Connection) -> Self {
        Self { conn }
    }

    /// Events in the log, and their weight in bytes.
    pub fn log_size(&self) -> Result<(u64, u64)> {
        let sql = "SELECT count(*), coalesce(sum(weight), 0) FROM events";
        Ok(self.conn.prepare_cached(sql)?.query_row([], |r| Ok((r.get(0)?, r.get(1)?)))?)
    }
}
