//! Some of a swarm's members, its seeds or the others: found by who they are and by where they call from, and drawn at
//! random. Pure.
//!
//! A swarm may have a hundred thousand members, and somebody asks it for fifty of them a thousand times a second. So
//! nothing here walks over all: the members stand in one row without gaps, where a random place and those behind it
//! make a random choice; and their addresses stand in order, where those of a subnet are neighbours.
//!
//! Most crowds are small. Up to [`SMALL`] members they have no `by_address`; to walk over them costs less than to keep it.
//!
//! Invariant: if there is `by_address`, the place of every member is in it once, under the address that it calls from, at
//! its `nth`; and there is if there are more members than [`SMALL`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use indexmap::IndexMap;

use crate::tracker::address::Subnet;

use super::member::{Member, MemberRef, Who};

/// How many members are walked over rather than listed by their addresses.
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
    pub fn find(&self, who: &Who) -> Option<MemberRef<'_>> {
        self.row.get_key_value(who).map(|(who, seat)| MemberRef { who, member: &seat.member })
    }

    /// The member, to be changed in all but where it calls from.
    pub fn get_mut(&mut self, who: &Who) -> Option<&mut Member> {
        self.row.get_mut(who).map(|seat| &mut seat.member)
    }

    /// The member that stands at `place`, one of the numbers up to [`Crowd::len`].
    pub fn nth(&self, place: usize) -> Option<MemberRef<'_>> {
        self.row.get_index(place).map(|(who, seat)| MemberRef { who, member: &seat.member })
    }

    /// How many call from this address.
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

    /// Puts the place of a member into `by_address`.
    fn list(&mut self, place: usize) {
        let (Some((ip, _)), Some(by_address)) = (self.address_of(place), &mut self.by_address) else {
            return;
        };
        let here = by_address.entry(ip).or_default();
        self.row[place].nth = here.len() as u32; // swarms are bounded far below that
        here.push(place as u32);
    }

    /// Takes a member out. Whoever stood last in its lists takes its places in them.
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

    /// Takes the place of a member out of `by_address`.
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

    /// The address that the member at `place` calls from, and where its place stands there.
    fn address_of(&self, place: usize) -> Option<(IpAddr, usize)> {
        let (who, seat) = self.row.get_index(place)?;
        Some((MemberRef { who, member: &seat.member }.observed(), seat.nth as usize))
    }

    /// All members, in no order.
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

    /// The members that call from `subnet`, from a random one on. Whoever follows a wide gap between addresses comes
    /// first more often.
    ///
    /// Where most members are of one subnet, as in a room, the row itself is walked: neighbours in memory come ten times as fast.
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

    /// Whether the row is to be walked for those of `subnet`: there are few members, or most are of it, since those at some
    /// of its addresses alone are.
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
