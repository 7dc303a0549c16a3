//! How many newcomers are served allowed pieces without an upload slot at a time (BEP 6). Any thread; an
//! atomic counter.
//!
//! Slots are few so that each peer that is served gets enough. Thirty newcomers without a slot would share a
//! slow line among them and with those in the slots, and nobody would get a block in two minutes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Maximum number of newcomers at a time: half as many as there usually are slots.
const MOST: usize = 4;

/// The places for newcomers, of all torrents together.
#[derive(Default)]
pub struct Newcomers {
    taken: AtomicUsize,
}

/// A newcomer's place. It is free again when this is dropped.
pub struct Place {
    newcomers: Arc<Newcomers>,
}

impl Newcomers {
    /// A place, if one is free.
    pub fn welcome(self: &Arc<Self>) -> Option<Place> {
        let one_more = |taken| (taken < MOST).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.ok().map(|_| Place { newcomers: Arc::clone(self) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.newcomers.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug, found by the simulation: a slow seed allowed pieces to each of thirty newcomers. None of them got
    /// a whole block in two minutes, so all of them hung up.
    #[test]
    fn there_are_few_places_and_who_leaves_makes_room() {
        let newcomers = Arc::new(Newcomers::default());
        let mut places: Vec<Place> = (0..MOST).map_while(|_| newcomers.welcome()).collect();
        assert_eq!(places.len(), MOST);
        assert!(newcomers.welcome().is_none());
        places.pop();
        assert!(newcomers.welcome().is_some());
    }
}
