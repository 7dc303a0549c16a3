//! The memory for pieces in flight: one budget for the whole process, reserved when a piece is picked and returned
//! when its [`Buffer`] is dropped, wherever that happens. Runs on any thread; its lock is a leaf.
//!
//! Invariant: `used` is the sum of the lengths of all buffers alive, and never above `limit` but for the one piece
//! that a budget grants when nothing is in flight at all, so that a huge piece is slow rather than impossible.

use parking_lot::Mutex;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// How much memory pieces in flight may take together.
pub struct Budget {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: usize,
    /// Returned memory, kept warm: zeroing and faulting in a fresh buffer costs as much as hashing part of it.
    /// Bounded by `limit`, since all of it was in use at some time.
    spare: Vec<Vec<u8>>,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Budget { limit, state: Mutex::default() })
    }

    /// Memory for a piece of `len` bytes, its content arbitrary; `None` if the budget is spent.
    pub fn reserve(self: &Arc<Self>, len: u32) -> Option<Buffer> {
        let len = len as usize;
        let reused = {
            let mut state = self.state.lock();
            if state.used > 0 && state.used + len > self.limit {
                return None;
            }
            state.used += len;
            let reused = state.spare.pop().filter(|bytes| bytes.capacity() >= len);
            if reused.is_none() {
                state.spare.clear(); // pieces of another size came into fashion
            }
            reused
        };
        let mut bytes = reused.unwrap_or_default();
        bytes.resize(len, 0);
        Some(Buffer { bytes, budget: Arc::clone(self) })
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.state.lock().used
    }

    /// Whether more than half is in use: time to let go of what is only kept in case.
    pub fn is_half_spent(&self) -> bool {
        self.used() > self.limit / 2
    }
}

/// The memory of one piece in flight.
pub struct Buffer {
    bytes: Vec<u8>,
    budget: Arc<Budget>,
}

impl Buffer {
    /// Cuts the buffer to the `len` bytes of a shorter piece; the rest returns to the budget at once.
    pub fn shorten(&mut self, len: u32) {
        let less = self.bytes.len().saturating_sub(len as usize);
        self.bytes.truncate(len as usize);
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
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut state = self.budget.state.lock();
        state.used -= bytes.len();
        state.spare.push(bytes);
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
}
