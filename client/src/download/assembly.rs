//! From blocks to verified pieces on the disk.
//!
//! Blocks gather until their piece is complete. Pieces gather for a moment, since many are hashed faster together,
//! and are then hashed and written on a thread that may block, as many at a time as there are cores.
//! Invariant: every block that was added is in `parts`, in a piece that waits for a core or has one, or dropped.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use common::id::DeviceId;
use common::manifest::{Manifest, pieces_at_once};
use common::pieces::{BlockRange, PieceIndex};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::disk::Disk;
use super::picker::PeerKey;
use super::verify::{RawPiece, Rejected, verify_all};
use crate::error::Error;
use crate::transfer::pool::Buffer;

/// How long a complete piece waits for others to be hashed with.
const PATIENCE: Duration = Duration::from_millis(15);
/// Most bytes of pieces that wait for others. Longer pieces are hashed alone.
const MAX_GATHERED: u64 = 8 << 20;

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
    /// Pieces to hash at a time.
    at_once: usize,
    parts: HashMap<PieceIndex, Vec<Part>>,
    waiting: VecDeque<(RawPiece, Origin)>,
    /// When the first of `waiting` has waited enough.
    enough: Option<Instant>,
    working: FuturesUnordered<JoinHandle<Vec<Checked>>>,
    done: VecDeque<Checked>,
}

impl Assembly {
    /// Nothing yet.
    pub(crate) fn new(manifest: Arc<Manifest>, disk: Arc<Disk>) -> Self {
        let at_once = pieces_at_once();
        let fits = at_once as u64 * manifest.layout().piece_len() <= MAX_GATHERED;
        Self {
            cores: std::thread::available_parallelism().map_or(2, usize::from),
            at_once: if fits { at_once } else { 1 },
            manifest,
            disk,
            parts: HashMap::new(),
            waiting: VecDeque::new(),
            enough: None,
            working: FuturesUnordered::new(),
            done: VecDeque::new(),
        }
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
        self.enough.get_or_insert_with(|| Instant::now() + PATIENCE);
        self.start(false);
    }

    /// Drops what is there of `piece`.
    pub(crate) fn release(&mut self, piece: PieceIndex) {
        self.parts.remove(&piece);
    }

    /// Whether a piece is being verified or written.
    pub(crate) fn is_busy(&self) -> bool {
        !(self.working.is_empty() && self.waiting.is_empty() && self.done.is_empty())
    }

    /// The next piece that is done; `None` when none is under way. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Checked, Error>> {
        loop {
            if let Some(checked) = self.done.pop_front() {
                return Some(Ok(checked));
            }
            let enough = self.enough.filter(|_| self.working.len() < self.cores);
            tokio::select! {
                Some(batch) = self.working.next() => match batch {
                    Ok(batch) => {
                        self.done.extend(batch);
                        self.start(false);
                    }
                    Err(e) => return Some(Err(Error::Internal(format!("a piece was not verified: {e}")))),
                },
                () = sleep_until(enough.unwrap_or_else(Instant::now)), if enough.is_some() => self.start(true),
                else => return None,
            }
        }
    }

    /// Gives up what has no core yet.
    pub(crate) fn stop(&mut self) {
        self.waiting.clear();
        self.enough = None;
    }

    /// Gives pieces to cores that have none: as many at a time as are hashed together, fewer if it is `urgent`.
    fn start(&mut self, urgent: bool) {
        while self.working.len() < self.cores {
            if self.waiting.is_empty() || !urgent && self.waiting.len() < self.at_once {
                break;
            }
            let batch = self.waiting.drain(..self.waiting.len().min(self.at_once)).collect();
            let (manifest, disk) = (Arc::clone(&self.manifest), Arc::clone(&self.disk));
            self.working.push(tokio::task::spawn_blocking(move || check(&manifest, &disk, batch)));
            self.enough = (!self.waiting.is_empty()).then(|| Instant::now() + PATIENCE);
        }
    }
}

/// Verifies pieces, and writes those that are right.
fn check(manifest: &Manifest, disk: &Disk, batch: Vec<(RawPiece, Origin)>) -> Vec<Checked> {
    let (raw, origins): (Vec<RawPiece>, Vec<Origin>) = batch.into_iter().unzip();
    let pieces: Vec<PieceIndex> = raw.iter().map(|r| r.piece).collect();
    let verdicts = verify_all(manifest, raw);
    let written = |((piece, origin), verdict): ((PieceIndex, Origin), Result<_, Rejected>)| {
        let outcome = verdict.map_err(Trouble::Rejected).and_then(|v| disk.write(&v).map_err(Trouble::Disk));
        Checked { piece, origin, outcome }
    };
    pieces.into_iter().zip(origins).zip(verdicts).map(written).collect()
}
