//! The last part of a piece's way: from its last block to the disk.
//!
//! Two queues, so that nobody waits for anybody. In `arrived` stand pieces to be verified. A worker takes several at once, up to
//! `MOST_AT_ONCE`, because SHA-1 is fast only where several pieces are hashed side by side (v2 pieces have leaves for that); another one joins in only when so many wait that the
//! first does not keep up. In `to_write` stand verified pieces. One worker at a time writes them: the kernel lets only one thread at a
//! time write to a file, and another one that tried would only wait.
//!
//! Whoever verifies or writes goes on until its queue is empty, which it learns under the queue's lock; so a piece that
//! is added while somebody is at it, is seen by them or by whoever adds it.
//!
//! Bound: both hold partials, whose memory is in the budget.

use super::{Job, Swarm};
use crate::hash::LEAF_LEN;
use crate::peer::download::partial::Partial;
use crate::peer::handle::Handle;
use crate::torrent::Proof;
use std::collections::VecDeque;
use std::sync::Arc;

/// As many as the widest vectors hash side by side.
const MOST_AT_ONCE: usize = 16;
/// With so many waiting, those who verify do not keep up.
const TOO_MANY: usize = 8;

/// A piece of which all blocks are in, and by which hashes to verify it.
pub(crate) struct Arrived {
    /// The piece.
    pub partial: Partial,
    /// By which hashes it is verified.
    pub proof: Proof,
}

/// Pieces to be verified, and how many workers are at it.
#[derive(Default)]
pub struct ToVerify {
    waiting: VecDeque<Arrived>,
    verifiers: usize,
}

/// Verified pieces, and whether a worker writes just now.
#[derive(Default)]
pub struct ToWrite {
    waiting: VecDeque<Partial>,
    somebody_writes: bool,
}

impl Swarm {
    /// All blocks of the piece came over connection `owner`: to the workers with it.
    #[doc(hidden)]
    pub fn arrived(self: &Arc<Self>, partial: Partial, owner: &Handle) {
        let ours = self.picker.lock().checking(partial.piece(), owner.id);
        if ours {
            self.finish(partial, owner.proof);
        }
    }

    /// Has the workers finish a piece that the picker knows to be checked.
    pub(super) fn finish(self: &Arc<Self>, partial: Partial, proof: Proof) {
        self.arrived.lock().waiting.push_back(Arrived { partial, proof });
        self.pool.push(Job::Finish(Arc::clone(self)));
    }

    /// Whether one more worker is to verify pieces: then the caller does, until [`next_to_verify`](Self::next_to_verify) has
    /// nothing more.
    pub(crate) fn needs_verifier(&self) -> bool {
        let mut arrived = self.arrived.lock();
        let needed = arrived.waiting.len() > arrived.verifiers * TOO_MANY;
        arrived.verifiers += usize::from(needed);
        needed
    }

    /// For one who verifies: the next pieces. With none its turn is over.
    pub(crate) fn next_to_verify(&self) -> Vec<Arrived> {
        let mut arrived = self.arrived.lock();
        let waiting = arrived.waiting.len().min(MOST_AT_ONCE);
        let share = match arrived.waiting.front() {
            Some(first) if !self.torrent.is_verified_by_sha1(first.proof) => {
                waiting.min(self.enough_leaves())
            }
            _ => waiting,
        };
        arrived.verifiers -= usize::from(share == 0);
        arrived.waiting.drain(..share).collect()
    }

    /// So many pieces have enough leaves to fill all lanes. Taken one after the other they are written while they are still in the
    /// processor's cache.
    fn enough_leaves(&self) -> usize {
        let leaves = self.torrent.geometry().piece_length() as usize / LEAF_LEN;
        (MOST_AT_ONCE / leaves.max(1)).max(1)
    }

    /// Adds verified pieces to those to be written. True if nobody else writes: then the caller does, until
    /// [`next_to_write`](Self::next_to_write) has nothing more.
    pub(crate) fn hand_to_writer(&self, verified: Vec<Partial>) -> bool {
        let mut to_write = self.to_write.lock();
        to_write.waiting.extend(verified);
        !std::mem::replace(&mut to_write.somebody_writes, true)
    }

    /// For the one who writes: the next piece. With `None` its turn is over.
    pub(crate) fn next_to_write(&self) -> Option<Partial> {
        let mut to_write = self.to_write.lock();
        let next = to_write.waiting.pop_front();
        to_write.somebody_writes = next.is_some();
        next
    }
}
