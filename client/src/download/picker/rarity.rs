//! Which wanted pieces are rare, and one of them drawn uniformly at random.
//!
//! Owns what each peer holds, and the order of the wanted pieces by availability: one array in which
//! the pieces of equal availability lie together, so that a piece that becomes more or less common
//! moves by one swap (the scheme of libtorrent's `piece_picker`). Where a piece lies among its equals
//! says nothing; the draw is uniform whatever the order.
//!
//! Invariant: `order[starts[a]..starts[a + 1]]` are exactly the wanted pieces that `a` partial
//! holders have, `place` is its inverse, and `equals[a]` of a partial holder is how many of those it
//! has. Peers that hold everything make no piece rarer than another and are not counted, so that one
//! of them comes and goes in O(1).
//!
//! Deliberately unknown here: requests, blocks, time.

use std::collections::BTreeMap;
use std::ops::Range;

use common::pieces::{Bitfield, PieceIndex, PieceLayout};
use fastrand::Rng;

use super::PeerKey;
use super::holder::{Holder, common_bits};

/// Where a piece lies that is not wanted.
const NOWHERE: u32 = u32::MAX;

/// Draws from a range before its candidates are looked up one by one. Where one in four is a
/// candidate, this fails once in a million draws.
const TRIES: u32 = 48;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Rarity {
    layout: PieceLayout,
    /// The wanted pieces, rarest first.
    order: Vec<PieceIndex>,
    /// Where each piece lies in `order`, or [`NOWHERE`].
    place: Vec<u32>,
    /// Where each availability begins in `order`; one more entry closes the last.
    starts: Vec<usize>,
    /// How many partial holders each piece has.
    spread: Vec<u32>,
    /// The content of `order`, for searches by number.
    wanted: Bitfield,
    holders: BTreeMap<PeerKey, Holder>,
}

impl Rarity {
    /// Every piece that is not in `have` is wanted; nobody holds anything yet.
    pub(super) fn new(layout: PieceLayout, have: &Bitfield) -> Self {
        let count = layout.count() as usize;
        let mut all = Self {
            layout,
            order: Vec::with_capacity(count),
            place: vec![NOWHERE; count],
            starts: vec![0, 0],
            spread: vec![0; count],
            wanted: Bitfield::empty(layout),
            holders: BTreeMap::new(),
        };
        layout.pieces().filter(|&p| !have.has(p)).for_each(|p| all.want(p));
        all
    }

    /// Adds a holder, or replaces what was known of it.
    pub(super) fn add_holder(&mut self, key: PeerKey, bits: &Bitfield) {
        self.remove_holder(key);
        if bits.is_full() {
            self.holders.insert(key, Holder::All);
            return;
        }
        self.shift_all(bits, |spread| spread + 1);
        let mut holder = Holder::Some { bits: bits.clone(), equals: Vec::new(), wanted: 0 };
        self.order.iter().for_each(|&p| holder.recount(p, None, Some(self.spread[p.index()])));
        self.holders.insert(key, holder);
    }

    pub(super) fn remove_holder(&mut self, key: PeerKey) {
        if let Some(Holder::Some { bits, .. }) = self.holders.remove(&key) {
            self.shift_all(&bits, |spread| spread.saturating_sub(1));
        }
    }

    /// `key` holds one piece more.
    pub(super) fn gain(&mut self, key: PeerKey, piece: PieceIndex) {
        let wanted = self.is_wanted(piece);
        let to = self.spread[piece.index()] + 1;
        let Some(Holder::Some { bits, .. }) = self.holder_mut(key) else { return };
        if bits.has(piece) {
            return;
        }
        self.shift(piece, to);
        if let Some(holder @ Holder::Some { .. }) = self.holder_mut(key) {
            if let Holder::Some { bits, .. } = holder {
                bits.set(piece);
            }
            holder.recount(piece, None, wanted.then_some(to));
        }
    }

    /// `key` holds one piece less.
    pub(super) fn lose(&mut self, key: PeerKey, piece: PieceIndex) {
        if let Some(Holder::All) = self.holder_mut(key) {
            let mut bits = Bitfield::full(self.layout);
            bits.clear(piece);
            return self.add_holder(key, &bits);
        }
        let from = self.is_wanted(piece).then_some(self.spread[piece.index()]);
        let Some(holder) = self.holder_mut(key).filter(|h| h.has(piece)) else { return };
        holder.recount(piece, from, None);
        if let Holder::Some { bits, .. } = holder {
            bits.clear(piece);
        }
        let to = self.spread[piece.index()].saturating_sub(1);
        self.shift(piece, to);
    }

    /// How many peers hold `piece`, wanted or not. Linear in the peers.
    pub(super) fn availability(&self, piece: PieceIndex) -> u32 {
        let complete = self.holders.values().filter(|h| matches!(h, Holder::All)).count();
        self.spread[piece.index()].saturating_add(u32::try_from(complete).unwrap_or(u32::MAX))
    }

    /// Whether `key` holds `piece`, wanted or not.
    pub(super) fn holds(&self, key: PeerKey, piece: PieceIndex) -> bool {
        self.holder(key).is_some_and(|h| h.has(piece))
    }

    /// Whether nothing is wanted, whoever may hold it.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How many wanted pieces `key` holds.
    pub(super) fn wanted_from(&self, key: PeerKey) -> u32 {
        match self.holder(key) {
            None => 0,
            Some(Holder::All) => self.order.len() as u32,
            Some(Holder::Some { wanted, .. }) => *wanted,
        }
    }

    /// `piece` is wanted (again).
    pub(super) fn want(&mut self, piece: PieceIndex) {
        if !self.wanted.set(piece) {
            return;
        }
        let spread = self.spread[piece.index()];
        let buckets = self.starts.len() - 1;
        let mut hole = self.order.len();
        self.order.push(piece);
        for bucket in (spread as usize + 1..buckets).rev() {
            let first = self.starts[bucket];
            self.fill(&mut hole, first);
            self.starts[bucket] += 1;
        }
        self.starts[buckets] += 1;
        self.put(hole, piece);
        self.holders.values_mut().for_each(|h| h.recount(piece, None, Some(spread)));
    }

    /// `piece` is no longer wanted: it has been begun, or is there.
    pub(super) fn unwant(&mut self, piece: PieceIndex) {
        if !self.wanted.clear(piece) {
            return;
        }
        let spread = self.spread[piece.index()];
        let buckets = self.starts.len() - 1;
        let mut hole = self.place[piece.index()] as usize;
        for bucket in spread as usize..buckets {
            let last = self.starts[bucket + 1] - 1;
            self.fill(&mut hole, last);
            self.starts[bucket + 1] -= 1;
        }
        self.order.pop();
        self.place[piece.index()] = NOWHERE;
        self.holders.values_mut().for_each(|h| h.recount(piece, Some(spread), None));
    }

    /// One of the rarest wanted pieces that `key` holds, each with the same probability.
    pub(super) fn rarest(&self, key: PeerKey, rng: &mut Rng) -> Option<PieceIndex> {
        let holder = self.holder(key)?;
        (0..self.starts.len() - 1).find_map(|a| {
            let range = self.starts[a]..self.starts[a + 1];
            let candidates = match holder {
                Holder::All => range.len(),
                Holder::Some { equals, .. } => equals.get(a).map_or(0, |&n| n as usize),
            };
            self.draw(range, holder, candidates, rng)
        })
    }

    /// One of the wanted pieces that `key` holds, each with the same probability.
    pub(super) fn any(&self, key: PeerKey, rng: &mut Rng) -> Option<PieceIndex> {
        let candidates = self.wanted_from(key) as usize;
        self.draw(0..self.order.len(), self.holder(key)?, candidates, rng)
    }

    /// The first wanted piece of the file that `key` holds.
    pub(super) fn first(&self, key: PeerKey) -> Option<PieceIndex> {
        let number = match self.holder(key)? {
            Holder::All => common_bits(&self.wanted, &self.wanted).next(),
            Holder::Some { bits, .. } => common_bits(&self.wanted, bits).next(),
        };
        self.layout.piece(number?)
    }

    /// Uniform over the `candidates` pieces in `range` that `holder` has: by rejection, and where they
    /// are few among many, by drawing which one and walking to it.
    fn draw(&self, range: Range<usize>, holder: &Holder, candidates: usize, rng: &mut Rng) -> Option<PieceIndex> {
        if candidates == 0 {
            return None;
        }
        for _ in 0..TRIES {
            let piece = self.order[rng.usize(range.clone())];
            if holder.has(piece) {
                return Some(piece);
            }
        }
        let chosen = rng.usize(0..candidates);
        match holder {
            Holder::Some { bits, wanted, .. } if (*wanted as usize) < range.len() => common_bits(&self.wanted, bits)
                .filter_map(|n| self.layout.piece(n))
                .filter(|p| range.contains(&(self.place[p.index()] as usize)))
                .nth(chosen),
            _ => self.order[range].iter().copied().filter(|&p| holder.has(p)).nth(chosen),
        }
    }

    /// Whether `piece` is in the order.
    pub(super) fn is_wanted(&self, piece: PieceIndex) -> bool {
        self.place[piece.index()] != NOWHERE
    }

    fn holder(&self, key: PeerKey) -> Option<&Holder> {
        self.holders.get(&key)
    }

    fn holder_mut(&mut self, key: PeerKey) -> Option<&mut Holder> {
        self.holders.get_mut(&key)
    }

    /// Moves all pieces in `bits` at once: linear, where [`Rarity::shift`] for each would cost as much for
    /// every holder again.
    fn shift_all(&mut self, bits: &Bitfield, to: impl Fn(u32) -> u32) {
        if bits.ones() == 0 {
            return;
        }
        let steps = |p: PieceIndex| (p, self.spread[p.index()] as usize, to(self.spread[p.index()]) as usize);
        let moved: Vec<_> = self.layout.pieces().filter(|&p| bits.has(p) && self.is_wanted(p)).map(steps).collect();
        let most = moved.iter().map(|&(_, from, to)| from.max(to)).max().unwrap_or(0);
        for holder in self.holders.values_mut() {
            let Holder::Some { bits, equals, .. } = holder else { continue };
            equals.resize(equals.len().max(most + 1), 0);
            for &(piece, from, to) in &moved {
                // Without a branch, which would be taken at random.
                let held = u32::from(bits.has(piece));
                equals[from] -= held;
                equals[to] += held;
            }
        }
        for piece in self.layout.pieces().filter(|&p| bits.has(p)) {
            self.spread[piece.index()] = to(self.spread[piece.index()]);
        }
        self.sort();
    }

    /// Puts the wanted pieces in order (a counting sort).
    fn sort(&mut self) {
        let most = self.spread.iter().max().map_or(0, |&a| a as usize);
        self.starts = vec![0; self.starts.len().max(most + 2)];
        for piece in &self.order {
            self.starts[self.spread[piece.index()] as usize + 1] += 1;
        }
        for a in 1..self.starts.len() {
            self.starts[a] += self.starts[a - 1];
        }
        let mut free = self.starts.clone();
        for piece in self.order.clone() {
            let at = &mut free[self.spread[piece.index()] as usize];
            *at += 1;
            let at = *at - 1;
            self.put(at, piece);
        }
    }

    /// Moves `piece` to the neighbouring availability `to`.
    fn shift(&mut self, piece: PieceIndex, to: u32) {
        let from = std::mem::replace(&mut self.spread[piece.index()], to);
        while self.starts.len() < to as usize + 2 {
            self.starts.push(self.order.len());
        }
        if from == to || !self.is_wanted(piece) {
            return;
        }
        let border = if to > from {
            self.starts[to as usize] -= 1;
            self.starts[to as usize]
        } else {
            self.starts[from as usize] += 1;
            self.starts[from as usize] - 1
        };
        let (here, other) = (self.place[piece.index()] as usize, self.order[border]);
        self.put(here, other);
        self.put(border, piece);
        self.holders.values_mut().for_each(|h| h.recount(piece, Some(from), Some(to)));
    }

    /// Moves the piece at `from` into the hole, which is then at `from`.
    fn fill(&mut self, hole: &mut usize, from: usize) {
        if from != *hole {
            self.put(*hole, self.order[from]);
            *hole = from;
        }
    }

    fn put(&mut self, at: usize, piece: PieceIndex) {
        self.order[at] = piece;
        self.place[piece.index()] = at as u32;
    }
}

#[cfg(test)]
impl Rarity {
    /// How many partial holders `piece` has.
    pub(super) fn spread(&self, piece: PieceIndex) -> u32 {
        self.spread[piece.index()]
    }

    /// The wanted pieces that `a` partial holders have.
    pub(super) fn equals(&self, a: usize) -> &[PieceIndex] {
        &self.order[self.starts[a]..self.starts[a + 1]]
    }

    /// Fails unless the header's invariant holds.
    pub(super) fn check(&self) {
        let spread = |p: PieceIndex| {
            self.holders.values().filter(|h| matches!(h, Holder::Some { bits, .. } if bits.has(p))).count()
        };
        assert_eq!(self.starts.last(), Some(&self.order.len()));
        assert_eq!(self.order.len() as u32, self.wanted.ones());
        for piece in self.layout.pieces() {
            assert_eq!(self.spread[piece.index()] as usize, spread(piece));
            assert_eq!(self.is_wanted(piece), self.wanted.has(piece));
        }
        for (at, &piece) in self.order.iter().enumerate() {
            assert_eq!(self.place[piece.index()] as usize, at);
            let a = spread(piece);
            assert!((self.starts[a]..self.starts[a + 1]).contains(&at));
        }
        for holder in self.holders.values() {
            let Holder::Some { bits, equals, wanted } = holder else { continue };
            for a in 0..self.starts.len() - 1 {
                let there = self.order[self.starts[a]..self.starts[a + 1]].iter().filter(|&&p| bits.has(p)).count();
                assert_eq!(equals.get(a).map_or(0, |&n| n as usize), there);
            }
            assert_eq!(*wanted, equals.iter().sum::<u32>());
        }
    }
}
