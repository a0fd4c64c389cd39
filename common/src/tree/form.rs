//! The canonical form of a tree: see the description of the module above.

use super::{
    Entry, Kind, MAX_ENTRIES, MAX_PATH_BYTES, MAX_TEXT_BYTES, MAX_TREE_BYTES, Node, Tree, TreeError, clash, of_nothing,
    path,
};
use crate::id::FileId;
use clash::common_len;

/// Version of the form.
const VERSION: u8 = 1;
/// Bytes of the longest LEB128 number.
const MAX_VARINT: usize = 10;

/// Encodes `tree`.
pub(super) fn encode(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded_len(tree));
    out.push(VERSION);
    let mut before = "";
    for node in tree.iter() {
        let shared = common_len(before.as_bytes(), node.path.as_bytes());
        let rest = &node.path.as_bytes()[shared..];
        write_varint(&mut out, shared as u64);
        write_varint(&mut out, rest.len() as u64);
        out.extend_from_slice(rest);
        let (kind, file) = parts(node.entry);
        out.push(kind as u8);
        if let Some((len, hash)) = file {
            write_varint(&mut out, len);
            if len > 0 {
                out.extend_from_slice(hash.as_bytes());
            }
        }
        before = node.path;
    }
    out
}

/// How long the form of `tree` is.
pub(super) fn encoded_len(tree: &Tree) -> usize {
    let (mut len, mut before) = (1, "");
    for node in tree.iter() {
        let shared = common_len(before.as_bytes(), node.path.as_bytes());
        let rest = node.path.len() - shared;
        len += varint_len(shared as u64) + varint_len(rest as u64) + rest + 1;
        if let (_, Some((file, _))) = parts(node.entry) {
            len += varint_len(file) + if file > 0 { FileId::LEN } else { 0 };
        }
        before = node.path;
    }
    len
}

const fn parts(entry: Entry) -> (Kind, Option<(u64, FileId)>) {
    match entry {
        Entry::File { len, hash, executable: false } => (Kind::File, Some((len, hash))),
        Entry::File { len, hash, executable: true } => (Kind::Executable, Some((len, hash))),
        Entry::EmptyFolder => (Kind::EmptyFolder, None),
    }
}

const fn varint_len(n: u64) -> usize {
    (64 - n.leading_zeros() as usize).div_ceil(7) + (n == 0) as usize
}

fn write_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Reads the canonical form entry by entry, in the memory of one path.
#[derive(Debug)]
pub struct Reader<'a> {
    left: &'a [u8],
    path: Vec<u8>,
    entries: usize,
    text: usize,
    offset: u64,
}

impl<'a> Reader<'a> {
    /// At the beginning.
    ///
    /// # Errors
    /// When the bytes are too many or of another version.
    pub fn new(bytes: &'a [u8]) -> Result<Self, TreeError> {
        if bytes.len() > MAX_TREE_BYTES {
            return Err(TreeError::Length);
        }
        match bytes.split_first() {
            Some((&VERSION, left)) => Ok(Self { left, path: Vec::new(), entries: 0, text: 0, offset: 0 }),
            Some(_) => Err(TreeError::Malformed("they are of a version that this release does not know")),
            None => Err(TreeError::Malformed("there are none")),
        }
    }

    /// The next entry. What is wrong with it in itself, or beside the one before it, is noticed; clashes are not.
    ///
    /// # Errors
    /// When the bytes are not the canonical form of anything, or of something too large.
    #[expect(clippy::should_implement_trait, reason = "an entry lends its path, which an iterator's item cannot")]
    pub fn next(&mut self) -> Result<Option<Node<'_>>, TreeError> {
        if self.left.is_empty() {
            return Ok(None);
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(TreeError::Entries);
        }
        let shared = self.read_path()?;
        let entry = self.read_entry()?;
        let offset = self.offset;
        if let Entry::File { len, .. } = entry {
            self.offset = offset.checked_add(len).ok_or(TreeError::Content)?;
        }
        let path = std::str::from_utf8(&self.path).map_err(|_| TreeError::Malformed("a path is not UTF-8"))?;
        path::check_from(path, shared)?;
        Ok(Some(Node { path, entry, offset }))
    }

    /// Bytes of all files so far.
    pub const fn len(&self) -> u64 {
        self.offset
    }

    /// Whether there was no entry so far.
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Reads the rest of the next path; returns how much of it is that of the one before.
    fn read_path(&mut self) -> Result<usize, TreeError> {
        let shared = usize::try_from(self.read_varint()?).unwrap_or(usize::MAX);
        let rest = usize::try_from(self.read_varint()?).unwrap_or(usize::MAX);
        if shared > self.path.len() {
            return Err(TreeError::Malformed("a path shares more than there is"));
        }
        if rest > MAX_PATH_BYTES - shared.min(MAX_PATH_BYTES) {
            return Err(TreeError::Malformed("a path is too long"));
        }
        let rest = self.take(rest)?;
        match (rest.first(), self.path.get(shared)) {
            (None, _) => return Err(TreeError::Malformed("a path ends within the one before it")),
            (Some(new), Some(old)) if new == old => {
                return Err(TreeError::Malformed("a path shares more than it says"));
            }
            (Some(new), Some(old)) if new < old => return Err(TreeError::Malformed("the paths are not in order")),
            _ => {}
        }
        self.path.truncate(shared);
        self.path.extend_from_slice(rest);
        self.text += self.path.len();
        if self.text > MAX_TEXT_BYTES { Err(TreeError::Length) } else { Ok(shared) }
    }

    fn read_entry(&mut self) -> Result<Entry, TreeError> {
        let executable = match self.take(1)? {
            [kind] if *kind == Kind::File as u8 => false,
            [kind] if *kind == Kind::Executable as u8 => true,
            [kind] if *kind == Kind::EmptyFolder as u8 => return Ok(Entry::EmptyFolder),
            _ => return Err(TreeError::Malformed("an entry is of an unknown kind")),
        };
        let len = self.read_varint()?;
        let hash = match len {
            0 => of_nothing(),
            _ => {
                let bytes = self.take(FileId::LEN)?.first_chunk();
                FileId::new(*bytes.ok_or(TreeError::Malformed("a hash is cut short"))?)
            }
        };
        Ok(Entry::File { len, hash, executable })
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], TreeError> {
        let (taken, left) = self.left.split_at_checked(count).ok_or(TreeError::Malformed("they are cut short"))?;
        self.left = left;
        Ok(taken)
    }

    fn read_varint(&mut self) -> Result<u64, TreeError> {
        let mut n = 0u64;
        for at in 0..MAX_VARINT {
            let [byte] = *self.take(1)? else { return Err(TreeError::Malformed("they are cut short")) };
            let bits = u64::from(byte & 0x7f);
            let shift = 7 * at as u32;
            if shift == 63 && bits > 1 {
                break;
            }
            n |= bits << shift;
            if byte & 0x80 == 0 {
                let minimal = byte != 0 || at == 0;
                return if minimal {
                    Ok(n)
                } else {
                    Err(TreeError::Malformed("a number is longer than it needs to be"))
                };
            }
        }
        Err(TreeError::Malformed("a number is too large"))
    }
}

/// What [`check`] has found of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Files and empty folders.
    pub entries: u32,
    /// Bytes of all files.
    pub len: u64,
}

/// Whether [`Tree::decode`] takes `bytes`, found out without a tree in memory: 8 bytes for each file and folder.
///
/// # Errors
/// Those of [`Tree::decode`].
pub fn check(bytes: &[u8]) -> Result<Checked, TreeError> {
    let mut reader = Reader::new(bytes)?;
    while reader.next()?.is_some() {}
    let checked = Checked { entries: reader.entries as u32, len: reader.offset };
    clash::check(|see| {
        let mut reader = Reader::new(bytes)?;
        while let Some(node) = reader.next()? {
            see(node.path)?;
        }
        Ok(())
    })?;
    Ok(checked)
}
