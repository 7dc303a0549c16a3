//! Which peers wait to be served, since when, and how many bytes each connection has carried: everything that
//! the [`choker`](super::choker) decides by. Pure: time, byte counts and the ledger's credit are parameters.
//!
//! The owner of the table updates the byte counts with [`count`](InterestedPeers::count), samples them once a
//! round, and records what the choker decided. `Uploads` does so on the `choke` thread.
//!
//! No peer starves. A peer that sends us nothing holds a regular slot for a *turn*. Then it waits until all
//! other peers that send nothing, and have no more credit in the ledger, have had as many turns. So a seed's
//! slots go round; for a leecher the turns decide what tit for tat leaves open. A peer that comes late, or
//! comes back, starts with the fewest turns that any peer has had: it neither waits for what happened before
//! nor makes up for it. A peer that holds a slot and asks for nothing counts as idle.

use super::choker::{Decision, Waiting};
use super::order::Candidate;
use crate::peer::identity::ConnId;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// The time over which a peer's rate is measured (tit for tat).
const SPAN: Duration = Duration::from_secs(20);

/// Number of rounds in a turn: 30 s, like the optimistic slot, so that a slot changes hands at most
/// twice a minute.
const TURN: u32 = 3;
/// Number of rounds without a request after which a peer counts as idle.
const QUIET: u32 = 2;

/// Bytes of content that a connection has carried since it began, or since they were last booked.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct ContentBytes {
    /// Bytes from the peer.
    pub received: u64,
    /// Bytes to the peer.
    pub sent: u64,
}

/// All connected peers, and which of them are served.
#[derive(Default)]
pub struct InterestedPeers {
    /// Bounded by the number of connections.
    peers: BTreeMap<ConnId, Peer>,
    /// Counts the times that a peer began or stopped waiting.
    arrivals: u64,
}

struct Peer {
    since: Instant,
    /// The order in which it began to wait; `None` while it wants nothing.
    waits: Option<u64>,
    admitted: bool,
    traffic: ContentBytes,
    /// Times, and the number of bytes that it had sent us by then. At most one for each round of [`SPAN`], so
    /// three or four.
    samples: VecDeque<(Instant, u64)>,
    /// What of its traffic is in the ledger.
    booked: ContentBytes,
    /// Number of rounds in which it was served and sent us nothing.
    served: u32,
    /// Whether it has requests for blocks open now.
    asks: bool,
    /// Number of rounds in a row in which it held a slot, was interested, and got nothing because it
    /// asked for nothing.
    quiet: u32,
}

impl InterestedPeers {
    /// A connection began.
    pub fn joined(&mut self, id: ConnId, now: Instant) {
        let peer = Peer {
            since: now,
            waits: None,
            admitted: false,
            traffic: ContentBytes::default(),
            samples: VecDeque::from([(now, 0)]),
            booked: ContentBytes::default(),
            served: 0,
            asks: false,
            quiet: 0,
        };
        self.peers.insert(id, peer);
    }

    /// The peer wants to be served, or no longer does; then others may have its slot. True if the choker
    /// should look at once; false if the peer has what it wants, or has no slot to give back.
    pub fn set_waiting(&mut self, id: ConnId, waits: bool) -> bool {
        self.arrivals += 1;
        let fewest = self.fewest_turns();
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        peer.catch_up(fewest);
        peer.quiet = 0;
        peer.waits = waits.then_some(self.arrivals);
        waits != peer.admitted
    }

    /// The connection ended, after that many bytes. Returns the bytes that are not in the ledger yet, and
    /// whether a slot is free now. `None` if the connection is not known.
    pub fn left(&mut self, id: ConnId, traffic: ContentBytes) -> Option<(ContentBytes, bool)> {
        let mut peer = self.peers.remove(&id)?;
        peer.traffic = traffic;
        Some((peer.book(), peer.admitted))
    }

    /// Updates the byte counts, and which peers ask for something now.
    pub fn count(&mut self, counts: impl Fn(ConnId) -> (ContentBytes, bool)) {
        self.peers.iter_mut().for_each(|(id, peer)| (peer.traffic, peer.asks) = counts(*id));
    }

    /// Once a round, after [`count`](Self::count): takes samples for the rates. Returns the bytes that are
    /// not in the ledger yet.
    pub fn sample(&mut self, now: Instant) -> Vec<(ConnId, ContentBytes)> {
        self.peers.values_mut().for_each(|peer| peer.count_round(now));
        let fewest = self.fewest_turns();
        let sampled = self.peers.iter_mut().map(|(id, peer)| {
            if peer.waits.is_none() || peer.rate(now) > 0 {
                peer.catch_up(fewest);
            }
            while peer.samples.len() > 1 && now.saturating_duration_since(peer.samples[1].0) >= SPAN {
                peer.samples.pop_front();
            }
            peer.samples.push_back((now, peer.traffic.received));
            (*id, peer.book())
        });
        sampled.collect()
    }

    /// The peers that want to be served, and the idle ones that have a slot. `credit` gives the bytes that a
    /// peer ever sent us, according to the ledger.
    pub fn look(&self, now: Instant, credit: impl Fn(ConnId) -> u64) -> (Vec<Waiting>, Vec<ConnId>) {
        let idle = self.peers.iter().filter(|(_, peer)| peer.is_idle());
        let idle = idle.map(|(id, _)| *id).collect();
        let waiting = self.peers.iter().filter(|(_, peer)| !peer.is_idle()).filter_map(|(id, peer)| {
            let (rate, turns, credit) = (peer.rate(now), peer.turns(), credit(*id));
            let candidate = Candidate { id: *id, rate, turns, credit, arrival: peer.waits? };
            Some(Waiting { candidate, since: peer.since, admitted: peer.admitted })
        });
        (waiting.collect(), idle)
    }

    /// Records what the choker decided. True if it should look again, because a peer that lost its slot while
    /// it wanted nothing has become interested in the meantime.
    pub fn carry_out(&mut self, decision: &Decision) -> bool {
        let mut waits_again = false;
        for id in &decision.evict {
            if let Some(peer) = self.peers.get_mut(id) {
                waits_again |= peer.waits.is_some() && peer.quiet < QUIET;
                peer.admitted = false;
                if std::mem::take(&mut peer.quiet) >= QUIET {
                    peer.end_turn(); // its turn is over
                }
            }
        }
        for (id, _) in &decision.admit {
            if let Some(peer) = self.peers.get_mut(id) {
                peer.admitted = true;
            }
        }
        waits_again
    }

    /// The fewest turns that any peer has had that waits and sends nothing.
    fn fewest_turns(&self) -> u32 {
        let unpaid = self.peers.values().filter(|peer| peer.waits.is_some() && !peer.has_sent());
        unpaid.map(Peer::turns).min().unwrap_or(0)
    }

    /// Number of peers that have a slot.
    pub fn admitted(&self) -> usize {
        self.peers.values().filter(|peer| peer.admitted).count()
    }
}

impl Peer {
    /// Whether it has a slot and does not use it.
    fn is_idle(&self) -> bool {
        self.admitted && (self.waits.is_none() || self.quiet >= QUIET)
    }

    fn turns(&self) -> u32 {
        self.served / TURN
    }

    fn end_turn(&mut self) {
        self.served = (self.turns() + 1).saturating_mul(TURN);
    }

    fn catch_up(&mut self, turns: u32) {
        self.served = self.served.max(turns.saturating_mul(TURN));
    }

    /// Whether it sent us something in the time over which rates are measured.
    fn has_sent(&self) -> bool {
        self.samples.front().is_some_and(|(_, then)| self.traffic.received > *then)
    }

    /// Counts a round that is over.
    fn count_round(&mut self, now: Instant) {
        if !self.admitted || self.waits.is_none() {
            return;
        }
        if self.rate(now) == 0 {
            self.served = self.served.saturating_add(1);
        }
        let got_nothing = self.traffic.sent == self.booked.sent;
        self.quiet = if got_nothing && !self.asks { self.quiet + 1 } else { 0 };
    }

    /// Bytes per second over the last [`SPAN`], as far back as the samples go.
    fn rate(&self, now: Instant) -> u64 {
        let Some((since, then)) = self.samples.front() else { return 0 };
        let seconds = now.saturating_duration_since(*since).as_secs_f64().max(1.0);
        (self.traffic.received.saturating_sub(*then) as f64 / seconds) as u64
    }

    fn book(&mut self) -> ContentBytes {
        let booked = std::mem::replace(&mut self.booked, self.traffic);
        ContentBytes {
            received: self.traffic.received.saturating_sub(booked.received),
            sent: self.traffic.sent.saturating_sub(booked.sent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::upload::choker::{Choker, ROUND};
    use proptest::prelude::*;

    /// A number of interested peers, and a choker.
    struct Seed {
        interested: InterestedPeers,
        choker: Choker,
        start: Instant,
        rounds: u32,
        traffic: BTreeMap<ConnId, ContentBytes>,
        /// Peers that ask for nothing when they hold a slot.
        quiet: Vec<ConnId>,
        served: BTreeMap<ConnId, u32>,
        changes: usize,
    }

    impl Seed {
        fn new(peers: u64, slots: usize) -> Self {
            let mut seed = Seed {
                interested: InterestedPeers::default(),
                choker: Choker::new(slots, 5),
                start: Instant::now(),
                rounds: 0,
                traffic: BTreeMap::new(),
                quiet: Vec::new(),
                served: BTreeMap::new(),
                changes: 0,
            };
            (1..=peers).for_each(|id| seed.joins(ConnId(id)));
            seed
        }

        fn joins(&mut self, id: ConnId) {
            self.interested.joined(id, self.now());
            self.interested.set_waiting(id, true);
            self.served.insert(id, 0);
        }

        fn now(&self) -> Instant {
            self.start + ROUND * self.rounds
        }

        fn admitted(&self, id: ConnId) -> bool {
            self.interested.peers[&id].admitted
        }

        /// A round, and what happens until the next one: every peer that has a slot is served, unless it
        /// asks for nothing.
        fn round(&mut self, credit: impl Fn(ConnId) -> u64) {
            self.rounds += 1;
            for (id, served) in &mut self.served {
                if self.interested.peers[id].admitted && !self.quiet.contains(id) {
                    *served += 1;
                    self.traffic.entry(*id).or_default().sent += 1000;
                }
            }
            let (now, traffic, quiet) = (self.now(), &self.traffic, &self.quiet);
            self.interested.count(|id| (traffic.get(&id).copied().unwrap_or_default(), !quiet.contains(&id)));
            self.interested.sample(now);
            let (waiting, idle) = self.interested.look(now, credit);
            let decision = self.choker.round(&waiting, &idle, now);
            self.changes += decision.admit.len();
            self.interested.carry_out(&decision);
        }
    }

    /// Bug: a seed always served the peers that had come first; the others only had the optimistic slot.
    #[test]
    fn the_slots_of_a_seed_go_round() {
        let mut seed = Seed::new(30, 4);
        (0..30 * TURN).for_each(|_| seed.round(|_| 0));
        let least = seed.served.values().min().unwrap();
        assert!(*least >= 2 * TURN, "{:?}", seed.served);
        assert!(seed.changes <= 4 * 31, "a slot is kept for a turn: {} changes", seed.changes);
    }

    #[test]
    fn a_seed_serves_its_creditors_first_and_the_others_in_turn() {
        let mut seed = Seed::new(30, 4);
        (0..90 * TURN).for_each(|_| seed.round(|id| u64::from(id == ConnId(7))));
        assert!(seed.served[&ConnId(7)] >= 89 * TURN, "{:?}", seed.served);
        let least = seed.served.values().min().unwrap();
        assert!(*least >= 2 * TURN, "{:?}", seed.served);
    }

    #[test]
    fn whoever_comes_late_neither_waits_for_the_past_nor_makes_up_for_it() {
        let mut seed = Seed::new(12, 4);
        (0..300).for_each(|_| seed.round(|_| 0));
        seed.joins(ConnId(99));
        (0..60).for_each(|_| seed.round(|_| 0));
        let late = seed.served[&ConnId(99)];
        assert!((6..=36).contains(&late), "{late} of 60 rounds, where 4 of 13 have a slot");
    }

    #[test]
    fn whoever_pays_keeps_its_slot() {
        let mut seed = Seed::new(20, 4);
        for _ in 0..60 {
            for id in [3, 4] {
                seed.traffic.entry(ConnId(id)).or_default().received += id * 10_000;
            }
            seed.round(|_| 0);
            let keep = [3, 4].iter().filter(|id| seed.admitted(ConnId(**id))).count();
            assert_eq!(keep, 2);
        }
    }

    /// Bug: peers that said they were interested and asked for nothing held all slots.
    #[test]
    fn whoever_asks_for_nothing_gives_way() {
        let mut seed = Seed::new(4, 4);
        seed.quiet = (1..=4).map(ConnId).collect();
        (0..QUIET + 1).for_each(|_| seed.round(|_| 0));
        assert_eq!(seed.interested.admitted(), 4, "as long as nobody else has a use for it");
        (5..=8).for_each(|id| seed.joins(ConnId(id)));
        seed.round(|_| 0);
        (5..=8).for_each(|id| assert!(seed.admitted(ConnId(id))));
    }

    proptest! {
        #[test]
        fn nobody_starves(
            peers in 2u64..40,
            slots in 1usize..9,
            quiet in prop::collection::vec(1u64..40, 0..10),
        ) {
            let mut seed = Seed::new(peers, slots);
            seed.quiet = quiet.into_iter().map(ConnId).collect();
            // Twice the time until all have had a turn. A single slot is the optimistic one, which
            // goes by chance.
            let rounds = 2 * TURN as usize * (peers as usize).div_ceil(slots.max(2) - 1) + 10;
            (0..rounds).for_each(|_| seed.round(|_| 0));
            prop_assert!(seed.interested.admitted() <= slots);
            if slots > 1 {
                let starved =
                    seed.served.iter().find(|(id, served)| **served == 0 && !seed.quiet.contains(id));
                prop_assert!(starved.is_none(), "{:?} in {rounds} rounds", starved);
            }
        }
    }
}
