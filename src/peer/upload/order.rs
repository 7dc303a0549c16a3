//! Who comes next when an upload slot is free: the priority queue of those who wait. Pure.
//!
//! The order is the point of the whole system: who sends to us now is served first, the fastest before the rest
//! (tit for tat); then who sent us most in the past; then who came first. Of those who never sent anything, whoever has had a
//! turn waits until the others have had theirs, so that a seed, to whom nobody sends, serves all of them.

use crate::peer::identity::ConnId;
use crate::torrent::units::thousands;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Somebody who wants to be served.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    pub id: ConnId,
    /// Bytes per second that it sent us over the last 20 s.
    pub rate: u64,
    /// How many turns it has had while it sent us nothing.
    pub turns: u32,
    /// Bytes that it ever sent us, by the ledger.
    pub credit: u64,
    /// The order in which it came to wait.
    pub arrival: u64,
}

/// Why somebody is preferred to the rest, in words.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    SendsToUs { rate: u64 },
    SentUsBefore { credit: u64 },
    CameFirst,
    Optimistic,
}

impl Candidate {
    /// What decided this candidate's place.
    pub fn reason(&self) -> Reason {
        match (self.rate, self.credit) {
            (0, 0) => Reason::CameFirst,
            (0, credit) => Reason::SentUsBefore { credit },
            (rate, _) => Reason::SendsToUs { rate },
        }
    }

    fn rank(&self) -> (u64, u64, Reverse<u32>, Reverse<u64>, Reverse<ConnId>) {
        // Whoever sends to us has its place by that alone.
        let turns = if self.rate > 0 { 0 } else { self.turns };
        (self.rate, self.credit, Reverse(turns), Reverse(self.arrival), Reverse(self.id))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::SendsToUs { rate } => write!(f, "sends to us, {} bytes/s", thousands(*rate)),
            Reason::SentUsBefore { credit } => write!(f, "sent us {} bytes before", thousands(*credit)),
            Reason::CameFirst => write!(f, "came first"),
            Reason::Optimistic => write!(f, "optimistic slot"),
        }
    }
}

/// Everybody who wants to be served, the most preferred first.
#[derive(Default)]
pub struct UnchokeOrder {
    heap: BinaryHeap<Candidate>,
}

impl UnchokeOrder {
    /// Takes in everybody who waits.
    pub fn new(candidates: impl IntoIterator<Item = Candidate>) -> Self {
        UnchokeOrder { heap: candidates.into_iter().collect() }
    }

    /// The most preferred of those who wait.
    pub fn admit(&mut self) -> Option<Candidate> {
        self.heap.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_first_then_creditors_then_the_first_to_come() {
        let candidate =
            |id, rate, credit, arrival| Candidate { id: ConnId(id), rate, turns: 0, credit, arrival };
        let mut queue = UnchokeOrder::new([
            candidate(1, 0, 0, 1),
            candidate(2, 0, 500, 5),
            candidate(3, 10, 0, 9),
            candidate(4, 0, 0, 0),
            candidate(5, 90, 0, 8),
            candidate(6, 0, 900, 7),
        ]);
        let order: Vec<u64> = std::iter::from_fn(|| queue.admit()).map(|c| c.id.0).collect();
        assert_eq!(order, [5, 3, 6, 2, 4, 1]);
    }

    #[test]
    fn creditors_come_first_and_the_others_take_turns() {
        let candidate =
            |id, rate, turns, credit| Candidate { id: ConnId(id), rate, turns, credit, arrival: id };
        let mut queue = UnchokeOrder::new([
            candidate(1, 0, 1, 900),
            candidate(2, 0, 0, 0),
            candidate(3, 0, 0, 5),
            candidate(4, 1, 9, 0),
            candidate(5, 0, 1, 0),
        ]);
        let order: Vec<u64> = std::iter::from_fn(|| queue.admit()).map(|c| c.id.0).collect();
        assert_eq!(order, [4, 1, 3, 2, 5]);
    }
}
