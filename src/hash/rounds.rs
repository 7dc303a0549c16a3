//! The rounds of SHA-1 and SHA-256 (FIPS 180-4) over vectors: lane `n` of every vector belongs to message
//! `n`. Pure arithmetic, the same for every width. The files `avx2.rs` and `avx512.rs` define the
//! vectors, and provide the words.
//!
//! Everything is `#[inline(always)]`, because only code inlined into a function with a `target_feature`
//! may use that feature's instructions. For the same reason the rounds are unrolled by macros: each
//! vector then stays in a register.

/// The state before the first block of SHA-1.
pub(super) const SHA1_INITIAL: [u32; 5] = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0];

/// The state before the first block of SHA-256.
pub(super) const SHA256_INITIAL: [u32; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

/// One for each round.
#[rustfmt::skip]
pub(super) const SHA256_CONSTANTS: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/// Words of 32 bits, one for each lane. A value of this type proves that the processor has the instructions.
/// So a constant is made [like](Vector::like) another vector.
pub(super) trait Vector: Copy {
    /// `word` in every lane.
    fn like(self, word: u32) -> Self;
    fn add(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn xor3(self, b: Self, c: Self) -> Self;
    /// The bit of `one` where `self` has a 1, the bit of `zero` elsewhere.
    fn choose(self, one: Self, zero: Self) -> Self;
    /// The bit that at least two of the three have.
    fn majority(self, b: Self, c: Self) -> Self;
    /// `RIGHT` is `32 - LEFT`; an instruction needs one or the other.
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self;
    fn shift_right<const N: i32>(self) -> Self;
}

/// Adds a block of each lane to `state`; `w` holds the block's words.
#[inline(always)]
// Of the words of the last rounds.
#[allow(unused_assignments)]
pub(super) fn sha1<V: Vector>(state: &mut [V; 5], mut w: [V; 16]) {
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    // The word of round t + 16 replaces that of round t as soon as that was used.
    macro_rules! round {
        ($f:expr, $k:literal, $a:ident $b:ident $c:ident $d:ident $e:ident, $t:expr) => {
            let sum = $e.add($e.like($k)).add(w[$t & 15]);
            $e = sum.add($f($b, $c, $d)).add($a.rotate::<5, 27>());
            $b = $b.rotate::<30, 2>();
            if $t < 64 {
                let mixed = w[$t & 15].xor3(w[($t + 2) & 15], w[($t + 8) & 15]).xor(w[($t + 13) & 15]);
                w[$t & 15] = mixed.rotate::<1, 31>();
            }
        };
    }
    macro_rules! five {
        ($f:expr, $k:literal, $($t:expr),*) => {$(
            round!($f, $k, a b c d e, $t);
            round!($f, $k, e a b c d, $t + 1);
            round!($f, $k, d e a b c, $t + 2);
            round!($f, $k, c d e a b, $t + 3);
            round!($f, $k, b c d e a, $t + 4);
        )*};
    }
    five!(V::choose, 0x5a827999, 0, 5, 10, 15);
    five!(V::xor3, 0x6ed9eba1, 20, 25, 30, 35);
    five!(V::majority, 0x8f1bbcdc, 40, 45, 50, 55);
    five!(V::xor3, 0xca62c1d6, 60, 65, 70, 75);
    for (word, new) in state.iter_mut().zip([a, b, c, d, e]) {
        *word = word.add(new);
    }
}

/// Adds a block of each lane to `state`; `w` holds the block's words.
#[inline(always)]
pub(super) fn sha256<V: Vector>(state: &mut [V; 8], mut w: [V; 16]) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    macro_rules! round {
        ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $k:expr, $t:expr) => {
            let sum = $h.add($h.like($k[$t])).add(w[$t]);
            let sum = sum.add($e.choose($f, $g));
            let sum = sum.add($e.rotate::<26, 6>().xor3($e.rotate::<21, 11>(), $e.rotate::<7, 25>()));
            $d = $d.add(sum);
            let other = $a.rotate::<30, 2>().xor3($a.rotate::<19, 13>(), $a.rotate::<10, 22>());
            $h = sum.add($a.majority($b, $c)).add(other);
        };
    }
    // The word of round t + 16 replaces that of round t.
    macro_rules! schedule {
        ($t:expr) => {
            let (early, late) = (w[($t + 1) & 15], w[($t + 14) & 15]);
            let early = early.rotate::<25, 7>().xor3(early.rotate::<14, 18>(), early.shift_right::<3>());
            let late = late.rotate::<15, 17>().xor3(late.rotate::<13, 19>(), late.shift_right::<10>());
            w[$t] = w[$t].add(w[($t + 9) & 15]).add(early).add(late);
        };
    }
    macro_rules! sixteen {
        ($k:expr, $then:ident) => {
            sixteen!(@eight $k, $then, 0);
            sixteen!(@eight $k, $then, 8);
        };
        (@eight $k:expr, $then:ident, $t:literal) => {
            round!(a b c d e f g h, $k, $t);
            $then!($t);
            round!(h a b c d e f g, $k, $t + 1);
            $then!($t + 1);
            round!(g h a b c d e f, $k, $t + 2);
            $then!($t + 2);
            round!(f g h a b c d e, $k, $t + 3);
            $then!($t + 3);
            round!(e f g h a b c d, $k, $t + 4);
            $then!($t + 4);
            round!(d e f g h a b c, $k, $t + 5);
            $then!($t + 5);
            round!(c d e f g h a b, $k, $t + 6);
            $then!($t + 6);
            round!(b c d e f g h a, $k, $t + 7);
            $then!($t + 7);
        };
    }
    macro_rules! nothing {
        ($t:expr) => {};
    }
    let (groups, _) = SHA256_CONSTANTS.as_chunks::<16>();
    for k in &groups[..3] {
        sixteen!(k, schedule);
    }
    sixteen!(groups[3], nothing);
    for (word, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.add(new);
    }
}
