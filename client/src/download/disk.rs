//! The unfinished file and its journal.
//!
//! Invariant: only a [`VerifiedPiece`] is ever written, and the journal learns of it afterwards. The file has
//! its full length from the start, so that a full disk is known before the first byte comes. Everything
//! here blocks.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::manifest::Manifest;
use common::pieces::{Bitfield, MAX_BLOCK_LEN, PieceIndex, PieceLayout};

use super::destination::Destination;
use super::durable_io;
use super::journal::{Journal, Recovered};
use super::verify::{RawPiece, VerifiedPiece, verify};
use crate::error::Error;
use crate::transfer::pool::Pool;
use crate::transfer::stamp::Stamp;

/// Where one download's bytes go.
#[derive(Debug)]
pub(crate) struct Disk {
    layout: PieceLayout,
    destination: Destination,
    part: OsString,
    file: Arc<File>,
    journal: Mutex<Journal>,
    /// Bytes written since the last sync.
    unsynced: AtomicU64,
    /// Held while a piece is written. The system lets one writer into a file at a time, too, but burns a core on
    /// those who wait.
    writing: Mutex<()>,
}

/// What an earlier run left.
pub(crate) enum Resumed {
    /// An unfinished file, and the pieces in it.
    Unfinished(Arc<Disk>, Bitfield),
    /// The finished file: only the last steps are missing.
    Finished(Stamp),
}

impl Disk {
    /// A fresh file of the full length beside `destination`, and a fresh journal. The unfinished file's name is told to
    /// `note` before there is one.
    ///
    /// # Errors
    /// [`Error::DiskFull`] when there is no room for it; nothing is left behind then.
    pub(crate) fn create(
        destination: Destination,
        journal_path: &Path,
        manifest: &Manifest,
        note: impl Fn(&OsStr) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let failed = |e| Error::from_io("create", &destination.path(), e);
        Journal::void(journal_path).map_err(failed)?;
        let (part, file) = destination.create_part(manifest.file_id(), note)?;
        let layout = manifest.layout();
        let made = durable_io::allocate(&file, layout.len()).and_then(|()| {
            let inode = Stamp::of(&file.metadata()?).inode;
            Journal::create(journal_path, layout, manifest.file_id(), inode)
        });
        match made {
            Ok(journal) => Ok(Self::new(layout, destination, part, file, journal)),
            Err(e) => {
                // The error at hand matters more than a left-over.
                let _ = destination.remove_part(&part);
                Err(failed(e))
            }
        }
    }

    fn new(layout: PieceLayout, destination: Destination, part: OsString, file: File, journal: Journal) -> Self {
        Self {
            layout,
            destination,
            part,
            file: Arc::new(file),
            journal: Mutex::new(journal),
            unsynced: AtomicU64::new(0),
            writing: Mutex::new(()),
        }
    }

    /// Goes on with what an earlier run left, or starts over where that is gone, as [`Disk::create`]. Pieces of which the
    /// journal is not sure are hashed again.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(crate) fn resume(
        destination: Destination,
        part: &OsStr,
        journal_path: &Path,
        manifest: &Manifest,
        pool: &Pool,
        note: impl Fn(&OsStr) -> Result<(), Error>,
    ) -> Result<Resumed, Error> {
        let failed = |e| Error::from_io("open", &destination.path(), e);
        let layout = manifest.layout();
        let journal = Journal::open(journal_path, layout, manifest.file_id()).map_err(failed)?;
        let file = match destination.open_part(part) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let finished = destination.finished().map(|m| Stamp::of(&m));
                let ours = |s: &Stamp| s.len == layout.len() && journal.as_ref().is_some_and(|(_, r)| r.is_about(s));
                return match finished.filter(ours) {
                    Some(stamp) => Ok(Resumed::Finished(stamp)),
                    None => Self::create(destination, journal_path, manifest, note)
                        .map(|d| Resumed::Unfinished(Arc::new(d), Bitfield::empty(layout))),
                };
            }
            Err(e) => return Err(failed(e)),
        };
        let stamp = Stamp::of(&file.metadata().map_err(failed)?);
        let (mut journal, sure, unsure) = match journal.filter(|(_, r)| r.is_about(&stamp) && stamp.len == layout.len())
        {
            Some((journal, recovered)) => trust(layout, journal, recovered, &stamp),
            None => {
                Journal::void(journal_path).map_err(failed)?;
                durable_io::allocate(&file, layout.len()).map_err(failed)?;
                let journal = Journal::create(journal_path, layout, manifest.file_id(), stamp.inode).map_err(failed)?;
                (journal, Bitfield::empty(layout), layout.pieces().collect())
            }
        };
        journal.begin(&stamp).map_err(failed)?;
        let disk = Self::new(layout, destination, part.to_owned(), file, journal);
        let have = disk
            .rehash(manifest, pool, sure, unsure)
            .map_err(|e| Error::from_io("read", &disk.destination.path(), e))?;
        Ok(Resumed::Unfinished(Arc::new(disk), have))
    }

    /// `sure`, and those of `unsure` that are what the manifest says.
    fn rehash(
        &self,
        manifest: &Manifest,
        pool: &Pool,
        sure: Bitfield,
        unsure: Vec<PieceIndex>,
    ) -> io::Result<Bitfield> {
        let mut have = sure;
        for piece in unsure {
            let known = have.has(piece);
            if self.read(piece, pool).is_ok_and(|raw| verify(manifest, raw).is_ok()) {
                have.set(piece);
                if !known {
                    self.journal().written(piece)?;
                }
            } else {
                have.clear(piece);
                self.journal().lost(piece)?;
            }
        }
        Ok(have)
    }

    /// A piece as it is in the file.
    fn read(&self, piece: PieceIndex, pool: &Pool) -> io::Result<RawPiece> {
        let blocks = self.layout.blocks(piece, MAX_BLOCK_LEN);
        let parts = blocks.map(|block| {
            let mut part = pool.take(block.len as usize);
            self.file.read_exact_at(&mut part, self.layout.position(block)).map(|()| part)
        });
        Ok(RawPiece { piece, parts: parts.collect::<io::Result<_>>()? })
    }

    /// Writes a piece.
    pub(crate) fn write(&self, piece: &VerifiedPiece) -> io::Result<()> {
        self.write_bytes(piece)?;
        self.unsynced.fetch_add(u64::from(self.layout.len_of(piece.piece())), Ordering::Relaxed);
        self.journal().written(piece.piece())
    }

    fn write_bytes(&self, piece: &VerifiedPiece) -> io::Result<()> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = self.layout.range(piece.piece()).start;
        for part in piece.parts() {
            durable_io::write_at(&self.file, part, at)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Bytes written since the last sync.
    pub(crate) fn unsynced(&self) -> u64 {
        self.unsynced.load(Ordering::Relaxed)
    }

    /// Makes durable what has been written so far. When that fails, what was written since the last time is lost, and
    /// missing when the download is resumed.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let unsynced = self.unsynced.swap(0, Ordering::Relaxed);
        let records = self.journal().len();
        if let Err(e) = durable_io::sync_data(&self.file) {
            self.unsynced.fetch_add(unsynced, Ordering::Relaxed);
            self.journal().doubt()?;
            return Err(e);
        }
        let journal = {
            let mut journal = self.journal();
            journal.durable(records)?;
            journal.file()
        };
        // Not under the lock: pieces are written meanwhile.
        durable_io::sync_data(&journal)
    }

    /// Leaves everything so that the next run has to reread nothing. Nothing may be written after this.
    pub(crate) fn close(&self) -> io::Result<()> {
        if let Err(e) = durable_io::sync_all(&self.file) {
            self.journal().doubt()?;
            return Err(e);
        }
        let stamp = Stamp::of(&self.file.metadata()?);
        self.journal().clean(&stamp)
    }

    /// Gives the complete file its name: where it is, and its stamp. The journal is still there.
    ///
    /// # Errors
    /// As [`Destination::commit`].
    pub(crate) fn finish(&self, force: bool) -> Result<(PathBuf, Stamp), Error> {
        let failed = |e| Error::from_io("write", &self.destination.path(), e);
        self.sync().map_err(failed)?;
        self.destination.commit(&self.part, &self.file, force)?;
        let stamp = Stamp::of(&self.file.metadata().map_err(failed)?);
        Ok((self.destination.path(), stamp))
    }

    /// The open file, for whoever serves the pieces that are there.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// The unfinished file's name.
    pub(crate) fn part(&self) -> &OsStr {
        &self.part
    }

    /// Where it goes in the end.
    pub(crate) const fn destination(&self) -> &Destination {
        &self.destination
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What can be believed of an earlier run, and what has to be hashed again.
fn trust(
    layout: PieceLayout,
    journal: Journal,
    recovered: Recovered,
    stamp: &Stamp,
) -> (Journal, Bitfield, Vec<PieceIndex>) {
    let untouched = recovered.is_untouched(stamp);
    let Recovered { durable, written, .. } = recovered;
    match untouched {
        // Somebody wrote to it after we closed it: believe nothing.
        Some(false) => {
            let all = layout.pieces().filter(|&p| durable.has(p)).chain(written).collect();
            (journal, durable, all)
        }
        _ => (journal, durable, written),
    }
}
