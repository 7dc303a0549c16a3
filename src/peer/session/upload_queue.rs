//! The upload half of a session: whether the other side has an upload slot, and the blocks that it requested.
//! Pure.
//!
//! Without a slot a newcomer may request a few *allowed* pieces (BEP 6), each a few times.
//!
//! Invariant: no block waits without a slot unless its piece is allowed, and never more than [`REQQ`] blocks
//! wait.

use super::REQQ;
use crate::torrent::{Block, Piece};
use std::collections::{BTreeMap, VecDeque};

/// How often a piece may be requested without a slot: again if it arrived broken, but not without end.
const TIMES: u32 = 3;

/// Why a request is not taken.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It has no slot, or we do not have the piece.
    NotNow,
    /// As many blocks wait as are kept.
    Full,
}

/// The blocks that the other side requested and that we have not sent yet.
#[derive(Default)]
pub struct UploadQueue {
    has_slot: bool,
    /// The pieces that are allowed without a slot, and the number of bytes that may still be requested of
    /// each.
    allowed: BTreeMap<Piece, u32>,
    /// In the order of the requests.
    blocks: VecDeque<Block>,
}

impl UploadQueue {
    /// Whether we choke the other side: it has no upload slot.
    pub fn is_choking(&self) -> bool {
        !self.has_slot
    }

    /// How many blocks wait to be served.
    pub fn waiting(&self) -> usize {
        self.blocks.len()
    }

    /// Gives it a slot. False if it had one.
    pub fn unchoke(&mut self) -> bool {
        !std::mem::replace(&mut self.has_slot, true)
    }

    /// Takes the slot back. Returns the blocks that waited and are not allowed without one, or `None` if
    /// there was none. `is_new`: the other side has few pieces.
    pub fn choke(&mut self, is_new: bool) -> Option<VecDeque<Block>> {
        if !std::mem::replace(&mut self.has_slot, false) {
            return None;
        }
        let waiting = std::mem::take(&mut self.blocks).into_iter();
        let (allowed, voided) = waiting.partition(|block| is_new && self.spend(*block));
        self.blocks = allowed;
        Some(voided)
    }

    /// Lets the other side request this piece, which has `len` bytes, without a slot.
    pub fn allow(&mut self, piece: Piece, len: u32) {
        self.allowed.entry(piece).or_insert(len.saturating_mul(TIMES));
    }

    /// Whether any piece was allowed without a slot.
    pub fn allows_some(&self) -> bool {
        !self.allowed.is_empty()
    }

    /// Whether the block may be sent without a slot. Then it may be so once less.
    fn spend(&mut self, block: Block) -> bool {
        let left = self.allowed.get_mut(&block.piece()).filter(|left| **left >= block.len());
        left.map(|left| *left -= block.len()).is_some()
    }

    /// The other side requests a block. `have`: we have its piece, and announced it. `is_new`: it has few
    /// pieces itself.
    pub fn asked(&mut self, block: Block, have: bool, is_new: bool) -> Result<(), Refused> {
        if !have {
            return Err(Refused::NotNow);
        }
        if self.blocks.len() >= REQQ {
            return Err(Refused::Full);
        }
        let may_wait = self.has_slot || (is_new && self.spend(block));
        if !may_wait {
            return Err(Refused::NotNow);
        }
        self.blocks.push_back(block);
        Ok(())
    }

    /// The other side cancels a request. False if the block does not wait, or not any more.
    pub fn cancelled(&mut self, block: Block) -> bool {
        let at = self.blocks.iter().position(|waiting| *waiting == block);
        at.and_then(|at| self.blocks.remove(at)).is_some()
    }

    /// Panics if the invariant is broken; for tests, simulations and fuzzing.
    pub fn assert_invariant(&self) {
        assert!(self.blocks.len() <= REQQ, "more requests wait than we keep");
        let allowed = self.blocks.iter().all(|block| self.allowed.contains_key(&block.piece()));
        assert!(self.has_slot || allowed, "requests wait without a slot");
    }

    /// Takes the next blocks into `run`: neighbours in one piece, at most `most` bytes together, but at least
    /// one block if any waits.
    pub fn next(&mut self, most: u32, run: &mut Vec<Block>) {
        run.clear();
        let mut bytes = 0;
        while let Some(next) = self.blocks.front() {
            let follows = run.last().is_none_or(|last: &Block| {
                last.piece() == next.piece() && last.begin() + last.len() == next.begin()
            });
            if !follows || (bytes > 0 && bytes + next.len() > most) {
                break;
            }
            bytes += next.len();
            run.extend(self.blocks.pop_front());
        }
    }
}
