//! Finds out who sent a bad block. Pure.
//!
//! A piece that fails its hash and came from one peer alone is that peer's fault. If several peers sent it,
//! none can be accused yet: the digests of their blocks are kept. Once a good copy arrives, peers that sent
//! something else are found, and the honest ones are not accused.

use super::partial::Partial;
use crate::hash::{Hash256, sha256};
use crate::peer::identity::SourceIdentity;
use crate::torrent::{BLOCK_LEN, Piece};
use std::collections::HashMap;
use std::sync::Arc;

/// Maximum number of bad pieces whose evidence is kept until a good copy arrives; evidence on
/// more is dropped.
const MOST_PIECES: usize = 64;
/// Maximum number of bad copies kept of one piece.
const MOST_COPIES: usize = 8;

/// A block of a bad copy, and who sent it.
struct Evidence {
    /// Index of the block in its piece.
    nth: usize,
    digest: Hash256,
    identity: Arc<SourceIdentity>,
}

/// The open cases of one torrent: pieces of which a bad copy came from several peers.
#[derive(Default)]
pub struct Blame {
    cases: HashMap<Piece, Vec<Vec<Evidence>>>,
}

impl Blame {
    /// A complete piece failed its hash. Returns the culprit if only one peer sent it.
    pub fn bad(&mut self, partial: &Partial) -> Option<Arc<SourceIdentity>> {
        if let [only] = partial.contributors() {
            return Some(Arc::clone(only));
        }
        if self.cases.len() >= MOST_PIECES && !self.cases.contains_key(&partial.piece()) {
            return None;
        }
        let copies = self.cases.entry(partial.piece()).or_default();
        if copies.len() < MOST_COPIES {
            let blocks = partial.blocks().enumerate();
            copies.push(
                blocks
                    .map(|(nth, (bytes, identity))| Evidence {
                        nth,
                        digest: sha256(bytes),
                        identity: Arc::clone(identity),
                    })
                    .collect(),
            );
        }
        None
    }

    /// Whether evidence on a bad copy of the piece is kept.
    pub fn has_case(&self, piece: Piece) -> bool {
        self.cases.contains_key(&piece)
    }

    /// A good copy of the piece arrived. Returns every peer that sent something else in it before, and
    /// closes the case.
    pub fn good(&mut self, piece: Piece, data: &[u8]) -> Vec<Arc<SourceIdentity>> {
        let Some(copies) = self.cases.remove(&piece) else { return Vec::new() };
        let truth: Vec<Hash256> = data.chunks(BLOCK_LEN as usize).map(sha256).collect();
        let mut liars: Vec<Arc<SourceIdentity>> = Vec::new();
        for evidence in copies.into_iter().flatten() {
            let lied = truth.get(evidence.nth) != Some(&evidence.digest);
            if lied && !liars.contains(&evidence.identity) {
                liars.push(evidence.identity);
            }
        }
        liars
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{content, empty, geometry, identity};

    const LEN: u32 = 4 * BLOCK_LEN;

    /// A copy of the only piece. For each block: its sender, and whether the block is wrong.
    fn copy(senders: &[(u8, bool)]) -> Partial {
        let geometry = geometry(LEN as usize, LEN);
        let piece = geometry.piece(0).unwrap();
        let mut partial = empty(&geometry, piece);
        let contributors: Vec<Arc<SourceIdentity>> = (0..10).map(identity).collect();
        for (nth, (sender, lies)) in senders.iter().enumerate() {
            let block = geometry.block(piece, nth as u32);
            let mut data = truth()[block.begin() as usize..][..block.len() as usize].to_vec();
            data[7] ^= u8::from(*lies);
            assert!(partial.put(block, &data, &contributors[usize::from(*sender)]));
        }
        partial
    }

    fn truth() -> Vec<u8> {
        content(LEN as usize)
    }

    #[test]
    fn whoever_sent_all_of_a_bad_piece_is_to_blame_at_once() {
        let mut blame = Blame::default();
        let bad = copy(&[(3, false), (3, true), (3, false), (3, false)]);
        assert_eq!(blame.bad(&bad), Some(identity(3)));
        assert!(!blame.has_case(bad.piece()));
    }

    #[test]
    fn of_several_only_the_liars_are_found_once_a_good_copy_is_here() {
        let mut blame = Blame::default();
        let first = copy(&[(1, false), (2, true), (3, false), (4, true)]);
        assert_eq!(blame.bad(&first), None);
        let second = copy(&[(5, true), (5, false), (2, true), (1, false)]);
        assert_eq!(blame.bad(&second), None);
        assert!(blame.has_case(first.piece()));
        assert_eq!(blame.good(first.piece(), &truth()), [identity(2), identity(4), identity(5)]);
        assert!(!blame.has_case(first.piece()));
        assert!(blame.good(first.piece(), &truth()).is_empty(), "the case is closed");
    }

    #[test]
    fn evidence_has_a_bound() {
        let mut blame = Blame::default();
        let bad = copy(&[(1, true), (2, false), (2, false), (2, false)]);
        for _ in 0..100 {
            assert_eq!(blame.bad(&bad), None);
        }
        assert_eq!(blame.cases[&bad.piece()].len(), MOST_COPIES);
        let many = geometry(200 * BLOCK_LEN as usize, 2 * BLOCK_LEN);
        for piece in many.pieces() {
            let mut partial = empty(&many, piece);
            for nth in 0..2 {
                partial.put(many.block(piece, nth), &[0; BLOCK_LEN as usize], &identity(nth as u8));
            }
            blame.bad(&partial);
        }
        assert!(blame.cases.len() <= MOST_PIECES);
    }
}
