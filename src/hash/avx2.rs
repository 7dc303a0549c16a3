//! Kernels with 8 lanes, in the vectors of AVX2. Pure.

use std::arch::x86_64::*;

use super::kernel::{Columns, Inputs, Kernel};
use super::rounds::{self, Vector};

pub(super) const SHA1: Kernel<5> = Kernel { name: "avx2", lanes: 8, cycles: 448, is_there, compress: sha1 };
pub(super) const SHA256: Kernel<8> =
    Kernel { name: "avx2", lanes: 8, cycles: 1000, is_there, compress: sha256 };

fn is_there() -> bool {
    is_x86_feature_detected!("avx2")
}

/// # Safety
/// As [`Kernel::compress`] says; the processor has AVX2.
#[target_feature(enable = "avx2")]
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
/// As [`Kernel::compress`] says; the processor has AVX2.
#[target_feature(enable = "avx2")]
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
struct Words(__m256i);

/// Loads the first 8 lanes; this kernel does not use the others.
#[inline]
#[target_feature(enable = "avx2")]
#[allow(clippy::needless_range_loop)]
fn load<const W: usize>(columns: &Columns<W>) -> [Words; W] {
    let mut state = [Words(_mm256_setzero_si256()); W];
    for word in 0..W {
        // SAFETY: the 32 bytes are the row's first; the instruction asks for no alignment.
        state[word].0 = unsafe { _mm256_loadu_si256(columns.0[word].as_ptr().cast()) };
    }
    state
}

#[inline]
#[target_feature(enable = "avx2")]
#[allow(clippy::needless_range_loop)]
fn store<const W: usize>(columns: &mut Columns<W>, state: [Words; W]) {
    for word in 0..W {
        // SAFETY: the 32 bytes are the row's first; the instruction asks for no alignment.
        unsafe { _mm256_storeu_si256(columns.0[word].as_mut_ptr().cast(), state[word].0) };
    }
}

/// Word `n` of the block of each lane, for every `n`: the blocks are rows, and the result is their columns.
///
/// # Safety
/// Each of the first 8 inputs is readable to the end of that block.
#[inline]
#[target_feature(enable = "avx2")]
#[allow(clippy::needless_range_loop)]
unsafe fn words(inputs: &Inputs, block: usize) -> [Words; 16] {
    let mut words = [Words(_mm256_setzero_si256()); 16];
    for half in 0..2 {
        // SAFETY: the caller promises 64 bytes of each lane, of which these are half.
        let eight = unsafe { eight_words(inputs, 64 * block + 32 * half) };
        words[8 * half..8 * half + 8].copy_from_slice(&eight);
    }
    words
}

/// # Safety
/// Each of the first 8 inputs is readable for 32 bytes from `offset`.
#[inline]
#[target_feature(enable = "avx2")]
#[allow(clippy::needless_range_loop)]
unsafe fn eight_words(inputs: &Inputs, offset: usize) -> [Words; 8] {
    let swap =
        _mm256_broadcastsi128_si256(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    let mut rows = [_mm256_setzero_si256(); 8];
    for row in 0..8 {
        // SAFETY: the caller promises these 32 bytes; the instruction asks for no alignment.
        let bytes = unsafe { _mm256_loadu_si256(inputs[row].add(offset).cast()) };
        rows[row] = _mm256_shuffle_epi8(bytes, swap);
    }
    // In each half of 128 bits: 4 rows by 4 words, transposed.
    let mut turned = [_mm256_setzero_si256(); 8];
    for four in 0..2 {
        let [a, b, c, d] = [rows[4 * four], rows[4 * four + 1], rows[4 * four + 2], rows[4 * four + 3]];
        let (low_ab, high_ab) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (low_cd, high_cd) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        turned[4 * four] = _mm256_unpacklo_epi64(low_ab, low_cd);
        turned[4 * four + 1] = _mm256_unpackhi_epi64(low_ab, low_cd);
        turned[4 * four + 2] = _mm256_unpacklo_epi64(high_ab, high_cd);
        turned[4 * four + 3] = _mm256_unpackhi_epi64(high_ab, high_cd);
    }
    // Half h of turned[4 * four + n] is word 4h + n of the four rows. Now the halves change places.
    let mut words = [Words(_mm256_setzero_si256()); 8];
    for n in 0..4 {
        words[n] = Words(_mm256_permute2x128_si256(turned[n], turned[4 + n], 0x20));
        words[4 + n] = Words(_mm256_permute2x128_si256(turned[n], turned[4 + n], 0x31));
    }
    words
}

// SAFETY of every block below: only functions with AVX2 create `Words`, all of them above.
impl Vector for Words {
    #[inline(always)]
    fn like(self, word: u32) -> Self {
        Words(unsafe { _mm256_set1_epi32(word as i32) })
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Words(unsafe { _mm256_add_epi32(self.0, other.0) })
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Words(unsafe { _mm256_xor_si256(self.0, other.0) })
    }
    #[inline(always)]
    fn xor3(self, b: Self, c: Self) -> Self {
        self.xor(b).xor(c)
    }
    #[inline(always)]
    fn choose(self, one: Self, zero: Self) -> Self {
        Words(unsafe { _mm256_xor_si256(zero.0, _mm256_and_si256(self.0, _mm256_xor_si256(one.0, zero.0))) })
    }
    #[inline(always)]
    fn majority(self, b: Self, c: Self) -> Self {
        // Where a and b are equal, they decide; elsewhere c does.
        self.xor(b).choose(c, b)
    }
    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        Words(unsafe {
            _mm256_or_si256(_mm256_slli_epi32::<LEFT>(self.0), _mm256_srli_epi32::<RIGHT>(self.0))
        })
    }
    #[inline(always)]
    fn shift_right<const N: i32>(self) -> Self {
        Words(unsafe { _mm256_srli_epi32::<N>(self.0) })
    }
}
