//! The files of an unfinished folder, as one space of bytes.
//!
//! Bytes of a chosen file go to that file below `files`; those of other files, which come with pieces that touch a chosen one,
//! go to `rest`, where they lie at their place in the piece space, so that every piece that is here can be read whole. A file
//! of an older copy that is right already is *in place*: it is read where it is, and nothing is written for it.
//! Everything here blocks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use common::pieces::{Bitfield, PieceIndex, PieceLayout};
use common::tree::{Entry, Node, Tree};
use rustix::fs::{FileType, Mode};

use super::{Chosen, FolderPlan, LyingTree};
use crate::download::durable_io;
use crate::download::verify::VerifiedPiece;
use crate::share::{ReadError, Space, pieces_touching};
use crate::transfer::beneath::{Beneath, met};
use crate::transfer::scatter::{Gather, Scatter};
use crate::transfer::stamp::Stamp;

/// What becomes the destination.
pub(crate) const FILES: &str = "files";
/// Bytes of files that were not chosen.
const REST: &str = "rest";

/// See the module.
#[derive(Debug)]
pub(crate) struct FolderPart {
    // Immutable.
    pub(super) tree: Arc<Tree>,
    layout: PieceLayout,
    pub(super) chosen: Chosen,
    pub(super) single: bool,
    pub(super) merge: bool,
    /// The hidden folder.
    part: Dir,
    /// `files` in it.
    pub(super) staging: Beneath,
    /// The folder at the destination, if there is one that is added to.
    pub(super) target: OnceLock<Beneath>,
    // Each guards itself.
    rest: Mutex<Option<Arc<File>>>,
    /// The marks of files that are in place.
    in_place: Vec<AtomicU64>,
    /// How many pieces of each chosen file are missing.
    missing: Vec<AtomicU32>,
    whole: AtomicU64,
    /// Held while a piece of a long file is written; see [`Disk`](crate::download::disk::Disk).
    writing: Mutex<()>,
}

impl FolderPart {
    /// A part in the hidden folder `part`, which has `files` in it or gets it.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(crate) fn open(
        plan: &FolderPlan,
        layout: PieceLayout,
        part: Dir,
        target: Option<Dir>,
        make: bool,
    ) -> io::Result<Self> {
        if make {
            rustix::fs::mkdirat(&part, FILES, Mode::RWXU)?;
        }
        let staging = Beneath::new(open_folder(&part, FILES)?);
        let FolderPlan { tree, chosen, single, merge } = plan.clone();
        let entries = tree.entries();
        let this = Self {
            layout,
            single,
            merge,
            part,
            staging,
            target: OnceLock::new(),
            rest: Mutex::default(),
            in_place: (0..if merge { entries } else { 0 }).map(|_| AtomicU64::new(0)).collect(),
            missing: (0..entries).map(|_| AtomicU32::new(0)).collect(),
            whole: AtomicU64::new(0),
            writing: Mutex::default(),
            tree,
            chosen,
        };
        if let Some(target) = target {
            this.add_to(target);
        }
        Ok(this)
    }

    /// What is fetched, and how it is put down.
    pub(crate) fn plan(&self) -> FolderPlan {
        FolderPlan { tree: Arc::clone(&self.tree), chosen: self.chosen.clone(), single: self.single, merge: self.merge }
    }

    /// How the space of bytes is cut.
    pub(super) const fn layout(&self) -> PieceLayout {
        self.layout
    }

    /// The folder that is at the destination is added to.
    pub(super) fn add_to(&self, target: Dir) -> &Beneath {
        self.target.get_or_init(|| Beneath::new(target))
    }

    /// The stamp of what becomes the destination.
    pub(crate) fn stamp(&self) -> io::Result<Stamp> {
        Ok(Stamp::of_stat(&rustix::fs::fstat(self.staging.root())?))
    }

    /// Counts the files that are whole with these pieces.
    pub(crate) fn count(&self, have: &Bitfield) {
        let mut whole = 0;
        for (index, missing) in self.missing.iter().enumerate().filter(|(index, _)| self.chosen.has(*index)) {
            let n = pieces_touching(&self.tree, self.layout, index).filter(|p| !have.has(*p)).count() as u32;
            missing.store(n, Ordering::Relaxed);
            whole += u64::from(n == 0);
        }
        self.whole.store(whole, Ordering::Relaxed);
    }

    /// A piece is there that was not.
    pub(crate) fn counted(&self, piece: PieceIndex) {
        for (index, _) in self.tree.touching(self.layout.range(piece)).filter(|(index, _)| self.chosen.has(*index)) {
            let before = self.missing[index].fetch_sub(1, Ordering::Relaxed);
            if before == 1 {
                self.whole.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Files and empty folders that are whole, and those that are wanted.
    pub(crate) fn files(&self) -> (u64, u64) {
        let wanted = self.chosen.count();
        (self.whole.load(Ordering::Relaxed).min(wanted), wanted)
    }

    /// The mark of a file that is in place, if it is.
    pub(super) fn in_place(&self, index: usize) -> Option<u64> {
        self.in_place.get(index).map(|mark| mark.load(Ordering::Relaxed)).filter(|mark| *mark != 0)
    }

    /// A file of the destination is what it should be.
    pub(super) fn put_in_place(&self, index: usize, mark: u64) {
        if let Some(known) = self.in_place.get(index) {
            known.store(mark, Ordering::Relaxed);
        }
    }

    /// Writes a piece.
    ///
    /// # Errors
    /// When the system refuses, or with [`LyingTree`].
    pub(crate) fn write(&self, piece: &VerifiedPiece) -> io::Result<()> {
        let range = self.layout.range(piece.piece());
        let mut gather = Gather::new(piece.parts());
        for (index, part) in self.tree.touching(range) {
            let Some(Node { path, entry: Entry::File { len, hash, executable }, offset }) = self.tree.get(index) else {
                continue;
            };
            let here = part.end - part.start;
            if !self.chosen.has(index) {
                let rest = self.rest(true)?;
                gather.next(here, |bytes, before| durable_io::write_at(&rest, bytes, offset + part.start + before))?;
            } else if self.in_place(index).is_some() {
                gather.next(here, |_, _| Ok::<_, io::Error>(()))?;
            } else {
                let _one = (len > self.layout.piece_len())
                    .then(|| self.writing.lock().unwrap_or_else(PoisonError::into_inner));
                let file = self.staging.write(path, executable)?;
                let mut hasher = (here == len).then(blake3::Hasher::new);
                gather.next(here, |bytes, before| {
                    hasher.iter_mut().for_each(|hasher| _ = hasher.update(bytes));
                    durable_io::write_at(&file, bytes, part.start + before)
                })?;
                match hasher {
                    Some(hasher) if hasher.finalize().as_bytes() != hash.as_bytes() => {
                        return Err(io::Error::other(LyingTree(path.to_owned())));
                    }
                    Some(_) => {}
                    None if part.end < len && file.metadata()?.len() < len => durable_io::set_len(&file, len)?,
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// Where the bytes of other files are; made if it is missing and `make` is set.
    fn rest(&self, make: bool) -> io::Result<Arc<File>> {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*rest {
            return Ok(Arc::clone(file));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(make).mode(0o600);
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        let file = Arc::new(self.part.open_with(REST, &options)?.into_std());
        *rest = Some(Arc::clone(&file));
        Ok(file)
    }

    /// In how many pieces a file lies.
    pub(super) fn pieces_over(&self, offset: u64, len: u64) -> u64 {
        let piece_len = self.layout.piece_len();
        (offset + len).div_ceil(piece_len) - offset / piece_len
    }

    /// Makes durable what has been written.
    pub(crate) fn sync(&self) -> io::Result<()> {
        durable_io::sync_file_system(&self.part)
    }

    /// Of the pieces in `have`, those that are not here after all, and those that have to be looked at: their files were
    /// written to after `closed`, the time (seconds, nanoseconds) of a clean stop.
    pub(crate) fn doubtful(&self, have: &Bitfield, closed: Option<(i64, i64)>) -> (Vec<PieceIndex>, Vec<PieceIndex>) {
        let (mut lost, mut unsure) = (Bitfield::empty(self.layout), Bitfield::empty(self.layout));
        let rest_is_there = self.rest(false).is_ok();
        for (index, node) in self.tree.iter().enumerate() {
            let Entry::File { len: len @ 1.., .. } = node.entry else { continue };
            let mut here = pieces_touching(&self.tree, self.layout, index).filter(|p| have.has(*p)).peekable();
            if here.peek().is_none() {
                continue;
            }
            let is_there = if self.chosen.has(index) {
                let met = self.staging.look(node.path).ok();
                let met = met.filter(|m| m.kind == FileType::RegularFile);
                let touched = |m: &crate::transfer::beneath::Met| {
                    closed.is_some_and(|closed| (m.stamp.seconds, m.stamp.nanos) > closed)
                };
                let whole = met.filter(|m| m.stamp.len == len);
                if whole.as_ref().is_some_and(touched) {
                    here.by_ref().for_each(|p| _ = unsure.set(p));
                }
                whole.is_some()
            } else {
                rest_is_there
            };
            if !is_there {
                pieces_touching(&self.tree, self.layout, index).filter(|p| have.has(*p)).for_each(|p| _ = lost.set(p));
            }
        }
        let of = |pieces: &Bitfield| self.layout.pieces().filter(|p| pieces.has(*p)).collect::<Vec<_>>();
        let unsure = of(&unsure).into_iter().filter(|p| !lost.has(*p)).collect();
        (of(&lost), unsure)
    }

    fn open_at(&self, index: usize, node: &Node<'_>) -> Result<(File, u64), ReadError> {
        let gone = |e: io::Error| if e.kind() == io::ErrorKind::NotFound { ReadError::Changed } else { e.into() };
        if let (Some(mark), Some(target)) = (self.in_place(index), self.target.get()) {
            return Ok((target.open_any(node.path).map_err(gone)?, mark));
        }
        match self.staging.open_any(node.path) {
            // It has its name by now.
            Err(e) if e.kind() == io::ErrorKind::NotFound => match self.target.get() {
                Some(target) => Ok((target.open_any(node.path).map_err(gone)?, 0)),
                None => Err(gone(e)),
            },
            opened => Ok((opened?, 0)),
        }
    }
}

impl Space for FolderPart {
    fn read(&self, at: u64, parts: &mut [&mut [u8]]) -> Result<(), ReadError> {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let mut scatter = Scatter::new(parts);
        for (index, range) in self.tree.touching(at..at + len) {
            let Some(node) = self.tree.get(index) else { continue };
            let here = range.end - range.start;
            if !self.chosen.has(index) {
                let rest = self.rest(false)?;
                scatter.next(here, |out, before| rest.read_exact_at(out, node.offset + range.start + before))?;
                continue;
            }
            let (file, mark) = self.open_at(index, &node)?;
            scatter.next(here, |out, before| file.read_exact_at(out, range.start + before))?;
            if mark != 0 && met(&file)?.stamp.mark() != mark {
                return Err(ReadError::Changed);
            }
        }
        Ok(())
    }
}

/// A folder in `dir`; a link is none.
pub(super) fn open_folder(dir: &Dir, name: &str) -> io::Result<Dir> {
    use rustix::fs::OFlags;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(Dir::from_std_file(File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?)))
}
