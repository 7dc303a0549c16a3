//! Which peer comes next when an upload slot is free: the priority queue of the peers that wait. Pure.
//!
//! The order is the point of the whole system. Peers that send to us now come first, the fastest before the
//! others (tit for tat); then those that sent us most in the past; then those that came first. Among peers
//! that never sent anything, one that has had a turn waits until the others have had theirs, so that a seed,
//! which nobody sends to, serves all of them.

use crate::peer::identity::ConnId;
use crate::torrent::units::thousands;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A peer that wants to be served.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its connection.
    pub id: ConnId,
    /// Rate at which it sent to us over the last 20 s, bytes per second.
    pub rate: u64,
    /// Number of turns that it has had while it sent us nothing.
    pub turns: u32,
    /// Bytes that it has ever sent us, according to the ledger.
    pub credit: u64,
    /// The order in which it began to wait.
    pub arrival: u64,
}

/// Why a peer is preferred to the others.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// It sends to us now.
    SendsToUs {
        /// Bytes per second.
        rate: u64,
    },
    /// It sent to us in the past.
    SentUsBefore {
        /// Bytes.
        credit: u64,
    },
    /// It has waited longest.
    CameFirst,
    /// It gets the optimistic slot.
    Optimistic,
}

impl Candidate {
    /// What decided this candidate's place in the order.
    pub fn reason(&self) -> Reason {
        match (self.rate, self.credit) {
            (0, 0) => Reason::CameFirst,
            (0, credit) => Reason::SentUsBefore { credit },
            (rate, _) => Reason::SendsToUs { rate },
        }
    }

    fn rank(&self) -> (u64, u64, Reverse<u32>, Reverse<u64>, Reverse<ConnId>) {
        // The place of a peer that sends to us depends on its rate alone.
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

/// All peers that want to be served, the most preferred first.
#[derive(Default)]
pub struct UnchokeOrder {
    heap: BinaryHeap<Candidate>,
}

impl UnchokeOrder {
    /// Takes all peers that wait.
    pub fn new(candidates: impl IntoIterator<Item = Candidate>) -> Self {
        UnchokeOrder { heap: candidates.into_iter().collect() }
    }

    /// Removes and returns the most preferred peer.
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

    /// A peer that sends to us has its place by that alone, however many turns it had before.
    #[test]
    fn turns_do_not_count_for_those_who_send() {
        let candidate = |id, turns, arrival| Candidate { id: ConnId(id), rate: 5, turns, credit: 0, arrival };
        let mut queue = UnchokeOrder::new([candidate(1, 0, 2), candidate(2, 9, 1)]);
        let order: Vec<u64> = std::iter::from_fn(|| queue.admit()).map(|c| c.id.0).collect();
        assert_eq!(order, [2, 1]);
    }

    #[test]
    fn the_reason_is_told_in_words() {
        let candidate = Candidate { id: ConnId(1), rate: 1_500, turns: 0, credit: 7_000, arrival: 1 };
        let reason = |rate, credit| Candidate { rate, credit, ..candidate }.reason().to_string();
        assert_eq!(reason(1_500, 7_000), "sends to us, 1,500 bytes/s");
        assert_eq!(reason(0, 7_000), "sent us 7,000 bytes before");
        assert_eq!(reason(0, 0), "came first");
        assert_eq!(Reason::Optimistic.to_string(), "optimistic slot");
    }
}
