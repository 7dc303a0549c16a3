//! One swarm: its members, and which pieces have a holder. Pure.
//!
//! The members are in two [`Crowd`]s: seeds, and leechers, which lack something. What only torrents of the
//! catalogue have, such as sessions, is in the [`Listing`], because most swarms of a busy tracker are known
//! from announces alone.
//!
//! Invariants: no member is in both crowds; `listing.coverage` and `listing.memory` are sums over
//! the members; the listing's tables have all sessions that are members; `partial_seeds` counts those of
//! the leechers.

use std::net::IpAddr;
use std::ops::{AddAssign, SubAssign};

use crate::protocol::announce::Key;
use crate::protocol::catalogue::{Entry, PeerId, PeerInfo, Pieces};
use crate::tracker::address::PeerAddresses;

use super::SessionId;
use super::crowd::{Crowd, MemberRef};
use super::draw::Draw;
use super::listing::{Facts, Listing};
use super::member::{Caller, Have, Member, Who};

/// Numbers of one swarm, or their sums over all swarms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub seeds: usize,
    pub leeches: usize,
    /// Number of members that are known from announces.
    pub announcers: usize,
    /// Number of available torrents of the catalogue.
    pub available: usize,
    /// Bytes of the members' bitfields.
    pub memory: usize,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Sums) {
        self.seeds += other.seeds;
        self.leeches += other.leeches;
        self.announcers += other.announcers;
        self.available += other.available;
        self.memory += other.memory;
    }
}

impl SubAssign for Sums {
    fn sub_assign(&mut self, other: Sums) {
        self.seeds -= other.seeds;
        self.leeches -= other.leeches;
        self.announcers -= other.announcers;
        self.available -= other.available;
        self.memory -= other.memory;
    }
}

/// One swarm.
#[derive(Debug, Default)]
pub struct Swarm {
    seeds: Crowd,
    leeches: Crowd,
    /// Number of leechers that want nothing more (BEP 21).
    partial_seeds: usize,
    /// Number of announces with the event `completed`.
    pub downloaded: u32,
    /// `None` for a swarm that is known from announces alone. Such a swarm is removed with its last member.
    pub listing: Option<Box<Listing>>,
}

impl Swarm {
    pub fn facts(&self) -> Option<&Facts> {
        self.listing.as_ref().map(|listing| &listing.facts)
    }

    pub fn len(&self) -> usize {
        self.seeds.len() + self.leeches.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn seeds(&self) -> usize {
        self.seeds.len()
    }

    pub fn leeches(&self) -> usize {
        self.leeches.len()
    }

    /// Number of members that want what they lack (BEP 21).
    pub fn downloaders(&self) -> usize {
        self.leeches() - self.partial_seeds
    }

    pub fn sums(&self) -> Sums {
        let listing = self.listing.as_ref();
        Sums {
            seeds: self.seeds.len(),
            leeches: self.leeches.len(),
            announcers: self.len() - listing.map_or(0, |listing| listing.sessions.len()),
            available: usize::from(
                listing.is_some_and(|listing| !listing.is_replaced()) && self.is_available(),
            ),
            memory: listing.map_or(0, |listing| listing.memory),
        }
    }

    pub fn get(&self, who: &Who) -> Option<&Member> {
        self.leeches.get(who).or_else(|| self.seeds.get(who))
    }

    pub fn find(&self, who: &Who) -> Option<MemberRef<'_>> {
        self.leeches.find(who).or_else(|| self.seeds.find(who))
    }

    /// Number of members at this address.
    pub fn at_address(&self, ip: IpAddr) -> usize {
        self.seeds.at_address(ip) + self.leeches.at_address(ip)
    }

    /// The member at the index `place` among all of them: seeds first, then leechers.
    pub fn nth(&self, place: usize) -> Option<MemberRef<'_>> {
        match place.checked_sub(self.seeds.len()) {
            None => self.seeds.nth(place),
            Some(place) => self.leeches.nth(place),
        }
    }

    /// The session through which this peer is a member, if it is one.
    pub fn session_of(&self, peer_id: PeerId, ip: IpAddr) -> Option<SessionId> {
        self.listing.as_ref()?.sessions.get(&(peer_id, ip)).copied()
    }

    /// Notes that the swarm's torrent is in the catalogue now.
    pub fn catalogue(&mut self, facts: Facts) {
        debug_assert!(self.listing.is_none(), "a torrent is catalogued once");
        self.listing = Some(Box::new(Listing::new(facts)));
    }

    /// Whether every piece has a holder among the members.
    pub fn is_available(&self) -> bool {
        !self.seeds.is_empty() || self.listing.as_ref().is_some_and(|listing| listing.coverage.is_complete())
    }

    /// Whether a newer version replaces it.
    pub fn is_replaced(&self) -> bool {
        self.listing.as_ref().is_some_and(|listing| listing.is_replaced())
    }

    /// Why a member cannot download it, if it says so.
    pub fn blocked(&self, who: &Who) -> Option<&String> {
        let Who::Session(id) = who else { return None };
        self.listing.as_ref()?.blocked.get(id)
    }

    /// Adds a member. It replaces the member with the same identity, if there is one.
    pub fn join(&mut self, who: Who, member: Member) {
        self.part(&who);
        self.enter(who, member);
    }

    /// Adds a member that is not in the swarm yet.
    pub fn enter(&mut self, who: Who, member: Member) {
        if let (Who::Session(id), Caller::Session(contact), Some(listing)) =
            (who, &member.caller, &mut self.listing)
        {
            listing.enter(id, contact, &member.have);
        }
        self.partial_seeds += usize::from(member.have.is_partial_seed());
        let crowd = if member.have.is_all() { &mut self.seeds } else { &mut self.leeches };
        crowd.insert(who, member);
    }

    /// Removes a member; `None` if it is not in the swarm.
    pub fn part(&mut self, who: &Who) -> Option<Member> {
        let member = self.leeches.remove(who).or_else(|| self.seeds.remove(who))?;
        self.partial_seeds -= usize::from(member.have.is_partial_seed());
        if let (Who::Session(id), Caller::Session(contact), Some(listing)) =
            (who, &member.caller, &mut self.listing)
        {
            listing.exit(*id, contact, &member.have);
        }
        Some(member)
    }

    /// Updates a member, and gives whether it was a seed before. If it is not in the swarm, it is given back.
    pub fn renew(&mut self, who: Who, member: Member) -> Result<bool, Member> {
        let is_seed = member.have.is_all();
        let was_seed = match self.refresh(&who, &member) {
            Some(true) => return Ok(is_seed),
            Some(false) => is_seed, // another client has that address now
            None if is_seed && self.leeches.get(&who).is_some() => false,
            None if !is_seed && self.seeds.get(&who).is_some() => true,
            None => return Err(member),
        };
        self.join(who, member);
        Ok(was_seed)
    }

    /// The same for an announcer if only the number of missing bytes has changed, by far the usual case.
    /// False if more has changed, `None` if there is no such seed, or no such leecher.
    fn refresh(&mut self, who: &Who, member: &Member) -> Option<bool> {
        let crowd = if member.have.is_all() { &mut self.seeds } else { &mut self.leeches };
        let known = crowd.get_mut(who)?;
        match (&mut known.caller, &member.caller) {
            (
                Caller::Announcer { peer_id, key, heard },
                Caller::Announcer { peer_id: id, key: k, heard: now },
            ) if (&*peer_id, &*key) == (id, k) => {
                *heard = *now;
            }
            _ => return Some(false),
        }
        if let Have::Left(left) | Have::Unwanted(left) = member.have {
            self.partial_seeds -= usize::from(known.have.is_partial_seed());
            self.partial_seeds += usize::from(member.have.is_partial_seed());
            known.have = if member.have.is_partial_seed() { Have::Unwanted(left) } else { Have::Left(left) };
        }
        Some(true)
    }

    /// The announcer with this peer id and key and the address family of `ip`, at any address. A client with
    /// both families announces from two addresses without having moved.
    pub fn announcer(&self, peer_id: PeerId, key: Key, ip: IpAddr) -> Option<Who> {
        self.leeches.by_key(peer_id, key, ip).or_else(|| self.seeds.by_key(peer_id, key, ip))
    }

    /// Notes that a session finished the pieces of `ranges`. Gives false if it is not a member.
    pub fn finished(&mut self, id: SessionId, ranges: &[Pieces]) -> bool {
        let who = Who::Session(id);
        if self.seeds.get(&who).is_some() {
            return true;
        }
        let (Some(member), Some(listing)) = (self.leeches.get_mut(&who), &mut self.listing) else {
            return false;
        };
        let Have::Some(bits) = &mut member.have else { return false };
        let n_parts = listing.coverage.n_parts();
        for piece in ranges.iter().flat_map(|&(first, end)| first..end.min(n_parts)) {
            if bits.set(piece) {
                listing.coverage.gain(piece);
            }
        }
        if bits.is_full()
            && let Some(mut member) = self.part(&who)
        {
            member.have = Have::All;
            self.join(who, member);
        }
        true
    }

    /// The entry in the catalogue; `None` for a swarm that is not in it.
    pub fn entry(&self) -> Option<Entry> {
        let facts = self.facts()?;
        Some(Entry {
            key: facts.key.clone(),
            name: facts.name.clone(),
            path: self.listing.as_ref()?.path.clone(),
            kind: facts.kind.clone(),
            size: facts.size,
            n_parts: facts.n_parts,
            format: facts.format.clone(),
            seeds: self.seeds.len(),
            peers: self.leeches.len(),
            available: self.is_available(),
        })
    }

    /// What `asker` is told of a member; `None` if it does not reach it.
    pub fn info(&self, peer: MemberRef, asker: &PeerAddresses) -> Option<PeerInfo> {
        let member = peer.member;
        Some(member.info(peer.address_for(asker)?, self.progress(member)))
    }

    /// Number of pieces that a member holds, and number of all pieces.
    fn progress(&self, member: &Member) -> (u32, u32) {
        let n_parts = self.facts().map_or(0, |facts| facts.n_parts);
        let have = match (&member.have, self.facts()) {
            (Have::All, _) => n_parts,
            (Have::Some(bits), _) => bits.count(),
            (Have::Left(left) | Have::Unwanted(left), Some(facts)) if facts.size > 0 => {
                let there = u128::from(facts.size.saturating_sub(*left));
                (u128::from(n_parts) * there / u128::from(facts.size)) as u32
            }
            (Have::Left(_) | Have::Unwanted(_), _) => 0,
        };
        (have, n_parts)
    }

    /// Up to `want` members that `wanted` accepts and `asker` reaches: see [`Draw`]. With `leeches_only`
    /// seeds are left out, because a seed is of no use to a seed.
    pub fn pick<'a>(
        &'a self,
        asker: &'a PeerAddresses,
        want: usize,
        rng: &mut fastrand::Rng,
        leeches_only: bool,
        wanted: impl Fn(MemberRef) -> bool,
    ) -> Vec<MemberRef<'a>> {
        let (seeds, leeches) = ((!leeches_only).then_some(&self.seeds), Some(&self.leeches));
        let mut draw = Draw::new(asker, want, self.has_sessions(), wanted);
        if seeds.map_or(0, Crowd::len) + self.leeches.len() <= want {
            draw.everybody(seeds, leeches);
            return draw.picked();
        }
        draw.near(seeds, leeches, rng);
        draw.take(self.neighbours(asker));
        draw.far(seeds, leeches, rng);
        draw.picked()
    }

    /// As [`Swarm::pick`], of the members that are known to hold some of the pieces `first..end`.
    pub fn holders<'a>(
        &'a self,
        asker: &'a PeerAddresses,
        want: usize,
        rng: &mut fastrand::Rng,
        (first, end): Pieces,
        wanted: impl Fn(MemberRef) -> bool,
    ) -> Vec<MemberRef<'a>> {
        let holds = |peer: &MemberRef| match &peer.member.have {
            Have::All => true,
            Have::Left(_) | Have::Unwanted(_) => false,
            Have::Some(bits) => (first..end).any(|piece| bits.has(piece)),
        };
        let partial = self.listing.iter().flat_map(|listing| &listing.partial);
        let mut partial: Vec<MemberRef> = partial.filter_map(|id| self.session(*id)).filter(holds).collect();
        rng.shuffle(&mut partial);
        let is_near = |peer: &&MemberRef| peer.is_near(asker);
        let mut draw = Draw::new(asker, want, self.has_sessions(), wanted);
        draw.take(partial.iter().filter(is_near).copied());
        draw.near(Some(&self.seeds), None, rng);
        draw.take(self.neighbours(asker).filter(holds));
        draw.take(partial.iter().filter(|peer| !is_near(peer)).copied());
        draw.far(Some(&self.seeds), None, rng);
        draw.picked()
    }

    /// Sessions on the tracker's own machine that have an address on a subnet of an asker from elsewhere.
    fn neighbours<'a>(&'a self, asker: &'a PeerAddresses) -> impl Iterator<Item = MemberRef<'a>> {
        let local = self.listing.iter().filter(|_| !asker.observed().is_loopback());
        let local = local.flat_map(|listing| &listing.local).filter_map(|id| self.session(*id));
        local.filter(|peer| peer.is_near(asker))
    }

    fn session(&self, id: SessionId) -> Option<MemberRef<'_>> {
        self.find(&Who::Session(id))
    }

    fn has_sessions(&self) -> bool {
        self.listing.as_ref().is_some_and(|listing| !listing.sessions.is_empty())
    }
}
