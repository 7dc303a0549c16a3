//! How rare each piece is, and which of those to be fetched is the rarest that a peer has. Pure.
//!
//! Invariant: a piece that is to be fetched is in `missing`, and in the level of its availability, and in no other.
//!
//! Each level is a set of bits, so that a peer's own set is laid over it 64 pieces at a time: with 100,000 pieces
//! that is 1,563 steps a level, whatever the peer has. A list would be walked piece by piece for a peer that has nothing in it,
//! and the rarest pieces are just those that most peers do not have.

use crate::bitfield::Bitfield;
use crate::torrent::Piece;

pub struct Rarity {
    /// By how many peers that are no seeds each piece is held. A seed that comes or goes changes nothing.
    availability: Vec<u16>,
    /// Pieces to be fetched, by availability. As many as the most frequent piece has holders, so no more than connections.
    levels: Vec<Bitfield>,
    missing: Bitfield,
}

impl Rarity {
    /// Nobody has any of `pieces` pieces, and none is to be fetched.
    pub fn new(pieces: u32) -> Self {
        Rarity { availability: vec![0; pieces as usize], levels: Vec::new(), missing: Bitfield::new(pieces) }
    }

    /// The piece is to be fetched from now on.
    pub fn insert(&mut self, piece: Piece) {
        let level = usize::from(self.of(piece));
        if self.levels.len() <= level {
            let pieces = self.missing.len();
            self.levels.resize_with(level + 1, || Bitfield::new(pieces));
        }
        self.levels[level].set(piece.index());
        self.missing.set(piece.index());
    }

    /// Nobody is to fetch the piece any more.
    pub fn remove(&mut self, piece: Piece) {
        let level = usize::from(self.of(piece));
        self.levels[level].clear(piece.index());
        self.missing.clear(piece.index());
    }

    /// One holder more, or one less.
    pub fn shift(&mut self, piece: Piece, by: i8) {
        let missing = self.missing.has(piece.index());
        if missing {
            self.remove(piece);
        }
        let availability = &mut self.availability[piece.index() as usize];
        *availability = availability.saturating_add_signed(by.into());
        if missing {
            self.insert(piece);
        }
    }

    /// How many peers that are no seeds hold the piece.
    pub fn of(&self, piece: Piece) -> u16 {
        self.availability[piece.index() as usize]
    }

    /// The pieces that are to be fetched.
    pub fn missing(&self) -> &Bitfield {
        &self.missing
    }

    /// The rarest of those among `bits`; of several, any with the same chance.
    pub fn rarest(&self, bits: &Bitfield, random: &mut fastrand::Rng) -> Option<u32> {
        if !self.missing.meets(bits) {
            return None; // as a rule, for a connection that looks again and again: then one look is enough
        }
        let levels = self.levels.iter().filter(|level| level.count() > 0);
        levels.into_iter().find_map(|level| any_of(level, bits, random))
    }

    /// Any of those among `bits`, with the same chance.
    pub fn any(&self, bits: &Bitfield, random: &mut fastrand::Rng) -> Option<u32> {
        any_of(&self.missing, bits, random)
    }

    /// The first of those among `bits`.
    pub fn first(&self, bits: &Bitfield) -> Option<u32> {
        self.missing.nth_common(bits, 0)
    }

    /// Panics if the invariant is broken.
    pub fn assert_invariant(&self) {
        for index in 0..self.missing.len() {
            let levels: Vec<usize> =
                (0..self.levels.len()).filter(|at| self.levels[*at].has(index)).collect();
            let own = usize::from(self.availability[index as usize]);
            let expected = if self.missing.has(index) { vec![own] } else { vec![] };
            assert_eq!(levels, expected, "levels of piece {index}");
        }
    }
}

fn any_of(level: &Bitfield, bits: &Bitfield, random: &mut fastrand::Rng) -> Option<u32> {
    let count = level.common_count(bits);
    (count > 0).then(|| level.nth_common(bits, random.u32(..count)))?
}
