//! What the picker promises, shown: small cases here, the rest in the files beside.

mod chance;
mod exhaustive;
mod play;
mod random_ops;
mod rarity;
mod speed;
mod swarm;
mod world;

use std::time::Duration;

use super::*;
use world::{MIB, World, bits, layout};

const A: PeerKey = PeerKey(1);
const B: PeerKey = PeerKey(2);
const C: PeerKey = PeerKey(3);

impl Picker {
    /// Fails unless the invariant of the module holds.
    fn check(&self) {
        self.rarity.check();
        self.begun.check();
        let wanted = self.layout.pieces().filter(|&p| self.rarity.is_wanted(p));
        let mut places: Vec<_> =
            wanted.chain(self.retry.iter().copied()).chain(self.begun.iter().map(|(p, _)| p)).collect();
        places.extend(self.layout.pieces().filter(|&p| self.have.has(p)));
        places.sort();
        assert!(places.iter().copied().eq(self.layout.pieces()), "a piece is nowhere or in two places");
        let mut out: Vec<_> =
            self.begun.iter().flat_map(|(_, b)| b.requests()).map(|(k, b)| (k, b.piece, b.offset)).collect();
        let lists = self.peers.iter().flat_map(|(&k, p)| p.asked().map(move |a| (k, a.block.piece, a.block.offset)));
        let mut lists: Vec<_> = lists.collect();
        out.sort();
        lists.sort();
        assert_eq!(out, lists, "requests and lists of peers differ");
        assert!(self.begun.bytes() <= self.memory.max(self.layout.piece_len()), "memory");
        for (piece, begun) in self.begun.iter().filter(|(_, b)| b.sole) {
            assert!(begun.owner.is_some() && begun.contributors().iter().all(|&k| Some(k) == begun.owner));
            assert!(begun.requests().all(|(k, _)| Some(k) == begun.owner) && self.suspects.contains_key(&piece));
        }
    }
}

#[test]
fn an_empty_file_is_complete_and_asks_for_nothing() {
    let mut w = World::new(layout(0, MIB), Strategy::Rarest, 1);
    w.join(A, &[]);
    assert!(w.picker.is_complete());
    assert_eq!(w.next(A, 9 * MIB), []);
}

#[test]
fn a_window_is_filled_and_never_exceeded_but_by_one_block() {
    let mut w = World::new(layout(64 * MIB, 4 * MIB), Strategy::Random, 1);
    w.seed(A);
    assert_eq!(w.next(A, 0), []);
    assert_eq!(w.next(A, 1).len(), 1, "an idle peer gets one block whatever its window");
    assert_eq!(w.next(A, MIB - 1), []);
    assert_eq!(w.next(A, 5 * MIB + 1).len(), 5);
    assert_eq!(w.picker.in_flight(A), 6 * MIB);
    assert_eq!(w.picker.unfinished(), 8 * MIB, "the first piece is asked for whole before the second is begun");
}

#[test]
fn sequential_goes_from_the_beginning_whoever_has_it() {
    let mut w = World::new(layout(10 * MIB, MIB), Strategy::Sequential, 1);
    w.seed(A);
    w.join(B, &[7, 3, 9]);
    let pieces = |blocks: Vec<BlockRange>| blocks.iter().map(|b| b.piece).collect::<Vec<_>>();
    assert_eq!(pieces(w.next(B, 2 * MIB)), [3, 7]);
    assert_eq!(pieces(w.next(A, 5 * MIB)), [0, 1, 2, 4, 5]);
}

#[test]
fn the_rarest_come_first_after_the_opening() {
    for seed in 0..50 {
        let mut w = World::new(layout(100 * MIB, MIB), Strategy::Rarest, seed);
        w.seed(A);
        w.join(B, &(0..90).collect::<Vec<_>>());
        w.join(C, &(0..80).collect::<Vec<_>>());
        let (opening, rest) = (w.next(A, 4 * MIB), w.next(A, 36 * MIB));
        let rare = 10 - opening.iter().filter(|b| b.piece >= 90).count();
        let common = rest.iter().skip(rare).filter(|b| b.piece >= 80).count();
        assert!(rest.iter().take(rare).all(|b| b.piece >= 90));
        assert_eq!(common, 10 - opening.iter().filter(|b| (80..90).contains(&b.piece)).count());
    }
}

#[test]
fn the_first_four_are_drawn_from_all() {
    let mut rare = 0;
    for seed in 0..100 {
        let mut w = World::new(layout(100 * MIB, MIB), Strategy::Rarest, seed);
        w.seed(A);
        w.join(B, &(0..90).collect::<Vec<_>>());
        rare += w.next(A, 4 * MIB).iter().filter(|b| b.piece >= 90).count();
        assert!(w.next(A, MIB)[0].piece >= 90, "the fifth is rare");
    }
    // Binomial, 400 draws of probability 0.1: 40 +- 6.
    assert!((16..=64).contains(&rare), "{rare} of 400");
}

#[test]
fn the_opening_is_counted_from_what_is_there() {
    let l = layout(100 * MIB, MIB);
    let have = bits(l, &[50, 51, 52, 53]);
    for seed in 0..50 {
        let mut p = Picker::new(l, have.clone(), Strategy::Rarest, seed);
        let most = bits(l, &(0..99).collect::<Vec<_>>());
        p.add_peer(A, &Bitfield::full(l));
        p.add_peer(B, &most);
        assert_eq!(p.next(Instant::now(), A, MIB)[0].piece, 99);
    }
}

#[test]
fn what_was_asked_of_a_peer_that_leaves_goes_to_others() {
    let mut w = World::new(layout(8 * MIB, 4 * MIB), Strategy::Rarest, 1);
    w.seed(A);
    let of_a = w.next(A, 8 * MIB);
    w.deliver(A, of_a[0]);
    w.leave(A);
    w.seed(B);
    let mut of_b = w.next(B, 8 * MIB);
    assert_eq!(of_b[0].piece, of_a[0].piece, "the piece in memory is finished first");
    let mut rest = of_a[1..].to_vec();
    rest.sort_by_key(|b| (b.piece, b.offset));
    of_b.sort_by_key(|b| (b.piece, b.offset));
    assert_eq!(of_b, rest);
}

#[test]
fn a_piece_that_a_peer_lost_is_asked_of_others_and_its_other_blocks_stay() {
    let mut w = World::new(layout(4 * MIB, MIB), Strategy::Sequential, 1);
    w.seed(A);
    w.next(A, 3 * MIB);
    w.lose(A, 1);
    assert_eq!(w.cancels, [(A, 1)]);
    assert_eq!(w.next(A, 9 * MIB).iter().map(|b| b.piece).collect::<Vec<_>>(), [3]);
    w.seed(B);
    assert_eq!(w.next(B, MIB)[0].piece, 1);
}

#[test]
fn endgame_asks_two_peers_at_most_and_cancels_the_loser() {
    let mut w = World::new(layout(3 * MIB, MIB), Strategy::Rarest, 1);
    w.seeds(&[A, B, C]);
    let of_a = w.next(A, 3 * MIB);
    assert_eq!(of_a.len(), 3);
    let of_b = w.next(B, 9 * MIB);
    let of_c = w.next(C, 9 * MIB);
    assert_eq!((of_b.len(), of_c.len()), (2, 1), "two at a time relieve, and no block is asked of three");
    assert_eq!(of_b[0], of_a[2], "from the end, where A would come last");
    assert_eq!(w.deliver(B, of_b[0]), BlockOutcome::Accepted { complete: w.piece(of_b[0]) });
    assert_eq!(w.cancels, [(A, of_b[0].piece)]);
    assert_eq!(w.deliver(A, of_b[0]), BlockOutcome::Ignored, "too late");
}

#[test]
fn no_endgame_while_something_can_be_asked_for() {
    let mut w = World::new(layout(3 * MIB, MIB), Strategy::Sequential, 1);
    w.seed(A);
    w.join(B, &[0, 1]);
    assert_eq!(w.next(A, 2 * MIB).len(), 2);
    assert_eq!(w.next(B, 9 * MIB), [], "piece 2 can still be asked of A");
    assert_eq!(w.next(A, MIB).len(), 1);
    assert_eq!(w.next(B, 9 * MIB).len(), 2);
}

#[test]
fn a_silent_peer_is_snubbed_probed_and_pardoned() {
    let mut w = World::new(layout(64 * MIB, MIB), Strategy::Rarest, 1);
    w.seed(A);
    let first = w.next(A, 8 * MIB);
    w.pass(19.0);
    w.picker.on_bytes(w.now, A, 1);
    w.pass(19.0);
    assert_eq!((w.snubbed.len(), w.cancels.len()), (0, 0), "one byte is life");
    w.pass(1.0);
    assert_eq!((w.snubbed.as_slice(), w.cancels.len()), ([A].as_slice(), first.len()));
    assert_eq!(w.picker.unfinished(), 0, "nothing is held for it");
    let probe = w.next(A, 8 * MIB);
    assert_eq!((probe.len(), w.next(A, 8 * MIB).len()), (1, 0));
    w.deliver(A, probe[0]);
    assert_eq!(w.next(A, 8 * MIB).len(), 8);
}

#[test]
fn a_peer_that_our_own_limit_holds_back_is_neither_silent_nor_slow() {
    let mut w = World::new(layout(64 * MIB, MIB), Strategy::Rarest, 1);
    w.seeds(&[A, B]);
    w.next(A, 8 * MIB);
    w.next(B, 8 * MIB);
    for second in 0..100 {
        w.picker.on_bytes(w.now, A, MIB);
        w.picker.on_held_back(w.now, A);
        w.picker.on_held_back(w.now, B);
        w.pass(1.0);
        assert!(w.snubbed.is_empty() && w.cancels.is_empty(), "after {second} s");
    }
    w.pass(20.0);
    assert_eq!(w.snubbed.len(), 2, "when it is no longer so, it does not count");
}

#[test]
fn a_peer_ten_times_slower_loses_its_blocks_and_in_endgame_three_times() {
    for (pieces, times, loses) in [(1000, 9, false), (1000, 11, true), (24, 2, false), (24, 4, true)] {
        let mut w = World::new(layout(pieces * MIB, MIB), Strategy::Rarest, 1);
        w.seeds(&[A, B, C]);
        let of_a = w.next(A, 8 * MIB);
        w.next(B, 8 * MIB);
        w.next(C, 8 * MIB);
        for second in 1..=7 {
            [(A, MIB / times), (B, MIB), (C, MIB)].iter().for_each(|&(k, n)| w.picker.on_bytes(w.now, k, n));
            w.pass(1.0);
            assert!(second >= 5 || w.cancels.is_empty(), "judged too early");
        }
        assert!(w.cancels.iter().all(|(k, _)| *k == A));
        let lost = if loses { of_a.len() } else { 0 };
        assert_eq!(w.cancels.len(), lost, "1/{times} of the others, {pieces} pieces");
        assert!(!loses || w.next(A, 8 * MIB).len() == 1, "it may show whether it has recovered");
    }
}

#[test]
fn slow_is_better_than_never() {
    let mut w = World::new(layout(100 * MIB, MIB), Strategy::Rarest, 1);
    w.seed(A);
    w.join(B, &(0..60).collect::<Vec<_>>());
    w.join(C, &(0..60).collect::<Vec<_>>());
    w.next(A, 100 * MIB);
    let rare = w.outstanding(A).iter().filter(|b| b.piece >= 60).count();
    assert!(rare > 30);
    for _ in 0..8 {
        for key in [B, C] {
            let blocks = w.next(key, 2 * MIB);
            w.deliver_and_write_all(key, &blocks);
            w.next(key, 2 * MIB);
            w.picker.on_bytes(w.now, key, MIB);
        }
        w.picker.on_bytes(w.now, A, 1000);
        w.now += Duration::from_secs(1);
        w.tick();
    }
    assert_eq!(w.outstanding(A).iter().filter(|b| b.piece >= 60).count(), rare, "only A has these");
    assert_eq!(w.outstanding(A).len(), rare, "the others are better asked of B and C");
}

#[test]
fn a_bad_piece_comes_whole_from_one_other_peer() {
    let mut w = World::new(layout(4 * MIB, 4 * MIB), Strategy::Rarest, 1);
    w.seeds(&[A, B]);
    let blocks = w.next(A, 2 * MIB);
    blocks.iter().for_each(|&b| assert!(matches!(w.deliver(A, b), BlockOutcome::Accepted { .. })));
    let rest = w.next(B, 9 * MIB);
    rest.iter().for_each(|&b| assert!(matches!(w.deliver(B, b), BlockOutcome::Accepted { .. })));
    let piece = w.picker.layout.piece(0).expect("a piece");
    let contributors = w.picker.contributors(piece);
    assert_eq!(contributors, [A, B]);
    w.picker.on_bad(piece, &contributors);
    w.drain();
    w.seed(C);
    assert_eq!(w.next(A, 9 * MIB).len() + w.next(B, 9 * MIB).len(), 0, "C is beyond doubt");
    let of_c = w.next(C, MIB);
    assert_eq!(w.next(A, 9 * MIB).len(), 0, "the piece is C's alone");
    w.deliver(C, of_c[0]);
    w.leave(C);
    assert_eq!(w.next(B, 9 * MIB).len(), 4, "it starts over, and the blame stays exact");
}

#[test]
fn a_proven_liar_has_nothing_left_in_memory() {
    let mut w = World::new(layout(12 * MIB, 4 * MIB), Strategy::Sequential, 1);
    w.seeds(&[A, B]);
    let of_a = w.next(A, 6 * MIB);
    of_a.iter().take(5).for_each(|&b| assert!(matches!(w.deliver(A, b), BlockOutcome::Accepted { .. })));
    w.released.clear();
    let piece = w.picker.layout.piece(0).expect("a piece");
    w.picker.on_bad(piece, &[A]);
    w.drain();
    w.leave(A);
    assert_eq!(w.released, [0, 1], "piece 1 starts over too");
    assert_eq!(w.next(B, 99 * MIB).len(), 12);
}

#[test]
fn a_suspect_delivers_when_those_beyond_doubt_are_silent() {
    let mut w = World::new(layout(2 * MIB, 2 * MIB), Strategy::Rarest, 1);
    w.seed(C);
    let blocks = w.next(C, 2 * MIB);
    w.deliver(C, blocks[0]);
    w.deliver(C, blocks[1]);
    let piece = w.picker.layout.piece(0).expect("a piece");
    w.seeds(&[A, B]);
    w.picker.on_bad(piece, &[B, C]);
    w.drain();
    assert_eq!((w.next(A, MIB).len(), w.next(C, MIB).len()), (1, 0), "A is beyond doubt");
    w.pass(20.0);
    assert_eq!(w.snubbed, [A]);
    assert_eq!(w.next(A, MIB).len(), 1, "A is first again");
    assert_eq!(w.next(C, 2 * MIB).len(), 2, "but C answers, and takes the piece over");
    assert_eq!(w.cancels.last(), Some(&(A, 0)));
    assert_eq!(w.next(B, 2 * MIB).len(), 0);
}

#[test]
fn when_memory_is_tight_peers_help_instead_of_beginning() {
    let mut w = World::new(layout(160 * MIB, 16 * MIB), Strategy::Rarest, 1);
    w.picker.set_memory(32 * MIB);
    let keys: Vec<_> = (1..=8).map(PeerKey).collect();
    keys.iter().for_each(|&k| w.seed(k));
    for &k in &keys {
        assert!(!w.next(k, 64 * MIB).is_empty(), "{k:?} has nothing to do");
    }
    assert_eq!(w.picker.unfinished(), 32 * MIB);
}

#[test]
fn begun_pieces_that_nobody_can_finish_give_way() {
    let mut w = World::new(layout(16 * MIB, 4 * MIB), Strategy::Rarest, 1);
    w.picker.set_memory(4 * MIB);
    w.join(A, &[0]);
    let of_a = w.next(A, 4 * MIB);
    w.deliver(A, of_a[0]);
    w.leave(A);
    w.join(B, &[1, 2]);
    assert_eq!(w.next(B, MIB), [], "memory is full");
    w.tick();
    assert_eq!(w.released, [0]);
    assert_eq!(w.next(B, MIB).len(), 1);
}

#[test]
fn what_waits_at_a_busy_seeder_comes_from_a_leecher_that_has_it() {
    let mut w = World::new(layout(1000 * MIB, MIB), Strategy::Rarest, 1);
    w.seed(A);
    w.next(A, 16 * MIB);
    for _ in 0..8 {
        w.now += Duration::from_millis(500);
        let first = w.outstanding(A)[0];
        w.deliver_and_write(A, first);
    }
    let (next, last) = (w.outstanding(A)[0], w.outstanding(A)[7]);
    w.join(B, &[next.piece, last.piece]);
    assert_eq!(w.next(B, 4 * MIB), [last], "and what comes next anyway stays");
    assert_eq!(w.cancels, [(A, last.piece)]);
}

#[test]
fn a_piece_that_could_not_be_written_is_wanted_again() {
    let mut w = World::new(layout(2 * MIB, MIB), Strategy::Sequential, 1);
    w.seed(A);
    let blocks = w.next(A, 2 * MIB);
    w.deliver_and_write(A, blocks[0]);
    w.deliver(A, blocks[1]);
    for n in [0, 1] {
        w.forget(n);
    }
    assert_eq!(w.next(A, 9 * MIB), blocks);
}

#[test]
fn blocks_that_nobody_asked_for_are_ignored() {
    let mut w = World::new(layout(4 * MIB, 2 * MIB), Strategy::Sequential, 1);
    w.seeds(&[A, B]);
    let block = w.next(A, MIB)[0];
    let odd = [
        (B, block),
        (C, block),
        (A, BlockRange { offset: MIB as u32, ..block }),
        (A, BlockRange { len: 1, ..block }),
        (A, BlockRange { offset: 1, len: block.len, ..block }),
        (A, BlockRange { piece: 9, ..block }),
        (A, BlockRange { offset: u32::MAX, ..block }),
    ];
    for (key, odd) in odd {
        assert_eq!(w.picker.on_block(w.now, key, odd), BlockOutcome::Ignored);
    }
    assert_eq!(w.deliver(A, block), BlockOutcome::Accepted { complete: None });
    assert_eq!(w.deliver(A, block), BlockOutcome::Ignored);
}

#[test]
fn a_survey_says_of_each_piece_where_it_is_and_how_many_hold_it() {
    let mut w = World::new(layout(4 * MIB, MIB), Strategy::Sequential, 1);
    w.seed(A);
    w.join(B, &[2, 3]);
    w.join(C, &[3]);
    let missing = |holders| PieceState::Missing { holders };
    assert_eq!(w.picker.survey(), [missing(1), missing(1), missing(2), missing(3)]);
    w.next(A, 2 * MIB);
    assert_eq!(w.picker.survey(), [PieceState::InFlight, PieceState::InFlight, missing(2), missing(3)]);
    w.picker.forget(w.picker.layout.pieces().next().expect("a piece"));
    w.picker.remove_peer(B);
    assert_eq!(w.picker.survey(), [missing(1), PieceState::InFlight, missing(1), missing(2)]);
    let have = Bitfield::full(layout(4 * MIB, MIB));
    assert!(
        Picker::new(layout(4 * MIB, MIB), have, Strategy::Random, 1).survey().iter().all(|p| *p == PieceState::Have)
    );
}
