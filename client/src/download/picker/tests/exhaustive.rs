//! Every state that a very small download can reach: the invariant holds in each, something is
//! requested wherever something can be, and from each one live seeder completes it.

use std::collections::{HashSet, VecDeque};

use super::super::{PeerKey, Strategy};
use super::play::{Op, Play};
use super::world::{MIB, layout};

/// What tells two states apart: all but measured rates, the time, and a count of strikes that makes no
/// difference any more.
fn state(play: &Play) -> String {
    let p = &play.w.picker;
    let peer = |(k, peer): (&PeerKey, &super::super::Peer)| {
        let holds: Vec<_> = p.layout.pieces().map(|n| p.rarity.holds(*k, n)).collect();
        let asked: Vec<_> = peer.asked().map(|a| (a.block.piece, a.block.offset)).collect();
        (*k, holds, asked, peer.strikes.min(2))
    };
    let peers: Vec<_> = p.peers.iter().map(peer).collect();
    format!("{:?} {:?} {:?} {:?} {:?} {:?}", p.have.as_bytes(), p.retry, p.begun, p.suspects, peers, play.wrong)
}

/// A download of so many pieces of so many blocks, with memory for so many of them.
struct Size {
    pieces: u64,
    blocks: u64,
    memory: u64,
}

/// Walks all states; their number, and the longest that a seeder needed from any of them, in seconds.
fn explore(size: &Size, ops: &[Op]) -> (usize, u32) {
    let piece = size.blocks * MIB;
    let layout = layout(size.pieces * piece, piece);
    let start = Play::new(layout, Strategy::Sequential, size.memory * piece, 0).with_returning_peers();
    let (mut seen, mut slowest) = (HashSet::from([state(&start)]), 0);
    let mut queue = VecDeque::from([start]);
    while let Some(play) = queue.pop_front() {
        slowest = slowest.max(play.clone().finish());
        for op in ops {
            let mut next = play.clone();
            next.run(op.clone());
            if seen.insert(state(&next)) {
                queue.push_back(next);
            }
        }
    }
    (seen.len(), slowest)
}

/// What a peer can do, asking included: nothing, which costs patience, is an operation too.
fn ops(slots: usize, holds: &[&[bool]]) -> Vec<Op> {
    let of_slot = |slot| {
        let joins = holds.iter().map(move |h| Op::Join { slot, holds: h.to_vec() });
        let serve = |which, good| Op::Serve { slot, which, good };
        joins.chain([Op::Leave(slot), serve(0, true), serve(0, false), serve(1, true)])
    };
    (0..slots).flat_map(of_slot).chain([Op::Settle, Op::Verify, Op::Pass(21.0)]).collect()
}

fn check(size: &Size, slots: usize, holds: &[&[bool]]) {
    let (states, slowest) = explore(size, &ops(slots, holds));
    let Size { pieces, blocks, memory } = size;
    println!(
        "{pieces} pieces of {blocks} blocks, memory for {memory}, {slots} peers: {states} states, at most {slowest} s to the end"
    );
    assert!(slowest <= 20 * slots as u32 + 10, "{slowest}");
}

const ALL: &[bool] = &[true, true];
const FIRST: &[bool] = &[true, false];
const SECOND: &[bool] = &[false, true];

#[test]
fn every_state_of_a_small_download_is_sound_and_leads_to_its_end() {
    check(&Size { pieces: 1, blocks: 2, memory: 4 }, 2, &[ALL]);
    check(&Size { pieces: 1, blocks: 1, memory: 4 }, 3, &[ALL]);
    check(&Size { pieces: 2, blocks: 1, memory: 1 }, 2, &[ALL, FIRST]);
}

#[test]
#[ignore = "takes minutes"]
fn every_state_of_a_larger_download_is_sound_and_leads_to_its_end() {
    check(&Size { pieces: 2, blocks: 2, memory: 1 }, 2, &[ALL, SECOND]);
    check(&Size { pieces: 2, blocks: 2, memory: 4 }, 2, &[ALL]);
    check(&Size { pieces: 2, blocks: 1, memory: 2 }, 3, &[ALL]);
}
