//! Folders that are shared as one content: found, hashed, read piece by piece, and looked at again.
//!
//! The bytes of a folder are those of its files, one after the other in the order of their paths (see [`common::tree`]).
//! Invariant: bytes of a file that has changed since it was hashed are never handed out: its mark is compared after each read.

mod changes;
mod hash;
mod walk;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::id::TreeId;
use common::pieces::{Bitfield, PieceLayout};
use common::tree::{Entry, Tree};

pub(crate) use self::changes::hash_file;
pub(super) use self::changes::{Change, changes};
pub(super) use self::hash::{HashError, Hashed, hash_folder};
pub use self::walk::Skipped;
pub(super) use self::walk::Walked;
pub(crate) use self::walk::walk;
use super::offer::{ReadError, Space};
use crate::transfer::beneath::{Beneath, met};
use crate::transfer::scatter::Scatter;
use crate::transfer::trees::{Marks, Trees};

/// How long a folder's tree stays in memory after the last read.
const KEPT: Duration = Duration::from_secs(30);

/// Where a shared folder lies, and what is in memory of it.
#[derive(Debug)]
pub(crate) struct FolderPlace {
    path: PathBuf,
    tree: TreeId,
    trees: Trees,
    open: Option<(Instant, Arc<OpenFolder>)>,
}

impl FolderPlace {
    /// The folder at `path`, whose tree and marks are in `trees`.
    pub(crate) const fn new(path: PathBuf, tree: TreeId, trees: Trees) -> Self {
        Self { path, tree, trees, open: None }
    }

    /// The folder, opened unless it is. Blocks on the disk.
    pub(super) fn open(&mut self) -> Result<Arc<OpenFolder>, ReadError> {
        let now = Instant::now();
        if let Some((used, folder)) = &mut self.open {
            *used = now;
            return Ok(Arc::clone(folder));
        }
        let folder = Arc::new(OpenFolder::open(&self.path, self.tree, &self.trees)?);
        self.open = Some((now, Arc::clone(&folder)));
        Ok(folder)
    }

    /// Lets go of it, if nobody has asked for it for a while or it is `stale`.
    pub(super) fn rest(&mut self, stale: bool) {
        self.open.take_if(|(used, _)| stale || used.elapsed() >= KEPT);
    }
}

/// A folder that is open for reading.
#[derive(Debug)]
pub(crate) struct OpenFolder {
    root: Beneath,
    tree: Tree,
    marks: Marks,
}

impl OpenFolder {
    fn open(path: &std::path::Path, id: TreeId, trees: &Trees) -> Result<Self, ReadError> {
        let root = Beneath::open(path)?;
        let tree = trees.load(id).ok_or(ReadError::Changed)?;
        let marks = trees.marks(id, path).filter(|marks| marks.len() == tree.entries()).ok_or(ReadError::Changed)?;
        Ok(Self { root, tree, marks })
    }
}

impl Space for OpenFolder {
    fn read(&self, at: u64, parts: &mut [&mut [u8]]) -> Result<(), ReadError> {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let mut scatter = Scatter::new(parts);
        for (index, range) in self.tree.touching(at..at + len) {
            let (Some(node), Some(&mark)) = (self.tree.get(index), self.marks.get(index)) else { continue };
            let file = self.root.open_any(node.path).map_err(gone)?;
            scatter
                .next(range.end - range.start, |buffer, before| {
                    std::os::unix::fs::FileExt::read_exact_at(&file, buffer, range.start + before)
                })
                .map_err(gone)?;
            if met(&file)?.stamp.mark() != mark {
                return Err(ReadError::Changed);
            }
        }
        Ok(())
    }
}

/// A file that is gone or shorter has changed; which one it is, a look at the folder tells.
fn gone(e: std::io::Error) -> ReadError {
    match e.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory | std::io::ErrorKind::UnexpectedEof => {
            ReadError::Changed
        }
        _ => ReadError::Io(e),
    }
}

/// The pieces of a folder all of whose files `is_here`.
pub(crate) fn pieces_of(tree: &Tree, layout: PieceLayout, is_here: impl Fn(usize) -> bool) -> Bitfield {
    let mut here = Bitfield::full(layout);
    for (index, node) in tree.iter().enumerate() {
        if let Entry::File { len: 1.., .. } = node.entry
            && !is_here(index)
        {
            lose(tree, layout, index, &mut here);
        }
    }
    here
}

/// Takes the pieces that touch a file out of `have`.
pub(super) fn lose(tree: &Tree, layout: PieceLayout, index: usize, have: &mut Bitfield) {
    pieces_touching(tree, layout, index).for_each(|piece| {
        have.clear(piece);
    });
}

/// The pieces that touch a file.
pub(crate) fn pieces_touching(
    tree: &Tree,
    layout: PieceLayout,
    index: usize,
) -> impl Iterator<Item = common::pieces::PieceIndex> + use<> {
    let range = match tree.get(index) {
        Some(node) => match node.entry {
            Entry::File { len, .. } if len > 0 => {
                let last = (node.offset + len - 1) / layout.piece_len();
                (node.offset / layout.piece_len()) as u32..last as u32 + 1
            }
            _ => 0..0,
        },
        None => 0..0,
    };
    range.filter_map(move |number| layout.piece(number))
}
