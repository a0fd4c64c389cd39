//! What is at the destination already: an older version, part of which may be part of the new one.
//!
//! Bytes are taken for nothing but candidates: whatever is read here is verified as if it came from a peer. A file of the
//! folder is looked for at its path, and by length and hash wherever it may have been moved from. Blocks on the disk.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicBool;

use common::id::FileId;
use common::pieces::{Bitfield, PieceIndex};
use common::tree::{Entry, Node};
use rustix::fs::FileType;

use super::FolderPart;
use crate::share::{hash_file, pieces_touching, walk};
use crate::transfer::beneath::{Beneath, met};
use crate::transfer::scatter::Scatter;

/// Where bytes of the new version may be found.
pub(crate) trait Older: Send {
    /// Fills `parts`, which follow each other from `at` on in the new version.
    ///
    /// # Errors
    /// When there is nothing to fill them with.
    fn read(&self, at: u64, parts: &mut [&mut [u8]]) -> io::Result<()>;

    /// These pieces were read and are right: what need not be written stays where it is.
    fn verified(&self, _good: &Bitfield) {}

    /// Whether the bytes of a piece have to be written, by now.
    fn has_to_be_written(&self, _piece: PieceIndex) -> bool {
        true
    }

    /// Whether that can be said before all pieces were read.
    fn knows_at_once(&self) -> bool {
        true
    }
}

/// The older version of a file.
pub(crate) struct OlderFile(pub(crate) File);

impl Older for OlderFile {
    fn read(&self, at: u64, parts: &mut [&mut [u8]]) -> io::Result<()> {
        let mut at = at;
        for part in parts {
            self.0.read_exact_at(part, at)?;
            at += part.len() as u64;
        }
        Ok(())
    }
}

/// Where a file of the new version may be.
enum Candidate {
    /// Where the download has put it.
    Staged,
    /// Where it belongs, with this mark.
    There(u64),
    /// Somewhere else in the folder.
    Moved(Box<str>),
}

/// The older version of a folder.
pub(crate) struct OlderFolder<'a> {
    part: &'a FolderPart,
    target: &'a Beneath,
    candidates: Vec<Option<Candidate>>,
}

impl<'a> OlderFolder<'a> {
    /// Looks for the files of the new version in the folder at the destination; `None` if there is none that is added to.
    pub(crate) fn find(part: &'a FolderPart) -> Option<Self> {
        let target = part.target.get()?;
        let mut candidates: Vec<_> =
            part.tree.iter().enumerate().map(|(index, node)| candidate(part, target, index, &node)).collect();
        find_moved(part, target, &mut candidates);
        Some(Self { part, target, candidates })
    }

    /// A chosen file that is at the destination with other content, if there is one.
    pub(crate) fn first_other(&self) -> Option<&'a str> {
        let differs = |(index, node): &(usize, Node<'_>)| {
            self.part.chosen.has(*index)
                && matches!(node.entry, Entry::File { .. })
                && self.part.in_place(*index).is_none()
                && self.target.look(node.path).is_ok()
        };
        self.part.tree.iter().enumerate().find(differs).map(|(_, node)| node.path)
    }

    fn open(&self, index: usize, node: &Node<'_>) -> io::Result<(File, Option<u64>)> {
        match self.candidates.get(index).and_then(Option::as_ref) {
            Some(Candidate::Staged) => Ok((self.part.staging.read(node.path)?, None)),
            Some(Candidate::There(mark)) => Ok((self.target.read(node.path)?, Some(*mark))),
            Some(Candidate::Moved(path)) => Ok((self.target.read(path)?, None)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn candidate(part: &FolderPart, target: &Beneath, index: usize, node: &Node<'_>) -> Option<Candidate> {
    let Entry::File { len, .. } = node.entry else { return None };
    let file = |root: &Beneath| root.look(node.path).ok().filter(|met| met.kind == FileType::RegularFile);
    if part.chosen.has(index) && file(&part.staging).is_some_and(|met| met.stamp.len == len) {
        return Some(Candidate::Staged);
    }
    file(target).map(|met| Candidate::There(met.stamp.mark()))
}

/// Finds files that are not at their path, or have another length there, elsewhere in the folder.
fn find_moved(part: &FolderPart, target: &Beneath, candidates: &mut [Option<Candidate>]) {
    let mut wanted: HashMap<u64, Vec<(usize, FileId)>> = HashMap::new();
    for (index, node) in part.tree.iter().enumerate().filter(|(index, _)| part.chosen.has(*index)) {
        let Entry::File { len: len @ 1.., hash, .. } = node.entry else { continue };
        let is_there = candidates[index].is_some() && target.look(node.path).is_ok_and(|met| met.stamp.len == len);
        if !is_there && !matches!(candidates[index], Some(Candidate::Staged)) {
            wanted.entry(len).or_default().push((index, hash));
        }
    }
    if wanted.is_empty() {
        return;
    }
    let Ok(there) = walk(target, &AtomicBool::new(false)) else { return };
    for found in there.files {
        let Some(wanted) = wanted.get(&found.len) else { continue };
        let Ok((hash, _)) = hash_file(target, found.path.as_str()) else { continue };
        for (index, _) in wanted.iter().filter(|(_, wanted)| *wanted == hash) {
            candidates[*index] = Some(Candidate::Moved(found.path.as_str().into()));
        }
    }
}

impl Older for OlderFolder<'_> {
    fn read(&self, at: u64, parts: &mut [&mut [u8]]) -> io::Result<()> {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let mut scatter = Scatter::new(parts);
        for (index, range) in self.part.tree.touching(at..at + len) {
            let Some(node) = self.part.tree.get(index) else { continue };
            let (file, mark) = self.open(index, &node)?;
            scatter.next(range.end - range.start, |out, before| file.read_exact_at(out, range.start + before))?;
            if mark.is_some_and(|mark| met(&file).is_ok_and(|met| met.stamp.mark() != mark)) {
                return Err(io::Error::other("it changed while it was read"));
            }
        }
        Ok(())
    }

    fn verified(&self, good: &Bitfield) {
        let layout = self.part.layout();
        for (index, node) in self.part.tree.iter().enumerate().filter(|(index, _)| self.part.chosen.has(*index)) {
            let (Entry::File { len, .. }, Some(Candidate::There(mark))) = (node.entry, &self.candidates[index]) else {
                continue;
            };
            let Entry::File { hash, .. } = node.entry else { continue };
            let is_as_seen = self.target.look(node.path).is_ok_and(|m| m.stamp.len == len && m.stamp.mark() == *mark);
            // A piece may be missing something of another file.
            let in_pieces = || pieces_touching(&self.part.tree, layout, index).all(|piece| good.has(piece));
            let by_itself = || hash_file(self.target, node.path).is_ok_and(|found| found == (hash, *mark));
            if is_as_seen && (in_pieces() || by_itself()) {
                self.part.put_in_place(index, *mark);
            }
        }
    }

    fn has_to_be_written(&self, piece: PieceIndex) -> bool {
        let mut touched = self.part.tree.touching(self.part.layout().range(piece));
        touched.any(|(index, _)| !self.part.chosen.has(index) || self.part.in_place(index).is_none())
    }

    fn knows_at_once(&self) -> bool {
        false
    }
}
