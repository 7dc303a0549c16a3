//! Who waits to be served, since when, and what passed between us and each: all that the [`choker`](super::choker)
//! decides by. Pure: time, byte counts and the ledger's credit are parameters.
//!
//! Whoever owns a room has the byte counts brought up to date with [`count`](WaitingRoom::count), samples them once a
//! round, and carries out in it what the choker decided. `Uploads` does so on the `choke` thread.

use super::admission::Candidate;
use super::choker::{Decision, Waiting};
use super::conn_id::ConnId;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// The span over which a peer's rate counts (tit for tat).
const SPAN: Duration = Duration::from_secs(20);

/// Content that passed over a connection since it began, or since it was last booked: bytes.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct Traffic {
    pub received: u64,
    pub sent: u64,
}

/// All connected peers, and who of them is served.
#[derive(Default)]
pub struct WaitingRoom {
    /// Bounded by the number of connections.
    peers: BTreeMap<ConnId, Peer>,
    arrivals: u64,
}

struct Peer {
    since: Instant,
    /// The order in which it came to wait; `None` while it does not want anything.
    waits: Option<u64>,
    admitted: bool,
    traffic: Traffic,
    /// When, and how much it had sent us by then. At most one a round of [`SPAN`], so three or four.
    samples: VecDeque<(Instant, u64)>,
    /// How much of its traffic the ledger knows.
    booked: Traffic,
}

impl WaitingRoom {
    /// A connection began.
    pub fn joined(&mut self, id: ConnId, now: Instant) {
        let (traffic, booked) = (Traffic::default(), Traffic::default());
        let samples = VecDeque::from([(now, 0)]);
        let peer = Peer { since: now, waits: None, admitted: false, traffic, samples, booked };
        self.peers.insert(id, peer);
    }

    /// The peer wants to be served, or no longer does, which makes its slot one that others may have. True if the choker
    /// should look at once; false if the peer has what it wants, or nothing to give back.
    pub fn set_waiting(&mut self, id: ConnId, waits: bool) -> bool {
        self.arrivals += 1;
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        peer.waits = waits.then_some(self.arrivals);
        waits != peer.admitted
    }

    /// The connection ended, after so much traffic: what of it the ledger does not know, and whether a slot is free
    /// now. `None` if it never began.
    pub fn left(&mut self, id: ConnId, traffic: Traffic) -> Option<(Traffic, bool)> {
        let mut peer = self.peers.remove(&id)?;
        peer.traffic = traffic;
        Some((peer.book(), peer.admitted))
    }

    /// Brings the byte counts up to date.
    pub fn count(&mut self, traffic: impl Fn(ConnId) -> Traffic) {
        self.peers.iter_mut().for_each(|(id, peer)| peer.traffic = traffic(*id));
    }

    /// Once a round, after [`count`](Self::count): remembers how things stand, for the rates to come. Gives the
    /// traffic that the ledger does not know yet.
    pub fn sample(&mut self, now: Instant) -> Vec<(ConnId, Traffic)> {
        let sampled = self.peers.iter_mut().map(|(id, peer)| {
            while peer.samples.len() > 1 && now.saturating_duration_since(peer.samples[1].0) >= SPAN {
                peer.samples.pop_front();
            }
            peer.samples.push_back((now, peer.traffic.received));
            (*id, peer.book())
        });
        sampled.collect()
    }

    /// Those who want to be served, and those who have a slot and do not. `credit` is what the ledger says a peer ever
    /// sent us, bytes.
    pub fn look(&self, now: Instant, credit: impl Fn(ConnId) -> u64) -> (Vec<Waiting>, Vec<ConnId>) {
        let idle = self.peers.iter().filter(|(_, peer)| peer.admitted && peer.waits.is_none());
        let idle = idle.map(|(id, _)| *id).collect();
        let waiting = self.peers.iter().filter_map(|(id, peer)| {
            let candidate =
                Candidate { id: *id, rate: peer.rate(now), credit: credit(*id), arrival: peer.waits? };
            Some(Waiting { candidate, since: peer.since, admitted: peer.admitted })
        });
        (waiting.collect(), idle)
    }

    /// Carries out what the choker decided. True if it should look again: somebody who lost the slot because he wanted
    /// nothing does by now.
    pub fn carry_out(&mut self, decision: &Decision) -> bool {
        let mut waits_again = false;
        for id in &decision.evict {
            if let Some(peer) = self.peers.get_mut(id) {
                peer.admitted = false;
                waits_again |= peer.waits.is_some();
            }
        }
        for (id, _) in &decision.admit {
            if let Some(peer) = self.peers.get_mut(id) {
                peer.admitted = true;
            }
        }
        waits_again
    }

    /// How many have a slot.
    pub fn admitted(&self) -> usize {
        self.peers.values().filter(|peer| peer.admitted).count()
    }
}

impl Peer {
    /// Bytes per second over the last [`SPAN`], as far back as the samples go.
    fn rate(&self, now: Instant) -> u64 {
        let Some((since, then)) = self.samples.front() else { return 0 };
        let seconds = now.saturating_duration_since(*since).as_secs_f64().max(1.0);
        (self.traffic.received.saturating_sub(*then) as f64 / seconds) as u64
    }

    fn book(&mut self) -> Traffic {
        let booked = std::mem::replace(&mut self.booked, self.traffic);
        Traffic {
            received: self.traffic.received.saturating_sub(booked.received),
            sent: self.traffic.sent.saturating_sub(booked.sent),
        }
    }
}
