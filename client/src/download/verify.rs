//! From bytes that somebody sent to a piece that may be kept.
//!
//! Invariant: a [`VerifiedPiece`] exists only if its bytes have the SHA-1 and the BLAKE3 value that the
//! manifest names, because only [`verify_all`] makes one.

use common::manifest::{Manifest, Verdict};
use common::pieces::PieceIndex;

use crate::transfer::pool::Buffer;

/// All bytes of a piece, in parts that follow each other, as they came.
#[derive(Debug)]
pub(crate) struct RawPiece {
    pub(crate) piece: PieceIndex,
    pub(crate) parts: Vec<Buffer>,
}

/// A piece that is what the manifest says.
#[derive(Debug)]
pub(crate) struct VerifiedPiece {
    piece: PieceIndex,
    parts: Vec<Buffer>,
}

impl VerifiedPiece {
    /// Which piece it is.
    pub(crate) const fn piece(&self) -> PieceIndex {
        self.piece
    }

    /// Its bytes.
    pub(crate) fn parts(&self) -> &[Buffer] {
        &self.parts
    }
}

/// Why a piece may not be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// It is not the piece: who sent it is broken or lies.
    Bad,
    /// It is the piece, but the manifest's SHA-1 of it is wrong: nobody can complete this download.
    ManifestLies,
}

/// Judges pieces, together where that is faster. Takes its time with a core: call it where blocking is allowed.
pub(crate) fn verify_all(manifest: &Manifest, raw: Vec<RawPiece>) -> Vec<Result<VerifiedPiece, Rejected>> {
    let pieces: Vec<_> = raw.iter().map(|r| (r.piece, &r.parts[..])).collect();
    let verdicts = manifest.verify_all(&pieces);
    let judged = |(RawPiece { piece, parts }, verdict)| match verdict {
        Verdict::Good => Ok(VerifiedPiece { piece, parts }),
        Verdict::Bad => Err(Rejected::Bad),
        Verdict::ManifestLies => Err(Rejected::ManifestLies),
    };
    raw.into_iter().zip(verdicts).map(judged).collect()
}

/// Judges one piece; see [`verify_all`].
pub(crate) fn verify(manifest: &Manifest, raw: RawPiece) -> Result<VerifiedPiece, Rejected> {
    verify_all(manifest, vec![raw]).pop().unwrap_or(Err(Rejected::Bad))
}
