//! Small keys for what has long ids, and the tables that give them out.
//!
//! A row never moves, so that a table grows without a pause: rows lie in chunks, and the hash index over them in so many
//! shards that one of them is rebuilt in less than a millisecond when there are a million rows. Hashes are keyed at
//! random (SipHash): nobody can choose ids that collide.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::ops;

use hashbrown::HashTable;

/// Rows that lie together.
const CHUNK: usize = 1024;
/// Parts of an index that grow one at a time.
const SHARDS: usize = 256;

/// A number for a row, from 1.
pub(super) trait Key: Copy + Eq + Ord {
    /// The key of the row at `index`, from 0.
    fn of(index: usize) -> Self;
    /// Before all others.
    const MIN: Self;
    /// Where the row is.
    fn index(self) -> usize;
}

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident)*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(super) struct $name(NonZeroU32);

        impl Key for $name {
            const MIN: Self = Self(NonZeroU32::MIN);

            fn of(index: usize) -> Self {
                // Four thousand million rows do not fit into memory.
                Self(u32::try_from(index).ok().and_then(|i| NonZeroU32::MIN.checked_add(i)).unwrap_or(NonZeroU32::MAX))
            }

            fn index(self) -> usize {
                self.0.get() as usize - 1
            }
        }
    )* };
}

keys! {
    /// One run of one tracker.
    RunKey
    /// An account.
    UserKey
    /// A password that somebody had.
    CredentialKey
    /// A login.
    SessionKey
    /// A device.
    DeviceKey
    /// A group.
    GroupKey
    /// A request to join, and what became of it.
    MembershipKey
    /// A removal of a user from a group.
    KickKey
    /// A content within a group.
    FileKey
    /// A content under a name within a group.
    ShareKey
    /// An act of publishing.
    PublicationKey
    /// A manifest.
    ManifestKey
    /// An invitation into a group.
    InvitationKey
}

/// What a table holds: made empty when its id is first heard of, in whichever fact.
pub(super) trait Row {
    /// Its number.
    type Key: Key;
    /// Its long id.
    type Id: Hash + Eq;
    /// A row of which nothing else is known.
    fn new(id: Self::Id) -> Self;
    /// Its long id.
    fn id(&self) -> Self::Id;
}

/// Rows by number, and their numbers by id.
#[derive(Debug)]
pub(super) struct Table<R: Row> {
    chunks: Vec<Vec<R>>,
    len: usize,
    vacant: Vec<R::Key>,
    index: Index,
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0, vacant: Vec::new(), index: Index::default() }
    }
}

impl<R: Row> Table<R> {
    /// The number of the row with this id.
    pub(super) fn find(&self, id: &R::Id) -> Option<R::Key> {
        self.find_hashed(self.index.hash(id), id)
    }

    fn find_hashed(&self, hash: u64, id: &R::Id) -> Option<R::Key> {
        self.index.find(hash, |k| self[R::Key::of(k)].id() == *id).map(R::Key::of)
    }

    /// The row with this id.
    pub(super) fn get(&self, id: &R::Id) -> Option<(R::Key, &R)> {
        self.find(id).map(|key| (key, &self[key]))
    }

    /// The number of the row with this id, which is made if need be.
    pub(super) fn intern(&mut self, id: R::Id) -> R::Key {
        let hash = self.index.hash(&id);
        if let Some(key) = self.find_hashed(hash, &id) {
            return key;
        }
        let key = match self.vacant.pop() {
            Some(key) => {
                self[key] = R::new(id);
                key
            }
            None => self.push(R::new(id)),
        };
        let Self { chunks, index, .. } = self;
        let rehash = |hasher: &RandomState, k: usize| hasher.hash_one(chunks[k / CHUNK][k % CHUNK].id());
        index.insert(hash, key.index(), rehash);
        key
    }

    fn push(&mut self, row: R) -> R::Key {
        if self.len == self.chunks.len() * CHUNK {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(row);
        }
        self.len += 1;
        R::Key::of(self.len - 1)
    }

    /// Forgets a row to which nothing refers any more; its number is used again.
    pub(super) fn vacate(&mut self, key: R::Key) {
        let hash = self.index.hash(&self[key].id());
        self.index.remove(hash, key.index());
        self.vacant.push(key);
    }

    /// Every row, those of which nothing is known included, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (R::Key, &R)> {
        let vacant: std::collections::BTreeSet<_> = self.vacant.iter().copied().collect();
        let rows = self.chunks.iter().flatten().enumerate().map(|(n, row)| (R::Key::of(n), row));
        rows.filter(move |(key, _)| !vacant.contains(key))
    }
}

impl<R: Row> ops::Index<R::Key> for Table<R> {
    type Output = R;
    fn index(&self, key: R::Key) -> &R {
        &self.chunks[key.index() / CHUNK][key.index() % CHUNK]
    }
}

impl<R: Row> ops::IndexMut<R::Key> for Table<R> {
    fn index_mut(&mut self, key: R::Key) -> &mut R {
        &mut self.chunks[key.index() / CHUNK][key.index() % CHUNK]
    }
}

/// Numbers by the hash of something that the rows know. About 8 bytes for each.
#[derive(Debug)]
pub(super) struct Index {
    shards: Vec<HashTable<u32>>,
    hasher: RandomState,
}

impl Default for Index {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| HashTable::new()).collect(), hasher: RandomState::new() }
    }
}

/// Bits of a hash that the tables within do not look at much.
const fn shard(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

impl Index {
    pub(super) fn hash(&self, of: &(impl Hash + ?Sized)) -> u64 {
        self.hasher.hash_one(of)
    }

    /// The first number under `hash` that is the one.
    pub(super) fn find(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        self.shards[shard(hash)].find(hash, |k| is(*k as usize)).map(|k| *k as usize)
    }

    /// Every number under `hash`, and some others.
    pub(super) fn all(&self, hash: u64) -> impl Iterator<Item = usize> {
        self.shards[shard(hash)].iter_hash(hash).map(|k| *k as usize)
    }

    pub(super) fn insert(&mut self, hash: u64, key: usize, rehash: impl Fn(&RandomState, usize) -> u64) {
        let Self { shards, hasher } = self;
        let key = u32::try_from(key).unwrap_or(u32::MAX);
        shards[shard(hash)].insert_unique(hash, key, |k| rehash(hasher, *k as usize));
    }

    pub(super) fn remove(&mut self, hash: u64, key: usize) {
        if let Ok(entry) = self.shards[shard(hash)].find_entry(hash, |k| *k as usize == key) {
            entry.remove();
        }
    }
}
