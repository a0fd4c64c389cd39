//! A picker, what its peers think that they owe it, and a clock that is moved by hand.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::pieces::{Bitfield, BlockRange, PieceIndex, PieceLayout};

use super::super::{Action, BlockOutcome, PeerKey, Picker, Strategy};

pub(super) const MIB: u64 = 1 << 20;

pub(super) fn layout(len: u64, piece_len: u64) -> PieceLayout {
    PieceLayout::new(len, piece_len).expect("a valid layout")
}

pub(super) fn bits(layout: PieceLayout, pieces: &[u32]) -> Bitfield {
    let mut bits = Bitfield::empty(layout);
    for piece in pieces.iter().filter_map(|&n| layout.piece(n)) {
        bits.set(piece);
    }
    bits
}

/// Checks every answer of the picker against what was asked before, seen from outside.
#[derive(Clone)]
pub(super) struct World {
    pub(super) picker: Picker,
    pub(super) now: Instant,
    layout: PieceLayout,
    /// What each peer owes, oldest first.
    owed: BTreeMap<PeerKey, Vec<BlockRange>>,
    /// How often each piece was written.
    pub(super) written: Vec<u32>,
    /// Peers and pieces of all cancels.
    pub(super) cancels: Vec<(PeerKey, u32)>,
    pub(super) snubbed: Vec<PeerKey>,
    pub(super) released: Vec<u32>,
}

impl World {
    pub(super) fn new(layout: PieceLayout, strategy: Strategy, seed: u64) -> Self {
        Self {
            picker: Picker::new(layout, Bitfield::empty(layout), strategy, seed),
            now: Instant::now(),
            layout,
            owed: BTreeMap::new(),
            written: vec![0; layout.count() as usize],
            cancels: Vec::new(),
            snubbed: Vec::new(),
            released: Vec::new(),
        }
    }

    pub(super) fn piece(&self, block: BlockRange) -> Option<PieceIndex> {
        self.layout.piece(block.piece)
    }

    pub(super) fn seed(&mut self, key: PeerKey) {
        self.join_with(key, &Bitfield::full(self.layout));
    }

    pub(super) fn seeds(&mut self, keys: &[PeerKey]) {
        keys.iter().for_each(|&k| self.seed(k));
    }

    pub(super) fn has(&mut self, key: PeerKey, piece: u32) {
        self.layout.piece(piece).into_iter().for_each(|p| self.picker.peer_have(key, p));
        self.drain();
    }

    pub(super) fn join(&mut self, key: PeerKey, pieces: &[u32]) {
        self.join_with(key, &bits(self.layout, pieces));
    }

    pub(super) fn join_with(&mut self, key: PeerKey, holds: &Bitfield) {
        self.picker.add_peer(key, holds);
        self.owed.insert(key, Vec::new());
        self.drain();
    }

    pub(super) fn leave(&mut self, key: PeerKey) {
        self.picker.remove_peer(key);
        self.owed.remove(&key);
        self.drain();
    }

    pub(super) fn lose(&mut self, key: PeerKey, piece: u32) {
        self.layout.piece(piece).into_iter().for_each(|p| self.picker.peer_lost(key, p));
        self.drain();
    }

    pub(super) fn peers(&self) -> Vec<PeerKey> {
        self.owed.keys().copied().collect()
    }

    pub(super) fn outstanding(&self, key: PeerKey) -> Vec<BlockRange> {
        self.owed.get(&key).cloned().unwrap_or_default()
    }

    pub(super) fn next(&mut self, key: PeerKey, window: u64) -> Vec<BlockRange> {
        let blocks = self.picker.next(self.now, key, window);
        self.drain();
        for &block in &blocks {
            assert!(self.layout.check(block).is_some(), "{block:?} is not of this file");
            assert_eq!(self.written[block.piece as usize], 0, "{block:?} is there already");
            let twins = self.owed.values().filter(|owed| owed.contains(&block)).count();
            assert!(twins < 2, "{block:?} is asked of a third peer");
            assert!(twins < 1 || self.picker.nothing_unrequested(), "{block:?} is asked twice before endgame");
            let owed = self.owed.get_mut(&key).expect("a known peer");
            assert!(!owed.contains(&block), "{block:?} is asked of the same peer twice");
            owed.push(block);
        }
        blocks
    }

    /// Hands over a block, whether it was asked for or not.
    pub(super) fn deliver(&mut self, key: PeerKey, block: BlockRange) -> BlockOutcome {
        let owed = self.owed.get_mut(&key).is_some_and(|owed| {
            let before = owed.len();
            owed.retain(|b| *b != block);
            owed.len() < before
        });
        let outcome = self.picker.on_block(self.now, key, block);
        assert_eq!(owed, outcome != BlockOutcome::Ignored, "exactly what is asked is taken");
        self.drain();
        outcome
    }

    pub(super) fn deliver_and_write(&mut self, key: PeerKey, block: BlockRange) -> BlockOutcome {
        let outcome = self.deliver(key, block);
        if let BlockOutcome::Accepted { complete: Some(piece) } = outcome {
            self.write(piece);
        }
        outcome
    }

    pub(super) fn deliver_and_write_all(&mut self, key: PeerKey, blocks: &[BlockRange]) {
        for &block in blocks {
            self.deliver_and_write(key, block);
        }
    }

    pub(super) fn write(&mut self, piece: PieceIndex) {
        self.picker.on_written(piece);
        self.written[piece.index()] += 1;
        self.drain();
    }

    pub(super) fn forget(&mut self, piece: u32) {
        self.written[piece as usize] = 0;
        self.layout.piece(piece).into_iter().for_each(|p| self.picker.forget(p));
        self.drain();
    }

    pub(super) fn pass(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
        self.tick();
    }

    pub(super) fn tick(&mut self) {
        self.picker.tick(self.now);
        self.drain();
    }

    /// Does what the picker wants done.
    pub(super) fn drain(&mut self) {
        while let Some(action) = self.picker.poll_action() {
            match action {
                Action::Cancel(key, block) => {
                    let owed = self.owed.get_mut(&key).expect("only a peer that is there is told");
                    let at = owed.iter().position(|b| *b == block).expect("only what is asked is cancelled");
                    owed.remove(at);
                    self.cancels.push((key, block.piece));
                }
                Action::Snubbed(key) => self.snubbed.push(key),
                Action::Release(piece) => self.released.push(piece.get()),
            }
        }
    }
}
