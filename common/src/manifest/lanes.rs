//! SHA-1 (FIPS 180-4) of sixteen messages at once, a lane of an AVX-512 register for each.
//!
//! A single SHA-1 cannot be split, and the processor's own instructions for it wait for their results most of
//! the time. Pieces are independent of each other, and sixteen of them together take less than half the time that
//! they take one after the other (docs/PERFORMANCE.md). On processors without these registers the `sha1` crate
//! does everything; [`Wide::find`] says which.
//!
//! Knows nothing of pieces.

#[cfg(target_arch = "x86_64")]
mod avx512;

/// Messages at a time.
pub(super) const LANES: usize = 16;
/// Bytes that SHA-1 takes at a time.
pub(super) const BLOCK: usize = 64;

/// One number of each lane.
type Lanes = [u32; LANES];

#[cfg(target_arch = "x86_64")]
use avx512::Wide;

/// No such registers here.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Debug, Clone, Copy)]
enum Wide {}

#[cfg(not(target_arch = "x86_64"))]
impl Wide {
    fn find() -> Option<Self> {
        None
    }

    fn compress(self, _: &mut [Lanes; 5], _: &[&[u8]; LANES], _: usize) {
        match self {}
    }
}

/// Whether this machine has the registers.
pub(super) fn are_here() -> bool {
    Wide::find().is_some()
}

/// Sixteen hashes that have come equally far.
#[derive(Debug, Clone)]
pub(super) struct Sha1Lanes {
    wide: Wide,
    state: [Lanes; 5],
    len: u64,
}

impl Sha1Lanes {
    /// Sixteen hashes of nothing yet; `None` where the processor lacks the registers.
    pub(super) fn new() -> Option<Self> {
        let initial: [u32; 5] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
        Some(Self { wide: Wide::find()?, state: initial.map(|word| [word; LANES]), len: 0 })
    }

    /// Takes the next bytes of each message: equally many, and whole blocks. What is beyond the shortest is left
    /// out.
    pub(super) fn update(&mut self, messages: &[&[u8]; LANES]) {
        let blocks = messages.iter().map(|m| m.len()).min().unwrap_or(0) / BLOCK;
        self.len += (blocks * BLOCK) as u64;
        self.wide.compress(&mut self.state, messages, blocks);
    }

    /// The sixteen digests.
    pub(super) fn finish(mut self) -> [[u8; 20]; LANES] {
        let mut padding = [0; BLOCK];
        padding[0] = 0x80;
        padding[BLOCK - 8..].copy_from_slice(&(self.len * 8).to_be_bytes());
        self.update(&[&padding; LANES]);
        std::array::from_fn(|lane| {
            let mut digest = [0; 20];
            for (bytes, word) in digest.chunks_exact_mut(4).zip(&self.state) {
                bytes.copy_from_slice(&word[lane].to_be_bytes());
            }
            digest
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha1::{Digest, Sha1};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_lane_agrees_with_the_sha1_crate(seed: u64, steps in proptest::collection::vec(0..20usize, 0..4)) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let len = steps.iter().sum::<usize>() * BLOCK;
            let messages: [Vec<u8>; LANES] = std::array::from_fn(|_| (0..len).map(|_| rng.u8(..)).collect());
            let Some(mut lanes) = Sha1Lanes::new() else { return Ok(()) };
            let mut at = 0;
            for blocks in steps {
                let end = at + blocks * BLOCK;
                lanes.update(&std::array::from_fn(|lane| &messages[lane][at..end]));
                at = end;
            }
            for (digest, message) in lanes.finish().iter().zip(&messages) {
                prop_assert_eq!(&digest[..], &Sha1::digest(message)[..]);
            }
        }
    }
}
