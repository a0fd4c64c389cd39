//! The unfinished file or folder and its journal.
//!
//! Invariant: only a [`VerifiedPiece`] is ever written, and the journal learns of it afterwards. A file has
//! its full length from the start, so that a full disk is known before the first byte comes; for a folder the room is
//! looked at. Everything here blocks.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::manifest::Manifest;
use common::pieces::{Bitfield, MAX_BLOCK_LEN, PieceIndex, PieceLayout};
use common::tree::Entry;

use super::destination::Destination;
use super::durable_io;
use super::folder::{FolderPart, FolderPlan, Placed, failure, marks};
use super::journal::{Journal, Recovered};
use super::verify::{RawPiece, VerifiedPiece, verify};
use crate::error::Error;
use crate::share::{Opened, Space};
use crate::transfer::beneath::Beneath;
use crate::transfer::pool::Pool;
use crate::transfer::stamp::Stamp;

/// Where one download's bytes go.
#[derive(Debug)]
pub(crate) struct Disk {
    layout: PieceLayout,
    destination: Destination,
    part: OsString,
    body: Body,
    journal: Mutex<Journal>,
    /// Bytes written since the last sync.
    unsynced: AtomicU64,
    /// Held while a piece is written. The system lets one writer into a file at a time, too, but burns a core on
    /// those who wait.
    writing: Mutex<()>,
}

/// Where the pieces lie.
#[derive(Debug)]
enum Body {
    File(Arc<File>),
    Folder(Arc<FolderPart>),
}

/// What an earlier run left.
pub(crate) enum Resumed {
    /// An unfinished file, and the pieces in it.
    Unfinished(Arc<Disk>, Bitfield),
    /// The finished file or folder: only the last steps are missing.
    Finished(Placed),
}

/// What is written between two syncs, at most about.
pub(crate) struct SyncEvery {
    pub(crate) time: Duration,
    pub(crate) bytes: u64,
}

/// A file: little is left to wait for at the end.
const SYNC_FILE: SyncEvery = SyncEvery { time: Duration::from_secs(2), bytes: 64 << 20 };
/// A folder: all files that were written since are looked at, and their folders.
const SYNC_FOLDER: SyncEvery = SyncEvery { time: Duration::from_secs(15), bytes: 1 << 30 };

impl Disk {
    /// A fresh file of the full length beside `destination`, or a fresh folder for a `plan`, and a fresh journal. The unfinished
    /// file's name is told to `note` before there is one.
    ///
    /// # Errors
    /// [`Error::DiskFull`] when there is no room for it; nothing is left behind then.
    pub(crate) fn create(
        destination: Destination,
        journal_path: &Path,
        manifest: &Manifest,
        plan: Option<&FolderPlan>,
        note: impl Fn(&OsStr) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        if let Some(plan) = plan {
            return Self::create_folder(destination, journal_path, manifest, plan, note);
        }
        let failed = |e| Error::from_io("create", &destination.path(), e);
        Journal::void(journal_path).map_err(failed)?;
        let (part, file) = destination.create_part(manifest.file_id(), note)?;
        let layout = manifest.layout();
        let made = durable_io::allocate(&file, layout.len()).and_then(|()| {
            let inode = Stamp::of(&file.metadata()?).inode;
            Journal::create(journal_path, layout, manifest.file_id(), inode)
        });
        match made {
            Ok(journal) => Ok(Self::new(layout, destination, part, Body::File(Arc::new(file)), journal)),
            Err(e) => {
                // The error at hand matters more than a left-over.
                let _ = destination.remove_part(&part);
                Err(failed(e))
            }
        }
    }

    fn create_folder(
        destination: Destination,
        journal_path: &Path,
        manifest: &Manifest,
        plan: &FolderPlan,
        note: impl Fn(&OsStr) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let failed = |e| Error::from_io("create", &destination.path(), e);
        let target = target(&destination, plan).map_err(failed)?;
        if target.is_none() {
            // Of what is there already nobody knows yet how much can be kept.
            let wanted = plan.tree.iter().enumerate().filter(|(index, _)| plan.chosen.has(*index));
            let len = |node: common::tree::Node<'_>| if let Entry::File { len, .. } = node.entry { len } else { 1 };
            destination.check_room(wanted.map(|(_, node)| len(node))).map_err(failed)?;
        }
        Journal::void(journal_path).map_err(failed)?;
        let (part, dir) = destination.create_part_folder(manifest.file_id(), note)?;
        let layout = manifest.layout();
        let made = FolderPart::open(plan, layout, dir, target, true).and_then(|folder| {
            folder.count(&Bitfield::empty(layout));
            let inode = folder.stamp()?.inode;
            Ok((folder, Journal::create(journal_path, layout, manifest.file_id(), inode)?))
        });
        match made {
            Ok((folder, journal)) => Ok(Self::new(layout, destination, part, Body::Folder(Arc::new(folder)), journal)),
            Err(e) => {
                // The error at hand matters more than a left-over.
                let _ = destination.remove_part(&part);
                Err(failed(e))
            }
        }
    }

    fn new(layout: PieceLayout, destination: Destination, part: OsString, body: Body, journal: Journal) -> Self {
        Self {
            layout,
            destination,
            part,
            body,
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
        plan: Option<&FolderPlan>,
        pool: &Pool,
        note: impl Fn(&OsStr) -> Result<(), Error>,
    ) -> Result<Resumed, Error> {
        if let Some(plan) = plan {
            return Self::resume_folder(destination, part, journal_path, manifest, plan, pool, note);
        }
        let failed = |e| Error::from_io("open", &destination.path(), e);
        let layout = manifest.layout();
        let journal = Journal::open(journal_path, layout, manifest.file_id()).map_err(failed)?;
        let file = match destination.open_part(part) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let finished = destination.finished().map(|m| Stamp::of(&m));
                let ours = |s: &Stamp| s.len == layout.len() && journal.as_ref().is_some_and(|(_, r)| r.is_about(s));
                return match finished.filter(ours) {
                    Some(stamp) => Ok(Resumed::Finished(Placed { stamp, marks: None })),
                    None => Self::create(destination, journal_path, manifest, None, note)
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
        let disk = Self::new(layout, destination, part.to_owned(), Body::File(Arc::new(file)), journal);
        let have = disk
            .rehash(manifest, pool, sure, unsure)
            .map_err(|e| Error::from_io("read", &disk.destination.path(), e))?;
        Ok(Resumed::Unfinished(Arc::new(disk), have))
    }

    fn resume_folder(
        destination: Destination,
        part: &OsStr,
        journal_path: &Path,
        manifest: &Manifest,
        plan: &FolderPlan,
        pool: &Pool,
        note: impl Fn(&OsStr) -> Result<(), Error>,
    ) -> Result<Resumed, Error> {
        let failed = |e| Error::from_io("open", &destination.path(), e);
        let layout = manifest.layout();
        let journal = Journal::open(journal_path, layout, manifest.file_id()).map_err(failed)?;
        if let Some(stamp) = one_of_many(&destination, plan).map_err(failed)? {
            destination.remove_part(part).map_err(failed)?;
            return Ok(Resumed::Finished(Placed { stamp, marks: None }));
        }
        let target = target(&destination, plan).map_err(failed)?;
        let opened =
            destination.open_part_folder(part).and_then(|dir| FolderPart::open(plan, layout, dir, target, false));
        let folder = match opened {
            Ok(folder) => folder,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let ours = |s: &Stamp| !plan.single && journal.as_ref().is_some_and(|(_, r)| r.is_about(s));
                if let Some(placed) = finished(&destination, plan, ours).map_err(failed)? {
                    destination.remove_part(part).map_err(failed)?;
                    return Ok(Resumed::Finished(placed));
                }
                destination.remove_part(part).map_err(failed)?;
                let disk = Self::create_folder(destination, journal_path, manifest, plan, note)?;
                return Ok(Resumed::Unfinished(Arc::new(disk), Bitfield::empty(layout)));
            }
            Err(e) => return Err(failed(e)),
        };
        let stamp = folder.stamp().map_err(failed)?;
        let (mut journal, sure, unsure, closed) = match journal.filter(|(_, r)| r.is_about(&stamp)) {
            Some((journal, Recovered { durable, written, clean, .. })) => (journal, durable, written, clean),
            None => {
                Journal::void(journal_path).map_err(failed)?;
                let journal = Journal::create(journal_path, layout, manifest.file_id(), stamp.inode).map_err(failed)?;
                (journal, Bitfield::empty(layout), layout.pieces().collect(), None)
            }
        };
        journal.begin(&stamp).map_err(failed)?;
        let disk = Self::new(layout, destination, part.to_owned(), Body::Folder(Arc::new(folder)), journal);
        let have = disk
            .trust_files(manifest, pool, sure, unsure, closed)
            .map_err(|e| Error::from_io("read", &disk.destination.path(), e))?;
        Ok(Resumed::Unfinished(Arc::new(disk), have))
    }

    /// As [`Disk::rehash`], for a folder: pieces of files that are not as they were left are looked at, too.
    fn trust_files(
        &self,
        manifest: &Manifest,
        pool: &Pool,
        mut sure: Bitfield,
        mut unsure: Vec<PieceIndex>,
        closed: Option<(i64, i64)>,
    ) -> io::Result<Bitfield> {
        let Body::Folder(folder) = &self.body else { return Ok(sure) };
        let (lost, touched) = folder.doubtful(&sure, closed);
        for piece in lost {
            sure.clear(piece);
            self.journal().lost(piece)?;
        }
        unsure.extend(touched);
        let have = self.rehash(manifest, pool, sure, unsure)?;
        folder.count(&have);
        Ok(have)
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
            let at = self.layout.position(block);
            match &self.body {
                Body::File(file) => file.read_exact_at(&mut part, at)?,
                Body::Folder(folder) => folder.read(at, &mut [&mut part]).map_err(io::Error::other)?,
            }
            Ok(part)
        });
        Ok(RawPiece { piece, parts: parts.collect::<io::Result<_>>()? })
    }

    /// Writes a piece.
    pub(crate) fn write(&self, piece: &VerifiedPiece) -> io::Result<()> {
        self.write_bytes(piece)?;
        self.unsynced.fetch_add(u64::from(self.layout.len_of(piece.piece())), Ordering::Relaxed);
        self.note(piece.piece())
    }

    /// A piece is there, and nothing had to be written for it.
    pub(crate) fn note(&self, piece: PieceIndex) -> io::Result<()> {
        self.journal().written(piece)?;
        if let Body::Folder(folder) = &self.body {
            folder.counted(piece);
        }
        Ok(())
    }

    fn write_bytes(&self, piece: &VerifiedPiece) -> io::Result<()> {
        let file = match &self.body {
            Body::File(file) => file,
            Body::Folder(folder) => return folder.write(piece),
        };
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = self.layout.range(piece.piece()).start;
        for part in piece.parts() {
            durable_io::write_at(file, part, at)?;
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
        let synced = match &self.body {
            Body::File(file) => durable_io::sync_data(file),
            Body::Folder(folder) => folder.sync(),
        };
        if let Err(e) = synced {
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
        let synced = match &self.body {
            Body::File(file) => durable_io::sync_all(file),
            Body::Folder(folder) => folder.sync(),
        };
        if let Err(e) = synced {
            self.journal().doubt()?;
            return Err(e);
        }
        let stamp = match &self.body {
            Body::File(file) => Stamp::of(&file.metadata()?),
            Body::Folder(folder) => now(folder.stamp()?),
        };
        self.journal().clean(&stamp)
    }

    /// Gives what is complete its name. The journal is still there.
    ///
    /// # Errors
    /// As [`Destination::commit`] and [`FolderPart::finish`]. [`Error::Integrity`] when a file of a folder has not the bytes that
    /// its tree says: they are missing when the download is resumed.
    pub(crate) fn finish(&self, force: bool) -> Result<Placed, Error> {
        let failed = |e| Error::from_io("write", &self.destination.path(), e);
        let file = match &self.body {
            Body::File(file) => file,
            Body::Folder(folder) => {
                if let Some((lie, pieces)) = folder.complete().map_err(|e| self.failure(e))? {
                    // Either the tree lies, or the disk: they are fetched once more before anybody is blamed for good.
                    let mut journal = self.journal();
                    pieces.into_iter().try_for_each(|piece| journal.lost(piece)).map_err(failed)?;
                    return Err(Error::Integrity(lie.to_string()));
                }
                return folder.finish(&self.destination, &self.part, force);
            }
        };
        self.sync().map_err(failed)?;
        self.destination.commit(&self.part, file, force)?;
        let stamp = Stamp::of(&file.metadata().map_err(failed)?);
        Ok(Placed { stamp, marks: None })
    }

    /// What is open, for whoever serves the pieces that are there.
    pub(crate) fn opened(&self) -> Opened {
        match &self.body {
            Body::File(file) => Opened::File(Arc::clone(file)),
            Body::Folder(folder) => Opened::Folder(Arc::clone(folder) as Arc<dyn Space>),
        }
    }

    /// The folder, if it is one.
    pub(crate) const fn folder(&self) -> Option<&Arc<FolderPart>> {
        match &self.body {
            Body::File(_) => None,
            Body::Folder(folder) => Some(folder),
        }
    }

    /// How often it is to be synced.
    pub(crate) const fn sync_every(&self) -> SyncEvery {
        match &self.body {
            Body::File(_) => SYNC_FILE,
            Body::Folder(_) => SYNC_FOLDER,
        }
    }

    /// What a fault in writing means.
    pub(crate) fn failure(&self, e: io::Error) -> Error {
        failure(e, &self.destination.path())
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

/// The folder at the destination, if there is one that is added to.
fn target(destination: &Destination, plan: &FolderPlan) -> io::Result<Option<cap_std::fs::Dir>> {
    if !plan.merge {
        return Ok(None);
    }
    match destination.open_folder() {
        Ok(target) => Ok(Some(target)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The stamp of the file at the destination, if that is the one file of a folder that was wanted.
fn one_of_many(destination: &Destination, plan: &FolderPlan) -> io::Result<Option<Stamp>> {
    let only = (0..plan.tree.entries()).find(|index| plan.chosen.has(*index)).and_then(|index| plan.tree.get(index));
    let Some(Entry::File { len, hash, .. }) = only.map(|node| node.entry).filter(|_| plan.single) else {
        return Ok(None);
    };
    let Some(file) = destination.open_finished() else { return Ok(None) };
    let stamp = Stamp::of(&file.metadata()?);
    let is_it =
        stamp.len == len && blake3::Hasher::new().update_reader(&file)?.finalize().as_bytes() == hash.as_bytes();
    Ok(is_it.then_some(stamp))
}

/// The folder at the destination with how its files are, if it is `ours`.
fn finished(destination: &Destination, plan: &FolderPlan, ours: impl Fn(&Stamp) -> bool) -> io::Result<Option<Placed>> {
    let Ok(dir) = destination.open_folder() else { return Ok(None) };
    let stamp = Stamp::of_stat(&rustix::fs::fstat(&dir)?);
    if !ours(&stamp) {
        return Ok(None);
    }
    let marks = marks(&Beneath::new(dir), &plan.tree, &plan.chosen);
    Ok(marks.ok().map(|marks| Placed { stamp, marks: Some(marks) }))
}

/// The stamp with the present time: what is written to later has another.
fn now(stamp: Stamp) -> Stamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Stamp { seconds: now.as_secs().cast_signed(), nanos: now.subsec_nanos().into(), ..stamp }
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
