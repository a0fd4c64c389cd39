//! The tree of a folder that is shared as one content: which bytes of the piece space are which file.
//!
//! The piece space is the bytes of all files, one after the other in the order of their paths. So a manifest, a bitfield and
//! a journal of a folder are what they are of a file, and the tree is the rest: for each file its path, length, BLAKE3 and
//! whether it may be run, and the folders that are empty. Pure: files are read and written elsewhere.
//!
//! **Form.** [`Tree::encode`] gives one form of a tree and [`Tree::decode`] takes no other, so a tree is known by the hash
//! of its form. Version, then entries in the order of the bytes of their paths, each: length of the beginning that it shares
//! with the path before it; length of the rest; the rest; kind; for files their length and, unless that is 0, their hash.
//! Lengths are LEB128, in as few bytes as they need.
//!
//! Invariant of a [`Tree`]: its paths can be made below a directory, side by side, on every system. No path leaves the directory,
//! none is another's folder, and no two differ only in what some file system does not tell apart ([`folded`]).

mod clash;
mod form;
mod path;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use self::clash::folded;
pub use self::form::{Checked, Reader, check};
pub use self::path::TreePath;
use crate::escape::Escaped;
use crate::id::{FileId, TreeId};

/// Files and empty folders of one tree.
pub const MAX_ENTRIES: usize = 1_000_000;
/// Folders that the paths of one tree go through.
pub const MAX_FOLDERS: usize = 1_000_000;
/// Longest path within a tree, in bytes.
pub const MAX_PATH_BYTES: usize = 4096;
/// Names in one path.
pub const MAX_DEPTH: usize = 256;
/// All paths of a tree, written out, in bytes. In the canonical form they share their beginnings, so that this does not follow
/// from its length.
pub const MAX_TEXT_BYTES: usize = 256 << 20;
/// Longest canonical form, in bytes.
pub const MAX_TREE_BYTES: usize = 128 << 20;

/// Why there is no such tree. Paths are those of the publisher, and are escaped where they are shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A path that cannot be made on every system.
    #[error("`{}` cannot be shared: {reason}; rename it", Escaped(.path))]
    Path {
        /// The path, or its beginning.
        path: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// One path, twice.
    #[error("`{}` is in the folder twice", Escaped(.0))]
    Duplicate(String),
    /// A file, or a folder that is said to be empty, with something below it.
    #[error("`{}` is a file and a folder", Escaped(.0))]
    FileAndFolder(String),
    /// Two paths that are one on some systems.
    #[error(
        "`{}` and `{}` are the same on systems that do not tell upper from lower case, or one form of an accent from \
         another; rename one of them", Escaped(.first), Escaped(.second)
    )]
    Clash {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// An empty file with another hash than that of nothing.
    #[error("`{}` is empty, and its hash is that of something else", Escaped(.0))]
    EmptyFile(String),
    /// More than [`MAX_ENTRIES`].
    #[error("the folder has more than {MAX_ENTRIES} files and empty folders; share its parts one by one")]
    Entries,
    /// More than [`MAX_FOLDERS`].
    #[error("the folder has more than {MAX_FOLDERS} folders; share its parts one by one")]
    Folders,
    /// Longer than [`MAX_TEXT_BYTES`] or [`MAX_TREE_BYTES`].
    #[error("the paths of the folder are too long together; share its parts one by one")]
    Length,
    /// More bytes than can be counted.
    #[error("the files of the folder are too large together; share its parts one by one")]
    Content,
    /// Bytes that are not a tree in its canonical form.
    #[error("these bytes are not a tree: {0}")]
    Malformed(&'static str),
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Entry {
    /// A file.
    File {
        /// Its length, in bytes.
        len: u64,
        /// BLAKE3 of its bytes alone.
        hash: FileId,
        /// Whether its owner may run it.
        executable: bool,
    },
    /// A folder without anything in it.
    EmptyFolder,
}

/// One entry of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node<'a> {
    /// Where it is below the folder; valid as a [`TreePath`].
    pub path: &'a str,
    /// What it is.
    pub entry: Entry,
    /// Where its bytes begin in the piece space.
    pub offset: u64,
}

/// An entry without its path. What ends where the next one begins is not said twice.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    hash: [u8; 32],
    /// Where its bytes end in the piece space.
    end: u64,
    /// Where its path ends among all paths.
    text_end: u32,
    kind: Kind,
}

const _: () = assert!(size_of::<Row>() <= 48, "a million of them are in memory at once");
const _: () = assert!(MAX_TEXT_BYTES < u32::MAX as usize, "positions among the paths fit");

/// What an entry is, as the canonical form has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    File = 0,
    Executable = 1,
    EmptyFolder = 2,
}

/// The tree of a folder. In memory 48 bytes for an entry, and its path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    text: String,
    rows: Vec<Row>,
}

impl Tree {
    /// The tree of these entries, in whatever order they come.
    ///
    /// # Errors
    /// When they are not one tree, or it is too large; the error names the paths.
    pub fn new(entries: impl IntoIterator<Item = (TreePath, Entry)>) -> Result<Self, TreeError> {
        let mut entries: Vec<_> = entries.into_iter().collect();
        if entries.len() > MAX_ENTRIES {
            return Err(TreeError::Entries);
        }
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        if let Some(twice) = entries.windows(2).find(|two| two[0].0 == two[1].0) {
            return Err(TreeError::Duplicate(twice[0].0.as_str().to_owned()));
        }
        let mut tree = Self::default();
        tree.rows.reserve_exact(entries.len());
        entries.iter().try_for_each(|(path, entry)| tree.push(path.as_str(), *entry))?;
        drop(entries);
        if form::encoded_len(&tree) > MAX_TREE_BYTES {
            return Err(TreeError::Length);
        }
        tree.check_clashes()?;
        Ok(tree)
    }

    /// The tree whose canonical form `bytes` are.
    ///
    /// # Errors
    /// When they are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, TreeError> {
        let (mut tree, mut reader) = (Self::default(), Reader::new(bytes)?);
        while let Some(node) = reader.next()? {
            tree.push(node.path, node.entry)?;
        }
        tree.check_clashes()?;
        Ok(tree)
    }

    /// Its canonical form.
    pub fn encode(&self) -> Vec<u8> {
        form::encode(self)
    }

    /// BLAKE3 of its canonical form.
    pub fn id(&self) -> TreeId {
        id_of(&self.encode())
    }

    /// Bytes of all files.
    pub fn len(&self) -> u64 {
        self.rows.last().map_or(0, |row| row.end)
    }

    /// Whether there is nothing in the folder, not even an empty file.
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Files and empty folders.
    pub const fn entries(&self) -> usize {
        self.rows.len()
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Node<'_>> + DoubleEndedIterator + Clone {
        (0..self.rows.len()).map(|at| self.node(at))
    }

    /// The entry with this number.
    pub fn get(&self, index: usize) -> Option<Node<'_>> {
        (index < self.rows.len()).then(|| self.node(index))
    }

    /// The number of the entry at `path`.
    pub fn find(&self, path: &str) -> Option<usize> {
        let at = self.first_not_before(path);
        self.get(at).filter(|node| node.path == path).map(|_| at)
    }

    /// The numbers of the entries below a folder; all of them for the empty path.
    pub fn under(&self, folder: &str) -> Range<usize> {
        if folder.is_empty() {
            return 0..self.rows.len();
        }
        // `0` comes next after `/`.
        self.first_not_before(&format!("{folder}/"))..self.first_not_before(&format!("{folder}0"))
    }

    /// The files that a range of the piece space touches, in order, each with the part of it that does. Empty files are not
    /// touched by anything.
    pub fn touching(&self, bytes: Range<u64>) -> impl Iterator<Item = (usize, Range<u64>)> + '_ {
        let first = self.rows.partition_point(|row| row.end <= bytes.start);
        let touched = (first..self.rows.len()).take_while(move |at| self.start(*at) < bytes.end);
        touched.filter_map(move |at| {
            let (start, end) = (self.start(at), self.rows[at].end);
            let part = bytes.start.max(start) - start..bytes.end.min(end) - start;
            (!part.is_empty()).then_some((at, part))
        })
    }

    fn first_not_before(&self, path: &str) -> usize {
        let (mut low, mut high) = (0, self.rows.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.path(middle) < path {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn start(&self, at: usize) -> u64 {
        at.checked_sub(1).map_or(0, |before| self.rows[before].end)
    }

    fn path(&self, at: usize) -> &str {
        let start = at.checked_sub(1).map_or(0, |before| self.rows[before].text_end);
        &self.text[start as usize..self.rows[at].text_end as usize]
    }

    fn node(&self, at: usize) -> Node<'_> {
        let (row, offset) = (&self.rows[at], self.start(at));
        let file = |executable| Entry::File { len: row.end - offset, hash: FileId::new(row.hash), executable };
        let entry = match row.kind {
            Kind::File => file(false),
            Kind::Executable => file(true),
            Kind::EmptyFolder => Entry::EmptyFolder,
        };
        Node { path: self.path(at), entry, offset }
    }

    /// Adds an entry that comes after all others.
    fn push(&mut self, path: &str, entry: Entry) -> Result<(), TreeError> {
        let (kind, len, hash) = match entry {
            Entry::File { len, hash, executable: false } => (Kind::File, len, hash),
            Entry::File { len, hash, executable: true } => (Kind::Executable, len, hash),
            Entry::EmptyFolder => (Kind::EmptyFolder, 0, FileId::new([0; 32])),
        };
        if kind != Kind::EmptyFolder && len == 0 && hash != of_nothing() {
            return Err(TreeError::EmptyFile(path.to_owned()));
        }
        if self.text.len() + path.len() > MAX_TEXT_BYTES {
            return Err(TreeError::Length);
        }
        let end = self.len().checked_add(len).ok_or(TreeError::Content)?;
        self.text.push_str(path);
        self.rows.push(Row { hash: *hash.as_bytes(), end, text_end: self.text.len() as u32, kind });
        Ok(())
    }

    fn check_clashes(&self) -> Result<(), TreeError> {
        clash::check(|see| (0..self.rows.len()).try_for_each(|at| see(self.path(at))))
    }
}

/// The id of the tree whose canonical form `bytes` are; nothing else about them is checked.
pub fn id_of(bytes: &[u8]) -> TreeId {
    TreeId::new(*blake3::hash(bytes).as_bytes())
}

/// The hash of an empty file.
pub fn of_nothing() -> FileId {
    FileId::new(*blake3::hash(&[]).as_bytes())
}
