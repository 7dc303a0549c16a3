//! A part of a swarm's members, either its seeds or the others. A member is found by its identity or its
//! address, or drawn at random. Pure.
//!
//! A swarm may have a hundred thousand members, and be asked for fifty of them a thousand times a
//! second. So no operation walks over all of them. The members stand in one row without gaps: a random
//! index and the members after it are a random choice. Their addresses are sorted, so that those of a
//! subnet are neighbours.
//!
//! Most crowds are small. With up to [`SMALL`] members there is no `by_address`: to walk over all members
//! costs less than to maintain it.
//!
//! Invariant: if there is a `by_address`, the index of every member is in it once, under the member's
//! address, at its `nth`. There is one if there are more members than [`SMALL`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use indexmap::IndexMap;

use crate::tracker::address::Subnet;

use super::member::{Member, MemberRef, Who};

/// Maximum number of members without a `by_address`.
const SMALL: usize = 16;

/// Members in a row.
#[derive(Debug, Default)]
pub struct Crowd {
    row: IndexMap<Who, Seat>,
    by_address: Option<Box<ByAddress>>,
}

type ByAddress = BTreeMap<IpAddr, Vec<u32>>;

#[derive(Debug)]
struct Seat {
    member: Member,
    /// Position of its index in the list of its address.
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

    /// The member, with its identity.
    pub fn find(&self, who: &Who) -> Option<MemberRef<'_>> {
        self.row.get_key_value(who).map(|(who, seat)| MemberRef { who, member: &seat.member })
    }

    /// The member. Everything but its address may be changed.
    pub fn get_mut(&mut self, who: &Who) -> Option<&mut Member> {
        self.row.get_mut(who).map(|seat| &mut seat.member)
    }

    /// The member at the index `place`, below [`Crowd::len`].
    pub fn nth(&self, place: usize) -> Option<MemberRef<'_>> {
        self.row.get_index(place).map(|(who, seat)| MemberRef { who, member: &seat.member })
    }

    /// Number of members at this address.
    pub fn at_address(&self, ip: IpAddr) -> usize {
        match &self.by_address {
            Some(by_address) => by_address.get(&ip).map_or(0, Vec::len),
            None => self.iter().filter(|peer| peer.observed() == ip).count(),
        }
    }

    /// Adds a member that is not there.
    pub fn insert(&mut self, who: Who, member: Member) {
        debug_assert!(!self.row.contains_key(&who), "a member stands in one place");
        let place = self.row.len();
        self.row.insert(who, Seat { member, nth: 0 });
        if self.by_address.is_some() {
            self.list(place);
        } else if place >= SMALL {
            self.by_address = Some(Box::default());
            (0..=place).for_each(|place| self.list(place));
        }
    }

    /// Adds the index of a member to `by_address`.
    fn list(&mut self, place: usize) {
        let (Some((ip, _)), Some(by_address)) = (self.address_of(place), &mut self.by_address) else {
            return;
        };
        let here = by_address.entry(ip).or_default();
        self.row[place].nth = here.len() as u32; // the limits of a swarm are far below that
        here.push(place as u32);
    }

    /// Removes a member. The last one of each list takes its position in that list.
    pub fn remove(&mut self, who: &Who) -> Option<Member> {
        let place = self.row.get_index_of(who)?;
        self.unlist(place);
        let (_, seat) = self.row.swap_remove_index(place)?;
        if let (Some((ip, nth)), Some(by_address)) = (self.address_of(place), &mut self.by_address)
            && let Some(here) = by_address.get_mut(&ip)
        {
            here[nth] = place as u32;
        }
        if self.row.len() < SMALL / 2 {
            self.by_address = None;
        }
        Some(seat.member)
    }

    /// Removes the index of a member from `by_address`.
    fn unlist(&mut self, place: usize) {
        let (Some((ip, nth)), Some(by_address)) = (self.address_of(place), &mut self.by_address) else {
            return;
        };
        let Some(here) = by_address.get_mut(&ip) else { return };
        here.swap_remove(nth);
        match here.get(nth) {
            Some(moved) => self.row[*moved as usize].nth = nth as u32,
            None if here.is_empty() => drop(by_address.remove(&ip)),
            None => {}
        }
    }

    /// The address of the member at the index `place`, and the position in the list of that address.
    fn address_of(&self, place: usize) -> Option<(IpAddr, usize)> {
        let (who, seat) = self.row.get_index(place)?;
        Some((MemberRef { who, member: &seat.member }.observed(), seat.nth as usize))
    }

    /// All members, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = MemberRef<'_>> {
        self.row.iter().map(|(who, seat)| MemberRef { who, member: &seat.member })
    }

    /// All members, from a random one on.
    pub fn all<'a>(&'a self, rng: &mut fastrand::Rng) -> impl Iterator<Item = MemberRef<'a>> + use<'a> {
        let start = if self.row.is_empty() { 0 } else { rng.usize(..self.row.len()) };
        let behind = self.row.get_range(start..).into_iter().flatten();
        let before = self.row.get_range(..start).into_iter().flatten();
        behind.chain(before).map(|(who, seat)| MemberRef { who, member: &seat.member })
    }

    /// The members at addresses of `subnet`, from a random one on. A member after a wide gap between
    /// addresses comes first more often.
    ///
    /// If most members are on the subnet, as in a local network, the row itself is walked: neighbours in
    /// memory are read ten times as fast.
    pub fn near<'a>(
        &'a self,
        subnet: Subnet,
        rng: &mut fastrand::Rng,
    ) -> impl Iterator<Item = MemberRef<'a>> + use<'a> {
        let is_most = self.is_most(subnet);
        let in_row = is_most.then(|| self.all(rng).filter(move |peer| subnet.has(peer.observed())));
        let by_address = (!is_most).then(|| self.by_address(subnet, rng));
        in_row.into_iter().flatten().chain(by_address.into_iter().flatten())
    }

    fn by_address<'a>(
        &'a self,
        subnet: Subnet,
        rng: &mut fastrand::Rng,
    ) -> impl Iterator<Item = MemberRef<'a>> + use<'a> {
        let (start, turn) = (subnet.any(rng), rng.usize(..));
        let behind = self.at(start..=subnet.last);
        let before = self.at(subnet.first..=start).filter(move |(ip, _)| **ip != start);
        behind.chain(before).flat_map(move |(_, here)| {
            let (before, behind) = here.split_at(turn % here.len().max(1));
            behind.iter().chain(before).filter_map(|place| self.nth(*place as usize))
        })
    }

    /// Whether the row should be walked for the members of `subnet`: there are few members, or those at some
    /// of its addresses are already most of them.
    fn is_most(&self, subnet: Subnet) -> bool {
        let some = self.at(subnet.first..=subnet.last).take(16);
        self.by_address.is_none() || some.map(|(_, here)| here.len()).sum::<usize>() * 2 > self.len()
    }

    fn at(&self, addresses: RangeInclusive<IpAddr>) -> impl Iterator<Item = (&IpAddr, &Vec<u32>)> {
        self.by_address.iter().flat_map(move |by_address| by_address.range(addresses.clone()))
    }
}

#[cfg(test)]
mod tests;
