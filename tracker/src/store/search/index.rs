//! The file of the index: names of shares, paths of files in folders, and an FTS5 table over them.
//!
//! Everything has a number: that of its group in the upper bits, then whether it is a path, then a count. So what a group has lies
//! together, shares before paths, and FTS5 finds the numbers of one group only, in order, without looking at those of others.
//! It stores of a text only which tokens are in it (`detail=none`), and no text (`content=''`).

use std::path::Path;

use common::id::{FileId, FileName, GroupId};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction};

use super::super::error::Result;
use super::words;
use crate::fact::ManifestId;
use crate::state::{ListedShare, ShareId};
use common::tree::{Entry, Reader};

/// Of the form of the file: another is made anew.
const VERSION: i64 = 2;
/// Bits of a number below that of its group.
const GROUP_SHIFT: u32 = 40;
/// Set in the numbers of paths.
const PATHS: i64 = 1 << (GROUP_SHIFT - 1);
/// Paths that are written, or taken away, in one transaction.
const AT_ONCE: usize = 4096;
/// Shares of one content in a group, and in all groups, whose paths are found: further ones cost their publisher nothing, and
/// are found by their names.
pub(super) const SHARES_WITH_PATHS: i64 = 4;
const SHARES_WITH_PATHS_ANYWHERE: i64 = 64;

const SCHEMA: &str = "
    CREATE TABLE place (one INTEGER PRIMARY KEY CHECK (one = 1), versions BLOB NOT NULL) STRICT;
    CREATE TABLE groups (no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE) STRICT;
    -- `whole`: all of its paths are there. They have the numbers from `first` on.
    CREATE TABLE shares (
        id INTEGER PRIMARY KEY, known BLOB NOT NULL UNIQUE, name TEXT NOT NULL, file BLOB NOT NULL,
        manifest BLOB NOT NULL, size INTEGER NOT NULL, first INTEGER NOT NULL, paths INTEGER NOT NULL,
        whole INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX shares_with_paths ON shares (manifest) WHERE paths > 0;
    CREATE TABLE paths (
        id INTEGER PRIMARY KEY, share INTEGER NOT NULL, path TEXT NOT NULL, size INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE exact (hash INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (hash, id)) STRICT, WITHOUT ROWID;
    CREATE VIRTUAL TABLE texts USING fts5(
        text, content='', contentless_delete=1, detail=none, tokenize='trigram case_sensitive 1');
";

/// The numbers that a group's shares, or its paths, may have.
pub(super) const fn range(group: i64, paths: bool) -> (i64, i64) {
    let low = group << GROUP_SHIFT | if paths { PATHS } else { 0 };
    (low, low | (PATHS - 1))
}

/// Whether a number is that of a path.
pub(super) const fn is_path(id: i64) -> bool {
    id & PATHS != 0
}

/// By what a name of a group is found as a whole.
pub(super) fn exact_hash(group: i64, name: &str) -> i64 {
    let mut h = blake3::Hasher::new();
    h.update(&group.to_le_bytes()).update(name.as_bytes());
    let mut bytes = [0; 8];
    h.finalize_xof().fill(&mut bytes);
    i64::from_le_bytes(bytes)
}

/// The connection that writes.
#[derive(Debug)]
pub(super) struct Index {
    conn: Connection,
}

impl Index {
    /// Opens the file, or makes it anew if it cannot be used: it can be told from the state.
    pub(super) fn open(path: &Path) -> Result<Self> {
        match Self::open_as_is(path) {
            Ok(Some(index)) => Ok(index),
            Ok(None) | Err(_) => {
                for end in ["", "-wal", "-shm"] {
                    let mut name = path.as_os_str().to_owned();
                    name.push(end);
                    let _ = std::fs::remove_file(name);
                }
                let conn = connect(path, true)?;
                conn.pragma_update(None, "journal_mode", "wal")?;
                conn.execute_batch(SCHEMA)?;
                conn.pragma_update(None, "user_version", VERSION)?;
                Ok(Self { conn })
            }
        }
    }

    fn open_as_is(path: &Path) -> Result<Option<Self>> {
        let conn = connect(path, true)?;
        let version: i64 = conn.query_row("PRAGMA user_version", [], |r| r.get(0))?;
        let sound: String = conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
        Ok((version == VERSION && sound == "ok").then_some(Self { conn }))
    }

    /// Up to where the state is in the index, as it was noted.
    pub(super) fn place(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.conn.query_row("SELECT versions FROM place", [], |r| r.get(0)).optional()?)
    }

    /// Notes that everything up to `versions` is in the index; with `None`, that nobody knows.
    pub(super) fn set_place(&self, versions: Option<&[u8]>) -> Result<()> {
        match versions {
            Some(versions) => {
                self.conn.execute("INSERT OR REPLACE INTO place (one, versions) VALUES (1, ?1)", [versions])?
            }
            None => self.conn.execute("DELETE FROM place", [])?,
        };
        Ok(())
    }

    /// Brings the index up to date with shares as they are, but for the paths of folders; returns those of which they are to be
    /// [added](Self::add_paths).
    pub(super) fn put(&mut self, shares: &[(ShareId, Option<ListedShare>)]) -> Result<Vec<(i64, ListedShare)>> {
        let (mut folders, mut old) = (Vec::new(), Vec::new());
        let tx = self.conn.transaction()?;
        for (share, listed) in shares {
            let known = find(&tx, share)?;
            match (known, listed) {
                (Some((_, manifest, true)), Some(listed)) if manifest == listed.manifest.0 => continue,
                (Some((id, ..)), _) => old.push(id),
                (None, _) => {}
            }
            let Some(listed) = listed else { continue };
            if let Some((id, ..)) = known {
                // Its paths go later; it is not found any more.
                tx.prepare_cached("UPDATE shares SET known = randomblob(32) WHERE id = ?1")?.execute([id])?;
            }
            let id = add_share(&tx, share, listed)?;
            if listed.tree.is_some() {
                folders.push((id, *listed));
            }
        }
        tx.commit()?;
        old.into_iter().try_for_each(|id| self.remove(id))?;
        Ok(folders)
    }

    /// Adds the paths of a folder, whose tree's form `bytes` are, unless [many](SHARES_WITH_PATHS) shares have the same.
    pub(super) fn add_paths(&mut self, share: i64, bytes: &[u8]) -> Result<()> {
        let Ok(mut reader) = Reader::new(bytes) else { return Ok(()) };
        let (here, anywhere) = self.same_paths(share)?;
        if here >= SHARES_WITH_PATHS || anywhere >= SHARES_WITH_PATHS_ANYWHERE {
            self.conn.prepare_cached("UPDATE shares SET whole = 1 WHERE id = ?1")?.execute([share])?;
            return Ok(());
        }
        let (_, last) = range(share >> GROUP_SHIFT, true);
        let (low, _) = range(share >> GROUP_SHIFT, true);
        let highest: Option<i64> =
            self.conn.query_row("SELECT max(id) FROM paths WHERE id BETWEEN ?1 AND ?2", (low, last), |r| r.get(0))?;
        let first = highest.map_or(low, |id| id + 1);
        let (mut next, mut more) = (first, true);
        while more {
            let tx = self.conn.transaction()?;
            for _ in 0..AT_ONCE {
                let Ok(Some(node)) = reader.next() else {
                    more = false;
                    break;
                };
                if let Entry::File { len, .. } = node.entry {
                    add_path(&tx, (share, next), node.path, len)?;
                    next += 1;
                }
            }
            let row = (share, first, next - first, !more);
            tx.prepare_cached("UPDATE shares SET first = ?2, paths = ?3, whole = ?4 WHERE id = ?1")?.execute(row)?;
            tx.commit()?;
        }
        Ok(())
    }

    /// Of how many shares with the content of `share` paths are there: in its group, and anywhere.
    fn same_paths(&self, share: i64) -> Result<(i64, i64)> {
        let sql = "SELECT count(*) FILTER (WHERE s.id BETWEEN ?2 AND ?3), count(*) FROM shares s
                   WHERE s.paths > 0 AND s.manifest = (SELECT manifest FROM shares WHERE id = ?1)";
        let (low, high) = range(share >> GROUP_SHIFT, false);
        Ok(self.conn.prepare_cached(sql)?.query_row((share, low, high), |r| Ok((r.get(0)?, r.get(1)?)))?)
    }

    /// Takes a share and its paths away.
    fn remove(&mut self, share: i64) -> Result<()> {
        let sql = "SELECT name, first, paths FROM shares WHERE id = ?1";
        let row = |r: &rusqlite::Row<'_>| Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?));
        let Some((name, first, paths)) = self.conn.query_row(sql, [share], row).optional()? else { return Ok(()) };
        let mut left = paths;
        while left > 0 {
            let from = first + left.saturating_sub(AT_ONCE as i64).max(0);
            let tx = self.conn.transaction()?;
            let mut find = tx.prepare_cached("SELECT id, path FROM paths WHERE id BETWEEN ?1 AND ?2")?;
            let found = find.query_map((from, first + left - 1), |r| Ok((r.get(0)?, r.get::<_, String>(1)?)))?;
            let found: Vec<(i64, String)> = found.collect::<rusqlite::Result<_>>()?;
            drop(find);
            for (id, path) in found {
                forget_text(&tx, id, &path)?;
                tx.prepare_cached("DELETE FROM paths WHERE id = ?1")?.execute([id])?;
            }
            left = from - first;
            tx.prepare_cached("UPDATE shares SET paths = ?2, whole = 0 WHERE id = ?1")?.execute((share, left))?;
            tx.commit()?;
        }
        let tx = self.conn.transaction()?;
        forget_text(&tx, share, &name)?;
        tx.prepare_cached("DELETE FROM shares WHERE id = ?1")?.execute([share])?;
        tx.commit()?;
        Ok(())
    }

    /// Up to `most` shares that are in the index, after `after`.
    pub(super) fn shares_after(&self, after: i64, most: usize) -> Result<Vec<(i64, ShareId)>> {
        let sql = "SELECT s.id, g.id, s.file, s.name FROM shares s JOIN groups g ON g.no = s.id >> ?3
                   WHERE s.id > ?1 ORDER BY s.id LIMIT ?2";
        let mut find = self.conn.prepare_cached(sql)?;
        let mut rows = find.query((after, most as u64, GROUP_SHIFT))?;
        let mut page = Vec::new();
        while let Some(r) = rows.next()? {
            let Ok(name) = FileName::try_from(r.get::<_, String>(3)?) else { continue };
            let (group, file) = (GroupId::new(r.get(1)?), FileId::new(r.get(2)?));
            page.push((r.get(0)?, ShareId { group, file, name }));
        }
        Ok(page)
    }
}

/// A connection to the file.
pub(super) fn connect(path: &Path, writes: bool) -> Result<Connection> {
    let access = match writes {
        true => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        false => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    if writes {
        // SQLite gives the files beside it the same mode.
        let _ = super::super::open::private().open(path);
    }
    let conn = super::super::open::connect(path, access)?;
    if writes {
        // What is lost is told from the state again.
        conn.pragma_update(None, "synchronous", "normal")?;
    }
    Ok(conn)
}

fn key(share: &ShareId) -> [u8; 32] {
    let mut h = blake3::Hasher::new();
    h.update(share.group.as_bytes()).update(share.file.as_bytes()).update(share.name.as_str().as_bytes());
    *h.finalize().as_bytes()
}

/// The number of a share, its manifest, and whether all of it is there.
fn find(tx: &Transaction<'_>, share: &ShareId) -> Result<Option<(i64, [u8; 32], bool)>> {
    let mut find = tx.prepare_cached("SELECT id, manifest, whole FROM shares WHERE known = ?1")?;
    Ok(find.query_row([key(share)], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).optional()?)
}

fn add_share(tx: &Transaction<'_>, share: &ShareId, listed: &ListedShare) -> Result<i64> {
    tx.prepare_cached("INSERT OR IGNORE INTO groups (id) VALUES (?1)")?.execute([share.group.as_bytes()])?;
    let mut find = tx.prepare_cached("SELECT no FROM groups WHERE id = ?1")?;
    let group: i64 = find.query_row([share.group.as_bytes()], |r| r.get(0))?;
    let (low, high) = range(group, false);
    let mut find = tx.prepare_cached("SELECT max(id) FROM shares WHERE id BETWEEN ?1 AND ?2")?;
    let highest: Option<i64> = find.query_row((low, high), |r| r.get(0))?;
    let id = highest.map_or(low, |id| id + 1);
    let sql = "INSERT INTO shares (id, known, name, file, manifest, size, first, paths, whole)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7)";
    let (name, size) = (share.name.as_str(), listed.size.cast_signed());
    let row = (id, key(share), name, share.file.as_bytes(), listed.manifest.0, size, listed.tree.is_none());
    tx.prepare_cached(sql)?.execute(row)?;
    add_text(tx, id, name)?;
    Ok(id)
}

fn add_path(tx: &Transaction<'_>, (share, id): (i64, i64), path: &str, size: u64) -> Result<()> {
    let sql = "INSERT INTO paths (id, share, path, size) VALUES (?1, ?2, ?3, ?4)";
    tx.prepare_cached(sql)?.execute((id, share, path, size.cast_signed()))?;
    add_text(tx, id, path)
}

fn add_text(tx: &Transaction<'_>, id: i64, text: &str) -> Result<()> {
    let plain = words::plain(text);
    let row = (id, words::document(&plain));
    tx.prepare_cached("INSERT INTO texts (rowid, text) VALUES (?1, ?2)")?.execute(row)?;
    let hash = exact_hash(id >> GROUP_SHIFT, words::name_of(&plain));
    tx.prepare_cached("INSERT OR IGNORE INTO exact (hash, id) VALUES (?1, ?2)")?.execute((hash, id))?;
    Ok(())
}

fn forget_text(tx: &Transaction<'_>, id: i64, text: &str) -> Result<()> {
    tx.prepare_cached("DELETE FROM texts WHERE rowid = ?1")?.execute([id])?;
    let hash = exact_hash(id >> GROUP_SHIFT, words::name_of(&words::plain(text)));
    tx.prepare_cached("DELETE FROM exact WHERE hash = ?1 AND id = ?2")?.execute((hash, id))?;
    Ok(())
}

/// What a number stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Indexed {
    pub(super) name: String,
    pub(super) file: FileId,
    pub(super) manifest: ManifestId,
    pub(super) path: Option<String>,
    pub(super) size: u64,
}

/// What `id` stands for.
pub(super) fn indexed(conn: &Connection, id: i64) -> Result<Option<Indexed>> {
    let sql = match is_path(id) {
        true => {
            "SELECT s.name, s.file, s.manifest, p.size, p.path FROM paths p JOIN shares s ON s.id = p.share WHERE p.id = ?1"
        }
        false => "SELECT name, file, manifest, size, NULL FROM shares WHERE id = ?1",
    };
    let row = |r: &rusqlite::Row<'_>| {
        let (file, manifest) = (FileId::new(r.get(1)?), ManifestId(r.get(2)?));
        Ok(Indexed { name: r.get(0)?, file, manifest, path: r.get(4)?, size: r.get::<_, i64>(3)?.cast_unsigned() })
    };
    Ok(conn.prepare_cached(sql)?.query_row([id], row).optional()?)
}

/// The number of a group.
pub(super) fn group_number(conn: &Connection, group: GroupId) -> Result<Option<i64>> {
    let mut find = conn.prepare_cached("SELECT no FROM groups WHERE id = ?1")?;
    Ok(find.query_row([group.as_bytes()], |r| r.get(0)).optional()?)
}
