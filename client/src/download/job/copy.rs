//! Copying what this device has in another place, verified as if it came from a peer.

use std::sync::Arc;

use common::manifest::Manifest;
use common::pieces::{Bitfield, MAX_BLOCK_LEN};
use tokio_util::sync::CancellationToken;

use super::driver::Driver;
use crate::download::disk::Disk;
use crate::download::verify::{RawPiece, verify};
use crate::error::Error;
use crate::share::{Offer, blocking};
use crate::transfer::pool::Pool;

impl Driver {
    /// Copies what this device has in another place, verified as if it came from a peer.
    pub(super) async fn copy_local(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let Some(offer) = self.ground.shares.local_copy(self.job.spec.file_id) else { return Ok(()) };
        let Some(open) = &mut self.open else { return Ok(()) };
        let layout = open.manifest.layout();
        if offer.layout != layout || !layout.pieces().any(|piece| open.lacks(piece)) {
            return Ok(());
        }
        let (disk, manifest, have) = (Arc::clone(&open.disk), Arc::clone(&open.manifest), open.have.clone());
        let wanted = open.wanted.clone();
        let (job, pool, stop) = (Arc::clone(&self.job), self.ground.shares.pool().clone(), stop.clone());
        open.have = blocking(move || {
            let mut copy = Copy { offer: &offer, disk: &disk, manifest: &manifest, have, wanted };
            copy.run(&pool, &stop, |have| job.progress.send_modify(|p| p.have = have))?;
            Ok(copy.have)
        })
        .await?;
        Ok(())
    }
}

/// Copying from a share of this device.
struct Copy<'a> {
    offer: &'a Offer,
    disk: &'a Disk,
    manifest: &'a Manifest,
    have: Bitfield,
    wanted: Bitfield,
}

impl Copy<'_> {
    /// Copies until all is there or something is not as it should be: then peers give the rest.
    fn run(&mut self, pool: &Pool, stop: &CancellationToken, progress: impl Fn(u64)) -> Result<(), Error> {
        let layout = self.manifest.layout();
        let Ok(file) = self.offer.source().open() else { return Ok(()) };
        let mut done = 0;
        for piece in layout.pieces() {
            if !self.wanted.has(piece) {
                continue;
            }
            if !self.have.has(piece) {
                if stop.is_cancelled() {
                    return Ok(());
                }
                let mut parts: Vec<_> =
                    layout.blocks(piece, MAX_BLOCK_LEN).map(|b| pool.take(b.len as usize)).collect();
                let mut slices: Vec<&mut [u8]> = parts.iter_mut().map(|p| &mut p[..]).collect();
                if self.offer.source().read(&file, layout.range(piece).start, &mut slices).is_err() {
                    return Ok(());
                }
                let Ok(verified) = verify(self.manifest, RawPiece { piece, parts }) else { return Ok(()) };
                self.disk.write(&verified).map_err(|e| self.disk.failure(e))?;
                self.have.set(piece);
            }
            done += u64::from(layout.len_of(piece));
            progress(done);
        }
        Ok(())
    }
}
