//! Chooses the members of a swarm that an asker is told. Pure.
//!
//! First come members on the asker's own subnets, then others at random. Seeds and leechers come in the ratio
//! in which the swarm has them, and no address comes twice. The cost depends on the number of members that
//! are wanted, not on the size of the swarm: at most [`LOOKS`] members are examined for each that is wanted,
//! and [`MIN_LOOKS`] more. So an asker that cannot use most of a huge swarm, such as a client of the rarer
//! address family, may be told fewer members than there are.

use std::collections::HashSet;
use std::net::SocketAddr;

use crate::tracker::address::PeerAddresses;

use super::crowd::{Crowd, MemberRef};

/// Maximum number of members examined for each that is wanted.
const LOOKS: usize = 8;

/// Number of members that may be examined in addition, however few are wanted.
const MIN_LOOKS: usize = 256;

/// One choice of members for one asker.
pub struct Draw<'a, F> {
    asker: &'a PeerAddresses,
    want: usize,
    wanted: F,
    looks: usize,
    picked: Vec<MemberRef<'a>>,
    /// The addresses in `picked`; `None` without sessions. Each announcer has an address of its own; only a
    /// session may share one.
    seen: Option<HashSet<SocketAddr>>,
}

impl<'a, F: Fn(MemberRef) -> bool> Draw<'a, F> {
    /// Chooses up to `want` members that `wanted` accepts and `asker` reaches.
    pub fn new(asker: &'a PeerAddresses, want: usize, has_sessions: bool, wanted: F) -> Draw<'a, F> {
        Draw {
            asker,
            want,
            wanted,
            looks: MIN_LOOKS + want.saturating_mul(LOOKS),
            picked: Vec::with_capacity(want.min(64)),
            seen: has_sessions.then(HashSet::new),
        }
    }

    /// Takes all acceptable members of crowds that together have no more than `want`, in one walk.
    pub fn everybody(&mut self, seeds: Option<&'a Crowd>, leeches: Option<&'a Crowd>) {
        let mut far = Vec::new();
        for peer in [leeches, seeds].into_iter().flatten().flat_map(Crowd::iter) {
            if self.looked_at(peer) {
                let side = if peer.is_near(self.asker) { &mut self.picked } else { &mut far };
                side.push(peer);
            }
        }
        self.picked.append(&mut far);
    }

    /// Takes members on the asker's subnets.
    pub fn near(&mut self, seeds: Option<&'a Crowd>, leeches: Option<&'a Crowd>, rng: &mut fastrand::Rng) {
        for subnet in self.asker.subnets() {
            let share = share(seeds, leeches);
            let [seeds, leeches] = [seeds, leeches].map(|crowd| crowd.map(|crowd| crowd.near(subnet, rng)));
            self.take(mixed(seeds, leeches, share, rng.fork()));
        }
    }

    /// Takes members that are not on the asker's subnets.
    pub fn far(&mut self, seeds: Option<&'a Crowd>, leeches: Option<&'a Crowd>, rng: &mut fastrand::Rng) {
        let share = share(seeds, leeches);
        let [seeds, leeches] = [seeds, leeches].map(|crowd| crowd.map(|crowd| crowd.all(rng)));
        let asker = self.asker;
        self.take(mixed(seeds, leeches, share, rng.fork()).filter(|peer| !peer.is_near(asker)));
    }

    /// Takes members from `peers` until enough are picked or examined.
    pub fn take(&mut self, peers: impl Iterator<Item = MemberRef<'a>>) {
        if self.picked.len() >= self.want || self.looks == 0 {
            return;
        }
        for peer in peers {
            self.looks -= 1;
            if self.looked_at(peer) {
                self.picked.push(peer);
            }
            if self.picked.len() >= self.want || self.looks == 0 {
                return;
            }
        }
    }

    /// Whether the asker reaches the peer, and the peer is wanted and was not picked before.
    fn looked_at(&mut self, peer: MemberRef<'a>) -> bool {
        if !peer.is_reached_by(self.asker) || !(self.wanted)(peer) {
            return false;
        }
        let (seen, asker) = (self.seen.as_mut(), self.asker);
        seen.is_none_or(|seen| peer.address_for(asker).is_some_and(|address| seen.insert(address)))
    }

    pub fn picked(self) -> Vec<MemberRef<'a>> {
        self.picked
    }
}

/// The seeds' share of the members, as a part of 256.
fn share(seeds: Option<&Crowd>, leeches: Option<&Crowd>) -> u8 {
    let [seeds, leeches] = [seeds, leeches].map(|crowd| crowd.map_or(0, Crowd::len));
    (seeds * 255).checked_div(seeds + leeches).unwrap_or(0) as u8 // at most 255
}

/// Items of both iterators, about `share` of 256 from the first, until both are at their end.
fn mixed<T>(
    mut first: Option<impl Iterator<Item = T>>,
    mut second: Option<impl Iterator<Item = T>>,
    share: u8,
    mut rng: fastrand::Rng,
) -> impl Iterator<Item = T> {
    fn next<T>(items: &mut Option<impl Iterator<Item = T>>) -> Option<T> {
        items.as_mut()?.next()
    }
    std::iter::from_fn(move || match rng.u8(..) < share {
        true => next(&mut first).or_else(|| next(&mut second)),
        false => next(&mut second).or_else(|| next(&mut first)),
    })
}
