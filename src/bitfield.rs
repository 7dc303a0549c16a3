//! A set of pieces as bits, in wire order: piece 0 is the highest bit of the first byte (BEP 3). Pure.
//!
//! Invariant: bits past the last piece are zero, and `count` is the number of bits that are set.

use std::ops::Range;

/// Which of a torrent's pieces a peer has. The number of pieces is fixed when it is created.
#[derive(Clone, PartialEq, Eq)]
pub struct Bitfield {
    bytes: Vec<u8>,
    len: u32,
    count: u32,
}

impl Bitfield {
    /// An empty set for a torrent of `len` pieces.
    pub fn new(len: u32) -> Self {
        Bitfield { bytes: vec![0; (len as usize).div_ceil(8)], len, count: 0 }
    }

    /// A full set for a torrent of `len` pieces.
    pub fn full(len: u32) -> Self {
        let mut bits = Bitfield { bytes: vec![0xff; (len as usize).div_ceil(8)], len, count: len };
        let spare = bits.bytes.len() * 8 - len as usize;
        if let Some(last) = bits.bytes.last_mut() {
            *last <<= spare;
        }
        bits
    }

    /// Reads the payload of a `bitfield` message. `None` if it has the wrong length or a spare bit is set;
    /// BEP 3 then requires that the connection is dropped.
    pub fn from_bytes(bytes: &[u8], len: u32) -> Option<Self> {
        if bytes.len() != (len as usize).div_ceil(8) {
            return None;
        }
        let spare = bytes.len() * 8 - len as usize;
        if spare > 0 && bytes[bytes.len() - 1] & ((1u8 << spare) - 1) != 0 {
            return None;
        }
        let count = bytes.iter().map(|b| b.count_ones()).sum();
        Some(Bitfield { bytes: bytes.to_vec(), len, count })
    }

    /// The payload of a `bitfield` message.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of pieces of the torrent, in the set or not.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether the torrent has no pieces at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of pieces in the set.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether every piece is in the set.
    pub fn is_full(&self) -> bool {
        self.count == self.len
    }

    /// Whether piece `index` is in the set; false for an index out of range.
    pub fn has(&self, index: u32) -> bool {
        index < self.len && self.bytes[index as usize / 8] & mask(index) != 0
    }

    /// Adds piece `index` to the set. True if it was not in it before. An index out of range changes nothing.
    pub fn set(&mut self, index: u32) -> bool {
        if index >= self.len || self.has(index) {
            return false;
        }
        self.bytes[index as usize / 8] |= mask(index);
        self.count += 1;
        true
    }

    /// Removes piece `index` from the set. True if it was in it.
    pub fn clear(&mut self, index: u32) -> bool {
        if !self.has(index) {
            return false;
        }
        self.bytes[index as usize / 8] &= !mask(index);
        self.count -= 1;
        true
    }

    /// The pieces in the set, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).flat_map(|(at, byte)| {
            (0..8u32).filter(move |bit| byte & (0x80 >> bit) != 0).map(move |bit| at as u32 * 8 + bit)
        })
    }

    /// Number of pieces that are in both sets.
    pub fn common_count(&self, other: &Bitfield) -> u32 {
        debug_assert_eq!(self.len, other.len, "two sets of one torrent's pieces");
        self.words().zip(other.words()).map(|(ours, theirs)| (ours & theirs).count_ones()).sum()
    }

    /// The pieces from `64 * at` on, 64 of them: the first is the highest bit. Zero past the end.
    pub fn word(&self, at: u32) -> u64 {
        match self.bytes.get(at as usize * 8..) {
            Some(rest) => rest.first_chunk().map_or_else(|| word_of(rest), |word| u64::from_be_bytes(*word)),
            None => 0,
        }
    }

    /// The whole set, 64 pieces at a time.
    pub fn words(&self) -> impl Iterator<Item = u64> + '_ {
        let (words, rest) = self.bytes.as_chunks::<8>();
        let last = (!rest.is_empty()).then(|| word_of(rest));
        words.iter().map(|word| u64::from_be_bytes(*word)).chain(last)
    }

    /// The pieces in the set as ascending ranges that do not touch.
    pub fn ranges(&self) -> Vec<Range<u32>> {
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for index in self.iter() {
            match ranges.last_mut() {
                Some(last) if last.end == index => last.end += 1,
                _ => ranges.push(index..index + 1),
            }
        }
        ranges
    }
}

impl std::fmt::Debug for Bitfield {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} pieces", self.count, self.len)
    }
}

/// Up to seven bytes as a word, with zeros behind them.
fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(word)
}

fn mask(index: u32) -> u8 {
    0x80 >> (index % 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn full_has_no_spare_bits() {
        for len in 0..40 {
            let bits = Bitfield::full(len);
            assert_eq!(bits.iter().count() as u32, len);
            assert_eq!(Bitfield::from_bytes(bits.as_bytes(), len), Some(bits));
        }
    }

    #[test]
    fn wrong_length_and_spare_bits_are_refused() {
        assert_eq!(Bitfield::from_bytes(&[0xff], 9), None);
        assert_eq!(Bitfield::from_bytes(&[0xff, 0x81], 9), None);
        assert_eq!(Bitfield::from_bytes(&[0xff, 0x80], 9).map(|b| b.count()), Some(9));
    }

    proptest! {
        #[test]
        fn what_two_sets_have_in_common(
            (ours, theirs) in (1usize..200)
                .prop_flat_map(|len| (vec(any::<bool>(), len), vec(any::<bool>(), len))),
        ) {
            let set = |bools: &[bool]| {
                let mut bits = Bitfield::new(bools.len() as u32);
                for (index, _) in (0..).zip(bools).filter(|(_, has)| **has) {
                    bits.set(index);
                }
                bits
            };
            let both: Vec<u32> =
                (0..ours.len()).filter(|i| ours[*i] && theirs[*i]).map(|i| i as u32).collect();
            let (ours, theirs) = (set(&ours), set(&theirs));
            prop_assert_eq!(ours.common_count(&theirs), both.len() as u32);
            let words: Vec<u64> = ours.words().collect();
            prop_assert_eq!(words.len() as u32, ours.len().div_ceil(64));
            prop_assert!(
                (0..words.len() + 2).all(|at| ours.word(at as u32) == words.get(at).copied().unwrap_or(0))
            );
            prop_assert!(
                (0..ours.len()).all(|i| ours.has(i) == (words[i as usize / 64] << (i % 64) >> 63 == 1))
            );
        }
    }

    #[test]
    fn set_and_clear_keep_the_count() {
        let mut bits = Bitfield::new(10);
        assert!(bits.set(9) && !bits.set(9) && !bits.set(10));
        assert!(bits.set(3) && bits.set(4));
        assert_eq!(bits.ranges(), vec![3..5, 9..10]);
        assert!(bits.clear(9) && !bits.clear(9));
        assert_eq!(bits.count(), 2);
    }
}
