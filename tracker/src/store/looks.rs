//! What names of shares look like (see `common::look`), so that a twin is found without reading all names of a group.
//!
//! Derived from `publications`, and made anew when a release sees looks in another way. A row says that a name once
//! stood there, not that it does now. Names that look like themselves have none.

use common::id::GroupId;
use common::look::look;
use rusqlite::{Connection, OptionalExtension};

use super::error::Result;

/// To be raised whenever `common::look`, or the Unicode data beneath it, may give another look.
const VERSION: i64 = 1;

/// Notes a name, if it does not look like itself. Names of that look that were withdrawn for good are forgotten, so
/// that somebody who gives and withdraws them all day does not make others wait.
pub(super) fn note(tx: &Connection, group: GroupId, name: &str) -> Result<()> {
    note_in(tx, group.as_bytes(), name)?;
    let sql = "
        DELETE FROM looks WHERE group_id = ?1 AND look = ?2 AND name <> ?3 AND NOT EXISTS (
            SELECT 1 FROM publications p INDEXED BY publications_by_name
            WHERE p.withdrawn = 0 AND p.group_id = ?1 AND p.name = looks.name)";
    tx.prepare_cached(sql)?.execute((group.as_bytes(), look(name), name))?;
    Ok(())
}

fn note_in(tx: &Connection, group: &[u8], name: &str) -> rusqlite::Result<()> {
    let look = look(name);
    if look != name {
        let sql = "INSERT OR IGNORE INTO looks (group_id, look, name) VALUES (?1, ?2, ?3)";
        tx.prepare_cached(sql)?.execute((group, look, name))?;
    }
    Ok(())
}

/// Another name in the group that looks like `name`.
pub(super) fn twin(conn: &Connection, group: GroupId, name: &str) -> Result<Option<String>> {
    let sql = "
        SELECT name FROM (SELECT ?2 AS name UNION SELECT name FROM looks WHERE group_id = ?1 AND look = ?2) t
        WHERE name <> ?3 AND EXISTS (SELECT 1 FROM listed l WHERE l.group_id = ?1 AND l.name = t.name) LIMIT 1";
    let mut find = conn.prepare_cached(sql)?;
    Ok(find.query_row((group.as_bytes(), look(name), name), |r| r.get(0)).optional()?)
}

/// Makes the looks of all names anew, if those at hand are another release's.
pub(super) fn bring_up_to_date(conn: &mut Connection) -> rusqlite::Result<()> {
    let found: i64 = conn.query_row("SELECT version FROM looks_version", [], |r| r.get(0))?;
    if found == VERSION {
        return Ok(());
    }
    let tx = conn.transaction()?;
    tx.execute("DELETE FROM looks", [])?;
    {
        let mut names = tx.prepare("SELECT DISTINCT group_id, name FROM publications")?;
        let mut rows = names.query([])?;
        while let Some(row) = rows.next()? {
            let (group, name): (Vec<u8>, String) = (row.get(0)?, row.get(1)?);
            note_in(&tx, &group, &name)?;
        }
    }
    tx.execute("UPDATE looks_version SET version = ?1", [VERSION])?;
    tx.commit()
}
