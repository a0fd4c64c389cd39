//! What is served of one file in one group: its pieces that are here, and where to read them.
//!
//! Invariant: only pieces that were verified when they came to this disk are in an offer, and a read
//! from a file that has changed since is never handed out: its metadata is compared after each read. The bytes of a
//! folder are read through its [`Space`].

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use common::id::{FileId, GroupId};
use common::pieces::{Bitfield, PieceIndex, PieceLayout};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::folder::FolderPlace;
use crate::transfer::stamp::Stamp;

/// Which offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) group: GroupId,
    pub(crate) file_id: FileId,
}

/// One file of one group, as served.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) key: Key,
    pub(crate) layout: PieceLayout,
    source: Source,
    have: watch::Sender<Bitfield>,
    ended: CancellationToken,
}

impl Offer {
    /// A complete file at `path`, opened when somebody asks for it.
    pub(crate) fn complete(key: Key, layout: PieceLayout, path: PathBuf, stamp: Stamp) -> Self {
        let source = Source::new(Where::Path { path, stamp, open: Weak::new() });
        Self::new(key, layout, source, Bitfield::full(layout))
    }

    /// A folder, opened when somebody asks for it, with the pieces of it that are here.
    pub(crate) fn folder(key: Key, layout: PieceLayout, place: FolderPlace, have: Bitfield) -> Self {
        Self::new(key, layout, Source::new(Where::Folder(place)), have)
    }

    /// What is being downloaded into `file`, with the pieces that are there already.
    pub(crate) fn partial(key: Key, layout: PieceLayout, file: Opened, have: Bitfield) -> Self {
        Self::new(key, layout, Source::new(Where::Open(file)), have)
    }

    fn new(key: Key, layout: PieceLayout, source: Source, have: Bitfield) -> Self {
        Self { key, layout, source, have: watch::Sender::new(have), ended: CancellationToken::new() }
    }

    /// The pieces that can be asked for, and their changes.
    pub(crate) fn pieces(&self) -> watch::Receiver<Bitfield> {
        self.have.subscribe()
    }

    /// Whether `piece` can be asked for.
    pub(crate) fn has(&self, piece: PieceIndex) -> bool {
        self.have.borrow().has(piece)
    }

    /// Whether all pieces can be asked for.
    pub(crate) fn is_full(&self) -> bool {
        self.have.borrow().is_full()
    }

    /// One more piece can be asked for.
    pub(crate) fn add(&self, piece: PieceIndex) {
        self.have.send_if_modified(|have| have.set(piece));
    }

    /// A piece can no longer be read.
    pub(crate) fn lose(&self, piece: PieceIndex) {
        self.have.send_if_modified(|have| have.clear(piece));
    }

    /// Exactly these pieces can be asked for.
    pub(crate) fn set(&self, now: Bitfield) {
        self.have.send_if_modified(|have| std::mem::replace(have, now.clone()) != now);
    }

    /// Of the pieces that can be asked for, only these still can.
    pub(crate) fn keep(&self, only: &Bitfield) {
        let clear = |have: &mut Bitfield| {
            let gone = self.layout.pieces().filter(|piece| !only.has(*piece));
            gone.filter(|piece| have.clear(*piece)).count() > 0
        };
        self.have.send_if_modified(clear);
    }

    /// The download is complete, and the file has its final name.
    pub(crate) fn settle(&self, path: PathBuf, stamp: Stamp) {
        self.source.settle(path, stamp);
    }

    /// The same for a folder.
    pub(crate) fn settle_folder(&self, place: FolderPlace) {
        self.source.put(Where::Folder(place));
    }

    /// Ends every connection that serves this.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    /// Resolves when the offer has ended.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Where its bytes are.
    pub(crate) const fn source(&self) -> &Source {
        &self.source
    }
}

/// Why bytes could not be handed out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The file is no longer what was hashed.
    #[error("the file has changed")]
    Changed,
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The bytes of several files as if they were one.
pub(crate) trait Space: std::fmt::Debug + Send + Sync {
    /// Fills `parts`, which follow each other from `at` on. Blocks on the disk.
    ///
    /// # Errors
    /// When reading fails, or a file has changed: then the bytes are not to be used.
    fn read(&self, at: u64, parts: &mut [&mut [u8]]) -> Result<(), ReadError>;
}

/// Something open to read pieces from. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) enum Opened {
    /// One file.
    File(Arc<File>),
    /// The files of a folder.
    Folder(Arc<dyn Space>),
}

/// Where the bytes of an offer are.
#[derive(Debug)]
pub(crate) struct Source(Mutex<Where>);

#[derive(Debug)]
enum Where {
    /// In the making: names and times still change.
    Open(Opened),
    /// A finished file; open only while somebody reads, so that thousands of shares cost no descriptors.
    Path { path: PathBuf, stamp: Stamp, open: Weak<File> },
    /// A finished folder; its tree is in memory only while somebody reads.
    Folder(FolderPlace),
}

impl Source {
    fn new(place: Where) -> Self {
        Self(Mutex::new(place))
    }

    fn settle(&self, path: PathBuf, stamp: Stamp) {
        let mut place = self.locked();
        let open = match &*place {
            Where::Open(Opened::File(file)) => Arc::downgrade(file),
            Where::Path { open, .. } => open.clone(),
            Where::Open(Opened::Folder(_)) | Where::Folder(_) => Weak::new(),
        };
        *place = Where::Path { path, stamp, open };
    }

    fn put(&self, place: Where) {
        *self.locked() = place;
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Where> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is a finished folder.
    pub(crate) fn is_folder(&self) -> bool {
        matches!(&*self.locked(), Where::Folder(_))
    }

    /// Forgets what it has open of a folder if nobody has read it for a while, or in any case if it is `stale`.
    pub(crate) fn rest(&self, stale: bool) {
        if let Where::Folder(place) = &mut *self.locked() {
            place.rest(stale);
        }
    }

    /// The bytes, opened unless another reader has them open. Blocks on the disk.
    ///
    /// # Errors
    /// [`ReadError::Changed`] when the file there is not the one that was hashed.
    pub(crate) fn open(&self) -> Result<Opened, ReadError> {
        match &mut *self.locked() {
            Where::Open(opened) => Ok(opened.clone()),
            Where::Folder(place) => Ok(Opened::Folder(place.open()?)),
            Where::Path { path, stamp, open } => {
                if let Some(file) = open.upgrade() {
                    return Ok(Opened::File(file));
                }
                let file = Arc::new(open_regular(path)?);
                if Stamp::of(&file.metadata()?) != *stamp {
                    return Err(ReadError::Changed);
                }
                *open = Arc::downgrade(&file);
                Ok(Opened::File(file))
            }
        }
    }

    /// Whether `file`, which [`Source::open`] gave, is still what was hashed.
    fn is_unchanged(&self, file: &File) -> io::Result<bool> {
        let stamp = match &*self.locked() {
            Where::Open(_) | Where::Folder(_) => return Ok(true),
            Where::Path { stamp, .. } => *stamp,
        };
        Ok(Stamp::of(&file.metadata()?) == stamp)
    }

    /// The same as [`Source::read`] without waiting for the disk; `None` unless all of it is in the page cache. Of a folder
    /// that is not known without opening its files, which may wait.
    #[cfg(target_os = "linux")]
    pub(crate) fn read_cached(&self, from: &Opened, at: u64, parts: &mut [&mut [u8]]) -> Option<Result<(), ReadError>> {
        let Opened::File(file) = from else { return None };
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        let mut parts: Vec<_> = parts.iter_mut().map(|part| io::IoSliceMut::new(part)).collect();
        let read = rustix::io::preadv2(file, &mut parts, at, rustix::io::ReadWriteFlags::NOWAIT).ok()?;
        (read == wanted).then(|| if self.is_unchanged(file)? { Ok(()) } else { Err(ReadError::Changed) })
    }

    /// There is no way to ask for that here.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn read_cached(&self, _: &Opened, _: u64, _: &mut [&mut [u8]]) -> Option<Result<(), ReadError>> {
        None
    }

    /// Fills `parts`, which follow each other from `at` on. Blocks on the disk.
    ///
    /// # Errors
    /// When reading fails, or a file has changed: then the bytes are not to be used.
    pub(crate) fn read(&self, from: &Opened, at: u64, parts: &mut [&mut [u8]]) -> Result<(), ReadError> {
        let file = match from {
            Opened::File(file) => file,
            Opened::Folder(space) => return space.read(at, parts),
        };
        let mut at = at;
        for part in parts {
            file.read_exact_at(part, at).map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => ReadError::Changed,
                _ => ReadError::Io(e),
            })?;
            at += part.len() as u64;
        }
        if self.is_unchanged(file)? { Ok(()) } else { Err(ReadError::Changed) }
    }
}

/// Opens a file for reading unless it is something else: opening a pipe would wait for its writer.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let refuse = |m: std::fs::Metadata| {
        let what = if m.is_dir() { io::ErrorKind::IsADirectory } else { io::ErrorKind::InvalidInput };
        if m.is_file() { Ok(()) } else { Err(io::Error::from(what)) }
    };
    refuse(std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    refuse(file.metadata()?)?;
    Ok(file)
}

/// Everything that is served now. Clones are the same table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offers(Arc<Mutex<HashMap<Key, Arc<Offer>>>>);

impl Offers {
    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Offer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves `offer` from now on; one for the same file and group ends.
    pub(crate) fn put(&self, offer: Offer) -> Arc<Offer> {
        let offer = Arc::new(offer);
        if let Some(old) = self.table().insert(offer.key, Arc::clone(&offer)) {
            old.end();
        }
        offer
    }

    /// The offer, if there is one.
    pub(crate) fn get(&self, key: Key) -> Option<Arc<Offer>> {
        self.table().get(&key).cloned()
    }

    /// A complete offer of this content, in whatever group.
    pub(crate) fn with_content(&self, file_id: FileId) -> Option<Arc<Offer>> {
        self.table().values().find(|o| o.key.file_id == file_id && o.is_full()).cloned()
    }

    /// Ends the offer, if there is one.
    pub(crate) fn end(&self, key: Key) {
        if let Some(offer) = self.table().remove(&key) {
            offer.end();
        }
    }

    /// Ends exactly this offer; one that has taken its place stays.
    pub(crate) fn end_this(&self, offer: &Arc<Offer>) {
        let mut table = self.table();
        if table.get(&offer.key).is_some_and(|o| Arc::ptr_eq(o, offer)) {
            table.remove(&offer.key);
        }
        offer.end();
    }

    /// Ends all.
    pub(crate) fn end_all(&self) {
        self.table().drain().for_each(|(_, offer)| offer.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn offer(path: &Path) -> Offer {
        let stamp = Stamp::of(&fs::metadata(path).expect("there"));
        let layout = PieceLayout::new(stamp.len, 16 << 10).expect("a layout");
        let key = Key { group: GroupId::new([1; 16]), file_id: FileId::new([2; 32]) };
        Offer::complete(key, layout, path.to_owned(), stamp)
    }

    fn read(offer: &Offer, at: u64, len: usize) -> Result<Vec<u8>, ReadError> {
        let file = offer.source().open()?;
        let mut bytes = vec![0; len];
        let (a, b) = bytes.split_at_mut(len / 2);
        offer.source().read(&file, at, &mut [a, b])?;
        Ok(bytes)
    }

    #[test]
    fn bytes_of_a_changed_file_are_never_handed_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        fs::write(&path, b"0123456789").expect("written");
        let offer = offer(&path);
        assert_eq!(read(&offer, 2, 5).expect("read"), b"23456");
        let held = offer.source().open().expect("open");

        // Changed in place, while a reader has it open.
        let mut file = fs::OpenOptions::new().append(true).open(&path).expect("open");
        file.write_all(b"x").expect("written");
        assert!(matches!(offer.source().read(&held, 0, &mut [&mut [0; 4]]), Err(ReadError::Changed)));
        drop(held);
        assert!(matches!(read(&offer, 0, 4), Err(ReadError::Changed)));

        // Shorter, gone, something else.
        fs::write(&path, b"0").expect("written");
        assert!(matches!(read(&offer, 0, 4), Err(ReadError::Changed)));
        fs::remove_file(&path).expect("removed");
        assert!(matches!(read(&offer, 0, 4), Err(ReadError::Io(_))));
        fs::create_dir(&path).expect("made");
        assert!(matches!(read(&offer, 0, 4), Err(ReadError::Io(_))));
    }

    #[test]
    fn a_file_replaced_by_another_is_noticed_when_it_is_opened() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, other) = (dir.path().join("file"), dir.path().join("other"));
        fs::write(&path, b"0123456789").expect("written");
        let offer = offer(&path);
        fs::write(&other, b"abcdefghij").expect("written");
        fs::rename(&other, &path).expect("renamed");
        assert!(matches!(read(&offer, 0, 4), Err(ReadError::Changed)));
    }

    #[test]
    fn a_new_offer_ends_the_old_one_and_only_that() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        fs::write(&path, b"0123456789").expect("written");
        let offers = Offers::default();
        let first = offers.put(offer(&path));
        let second = offers.put(offer(&path));
        assert!(first.ended.is_cancelled() && !second.ended.is_cancelled());
        offers.end_this(&first);
        assert!(offers.get(second.key).is_some_and(|o| Arc::ptr_eq(&o, &second)));
        offers.end(second.key);
        assert!(second.ended.is_cancelled() && offers.get(second.key).is_none());
    }
}
