//! What becomes of a piece that was picked: it arrives, comes to be verified, is good or broken, or is given
//! back. Pure.

use super::{Late, Picker, State, at};
use crate::peer::download::memory::Buffer;
use crate::peer::download::partial::Partial;
use crate::peer::identity::{ConnId, SourceIdentity};
use crate::torrent::{Block, Piece};
use std::sync::Arc;

impl Picker {
    /// All blocks have arrived. False if `owner` no longer owns the piece: then it belongs to
    /// another connection.
    pub fn checking(&mut self, piece: Piece, owner: ConnId) -> bool {
        if self.owner(piece) != Some(owner) {
            return false;
        }
        self.land(piece);
        self.states[at(piece)] = State::Checking;
        true
    }

    /// The piece may be on the disk, unverified: it must be checked before it is fetched. False if we have
    /// it, or it is in flight or being checked already.
    pub fn mark_unverified(&mut self, piece: Piece) -> bool {
        match self.states[at(piece)] {
            State::Missing => {
                self.rarity.remove(piece);
                self.leftovers.remove(&piece);
            }
            State::Unwanted => {}
            State::InFlight { .. } | State::Checking | State::Have => return false,
        }
        self.states[at(piece)] = State::Checking;
        true
    }

    /// A piece that we have is doubted: it must be checked before any peer gets it.
    pub fn distrust(&mut self, piece: Piece) {
        if self.have.clear(piece.index()) {
            self.states[at(piece)] = State::Checking;
            if self.wanted.has(piece.index()) {
                self.lacking.set(piece.index());
            }
        }
    }

    /// The check found that the piece is good.
    pub fn good(&mut self, piece: Piece) {
        debug_assert_eq!(self.states[at(piece)], State::Checking);
        self.states[at(piece)] = State::Have;
        self.have.set(piece.index());
        self.lacking.clear(piece.index());
        self.alone.remove(&piece);
    }

    /// All blocks of the piece arrived, and some were wrong.
    pub fn broken(&mut self, piece: Piece) {
        self.bad(piece);
        self.alone.entry(piece).or_insert(0);
    }

    /// The check found that the piece is bad, or it could not be written.
    pub fn bad(&mut self, piece: Piece) {
        debug_assert_eq!(self.states[at(piece)], State::Checking);
        self.absent(piece);
    }

    /// `owner` will not finish the piece. The blocks that arrived are kept for the next owner.
    pub fn gave_back(&mut self, partial: Partial, owner: ConnId) {
        let piece = partial.piece();
        if self.owner(piece) == Some(owner) {
            self.release(piece);
            if partial.contributors().is_empty() {
                return;
            }
            match self.alone.get_mut(&piece) {
                Some(tries) => *tries = tries.saturating_add(1),
                None => drop(self.leftovers.insert(piece, partial)),
            }
        }
    }

    /// A block arrived that its connection had given up on. `memory` is for its piece, if no other block
    /// of it is here. Without this, a peer that needs longer for a block than the patience would never get
    /// one to us.
    pub fn late(
        &mut self,
        block: Block,
        data: &[u8],
        from: &Arc<SourceIdentity>,
        memory: Option<Buffer>,
    ) -> Late {
        let piece = block.piece();
        match self.states[at(piece)] {
            State::InFlight { .. } | State::Missing if self.alone.contains_key(&piece) => Late::Done,
            State::InFlight { owner, .. } => Late::Of(owner),
            State::Missing => {
                let new = || memory.map(|memory| Partial::new(piece, memory, &self.geometry));
                let Some(mut partial) = self.leftovers.remove(&piece).or_else(new) else { return Late::Done };
                partial.put(block, data, from);
                if !partial.is_complete() {
                    self.leftovers.insert(piece, partial);
                    return Late::Done;
                }
                self.rarity.remove(piece);
                self.states[at(piece)] = State::Checking;
                Late::Complete(partial)
            }
            State::Unwanted | State::Checking | State::Have => Late::Done,
        }
    }

    /// Drops the blocks of unfinished pieces, to free their memory. True if there were any.
    pub fn drop_leftovers(&mut self) -> bool {
        let any = !self.leftovers.is_empty();
        self.leftovers.clear();
        any
    }

    pub(super) fn release(&mut self, piece: Piece) {
        self.land(piece);
        self.absent(piece);
    }

    /// We do not have the piece, and no connection fetches it.
    pub(super) fn absent(&mut self, piece: Piece) {
        let wanted = self.wanted.has(piece.index());
        self.states[at(piece)] = if wanted { State::Missing } else { State::Unwanted };
        if wanted {
            self.rarity.insert(piece);
        }
    }

    pub(super) fn land(&mut self, piece: Piece) {
        if let Some(found) = self.in_flight.iter().position(|other| *other == piece) {
            self.in_flight.swap_remove(found);
        }
    }

    pub(super) fn owner(&self, piece: Piece) -> Option<ConnId> {
        match self.states[at(piece)] {
            State::InFlight { owner, .. } => Some(owner),
            _ => None,
        }
    }
}
