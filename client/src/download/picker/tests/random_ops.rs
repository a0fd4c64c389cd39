//! Random peers that join, leave, gain, lose, lie and stall: the invariant holds after every
//! step, something is requested wherever something can be, and one live seeder completes the download.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::{PeerKey, Strategy as Order};
use super::play::{Op, Play, SLOTS};
use super::world::{MIB, World, layout};

const PIECES: u32 = 20;
/// Two blocks a piece, and the last piece is short.
const LEN: u64 = 2 * MIB * PIECES as u64 - 1_500_000;

fn op() -> impl Strategy<Value = Op> {
    let (slot, piece) = (0..SLOTS, 0..PIECES);
    let some = prop::collection::vec(any::<bool>(), PIECES as usize);
    let holds = prop_oneof![1 => Just(vec![true; PIECES as usize]), 2 => some];
    prop_oneof![
        4 => (slot.clone(), holds).prop_map(|(slot, holds)| Op::Join { slot, holds }),
        2 => slot.clone().prop_map(Op::Leave),
        4 => (slot.clone(), piece.clone()).prop_map(|(s, p)| Op::Have(s, p)),
        1 => (slot.clone(), piece.clone()).prop_map(|(s, p)| Op::Lose(s, p)),
        8 => (slot.clone(), 0..9 * MIB).prop_map(|(slot, window)| Op::Ask { slot, window }),
        12 => (slot.clone(), 0..9usize, prop::bool::weighted(0.9)).prop_map(|(slot, which, good)| Op::Serve { slot, which, good }),
        1 => (slot.clone(), piece.clone(), any::<bool>()).prop_map(|(slot, piece, second)| Op::Junk { slot, piece, second }),
        4 => slot.prop_map(Op::Trickle),
        3 => Just(Op::Verify),
        1 => piece.prop_map(Op::Forget),
        3 => (0.1..25.0).prop_map(Op::Pass),
        3 => Just(Op::Settle),
    ]
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![Just(Order::Rarest), Just(Order::Random), Just(Order::Sequential)]
}

proptest! {
    #[test]
    fn whatever_peers_do_the_download_goes_on(
        ops in prop::collection::vec(op(), 1..150), order in order(), memory in 1..12 * MIB, seed: u64,
    ) {
        let mut play = Play::new(layout(LEN, 2 * MIB), order, memory, seed);
        ops.into_iter().for_each(|op| play.run(op));
        let seconds = play.finish();
        // 40 blocks take 10 s. When memory holds but one piece, each silent peer may in turn take that place
        // until it is snubbed.
        let most = 20 + 20 * (play.w.peers().len() as u32 - 1);
        prop_assert!(seconds <= most, "{seconds} s");
        prop_assert!(play.w.written.iter().all(|&n| n == 1));
    }

    #[test]
    fn without_failures_each_piece_comes_exactly_once(
        peers in 1..6u32, order in order(), window in 1..20 * MIB, shift in 18..24u32, seed: u64,
    ) {
        let l = layout(60 * MIB + 12_345, 1 << shift);
        let mut w = World::new(l, order, seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        (0..peers).for_each(|k| w.seed(PeerKey(k)));
        let mut accepted = BTreeSet::new();
        while !w.picker.is_complete() {
            for key in w.peers() {
                let room = window.saturating_sub(w.picker.in_flight(key));
                w.next(key, room);
            }
            let busy: Vec<_> = w.peers().into_iter().filter(|&k| w.picker.in_flight(k) > 0).collect();
            let key = rng.choice(busy).expect("something is requested");
            let block = w.outstanding(key)[0];
            w.deliver_and_write(key, block);
            prop_assert!(accepted.insert((block.piece, block.offset)), "{block:?} came twice");
        }
        let blocks: usize = l.pieces().map(|p| l.blocks(p, MIB as u32).count()).sum();
        prop_assert_eq!(accepted.len(), blocks);
        prop_assert!(w.written.iter().all(|&n| n == 1));
        prop_assert!(w.snubbed.is_empty() && w.peers().iter().all(|&k| w.picker.in_flight(k) == 0));
    }
}
