//! Keeping what an older copy at the destination has of the new version: hashed again here, and not fetched.

use std::sync::Arc;

use common::manifest::{Manifest, pieces_at_once};
use common::pieces::{Bitfield, MAX_BLOCK_LEN, PieceIndex};
use tokio_util::sync::CancellationToken;

use super::driver::Driver;
use crate::download::disk::Disk;
use crate::download::folder::{Older, OlderFile, OlderFolder};
use crate::download::verify::{RawPiece, VerifiedPiece, verify_all};
use crate::error::Error;
use crate::share::blocking;
use crate::transfer::pool::Pool;

impl Driver {
    /// Takes what it can from what is at the destination, verified as if it came from a peer.
    pub(super) async fn reuse_older(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let spec = &self.job.spec;
        let may_replace = spec.force || spec.folder.as_ref().is_some_and(|folder| folder.merge);
        let Some(open) = &mut self.open else { return Ok(()) };
        if !may_replace {
            return Ok(());
        }
        let (disk, manifest) = (Arc::clone(&open.disk), Arc::clone(&open.manifest));
        let (have, wanted) = (open.have.clone(), open.wanted.clone());
        let (job, pool, stop) = (Arc::clone(&self.job), self.ground.shares.pool().clone(), stop.clone());
        job.progress.send_modify(|p| p.reused = 0);
        open.have = blocking(move || {
            let mut reuse = Reuse { disk: &disk, manifest: &manifest, have, wanted, pool: &pool, stop: &stop };
            let told = |bytes: u64| {
                job.progress.send_modify(|p| {
                    p.have += bytes;
                    p.reused += bytes;
                    p.files = disk.folder().map(|folder| folder.files());
                });
            };
            reuse.run(job.spec.force, told)?;
            Ok(reuse.have)
        })
        .await?;
        Ok(())
    }
}

struct Reuse<'a> {
    disk: &'a Disk,
    manifest: &'a Manifest,
    have: Bitfield,
    wanted: Bitfield,
    pool: &'a Pool,
    stop: &'a CancellationToken,
}

impl Reuse<'_> {
    fn run(&mut self, force: bool, told: impl Fn(u64)) -> Result<(), Error> {
        let Some(folder) = self.disk.folder() else {
            return match self.disk.destination().open_finished() {
                Some(file) => self.take(&OlderFile(file), &told),
                None => Ok(()),
            };
        };
        let Some(older) = OlderFolder::find(folder) else { return Ok(()) };
        self.take(&older, &told)?;
        match older.first_other() {
            Some(path) if !force && !self.stop.is_cancelled() => {
                Err(Error::DestinationExists(self.disk.destination().path().join(path)))
            }
            _ => Ok(()),
        }
    }

    fn take(&mut self, older: &dyn Older, told: &dyn Fn(u64)) -> Result<(), Error> {
        let layout = self.manifest.layout();
        let lacking: Vec<_> = layout.pieces().filter(|p| self.wanted.has(*p) && !self.have.has(*p)).collect();
        let mut good = Bitfield::empty(layout);
        for batch in lacking.chunks(pieces_at_once()) {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            for verified in self.read(older, batch) {
                good.set(verified.piece());
                if older.knows_at_once() {
                    self.keep(&verified, told)?;
                }
            }
        }
        older.verified(&good);
        if older.knows_at_once() {
            return Ok(());
        }
        for piece in layout.pieces().filter(|p| good.has(*p)) {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            if older.has_to_be_written(piece) {
                for verified in self.read(older, &[piece]) {
                    self.keep(&verified, told)?;
                }
            } else {
                self.disk.note(piece).map_err(|e| self.disk.failure(e))?;
                self.has(piece, told);
            }
        }
        Ok(())
    }

    /// Those of `pieces` that can be read there, and are right.
    fn read(&self, older: &dyn Older, pieces: &[PieceIndex]) -> Vec<VerifiedPiece> {
        let layout = self.manifest.layout();
        let read = |piece: &PieceIndex| {
            let mut parts: Vec<_> =
                layout.blocks(*piece, MAX_BLOCK_LEN).map(|b| self.pool.take(b.len as usize)).collect();
            let mut slices: Vec<&mut [u8]> = parts.iter_mut().map(|p| &mut p[..]).collect();
            older.read(layout.range(*piece).start, &mut slices).ok()?;
            Some(RawPiece { piece: *piece, parts })
        };
        let raw = pieces.iter().filter_map(read).collect();
        verify_all(self.manifest, raw).into_iter().flatten().collect()
    }

    fn keep(&mut self, verified: &VerifiedPiece, told: &dyn Fn(u64)) -> Result<(), Error> {
        self.disk.write(verified).map_err(|e| self.disk.failure(e))?;
        self.has(verified.piece(), told);
        Ok(())
    }

    fn has(&mut self, piece: PieceIndex, told: &dyn Fn(u64)) {
        self.have.set(piece);
        told(u64::from(self.manifest.layout().len_of(piece)));
    }
}
