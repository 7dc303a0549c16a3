//! Some of a swarm's members, its seeds or the others: found by who they are and by where they call from, and drawn at
//! random. Pure.
//!
//! A swarm may have a hundred thousand members, and somebody asks it for fifty of them a thousand times a second. So
//! nothing here walks over all: the members stand in one row without gaps, where a random place and those behind it
//! make a random choice; and their addresses stand in order, where those of a subnet are neighbours.
//!
//! Invariant: the place of every member is once in `by_address`, under the address that it calls from, at its `nth`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use indexmap::IndexMap;

use crate::tracker::address::Subnet;

use super::member::{Member, Peer, Who};

/// Members in a row.
#[derive(Debug, Default)]
pub struct Crowd {
    row: IndexMap<Who, Seat>,
    by_address: BTreeMap<IpAddr, Vec<u32>>,
}

#[derive(Debug)]
struct Seat {
    member: Member,
    /// Where its place stands among those at its address.
    nth: u32,
}

impl Crowd {
    pub fn len(&self) -> usize {
        self.row.len()
    }

    pub fn is_empty(&self) -> bool {
        self.row.is_empty()
    }

    pub fn get(&self, who: &Who) -> Option<&Member> {
        self.row.get(who).map(|seat| &seat.member)
    }

    /// The member where it stands.
    pub fn find(&self, who: &Who) -> Option<Peer<'_>> {
        self.row.get_key_value(who).map(|(who, seat)| Peer { who, member: &seat.member })
    }

    /// The member, to be changed in all but where it calls from.
    pub fn get_mut(&mut self, who: &Who) -> Option<&mut Member> {
        self.row.get_mut(who).map(|seat| &mut seat.member)
    }

    /// The member that stands at `place`, one of the numbers up to [`Crowd::len`].
    pub fn nth(&self, place: usize) -> Option<Peer<'_>> {
        self.row.get_index(place).map(|(who, seat)| Peer { who, member: &seat.member })
    }

    /// How many call from this address.
    pub fn at_address(&self, ip: IpAddr) -> usize {
        self.by_address.get(&ip).map_or(0, Vec::len)
    }

    /// Adds a member that is not there.
    pub fn insert(&mut self, who: Who, member: Member) {
        debug_assert!(!self.row.contains_key(&who), "a member stands in one place");
        let place = self.row.len() as u32; // swarms are bounded far below that
        let here = self.by_address.entry(Peer { who: &who, member: &member }.observed()).or_default();
        let nth = here.len() as u32;
        here.push(place);
        self.row.insert(who, Seat { member, nth });
    }

    /// Takes a member out. Whoever stood last in its lists takes its places in them.
    pub fn remove(&mut self, who: &Who) -> Option<Member> {
        let place = self.row.get_index_of(who)?;
        let (ip, nth) = self.address_of(place)?;
        if let Some(here) = self.by_address.get_mut(&ip) {
            here.swap_remove(nth);
            match here.get(nth) {
                Some(moved) => self.row[*moved as usize].nth = nth as u32,
                None if here.is_empty() => drop(self.by_address.remove(&ip)),
                None => {}
            }
        }
        let (_, seat) = self.row.swap_remove_index(place)?;
        if let Some((ip, nth)) = self.address_of(place)
            && let Some(here) = self.by_address.get_mut(&ip)
        {
            here[nth] = place as u32;
        }
        Some(seat.member)
    }

    /// The address that the member at `place` calls from, and where its place stands there.
    fn address_of(&self, place: usize) -> Option<(IpAddr, usize)> {
        let (who, seat) = self.row.get_index(place)?;
        Some((Peer { who, member: &seat.member }.observed(), seat.nth as usize))
    }

    /// All members, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Peer<'_>> {
        self.row.iter().map(|(who, seat)| Peer { who, member: &seat.member })
    }

    /// All members, from a random one on.
    pub fn all<'a>(&'a self, rng: &mut fastrand::Rng) -> impl Iterator<Item = Peer<'a>> + use<'a> {
        let start = if self.row.is_empty() { 0 } else { rng.usize(..self.row.len()) };
        let behind = self.row.get_range(start..).into_iter().flatten();
        let before = self.row.get_range(..start).into_iter().flatten();
        behind.chain(before).map(|(who, seat)| Peer { who, member: &seat.member })
    }

    /// The members that call from `subnet`, from a random one on. Whoever follows a wide gap between addresses comes
    /// first more often.
    ///
    /// Where most members are of one subnet, as in a room, the row itself is walked: neighbours in memory come ten times as fast.
    pub fn near<'a>(
        &'a self,
        subnet: Subnet,
        rng: &mut fastrand::Rng,
    ) -> impl Iterator<Item = Peer<'a>> + use<'a> {
        let is_most = self.is_most(subnet);
        let in_row = is_most.then(|| self.all(rng).filter(move |peer| subnet.has(peer.observed())));
        let by_address = (!is_most).then(|| self.by_address(subnet, rng));
        in_row.into_iter().flatten().chain(by_address.into_iter().flatten())
    }

    fn by_address<'a>(
        &'a self,
        subnet: Subnet,
        rng: &mut fastrand::Rng,
    ) -> impl Iterator<Item = Peer<'a>> + use<'a> {
        let (start, turn) = (subnet.any(rng), rng.usize(..));
        let behind = self.at(start..=subnet.last);
        let before = self.at(subnet.first..=start).filter(move |(ip, _)| **ip != start);
        behind.chain(before).flat_map(move |(_, here)| {
            let (before, behind) = here.split_at(turn % here.len().max(1));
            behind.iter().chain(before).filter_map(|place| self.nth(*place as usize))
        })
    }

    /// Whether most members are surely of `subnet`: those at some of its addresses alone are.
    fn is_most(&self, subnet: Subnet) -> bool {
        let some = self.at(subnet.first..=subnet.last).take(16);
        some.map(|(_, here)| here.len()).sum::<usize>() * 2 > self.len()
    }

    fn at(&self, addresses: RangeInclusive<IpAddr>) -> impl Iterator<Item = (&IpAddr, &Vec<u32>)> {
        self.by_address.range(addresses)
    }
}

#[cfg(test)]
mod tests;
