//! Virtual time, and the queue of future events.
//!
//! Two events at the same time happen in the order in which they were planned, so a run depends only on
//! its seed. The library's clocks are `Instant`s; here each is a fixed instant plus the virtual time
//! that has passed.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// The planned events, the earliest first.
pub struct Agenda<E> {
    start: Instant,
    now: Duration,
    planned: BinaryHeap<Planned<E>>,
    count: u64,
}

struct Planned<E> {
    at: Duration,
    nth: u64,
    event: E,
}

impl<E> Agenda<E> {
    pub fn new() -> Self {
        Agenda { start: Instant::now(), now: Duration::ZERO, planned: BinaryHeap::new(), count: 0 }
    }

    /// Virtual time since the start.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The same as an instant for the library.
    pub fn instant(&self) -> Instant {
        self.start + self.now
    }

    /// The virtual time of an instant from the library.
    pub fn time_of(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.start)
    }

    /// Plans an event; one for the past happens next.
    pub fn at(&mut self, at: Duration, event: E) {
        self.count += 1;
        self.planned.push(Planned { at: at.max(self.now), nth: self.count, event });
    }

    pub fn after(&mut self, wait: Duration, event: E) {
        self.at(self.now + wait, event);
    }

    /// The next event; the virtual time becomes the event's time.
    pub fn next(&mut self) -> Option<E> {
        let next = self.planned.pop()?;
        self.now = next.at;
        Some(next.event)
    }
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.nth).cmp(&(self.at, self.nth)) // the heap gives the greatest first
    }
}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Planned<E> {}
