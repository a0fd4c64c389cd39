//! Peers that are silent or slow, and memory that nobody would ever free.
//!
//! A peer that loses its blocks gets a strike: one block at a time until one comes, and anybody with fewer
//! strikes may take that one over when there is nothing better to do. So neither a dead peer nor many of
//! them can hold up a live one, however badly that one did before.

use std::time::Instant;

use common::pieces::PieceIndex;

use super::begun::BegunPiece;
use super::{Action, PeerKey, Picker};

/// So many times slower than the median of the others is slow,
const SLOW: f64 = 10.0;
/// and in endgame, where a slow peer makes all wait.
const SLOW_IN_ENDGAME: f64 = 3.0;

impl Picker {
    /// Looks after the peers; to be called about once a second, followed by [`Picker::next`] for the
    /// peers with room.
    pub fn tick(&mut self, now: Instant) {
        let silent: Vec<_> = self.peers.iter().filter(|(_, p)| p.is_silent(now)).map(|(k, _)| *k).collect();
        silent.into_iter().for_each(|key| self.snub(now, key));
        let slow = self.slow(now);
        slow.iter().for_each(|&key| self.take_from_slow(now, key, &slow));
        self.free_stranded();
    }

    fn snub(&mut self, now: Instant, key: PeerKey) {
        let asked: Vec<_> = self.asked_of(key).collect();
        asked.into_iter().for_each(|a| self.take_back(key, a));
        self.abandon(key, |_| true);
        self.strike(now, key);
        self.actions.push_back(Action::Snubbed(key));
    }

    /// The busy peers that are much slower than the median of the others.
    fn slow(&self, now: Instant) -> Vec<PeerKey> {
        let mut rates: Vec<_> =
            self.peers.iter().filter_map(|(k, p)| Some((*k, p.judged_rate(now)?, p.is_idle()))).collect();
        if rates.len() < 2 {
            return Vec::new();
        }
        let factor = if self.nothing_unrequested() { SLOW_IN_ENDGAME } else { SLOW };
        rates.sort_by(|a, b| a.1.total_cmp(&b.1));
        // The lower median: with three peers, two slow ones are the measure and the fast one is the exception.
        let middle = (rates.len() - 2) / 2;
        let median_without = |at: usize| rates[if at <= middle { middle + 1 } else { middle }].1;
        let slow =
            |(at, (_, rate, idle)): &(usize, &(PeerKey, f64, bool))| !idle && rate * factor < median_without(*at);
        rates.iter().enumerate().filter(slow).map(|(_, (key, ..))| *key).collect()
    }

    /// Takes back what a peer in good standing could deliver instead. Without such a one nothing
    /// changes: slow is better than never.
    fn take_from_slow(&mut self, now: Instant, key: PeerKey, slow: &[PeerKey]) {
        let good = |(k, p): &(&PeerKey, &super::Peer)| p.strikes == 0 && !slow.contains(k);
        let better: Vec<_> = self.peers.iter().filter(good).map(|(k, _)| *k).collect();
        let asked: Vec<_> =
            self.asked_of(key).filter(|a| better.iter().any(|&k| self.is_eligible(k, a.piece))).collect();
        if !asked.is_empty() {
            asked.into_iter().for_each(|a| self.take_back(key, a));
            self.strike(now, key);
        }
    }

    fn strike(&mut self, now: Instant, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.strike(now);
        }
    }

    /// When memory is full and peers have nothing to do for it: gives up begun pieces that no peer as
    /// good as those can finish, the least complete first.
    fn free_stranded(&mut self) {
        if self.has_room() {
            return;
        }
        let starved = |(k, p): &(&PeerKey, &super::Peer)| p.is_idle() && self.could_begin(**k);
        let starved: Vec<_> = self.peers.iter().filter(starved).map(|(_, p)| p.strikes).collect();
        let Some(&strikes) = starved.iter().min() else { return };
        let mut stranded: Vec<_> = self.begun.iter().filter(|(p, b)| self.is_stranded(*p, b, strikes)).collect();
        stranded.sort_by_key(|(_, b)| b.received());
        let stranded: Vec<_> = stranded.iter().take(starved.len()).map(|(p, _)| *p).collect();
        stranded.into_iter().for_each(|p| self.unbegin(p));
    }

    fn could_begin(&self, key: PeerKey) -> bool {
        self.rarity.wanted_from(key) > 0 || self.retry.iter().any(|&p| self.is_eligible(key, p))
    }

    fn is_stranded(&self, piece: PieceIndex, begun: &BegunPiece, strikes: u32) -> bool {
        let mut as_good = self.peers.iter().filter(|(_, p)| p.strikes <= strikes).map(|(k, _)| *k);
        !begun.is_complete() && !as_good.any(|k| self.is_eligible(k, piece))
    }
}
