//! The order by availability against the plain definition.

use common::pieces::Bitfield;
use fastrand::Rng;
use proptest::prelude::*;

use super::super::PeerKey;
use super::super::rarity::Rarity;
use super::world::{MIB, bits, layout};

#[derive(Debug, Clone)]
enum Op {
    Join(u32, Vec<bool>),
    Leave(u32),
    Gain(u32, u32),
    Lose(u32, u32),
    Want(u32),
    Unwant(u32),
}

const PIECES: u32 = 12;

fn op() -> impl Strategy<Value = Op> {
    let (peer, piece) = (0..5u32, 0..PIECES);
    let holds = prop_oneof![Just(vec![true; PIECES as usize]), prop::collection::vec(any::<bool>(), PIECES as usize)];
    prop_oneof![
        2 => (peer.clone(), holds).prop_map(|(k, h)| Op::Join(k, h)),
        1 => peer.clone().prop_map(Op::Leave),
        4 => (peer.clone(), piece.clone()).prop_map(|(k, p)| Op::Gain(k, p)),
        2 => (peer, piece.clone()).prop_map(|(k, p)| Op::Lose(k, p)),
        2 => piece.clone().prop_map(Op::Want),
        4 => piece.prop_map(Op::Unwant),
    ]
}

proptest! {
    #[test]
    fn the_order_is_kept_and_draws_are_right(ops in prop::collection::vec(op(), 1..60), seed: u64) {
        let l = layout(u64::from(PIECES) * MIB, MIB);
        let mut rng = Rng::with_seed(seed);
        let mut rarity = Rarity::new(l, &Bitfield::empty(l));
        let piece = |n| l.piece(n).expect("a piece");
        for op in ops {
            match op {
                Op::Join(k, holds) => {
                    let pieces: Vec<_> = (0..PIECES).filter(|&n| holds[n as usize]).collect();
                    rarity.add_holder(PeerKey(k), &bits(l, &pieces));
                }
                Op::Leave(k) => rarity.remove_holder(PeerKey(k)),
                Op::Gain(k, p) => rarity.gain(PeerKey(k), piece(p)),
                Op::Lose(k, p) => rarity.lose(PeerKey(k), piece(p)),
                Op::Want(p) => rarity.want(piece(p)),
                Op::Unwant(p) => rarity.unwant(piece(p)),
            }
            rarity.check();
            for k in (0..5).map(PeerKey) {
                let candidates: Vec<_> = l.pieces().filter(|&p| rarity.is_wanted(p) && rarity.holds(k, p)).collect();
                prop_assert_eq!(rarity.wanted_from(k) as usize, candidates.len());
                prop_assert_eq!(rarity.first(k), candidates.first().copied());
                let any = rarity.any(k, &mut rng);
                prop_assert_eq!(any.is_some_and(|p| candidates.contains(&p)), !candidates.is_empty());
                let least = candidates.iter().map(|&p| rarity.spread(p)).min();
                let rarest = rarity.rarest(k, &mut rng);
                prop_assert!(rarest.is_none_or(|p| candidates.contains(&p)));
                prop_assert_eq!(rarest.map(|p| rarity.spread(p)), least);
            }
        }
    }
}
