//! Publishing a file: hash it, give the trackers its manifest, offer it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::id::{FileId, FileName, GroupId, GroupName, Sha1Digest};
use common::look::{check_new, composed};
use common::manifest::Manifest;
use common::pieces::PieceLayout;
use common::wire::client::{Request, Response};
use common::wire::limits::{List, MAX_PART};
use common::wire::refusal::Refusal;

use super::hash::{HashProgress, manifest_of};
use super::offer::{Offer, open_regular};
use super::{Share, Shares, key_of};
use crate::error::{Error, shown};
use crate::trackers::group_names::called;
use crate::trackers::unexpected;
use crate::transfer::stamp::Stamp;

/// Times that a manifest is handed to the trackers, when the connection changes in between.
const ATTEMPTS: usize = 3;

/// A file that has been published.
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
}

/// A file that can be published.
struct Candidate {
    path: PathBuf,
    file: File,
    stamp: Stamp,
    layout: PieceLayout,
}

impl Shares {
    /// Hashes the file at `path`, publishes it in `group` as `name` (by default its last path
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
        let user = self.user()?;
        let name = match name {
            Some(name) => new_name(name.as_str()),
            None => share_name(path),
        }?;
        // Before the long work: who may not share here learns it now.
        let group_id = self.group_id(&group).await?;
        let group = self.0.names.present(group_id, &group);
        let progress = Arc::new(progress);
        let mut cut = piece_len;
        loop {
            let (candidate, manifest) = hash(path.to_owned(), cut, Arc::clone(&progress)).await?;
            let share = Share {
                user,
                group: group.clone(),
                group_id,
                name: name.clone(),
                file_id: manifest.file_id(),
                layout: manifest.layout(),
                sha1: manifest.sha1(),
                path: candidate.path,
                stamp: candidate.stamp,
                refused: None,
            };
            match self.publish(share, manifest).await {
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
    async fn publish(&self, share: Share, manifest: Manifest) -> Result<Uploaded, Error> {
        let (key, layout) = (key_of(&share), share.layout);
        let offered_before = self.0.host.offers.get(key).is_some_and(|o| o.is_full());
        if !offered_before {
            self.0.host.offers.put(Offer::complete(key, layout, share.path.clone(), share.stamp));
        }
        if let Err(e) = self.hand_over(&share, &manifest).await {
            if !offered_before {
                self.0.host.offers.end(key);
            }
            return Err(e);
        }
        let (shares, uploaded) = (self.clone(), uploaded(&share));
        blocking(move || {
            shares.0.manifests.save(&manifest)?;
            shares.registry(|r| r.put(share))
        })
        .await?;
        Ok(uploaded)
    }

    /// Stages the manifest and publishes. A tracker keeps what is staged for one connection only.
    async fn hand_over(&self, share: &Share, manifest: &Manifest) -> Result<(), Error> {
        let mut attempt = 1;
        loop {
            let connection = self.0.directory.connection();
            let result = self.stage_and_publish(share, manifest).await;
            match result {
                Err(Error::Refused(Refusal::Invalid(_)))
                    if attempt < ATTEMPTS && self.0.directory.connection() != connection => {}
                done => return done,
            }
            attempt += 1;
        }
    }

    async fn stage_and_publish(&self, share: &Share, manifest: &Manifest) -> Result<(), Error> {
        let file_id = share.file_id;
        for (part, first) in manifest.pieces().chunks(MAX_PART).zip((0u32..).step_by(MAX_PART)) {
            let pieces = List::first_of(part.iter().copied());
            expect_done(self.0.directory.call(Request::StageManifest { file_id, first, pieces }).await?)?;
        }
        let request = Request::UploadFile {
            group: share.group.reference(share.group_id),
            name: share.name.clone(),
            file_id,
            layout: share.layout,
            sha1: share.sha1,
        };
        let published = self.0.directory.call(request).await.map_err(|e| called(e, &share.group))?;
        expect_done(published)
    }
}

fn uploaded(share: &Share) -> Uploaded {
    Uploaded {
        group: share.group.clone(),
        name: share.name.clone(),
        size: share.layout.len(),
        piece_size: share.layout.piece_len(),
        pieces: share.layout.count(),
        sha1: share.sha1,
        file_id: share.file_id,
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
        let not_a_file = || Error::InvalidArgument(format!("{} is a directory; only files can be shared", shown(path)));
        let special =
            || Error::InvalidArgument(format!("{} is not a regular file; only files can be shared", shown(path)));
        let read = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::IsADirectory => not_a_file(),
            std::io::ErrorKind::InvalidInput => special(),
            _ => Error::from_io("read", path, e),
        };
        let file = open_regular(path).map_err(read)?;
        let stamp = Stamp::of(&file.metadata().map_err(read)?);
        let layout = match piece_len {
            Some(piece_len) => PieceLayout::new(stamp.len, piece_len),
            None => PieceLayout::with_default_piece_len(stamp.len),
        };
        let layout = layout.map_err(|e| Error::InvalidArgument(e.to_string()))?;
        // Remembered by where it is, not by how it was called from here.
        let path = path.canonicalize().map_err(read)?;
        Ok(Self { path, file, stamp, layout })
    }

    fn is_unchanged(&self) -> bool {
        self.file.metadata().is_ok_and(|m| Stamp::of(&m) == self.stamp)
    }
}

/// Opens and hashes on threads that may block; stops when the future is dropped.
async fn hash(
    path: PathBuf,
    piece_len: Option<u64>,
    progress: Arc<impl Fn(HashProgress) + Send + Sync + 'static>,
) -> Result<(Candidate, Manifest), Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let _guard = StopOnDrop(Arc::clone(&stop));
    blocking(move || {
        let candidate = Candidate::open(&path, piece_len)?;
        let manifest = manifest_of(&candidate.file, candidate.layout, &*progress, &stop);
        if !candidate.is_unchanged() {
            let changed = "it changed while it was read; try again when it is complete";
            return Err(Error::from_io("share", &path, std::io::Error::other(changed)));
        }
        let manifest = manifest.map_err(|e| Error::from_io("read", &path, e))?;
        Ok((candidate, manifest))
    })
    .await
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
