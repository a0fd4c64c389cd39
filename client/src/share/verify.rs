//! Reading a share again, all of it: whether what is on the disk is what was published.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::id::{FileId, FileName, GroupName};
use common::manifest::{Manifest, Verdict};
use common::pieces::Bitfield;
use common::tree::Entry;
use common::wire::client::FileSelector;

use super::folder::{hash_file, pieces_of, pieces_touching};
use super::hash::{HashProgress, manifest_of};
use super::notice::Withdrawal;
use super::offer::{Space, open_regular};
use super::publish::blocking;
use super::{FolderShare, Share, Shares, key_of};
use crate::error::Error;
use crate::transfer::beneath::Beneath;
use crate::transfer::stamp::Stamp;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Where it is shared.
    pub group: GroupName,
    /// Its name there.
    pub name: FileName,
    /// Its content, as it was published.
    pub file_id: FileId,
    /// Where it lies.
    pub path: PathBuf,
    /// Length in bytes.
    pub size: u64,
    /// Number of its pieces.
    pub pieces: u32,
    /// How many of them are not what was published; all, where the length is another.
    pub bad: u32,
}

impl Shares {
    /// Reads a share of this device again. One that is not what was published is no longer seeded. Reading ends when this is
    /// dropped.
    ///
    /// # Errors
    /// When this device does not share it, or it cannot be read.
    pub async fn verify(
        &self,
        group: &GroupName,
        file: &FileSelector,
        progress: impl Fn(HashProgress) + Send + Sync + 'static,
    ) -> Result<Verified, Error> {
        let user = self.user()?;
        let share = self.one_of(user, group, file)?;
        let Some(share) = share else {
            // The tracker knows best what is wrong with the group or the name; if nothing is, it is only not ours.
            self.find(group.clone(), file.clone()).await?;
            return Err(Error::InvalidArgument(format!(
                "this device does not share `{file}`, so there is nothing to verify here; `download_file` fetches it"
            )));
        };
        let manifest = self.0.manifests.load(share.file_id, share.layout);
        let manifest = manifest.ok_or_else(|| Error::Integrity(lost(&share)))?;
        let stop = StopOnDrop::default();
        let stopped = Arc::clone(&stop.0);
        let (read, shares) = (share.clone(), self.clone());
        let bad = blocking(move || {
            let bad = match &read.folder {
                Some(folder) => shares.bad_pieces_of_folder(&read, folder, &manifest, &progress, &stopped),
                None => bad_pieces(&read, &manifest, &progress, &stopped),
            };
            bad.map_err(|e| Error::from_io("read", &read.path, e))
        })
        .await?;
        if bad > 0 && share.folder.is_none() {
            // Nobody gets a byte of it any more.
            self.0.host.offers.end(key_of(&share));
            self.withdraw(&share, Withdrawal::Modified).await;
        }
        Ok(Verified {
            group: self.0.names.present(share.group_id, &share.group),
            size: share.layout.len(),
            pieces: share.layout.count(),
            name: share.name,
            file_id: share.file_id,
            path: share.path,
            bad,
        })
    }
}

impl Shares {
    /// How many pieces of the folder that should be here are not what was published. The files that are to blame count as
    /// gone from here on, and the rest goes on being seeded. Blocks on the disk.
    fn bad_pieces_of_folder(
        &self,
        share: &Share,
        folder: &FolderShare,
        manifest: &Manifest,
        progress: &(dyn Fn(HashProgress) + Sync),
        stop: &AtomicBool,
    ) -> io::Result<u32> {
        let lost = || io::Error::new(io::ErrorKind::NotFound, "what is known of its files is lost; share it again");
        let layout = manifest.layout();
        let tree = self.0.trees.load(folder.tree).ok_or_else(lost)?;
        let mut marks = self.0.trees.marks(folder.tree, &share.path).ok_or_else(lost)?;
        let here = pieces_of(&tree, layout, |index| marks.get(index).is_some_and(|mark| *mark != 0));
        let space = self.place(share.path.clone(), folder).open().map_err(io::Error::other)?;
        let (mut bad, mut done) = (Bitfield::empty(layout), 0);
        for piece in layout.pieces().filter(|piece| here.has(*piece)) {
            if stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let mut bytes = vec![0; layout.len_of(piece) as usize];
            let read = space.read(layout.range(piece).start, &mut [&mut bytes]);
            if read.is_err() || manifest.verify(piece, &bytes) != Verdict::Good {
                bad.set(piece);
            }
            done += bytes.len() as u64;
            progress(HashProgress { done, total: layout.len() });
        }
        if bad.ones() == 0 {
            return Ok(0);
        }
        let root = Beneath::open(&share.path)?;
        for (index, node) in tree.iter().enumerate() {
            let Entry::File { hash, .. } = node.entry else { continue };
            if pieces_touching(&tree, layout, index).any(|piece| bad.has(piece))
                && hash_file(&root, node.path).map_or(true, |(found, _)| found != hash)
            {
                marks[index] = 0;
            }
        }
        self.0.trees.save_marks(folder.tree, &share.path, &marks).map_err(io::Error::other)?;
        if let Some(offer) = self.0.host.offers.get(key_of(share)) {
            offer.source().rest(true);
            offer.set(pieces_of(&tree, layout, |index| marks.get(index).is_some_and(|mark| *mark != 0)));
        }
        Ok(bad.ones())
    }
}

fn lost(share: &Share) -> String {
    format!("what the pieces of `{}` have to be is no longer known here; share it again", share.name)
}

/// Tells whoever reads to stop when nobody waits for it any more.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How many pieces of the file are not those of the manifest. Blocks on the disk.
fn bad_pieces(
    share: &Share,
    manifest: &Manifest,
    progress: &(dyn Fn(HashProgress) + Sync),
    stop: &AtomicBool,
) -> std::io::Result<u32> {
    let layout = manifest.layout();
    let file = open_regular(&share.path)?;
    if Stamp::of(&file.metadata()?).len != layout.len() {
        return Ok(layout.count().max(1));
    }
    let found = manifest_of(&file, layout, progress, stop)?;
    let differ = found.pieces().iter().zip(manifest.pieces()).filter(|(found, wanted)| found != wanted).count();
    Ok(u32::try_from(differ).unwrap_or(u32::MAX))
}
