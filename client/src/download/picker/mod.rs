//! Which block to ask of which peer.
//!
//! **Owns** the state of every piece of one download: nobody else decides what is asked, asked twice,
//! taken back or fetched again.
//! **Invariant.** Every piece is in exactly one place: `have` (written), `rarity` (wanted, not begun),
//! `retry` (was bad, not begun) or `begun` (asked for, or waiting to be verified and written). A block is asked of
//! one peer, in endgame of two at most; each request in `begun` is in the list of that peer and the other way
//! round. Wherever a peer in good standing holds a piece that is not there, something is requested.
//! **Deliberately unknown**: sockets, tasks, disks, clocks, content. Time and the seed are passed in; equal
//! calls give equal answers.
//!
//! How it is driven: [`Picker::next`] for a peer whose window has room (after its blocks, after news
//! of it, and after a tick), [`Picker::on_bytes`] and [`Picker::on_block`] as bytes come, [`Picker::tick`] about
//! once a second, and after *each* call [`Picker::poll_action`] until it is empty. A complete piece goes through
//! verification to [`Picker::on_written`], [`Picker::on_bad`] or [`Picker::forget`], and is never asked for meanwhile.
//!
//! What is chosen, in this order: a block of a piece that this peer has begun; of one whose peer left; a
//! new piece, by the strategy, if memory permits; a block of another peer's piece; and when all is requested,
//! relief of whoever would be last ([`choose`]). Silence and slowness are judged in [`watch`].

mod begun;
mod choose;
mod holder;
mod peer;
mod rarity;
mod survey;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use common::pieces::{Bitfield, BlockRange, PieceIndex, PieceLayout};
use fastrand::Rng;
use serde::{Deserialize, Serialize};

use begun::Begun;
use peer::{Asked, Peer};
use rarity::Rarity;
pub use survey::PieceState;

/// Bytes of unfinished pieces, unless [`Picker::set_memory`] says otherwise.
pub const DEFAULT_MEMORY: u64 = 96 << 20;

/// So many pieces are drawn from all, whatever their rarity: the first ones should come quickly, so that
/// there is something to give (BitTorrent's "random first piece", Cohen 2003).
const OPENING: u32 = 4;

/// A connection to a peer. The caller numbers them; a number is not used again for another peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey(pub u32);

/// In which order pieces are begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Uniformly at random.
    Random,
    /// The rarest first, uniformly at random among equally rare ones.
    #[default]
    Rarest,
    /// From the beginning of the file.
    Sequential,
}

/// What the caller has to do; see [`Picker::poll_action`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The block is no longer wanted from this peer. If it comes all the same, it will be ignored.
    Cancel(PeerKey, BlockRange),
    /// The peer was silent for too long and gets one block at a time until it delivers.
    /// For display; its blocks have been cancelled.
    Snubbed(PeerKey),
    /// The piece starts over: its buffer can go.
    Release(PieceIndex),
}

/// What became of a block that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockOutcome {
    /// It was not (or no longer) expected from this peer: drop its bytes.
    Ignored,
    /// It belongs into its piece.
    Accepted {
        /// The piece, if this was its last block: verify it.
        complete: Option<PieceIndex>,
    },
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Picker {
    layout: PieceLayout,
    strategy: Strategy,
    memory: u64,
    rng: Rng,
    /// Pieces yet to be begun before rarity counts.
    opening: u32,

    have: Bitfield,
    rarity: Rarity,
    retry: Vec<PieceIndex>,
    begun: Begun,
    /// For each piece that was bad and is not written yet, who may be to blame.
    suspects: BTreeMap<PieceIndex, BTreeSet<PeerKey>>,

    peers: BTreeMap<PeerKey, Peer>,
    actions: VecDeque<Action>,
}

impl Picker {
    /// A download of the pieces that are not in `have`. Equal seeds make equal choices.
    pub fn new(layout: PieceLayout, have: Bitfield, strategy: Strategy, seed: u64) -> Self {
        Self {
            layout,
            strategy,
            memory: DEFAULT_MEMORY,
            rng: Rng::with_seed(seed),
            opening: OPENING.saturating_sub(have.ones()),
            rarity: Rarity::new(layout, &have),
            have,
            retry: Vec::new(),
            begun: Begun::default(),
            suspects: BTreeMap::new(),
            peers: BTreeMap::new(),
            actions: VecDeque::new(),
        }
    }

    /// Bounds the memory of unfinished pieces to `bytes`; one piece is always allowed.
    pub fn set_memory(&mut self, bytes: u64) {
        self.memory = bytes;
    }

    /// Adds a peer and what it holds. Cheap for a complete one, linear in the pieces else.
    pub fn add_peer(&mut self, key: PeerKey, holds: &Bitfield) {
        self.remove_peer(key);
        self.peers.insert(key, Peer::default());
        self.rarity.add_holder(key, holds);
    }

    /// The peer holds one more piece.
    pub fn peer_have(&mut self, key: PeerKey, piece: PieceIndex) {
        self.rarity.gain(key, piece);
    }

    /// The peer no longer gives this piece, whether it said so or failed to: what was asked of it goes
    /// to others.
    pub fn peer_lost(&mut self, key: PeerKey, piece: PieceIndex) {
        self.rarity.lose(key, piece);
        let asked: Vec<_> = self.asked_of(key).filter(|a| a.piece == piece).collect();
        asked.into_iter().for_each(|a| self.take_back(key, a));
        self.abandon(key, |p| p == piece);
    }

    /// The peer is gone: what was asked of it goes to others.
    pub fn remove_peer(&mut self, key: PeerKey) {
        self.rarity.remove_holder(key);
        let Some(peer) = self.peers.remove(&key) else { return };
        peer.asked().for_each(|a| self.take_back(key, a));
        self.abandon(key, |_| true);
    }

    /// Part of a block came from `key`: it is alive, and so fast.
    pub fn on_bytes(&mut self, now: Instant, key: PeerKey, bytes: u64) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.hear(now, bytes);
        }
    }

    /// Our own limit keeps us from taking what `key` sends: it is neither silent nor slow.
    pub fn on_held_back(&mut self, now: Instant, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.excuse(now);
        }
    }

    /// A whole block came from `key`. Bytes that [`Picker::on_bytes`] reported are not counted again.
    pub fn on_block(&mut self, now: Instant, key: PeerKey, block: BlockRange) -> BlockOutcome {
        let (Some((piece, _)), Some(peer)) = (self.layout.check(block), self.peers.get_mut(&key)) else {
            return BlockOutcome::Ignored;
        };
        peer.hear_block(now, block.len);
        let Some(rival) = self.begun.receive(piece, block, key) else { return BlockOutcome::Ignored };
        peer.unask(block);
        peer.pardon(now);
        if let Some(rival) = rival {
            self.cancel(rival, block);
        }
        let complete = self.begun.get(piece).is_some_and(|b| b.is_complete()).then_some(piece);
        BlockOutcome::Accepted { complete }
    }

    /// Who delivered what is there of a begun piece. One name is a proof if the piece is bad.
    pub fn contributors(&self, piece: PieceIndex) -> Vec<PeerKey> {
        self.begun.get(piece).map(|b| b.contributors().into_iter().collect()).unwrap_or_default()
    }

    /// The piece is verified and written.
    pub fn on_written(&mut self, piece: PieceIndex) {
        self.drop_requests(piece);
        self.begun.remove(piece);
        self.rarity.unwant(piece);
        self.retry.retain(|&p| p != piece);
        self.suspects.remove(&piece);
        self.have.set(piece);
    }

    /// The complete piece failed verification. It is fetched again whole, from one peer that is none of
    /// the `contributors` while any other holds it. A single contributor is the liar: unfinished pieces to which it
    /// contributed start over, and the caller removes it.
    pub fn on_bad(&mut self, piece: PieceIndex, contributors: &[PeerKey]) {
        if !self.begun.get(piece).is_some_and(|b| b.is_complete()) {
            return;
        }
        self.suspects.entry(piece).or_default().extend(contributors);
        self.unbegin(piece);
        if let [liar] = *contributors {
            self.begun.touched_by(liar).into_iter().for_each(|p| self.unbegin(p));
        }
    }

    /// The piece is not there after all, by nobody's fault: it could not be written, or not be read
    /// again. It is wanted like any other.
    pub fn forget(&mut self, piece: PieceIndex) {
        if self.have.clear(piece) {
            self.rarity.want(piece);
        } else if self.begun.get(piece).is_some() {
            self.unbegin(piece);
        }
    }

    /// The next thing to do, in the order it came up.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The pieces that are written.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Whether all pieces are written.
    pub fn is_complete(&self) -> bool {
        self.have.is_full()
    }

    /// Whether the peer holds a piece that is not there yet.
    pub fn is_interesting(&self, key: PeerKey) -> bool {
        self.rarity.wanted_from(key) > 0
            || self.retry.iter().any(|&p| self.rarity.holds(key, p))
            || self.begun.iter().any(|(p, b)| !b.is_complete() && self.rarity.holds(key, p))
    }

    /// Bytes asked of the peer that have not come.
    pub fn in_flight(&self, key: PeerKey) -> u64 {
        self.peers.get(&key).map_or(0, Peer::in_flight)
    }

    /// Bytes of memory that the begun pieces need, up to the moment they are written.
    pub fn unfinished(&self) -> u64 {
        self.begun.bytes()
    }

    /// Whether `key` may be asked for `piece`: it holds it, and is not suspected of having spoilt it
    /// while another holds it who is beyond doubt and no less trusted to answer at all.
    fn is_eligible(&self, key: PeerKey, piece: PieceIndex) -> bool {
        if !self.rarity.holds(key, piece) {
            return false;
        }
        let Some(suspects) = self.suspects.get(&piece).filter(|s| s.contains(&key)) else { return true };
        let strikes = self.peers.get(&key).map_or(0, |p| p.strikes);
        let better =
            |(k, p): (&PeerKey, &Peer)| p.strikes <= strikes && !suspects.contains(k) && self.rarity.holds(*k, piece);
        !self.peers.iter().any(better)
    }

    fn asked_of(&self, key: PeerKey) -> impl Iterator<Item = Asked> {
        self.peers.get(&key).into_iter().flat_map(Peer::asked)
    }

    /// Takes a request back, so that the block can be asked of another.
    fn take_back(&mut self, key: PeerKey, asked: Asked) {
        self.cancel(key, asked.block);
        let untouched = self.begun.unask(asked.piece, asked.block, key);
        if untouched || self.begun.get(asked.piece).is_some_and(|b| b.sole && b.owner.is_none()) {
            self.unbegin(asked.piece);
        }
    }

    /// Gives up those pieces that `key` was to deliver. A sole piece starts over: its next owner must
    /// answer for all of it.
    fn abandon(&mut self, key: PeerKey, which: impl Fn(PieceIndex) -> bool) {
        let owned = |(p, b): &(PieceIndex, &begun::BegunPiece)| b.owner == Some(key) && !b.is_complete() && which(*p);
        let owned: Vec<_> = self.begun.iter().filter(owned).map(|(p, b)| (p, b.sole)).collect();
        for (piece, sole) in owned {
            if sole { self.unbegin(piece) } else { self.begun.disown(piece) }
        }
    }

    /// The piece starts over.
    fn unbegin(&mut self, piece: PieceIndex) {
        self.drop_requests(piece);
        if self.begun.remove(piece).is_none() {
            return;
        }
        self.actions.push_back(Action::Release(piece));
        if self.suspects.contains_key(&piece) {
            self.retry.push(piece);
        } else {
            self.rarity.want(piece);
        }
    }

    fn drop_requests(&mut self, piece: PieceIndex) {
        let out: Vec<_> = self.begun.get(piece).into_iter().flat_map(|b| b.requests()).collect();
        out.into_iter().for_each(|(key, block)| self.cancel(key, block));
    }

    /// Strikes a request from the peer's list and has the peer told.
    fn cancel(&mut self, key: PeerKey, block: BlockRange) {
        if self.peers.get_mut(&key).is_some_and(|p| p.unask(block)) {
            self.actions.push_back(Action::Cancel(key, block));
        }
    }
}
