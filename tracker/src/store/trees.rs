//! Trees of folders, stored under the hash of their form, in runs that are sent as they lie.
//!
//! A tree may be long, so its parts are written one by one, each in a transaction of its own, before anything refers to them:
//! they are *staged* under a number. What is then published only says which number has become a tree. Parts of a number
//! that became none, or whose tree is gone, are deleted a few at a time.
//!
//! Invariant: a row of `trees` stands for the form that its hash names, whole and checked, and so does each manifest that
//! names a tree; it goes with the last of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::id::{TreeId, UserId};
use common::tree::{self, MAX_TREE_BYTES, TreeError};
use common::wire::limits::MAX_TREE_PART;
use common::wire::sync::{SyncFrame, TreePart};
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::Semaphore;

use super::Store;
use super::error::{Result, StoreError};
use super::tables::Tables;
use crate::limits::Caller;

/// What all users together may have staged, in bytes.
const ROOM: u64 = 4 * MAX_TREE_BYTES as u64;
/// What one user may have staged, in bytes.
const ROOM_OF_USER: u64 = 2 * MAX_TREE_BYTES as u64;
/// Runs that are deleted in one transaction, so that commands do not wait for long: 4 MiB.
const AT_ONCE: u32 = 16;
/// Trees that are read as a whole at a time, to be checked, in MiB together.
const CHECKED_MIB: usize = MAX_TREE_BYTES >> 20;
/// Numbers without a tree that one look finds.
const ORPHANS: u32 = 1000;

/// A tree that is stored and was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedTree {
    /// Its hash.
    pub id: TreeId,
    /// Where its parts are.
    number: i64,
    /// Length of its form, in bytes.
    pub bytes: u64,
    /// Files and empty folders.
    pub entries: u32,
    /// Bytes of all files.
    pub len: u64,
}

/// Why a staged tree is none.
#[derive(Debug, thiserror::Error)]
pub enum BadTree {
    /// It is not what it is called, or no tree.
    #[error("{0}")]
    Tree(#[from] TreeError),
    /// The parts are not those of the tree that was named.
    #[error("the tree that was sent is not the one that was announced; upload the folder again")]
    Other,
    /// The database failed.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// What is staged, and what was and is still on the disk. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct StagedTrees(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    /// What comes from the other tracker.
    sibling: Mutex<Option<StagedTree>>,
    checks: Semaphore,
}

#[derive(Debug, Default)]
struct Inner {
    /// By number: whose, how many bytes, and whether somebody still adds to it.
    all: HashMap<i64, Stage>,
}

#[derive(Debug)]
struct Stage {
    user: Option<UserId>,
    bytes: u64,
    live: bool,
}

impl Default for StagedTrees {
    fn default() -> Self {
        Self(Arc::new(Shared {
            inner: Mutex::default(),
            sibling: Mutex::default(),
            checks: Semaphore::new(CHECKED_MIB),
        }))
    }
}

impl StagedTrees {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sibling(&self) -> MutexGuard<'_, Option<StagedTree>> {
        self.0.sibling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers that nobody adds to any more.
    fn left(&self) -> Vec<i64> {
        self.lock().all.iter().filter(|(_, stage)| !stage.live).map(|(number, _)| *number).collect()
    }

    fn is_live(&self, number: i64) -> bool {
        self.lock().all.get(&number).is_some_and(|stage| stage.live)
    }
}

/// A tree that comes part by part. Dropped, what nothing refers to is forgotten.
#[derive(Debug)]
pub struct StagedTree {
    trees: StagedTrees,
    number: i64,
    tree: TreeId,
    len: u64,
}

impl StagedTree {
    /// Which tree it is to be.
    pub const fn tree(&self) -> TreeId {
        self.tree
    }

    /// How much of it has come, in bytes.
    pub const fn staged_len(&self) -> u64 {
        self.len
    }

    /// Takes room for the next part of so many bytes, and says where it goes. `None`, if there is no room until other uploads have
    /// ended.
    pub fn grow(&mut self, more: usize) -> Option<TreePlace> {
        let more = more as u64;
        let mut inner = self.trees.lock();
        let user = inner.all.get(&self.number)?.user;
        // What nobody adds to any more goes with the next tree that begins, and must not keep it from that.
        let live = || inner.all.values().filter(|s| s.live);
        let of = |user: Option<UserId>| live().filter(|s| s.user == user).map(|s| s.bytes).sum::<u64>();
        let all: u64 = live().filter(|s| s.user.is_some()).map(|s| s.bytes).sum();
        if user.is_some() && (all + more > ROOM || of(user) + more > ROOM_OF_USER) {
            return None;
        }
        if let Some(stage) = inner.all.get_mut(&self.number) {
            stage.bytes += more;
        }
        let place = TreePlace { number: self.number, first: self.len };
        self.len += more;
        Some(place)
    }
}

impl Drop for StagedTree {
    fn drop(&mut self) {
        if let Some(stage) = self.trees.lock().all.get_mut(&self.number) {
            stage.live = false;
        }
    }
}

/// Where a part of a staged tree goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreePlace {
    number: i64,
    /// Number of its first byte.
    pub first: u64,
}

impl Store {
    /// A tree that is about to come: for `user`, or for the tracker itself.
    pub fn begin_tree(&self, tree: TreeId, user: Option<UserId>) -> StagedTree {
        let number = rand::random();
        self.staged_trees.lock().all.insert(number, Stage { user, bytes: 0, live: true });
        StagedTree { trees: self.staged_trees.clone(), number, tree, len: 0 }
    }

    /// Writes a part where [`StagedTree::grow`] said.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stage_tree_part(&self, caller: &Caller, place: TreePlace, bytes: Vec<u8>) -> Result<()> {
        if place.first == 0 {
            self.forget_staged().await?;
        }
        let sql = "INSERT OR REPLACE INTO tree_parts (number, first, bytes) VALUES (?1, ?2, ?3)";
        let trees = self.staged_trees.clone();
        let write = move |tx: &Connection| {
            // Given up while this waited: what is written now would be counted by nobody.
            if !trees.is_live(place.number) {
                return Err(StoreError::Abandoned);
            }
            Ok(tx.prepare_cached(sql)?.execute((place.number, place.first, bytes))?)
        };
        self.upkeep_for(caller.clone(), write).await.map(drop)
    }

    /// What `staged` is, if it is the tree that it is to be. Whole in memory meanwhile: few are checked at a time.
    ///
    /// # Errors
    /// When it is another one, or none; when the database fails.
    pub async fn check_tree(&self, caller: &Caller, staged: &StagedTree) -> std::result::Result<CheckedTree, BadTree> {
        let mib = u32::try_from(staged.len.div_ceil(1 << 20)).unwrap_or(u32::MAX).clamp(1, CHECKED_MIB as u32);
        let _permit = self.staged_trees.0.checks.acquire_many(mib).await.map_err(|_| StoreError::Closed)?;
        let (number, id, len) = (staged.number, staged.tree, staged.len);
        self.readers
            .read(caller, move |tables| {
                let bytes = tables.tree_bytes(number, len)?;
                if tree::id_of(&bytes) != id {
                    return Err(BadTree::Other);
                }
                let checked = tree::check(&bytes)?;
                Ok(CheckedTree { id, number, bytes: len, entries: checked.entries, len: checked.len })
            })
            .await
    }

    /// How much of a tree has come from the sibling, in bytes; `None`, if all of it is stored.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sibling_tree(&self, id: TreeId) -> Result<Option<u64>> {
        let head = self.readers.read(&Caller::replica(), move |tables| tables.tree_head(id)).await?;
        let staged = self.staged_trees.sibling();
        Ok(match head {
            Some(_) => None,
            None => Some(staged.as_ref().filter(|staged| staged.tree == id).map_or(0, |staged| staged.len)),
        })
    }

    /// Stages a part that the sibling has sent. One from byte 0 begins anew.
    ///
    /// # Errors
    /// When it does not follow on, or the database fails.
    pub async fn stage_sibling_tree(&self, tree: TreeId, offset: u64, bytes: Vec<u8>) -> Result<()> {
        let place = {
            let mut slot = self.staged_trees.sibling();
            if offset == 0 {
                *slot = Some(self.begin_tree(tree, None));
            }
            let staged = slot.as_mut().filter(|staged| staged.tree == tree && staged.len == offset);
            staged.and_then(|staged| staged.grow(bytes.len()))
        };
        let place = place.ok_or(StoreError::Content("the sibling sent a tree out of order"))?;
        self.stage_tree_part(&Caller::replica(), place, bytes).await
    }

    /// A tree that is stored, or that the sibling has sent. One that is not what it is called is forgotten.
    pub(super) async fn check_sibling_tree(&self, id: TreeId) -> Result<CheckedTree> {
        if let Some(stored) = self.readers.read(&Caller::replica(), move |tables| tables.stored_tree(id)).await? {
            return Ok(stored);
        }
        let wrong = StoreError::Content("the sibling sent a tree that is not what it is called");
        let Some(staged) = self.staged_trees.sibling().take().filter(|staged| staged.tree == id) else {
            return Err(wrong);
        };
        match self.check_tree(&Caller::replica(), &staged).await {
            Ok(checked) => {
                *self.staged_trees.sibling() = Some(staged);
                Ok(checked)
            }
            Err(BadTree::Store(e)) => Err(e),
            Err(_) => Err(wrong),
        }
    }

    /// What the sibling has sent has become a tree, or is not needed.
    pub(super) fn drop_sibling_tree(&self) {
        *self.staged_trees.sibling() = None;
    }

    /// Part of a tree, at most `most` bytes, in answer to the sibling.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tree_frame(&self, tree: TreeId, offset: u64, most: usize) -> Result<SyncFrame> {
        let read = move |tables: &Tables<'_>| {
            let Some((_, len)) = tables.tree_head(tree)? else { return Ok(None) };
            Ok::<_, StoreError>(Some((len, tables.tree_part(tree, offset)?)))
        };
        Ok(match self.readers.read(&Caller::replica(), read).await? {
            None => SyncFrame::NoTree(tree),
            Some((len, mut bytes)) => {
                bytes.truncate(most.max(1));
                SyncFrame::Tree(TreePart { tree, len, offset, bytes: common::wire::limits::List::first_of(bytes) })
            }
        })
    }

    /// Deletes the parts of what was staged and has become no tree.
    pub(super) async fn forget_staged(&self) -> Result<()> {
        for number in self.staged_trees.left() {
            self.delete_parts(number).await?;
            self.staged_trees.lock().all.remove(&number);
        }
        Ok(())
    }

    /// Deletes trees that no manifest names, and parts of no tree. To be called every hour or so.
    pub(super) async fn sweep_trees(&self) -> Result<()> {
        self.forget_staged().await?;
        self.upkeep(|tx| {
            let sql = "DELETE FROM trees WHERE NOT EXISTS (SELECT 1 FROM manifests m WHERE m.tree = trees.id)";
            Ok(tx.prepare_cached(sql)?.execute([])?)
        })
        .await?;
        let orphans = self.readers.read(&Caller::tracker(), |tables| tables.orphaned_parts()).await?;
        for number in orphans.into_iter().filter(|number| !self.staged_trees.is_live(*number)) {
            self.delete_parts(number).await?;
        }
        Ok(())
    }

    /// How many parts of trees there are.
    #[cfg(test)]
    pub(crate) async fn tree_part_count(&self) -> Result<u64> {
        let sql = "SELECT count(*) FROM tree_parts";
        self.readers.read(&Caller::tracker(), move |t| Ok(t.conn.query_row(sql, [], |r| r.get(0))?)).await
    }

    async fn delete_parts(&self, number: i64) -> Result<()> {
        let sql = "DELETE FROM tree_parts WHERE number = ?1
                   AND first IN (SELECT first FROM tree_parts WHERE number = ?1 LIMIT ?2)
                   AND NOT EXISTS (SELECT 1 FROM trees t WHERE t.number = ?1)";
        let delete = move |tx: &Connection| Ok(tx.prepare_cached(sql)?.execute((number, AT_ONCE))?);
        while self.upkeep(delete).await? == AT_ONCE as usize {}
        Ok(())
    }
}

/// Says that the parts of `tree` are one, if it is not stored yet.
pub(super) fn write(tx: &Connection, tree: &CheckedTree) -> Result<()> {
    let sql = "INSERT OR IGNORE INTO trees (id, number, bytes, entries) VALUES (?1, ?2, ?3, ?4)";
    tx.prepare_cached(sql)?.execute((tree.id.as_bytes(), tree.number, tree.bytes, tree.entries))?;
    Ok(())
}

impl Tables<'_> {
    /// Consecutive bytes of a tree from `offset` on, at most [`MAX_TREE_PART`]; none at its end, or if it is not here.
    pub(crate) fn tree_part(&self, id: TreeId, offset: u64) -> Result<Vec<u8>> {
        let within = offset % MAX_TREE_PART as u64;
        let sql = "SELECT substr(p.bytes, ?3) FROM tree_parts p JOIN trees t ON t.number = p.number
                   WHERE t.id = ?1 AND p.first = ?2";
        let Ok(first) = i64::try_from(offset - within) else { return Ok(Vec::new()) };
        let mut find = self.conn.prepare_cached(sql)?;
        let bytes = find.query_row((id.as_bytes(), first, within + 1), |r| r.get(0)).optional()?;
        Ok(bytes.unwrap_or_default())
    }

    /// Of a tree that is here, the number of its parts, and its length in bytes.
    fn tree_head(&self, id: TreeId) -> Result<Option<(i64, u64)>> {
        let mut find = self.conn.prepare_cached("SELECT number, bytes FROM trees WHERE id = ?1")?;
        Ok(find.query_row([id.as_bytes()], |r| Ok((r.get(0)?, r.get(1)?))).optional()?)
    }

    /// A tree that is here. How many bytes its files have is not stored with it.
    fn stored_tree(&self, id: TreeId) -> Result<Option<CheckedTree>> {
        let sql = "SELECT t.number, t.bytes, t.entries, m.len FROM trees t JOIN manifests m ON m.tree = t.id
                   WHERE t.id = ?1 LIMIT 1";
        let row = |r: &rusqlite::Row<'_>| {
            let (number, bytes, entries, len) = (r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?);
            Ok(CheckedTree { id, number, bytes, entries, len })
        };
        Ok(self.conn.prepare_cached(sql)?.query_row([id.as_bytes()], row).optional()?)
    }

    /// All of a tree that is here; none, if it is not.
    pub(crate) fn whole_tree(&self, id: TreeId) -> Result<Option<Vec<u8>>> {
        self.tree_head(id)?.map(|(number, len)| self.tree_bytes(number, len)).transpose()
    }

    /// The parts of a number, one after the other.
    fn tree_bytes(&self, number: i64, len: u64) -> Result<Vec<u8>> {
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(MAX_TREE_BYTES);
        let mut bytes = Vec::with_capacity(len);
        let mut find =
            self.conn.prepare_cached("SELECT first, bytes FROM tree_parts WHERE number = ?1 ORDER BY first")?;
        let mut rows = find.query([number])?;
        while let Some(row) = rows.next()? {
            let part = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            if row.get::<_, i64>(0)? != bytes.len() as i64 || bytes.len() + part.len() > len {
                return Err(StoreError::Content("the parts of a tree do not follow on each other"));
            }
            bytes.extend_from_slice(part);
        }
        Ok(bytes)
    }

    fn orphaned_parts(&self) -> Result<Vec<i64>> {
        let sql = "SELECT DISTINCT number FROM tree_parts p
                   WHERE NOT EXISTS (SELECT 1 FROM trees t WHERE t.number = p.number) LIMIT ?1";
        let mut find = self.conn.prepare_cached(sql)?;
        let found = find.query_map([ORPHANS], |r| r.get(0))?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }
}
