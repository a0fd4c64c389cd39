//! A whole download as the picker sees it: 100,000 pieces, 50 peers of which each holds a part of them.

use std::time::Instant;

use client::download::picker::{BlockOutcome, PeerKey, Picker, Strategy};
use common::pieces::{Bitfield, PieceLayout};
use divan::Bencher;
use divan::counter::ItemsCount;

const PIECE: u64 = 256 << 10;
const PIECES: u64 = 100_000;
const PEERS: u32 = 50;
const WINDOW: u64 = 4 << 20;

fn started(layout: PieceLayout, held: &[Bitfield]) -> Picker {
    let mut picker = Picker::new(layout, Bitfield::empty(layout), Strategy::Rarest, 1);
    held.iter().zip(0..).for_each(|(holds, key)| picker.add_peer(PeerKey(key), holds));
    picker
}

fn holdings(layout: PieceLayout) -> Vec<Bitfield> {
    let mut rng = fastrand::Rng::with_seed(1);
    let held = |key: u32| {
        let mut holds = Bitfield::empty(layout);
        layout.pieces().filter(|_| key < 5 || rng.u32(0..PEERS) < key).for_each(|p| _ = holds.set(p));
        holds
    };
    (0..PEERS).map(held).collect()
}

fn layout() -> PieceLayout {
    PieceLayout::new(PIECES * PIECE, PIECE).unwrap()
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn fifty_peers_join(b: Bencher) {
    let layout = layout();
    let held = holdings(layout);
    b.counter(ItemsCount::new(PEERS)).bench(|| started(layout, &held));
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn every_block_chosen_and_received(b: Bencher) {
    let layout = layout();
    let held = holdings(layout);
    b.counter(ItemsCount::new(PIECES)).with_inputs(|| started(layout, &held)).bench_values(|mut picker| {
        let now = Instant::now();
        while !picker.is_complete() {
            for key in (0..PEERS).map(PeerKey) {
                let room = WINDOW.saturating_sub(picker.in_flight(key));
                for block in picker.next(now, key, room) {
                    if let BlockOutcome::Accepted { complete: Some(piece) } = picker.on_block(now, key, block) {
                        picker.on_written(piece);
                    }
                }
            }
        }
        picker
    });
}
