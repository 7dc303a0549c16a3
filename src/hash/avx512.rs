//! Kernels with 16 lanes, in the vectors of AVX-512. Pure.

use std::arch::x86_64::*;

use super::kernel::{Columns, Inputs, Kernel};
use super::rounds::{self, Vector};

pub(super) const SHA1: Kernel<5> =
    Kernel { name: "avx512", lanes: 16, cycles: 620, is_there, compress: sha1 };
pub(super) const SHA256: Kernel<8> =
    Kernel { name: "avx512", lanes: 16, cycles: 1090, is_there, compress: sha256 };

fn is_there() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// # Safety
/// As [`Kernel::compress`] says; the processor has AVX-512 F and BW.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn sha1(columns: &mut Columns<5>, inputs: &Inputs, blocks: usize) {
    let mut state = load(columns);
    for block in 0..blocks {
        // SAFETY: every input has `blocks` blocks, which the caller promises.
        let words = unsafe { words(inputs, block) };
        rounds::sha1(&mut state, words);
    }
    store(columns, state);
}

/// # Safety
/// As [`Kernel::compress`] says; the processor has AVX-512 F and BW.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn sha256(columns: &mut Columns<8>, inputs: &Inputs, blocks: usize) {
    let mut state = load(columns);
    for block in 0..blocks {
        // SAFETY: every input has `blocks` blocks, which the caller promises.
        let words = unsafe { words(inputs, block) };
        rounds::sha256(&mut state, words);
    }
    store(columns, state);
}

#[derive(Clone, Copy)]
struct Words(__m512i);

#[inline]
#[target_feature(enable = "avx512f")]
#[allow(clippy::needless_range_loop)]
fn load<const W: usize>(columns: &Columns<W>) -> [Words; W] {
    let mut state = [Words(_mm512_setzero_si512()); W];
    for word in 0..W {
        // SAFETY: the 64 bytes are those of the row; the instruction asks for no alignment.
        state[word].0 = unsafe { _mm512_loadu_si512(columns.0[word].as_ptr().cast()) };
    }
    state
}

#[inline]
#[target_feature(enable = "avx512f")]
#[allow(clippy::needless_range_loop)]
fn store<const W: usize>(columns: &mut Columns<W>, state: [Words; W]) {
    for word in 0..W {
        // SAFETY: the 64 bytes are those of the row; the instruction asks for no alignment.
        unsafe { _mm512_storeu_si512(columns.0[word].as_mut_ptr().cast(), state[word].0) };
    }
}

/// Word `n` of the block of each lane, for every `n`: the blocks are rows, and the result is their columns.
///
/// # Safety
/// Each input is readable to the end of that block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(clippy::needless_range_loop)]
unsafe fn words(inputs: &Inputs, block: usize) -> [Words; 16] {
    let swap = _mm512_broadcast_i32x4(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    let mut rows = [_mm512_setzero_si512(); 16];
    for row in 0..16 {
        // SAFETY: the caller promises these 64 bytes; the instruction asks for no alignment.
        let bytes = unsafe { _mm512_loadu_si512(inputs[row].add(64 * block).cast()) };
        rows[row] = _mm512_shuffle_epi8(bytes, swap);
    }
    // In each quarter of 128 bits: 4 rows by 4 words, transposed.
    let mut turned = [_mm512_setzero_si512(); 16];
    for four in 0..4 {
        let [a, b, c, d] = [rows[4 * four], rows[4 * four + 1], rows[4 * four + 2], rows[4 * four + 3]];
        let (low_ab, high_ab) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (low_cd, high_cd) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        turned[4 * four] = _mm512_unpacklo_epi64(low_ab, low_cd);
        turned[4 * four + 1] = _mm512_unpackhi_epi64(low_ab, low_cd);
        turned[4 * four + 2] = _mm512_unpacklo_epi64(high_ab, high_cd);
        turned[4 * four + 3] = _mm512_unpackhi_epi64(high_ab, high_cd);
    }
    // Quarter q of turned[4 * four + n] is word 4q + n of the four rows. Now the quarters change places.
    let mut words = [Words(_mm512_setzero_si512()); 16];
    for n in 0..4 {
        let [a, b, c, d] = [turned[n], turned[4 + n], turned[8 + n], turned[12 + n]];
        let (even_ab, odd_ab) = (_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));
        let (even_cd, odd_cd) = (_mm512_shuffle_i32x4(c, d, 0x88), _mm512_shuffle_i32x4(c, d, 0xdd));
        words[n] = Words(_mm512_shuffle_i32x4(even_ab, even_cd, 0x88));
        words[4 + n] = Words(_mm512_shuffle_i32x4(odd_ab, odd_cd, 0x88));
        words[8 + n] = Words(_mm512_shuffle_i32x4(even_ab, even_cd, 0xdd));
        words[12 + n] = Words(_mm512_shuffle_i32x4(odd_ab, odd_cd, 0xdd));
    }
    words
}

// SAFETY of every block below: only functions with AVX-512 create `Words`, all of them above.
impl Vector for Words {
    #[inline(always)]
    fn like(self, word: u32) -> Self {
        Words(unsafe { _mm512_set1_epi32(word as i32) })
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Words(unsafe { _mm512_add_epi32(self.0, other.0) })
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Words(unsafe { _mm512_xor_si512(self.0, other.0) })
    }
    // The number is the truth table: bit 4a + 2b + c is the result for a, b and c.
    #[inline(always)]
    fn xor3(self, b: Self, c: Self) -> Self {
        Words(unsafe { _mm512_ternarylogic_epi32(self.0, b.0, c.0, 0b1001_0110) })
    }
    #[inline(always)]
    fn choose(self, one: Self, zero: Self) -> Self {
        Words(unsafe { _mm512_ternarylogic_epi32(self.0, one.0, zero.0, 0b1100_1010) })
    }
    #[inline(always)]
    fn majority(self, b: Self, c: Self) -> Self {
        Words(unsafe { _mm512_ternarylogic_epi32(self.0, b.0, c.0, 0b1110_1000) })
    }
    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        Words(unsafe { _mm512_rol_epi32::<LEFT>(self.0) })
    }
    #[inline(always)]
    fn shift_right<const N: i32>(self) -> Self {
        // The intrinsic takes an unsigned constant, and `N as u32` is not allowed in a generic argument.
        Words(unsafe { _mm512_srl_epi32(self.0, _mm_cvtsi32_si128(N)) })
    }
}
