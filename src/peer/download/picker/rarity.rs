//! How rare each piece is, and which of those to be fetched is the rarest that a peer has. Pure.
//!
//! Invariant: a piece that is to be fetched is in `missing`, and in the level of its availability, and in no other.
//!
//! Each level is a set of bits with a summary over it ([`PieceSet`]), and a peer's own set is laid over them, the rarest first. A list
//! would be walked piece by piece for a peer that has nothing in it, and the rarest pieces are just those that most peers
//! do not have. Bits alone would cost, with 100,000 pieces, 1,563 words a level, and there may be as many levels as peers.

use super::piece_set::PieceSet;
use crate::torrent::Piece;

pub struct Rarity {
    /// By how many peers that are no seeds each piece is held. A seed that comes or goes changes nothing.
    availability: Vec<u16>,
    /// Pieces to be fetched, by availability. As many as the most frequent piece has holders, so no more than connections.
    levels: Vec<PieceSet>,
    missing: PieceSet,
}

impl Rarity {
    /// Nobody has any of `pieces` pieces, and none is to be fetched.
    pub fn new(pieces: u32) -> Self {
        Rarity { availability: vec![0; pieces as usize], levels: Vec::new(), missing: PieceSet::new(pieces) }
    }

    /// The piece is to be fetched from now on.
    pub fn insert(&mut self, piece: Piece) {
        self.level(self.of(piece)).set(piece.index());
        self.missing.set(piece.index());
    }

    /// Nobody is to fetch the piece any more.
    pub fn remove(&mut self, piece: Piece) {
        self.level(self.of(piece)).clear(piece.index());
        self.missing.clear(piece.index());
    }

    /// One holder more, or one less.
    pub fn shift(&mut self, piece: Piece, by: i8) {
        let availability = &mut self.availability[piece.index() as usize];
        let before = *availability;
        let after = before.saturating_add_signed(by.into());
        *availability = after;
        if self.missing.has(piece.index()) {
            self.level(before).clear(piece.index());
            self.level(after).set(piece.index());
        }
    }

    fn level(&mut self, availability: u16) -> &mut PieceSet {
        let (at, pieces) = (usize::from(availability), self.missing.bits().len());
        if self.levels.len() <= at {
            self.levels.resize_with(at + 1, || PieceSet::new(pieces));
        }
        &mut self.levels[at]
    }

    /// How many peers that are no seeds hold the piece.
    pub fn of(&self, piece: Piece) -> u16 {
        self.availability[piece.index() as usize]
    }

    /// The pieces that are to be fetched.
    pub fn missing(&self) -> &PieceSet {
        &self.missing
    }

    /// The rarest of those in `has`; which of several is left to chance.
    pub fn rarest(&self, has: &PieceSet, random: &mut fastrand::Rng) -> Option<u32> {
        if !self.missing.meets(has) {
            return None; // as a rule, for a connection that looks again and again: then one look is enough
        }
        let levels = self.levels.iter().filter(|level| !level.is_empty());
        levels.into_iter().find_map(|level| level.any_common(has, random))
    }

    /// Some one of those in `has`.
    pub fn any(&self, has: &PieceSet, random: &mut fastrand::Rng) -> Option<u32> {
        self.missing.any_common(has, random)
    }

    /// The first of those in `has`.
    pub fn first(&self, has: &PieceSet) -> Option<u32> {
        self.missing.first_common(has)
    }

    /// Panics if the invariant is broken.
    pub fn assert_invariant(&self) {
        self.levels.iter().chain([&self.missing]).for_each(PieceSet::assert_invariant);
        for index in 0..self.missing.bits().len() {
            let levels: Vec<usize> =
                (0..self.levels.len()).filter(|at| self.levels[*at].has(index)).collect();
            let own = usize::from(self.availability[index as usize]);
            let expected = if self.missing.has(index) { vec![own] } else { vec![] };
            assert_eq!(levels, expected, "levels of piece {index}");
        }
    }
}
