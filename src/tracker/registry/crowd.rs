//! A part of a swarm's members, either its seeds or the others. A member is found by its identity, its
//! address or its key, or drawn at random. Pure.
//!
//! A swarm may have a hundred thousand members, and be asked for fifty of them a thousand times a
//! second. So no operation walks over all of them. The members stand in one row without gaps: a random
//! index and the members after it are a random choice. Beside them stand their [`Spot`]s in the same order,
//! and a draw reads nothing else of them.
//!
//! Most crowds are small. Up to [`SMALL`] members are found by a walk over their spots, which costs less than
//! to maintain [`Lists`] of them.
//!
//! Invariants: `spots` and `members` are equally long, and in the same order. If there are `lists`, every
//! member is in each of them that it belongs to, with its index. There are some if there are more members
//! than [`SMALL`].

mod lists;

use std::net::{IpAddr, SocketAddr};

use crate::protocol::announce::Key;
use crate::protocol::catalogue::PeerId;
use crate::tracker::address::{PeerAddresses, Subnet};

use super::member::{Member, Who};
use super::spot::Spot;
use lists::Lists;

/// Maximum number of members without lists.
const SMALL: usize = 16;

/// Members in a row.
#[derive(Debug, Default)]
pub struct Crowd {
    spots: Vec<Spot>,
    members: Vec<Member>,
    lists: Option<Box<Lists>>,
}

impl Crowd {
    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn place_of(&self, who: &Who) -> Option<usize> {
        match &self.lists {
            Some(lists) => lists.find(who),
            None => self.spots.iter().position(|spot| spot.is(who)),
        }
    }

    pub fn get(&self, who: &Who) -> Option<&Member> {
        self.place_of(who).and_then(|place| self.members.get(place))
    }

    /// The member, with its identity.
    pub fn find(&self, who: &Who) -> Option<MemberRef<'_>> {
        self.place_of(who).and_then(|place| self.nth(place))
    }

    /// The member. Everything but its address, peer id and key may be changed.
    pub fn get_mut(&mut self, who: &Who) -> Option<&mut Member> {
        self.place_of(who).and_then(|place| self.members.get_mut(place))
    }

    /// The member at the index `place`, below [`Crowd::len`].
    pub fn nth(&self, place: usize) -> Option<MemberRef<'_>> {
        let (spot, member) = (self.spots.get(place)?, self.members.get(place)?);
        Some(MemberRef { spot, member })
    }

    /// Number of members at this address.
    pub fn at_address(&self, ip: IpAddr) -> usize {
        match &self.lists {
            Some(lists) => lists.at_address(ip),
            None => self.spots.iter().filter(|spot| spot.observed() == ip).count(),
        }
    }

    /// The announcer with this peer id and key that has an address of the same family as `ip`.
    pub fn by_key(&self, peer_id: PeerId, key: Key, ip: IpAddr) -> Option<Who> {
        let has_it = |peer: &MemberRef| {
            peer.observed().is_ipv4() == ip.is_ipv4() && peer.member.key() == Some((peer_id, key))
        };
        match &self.lists {
            Some(lists) => self.nth(lists.by_key(peer_id, key, ip)?).filter(has_it),
            None => self.iter().find(has_it),
        }
        .map(|peer| peer.who())
    }

    /// Adds a member that is not there.
    pub fn insert(&mut self, who: Who, member: Member) {
        debug_assert!(self.place_of(&who).is_none(), "a member stands in one place");
        let place = self.len();
        self.spots.push(Spot::of(who, &member));
        self.members.push(member);
        if let Some(lists) = &mut self.lists {
            lists.insert(place, &self.spots[place], &self.members[place]);
        } else if place >= SMALL {
            let mut lists = Box::<Lists>::default();
            for (place, (spot, member)) in self.spots.iter().zip(&self.members).enumerate() {
                lists.insert(place, spot, member);
            }
            self.lists = Some(lists);
        }
    }

    /// Removes a member. The last one takes its place.
    pub fn remove(&mut self, who: &Who) -> Option<Member> {
        let place = self.place_of(who)?;
        if let Some(lists) = &mut self.lists {
            let last = self.members.len() - 1;
            lists.remove(place, &self.spots[place], &self.members[place]);
            if place != last {
                lists.moved(last, place, &self.spots[last], &self.members[last]);
            }
        }
        self.spots.swap_remove(place);
        let member = self.members.swap_remove(place);
        if self.len() < SMALL / 2 {
            self.lists = None;
        }
        Some(member)
    }

    /// All members, in no particular order.
    pub fn iter(&self) -> Walk<'_> {
        Walk { crowd: self, place: 0, left: self.len() }
    }

    /// All members, from a random one on.
    pub fn all(&self, rng: &mut fastrand::Rng) -> Walk<'_> {
        let place = if self.is_empty() { 0 } else { rng.usize(..self.len()) };
        Walk { crowd: self, place, left: self.len() }
    }

    /// The members at addresses of `subnet`, from a random one on. A member after a wide gap between
    /// addresses comes first more often.
    ///
    /// If there are few members, or most of them are on the subnet, as in a local network, the row itself is
    /// walked: neighbours in memory are read ten times as fast.
    pub fn near<'a>(
        &'a self,
        subnet: Subnet,
        rng: &mut fastrand::Rng,
    ) -> impl Iterator<Item = MemberRef<'a>> + use<'a> {
        let lists = self.lists.as_deref().filter(|lists| !lists.is_most(subnet, self.len()));
        let mut in_row = lists.is_none().then(|| self.all(rng));
        let mut listed = lists.map(|lists| lists.on(subnet, rng).filter_map(|place| self.nth(place)));
        std::iter::from_fn(move || match (&mut in_row, &mut listed) {
            (Some(row), _) => row.find(|peer| subnet.has(peer.observed())),
            (None, listed) => listed.as_mut()?.next(),
        })
    }
}

/// Some members in the order of the row, which goes on at its beginning when it ends.
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    crowd: &'a Crowd,
    place: usize,
    left: usize,
}

impl<'a> Iterator for Walk<'a> {
    type Item = MemberRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<MemberRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        let place = self.place;
        self.place = if place + 1 < self.crowd.len() { place + 1 } else { 0 };
        self.crowd.nth(place)
    }
}

/// A member, with its identity and its address.
#[derive(Debug, Clone, Copy)]
pub struct MemberRef<'a> {
    spot: &'a Spot,
    pub member: &'a Member,
}

impl MemberRef<'_> {
    pub fn who(&self) -> Who {
        self.spot.who()
    }

    pub fn is_session(&self) -> bool {
        matches!(self.spot, Spot::Session(..))
    }

    /// Whether it is the peer with this id.
    pub fn has_id(&self, id: PeerId) -> bool {
        self.member.peer_id() == id
    }

    /// The address that it connects from.
    pub fn observed(&self) -> IpAddr {
        self.spot.observed()
    }

    /// Whether it is the announcer at this address.
    pub fn is_at(&self, at: SocketAddr) -> bool {
        self.spot.is_at(at)
    }

    /// Whether `asker` reaches it.
    pub fn is_reached_by(&self, asker: &PeerAddresses) -> bool {
        self.spot.is_reached_by(asker)
    }

    /// Whether `asker` reaches it on one of its own subnets.
    pub fn is_near(&self, asker: &PeerAddresses) -> bool {
        self.spot.is_near(asker)
    }

    /// Whether the address at which `asker` reaches it is of IPv4.
    pub fn is_v4_for(&self, asker: &PeerAddresses) -> bool {
        self.spot.is_v4_for(asker)
    }

    /// The address at which `asker` reaches it; `None` if it cannot.
    pub fn address_for(&self, asker: &PeerAddresses) -> Option<SocketAddr> {
        self.spot.address_for(asker)
    }
}

#[cfg(test)]
mod tests;
