//! Whether chance is fair: chi-square over many runs, and biased choosers that the same test catches.

use common::pieces::{Bitfield, PieceIndex};
use fastrand::Rng;

use super::super::rarity::Rarity;
use super::super::{PeerKey, Strategy};
use super::world::{MIB, World, bits, layout};

const RUNS: u64 = 200;
const PIECES: u64 = 1000;
const PEER: PeerKey = PeerKey(1);

/// A fair chooser stays above in all but one of a thousand seeds (the seeds are fixed), ...
const FAIR: f64 = 1e-3;
/// ... a biased one falls far below.
const UNFAIR: f64 = 1e-9;

/// The probability of a chi-square of at least `x` with `df` degrees of freedom, by Wilson and Hilferty
/// (1931): good to three digits for the many degrees used here.
fn p_value(x: f64, df: f64) -> f64 {
    let k = 2.0 / (9.0 * df);
    let z = ((x / df).cbrt() - (1.0 - k)) / k.sqrt();
    // Abramowitz and Stegun 26.2.17, for the upper tail of the normal distribution.
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let b = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let tail = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * b.iter().rev().fold(0.0, |sum, b| (sum + b) * t);
    if z < 0.0 { 1.0 - tail } else { tail }
}

#[test]
fn p_values_are_those_of_the_tables() {
    for (x, df, p) in [(124.342, 100.0, 0.05), (149.449, 100.0, 0.001), (1143.917, 1000.0, 0.001), (99.334, 100.0, 0.5)]
    {
        assert!((p_value(x, df) / p - 1.0).abs() < 0.02, "{}", p_value(x, df));
    }
}

/// Each run is an order of `n` items. Two statistics: the mean place of each item (a bias for items), and
/// how often each tenth of the items falls into each tenth of the places (a bias for regions).
fn fairness(n: usize, runs: &[Vec<usize>]) -> (f64, f64) {
    let mut sums = vec![0.0; n];
    let mut tenths = [[0.0; 10]; 10];
    for run in runs {
        assert_eq!(run.len(), n);
        for (place, &item) in run.iter().enumerate() {
            sums[item] += place as f64;
            tenths[item * 10 / n][place * 10 / n] += 1.0;
        }
    }
    let (n, runs) = (n as f64, runs.len() as f64);
    let variance = (n * n - 1.0) / 12.0 / runs;
    let items: f64 = sums.iter().map(|s| (s / runs - (n - 1.0) / 2.0).powi(2) / variance).sum();
    let expected = n * runs / 100.0;
    let regions: f64 = tenths.iter().flatten().map(|c| (c - expected).powi(2) / expected).sum();
    // Every order is a permutation: rows and columns are fixed, and places are drawn without putting back.
    let without_putting_back = (n - 1.0) / n;
    (p_value(items * without_putting_back, n - 1.0), p_value(regions * without_putting_back, 81.0))
}

/// A download through the whole picker from one complete peer, window of 8 pieces: the order of requests.
fn download(strategy: Strategy, seed: u64) -> Vec<usize> {
    let mut w = World::new(layout(PIECES * MIB, MIB), strategy, seed);
    w.seed(PEER);
    let mut order = Vec::new();
    loop {
        let blocks = w.next(PEER, 8 * MIB);
        if blocks.is_empty() {
            return order;
        }
        order.extend(blocks.iter().map(|b| b.piece as usize));
        w.deliver_and_write_all(PEER, &blocks);
    }
}

#[test]
fn ties_are_uniform() {
    for (strategy, seed) in [(Strategy::Rarest, 0), (Strategy::Random, RUNS)] {
        let runs: Vec<_> = (seed..seed + RUNS).map(|seed| download(strategy, seed)).collect();
        let (items, regions) = fairness(PIECES as usize, &runs);
        println!("{strategy:?}: {RUNS} runs of {PIECES} pieces: p = {items:.3} (pieces), {regions:.3} (regions)");
        assert!(items > FAIR && regions > FAIR, "{strategy:?}: {items} {regions}");
    }
    let runs: Vec<_> = (0..RUNS).map(|seed| download(Strategy::Sequential, seed)).collect();
    let (items, regions) = fairness(PIECES as usize, &runs);
    assert!(items < UNFAIR && regions < UNFAIR, "the test sees an order when there is one");
}

/// A peer that holds the pieces of which `holds` is true, among `PIECES * 2` equally rare ones.
fn lumpy(holds: impl Fn(u32) -> bool) -> (Rarity, Vec<PieceIndex>) {
    let l = layout(2 * PIECES * MIB, MIB);
    let mut rarity = Rarity::new(l, &Bitfield::empty(l));
    let (own, rest): (Vec<_>, Vec<_>) = l.pieces().map(PieceIndex::get).partition(|&n| holds(n));
    rarity.add_holder(PEER, &bits(l, &own));
    rarity.add_holder(PeerKey(2), &bits(l, &rest));
    // In the order of the file, so that held and other pieces alternate where a draw looks.
    l.pieces().for_each(|p| rarity.unwant(p));
    l.pieces().for_each(|p| rarity.want(p));
    assert!(rarity.equals(1).iter().copied().eq(l.pieces()));
    let held = l.pieces().filter(|p| holds(p.get())).collect();
    (rarity, held)
}

/// The order in which `choose` takes all pieces that the peer holds.
fn order(
    holds: impl Fn(u32) -> bool,
    seed: u64,
    choose: impl Fn(&Rarity, &mut Rng) -> Option<PieceIndex>,
) -> Vec<usize> {
    let (mut rarity, held) = lumpy(holds);
    let mut rng = Rng::with_seed(seed);
    let mut order = Vec::new();
    while let Some(piece) = choose(&rarity, &mut rng) {
        order.push(held.binary_search(&piece).expect("a piece that is held"));
        rarity.unwant(piece);
    }
    order
}

/// Runs of 50 pieces that are held, runs of 50 that are not.
fn clumps(n: u32) -> bool {
    (n / 50).is_multiple_of(2)
}

fn fairness_of(choose: impl Fn(&Rarity, &mut Rng) -> Option<PieceIndex>) -> (f64, f64) {
    let runs: Vec<_> = (0..RUNS).map(|seed| order(clumps, seed, &choose)).collect();
    fairness(PIECES as usize, &runs)
}

#[test]
fn ties_are_uniform_over_what_a_partial_peer_holds() {
    let (items, regions) = fairness_of(|r, rng| r.rarest(PEER, rng));
    println!("partial peer: p = {items:.3} (pieces), {regions:.3} (regions)");
    assert!(items > FAIR && regions > FAIR, "{items} {regions}");
}

#[test]
fn biased_choosers_are_caught() {
    // From a random place to the next piece that the peer has: favours those behind a gap.
    let next_from_random = |r: &Rarity, rng: &mut Rng| {
        let ties = r.equals(1);
        let start = rng.usize(0..ties.len().max(1));
        ties[start..].iter().chain(&ties[..start]).copied().find(|p| clumps(p.get()))
    };
    // One of the first 100 candidates.
    let near_the_front = |r: &Rarity, rng: &mut Rng| {
        let candidates = r.wanted_from(PEER) as usize;
        let chosen = rng.usize(0..candidates.clamp(1, 100));
        r.equals(1).iter().copied().filter(|p| clumps(p.get())).nth(chosen)
    };
    // Eight tries, then the first that there is.
    let impatient = |r: &Rarity, rng: &mut Rng| {
        let tries: Vec<_> = (0..8).filter_map(|_| rng.choice(r.equals(1)).copied()).collect();
        tries.into_iter().find(|p| clumps(p.get())).or_else(|| r.first(PEER))
    };
    // The first.
    let lowest = |r: &Rarity, _: &mut Rng| r.first(PEER);
    let caught = [
        ("next from a random place", fairness_of(next_from_random)),
        ("near the front", fairness_of(near_the_front)),
        ("impatient", fairness_of(impatient)),
        ("lowest", fairness_of(lowest)),
    ];
    for (name, (items, regions)) in caught {
        println!("mutant, {name}: p = {items:.1e} (pieces), {regions:.1e} (regions)");
        assert!(items.min(regions) < UNFAIR, "{name} passes for fair: {items} {regions}");
    }
}

#[test]
fn few_among_many_are_drawn_uniformly() {
    let few = |n: u32| n % 97 == 5 || (1500..1505).contains(&n);
    let (rarity, held) = lumpy(few);
    let mut rng = Rng::with_seed(3);
    let draws = 2000 * held.len();
    let mut counts = vec![0.0; held.len()];
    for _ in 0..draws {
        let piece = rarity.rarest(PEER, &mut rng).expect("a candidate");
        counts[held.binary_search(&piece).expect("a piece that is held")] += 1.0;
    }
    let x: f64 = counts.iter().map(|c| (c - 2000.0f64).powi(2) / 2000.0).sum();
    let p = p_value(x, held.len() as f64 - 1.0);
    println!("{} held of 2000: p = {p:.3} over {draws} draws", held.len());
    assert!(p > FAIR, "{p}");
}
