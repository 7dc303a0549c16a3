//! The last part of a piece's way: from its last block to the disk. Connections add to the queues, workers
//! take from them; each queue has its lock, which is held for a look or a change.
//!
//! There are two queues, so that no worker waits for another. `arrived` holds pieces to be verified. A worker
//! takes up to `MOST_AT_ONCE` of them, because SHA-1 is fast only if several pieces are hashed side by side;
//! v2 pieces have leaves for that. Another worker joins in only if so many pieces wait that the first does
//! not keep up. `to_write` holds verified pieces. One worker at a time writes them: the kernel lets only one
//! thread at a time write to a file, so another one would only wait.
//!
//! A worker goes on until its queue is empty, and learns that under the lock of the queue. So a piece that is
//! added meanwhile is seen by that worker, or by the thread that adds it.
//!
//! Bound: both queues hold partials, whose memory is in the budget.

use super::{Job, Swarm};
use crate::hash::LEAF_LEN;
use crate::peer::download::partial::Partial;
use crate::peer::handle::Handle;
use crate::torrent::Proof;
use std::collections::VecDeque;
use std::sync::Arc;

/// Maximum number of pieces verified together: as many as the widest vectors hash side by side.
const MOST_AT_ONCE: usize = 16;
/// Number of waiting pieces for each worker that verifies, above which another one joins in.
const TOO_MANY: usize = 8;

/// A piece whose blocks are all here, and by which hashes to verify it.
pub(crate) struct Arrived {
    /// The piece.
    pub partial: Partial,
    /// By which hashes it is verified.
    pub proof: Proof,
}

/// Pieces to be verified, and the number of workers that do so.
#[derive(Default)]
pub struct ToVerify {
    waiting: VecDeque<Arrived>,
    verifiers: usize,
}

/// Verified pieces to be written, and whether a worker writes.
#[derive(Default)]
pub struct ToWrite {
    waiting: VecDeque<Partial>,
    somebody_writes: bool,
}

impl Swarm {
    /// All blocks of a piece of connection `owner` are here: queues it for the workers.
    #[doc(hidden)]
    pub fn arrived(self: &Arc<Self>, partial: Partial, owner: &Handle) {
        let ours = self.picker.lock().checking(partial.piece(), owner.id);
        if ours {
            self.finish(partial, owner.proof);
        }
    }

    /// Has the workers finish a piece that is marked in the picker as being checked.
    pub(super) fn finish(self: &Arc<Self>, partial: Partial, proof: Proof) {
        self.arrived.lock().waiting.push_back(Arrived { partial, proof });
        self.pool.push(Job::Finish(Arc::clone(self)));
    }

    /// Whether one more worker has to verify pieces. If so, the caller does, until
    /// [`next_to_verify`](Self::next_to_verify) has no more.
    pub(crate) fn needs_verifier(&self) -> bool {
        let mut arrived = self.arrived.lock();
        let needed = arrived.waiting.len() > arrived.verifiers * TOO_MANY;
        arrived.verifiers += usize::from(needed);
        needed
    }

    /// The next pieces for a worker that verifies. If there are none, its turn is over.
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

    /// Number of pieces that have enough leaves to fill all lanes. Pieces that are taken one after the other
    /// are written while they are still in the processor's cache.
    fn enough_leaves(&self) -> usize {
        let leaves = self.torrent.geometry().piece_length() as usize / LEAF_LEN;
        (MOST_AT_ONCE / leaves.max(1)).max(1)
    }

    /// Queues verified pieces to be written. True if no worker writes: then the caller does, until
    /// [`next_to_write`](Self::next_to_write) has no more.
    pub(crate) fn hand_to_writer(&self, verified: Vec<Partial>) -> bool {
        let mut to_write = self.to_write.lock();
        to_write.waiting.extend(verified);
        !std::mem::replace(&mut to_write.somebody_writes, true)
    }

    /// The next piece for the worker that writes. `None` if its turn is over.
    pub(crate) fn next_to_write(&self) -> Option<Partial> {
        let mut to_write = self.to_write.lock();
        let next = to_write.waiting.pop_front();
        to_write.somebody_writes = next.is_some();
        next
    }
}
