//! The parts of a transfer, measured one by one: `cargo bench -p shoal-bench-micro`. What the figures were, and what
//! follows from them, is in docs/PERFORMANCE.md.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that fails should stop")]

mod codec;
mod hashing;
mod picker;
mod tls;

fn main() {
    divan::main();
}

/// Bytes that do not repeat.
fn content(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(1).fill(&mut bytes);
    bytes
}
