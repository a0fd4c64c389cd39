//! Publishing a file or a folder: hash it, give the trackers its manifest and its tree, offer it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::id::{FileId, FileName, GroupId, GroupName, Sha1Digest, TreeId};
use common::look::{check_new, composed};
use common::manifest::Manifest;
use common::pieces::PieceLayout;
use common::tree::{Entry, Tree};
use common::wire::client::{Request, Response};
use common::wire::limits::{List, MAX_PART, MAX_TREE_PART};
use common::wire::refusal::Refusal;

use super::folder::{HashError, Hashed, Skipped, Walked, hash_folder, walk};
use super::hash::{HashProgress, manifest_of};
use super::offer::open_regular;
use super::registry::FolderShare;
use super::{Share, Shares, key_of};
use crate::error::{Error, shown};
use crate::own_files;
use crate::trackers::group_names::called;
use crate::trackers::unexpected;
use crate::transfer::beneath::Beneath;
use crate::transfer::stamp::Stamp;
use crate::transfer::trees::Marks;

/// Times that a manifest is handed to the trackers, when the connection changes in between.
const ATTEMPTS: usize = 3;

/// How something is to be published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadAs {
    /// Under which name; by default the last part of its path.
    pub name: Option<FileName>,
    /// Piece length in bytes; by default chosen by the length.
    pub piece_len: Option<u64>,
    /// Whether it takes the place of what has that name.
    pub replace: bool,
}

/// What there is to say of a folder that has been published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedFolder {
    /// Its files and empty folders.
    pub entries: u64,
    /// Its tree.
    pub tree: TreeId,
    /// What was left out.
    pub skipped: Vec<Skipped>,
}

/// A file or a folder that has been published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// Where.
    pub group: GroupName,
    /// Under which name.
    pub name: FileName,
    /// Length in bytes.
    pub size: u64,
    /// Piece length in bytes.
    pub piece_size: u64,
    /// Number of pieces.
    pub pieces: u32,
    /// SHA-1 of the whole.
    pub sha1: Sha1Digest,
    /// BLAKE3 of the whole.
    pub file_id: FileId,
    /// Whether another version was there before.
    pub replaced: bool,
    /// If it is a folder.
    pub folder: Option<UploadedFolder>,
}

/// A file that can be published.
struct Candidate {
    path: PathBuf,
    file: File,
    stamp: Stamp,
    layout: PieceLayout,
}

/// A file or a folder that has been hashed.
struct Content {
    path: PathBuf,
    stamp: Stamp,
    manifest: Manifest,
    folder: Option<FolderContent>,
}

struct FolderContent {
    tree: TreeId,
    entries: u64,
    encoded: Vec<u8>,
    marks: Marks,
    skipped: Vec<Skipped>,
}

impl Shares {
    /// Hashes the file or the folder at `path`, publishes it in `group` as `name` (by default its last path
    /// component), and seeds it. `piece_len` in bytes; by default chosen by the length.
    ///
    /// Dropping the future stops the hashing.
    ///
    /// # Errors
    /// When there is no such readable file, it changes meanwhile, or the tracker refuses.
    pub async fn upload(
        &self,
        path: &Path,
        group: GroupName,
        name: Option<FileName>,
        piece_len: Option<u64>,
        progress: impl Fn(HashProgress) + Send + Sync + 'static,
    ) -> Result<Uploaded, Error> {
        self.upload_as(path, group, UploadAs { name, piece_len, replace: false }, progress).await
    }

    /// As [`Shares::upload`], in place of what has that name if that is wanted.
    ///
    /// # Errors
    /// The same.
    pub async fn upload_as(
        &self,
        path: &Path,
        group: GroupName,
        wanted: UploadAs,
        progress: impl Fn(HashProgress) + Send + Sync + 'static,
    ) -> Result<Uploaded, Error> {
        let user = self.user()?;
        let name = match &wanted.name {
            Some(name) => new_name(name.as_str()),
            None => share_name(&named(path)),
        }?;
        // Before the long work: who may not share here learns it now.
        let group_id = self.group_id(&group).await?;
        let group = self.0.names.present(group_id, &group);
        let progress = Arc::new(progress);
        let mut cut = wanted.piece_len;
        loop {
            let content = hash(path.to_owned(), cut, Arc::clone(&progress)).await?;
            let folder = content.folder.as_ref();
            let share = Share {
                user,
                group: group.clone(),
                group_id,
                name: name.clone(),
                file_id: content.manifest.file_id(),
                layout: content.manifest.layout(),
                sha1: content.manifest.sha1(),
                path: content.path.clone(),
                stamp: content.stamp,
                refused: None,
                withheld: None,
                folder: folder.map(|f| FolderShare { tree: f.tree, entries: f.entries, partial: false }),
            };
            match self.publish(share, content, wanted.replace).await {
                // Somebody shares the same file cut in another way; who did not choose follows.
                Err(Error::Refused(Refusal::OtherPieceSize { piece_len })) if cut.is_none() => cut = Some(piece_len),
                done => return done,
            }
        }
    }

    /// The id behind a group's name, from a ticket: only members get one.
    async fn group_id(&self, group: &GroupName) -> Result<GroupId, Error> {
        let ticket = self.0.directory.ticket(group).await?;
        let cluster = self.0.directory.cluster().ok_or_else(unexpected)?;
        Ok(ticket.verify(&cluster).map_err(|_| unexpected())?.group)
    }

    /// Offered first, so that whoever hears of it finds it; taken back if the trackers refuse.
    async fn publish(&self, share: Share, content: Content, replace: bool) -> Result<Uploaded, Error> {
        // One at a time: a tracker keeps one thing that is staged, and what is published last is what is kept last here.
        let _publishing = self.0.publishing.lock().await;
        let key = key_of(&share);
        let Content { manifest, folder, .. } = content;
        let (folder, skipped) = match folder {
            Some(FolderContent { encoded, marks, skipped, tree, .. }) => {
                let (shares, share) = (self.clone(), share.clone());
                let encoded = blocking(move || {
                    shares.0.trees.save(tree, &encoded)?;
                    shares.save_marks(&share, tree, &marks)?;
                    Ok(encoded)
                })
                .await?;
                (Some((tree, encoded)), skipped)
            }
            None => (None, Vec::new()),
        };
        let offered_before = self.0.host.offers.get(key).is_some_and(|o| o.is_full());
        if !offered_before {
            self.0.host.offers.put(self.whole_offer(&share));
        }
        let tree = folder.as_ref().map(|(tree, encoded)| (*tree, &encoded[..]));
        let connection = self.0.directory.connection();
        let replaced = match self.hand_over(&share, &manifest, tree, replace).await {
            Ok(replaced) => {
                self.note_listed(key, connection);
                replaced
            }
            Err(e) => {
                if !offered_before {
                    self.0.host.offers.end(key);
                }
                self.clean_up(std::slice::from_ref(&share));
                return Err(e);
            }
        };
        let (shares, uploaded) = (self.clone(), uploaded(&share, replaced, skipped));
        // The same bytes may be offered already, by an older tree or from another folder, which may go.
        if let (Some(folder), Some(offer)) = (&share.folder, self.0.host.offers.get(key)) {
            offer.settle_folder(self.place(share.path.clone(), folder));
        }
        blocking(move || {
            shares.0.manifests.save(&manifest)?;
            // A file may be offered as it was before somebody touched it, or from another path, which may go.
            let is_elsewhere = |s: &Share| key_of(s) == key && (&s.path, s.stamp) != (&share.path, share.stamp);
            let is_stale = share.folder.is_none() && shares.registry(|r| r.shares().iter().any(is_elsewhere));
            let renewed = is_stale.then(|| shares.whole_offer(&share));
            let before = shares.put(share)?;
            renewed.into_iter().for_each(|offer| drop(shares.0.host.offers.put(offer)));
            before.iter().for_each(|before| shares.end_replaced(before));
            if is_stale || !shares.offers(key) {
                // What was there before may have been found changed meanwhile.
                shares.request_reannounce(std::iter::once(key));
            }
            Ok(())
        })
        .await?;
        Ok(uploaded)
    }

    /// Another version has taken the place of `before`: what nobody needs of it any more goes.
    pub(super) fn end_replaced(&self, before: &Share) {
        let key = key_of(before);
        if self.registry(|r| r.shares().iter().all(|s| key_of(s) != key)) {
            self.0.host.offers.end(key);
        }
        self.clean_up(std::slice::from_ref(before));
    }

    /// Stages manifest and tree, and publishes: whether another version was there. A tracker keeps what is staged for one
    /// connection only.
    async fn hand_over(
        &self,
        share: &Share,
        manifest: &Manifest,
        tree: Option<(TreeId, &[u8])>,
        replace: bool,
    ) -> Result<bool, Error> {
        let mut attempt = 1;
        loop {
            let connection = self.0.directory.connection();
            let result = self.stage_and_publish(share, manifest, tree, replace).await;
            match result {
                Err(Error::Refused(Refusal::Invalid(_)))
                    if attempt < ATTEMPTS && self.0.directory.connection() != connection => {}
                done => return done,
            }
            attempt += 1;
        }
    }

    async fn stage_and_publish(
        &self,
        share: &Share,
        manifest: &Manifest,
        tree: Option<(TreeId, &[u8])>,
        replace: bool,
    ) -> Result<bool, Error> {
        let file_id = share.file_id;
        for (part, first) in manifest.pieces().chunks(MAX_PART).zip((0u32..).step_by(MAX_PART)) {
            let pieces = List::first_of(part.iter().copied());
            expect_done(self.0.directory.call(Request::StageManifest { file_id, first, pieces }).await?)?;
        }
        if let Some((tree, encoded)) = tree {
            for (part, offset) in encoded.chunks(MAX_TREE_PART).zip((0u64..).step_by(MAX_TREE_PART)) {
                let bytes = List::first_of(part.iter().copied());
                expect_done(self.0.directory.call(Request::StageTree { tree, offset, bytes }).await?)?;
            }
        }
        let (group, name) = (share.group.reference(share.group_id), share.name.clone());
        let (layout, sha1) = (share.layout, share.sha1);
        if tree.is_none() && !replace {
            let request = Request::UploadFile { group, name, file_id, layout, sha1 };
            let published = self.0.directory.call(request).await.map_err(|e| called(e, &share.group))?;
            return expect_done(published).map(|()| false);
        }
        let tree = tree.map(|(tree, _)| tree);
        let request = Request::Publish { group, name, file_id, layout, sha1, tree, replace };
        match self.0.directory.call(request).await.map_err(|e| called(e, &share.group))? {
            Response::Published { replaced } => Ok(replaced),
            _ => Err(unexpected()),
        }
    }
}

fn uploaded(share: &Share, replaced: bool, skipped: Vec<Skipped>) -> Uploaded {
    let folder = |f: &FolderShare| UploadedFolder { entries: f.entries, tree: f.tree, skipped };
    Uploaded {
        group: share.group.clone(),
        name: share.name.clone(),
        size: share.layout.len(),
        piece_size: share.layout.piece_len(),
        pieces: share.layout.count(),
        sha1: share.sha1,
        file_id: share.file_id,
        replaced,
        folder: share.folder.as_ref().map(folder),
    }
}

pub(super) fn expect_done(response: Response) -> Result<(), Error> {
    if response == Response::Done { Ok(()) } else { Err(unexpected()) }
}

/// Runs what blocks on the disk.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(Error::Internal(format!("the work was not finished: {e}"))))
}

/// The path by which a folder is called, also where it is `.` or ends with `..`.
fn named(path: &Path) -> PathBuf {
    let is_named = path.file_name().is_some() || !path.is_dir();
    if is_named { path.to_owned() } else { path.canonicalize().unwrap_or_else(|_| path.to_owned()) }
}

/// The name under which the file at `path` is shared unless told otherwise.
fn share_name(path: &Path) -> Result<FileName, Error> {
    let hint = "give it a name with `--name`";
    let last =
        path.file_name().ok_or_else(|| Error::InvalidArgument(format!("{} is not the path of a file", shown(path))))?;
    let text = last
        .to_str()
        .ok_or_else(|| Error::InvalidArgument(format!("the name of {} is not UTF-8; {hint}", shown(path))))?;
    new_name(text).map_err(|e| match e {
        Error::InvalidArgument(reason) if !reason.contains("--name") => {
            Error::InvalidArgument(format!("{reason}; {hint}"))
        }
        other => other,
    })
}

/// The name in composed form: some keyboards and file systems give the other.
fn new_name(text: &str) -> Result<FileName, Error> {
    let name = composed(text).parse().and_then(|name| check_new(&name).map(|()| name));
    name.map_err(|e| Error::InvalidArgument(e.to_string()))
}

impl Candidate {
    fn open(path: &Path, piece_len: Option<u64>) -> Result<Self, Error> {
        let special = || {
            Error::InvalidArgument(format!("{} is no regular file; only files and folders can be shared", shown(path)))
        };
        let read = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::InvalidInput => special(),
            _ => Error::from_io("read", path, e),
        };
        let file = open_regular(path).map_err(read)?;
        let stamp = Stamp::of(&file.metadata().map_err(read)?);
        let layout = cut(stamp.len, piece_len)?;
        // Remembered by where it is, not by how it was called from here.
        let path = path.canonicalize().map_err(read)?;
        if let Some(why) = own_files::secret(&path) {
            return Err(Error::InvalidArgument(format!("{} cannot be shared: {why}", shown(&path))));
        }
        Ok(Self { path, file, stamp, layout })
    }

    fn is_unchanged(&self) -> bool {
        self.file.metadata().is_ok_and(|m| Stamp::of(&m) == self.stamp)
    }
}

fn cut(len: u64, piece_len: Option<u64>) -> Result<PieceLayout, Error> {
    let layout = match piece_len {
        Some(piece_len) => PieceLayout::new(len, piece_len),
        None => PieceLayout::with_default_piece_len(len),
    };
    layout.map_err(|e| Error::InvalidArgument(e.to_string()))
}

/// Opens and hashes on threads that may block; stops when the future is dropped.
async fn hash(
    path: PathBuf,
    piece_len: Option<u64>,
    progress: Arc<impl Fn(HashProgress) + Send + Sync + 'static>,
) -> Result<Content, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let _guard = StopOnDrop(Arc::clone(&stop));
    blocking(move || {
        if path.is_dir() {
            return hash_whole_folder(&path, piece_len, &*progress, &stop);
        }
        let candidate = Candidate::open(&path, piece_len)?;
        let manifest = manifest_of(&candidate.file, candidate.layout, &*progress, &stop);
        if !candidate.is_unchanged() {
            let changed = "it changed while it was read; try again when it is complete";
            return Err(Error::from_io("share", &path, std::io::Error::other(changed)));
        }
        let manifest = manifest.map_err(|e| Error::from_io("read", &path, e))?;
        Ok(Content { path: candidate.path, stamp: candidate.stamp, manifest, folder: None })
    })
    .await
}

/// Finds what is in a folder, and hashes it. Files that turn out not to be readable are left out.
fn hash_whole_folder(
    path: &Path,
    piece_len: Option<u64>,
    progress: &(dyn Fn(HashProgress) + Sync),
    stop: &AtomicBool,
) -> Result<Content, Error> {
    let read = |e| Error::from_io("read", path, e);
    let path = &path.canonicalize().map_err(read)?;
    let stamp = Stamp::of(&std::fs::metadata(path).map_err(read)?);
    let root = Beneath::open(path).map_err(read)?;
    let Walked { mut files, empty_folders, mut skipped } = walk(&root, stop).map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidInput => Error::InvalidArgument(format!("{} cannot be shared: {e}", shown(path))),
        _ => read(e),
    })?;
    let hashed = loop {
        let layout = cut(files.iter().map(|f| f.len).sum(), piece_len)?;
        match hash_folder(&root, &files, layout, progress, stop) {
            Ok(hashed) => break hashed,
            Err(HashError::Unreadable(which)) if !which.is_empty() => {
                for (index, error) in which.into_iter().rev() {
                    let path = files.remove(index).path;
                    skipped.push(Skipped { path: path.into(), why: format!("it cannot be read ({error})") });
                }
            }
            Err(HashError::Unreadable(_)) => return Err(read(std::io::ErrorKind::Interrupted.into())),
            Err(HashError::File(index, error)) => {
                let file = files.get(index).map_or_else(|| path.clone(), |f| path.join(f.path.as_str()));
                return Err(Error::from_io("share", &file, error));
            }
            Err(HashError::Other(error)) => return Err(read(error)),
        }
    };
    let Hashed { manifest, files: hashes } = hashed;
    let marks: Vec<_> = files.iter().map(|f| (f.path.clone(), f.mark)).collect();
    let entries = files
        .into_iter()
        .zip(hashes)
        .map(|(file, hash)| (file.path, Entry::File { len: file.len, hash, executable: file.executable }));
    let entries = entries.chain(empty_folders.into_iter().map(|path| (path, Entry::EmptyFolder)));
    let tree = Tree::new(entries).map_err(|e| Error::InvalidArgument(e.to_string()))?;
    let mut marks = marks.into_iter().peekable();
    let mark_of = |node: common::tree::Node<'_>| {
        marks.next_if(|(path, _)| path.as_str() == node.path).map_or(0, |(_, mark)| mark)
    };
    let marks: Marks = tree.iter().map(mark_of).collect();
    let encoded = tree.encode();
    let tree_id = tree.id();
    let folder = FolderContent { tree: tree_id, entries: tree.entries() as u64, encoded, marks, skipped };
    Ok(Content { path: path.clone(), stamp, manifest, folder: Some(folder) })
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether the file at `path` still is what `manifest` says, by reading all of it. Blocks.
pub(super) fn is_still(path: &Path, manifest: &Manifest) -> Result<Option<Stamp>, std::io::Error> {
    let file = open_regular(path)?;
    let stamp = Stamp::of(&file.metadata()?);
    if stamp.len != manifest.layout().len() {
        return Ok(None);
    }
    let found = manifest_of(&file, manifest.layout(), &|_| (), &AtomicBool::new(false))?;
    let unchanged = Stamp::of(&file.metadata()?) == stamp;
    Ok((unchanged && found.file_id() == manifest.file_id()).then_some(stamp))
}
