//! What a file is made of: lengths, a SHA-1 and a BLAKE3 chaining value per piece, and the BLAKE3
//! root that names it. Pure: bytes in, digests out; files are read elsewhere.
//!
//! Invariant: the chaining values of a [`Manifest`] hash to its file id, because [`Manifest::new`]
//! refuses anything else. So a piece whose chaining value matches is a piece of *that* content,
//! whoever sent the manifest and whoever sent the piece.

mod lanes;
mod piece_hash;

use blake3::hazmat::{Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

pub use self::piece_hash::{PieceHash, hash_piece, hash_pieces, pieces_at_once};
use crate::id::{FileId, Sha1Digest};
use crate::pieces::{PieceIndex, PieceLayout};

/// The BLAKE3 root of the pieces' chaining values: what `blake3::hash` of the whole content gives.
///
/// Source: the BLAKE3 paper, section 2.1 (tree structure), by way of `blake3::hazmat`.
pub fn root(layout: PieceLayout, pieces: &[PieceHash]) -> FileId {
    let hash = match pieces {
        [] => blake3::hash(&[]),
        [only] => return FileId::new(only.chain),
        _ => {
            let (left, right) = split(layout.len(), layout.piece_len(), pieces);
            merge_subtrees_root(&left, &right, Mode::Hash)
        }
    };
    FileId::new(*hash.as_bytes())
}

/// Chaining values of the two subtrees under the parent of `len` bytes.
fn split(len: u64, piece_len: u64, pieces: &[PieceHash]) -> ([u8; 32], [u8; 32]) {
    let left_len = left_subtree_len(len);
    let middle = (left_len / piece_len) as usize;
    let (left, right) = pieces.split_at(middle);
    (subtree(left_len, piece_len, left), subtree(len - left_len, piece_len, right))
}

fn subtree(len: u64, piece_len: u64, pieces: &[PieceHash]) -> [u8; 32] {
    if let [only] = pieces {
        return only.chain;
    }
    let (left, right) = split(len, piece_len, pieces);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

/// Why a manifest is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The number of pieces is not what the lengths say.
    #[error("the manifest lists {found} pieces where its lengths make {expected}")]
    Count {
        /// Pieces listed.
        found: usize,
        /// Pieces that the layout has.
        expected: u32,
    },
    /// The pieces do not hash to the file id.
    #[error("the manifest's pieces do not add up to its file id")]
    Root,
}

/// What a piece turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the piece.
    Good,
    /// It is something else: whoever sent it is broken or lies.
    Bad,
    /// It is the right content, but the manifest's SHA-1 of it is wrong: the publisher's fault,
    /// and nobody can ever complete this manifest.
    ManifestLies,
}

/// The digests of one file. Immutable, and consistent in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    layout: PieceLayout,
    file_id: FileId,
    sha1: Sha1Digest,
    pieces: Vec<PieceHash>,
}

impl Manifest {
    /// A manifest from its parts, wherever they came from.
    ///
    /// # Errors
    /// When the number of pieces or the root does not fit.
    pub fn new(
        layout: PieceLayout,
        file_id: FileId,
        sha1: Sha1Digest,
        pieces: Vec<PieceHash>,
    ) -> Result<Self, ManifestError> {
        if pieces.len() != layout.count() as usize {
            return Err(ManifestError::Count { found: pieces.len(), expected: layout.count() });
        }
        if root(layout, &pieces) != file_id {
            return Err(ManifestError::Root);
        }
        Ok(Self { layout, file_id, sha1, pieces })
    }

    /// A manifest of content that was just hashed: `pieces` in order, `sha1` of the whole.
    ///
    /// # Errors
    /// When the number of pieces does not fit the layout.
    pub fn of_hashed(layout: PieceLayout, sha1: Sha1Digest, pieces: Vec<PieceHash>) -> Result<Self, ManifestError> {
        if pieces.len() != layout.count() as usize {
            return Err(ManifestError::Count { found: pieces.len(), expected: layout.count() });
        }
        Ok(Self { layout, file_id: root(layout, &pieces), sha1, pieces })
    }

    /// How the file is cut.
    pub const fn layout(&self) -> PieceLayout {
        self.layout
    }

    /// BLAKE3 of the content.
    pub const fn file_id(&self) -> FileId {
        self.file_id
    }

    /// SHA-1 of the whole content, as its publisher stated it.
    pub const fn sha1(&self) -> Sha1Digest {
        self.sha1
    }

    /// The digests of the pieces, in order.
    pub fn pieces(&self) -> &[PieceHash] {
        &self.pieces
    }

    /// Judges `bytes` as `piece`. The BLAKE3 value decides about the sender; see [`Verdict`].
    pub fn verify(&self, piece: PieceIndex, bytes: &[u8]) -> Verdict {
        self.verify_parts(piece, &[bytes])
    }

    /// As [`Manifest::verify`], for a piece that lies in several parts, in order.
    pub fn verify_parts<P: AsRef<[u8]>>(&self, piece: PieceIndex, parts: &[P]) -> Verdict {
        self.verify_all(&[(piece, parts)]).pop().unwrap_or(Verdict::Bad)
    }

    /// As [`Manifest::verify_parts`], for several pieces, which is faster than one after the other (see
    /// [`hash_pieces`]). A verdict for each, in order.
    pub fn verify_all<P: AsRef<[u8]>>(&self, pieces: &[(PieceIndex, &[P])]) -> Vec<Verdict> {
        let fits = |&(piece, parts): &(PieceIndex, &[P])| {
            let len: u64 = parts.iter().map(|p| p.as_ref().len() as u64).sum();
            self.pieces.get(piece.index()).is_some() && len == u64::from(self.layout.len_of(piece))
        };
        let fitting: Vec<_> = pieces.iter().copied().filter(|p| fits(p)).collect();
        let mut found = hash_pieces(self.layout, &fitting).into_iter();
        let mut verdict = |p: &(PieceIndex, &[P])| match (self.pieces.get(p.0.index()), fits(p)) {
            (Some(expected), true) => found.next().map_or(Verdict::Bad, |found| judge(expected, &found)),
            _ => Verdict::Bad,
        };
        pieces.iter().map(&mut verdict).collect()
    }
}

fn judge(expected: &PieceHash, found: &PieceHash) -> Verdict {
    match (found.chain == expected.chain, found.sha1 == expected.sha1) {
        (true, true) => Verdict::Good,
        (true, false) => Verdict::ManifestLies,
        (false, _) => Verdict::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha1::{Digest, Sha1};

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8 ^ (i >> 9) as u8).collect()
    }

    fn manifest(bytes: &[u8], piece_len: u64) -> Manifest {
        let layout = PieceLayout::new(bytes.len() as u64, piece_len).expect("layout");
        let pieces = layout
            .pieces()
            .map(|p| {
                let r = layout.range(p);
                hash_piece(layout, p, &bytes[r.start as usize..r.end as usize])
            })
            .collect();
        Manifest::of_hashed(layout, Sha1Digest::new(Sha1::digest(bytes).into()), pieces).expect("manifest")
    }

    #[test]
    fn the_file_id_is_the_blake3_of_the_content() {
        let k = 16 << 10;
        for len in [0, 1, k - 1, k, k + 1, 2 * k, 2 * k + 1, 3 * k, 5 * k + 7, 8 * k, 9 * k, 31 * k + 1024] {
            let bytes = content(len);
            let m = manifest(&bytes, k as u64);
            assert_eq!(m.file_id().as_bytes(), blake3::hash(&bytes).as_bytes(), "{len}");
            let again = Manifest::new(m.layout(), m.file_id(), m.sha1(), m.pieces().to_vec());
            assert_eq!(again, Ok(m));
        }
    }

    #[test]
    fn a_changed_piece_list_is_refused() {
        let m = manifest(&content(100_000), 16 << 10);
        let mut pieces = m.pieces().to_vec();
        pieces[3].chain[0] ^= 1;
        assert_eq!(Manifest::new(m.layout(), m.file_id(), m.sha1(), pieces.clone()), Err(ManifestError::Root));
        pieces.pop();
        assert!(matches!(Manifest::new(m.layout(), m.file_id(), m.sha1(), pieces), Err(ManifestError::Count { .. })));
    }

    #[test]
    fn a_matching_sha1_does_not_save_other_content() {
        let bytes = content(40_000);
        let m = manifest(&bytes, 16 << 10);
        let mut forged = m.clone();
        let p = m.layout().piece(0).expect("piece");
        let mut other = bytes[..16 << 10].to_vec();
        other[5] ^= 1;
        forged.pieces[0].sha1 = Sha1Digest::new(Sha1::digest(&other).into());
        assert_eq!(forged.verify(p, &other), Verdict::Bad);
        assert_eq!(forged.verify(p, &bytes[..16 << 10]), Verdict::ManifestLies);
    }

    proptest! {
        #[test]
        fn every_flipped_bit_is_noticed(len in 1..80_000usize, at: prop::sample::Index, bit in 0..8u8) {
            let mut bytes = content(len);
            let m = manifest(&bytes, 16 << 10);
            let at = at.index(len);
            bytes[at] ^= 1 << bit;
            for p in m.layout().pieces() {
                let r = m.layout().range(p);
                let hit = r.contains(&(at as u64));
                let verdict = m.verify(p, &bytes[r.start as usize..r.end as usize]);
                prop_assert_eq!(verdict, if hit { Verdict::Bad } else { Verdict::Good });
            }
        }

        #[test]
        fn parts_of_any_length_hash_like_the_whole(len in 1..80_000usize, part in 1..40_000usize) {
            let bytes = content(len);
            let m = manifest(&bytes, 16 << 10);
            for p in m.layout().pieces() {
                let r = m.layout().range(p);
                let parts: Vec<_> = bytes[r.start as usize..r.end as usize].chunks(part).collect();
                prop_assert_eq!(m.verify_parts(p, &parts), Verdict::Good);
                prop_assert_eq!(m.verify_parts(p, &parts[1..]), Verdict::Bad);
            }
        }

        #[test]
        fn piece_hashes_round_trip(sha1: [u8; 20], chain: [u8; 32]) {
            let h = PieceHash { sha1: sha1.into(), chain };
            prop_assert_eq!(PieceHash::from_bytes(&h.to_bytes()), h);
        }
    }
}
