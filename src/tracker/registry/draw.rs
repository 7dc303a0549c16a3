//! Which members of a swarm an asker is told. Pure.
//!
//! First those on its own subnets, then others at random; seeds and leechers in the mixture in which the swarm has them; no address twice.
//! What a draw costs depends on how many are wanted, not on the swarm: it looks at [`LOOKS`] members for each that is
//! wanted and no more. So whoever cannot use most of a huge swarm, as a client of the rarer family of addresses, may be
//! told fewer than there are.

use std::collections::HashSet;
use std::net::SocketAddr;

use crate::tracker::address::PeerAddresses;

use super::crowd::Crowd;
use super::member::MemberRef;

/// How many members may be looked at for each that is wanted.
const LOOKS: usize = 8;

/// How many may be looked at however few are wanted.
const MIN_LOOKS: usize = 256;

/// What is asked of a swarm.
pub struct Draw<'a, F> {
    asker: &'a PeerAddresses,
    want: usize,
    wanted: F,
    looks: usize,
    picked: Vec<(MemberRef<'a>, SocketAddr)>,
    /// Addresses among `picked`. Announcers have one each; only a session may share that of an announcer.
    seen: Option<HashSet<SocketAddr>>,
}

impl<'a, F: Fn(MemberRef, SocketAddr) -> bool> Draw<'a, F> {
    /// Up to `want` of the members that `wanted` lets pass, and where `asker` reaches them.
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

    /// Takes all that are wanted of crowds that are no larger than the wish, in one walk.
    pub fn everybody(&mut self, seeds: Option<&'a Crowd>, leeches: Option<&'a Crowd>) {
        let mut far = Vec::new();
        for peer in [leeches, seeds].into_iter().flatten().flat_map(Crowd::iter) {
            if let Some(address) = self.looked_at(peer) {
                let side = if self.asker.is_near(address.ip()) { &mut self.picked } else { &mut far };
                side.push((peer, address));
            }
        }
        self.picked.append(&mut far);
    }

    /// Takes from the members of the asker's subnets.
    pub fn near(&mut self, seeds: Option<&'a Crowd>, leeches: Option<&'a Crowd>, rng: &mut fastrand::Rng) {
        for subnet in self.asker.subnets() {
            let share = share(seeds, leeches);
            let [seeds, leeches] = [seeds, leeches].map(|crowd| crowd.map(|crowd| crowd.near(subnet, rng)));
            self.take(mixed(seeds, leeches, share, rng.fork()));
        }
    }

    /// Takes from all members that are not near.
    pub fn far(&mut self, seeds: Option<&'a Crowd>, leeches: Option<&'a Crowd>, rng: &mut fastrand::Rng) {
        let share = share(seeds, leeches);
        let [seeds, leeches] = [seeds, leeches].map(|crowd| crowd.map(|crowd| crowd.all(rng)));
        let asker = self.asker;
        let is_far =
            |peer: &MemberRef| peer.address_for(asker).is_none_or(|address| !asker.is_near(address.ip()));
        self.take(mixed(seeds, leeches, share, rng.fork()).filter(is_far));
    }

    /// Takes from `peers` what is wanted and as long as something is.
    pub fn take(&mut self, peers: impl Iterator<Item = MemberRef<'a>>) {
        if self.picked.len() >= self.want || self.looks == 0 {
            return;
        }
        for peer in peers {
            self.looks -= 1;
            if let Some(address) = self.looked_at(peer) {
                self.picked.push((peer, address));
            }
            if self.picked.len() >= self.want || self.looks == 0 {
                return;
            }
        }
    }

    /// Where the asker reaches the peer, if it is wanted and was not picked before.
    fn looked_at(&mut self, peer: MemberRef<'a>) -> Option<SocketAddr> {
        let address = peer.address_for(self.asker)?;
        let is_wanted =
            (self.wanted)(peer, address) && self.seen.as_mut().is_none_or(|seen| seen.insert(address));
        is_wanted.then_some(address)
    }

    pub fn picked(self) -> Vec<(MemberRef<'a>, SocketAddr)> {
        self.picked
    }
}

/// The seeds' share of the swarm, of 256.
fn share(seeds: Option<&Crowd>, leeches: Option<&Crowd>) -> u8 {
    let [seeds, leeches] = [seeds, leeches].map(|crowd| crowd.map_or(0, Crowd::len));
    (seeds * 255).checked_div(seeds + leeches).unwrap_or(0) as u8 // at most 255
}

/// Items of both, about `share` of 256 from the first, until both are at their end.
fn mixed<T>(
    first: Option<impl Iterator<Item = T>>,
    second: Option<impl Iterator<Item = T>>,
    share: u8,
    mut rng: fastrand::Rng,
) -> impl Iterator<Item = T> {
    let (mut first, mut second) = (first.into_iter().flatten(), second.into_iter().flatten());
    std::iter::from_fn(move || {
        if rng.u8(..) < share {
            first.next().or_else(|| second.next())
        } else {
            second.next().or_else(|| first.next())
        }
    })
}
