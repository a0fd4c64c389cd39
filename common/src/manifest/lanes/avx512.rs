//! The compression function, FIPS 180-4, 6.1.2, on AVX-512 by way of [`pulp`], whose tokens prove that the processor
//! has the instructions.

use std::arch::x86_64::__m512i;

use pulp::x86::V4;
use pulp::{NullaryFnOnce, cast};

use super::{BLOCK, LANES, Lanes};

/// Bytes of each word the other way round: SHA-1 is big-endian.
const BIG_ENDIAN: [u8; BLOCK] = {
    let mut from = [0; BLOCK];
    let mut i = 0;
    while i < BLOCK {
        from[i] = (i ^ 3) as u8;
        i += 1;
    }
    from
};

/// Proof that the processor has the registers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wide(V4);

impl Wide {
    pub(super) fn find() -> Option<Self> {
        V4::try_new().map(Self)
    }

    /// Takes the first `blocks` blocks of each message.
    pub(super) fn compress(self, state: &mut [Lanes; 5], messages: &[&[u8]; LANES], blocks: usize) {
        self.0.vectorize(Compress { simd: self.0, state, messages, blocks });
    }
}

struct Compress<'a, 'm> {
    simd: V4,
    state: &'a mut [Lanes; 5],
    messages: &'a [&'m [u8]; LANES],
    blocks: usize,
}

// Everything below has to end up inside the one function that is compiled for these registers.
impl NullaryFnOnce for Compress<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let mut state = self.state.map(cast);
        for number in 0..self.blocks {
            state = compress(self.simd, state, words(self.simd, self.messages, number * BLOCK));
        }
        *self.state = state.map(|register: __m512i| cast(register));
    }
}

/// The sixteen words of each lane's block at `at`, a register for each word: every message is read in one go,
/// and the square of words then turned.
#[inline(always)]
fn words(simd: V4, messages: &[&[u8]; LANES], at: usize) -> [__m512i; 16] {
    let mut rows = [simd.avx512f._mm512_setzero_si512(); 16];
    for (row, message) in rows.iter_mut().zip(messages) {
        let Some(block) = message.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>()) else { return rows };
        *row = simd.avx512bw._mm512_shuffle_epi8(cast(*block), cast(BIG_ENDIAN));
    }
    turn(simd, rows)
}

/// Rows to columns, in four steps: words, pairs of words, and twice the quarters of a register.
#[inline(always)]
fn turn(simd: V4, rows: [__m512i; 16]) -> [__m512i; 16] {
    let f = simd.avx512f;
    let mut r = rows;
    for i in 0..8 {
        r[2 * i] = f._mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        r[2 * i + 1] = f._mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    let s = r;
    for i in 0..4 {
        for half in 0..2 {
            let (upper, lower) = (s[4 * i + half], s[4 * i + 2 + half]);
            r[4 * i + 2 * half] = f._mm512_unpacklo_epi64(upper, lower);
            r[4 * i + 2 * half + 1] = f._mm512_unpackhi_epi64(upper, lower);
        }
    }
    let s = r;
    for i in 0..4 {
        for pair in 0..2 {
            let (upper, lower) = (s[8 * pair + i], s[8 * pair + 4 + i]);
            r[8 * pair + i] = f._mm512_shuffle_i32x4::<0x88>(upper, lower);
            r[8 * pair + 4 + i] = f._mm512_shuffle_i32x4::<0xdd>(upper, lower);
        }
    }
    let s = r;
    for i in 0..8 {
        r[i] = f._mm512_shuffle_i32x4::<0x88>(s[i], s[8 + i]);
        r[8 + i] = f._mm512_shuffle_i32x4::<0xdd>(s[i], s[8 + i]);
    }
    r
}

/// One block of each lane, with the schedule in sixteen registers (6.1.3).
#[inline(always)]
fn compress(simd: V4, state: [__m512i; 5], mut w: [__m512i; 16]) -> [__m512i; 5] {
    let f = simd.avx512f;
    let add = |x, y| f._mm512_add_epi32(x, y);
    // Each imm8 is the truth table of a function of three bits.
    let choose = |x, y, z| f._mm512_ternarylogic_epi32::<0xca>(x, y, z);
    let parity = |x, y, z| f._mm512_ternarylogic_epi32::<0x96>(x, y, z);
    let majority = |x, y, z| f._mm512_ternarylogic_epi32::<0xe8>(x, y, z);
    let [mut a, mut b, mut c, mut d, mut e] = state;
    // Written out, so that the words stay in registers.
    macro_rules! rounds {
        ($constant:literal, $function:ident, [$($t:literal)*]) => {
            let constant = f._mm512_set1_epi32($constant as i32);
            $(
                if $t >= 16 {
                    let three = parity(w[($t + 13) % 16], w[($t + 8) % 16], w[($t + 2) % 16]);
                    w[$t % 16] = f._mm512_rol_epi32::<1>(f._mm512_xor_si512(three, w[$t % 16]));
                }
                let known = add(add(e, w[$t % 16]), add(constant, $function(b, c, d)));
                let next = add(known, f._mm512_rol_epi32::<5>(a));
                (a, b, c, d, e) = (next, a, f._mm512_rol_epi32::<30>(b), c, d);
            )*
        };
    }
    rounds!(0x5A82_7999_u32, choose, [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19]);
    rounds!(0x6ED9_EBA1_u32, parity, [20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39]);
    rounds!(0x8F1B_BCDC_u32, majority, [40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59]);
    rounds!(0xCA62_C1D6_u32, parity, [60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79]);
    [add(state[0], a), add(state[1], b), add(state[2], c), add(state[3], d), add(state[4], e)]
}
