//! Where the members of a large crowd are in its row, by identity, by address and by key. Pure.
//!
//! Their addresses are sorted, so that those of a subnet are neighbours.
//!
//! Invariant: `nth` has for each index of the row the position of that index in the list of its address.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::protocol::announce::Key;
use crate::protocol::catalogue::PeerId;
use crate::tracker::address::Subnet;
use crate::tracker::registry::member::{Member, Who};
use crate::tracker::registry::spot::Spot;

/// The indices of the members. The limits of a swarm are far below 2³².
#[derive(Debug, Default)]
pub struct Lists {
    by_who: HashMap<Who, u32>,
    by_address: BTreeMap<IpAddr, Vec<u32>>,
    nth: Vec<u32>,
    /// Announcers by a hash of peer id, key and address family, so that one with a new address is recognised.
    /// Of two with the same hash the later one is found.
    by_key: HashMap<u64, u32>,
    hasher: RandomState,
}

impl Lists {
    pub fn find(&self, who: &Who) -> Option<usize> {
        self.by_who.get(who).map(|place| *place as usize)
    }

    pub fn at_address(&self, ip: IpAddr) -> usize {
        self.by_address.get(&ip).map_or(0, Vec::len)
    }

    /// Where an announcer may be that has this peer id and key, and an address of the same family as `ip`.
    pub fn by_key(&self, peer_id: PeerId, key: Key, ip: IpAddr) -> Option<usize> {
        self.by_key.get(&self.fingerprint(peer_id, key, ip)).map(|place| *place as usize)
    }

    /// Includes the address family: a client with both families announces from two addresses without having
    /// moved.
    fn fingerprint(&self, peer_id: PeerId, key: Key, ip: IpAddr) -> u64 {
        self.hasher.hash_one((peer_id, key, ip.is_ipv4()))
    }

    fn fingerprint_of(&self, spot: &Spot, member: &Member) -> Option<u64> {
        let (peer_id, key) = member.key()?;
        Some(self.fingerprint(peer_id, key, spot.observed()))
    }

    /// Adds the member at the end of the row.
    pub fn insert(&mut self, place: usize, spot: &Spot, member: &Member) {
        debug_assert_eq!(place, self.nth.len(), "it is the last one");
        let here = self.by_address.entry(spot.observed()).or_default();
        self.nth.push(here.len() as u32);
        here.push(place as u32);
        self.by_who.insert(spot.who(), place as u32);
        if let Some(fingerprint) = self.fingerprint_of(spot, member) {
            self.by_key.insert(fingerprint, place as u32);
        }
    }

    /// Removes the member at `place`. The last index of its address's list takes its position there.
    pub fn remove(&mut self, place: usize, spot: &Spot, member: &Member) {
        self.by_who.remove(&spot.who());
        if let Some(fingerprint) = self.fingerprint_of(spot, member)
            && self.by_key.get(&fingerprint) == Some(&(place as u32))
        {
            self.by_key.remove(&fingerprint);
        }
        let (ip, nth) = (spot.observed(), self.nth[place] as usize);
        if let Some(here) = self.by_address.get_mut(&ip) {
            here.swap_remove(nth);
            match here.get(nth) {
                Some(moved) => self.nth[*moved as usize] = nth as u32,
                None if here.is_empty() => drop(self.by_address.remove(&ip)),
                None => {}
            }
        }
        if place + 1 == self.nth.len() {
            self.nth.pop();
        }
    }

    /// The last member of the row, at `last`, takes the `place` of one that was removed.
    pub fn moved(&mut self, last: usize, place: usize, spot: &Spot, member: &Member) {
        self.by_who.insert(spot.who(), place as u32);
        if let Some(fingerprint) = self.fingerprint_of(spot, member)
            && let Some(listed) = self.by_key.get_mut(&fingerprint).filter(|listed| **listed == last as u32)
        {
            *listed = place as u32;
        }
        let nth = self.nth[last];
        if let Some(here) = self.by_address.get_mut(&spot.observed()) {
            here[nth as usize] = place as u32;
        }
        self.nth.swap_remove(place);
    }

    /// The members at addresses of `subnet`, from a random one on.
    pub fn on<'a>(
        &'a self,
        subnet: Subnet,
        rng: &mut fastrand::Rng,
    ) -> impl Iterator<Item = usize> + use<'a> {
        let (start, turn) = (subnet.any(rng), rng.usize(..));
        let behind = self.at(start..=subnet.last);
        let before = self.at(subnet.first..=start).filter(move |(ip, _)| **ip != start);
        behind.chain(before).flat_map(move |(_, here)| {
            let (before, behind) = here.split_at(turn % here.len().max(1));
            behind.iter().chain(before).map(|place| *place as usize)
        })
    }

    /// Whether the members at some of the addresses of `subnet` are most of all `len`.
    pub fn is_most(&self, subnet: Subnet, len: usize) -> bool {
        let some = self.at(subnet.first..=subnet.last).take(16);
        some.map(|(_, here)| here.len()).sum::<usize>() * 2 > len
    }

    fn at(&self, addresses: RangeInclusive<IpAddr>) -> impl Iterator<Item = (&IpAddr, &Vec<u32>)> {
        self.by_address.range(addresses)
    }

    /// Checks the invariants against the row.
    #[cfg(test)]
    pub fn check<'a>(&self, row: impl Iterator<Item = (&'a Spot, &'a Member)>) {
        let mut len = 0;
        for (place, (spot, member)) in row.enumerate() {
            assert_eq!(self.find(&spot.who()), Some(place));
            assert_eq!(self.by_address[&spot.observed()][self.nth[place] as usize] as usize, place);
            if let Some((peer_id, key)) = member.key() {
                assert!(
                    self.by_key(peer_id, key, spot.observed()).is_some_and(|found| found < self.nth.len())
                );
            }
            len += 1;
        }
        assert_eq!(self.by_address.values().map(Vec::len).sum::<usize>(), len);
        assert_eq!((self.by_who.len(), self.nth.len()), (len, len));
        assert!(self.by_key.len() <= len);
    }
}
