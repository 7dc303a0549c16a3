//! Who sent a bad block. Pure.
//!
//! A piece that fails its hash and came from one peer is that peer's fault. Where several sent it, nobody can be
//! accused yet: the digests of their blocks are kept, and once a good copy is here, whoever sent something
//! else is found. The honest ones among them are not.

use super::partial::{Partial, Source};
use crate::hash::{Hash256, sha256};
use crate::torrent::{BLOCK_LEN, Piece};
use std::collections::HashMap;
use std::sync::Arc;

/// So many bad pieces wait for their good copy at most; beyond that the evidence is thrown away.
const MOST_PIECES: usize = 64;
/// So many bad copies are kept of one piece.
const MOST_COPIES: usize = 8;

/// A block as its sender sent it.
struct Evidence {
    /// Index of the block in its piece.
    nth: usize,
    digest: Hash256,
    source: Arc<Source>,
}

/// The open cases of one torrent.
#[derive(Default)]
pub struct Blame {
    cases: HashMap<Piece, Vec<Vec<Evidence>>>,
}

impl Blame {
    /// A complete piece failed its hash. Gives the culprit if that is clear at once.
    pub fn bad(&mut self, partial: &Partial) -> Option<Arc<Source>> {
        if let [only] = partial.sources() {
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
                    .map(|(nth, (bytes, source))| Evidence {
                        nth,
                        digest: sha256(bytes),
                        source: Arc::clone(source),
                    })
                    .collect(),
            );
        }
        None
    }

    /// Whether a bad copy of the piece is on record.
    pub fn has_case(&self, piece: Piece) -> bool {
        self.cases.contains_key(&piece)
    }

    /// A good copy of the piece is here: gives everybody who once sent something else in it.
    pub fn good(&mut self, piece: Piece, data: &[u8]) -> Vec<Arc<Source>> {
        let Some(copies) = self.cases.remove(&piece) else { return Vec::new() };
        let truth: Vec<Hash256> = data.chunks(BLOCK_LEN as usize).map(sha256).collect();
        let mut liars: Vec<Arc<Source>> = Vec::new();
        for evidence in copies.into_iter().flatten() {
            let lied = truth.get(evidence.nth) != Some(&evidence.digest);
            if lied && !liars.contains(&evidence.source) {
                liars.push(evidence.source);
            }
        }
        liars
    }
}
