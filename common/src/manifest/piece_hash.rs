//! Hashing pieces: SHA-1 and BLAKE3 of the same bytes while they are in the core's cache, and of many pieces at once
//! where that is faster.

use blake3::hazmat::HasherExt;
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use super::lanes::{self, BLOCK, LANES, Sha1Lanes};
use crate::id::Sha1Digest;
use crate::pieces::{PieceIndex, PieceLayout};

/// The digests of one piece: 52 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct PieceHash {
    /// SHA-1 of the piece, as in a BitTorrent v1 torrent (BEP 3).
    pub sha1: Sha1Digest,
    /// BLAKE3 chaining value of the piece as a subtree; of a file with a single piece, the root.
    pub chain: [u8; 32],
}

impl PieceHash {
    /// Length of its stored form, in bytes.
    pub const LEN: usize = 52;

    /// SHA-1, then the chaining value.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..20].copy_from_slice(self.sha1.as_bytes());
        out[20..].copy_from_slice(&self.chain);
        out
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let (mut sha1, mut chain) = ([0; 20], [0; 32]);
        sha1.copy_from_slice(&bytes[..20]);
        chain.copy_from_slice(&bytes[20..]);
        Self { sha1: Sha1Digest::new(sha1), chain }
    }
}

/// Bytes that SHA-1 and BLAKE3 take in turn: small enough that the second finds them in the cache of
/// its core, a power of two so that BLAKE3 hashes whole subtrees at once.
const HASH_STEP: usize = 128 << 10;
/// The same for each of the lanes.
const LANE_STEP: usize = 32 << 10;
/// Pieces from which on all lanes together are faster, though some of them do nothing.
const WORTH_IT: usize = 6;

/// Hashes one piece whose bytes come in parts.
#[derive(Debug, Clone)]
struct PieceHasher {
    sha1: Sha1,
    blake3: Blake3,
}

impl PieceHasher {
    /// A hasher for `piece` of a file that is cut by `layout`.
    fn new(layout: PieceLayout, piece: PieceIndex) -> Self {
        Self { sha1: Sha1::new(), blake3: Blake3::new(layout, piece) }
    }

    /// Takes the next bytes of the piece, of which there are `layout.len_of(piece)` in all.
    fn update(&mut self, bytes: &[u8]) {
        for step in bytes.chunks(HASH_STEP) {
            self.sha1.update(step);
            self.blake3.hasher.update(step);
        }
    }

    /// The digests of the piece.
    fn finish(self) -> PieceHash {
        PieceHash { sha1: Sha1Digest::new(self.sha1.finalize().into()), chain: self.blake3.chain() }
    }
}

/// A piece as a subtree of its file.
#[derive(Debug, Clone)]
struct Blake3 {
    hasher: blake3::Hasher,
    only: bool,
}

impl Blake3 {
    fn new(layout: PieceLayout, piece: PieceIndex) -> Self {
        let only = layout.count() <= 1;
        let mut hasher = blake3::Hasher::new();
        if !only {
            hasher.set_input_offset(layout.range(piece).start);
        }
        Self { hasher, only }
    }

    fn chain(&self) -> [u8; 32] {
        if self.only { *self.hasher.finalize().as_bytes() } else { self.hasher.finalize_non_root() }
    }
}

/// Hashes the bytes of one piece; `bytes` has exactly `layout.len_of(piece)` bytes.
pub fn hash_piece(layout: PieceLayout, piece: PieceIndex, bytes: &[u8]) -> PieceHash {
    hash_parts(layout, piece, &[bytes])
}

fn hash_parts<P: AsRef<[u8]>>(layout: PieceLayout, piece: PieceIndex, parts: &[P]) -> PieceHash {
    let mut hasher = PieceHasher::new(layout, piece);
    parts.iter().for_each(|p| hasher.update(p.as_ref()));
    hasher.finish()
}

/// Hashes pieces, the bytes of each in parts that follow each other and make `layout.len_of(piece)` bytes in
/// all. Sixteen at a time of equal length, in equal parts, take much less time than one after the other where
/// the processor has wide registers. The digests, in order.
pub fn hash_pieces<P: AsRef<[u8]>>(layout: PieceLayout, pieces: &[(PieceIndex, &[P])]) -> Vec<PieceHash> {
    pieces
        .chunks(LANES)
        .flat_map(|group| {
            let together = (group.len() >= WORTH_IT && are_alike(group)).then(|| hash_together(layout, group));
            let alone = || group.iter().map(|&(piece, parts)| hash_parts(layout, piece, parts)).collect();
            together.flatten().unwrap_or_else(alone)
        })
        .collect()
}

/// How many pieces [`hash_pieces`] likes to be given at a time on this machine.
pub fn pieces_at_once() -> usize {
    if lanes::are_here() { LANES } else { 1 }
}

/// Whether all have their parts' lengths in common, and these are whole blocks.
fn are_alike<P: AsRef<[u8]>>(group: &[(PieceIndex, &[P])]) -> bool {
    let lens = |parts: &[P]| parts.iter().map(|p| p.as_ref().len()).collect::<Vec<_>>();
    let Some(&(_, first)) = group.first() else { return false };
    let first = lens(first);
    first.iter().all(|len| len % BLOCK == 0) && group.iter().all(|&(_, parts)| lens(parts) == first)
}

/// Hashes up to sixteen pieces that are alike; `None` where the processor cannot.
fn hash_together<P: AsRef<[u8]>>(layout: PieceLayout, group: &[(PieceIndex, &[P])]) -> Option<Vec<PieceHash>> {
    let mut sha1 = Sha1Lanes::new()?;
    let mut blake3: Vec<Blake3> = group.iter().map(|&(piece, _)| Blake3::new(layout, piece)).collect();
    let parts = group.first().map_or(0, |(_, parts)| parts.len());
    for part in 0..parts {
        let part_of = |lane: usize| group[lane.min(group.len() - 1)].1[part].as_ref();
        let len = part_of(0).len();
        for at in (0..len).step_by(LANE_STEP) {
            let end = len.min(at + LANE_STEP);
            sha1.update(&std::array::from_fn(|lane| &part_of(lane)[at..end]));
            blake3.iter_mut().enumerate().for_each(|(lane, b)| _ = b.hasher.update(&part_of(lane)[at..end]));
        }
    }
    let digests = sha1.finish();
    let with_chain = |(b, digest): (&Blake3, [u8; 20])| PieceHash { sha1: Sha1Digest::new(digest), chain: b.chain() };
    Some(blake3.iter().zip(digests).map(with_chain).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8 ^ (i >> 9) as u8).collect()
    }

    #[test]
    fn pieces_together_hash_as_they_do_alone() {
        let piece_len = 64 << 10;
        let bytes = content(40 * piece_len + 100);
        let layout = PieceLayout::new(bytes.len() as u64, piece_len as u64).expect("a layout");
        let of = |p: PieceIndex| &bytes[layout.range(p).start as usize..layout.range(p).end as usize];
        let alone: Vec<_> = layout.pieces().map(|p| hash_piece(layout, p, of(p))).collect();
        for cut in [piece_len, piece_len / 2, 1000] {
            let parts: Vec<Vec<&[u8]>> = layout.pieces().map(|p| of(p).chunks(cut).collect()).collect();
            let pieces: Vec<_> = layout.pieces().zip(&parts).map(|(p, parts)| (p, &parts[..])).collect();
            assert_eq!(hash_pieces(layout, &pieces), alone);
            for n in [1, 5, 6, 16] {
                if are_alike(&pieces[3..3 + n]) {
                    let together = hash_together(layout, &pieces[3..3 + n]);
                    assert!(together.is_none_or(|t| t == alone[3..3 + n]));
                } else {
                    assert_eq!(cut, 1000);
                }
            }
        }
    }
}
