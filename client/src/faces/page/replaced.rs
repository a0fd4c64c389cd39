//! Copies of files from browsers that newer ones have taken the place of. They go, unless something is still shared from them
//! or somebody has changed them since.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use common::id::{FileId, FileName, GroupName};

use super::Page;
use crate::engine::Engine;
use crate::error::Error;
use crate::share::blocking;
use crate::transfer::stamp::Stamp;

/// A copy that is about to be replaced.
pub(super) struct Before {
    path: PathBuf,
    file_id: FileId,
}

impl Before {
    /// The copy from which `name` is shared in `group` now, if it is one.
    pub(super) fn of(page: &Page, group: &GroupName, name: &FileName) -> Option<Self> {
        let own = page.engine.shares().list().unwrap_or_default();
        let share = own.into_iter().find(|share| share.group == *group && share.name == *name)?;
        let is_copy = page.engine.copies().has(&share.path, share.file_id);
        is_copy.then_some(Self { path: share.path, file_id: share.file_id })
    }

    /// Removes it, now that another is shared. It is read once more: what it holds says whether it is what was shared.
    pub(super) async fn remove(self, engine: &Engine) {
        let shares = engine.shares();
        let is_shared = shares.list().unwrap_or_default().iter().any(|share| share.path == self.path);
        if is_shared || shares.local_copy(self.file_id).is_some() {
            return;
        }
        let copies = Arc::clone(engine.copies());
        let removed = blocking(move || {
            let (stamp, found) = self.read().map_err(|e| Error::from_io("read", &self.path, e))?;
            if found == self.file_id { copies.remove(&self.path, self.file_id, stamp) } else { Ok(false) }
        })
        .await;
        if let Err(error) = removed {
            tracing::warn!(%error, "a copy of a file from a browser stays");
        }
    }

    /// How the file was, and what it holds. Blocks on the disk.
    fn read(&self) -> std::io::Result<(Stamp, FileId)> {
        let file = File::open(&self.path)?;
        let stamp = Stamp::of(&file.metadata()?);
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file)?;
        Ok((stamp, FileId::new(*hasher.finalize().as_bytes())))
    }
}
