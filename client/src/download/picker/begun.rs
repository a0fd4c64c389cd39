//! The pieces that have been begun and are not yet written: who was asked for which block.
//!
//! Owns the state of every block of a begun piece and the memory that these pieces occupy.
//! Invariant: `bytes` is the sum of their lengths, `open` are exactly those with a free block, and no
//! block is asked of more than two peers. Deliberately unknown here: who holds what, time, and which
//! piece should be begun.

use std::collections::{BTreeMap, BTreeSet};

use common::pieces::{BlockRange, MAX_BLOCK_LEN, PieceIndex, PieceLayout};

use super::PeerKey;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Asked(PeerKey, Option<PeerKey>),
    Received(PeerKey),
}

/// One begun piece.
#[derive(Debug, Clone)]
pub(super) struct BegunPiece {
    /// Who is to deliver it; others help when they have nothing better to do.
    pub(super) owner: Option<PeerKey>,
    /// Whether only the owner may deliver it: it was bad before, and the blame must be exact.
    pub(super) sole: bool,
    blocks: Vec<(BlockRange, State)>,
    len: u32,
}

impl BegunPiece {
    /// The first block that nobody was asked for.
    pub(super) fn free(&self) -> Option<BlockRange> {
        self.blocks.iter().find(|(_, s)| *s == State::Free).map(|(b, _)| *b)
    }

    /// Who was asked for `block` and has not delivered it.
    pub(super) fn asked_of(&self, block: BlockRange) -> (Option<PeerKey>, Option<PeerKey>) {
        match self.state(block) {
            Some(State::Asked(one, other)) => (Some(one), other),
            _ => (None, None),
        }
    }

    /// All requests that are out for it.
    pub(super) fn requests(&self) -> impl Iterator<Item = (PeerKey, BlockRange)> {
        let both = |(block, state): &(BlockRange, State)| match *state {
            State::Asked(one, other) => [Some((one, *block)), other.map(|o| (o, *block))],
            _ => [None, None],
        };
        self.blocks.iter().flat_map(both).flatten()
    }

    /// Who delivered blocks of it, each once.
    pub(super) fn contributors(&self) -> BTreeSet<PeerKey> {
        self.blocks.iter().filter_map(|(_, s)| if let State::Received(from) = s { Some(*from) } else { None }).collect()
    }

    /// How many of its blocks are there.
    pub(super) fn received(&self) -> usize {
        self.blocks.iter().filter(|(_, s)| matches!(s, State::Received(_))).count()
    }

    /// Whether all of it is there, and waits to be verified and written.
    pub(super) fn is_complete(&self) -> bool {
        self.received() == self.blocks.len()
    }

    /// Whether it is as if it had not been begun.
    fn is_untouched(&self) -> bool {
        self.blocks.iter().all(|(_, s)| *s == State::Free)
    }

    fn state(&self, block: BlockRange) -> Option<State> {
        self.blocks.get(slot(block)).filter(|(b, _)| *b == block).map(|(_, s)| *s)
    }

    fn set(&mut self, block: BlockRange, state: State) {
        if let Some((_, s)) = self.blocks.get_mut(slot(block)) {
            *s = state;
        }
    }
}

/// Which block of its piece it is.
const fn slot(block: BlockRange) -> usize {
    (block.offset / MAX_BLOCK_LEN) as usize
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Begun {
    pieces: BTreeMap<PieceIndex, BegunPiece>,
    open: BTreeSet<PieceIndex>,
    bytes: u64,
}

impl Begun {
    /// Bytes of memory that the begun pieces need.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn get(&self, piece: PieceIndex) -> Option<&BegunPiece> {
        self.pieces.get(&piece)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PieceIndex, &BegunPiece)> {
        self.pieces.iter().map(|(p, b)| (*p, b))
    }

    /// The pieces with a block that nobody was asked for.
    pub(super) fn open(&self) -> impl Iterator<Item = (PieceIndex, &BegunPiece)> {
        self.open.iter().filter_map(|p| Some((*p, self.pieces.get(p)?)))
    }

    pub(super) fn begin(&mut self, layout: PieceLayout, piece: PieceIndex, owner: PeerKey, sole: bool) {
        let blocks = layout.blocks(piece, MAX_BLOCK_LEN).map(|b| (b, State::Free)).collect();
        let len = layout.len_of(piece);
        self.pieces.insert(piece, BegunPiece { owner: Some(owner), sole, blocks, len });
        self.open.insert(piece);
        self.bytes += u64::from(len);
    }

    /// Notes that `key` was asked for `block`. An owner is given to a piece that has none.
    pub(super) fn ask(&mut self, piece: PieceIndex, block: BlockRange, key: PeerKey) {
        let Some(begun) = self.pieces.get_mut(&piece) else { return };
        match begun.state(block) {
            Some(State::Free) => begun.set(block, State::Asked(key, None)),
            Some(State::Asked(one, None)) if one != key => begun.set(block, State::Asked(one, Some(key))),
            _ => return,
        }
        begun.owner.get_or_insert(key);
        self.note_open(piece);
    }

    /// Notes that `key` is no longer asked for `block`; it gives up the piece if it was the owner.
    /// `true` if nothing is left that tells the piece from one never begun.
    pub(super) fn unask(&mut self, piece: PieceIndex, block: BlockRange, key: PeerKey) -> bool {
        let Some(begun) = self.pieces.get_mut(&piece) else { return false };
        match begun.state(block) {
            Some(State::Asked(one, None)) if one == key => begun.set(block, State::Free),
            Some(State::Asked(one, Some(other))) if one == key => begun.set(block, State::Asked(other, None)),
            Some(State::Asked(one, Some(other))) if other == key => begun.set(block, State::Asked(one, None)),
            _ => return false,
        }
        begun.owner = begun.owner.filter(|&o| o != key);
        let untouched = begun.is_untouched();
        self.note_open(piece);
        untouched
    }

    /// `key` delivers `block`. `None` unless it was asked for it; else the other who was.
    pub(super) fn receive(&mut self, piece: PieceIndex, block: BlockRange, key: PeerKey) -> Option<Option<PeerKey>> {
        let begun = self.pieces.get_mut(&piece)?;
        let rival = match begun.state(block)? {
            State::Asked(one, other) if one == key => other,
            State::Asked(one, Some(other)) if other == key => Some(one),
            _ => return None,
        };
        begun.set(block, State::Received(key));
        Some(rival)
    }

    /// The pieces, not complete, of which `key` delivered a block.
    pub(super) fn touched_by(&self, key: PeerKey) -> Vec<PieceIndex> {
        let touched = |b: &BegunPiece| b.blocks.iter().any(|(_, s)| *s == State::Received(key));
        self.pieces.iter().filter(|(_, b)| !b.is_complete() && touched(b)).map(|(p, _)| *p).collect()
    }

    /// Its owner gives the piece up, so that another adopts it.
    pub(super) fn disown(&mut self, piece: PieceIndex) {
        if let Some(begun) = self.pieces.get_mut(&piece) {
            begun.owner = None;
        }
    }

    pub(super) fn remove(&mut self, piece: PieceIndex) -> Option<BegunPiece> {
        let begun = self.pieces.remove(&piece)?;
        self.open.remove(&piece);
        self.bytes -= u64::from(begun.len);
        Some(begun)
    }

    fn note_open(&mut self, piece: PieceIndex) {
        if self.pieces.get(&piece).is_some_and(|b| b.free().is_some()) {
            self.open.insert(piece);
        } else {
            self.open.remove(&piece);
        }
    }
}

#[cfg(test)]
impl Begun {
    /// Fails unless the header's invariant holds.
    pub(super) fn check(&self) {
        assert_eq!(self.bytes, self.pieces.values().map(|b| u64::from(b.len)).sum::<u64>());
        let open: BTreeSet<_> = self.pieces.iter().filter(|(_, b)| b.free().is_some()).map(|(p, _)| *p).collect();
        assert_eq!(self.open, open);
        for (piece, begun) in &self.pieces {
            assert!(!begun.is_untouched(), "{piece:?} is begun and untouched");
            assert_eq!(begun.len, begun.blocks.iter().map(|(b, _)| b.len).sum::<u32>());
            let twice = |(_, s): &(BlockRange, State)| matches!(s, State::Asked(one, Some(other)) if one == other);
            assert!(!begun.blocks.iter().any(twice));
        }
    }
}
