//! What one peer holds, and how many of the wanted pieces of each availability that makes.
//!
//! Invariant, kept by [`Rarity`](super::rarity::Rarity): `equals[a]` is how many wanted pieces that `a` partial
//! holders have are among `bits`, and `wanted` is their sum. Deliberately unknown here: the order of
//! pieces, and other holders.

use common::pieces::{Bitfield, PieceIndex};

#[derive(Debug, Clone)]
pub(super) enum Holder {
    All,
    Some { bits: Bitfield, equals: Vec<u32>, wanted: u32 },
}

impl Holder {
    pub(super) fn has(&self, piece: PieceIndex) -> bool {
        match self {
            Self::All => true,
            Self::Some { bits, .. } => bits.has(piece),
        }
    }

    /// Counts `piece` out of availability `from` and into `to`, if it is held.
    pub(super) fn recount(&mut self, piece: PieceIndex, from: Option<u32>, to: Option<u32>) {
        let Self::Some { bits, equals, wanted } = self else { return };
        if !bits.has(piece) {
            return;
        }
        if let Some(a) = from {
            equals[a as usize] -= 1;
            *wanted -= 1;
        }
        if let Some(a) = to {
            let a = a as usize;
            equals.resize(equals.len().max(a + 1), 0);
            equals[a] += 1;
            *wanted += 1;
        }
    }
}

/// The numbers that are set in both, ascending; 64 at a time where there are none.
pub(super) fn common_bits<'a>(a: &'a Bitfield, b: &'a Bitfield) -> impl Iterator<Item = u32> + 'a {
    let words = a.as_bytes().chunks(8).zip(b.as_bytes().chunks(8));
    words.enumerate().flat_map(|(at, (a, b))| {
        let mut word = word(a) & word(b);
        std::iter::from_fn(move || {
            let bit = (word != 0).then(|| word.leading_zeros())?;
            word &= !(1 << (63 - bit));
            Some(at as u32 * 64 + bit)
        })
    })
}

/// Up to eight bytes as one word, the first bit of the first byte on top.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_be_bytes(word)
}
