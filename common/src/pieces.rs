//! How a file is cut: all length arithmetic of the data plane, in validated types.
//!
//! A [`PieceIndex`] can only be made by the [`PieceLayout`] it belongs to, so an index that is in
//! hand is an index that exists.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Smallest piece, in bytes.
pub const MIN_PIECE_LEN: u64 = 16 << 10;
/// Largest piece, in bytes.
pub const MAX_PIECE_LEN: u64 = 16 << 20;
/// Largest number of pieces of one file: bounds manifests (52 bytes a piece) and bitfields.
pub const MAX_PIECES: u64 = 1 << 18;
/// Longest block that one request may ask for, in bytes.
pub const MAX_BLOCK_LEN: u32 = 1 << 20;

/// The piece count that the default piece length aims at.
const TARGET_PIECES: u64 = 2048;
const DEFAULT_MIN: u64 = 256 << 10;
const DEFAULT_MAX: u64 = 4 << 20;

/// Why a file cannot be cut as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The piece length is not a power of two in range.
    #[error("a piece size is a power of two from 16KiB to 16MiB, not {0} bytes")]
    PieceLen(u64),
    /// The file would have more than [`MAX_PIECES`] pieces.
    #[error(
        "a file of {len} bytes in pieces of {piece_len} has too many pieces (at most {MAX_PIECES}); choose a larger piece size"
    )]
    TooMany {
        /// File length in bytes.
        len: u64,
        /// Piece length in bytes.
        piece_len: u64,
    },
}

/// Length of a file and of its pieces, both in bytes. An empty file has no pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(u64, u64)", into = "(u64, u64)")]
pub struct PieceLayout {
    len: u64,
    piece_len: u64,
}

impl PieceLayout {
    /// Cuts `len` bytes into pieces of `piece_len` bytes, the last one shorter.
    ///
    /// # Errors
    /// When `piece_len` is not a power of two in range, or the pieces would be too many.
    pub fn new(len: u64, piece_len: u64) -> Result<Self, LayoutError> {
        if !piece_len.is_power_of_two() || !(MIN_PIECE_LEN..=MAX_PIECE_LEN).contains(&piece_len) {
            return Err(LayoutError::PieceLen(piece_len));
        }
        if len.div_ceil(piece_len) > MAX_PIECES {
            return Err(LayoutError::TooMany { len, piece_len });
        }
        Ok(Self { len, piece_len })
    }

    /// The layout with the default piece length: a power of two near `len / 2048`, from 256 KiB
    /// to 4 MiB, larger only when the number of pieces demands it.
    ///
    /// # Errors
    /// When the file is too large for any piece length (over 4 TiB).
    pub fn with_default_piece_len(len: u64) -> Result<Self, LayoutError> {
        let near = (len / TARGET_PIECES).clamp(DEFAULT_MIN, DEFAULT_MAX).next_power_of_two();
        let needed = len.div_ceil(MAX_PIECES).next_power_of_two();
        Self::new(len, near.max(needed).min(MAX_PIECE_LEN))
    }

    /// File length in bytes.
    pub const fn len(self) -> u64 {
        self.len
    }

    /// Whether the file is empty (and so has no pieces).
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Length of every piece but the last, in bytes.
    pub const fn piece_len(self) -> u64 {
        self.piece_len
    }

    /// Number of pieces, at most [`MAX_PIECES`].
    pub const fn count(self) -> u32 {
        // Checked against MAX_PIECES on construction.
        self.len.div_ceil(self.piece_len) as u32
    }

    /// The piece with this number, if the file has it.
    pub fn piece(self, number: u32) -> Option<PieceIndex> {
        (number < self.count()).then_some(PieceIndex(number))
    }

    /// All pieces in order.
    pub fn pieces(self) -> impl DoubleEndedIterator<Item = PieceIndex> + ExactSizeIterator {
        (0..self.count()).map(PieceIndex)
    }

    /// Where `piece` lies in the file, in bytes.
    pub fn range(self, piece: PieceIndex) -> Range<u64> {
        let start = u64::from(piece.0) * self.piece_len;
        start..(start + self.piece_len).min(self.len)
    }

    /// Length of `piece` in bytes: 1 to [`MAX_PIECE_LEN`].
    pub fn len_of(self, piece: PieceIndex) -> u32 {
        let r = self.range(piece);
        (r.end - r.start) as u32
    }

    /// The blocks of `piece`, in order: each `block_len` bytes, the last one shorter.
    pub fn blocks(self, piece: PieceIndex, block_len: u32) -> impl Iterator<Item = BlockRange> {
        let len = self.len_of(piece);
        let step = block_len.clamp(1, MAX_BLOCK_LEN);
        (0..len).step_by(step as usize).map(move |offset| BlockRange {
            piece: piece.0,
            offset,
            len: step.min(len - offset),
        })
    }

    /// The same range, if it is one that may be asked of this file.
    pub fn check(self, block: BlockRange) -> Option<(PieceIndex, BlockRange)> {
        let piece = self.piece(block.piece)?;
        let end = block.offset.checked_add(block.len)?;
        let ok = block.len > 0 && block.len <= MAX_BLOCK_LEN && end <= self.len_of(piece);
        ok.then_some((piece, block))
    }

    /// Where `block` starts in the file, in bytes.
    pub const fn position(self, block: BlockRange) -> u64 {
        block.piece as u64 * self.piece_len + block.offset as u64
    }
}

impl TryFrom<(u64, u64)> for PieceLayout {
    type Error = LayoutError;
    fn try_from((len, piece_len): (u64, u64)) -> Result<Self, LayoutError> {
        Self::new(len, piece_len)
    }
}

impl From<PieceLayout> for (u64, u64) {
    fn from(l: PieceLayout) -> Self {
        (l.len, l.piece_len)
    }
}

/// The number of a piece that exists in the layout it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PieceIndex(u32);

impl PieceIndex {
    /// The number, from 0.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as an index into a table of pieces.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A part of one piece, as asked for over the network; checked by [`PieceLayout::check`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct BlockRange {
    /// Number of the piece, from 0.
    pub piece: u32,
    /// First byte within the piece.
    pub offset: u32,
    /// Length in bytes, 1 to [`MAX_BLOCK_LEN`].
    pub len: u32,
}

/// Which pieces of a file are there: one bit a piece, most significant bit first (as BEP 3).
#[derive(Clone, PartialEq, Eq)]
pub struct Bitfield {
    bits: Vec<u8>,
    count: u32,
    ones: u32,
}

impl Bitfield {
    /// No piece of `layout` set.
    pub fn empty(layout: PieceLayout) -> Self {
        let count = layout.count();
        Self { bits: vec![0; count.div_ceil(8) as usize], count, ones: 0 }
    }

    /// Every piece of `layout` set.
    pub fn full(layout: PieceLayout) -> Self {
        let mut all = Self::empty(layout);
        layout.pieces().for_each(|p| {
            all.set(p);
        });
        all
    }

    /// Reads the bytes of a bitfield; `None` unless they have exactly the right length and all
    /// spare bits at the end are zero.
    pub fn from_bytes(layout: PieceLayout, bytes: &[u8]) -> Option<Self> {
        let count = layout.count();
        if bytes.len() != count.div_ceil(8) as usize {
            return None;
        }
        let spare = bytes.len() as u32 * 8 - count;
        if bytes.last().is_some_and(|last| last.trailing_zeros() < spare) {
            return None;
        }
        let ones = bytes.iter().map(|b| b.count_ones()).sum();
        Some(Self { bits: bytes.to_vec(), count, ones })
    }

    /// The bytes, one bit a piece.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bits
    }

    /// Whether `piece` is set.
    pub fn has(&self, piece: PieceIndex) -> bool {
        self.bits.get(piece.index() / 8).is_some_and(|b| b & (0x80 >> (piece.get() % 8)) != 0)
    }

    /// Sets `piece`; `true` if it was not set before.
    pub fn set(&mut self, piece: PieceIndex) -> bool {
        let fresh = !self.has(piece);
        if let Some(b) = self.bits.get_mut(piece.index() / 8) {
            *b |= 0x80 >> (piece.get() % 8);
            self.ones += u32::from(fresh);
        }
        fresh
    }

    /// Clears `piece`; `true` if it was set before.
    pub fn clear(&mut self, piece: PieceIndex) -> bool {
        let was = self.has(piece);
        if was && let Some(b) = self.bits.get_mut(piece.index() / 8) {
            *b &= !(0x80 >> (piece.get() % 8));
            self.ones -= 1;
        }
        was
    }

    /// How many pieces are set.
    pub const fn ones(&self) -> u32 {
        self.ones
    }

    /// Whether every piece is set.
    pub const fn is_full(&self) -> bool {
        self.ones == self.count
    }
}

impl std::fmt::Debug for Bitfield {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bitfield({} of {})", self.ones, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KIB: u64 = 1 << 10;
    const GIB: u64 = 1 << 30;

    fn layout(len: u64, piece_len: u64) -> PieceLayout {
        PieceLayout::new(len, piece_len).expect("a valid layout")
    }

    #[test]
    fn edges_of_cutting() {
        for (len, count, last) in
            [(0, 0, None), (1, 1, Some(1)), (16 * KIB, 1, Some(16384)), (16 * KIB + 1, 2, Some(1))]
        {
            let l = layout(len, 16 * KIB);
            assert_eq!(l.count(), count);
            assert_eq!(l.pieces().next_back().map(|p| l.len_of(p)), last);
        }
        for bad in [0, 1, 3, 8 * KIB, 17 * KIB, 32 << 20, u64::MAX] {
            assert!(PieceLayout::new(1, bad).is_err(), "{bad}");
        }
        assert!(PieceLayout::new(u64::MAX, MAX_PIECE_LEN).is_err());
    }

    #[test]
    fn default_piece_lengths() {
        let of = |len| PieceLayout::with_default_piece_len(len).map(PieceLayout::piece_len);
        assert_eq!(of(0), Ok(256 * KIB));
        assert_eq!(of(GIB), Ok(512 * KIB));
        assert_eq!(of(8 * GIB), Ok(4096 * KIB));
        assert_eq!(of(512 * GIB), Ok(4096 * KIB));
        assert_eq!(of(2048 * GIB), Ok(8192 * KIB));
        assert!(of(u64::MAX).is_err());
    }

    proptest! {
        #[test]
        fn blocks_tile_the_file(len in 0..500_000u64, shift in 14..17u32, block in 1..70_000u32) {
            let l = layout(len, 1 << shift);
            let mut at = 0;
            for p in l.pieces() {
                for b in l.blocks(p, block) {
                    prop_assert_eq!(l.position(b), at);
                    prop_assert!(l.check(b).is_some());
                    at += u64::from(b.len);
                }
                prop_assert_eq!(at, l.range(p).end);
            }
            prop_assert_eq!(at, len);
        }

        #[test]
        fn a_block_outside_is_never_accepted(piece: u32, offset: u32, len: u32) {
            let l = layout(100_000, 1 << 14);
            if let Some((p, b)) = l.check(BlockRange { piece, offset, len }) {
                prop_assert!(l.position(b) + u64::from(b.len) <= l.range(p).end);
            }
        }

        #[test]
        fn bitfield_round_trips(len in 0..2_000_000u64, set in proptest::collection::vec(0..130u32, 0..40)) {
            let l = layout(len, 1 << 14);
            let mut b = Bitfield::empty(l);
            let mut n = 0;
            for p in set.iter().filter_map(|&n| l.piece(n)) {
                n += u32::from(b.set(p));
                prop_assert!(b.has(p));
            }
            prop_assert_eq!(b.ones(), n);
            let back = Bitfield::from_bytes(l, b.as_bytes());
            prop_assert_eq!(back.as_ref(), Some(&b));
            prop_assert_eq!(b.is_full(), b == Bitfield::full(l));
        }
    }

    #[test]
    fn a_bitfield_with_spare_bits_set_is_refused() {
        let l = layout(3 * 16 * KIB, 16 * KIB);
        assert!(Bitfield::from_bytes(l, &[0b1110_0000]).is_some_and(|b| b.is_full()));
        assert!(Bitfield::from_bytes(l, &[0b1111_0000]).is_none());
        assert!(Bitfield::from_bytes(l, &[]).is_none());
        assert!(Bitfield::from_bytes(l, &[0, 0]).is_none());
    }
}
