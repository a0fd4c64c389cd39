//! Many pickers that feed each other, in virtual time: who uploads how much.

use std::time::Duration;

use fastrand::Rng;

use super::super::{BlockOutcome, PeerKey, Strategy};
use super::world::{MIB, World, layout};

/// In a step each node uploads its share of blocks, to one leecher after the other.
struct Swarm {
    leechers: Vec<World>,
    /// Upload of each node in blocks per step; the leechers first, then the seeders.
    speeds: Vec<u32>,
    /// Whom each node served last.
    turn: Vec<usize>,
    /// Blocks that each node uploaded.
    uploaded: Vec<u32>,
    step: Duration,
    window: u64,
    rng: Rng,
}

impl Swarm {
    /// `speeds` of leechers and seeders; a block (and a piece) is `piece` bytes and takes 25 ms at speed 1.
    fn new(
        leechers: &[u32],
        seeders: &[u32],
        pieces: u64,
        piece: u64,
        window: u64,
        strategy: Strategy,
        seed: u64,
    ) -> Self {
        let nodes = leechers.len() + seeders.len();
        let key = |n: usize| PeerKey(n as u32);
        let worlds = (0..leechers.len()).map(|me| {
            let mut w = World::new(layout(pieces * piece, piece), strategy, seed * 1000 + me as u64);
            (0..leechers.len()).filter(|&n| n != me).for_each(|n| w.join(key(n), &[]));
            (leechers.len()..nodes).for_each(|n| w.seed(key(n)));
            w
        });
        Self {
            leechers: worlds.collect(),
            speeds: leechers.iter().chain(seeders).copied().collect(),
            turn: vec![0; nodes],
            uploaded: vec![0; nodes],
            step: Duration::from_millis(25),
            window,
            rng: Rng::with_seed(seed),
        }
    }

    /// Runs until all have everything; the number of steps.
    fn run(&mut self) -> u32 {
        for step in 0..1_000_000 {
            if self.leechers.iter().all(|w| w.picker.is_complete()) {
                return step;
            }
            self.ask();
            let on_the_way: Vec<_> = (0..self.speeds.len()).flat_map(|n| self.serve(n)).collect();
            self.leechers.iter_mut().for_each(|w| w.now += self.step);
            on_the_way.into_iter().for_each(|(from, to, block)| self.arrive(from, to, block));
            if step % 40 == 0 {
                self.leechers.iter_mut().for_each(World::tick);
            }
        }
        panic!("the swarm never finishes");
    }

    fn ask(&mut self) {
        for w in &mut self.leechers {
            let mut peers = w.peers();
            self.rng.shuffle(&mut peers);
            for key in peers {
                let room = self.window.saturating_sub(w.picker.in_flight(key));
                w.next(key, room);
            }
        }
    }

    /// What the node sends in this step, its leechers in turn. A cancel comes too late for it.
    fn serve(&mut self, node: usize) -> Vec<(usize, usize, common::pieces::BlockRange)> {
        let mut sent: Vec<(usize, usize, _)> = Vec::new();
        for _ in 0..self.speeds[node] {
            let count = self.leechers.len();
            let key = PeerKey(node as u32);
            let next = (1..=count).map(|n| (self.turn[node] + n) % count).find_map(|to| {
                let taken = |b: &_| sent.iter().any(|(_, t, s)| *t == to && s == b);
                let block = self.leechers[to].outstanding(key).into_iter().find(|b| !taken(b))?;
                Some((to, block))
            });
            let Some((to, block)) = next else { break };
            self.turn[node] = to;
            sent.push((node, to, block));
        }
        self.uploaded[node] += sent.len() as u32;
        sent
    }

    fn arrive(&mut self, from: usize, to: usize, block: common::pieces::BlockRange) {
        if let BlockOutcome::Accepted { complete: Some(piece) } =
            self.leechers[to].deliver_and_write(PeerKey(from as u32), block)
        {
            for other in (0..self.leechers.len()).filter(|&n| n != to) {
                self.leechers[other].has(PeerKey(to as u32), piece.get());
            }
        }
    }

    /// Blocks uploaded by the nodes from the first seeder on, per block of the file.
    fn copies(&self) -> f64 {
        let file = self.leechers[0].written.len() as f64;
        f64::from(self.uploaded[self.leechers.len()..].iter().sum::<u32>()) / file
    }
}

#[test]
fn one_seeder_for_eight_leechers_uploads_little_more_than_one_copy() {
    let mut worst = 0.0f64;
    for (window, piece) in [(4 * MIB, MIB / 4), (4 * MIB, MIB / 2), (4 * MIB, MIB)] {
        for seed in 0..5 {
            let mut swarm = Swarm::new(&[1; 8], &[1], 1000, piece, window, Strategy::Rarest, seed);
            let steps = swarm.run();
            println!(
                "window {window}, pieces of {piece}: {:.3} copies, {:.3} of the least time",
                swarm.copies(),
                f64::from(steps) / 1000.0
            );
            worst = worst.max(swarm.copies());
        }
    }
    println!("rarest first, worst of 15 runs: {worst:.3} copies");
    assert!(worst <= 1.3, "{worst}");
}

#[test]
fn in_order_the_seeder_uploads_more() {
    let mut swarm = Swarm::new(&[1; 8], &[1], 200, MIB / 4, 4 * MIB, Strategy::Sequential, 0);
    let steps = swarm.run();
    println!("sequential: {:.3} copies, {steps} steps", swarm.copies());
    assert!(swarm.copies() > 1.3, "the measure does not tell the strategies apart: {}", swarm.copies());
}

#[test]
fn equal_seeders_carry_equal_loads() {
    for seeders in [2, 4, 10] {
        let mut swarm = Swarm::new(&[1], &vec![1; seeders], 1000, MIB / 2, 4 * MIB, Strategy::Rarest, seeders as u64);
        swarm.run();
        let even = 1000.0 / seeders as f64;
        let off = swarm.uploaded[1..].iter().map(|&n| (f64::from(n) / even - 1.0).abs()).fold(0.0, f64::max);
        println!("{seeders} seeders: {:?}, at most {:.1} % off", &swarm.uploaded[1..], off * 100.0);
        assert!(off < 0.05, "{:?}", swarm.uploaded);
        assert!(swarm.copies() < 1.02, "endgame wastes: {}", swarm.copies());
    }
}

#[test]
fn unequal_seeders_are_used_as_they_are_fast() {
    let mut swarm = Swarm::new(&[1], &[1, 2, 4, 8], 3000, MIB / 2, 4 * MIB, Strategy::Rarest, 1);
    let steps = swarm.run();
    println!("speeds 1, 2, 4, 8: {:?} in {steps} steps of {}", &swarm.uploaded[1..], 3000 / 15);
    assert!(f64::from(steps) < 200.0 * 1.05, "the last blocks are waited for: {steps}");
    assert!(swarm.copies() < 1.02, "endgame wastes: {}", swarm.copies());
}
