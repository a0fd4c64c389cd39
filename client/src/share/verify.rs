//! Reading a share again, all of it: whether what is on the disk is what was published.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::id::{FileId, FileName, GroupName};
use common::manifest::Manifest;
use common::wire::client::{FileSelector, Request};

use super::hash::{HashProgress, manifest_of};
use super::notice::Withdrawal;
use super::offer::open_regular;
use super::publish::blocking;
use super::{Share, Shares, key_of};
use crate::error::Error;
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
            self.0.directory.call(Request::FindFile { group: group.clone(), file: file.clone() }).await?;
            return Err(Error::InvalidArgument(format!(
                "this device does not share `{file}`, so there is nothing to verify here; `download_file` fetches it"
            )));
        };
        let manifest = self.0.manifests.load(share.file_id, share.layout);
        let manifest = manifest.ok_or_else(|| Error::Integrity(lost(&share)))?;
        let stop = StopOnDrop::default();
        let stopped = Arc::clone(&stop.0);
        let read = share.clone();
        let bad = blocking(move || {
            bad_pieces(&read, &manifest, &progress, &stopped).map_err(|e| Error::from_io("read", &read.path, e))
        })
        .await?;
        if bad > 0 {
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
