//! Kernels with the SHA instructions of x86. With one message they are idle half of the time, because each
//! instruction waits for the result of the one before; so several messages take turns. Pure.
//!
//! Loops count with an index, without iterators or `map`: a closure may not be inlined into a
//! function with a `target_feature`.

use std::arch::x86_64::*;

use super::kernel::{Columns, Inputs, Kernel};
use super::rounds::SHA256_CONSTANTS;

pub(super) const SHA1: [Kernel<5>; 3] = [
    Kernel { name: "sha-ni", lanes: 1, cycles: 125, is_there, compress: sha1::<1> },
    Kernel { name: "sha-ni x2", lanes: 2, cycles: 141, is_there, compress: sha1::<2> },
    Kernel { name: "sha-ni x4", lanes: 4, cycles: 207, is_there, compress: sha1::<4> },
];
pub(super) const SHA256: [Kernel<8>; 3] = [
    Kernel { name: "sha-ni", lanes: 1, cycles: 133, is_there, compress: sha256::<1> },
    Kernel { name: "sha-ni x2", lanes: 2, cycles: 145, is_there, compress: sha256::<2> },
    Kernel { name: "sha-ni x4", lanes: 4, cycles: 252, is_there, compress: sha256::<4> },
];

fn is_there() -> bool {
    is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("sse2")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("sse4.1")
}

/// # Safety
/// As [`Kernel::compress`] says; the processor has the SHA instructions.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[allow(clippy::needless_range_loop)] // see above
unsafe fn sha1<const LANES: usize>(columns: &mut Columns<5>, inputs: &Inputs, blocks: usize) {
    let swap = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut abcd = [_mm_setzero_si128(); LANES];
    let mut e = [_mm_setzero_si128(); LANES];
    for lane in 0..LANES {
        let [a, b, c, d, last] = columns.lane(lane);
        abcd[lane] = from_words([d, c, b, a]);
        e[lane] = from_words([0, 0, 0, last]);
    }
    for block in 0..blocks {
        // SAFETY: every input has `blocks` blocks, which the caller promises.
        let mut w = unsafe { words::<LANES>(inputs, block, swap) };
        let (old_abcd, old_e) = (abcd, e);
        // Four rounds of each lane; $g counts them, from 0 to 19. `a` before these rounds is used
        // for `e` in the next four.
        macro_rules! four_rounds {
            ($f:literal, $($g:literal)*) => {$(
                for lane in 0..LANES {
                    let w = &mut w[lane];
                    let word = w[$g & 3];
                    let with_e = if $g == 0 {
                        _mm_add_epi32(e[lane], word)
                    } else {
                        _mm_sha1nexte_epu32(e[lane], word)
                    };
                    e[lane] = abcd[lane];
                    abcd[lane] = _mm_sha1rnds4_epu32::<$f>(abcd[lane], with_e);
                    if $g < 16 {
                        let mixed = _mm_xor_si128(_mm_sha1msg1_epu32(word, w[($g + 1) & 3]), w[($g + 2) & 3]);
                        w[$g & 3] = _mm_sha1msg2_epu32(mixed, w[($g + 3) & 3]);
                    }
                }
            )*};
        }
        four_rounds!(0, 0 1 2 3 4);
        four_rounds!(1, 5 6 7 8 9);
        four_rounds!(2, 10 11 12 13 14);
        four_rounds!(3, 15 16 17 18 19);
        for lane in 0..LANES {
            abcd[lane] = _mm_add_epi32(abcd[lane], old_abcd[lane]);
            e[lane] = _mm_sha1nexte_epu32(e[lane], old_e[lane]);
        }
    }
    for lane in 0..LANES {
        let [d, c, b, a] = to_words(abcd[lane]);
        let [_, _, _, e] = to_words(e[lane]);
        columns.set_lane(lane, [a, b, c, d, e]);
    }
}

/// # Safety
/// As [`Kernel::compress`] says; the processor has the SHA instructions.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[allow(clippy::needless_range_loop)] // see above
unsafe fn sha256<const LANES: usize>(columns: &mut Columns<8>, inputs: &Inputs, blocks: usize) {
    let swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    let mut abef = [_mm_setzero_si128(); LANES];
    let mut cdgh = [_mm_setzero_si128(); LANES];
    for lane in 0..LANES {
        let [a, b, c, d, e, f, g, h] = columns.lane(lane);
        abef[lane] = from_words([f, e, b, a]);
        cdgh[lane] = from_words([h, g, d, c]);
    }
    let (constants, _) = SHA256_CONSTANTS.as_chunks::<4>();
    for block in 0..blocks {
        // SAFETY: every input has `blocks` blocks, which the caller promises.
        let mut w = unsafe { words::<LANES>(inputs, block, swap) };
        let (old_abef, old_cdgh) = (abef, cdgh);
        // Four rounds of each lane; $g counts them, from 0 to 15.
        macro_rules! four_rounds {
            ($($g:literal)*) => {$(
                let k = from_words(constants[$g]);
                for lane in 0..LANES {
                    let w = &mut w[lane];
                    let with_k = _mm_add_epi32(w[$g & 3], k);
                    cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], with_k);
                    abef[lane] =
                        _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], _mm_shuffle_epi32::<0x0e>(with_k));
                    if $g < 12 {
                        let last = w[($g + 3) & 3];
                        let seven_ago = _mm_alignr_epi8::<4>(last, w[($g + 2) & 3]);
                        let mixed =
                            _mm_add_epi32(_mm_sha256msg1_epu32(w[$g & 3], w[($g + 1) & 3]), seven_ago);
                        w[$g & 3] = _mm_sha256msg2_epu32(mixed, last);
                    }
                }
            )*};
        }
        four_rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for lane in 0..LANES {
            abef[lane] = _mm_add_epi32(abef[lane], old_abef[lane]);
            cdgh[lane] = _mm_add_epi32(cdgh[lane], old_cdgh[lane]);
        }
    }
    for lane in 0..LANES {
        let [f, e, b, a] = to_words(abef[lane]);
        let [h, g, d, c] = to_words(cdgh[lane]);
        columns.set_lane(lane, [a, b, c, d, e, f, g, h]);
    }
}

/// The block of each of the first `N` lanes, with its bytes in the order given by `swap`.
///
/// # Safety
/// Each of these inputs is readable to the end of that block.
#[inline]
#[target_feature(enable = "ssse3")]
#[allow(clippy::needless_range_loop)] // see above
unsafe fn words<const N: usize>(inputs: &Inputs, block: usize, swap: __m128i) -> [[__m128i; 4]; N] {
    let mut words = [[_mm_setzero_si128(); 4]; N];
    for lane in 0..N {
        for quarter in 0..4 {
            // SAFETY: the caller promises the block's 64 bytes; the instruction asks for no alignment.
            let bytes = unsafe { _mm_loadu_si128(inputs[lane].add(64 * block + 16 * quarter).cast()) };
            words[lane][quarter] = _mm_shuffle_epi8(bytes, swap);
        }
    }
    words
}

/// The lowest word first.
#[inline]
#[target_feature(enable = "sse2")]
fn from_words(words: [u32; 4]) -> __m128i {
    // SAFETY: the 16 bytes are those of the array; the instruction asks for no alignment.
    unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
}

/// The lowest word first.
#[inline]
#[target_feature(enable = "sse2")]
fn to_words(vector: __m128i) -> [u32; 4] {
    let mut words = [0; 4];
    // SAFETY: the 16 bytes are those of the array; the instruction asks for no alignment.
    unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), vector) };
    words
}
