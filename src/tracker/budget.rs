//! Memory for long lines, from one budget. Each connection has a small buffer that does not count. Memory
//! beyond that is taken from this budget and given back afterwards, so that a thousand connections with a
//! long line each cannot use more than the limit. Used by the threads `client-N`; an atomic counter, no lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes that are still free.
#[derive(Debug)]
pub struct Budget {
    free: AtomicUsize,
}

impl Budget {
    pub fn new(bytes: usize) -> Arc<Budget> {
        Arc::new(Budget { free: AtomicUsize::new(bytes) })
    }

    /// A share of 0 bytes, to be resized.
    pub fn share(self: &Arc<Budget>) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

/// Bytes taken from a budget. Dropping it gives them back.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    /// Takes or gives back bytes until it holds `bytes`. Gives false and changes nothing if there
    /// are not enough.
    pub fn resize(&mut self, bytes: usize) -> bool {
        let free = &self.budget.free;
        if bytes > self.bytes {
            let more = bytes - self.bytes;
            let taken =
                free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(more));
            if taken.is_err() {
                return false;
            }
        } else {
            free.fetch_add(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_holds_another_cannot_take() {
        let budget = Budget::new(100);
        let (mut a, mut b) = (budget.share(), budget.share());
        assert!(a.resize(70) && !b.resize(31) && b.resize(30));
        assert!(a.resize(50) && b.resize(50) && !a.resize(51));
        drop(a);
        assert!(b.resize(100) && !b.resize(101));
    }
}
