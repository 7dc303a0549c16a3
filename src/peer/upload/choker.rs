//! Which peers are served: how the upload slots are given and taken. Pure: time and randomness
//! are parameters.
//!
//! All slots but one are given in the order of `order.rs`. The last slot is optimistic:
//! every 30 s it passes to any peer that waits. Newcomers are three times as likely to get it, since a
//! peer cannot send us anything before it has been given a first piece. If there is only one slot, it is
//! the optimistic one.
//!
//! A peer that has a slot and wants nothing at the moment is *idle*. It keeps the slot until another peer
//! needs it: a peer that has caught up with us wants each piece as it comes, and would otherwise lose its
//! slot and get it back for every piece. A peer that says it is interested but asks for nothing is idle too
//! ([`interested`](super::interested) finds out).
//!
//! Invariant: there are never more admitted peers than slots, idle ones included.

use super::order::{Candidate, Reason, UnchokeOrder};
use crate::peer::identity::ConnId;
use std::time::{Duration, Instant};

/// How often all peers are weighed again.
pub const ROUND: Duration = Duration::from_secs(10);
/// How long a peer keeps the optimistic slot.
const OPTIMISTIC: Duration = Duration::from_secs(30);
/// How long a peer counts as a newcomer.
const NEWCOMER: Duration = Duration::from_secs(60);
/// How many times as likely a newcomer gets the optimistic slot.
const NEWCOMER_WEIGHT: usize = 3;

/// A peer that wants to be served.
#[derive(Copy, Clone, Debug)]
pub struct Waiting {
    /// What decides its place in the order.
    pub candidate: Candidate,
    /// When its connection began.
    pub since: Instant,
    /// Whether it has a slot.
    pub admitted: bool,
}

/// What the choker wants changed.
#[derive(Default, Debug)]
pub struct Decision {
    /// Peers that get a slot, and why.
    pub admit: Vec<(ConnId, Reason)>,
    /// Peers that lose their slot.
    pub evict: Vec<ConnId>,
}

/// Gives and takes the upload slots.
pub struct Choker {
    slots: usize,
    optimistic: Option<(ConnId, Instant)>,
    random: fastrand::Rng,
}

impl Choker {
    /// At most `slots` peers are served at a time. `seed` decides who gets the optimistic slot.
    pub fn new(slots: usize, seed: u64) -> Self {
        Choker { slots: slots.max(1), optimistic: None, random: fastrand::Rng::with_seed(seed) }
    }

    /// Every [`ROUND`]: weighs all peers again and takes slots from those that are no longer preferred.
    /// `idle` are the peers that have a slot and want nothing.
    pub fn round(&mut self, waiting: &[Waiting], idle: &[ConnId], now: Instant) -> Decision {
        let optimistic = self.optimistic(waiting, now);
        let regular = self.slots - usize::from(optimistic.is_some());
        let others = waiting.iter().filter(|peer| Some(peer.candidate.id) != optimistic);
        let mut queue = UnchokeOrder::new(others.map(|peer| peer.candidate));
        let mut chosen: Vec<(ConnId, Reason)> =
            optimistic.map(|id| (id, Reason::Optimistic)).into_iter().collect();
        for _ in 0..regular {
            chosen.extend(queue.admit().map(|candidate| (candidate.id, candidate.reason())));
        }
        let is_chosen = |id| chosen.iter().any(|(chosen, _)| *chosen == id);
        let evict = waiting.iter().filter(|peer| peer.admitted && !is_chosen(peer.candidate.id));
        let evict =
            evict.map(|peer| peer.candidate.id).chain(self.without_room(idle, chosen.len())).collect();
        let served = |id| waiting.iter().any(|peer| peer.admitted && peer.candidate.id == id);
        Decision { admit: chosen.into_iter().filter(|(id, _)| !served(*id)).collect(), evict }
    }

    /// Between rounds: gives out free slots, and takes none from a peer that uses it.
    pub fn fill(&mut self, waiting: &[Waiting], idle: &[ConnId]) -> Decision {
        let admitted = waiting.iter().filter(|peer| peer.admitted).count();
        let outside = waiting.iter().filter(|peer| !peer.admitted).map(|peer| peer.candidate);
        let mut queue = UnchokeOrder::new(outside);
        let free = self.slots.saturating_sub(admitted);
        let admit: Vec<_> =
            (0..free).map_while(|_| queue.admit()).map(|peer| (peer.id, peer.reason())).collect();
        let evict = self.without_room(idle, admitted + admit.len()).collect();
        Decision { admit, evict }
    }

    /// The idle peers for which there is no slot beside `busy` others.
    fn without_room(&self, idle: &[ConnId], busy: usize) -> impl Iterator<Item = ConnId> {
        idle.iter().copied().skip(self.slots.saturating_sub(busy))
    }

    /// The peer that has the optimistic slot now; none while there is a slot for each.
    fn optimistic(&mut self, waiting: &[Waiting], now: Instant) -> Option<ConnId> {
        if waiting.len() <= self.slots {
            self.optimistic = None;
            return None;
        }
        if let Some((id, since)) = self.optimistic {
            let still = waiting.iter().any(|peer| peer.candidate.id == id);
            if still && now.saturating_duration_since(since) < OPTIMISTIC {
                return Some(id);
            }
        }
        let mut tickets = Vec::new();
        for peer in waiting.iter().filter(|peer| !peer.admitted) {
            let new = now.saturating_duration_since(peer.since) < NEWCOMER;
            tickets.extend(std::iter::repeat_n(peer.candidate.id, if new { NEWCOMER_WEIGHT } else { 1 }));
        }
        let winner = self.random.choice(tickets)?;
        self.optimistic = Some((winner, now));
        Some(winner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn waiting(id: u64, rate: u64, admitted: bool, since: Instant) -> Waiting {
        let candidate = Candidate { id: ConnId(id), rate, turns: 0, credit: 0, arrival: id };
        Waiting { candidate, since, admitted }
    }

    /// Applies a decision to the waiting peers.
    fn apply(waiting: &mut [Waiting], decision: &Decision) {
        for peer in waiting {
            let id = peer.candidate.id;
            peer.admitted &= !decision.evict.contains(&id);
            peer.admitted |= decision.admit.iter().any(|(admitted, _)| *admitted == id);
        }
    }

    #[test]
    fn everybody_is_served_while_there_is_room() {
        let now = Instant::now();
        let peers: Vec<Waiting> = (0..4).map(|id| waiting(id, 0, false, now)).collect();
        assert_eq!(Choker::new(4, 1).round(&peers, &[], now).admit.len(), 4);
        assert_eq!(Choker::new(4, 1).fill(&peers, &[]).admit.len(), 4);
    }

    #[test]
    fn the_fastest_keep_their_slots_and_one_rotates_through_all() {
        let start = Instant::now();
        let mut peers: Vec<Waiting> = (0..20).map(|id| waiting(id, id * 100, false, start)).collect();
        let mut choker = Choker::new(4, 7);
        let mut served = std::collections::HashSet::new();
        for round in 0..600 {
            let decision = choker.round(&peers, &[], start + ROUND * round);
            apply(&mut peers, &decision);
            let admitted: Vec<u64> = peers.iter().filter(|p| p.admitted).map(|p| p.candidate.id.0).collect();
            assert_eq!(admitted.len(), 4);
            served.extend(admitted.iter().copied());
            let regular = admitted.iter().filter(|id| **id >= 16).count();
            assert!(regular >= 3, "the fastest three are always in: {admitted:?}");
        }
        assert_eq!(served.len(), 20, "nobody starves");
    }

    /// Rounds come every 10 s, so the third after the slot was given is the one in which it passes on.
    #[test]
    fn the_optimistic_slot_passes_on_after_thirty_seconds_and_not_before() {
        let start = Instant::now();
        let mut peers: Vec<Waiting> = (0..2).map(|id| waiting(id, 0, false, start)).collect();
        let mut choker = Choker::new(1, 3);
        let mut holders = Vec::new();
        for round in 0..7 {
            let decision = choker.round(&peers, &[], start + ROUND * round);
            apply(&mut peers, &decision);
            holders.extend(peers.iter().find(|peer| peer.admitted).map(|peer| peer.candidate.id.0));
        }
        let first = holders[0];
        assert_eq!(holders, [first, first, first, 1 - first, 1 - first, 1 - first, first]);
    }

    #[test]
    fn a_peer_is_a_newcomer_for_less_than_a_minute() {
        let start = Instant::now();
        let wins_of_the_second = |age: Duration| {
            let now = start + Duration::from_secs(600);
            let peers =
                [waiting(9, 1, true, start), waiting(0, 0, false, start), waiting(1, 0, false, now - age)];
            let wins = |seed: &u64| Choker::new(1, *seed).round(&peers, &[], now).admit[0].0 == ConnId(1);
            (0..1000).filter(wins).count()
        };
        assert!(wins_of_the_second(NEWCOMER - Duration::from_secs(1)) > 650);
        assert!((400..600).contains(&wins_of_the_second(NEWCOMER)), "as likely as anybody else");
    }

    #[test]
    fn newcomers_are_three_times_as_likely() {
        let start = Instant::now();
        let now = start + Duration::from_secs(600);
        let mut wins = [0; 2];
        for seed in 0..2000 {
            let mut peers: Vec<Waiting> = vec![waiting(9, 1, true, start), waiting(0, 0, false, start)];
            peers.push(waiting(1, 0, false, now));
            let decision = Choker::new(1, seed).round(&peers, &[], now);
            wins[decision.admit[0].0.0 as usize] += 1;
        }
        assert!(wins[1] > wins[0] * 2 && wins[1] < wins[0] * 4, "{wins:?}");
    }

    /// Bug: a leecher that had caught up with another one lost its slot and got it back for
    /// every single piece.
    #[test]
    fn an_idle_peer_keeps_its_slot_until_somebody_has_a_use_for_it() {
        let now = Instant::now();
        let idle = [ConnId(7), ConnId(8)];
        for step in [
            |waiting: &[Waiting], idle: &[ConnId], _| Choker::new(3, 1).fill(waiting, idle),
            |waiting: &[Waiting], idle: &[ConnId], now| Choker::new(3, 1).round(waiting, idle, now),
        ] {
            let nobody = step(&[], &idle, now);
            assert!(nobody.admit.is_empty() && nobody.evict.is_empty());
            let one = step(&[waiting(1, 0, false, now)], &idle, now);
            assert!(one.admit.len() == 1 && one.evict.is_empty(), "there was a free slot");
            let two = step(&[waiting(1, 0, false, now), waiting(2, 0, false, now)], &idle, now);
            assert_eq!((two.admit.len(), two.evict), (2, vec![ConnId(8)]));
        }
    }

    proptest! {
        #[test]
        fn never_more_than_the_slots(
            slots in 1usize..6,
            steps in prop::collection::vec((0u64..12, 0u64..5, any::<bool>(), any::<bool>()), 1..80),
        ) {
            let start = Instant::now();
            let mut choker = Choker::new(slots, 3);
            let mut peers: Vec<Waiting> = Vec::new();
            let mut idle: Vec<ConnId> = Vec::new();
            for (step, (id, rate, leave, round)) in steps.into_iter().enumerate() {
                let now = start + Duration::from_secs(step as u64 * 4);
                // A peer that leaves counts as idle from then on, if it has a slot.
                let gone = |peer: &Waiting| leave && peer.candidate.id == ConnId(id);
                idle.extend(
                    peers.iter().filter(|peer| gone(peer) && peer.admitted).map(|peer| peer.candidate.id),
                );
                peers.retain(|peer| !gone(peer));
                if !leave && !peers.iter().any(|peer| peer.candidate.id == ConnId(id)) {
                    let back = idle.iter().position(|other| *other == ConnId(id));
                    peers.push(waiting(id, rate, back.map(|at| idle.remove(at)).is_some(), now));
                }
                let decision =
                    if round { choker.round(&peers, &idle, now) } else { choker.fill(&peers, &idle) };
                apply(&mut peers, &decision);
                idle.retain(|id| !decision.evict.contains(id));
                let admitted = peers.iter().filter(|peer| peer.admitted).count();
                prop_assert_eq!(admitted, slots.min(peers.len()), "no slot idle that has a use");
                prop_assert!(admitted + idle.len() <= slots, "none too many");
            }
        }
    }
}
