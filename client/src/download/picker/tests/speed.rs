//! A large download with many peers: that it stays cheap is seen in the benches; here, that it works.

use std::time::Instant;

use super::super::{PeerKey, Strategy};
use super::world::{MIB, World, layout};

#[test]
fn a_hundred_thousand_pieces_from_fifty_peers() {
    let mut w = World::new(layout(100_000 * MIB / 4, MIB / 4), Strategy::Rarest, 1);
    let mut rng = fastrand::Rng::with_seed(1);
    let start = Instant::now();
    (0..5).for_each(|k| w.seed(PeerKey(k)));
    for k in 5..50 {
        let some: Vec<_> = (0..100_000).filter(|_| rng.u32(0..50) < k).collect();
        w.join(PeerKey(k), &some);
    }
    let joined = start.elapsed();
    let (mut asked, mut next) = (0, std::time::Duration::ZERO);
    while !w.picker.is_complete() {
        for key in (0..50).map(PeerKey) {
            let before = Instant::now();
            let room = (4 * MIB).saturating_sub(w.picker.in_flight(key));
            let blocks = w.picker.next(w.now, key, room);
            next += before.elapsed();
            asked += blocks.len();
            for block in blocks {
                w.picker.on_block(w.now, key, block);
                w.piece(block).into_iter().for_each(|p| w.picker.on_written(p));
            }
        }
    }
    println!("joined in {joined:?}; {asked} blocks chosen in {next:?}; all in {:?}", start.elapsed());
    assert_eq!(asked, 100_000);
}
