//! The choice of the next block for one peer.
//!
//! **Relief.** When nothing is left that nobody was asked for, a peer with room relieves whoever
//! would deliver last. In endgame it is asked for the same block, and the loser is cancelled. Before
//! endgame (others still have work that this peer cannot do, or memory is full) it takes over whole pieces
//! that lie at the end of a queue at least twice as long as its own: what waits at the only seeder comes from
//! a leecher as soon as one has it. From a peer with more strikes it takes any block.

use std::time::Instant;

use common::pieces::{BlockRange, MAX_BLOCK_LEN, PieceIndex};

use super::begun::BegunPiece;
use super::peer::{Asked, Peer};
use super::{PeerKey, Picker, Strategy};

/// Requests that a peer may have out and still relieve others: one that comes, one that follows.
const RELIEF_DEPTH: usize = 2;

/// A queue is relieved before endgame if it takes so many times as long as the own one ...
const LONGER: f64 = 2.0;
/// ... and so many seconds more.
const MUCH_LONGER: f64 = 0.25;

#[derive(Debug, Clone, Copy)]
enum Choice {
    /// A block that nobody was asked for.
    Free(PieceIndex, BlockRange),
    /// A piece that nobody has begun.
    New(PieceIndex),
    /// The same block that another peer was asked for.
    Twin(PieceIndex, BlockRange),
    /// A block that is taken from another peer.
    Take(PeerKey, Asked),
    /// A whole piece that is taken from another peer.
    TakePiece(PeerKey, PieceIndex),
}

impl Picker {
    /// Blocks to ask of `key` now, at most `window` bytes of them (or one block, if nothing is asked
    /// of it and the window is not empty). They count as asked from here on.
    pub fn next(&mut self, now: Instant, key: PeerKey, window: u64) -> Vec<BlockRange> {
        let mut asked = Vec::new();
        let mut left = window;
        while left > 0 {
            let Some(choice) = self.choose(now, key) else { break };
            let Some(block) = self.block_of(choice) else { break };
            let room = left.min(self.fair_share(key));
            if u64::from(block.len) > room && self.in_flight(key) > 0 {
                break;
            }
            self.commit(now, key, choice, block);
            left = left.saturating_sub(u64::from(block.len));
            asked.push(block);
        }
        asked
    }

    fn choose(&mut self, now: Instant, key: PeerKey) -> Option<Choice> {
        let peer = self.peers.get(&key)?;
        if peer.strikes > 0 && !peer.is_idle() {
            return None;
        }
        self.open_block(key, |b| b.owner == Some(key))
            .or_else(|| self.open_block(key, |b| b.owner.is_none()))
            .or_else(|| self.new_piece(key))
            .or_else(|| self.open_block(key, |b| !b.sole))
            .or_else(|| self.relief(now, key))
    }

    /// A free block of a begun piece.
    fn open_block(&self, key: PeerKey, which: impl Fn(&BegunPiece) -> bool) -> Option<Choice> {
        let may =
            |p, b: &BegunPiece| if b.owner == Some(key) { self.rarity.holds(key, p) } else { self.is_eligible(key, p) };
        let (piece, begun) = self.begun.open().find(|&(p, b)| which(b) && may(p, b))?;
        Some(Choice::Free(piece, begun.free()?))
    }

    fn new_piece(&mut self, key: PeerKey) -> Option<Choice> {
        if !self.has_room() {
            return None;
        }
        let again = self.retry.iter().copied().find(|&p| self.is_eligible(key, p));
        let piece = again.or_else(|| match self.strategy {
            Strategy::Rarest if self.opening == 0 => self.rarity.rarest(key, &mut self.rng),
            Strategy::Rarest | Strategy::Random => self.rarity.any(key, &mut self.rng),
            Strategy::Sequential => self.rarity.first(key),
        });
        piece.map(Choice::New)
    }

    /// Whether memory permits to begin another piece.
    pub(super) fn has_room(&self) -> bool {
        self.begun.is_empty() || self.begun.bytes() + self.layout.piece_len() <= self.memory
    }

    /// How much more may be asked of `key`: the first half of the memory is for whoever is fast, the
    /// second is shared out evenly.
    fn fair_share(&self, key: PeerKey) -> u64 {
        let half = self.memory / 2;
        if self.begun.bytes() < half {
            return u64::MAX;
        }
        let share = (half / self.peers.len().max(1) as u64).max(u64::from(MAX_BLOCK_LEN));
        share.saturating_sub(self.in_flight(key))
    }

    fn block_of(&self, choice: Choice) -> Option<BlockRange> {
        match choice {
            Choice::Free(_, block) | Choice::Twin(_, block) => Some(block),
            Choice::Take(_, asked) => Some(asked.block),
            Choice::New(piece) | Choice::TakePiece(_, piece) => self.layout.blocks(piece, MAX_BLOCK_LEN).next(),
        }
    }

    fn commit(&mut self, now: Instant, key: PeerKey, choice: Choice, block: BlockRange) {
        let piece = match choice {
            Choice::Free(piece, _) | Choice::Twin(piece, _) => piece,
            Choice::New(piece) => self.begin(piece, key),
            Choice::Take(from, asked) => {
                self.take_back(from, asked);
                if self.begun.get(asked.piece).is_some() { asked.piece } else { self.begin(asked.piece, key) }
            }
            Choice::TakePiece(from, piece) => {
                let asked: Vec<_> = self.asked_of(from).filter(|a| a.piece == piece).collect();
                asked.into_iter().for_each(|a| self.take_back(from, a));
                self.begin(piece, key)
            }
        };
        self.begun.ask(piece, block, key);
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.ask(now, Asked { piece, block });
        }
    }

    fn begin(&mut self, piece: PieceIndex, key: PeerKey) -> PieceIndex {
        self.opening = self.opening.saturating_sub(1);
        self.rarity.unwant(piece);
        self.retry.retain(|&p| p != piece);
        self.begun.begin(self.layout, piece, key, self.suspects.contains_key(&piece));
        piece
    }

    /// Whether peers in good standing have been asked for all they could be asked for: endgame.
    pub(super) fn nothing_unrequested(&self) -> bool {
        let good: Vec<_> = self.peers.iter().filter(|(_, p)| p.strikes == 0).map(|(k, _)| *k).collect();
        let could = |piece| good.iter().any(|&k| self.is_eligible(k, piece));
        (self.rarity.is_empty() || good.iter().all(|&k| self.rarity.wanted_from(k) == 0))
            && !self.retry.iter().any(|&p| could(p))
            && !self.begun.open().any(|(p, b)| !b.sole && could(p))
    }

    /// Of the blocks that `key` could relieve others of, the one that would come last.
    fn relief(&self, now: Instant, key: PeerKey) -> Option<Choice> {
        let me = self.peers.get(&key)?;
        if me.asked().len() >= RELIEF_DEPTH {
            return None;
        }
        let endgame = me.strikes == 0 && self.nothing_unrequested();
        let others = self.peers.iter().filter(|(k, _)| **k != key);
        let last = others.filter_map(|(&from, other)| {
            let mut queue = other.in_flight();
            other.asked().enumerate().rev().find_map(|(at, asked)| {
                let turn = Turn { from, other, asked, queue, comes_next: at == 0 };
                queue -= u64::from(asked.block.len);
                self.relief_of(now, key, me, &turn, endgame)
            })
        });
        last.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, choice)| choice)
    }

    /// Whether, and how, `key` relieves another of one block, and in how many seconds that would have come.
    fn relief_of(
        &self,
        now: Instant,
        key: PeerKey,
        me: &Peer,
        turn: &Turn<'_>,
        endgame: bool,
    ) -> Option<(f64, Choice)> {
        let Asked { piece, block } = turn.asked;
        let begun = self.begun.get(piece)?;
        let (one, other) = begun.asked_of(block);
        if one == Some(key) || other == Some(key) || !self.is_eligible(key, piece) {
            return None;
        }
        let theirs = turn.other.rate(now);
        let due = theirs.map_or(f64::INFINITY, |rate| turn.queue as f64 / rate);
        let queue = (me.in_flight() + u64::from(block.len)) as f64;
        let outranked = me.strikes < turn.other.strikes;

        if begun.sole {
            return outranked.then_some((due, Choice::TakePiece(turn.from, piece)));
        }
        let sooner = me.rate(now).is_none_or(|rate| queue / rate < due);
        if endgame && other.is_none() && (outranked || sooner) {
            return Some((due, Choice::Twin(piece, block)));
        }
        if outranked && (endgame || other.is_none()) {
            return Some((due, Choice::Take(turn.from, turn.asked)));
        }
        // Before endgame only what is known counts; a peer never tried is taken to be as fast.
        let mine = me.rate(now).or(theirs).map_or(f64::INFINITY, |rate| queue / rate);
        let whole =
            begun.owner == Some(turn.from) && begun.received() == 0 && begun.requests().all(|(k, _)| k == turn.from);
        let worth = me.strikes == 0 && theirs.is_some() && due > LONGER * mine + MUCH_LONGER;
        (!endgame && !turn.comes_next && whole && worth).then_some((due, Choice::TakePiece(turn.from, piece)))
    }
}

/// A block in another peer's queue.
struct Turn<'a> {
    from: PeerKey,
    other: &'a Peer,
    asked: Asked,
    /// Bytes up to its end.
    queue: u64,
    comes_next: bool,
}
