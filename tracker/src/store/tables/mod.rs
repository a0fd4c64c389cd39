//! Questions to the state in its tables, each one statement. They decide nothing: see `rules`.

mod accounts;
#[cfg(test)]
mod cost_tests;
mod groups;
mod presence;
mod shares;
mod usage;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension, Params, Row};

pub use presence::PresenceRow;
pub(super) use presence::save as save_presence;
pub use shares::prefix_range;

use super::error::Result;

/// The tables as of one moment: of a reader's snapshot, or within the writer's transaction.
#[derive(Debug, Clone, Copy)]
pub struct Tables<'a> {
    pub(super) conn: &'a Connection,
}

/// Sizes, for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Accounts.
    pub users: u64,
    /// Groups with members.
    pub groups: u64,
    /// Events in the log.
    pub events: u64,
}

impl<'a> Tables<'a> {
    pub(super) const fn new(conn: &'a Connection) -> Self {
        Self { conn }
    }

    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        row: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.conn.prepare_cached(sql)?.query_row(params, row).optional()?)
    }

    fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let rows = statement.query_map(params, row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn exists(&self, sql: &str, params: impl Params) -> Result<bool> {
        Ok(self.conn.prepare_cached(sql)?.exists(params)?)
    }

    /// Events in the log, and their weight in bytes.
    pub fn log_size(&self) -> Result<(u64, u64)> {
        let sql = "SELECT count(*), coalesce(sum(weight), 0) FROM events";
        Ok(self.conn.prepare_cached(sql)?.query_row([], |r| Ok((r.get(0)?, r.get(1)?)))?)
    }

    /// How much there is.
    pub fn counts(&self) -> Result<Counts> {
        let sql = "SELECT (SELECT count(*) FROM users), (SELECT count(DISTINCT group_id) FROM live),
                          (SELECT coalesce(sum(seq), 0) FROM versions)";
        let row = |r: &Row<'_>| Ok(Counts { users: r.get(0)?, groups: r.get(1)?, events: r.get(2)? });
        Ok(self.conn.prepare_cached(sql)?.query_row([], row)?)
    }
}

/// `name~hhhhhhhh`, by which whoever lost a name is told apart, as its two parts.
fn split_reference(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once('~') {
        Some((base, digits)) if digits.len() == 8 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
            (base, Some(digits))
        }
        _ => (name, None),
    }
}

/// A column that holds an id of ours.
fn id<const N: usize, T: From<[u8; N]>>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    row.get::<_, [u8; N]>(column).map(T::from)
}

/// A column that holds a name of ours.
fn name<T: TryFrom<String>>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Error: std::error::Error + Send + Sync + 'static,
{
    row.get::<_, Name<T>>(column).map(|n| n.0)
}

struct Name<T>(T);

impl<T: TryFrom<String>> FromSql for Name<T>
where
    T::Error: std::error::Error + Send + Sync + 'static,
{
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?.to_owned();
        T::try_from(text).map(Self).map_err(|e| FromSqlError::Other(Box::new(e)))
    }
}
