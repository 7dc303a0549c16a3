//! How rare each piece is, and which missing piece is the rarest that a peer has. Pure.
//!
//! Invariant: a missing piece is in `missing` and in the level of its availability, and in no other level.
//! Any other piece is in none of them.
//!
//! Each level is a bit set with a summary ([`PieceSet`]), and is compared with the peer's own set, the rarest
//! level first. A list would be walked piece by piece for a peer that has none of them, and the rarest pieces
//! are just those that most peers do not have. Bits without a summary would cost 1,563 words a level for
//! 100,000 pieces, and there may be as many levels as peers.

use super::piece_set::PieceSet;
use crate::torrent::Piece;

/// The availability of all pieces, and the missing pieces ordered by it.
pub struct Rarity {
    /// Number of connected peers, seeds left out, that have each piece. A seed that comes or
    /// goes changes nothing.
    availability: Vec<u16>,
    /// Missing pieces by availability. The length is bounded by the number of connections.
    levels: Vec<PieceSet>,
    missing: PieceSet,
}

impl Rarity {
    /// No peer has any of `pieces` pieces, and none of them is missing yet.
    pub fn new(pieces: u32) -> Self {
        Rarity { availability: vec![0; pieces as usize], levels: Vec::new(), missing: PieceSet::new(pieces) }
    }

    /// The piece is missing: it is to be fetched from now on.
    pub fn insert(&mut self, piece: Piece) {
        self.level(self.of(piece)).set(piece.index());
        self.missing.set(piece.index());
    }

    /// The piece is no longer to be fetched.
    pub fn remove(&mut self, piece: Piece) {
        self.level(self.of(piece)).clear(piece.index());
        self.missing.clear(piece.index());
    }

    /// One more peer has the piece, or one less: `by` is 1 or -1.
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

    /// Number of peers, seeds left out, that have the piece.
    pub fn of(&self, piece: Piece) -> u16 {
        self.availability[piece.index() as usize]
    }

    /// The missing pieces.
    pub fn missing(&self) -> &PieceSet {
        &self.missing
    }

    /// The rarest missing piece that is also in `has`; ties at random.
    pub fn rarest(&self, has: &PieceSet, random: &mut fastrand::Rng) -> Option<u32> {
        if !self.missing.meets(has) {
            // The usual case for a connection that asks again and again: one comparison is enough
            return None;
        }
        let levels = self.levels.iter().filter(|level| !level.is_empty());
        levels.into_iter().find_map(|level| level.any_common(has, random))
    }

    /// A random missing piece that is also in `has`.
    pub fn any(&self, has: &PieceSet, random: &mut fastrand::Rng) -> Option<u32> {
        self.missing.any_common(has, random)
    }

    /// The first missing piece that is also in `has`.
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
