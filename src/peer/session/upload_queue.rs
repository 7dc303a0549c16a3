//! The upload half of a session: whether the other side has an upload slot, and the blocks that it requested.
//! Pure.
//!
//! Invariant: no block waits without a slot, and never more than [`REQQ`] blocks wait.

use super::REQQ;
use crate::torrent::Block;
use std::collections::VecDeque;

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

    /// Takes the slot back. Returns the blocks that waited, or `None` if there was no slot.
    pub fn choke(&mut self) -> Option<VecDeque<Block>> {
        std::mem::replace(&mut self.has_slot, false).then(|| std::mem::take(&mut self.blocks))
    }

    /// The other side requests a block. `have`: we have its piece, and announced it.
    pub fn asked(&mut self, block: Block, have: bool) -> Result<(), Refused> {
        if !self.has_slot || !have {
            return Err(Refused::NotNow);
        }
        if self.blocks.len() >= REQQ {
            return Err(Refused::Full);
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
        assert!(self.has_slot || self.blocks.is_empty(), "requests wait without a slot");
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
