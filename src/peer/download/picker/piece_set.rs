//! A set of pieces that finds what it has in common with another set without looking at every word
//! of either. Pure.
//!
//! Above the bits there is a summary: one bit for each word of 64 pieces, set if that word is not zero. Two
//! sets are compared summary by summary, 4096 pieces at a time, and word by word only where both have
//! something. So sets that are sparse, or have little in common, are compared at almost no cost; and the
//! levels of rarity are sparse, since they share the missing pieces among them.
//!
//! Invariant: a bit of the summary is set exactly if its word of the bits is not zero.

use crate::bitfield::Bitfield;

/// Number of pieces in a word of the bits, and of words under one word of the summary.
const WORD: u32 = 64;

/// A set of the pieces of one torrent.
pub struct PieceSet {
    bits: Bitfield,
    /// The lowest bit of the first word here stands for the first word of the bits.
    summary: Vec<u64>,
}

impl PieceSet {
    /// An empty set of a torrent with `len` pieces.
    pub fn new(len: u32) -> Self {
        PieceSet { bits: Bitfield::new(len), summary: vec![0; len.div_ceil(WORD * WORD) as usize] }
    }

    /// The set as a bit field.
    pub fn bits(&self) -> &Bitfield {
        &self.bits
    }

    /// Whether piece `index` is in the set.
    pub fn has(&self, index: u32) -> bool {
        self.bits.has(index)
    }

    /// Whether no piece is in the set.
    pub fn is_empty(&self) -> bool {
        self.bits.count() == 0
    }

    /// Puts a piece into the set. True if it was not there before.
    pub fn set(&mut self, index: u32) -> bool {
        let new = self.bits.set(index);
        if new {
            let word = index / WORD;
            self.summary[(word / WORD) as usize] |= 1 << (word % WORD);
        }
        new
    }

    /// Removes a piece from the set. True if it was there.
    pub fn clear(&mut self, index: u32) -> bool {
        let old = self.bits.clear(index);
        let word = index / WORD;
        if old && self.bits.word(word) == 0 {
            self.summary[(word / WORD) as usize] &= !(1 << (word % WORD));
        }
        old
    }

    /// Whether any piece is in both sets.
    pub fn meets(&self, other: &PieceSet) -> bool {
        self.common_words(other, 0).next().is_some()
    }

    /// The same for a set without a summary.
    pub fn overlaps(&self, other: &Bitfield) -> bool {
        let mut words =
            (0..).zip(&self.summary).flat_map(|(at, words)| ones(*words).map(move |nth| at * WORD + nth));
        words.any(|at| self.bits.word(at) & other.word(at) != 0)
    }

    /// The first piece that is in both sets.
    pub fn first_common(&self, other: &PieceSet) -> Option<u32> {
        let (at, word) = self.common_words(other, 0).next()?;
        Some(at * WORD + word.leading_zeros())
    }

    /// A random piece that is in both sets. Chooses a word of the summary bits in which both have something,
    /// and then any piece in the first word from there on with a piece in common. Counting all common pieces
    /// would mean to look at every word.
    pub fn any_common(&self, other: &PieceSet, random: &mut fastrand::Rng) -> Option<u32> {
        let start = self.any_shared_word(other, random)?;
        let (at, word) = self.common_words(other, start).chain(self.common_words(other, 0)).next()?;
        let nth = random.u32(..word.count_ones());
        Some(at * WORD + ones(word.reverse_bits()).nth(nth as usize)?)
    }

    /// The index of a random word in which both sets have something, though perhaps not the same pieces.
    fn any_shared_word(&self, other: &PieceSet, random: &mut fastrand::Rng) -> Option<u32> {
        let count: u32 = self.shared(other).map(u64::count_ones).sum();
        let mut nth = (count > 0).then(|| random.u32(..count))?;
        for (at, words) in (0..).zip(self.shared(other)) {
            let here = words.count_ones();
            if nth < here {
                return Some(at * WORD + ones(words).nth(nth as usize)?);
            }
            nth -= here;
        }
        None
    }

    /// The words in which both sets have something, as bits, for 64 words at a time.
    fn shared<'a>(&'a self, other: &'a PieceSet) -> impl Iterator<Item = u64> + 'a {
        debug_assert_eq!(self.bits.len(), other.bits.len(), "two sets of one torrent's pieces");
        self.summary.iter().zip(&other.summary).map(|(ours, theirs)| ours & theirs)
    }

    /// The pieces in both sets, 64 at a time, from word `start` on. Words without any are left out.
    fn common_words<'a>(&'a self, other: &'a PieceSet, start: u32) -> impl Iterator<Item = (u32, u64)> + 'a {
        let first = start / WORD;
        let shared = (first..).zip(self.shared(other).skip(first as usize));
        let words = shared.flat_map(move |(at, words)| {
            let before = if at == first { (1 << (start % WORD)) - 1 } else { 0 };
            ones(words & !before).map(move |nth| at * WORD + nth)
        });
        words.map(|at| (at, self.bits.word(at) & other.bits.word(at))).filter(|(_, word)| *word != 0)
    }

    /// Panics if the invariant is broken.
    pub fn assert_invariant(&self) {
        assert_eq!(self.summary, summary_of(&self.bits), "the summary of {:?}", self.bits);
    }
}

impl From<Bitfield> for PieceSet {
    fn from(bits: Bitfield) -> Self {
        PieceSet { summary: summary_of(&bits), bits }
    }
}

fn summary_of(bits: &Bitfield) -> Vec<u64> {
    let mut summary = vec![0; bits.len().div_ceil(WORD * WORD) as usize];
    for (at, word) in bits.words().enumerate() {
        summary[at / WORD as usize] |= u64::from(word != 0) << (at as u32 % WORD);
    }
    summary
}

/// The indices of the bits that are set, from the lowest on.
fn ones(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let lowest = (word != 0).then(|| word.trailing_zeros())?;
        word &= word - 1;
        Some(lowest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::btree_set;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Large enough for a summary of several words, and either sparse or with up to 2000 pieces.
    fn pieces() -> impl Strategy<Value = (u32, BTreeSet<u32>, BTreeSet<u32>)> {
        (1u32..20_000).prop_flat_map(|len| {
            let some =
                || prop_oneof![btree_set(0..len, 0..20), btree_set(0..len, 0..(len as usize).min(2000))];
            (Just(len), some(), some())
        })
    }

    fn set_of(len: u32, pieces: &BTreeSet<u32>) -> PieceSet {
        let mut set = PieceSet::new(len);
        assert!(pieces.iter().all(|piece| set.set(*piece) && !set.set(*piece)));
        set.assert_invariant();
        set
    }

    proptest! {
        #[test]
        fn what_two_sets_have_in_common((len, ours, theirs) in pieces(), seed: u64) {
            let both: BTreeSet<u32> = ours.intersection(&theirs).copied().collect();
            let (mut our_set, their_set) = (set_of(len, &ours), set_of(len, &theirs));
            let mut random = fastrand::Rng::with_seed(seed);
            prop_assert_eq!(our_set.meets(&their_set), !both.is_empty());
            prop_assert_eq!(our_set.overlaps(their_set.bits()), !both.is_empty());
            prop_assert_eq!(our_set.first_common(&their_set), both.first().copied());
            let mut left = both.clone();
            while let Some(piece) = our_set.any_common(&their_set, &mut random) {
                prop_assert!(left.remove(&piece), "each once, and no others");
                prop_assert!(our_set.clear(piece) && !our_set.clear(piece));
            }
            prop_assert!(left.is_empty(), "{left:?} was never found");
            our_set.assert_invariant();
        }

        #[test]
        fn made_of_bits_or_of_pieces_it_is_the_same((len, pieces, _) in pieces()) {
            let set = set_of(len, &pieces);
            let made = PieceSet::from(set.bits().clone());
            prop_assert_eq!(&made.summary, &set.summary);
            prop_assert_eq!(made.is_empty(), pieces.is_empty());
            prop_assert!((0..len + 70).all(|piece| set.has(piece) == pieces.contains(&piece)));
        }
    }

    /// Otherwise peers that all begin with the piece that follows a gap would have nothing to trade.
    #[test]
    fn chance_does_not_prefer_what_follows_a_gap() {
        let (ours, theirs) = (PieceSet::from(Bitfield::full(64_000)), (32_000..64_000).collect());
        let theirs = set_of(64_000, &theirs);
        let mut random = fastrand::Rng::with_seed(1);
        let mut times = [0; 4];
        for _ in 0..4000 {
            let piece = ours.any_common(&theirs, &mut random).unwrap();
            times[(piece as usize - 32_000) / 8_000] += 1;
        }
        assert!(times.iter().all(|times| (800..1200).contains(times)), "{times:?}");
    }
}
