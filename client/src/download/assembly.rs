//! From blocks to verified pieces on the disk.
//!
//! Blocks gather until their piece is complete; then it is hashed and written on a thread that may block, as
//! many at a time as there are cores. Invariant: every block that was added is in `parts`, in a piece that waits
//! for a core or has one, or dropped.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use common::id::DeviceId;
use common::manifest::Manifest;
use common::pieces::{BlockRange, PieceIndex};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::task::JoinHandle;

use super::disk::Disk;
use super::picker::PeerKey;
use super::verify::{RawPiece, Rejected, verify};
use crate::error::Error;
use crate::transfer::pool::Buffer;

/// What became of a complete piece.
pub(crate) struct Checked {
    pub(crate) piece: PieceIndex,
    pub(crate) origin: Origin,
    pub(crate) outcome: Result<(), Trouble>,
}

/// Who gave what of a piece.
pub(crate) struct Origin {
    pub(crate) contributors: Vec<PeerKey>,
    pub(crate) bytes: Vec<(DeviceId, u64)>,
}

/// Why a piece is not on the disk.
pub(crate) enum Trouble {
    /// Its bytes are wrong.
    Rejected(Rejected),
    /// It could not be written.
    Disk(io::Error),
}

/// A block, where it belongs in its piece, and who gave it.
struct Part {
    offset: u32,
    bytes: Buffer,
    from: DeviceId,
}

/// See the module.
pub(crate) struct Assembly {
    manifest: Arc<Manifest>,
    disk: Arc<Disk>,
    cores: usize,
    parts: HashMap<PieceIndex, Vec<Part>>,
    waiting: VecDeque<(RawPiece, Origin)>,
    working: FuturesUnordered<JoinHandle<Checked>>,
}

impl Assembly {
    /// Nothing yet.
    pub(crate) fn new(manifest: Arc<Manifest>, disk: Arc<Disk>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let (parts, waiting, working) = (HashMap::new(), VecDeque::new(), FuturesUnordered::new());
        Self { manifest, disk, cores, parts, waiting, working }
    }

    /// Keeps a block of `piece`.
    pub(crate) fn add(&mut self, piece: PieceIndex, block: BlockRange, bytes: Buffer, from: DeviceId) {
        self.parts.entry(piece).or_default().push(Part { offset: block.offset, bytes, from });
    }

    /// All blocks of `piece` are there, given by `contributors`.
    pub(crate) fn complete(&mut self, piece: PieceIndex, contributors: Vec<PeerKey>) {
        let mut parts = self.parts.remove(&piece).unwrap_or_default();
        parts.sort_by_key(|p| p.offset);
        let bytes = parts.iter().map(|p| (p.from, p.bytes.len() as u64)).collect();
        let parts = parts.into_iter().map(|p| p.bytes).collect();
        self.waiting.push_back((RawPiece { piece, parts }, Origin { contributors, bytes }));
        self.start();
    }

    /// Drops what is there of `piece`.
    pub(crate) fn release(&mut self, piece: PieceIndex) {
        self.parts.remove(&piece);
    }

    /// Whether a piece is being verified or written.
    pub(crate) fn is_busy(&self) -> bool {
        !self.working.is_empty()
    }

    /// The next piece that is done; `None` when none is under way. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Checked, Error>> {
        let done = self.working.next().await?;
        self.start();
        Some(done.map_err(|e| Error::Internal(format!("a piece was not verified: {e}"))))
    }

    /// Gives up what has no core yet.
    pub(crate) fn stop(&mut self) {
        self.waiting.clear();
    }

    fn start(&mut self) {
        while self.working.len() < self.cores {
            let Some((raw, origin)) = self.waiting.pop_front() else { return };
            let (manifest, disk) = (Arc::clone(&self.manifest), Arc::clone(&self.disk));
            self.working.push(tokio::task::spawn_blocking(move || {
                let piece = raw.piece;
                let verified = verify(&manifest, raw).map_err(Trouble::Rejected);
                let outcome = verified.and_then(|v| disk.write(&v).map_err(Trouble::Disk));
                Checked { piece, origin, outcome }
            }));
        }
    }
}
