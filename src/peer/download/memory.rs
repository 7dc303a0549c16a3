//! The memory for pieces in flight: one budget for the whole process. Memory is reserved when a piece is
//! picked, and returned when its [`Buffer`] is dropped. Any thread; its lock is a leaf.
//!
//! Invariant: `used` is the sum of the lengths of all living buffers. It exceeds `limit` by two pieces at
//! most: one that is granted when nothing at all is in flight, so that a huge piece is slow rather than
//! impossible; and one *overdraft* at a time, for a torrent that has nothing in flight while others use
//! the whole budget.
//!
//! A buffer takes its memory when the first block is put into it. By then the real length of the piece is
//! known: the last piece of a small file may be a thousandth of what was reserved.

use parking_lot::Mutex;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// The limit on the memory of all pieces in flight together.
pub struct Budget {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: usize,
    overdrawn: bool,
    /// Returned memory that is kept for reuse: zeroing and faulting in a fresh buffer costs as much as
    /// hashing part of it.
    spare: Vec<Vec<u8>>,
    /// Total length of `spare`, in bytes. When a buffer is added, `spared` and `used` together
    /// stay within `limit`.
    spared: usize,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Budget { limit, state: Mutex::default() })
    }

    /// Memory for a piece of `len` bytes; `None` if the budget is used up.
    pub fn reserve(self: &Arc<Self>, len: u32) -> Option<Buffer> {
        let len = len as usize;
        let mut state = self.state.lock();
        if state.used > 0 && state.used.saturating_add(len) > self.limit {
            return None;
        }
        state.used += len;
        Some(self.buffer(len, false))
    }

    /// Memory beyond a budget that is used up, for one piece at a time; `None` while there is such a piece.
    pub fn overdraw(self: &Arc<Self>, len: u32) -> Option<Buffer> {
        let len = len as usize;
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.overdrawn, true) {
            return None;
        }
        state.used += len;
        Some(self.buffer(len, true))
    }

    fn buffer(self: &Arc<Self>, len: usize, overdraft: bool) -> Buffer {
        Buffer { bytes: Vec::new(), len, overdraft, budget: Arc::clone(self) }
    }

    /// `len` bytes with arbitrary content.
    fn memory(&self, len: usize) -> Vec<u8> {
        let reused = {
            let mut state = self.state.lock();
            let reused = state.spare.pop();
            state.spared -= reused.as_ref().map_or(0, Vec::len);
            reused
        };
        // Most pieces have the same length. A longer buffer would take more memory than was reserved.
        reused.filter(|bytes| bytes.len() == len).unwrap_or_else(|| vec![0; len])
    }

    /// Number of bytes in use.
    pub fn used(&self) -> usize {
        self.state.lock().used
    }

    /// Whether more than half of the budget is in use: time to drop what is only kept in case it is needed.
    pub fn is_half_spent(&self) -> bool {
        self.used() > self.limit / 2
    }
}

/// The memory of one piece in flight. It reads as empty until something is written.
pub struct Buffer {
    /// Empty, or `len` bytes.
    bytes: Vec<u8>,
    len: usize,
    overdraft: bool,
    budget: Arc<Budget>,
}

impl Buffer {
    /// Shortens a buffer that nothing was written to yet to `len` bytes, for a shorter piece. The rest
    /// returns to the budget at once.
    pub fn shorten(&mut self, len: u32) {
        debug_assert!(self.bytes.is_empty());
        let less = self.len.saturating_sub(len as usize);
        self.len -= less;
        self.budget.state.lock().used -= less;
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = self.budget.memory(self.len);
        }
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut state = self.budget.state.lock();
        state.used -= self.len;
        state.overdrawn &= !self.overdraft;
        if !bytes.is_empty() && state.used + state.spared + bytes.len() <= self.budget.limit {
            state.spared += bytes.len();
            state.spare.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_memory_comes_back() {
        let budget = Budget::new(100);
        let first = budget.reserve(60).unwrap();
        assert!(budget.reserve(60).is_none());
        let second = budget.reserve(40).unwrap();
        assert_eq!(budget.used(), 100);
        drop(first);
        assert_eq!(budget.used(), 40);
        drop(second);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_piece_larger_than_the_budget_goes_alone() {
        let budget = Budget::new(100);
        let huge = budget.reserve(1000).unwrap();
        assert!(budget.reserve(1).is_none());
        drop(huge);
        assert!(budget.reserve(1).is_some());
    }

    /// Bug: pieces of a kilobyte each took, and kept, the 16 MiB that were reserved for them.
    #[test]
    fn a_piece_that_ends_early_takes_no_more_memory_than_it_has_bytes() {
        let budget = Budget::new(64 << 20);
        let whole = |budget: &Arc<Budget>| budget.reserve(16 << 20).unwrap();
        let mut used_before = whole(&budget);
        used_before[0] = 1;
        drop(used_before);
        for _ in 0..2 {
            let mut short = whole(&budget);
            short.shorten(1000);
            short[999] = 1;
            assert_eq!((short.len(), budget.used()), (1000, 1000));
            assert!(short.bytes.capacity() < 2000);
        }
    }

    #[test]
    fn memory_is_used_again_but_not_hoarded() {
        let budget = Budget::new(100);
        let fill = |len| {
            let mut buffer = budget.reserve(len).unwrap();
            buffer.fill(7);
            buffer
        };
        let both = (fill(50), fill(50));
        drop(both);
        assert_eq!(budget.state.lock().spared, 100);
        let mut again = budget.reserve(50).unwrap();
        again[1] = 1;
        assert_eq!(again[0], 7, "it is the same memory");
        drop(again);
        drop(fill(60));
        let state = budget.state.lock();
        assert!(state.spared <= 100);
        assert_eq!(state.spared, state.spare.iter().map(Vec::len).sum::<usize>());
    }

    /// Bug: a torrent with huge pieces had to wait as long as another torrent had anything in flight.
    #[test]
    fn one_piece_at_a_time_goes_beyond_a_spent_budget() {
        let budget = Budget::new(100);
        let _all = budget.reserve(100).unwrap();
        assert!(budget.reserve(1000).is_none());
        let first = budget.overdraw(1000).unwrap();
        assert!(budget.overdraw(1000).is_none());
        drop(first);
        assert!(budget.overdraw(1000).is_some());
        assert_eq!(budget.used(), 100);
    }
}
