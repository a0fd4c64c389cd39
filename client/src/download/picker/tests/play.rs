//! A download whose peers do as they please: one step at a time, with verification and the dropping of
//! liars as the download's task does them.

use std::collections::BTreeSet;
use std::time::Duration;

use common::pieces::{BlockRange, PieceIndex, PieceLayout};

use super::super::{BlockOutcome, PeerKey, Strategy};
use super::world::{MIB, World};

pub(super) const SLOTS: usize = 5;

#[derive(Debug, Clone)]
pub(super) enum Op {
    Join { slot: usize, holds: Vec<bool> },
    Leave(usize),
    Have(usize, u32),
    Lose(usize, u32),
    Ask { slot: usize, window: u64 },
    Serve { slot: usize, which: usize, good: bool },
    Junk { slot: usize, piece: u32, second: bool },
    Trickle(usize),
    Verify,
    Forget(u32),
    Pass(f64),
    Settle,
}

#[derive(Clone)]
pub(super) struct Play {
    pub(super) w: World,
    /// Who sits in each slot; keys are never used again.
    pub(super) slots: [Option<PeerKey>; SLOTS],
    keys: u32,
    /// Whether who comes to a slot is the one who left it.
    same: bool,
    /// Blocks in memory whose content is wrong.
    pub(super) wrong: BTreeSet<(u32, u32)>,
    /// Pieces that wait to be verified.
    pub(super) complete: Vec<PieceIndex>,
}

impl Play {
    pub(super) fn new(layout: PieceLayout, order: Strategy, memory: u64, seed: u64) -> Self {
        let mut w = World::new(layout, order, seed);
        w.picker.set_memory(memory);
        let keys = SLOTS as u32;
        Self { w, slots: [None; SLOTS], keys, same: false, wrong: BTreeSet::new(), complete: Vec::new() }
    }

    /// From here on, who comes to a slot is the one who left it.
    pub(super) fn with_returning_peers(mut self) -> Self {
        self.same = true;
        self
    }

    fn key(&mut self) -> PeerKey {
        self.keys += 1;
        PeerKey(self.keys)
    }

    pub(super) fn run(&mut self, op: Op) {
        match op {
            Op::Join { slot, holds } => {
                self.leave(slot);
                let key = if self.same { PeerKey(slot as u32) } else { self.key() };
                let pieces: Vec<_> = (0..).zip(&holds).filter(|(_, h)| **h).map(|(n, _)| n).collect();
                self.w.join(key, &pieces);
                self.slots[slot] = Some(key);
            }
            Op::Leave(slot) => self.leave(slot),
            Op::Have(slot, piece) => self.slots[slot].into_iter().for_each(|k| self.w.has(k, piece)),
            Op::Lose(slot, piece) => self.slots[slot].into_iter().for_each(|k| self.w.lose(k, piece)),
            Op::Ask { slot, window } => {
                self.slots[slot].map(|k| self.w.next(k, window));
            }
            Op::Serve { slot, which, good } => self.slots[slot].into_iter().for_each(|k| self.serve(k, which, good)),
            Op::Junk { slot, piece, second } => {
                let block = BlockRange { piece, offset: if second { MIB as u32 } else { 0 }, len: MIB as u32 };
                if let Some(key) = self.slots[slot].filter(|&k| !self.w.outstanding(k).contains(&block)) {
                    assert_eq!(self.w.deliver(key, block), BlockOutcome::Ignored);
                }
            }
            Op::Trickle(slot) => self.slots[slot].into_iter().for_each(|k| self.w.picker.on_bytes(self.w.now, k, 1000)),
            Op::Verify => self.verify(),
            Op::Forget(piece) => {
                self.complete.retain(|p| p.get() != piece);
                self.w.forget(piece);
            }
            Op::Pass(seconds) => self.w.pass(seconds),
            Op::Settle => self.settle(),
        }
        self.w.picker.check();
    }

    fn leave(&mut self, slot: usize) {
        self.slots[slot].take().into_iter().for_each(|k| self.w.leave(k));
    }

    fn serve(&mut self, key: PeerKey, which: usize, good: bool) {
        let owed = self.w.outstanding(key);
        if owed.is_empty() {
            return;
        }
        let block = owed[which % owed.len()];
        if good {
            self.wrong.remove(&(block.piece, block.offset))
        } else {
            self.wrong.insert((block.piece, block.offset))
        };
        match self.w.deliver(key, block) {
            BlockOutcome::Accepted { complete } => self.complete.extend(complete),
            BlockOutcome::Ignored => panic!("{block:?} was asked for"),
        }
    }

    /// What the download's task does with complete pieces. A proven liar is dropped.
    fn verify(&mut self) {
        for piece in std::mem::take(&mut self.complete) {
            if !self.wrong.iter().any(|(p, _)| *p == piece.get()) {
                self.w.write(piece);
                continue;
            }
            let contributors = self.w.picker.contributors(piece);
            self.w.picker.on_bad(piece, &contributors);
            self.w.drain();
            if let [liar] = *contributors {
                let slot = self.slots.iter().position(|s| *s == Some(liar));
                match slot {
                    Some(slot) => self.leave(slot),
                    None => self.w.leave(liar),
                }
            }
        }
    }

    /// Everything that is due has been done: now something must be requested wherever something can be.
    pub(super) fn settle(&mut self) {
        self.verify();
        self.w.tick();
        // What one takes from another, a third may be glad of: again, until all are content.
        let round = |w: &mut World| w.peers().into_iter().filter(|&k| !w.next(k, 4 * MIB).is_empty()).count();
        let rounds = (0..20).take_while(|_| round(&mut self.w) > 0).count();
        assert!(rounds < 20, "they take from each other for ever");
        let picker = &self.w.picker;
        let peers = self.w.peers();
        let out: u64 = peers.iter().map(|&k| picker.in_flight(k)).sum();
        assert!(
            out > 0 || !peers.iter().any(|&k| picker.is_interesting(k)),
            "progress is possible, and nothing is requested"
        );
        for (&key, _) in picker.peers.iter().filter(|(_, p)| p.is_idle()) {
            assert!(!picker.has_room() || picker.rarity.wanted_from(key) == 0, "{key:?} could begin a piece");
            assert!(
                !picker.has_room() || !picker.retry.iter().any(|&p| picker.is_eligible(key, p)),
                "{key:?} could retry"
            );
            let open = picker.begun.open().any(|(p, b)| !b.sole && picker.is_eligible(key, p));
            assert!(!open, "{key:?} could help");
        }
    }

    /// One honest seeder, four blocks a second; all others have fallen silent. Seconds to the end.
    pub(super) fn finish(&mut self) -> u32 {
        let seeder = self.key();
        self.w.seed(seeder);
        for second in 0..300 {
            self.settle();
            self.w.picker.check();
            if self.w.picker.is_complete() {
                return second;
            }
            for _ in 0..4 {
                self.serve(seeder, 0, true);
                self.verify();
                self.w.next(seeder, 4 * MIB - self.w.picker.in_flight(seeder).min(4 * MIB));
            }
            self.w.now += Duration::from_secs(1);
        }
        panic!("it sits at {:?} with a seeder alive", self.w.picker.have());
    }
}
