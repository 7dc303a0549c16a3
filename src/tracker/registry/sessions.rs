//! Sessions in the registry: how they begin and end, what they publish, and which peers they are told. Pure.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::protocol::catalogue::{
    DEFAULT_WANT, Giver, Held, Hello, Holder, MAX_LISTED, PeerInfo, Pieces, Refusal,
};
use crate::torrent::InfoHash;
use crate::tracker::address::PeerAddresses;

use super::change_log::Cursor;
use super::crowd::MemberRef;
use super::member::{Caller, Contact, Have, Member, Who};
use super::{Departure, Registry, unknown};

/// A session's number, never used twice.
pub type SessionId = u64;

/// How far a session has read the changes and the offers.
#[derive(Debug, Clone, Copy)]
pub struct Read {
    pub changes: Cursor,
    pub offers: Cursor,
}

/// What the registry keeps for a session.
pub struct SessionRecord {
    pub contact: Arc<Contact>,
    /// Under which name its offers go.
    pub giver: Giver,
    pub torrents: HashSet<InfoHash>,
}

impl Registry {
    /// Begins a session. It is told of changes from now on; a mirror is also told of all open offers.
    pub fn hello(&mut self, hello: &Hello, observed: IpAddr) -> (SessionId, Read) {
        let id = self.next_session;
        self.next_session += 1;
        let contact = Arc::new(Contact {
            peer_id: hello.peer_id,
            addresses: PeerAddresses::new(observed, &hello.addresses),
            port: hello.port,
            client: hello.client.chars().filter(|c| !c.is_control()).take(64).collect(),
        });
        let giver = hello.giver(observed);
        self.sessions.insert(id, SessionRecord { contact, giver, torrents: HashSet::new() });
        let offers = if hello.mirror { Cursor::default() } else { self.offers.end() };
        (id, Read { changes: self.changes.end(), offers })
    }

    /// Makes a session a member of a swarm of the catalogue.
    ///
    /// # Errors
    /// If it names pieces that the torrent does not have, or a limit is reached.
    pub fn publish(
        &mut self,
        id: SessionId,
        hash: InfoHash,
        have: &Held,
        offer: bool,
    ) -> Result<(), Refusal> {
        let hash = self.primary(hash);
        let swarm = self.swarms.get(&hash).ok_or_else(|| unknown(&hash.to_string()))?;
        let n_parts = swarm.facts().map_or(0, |facts| facts.n_parts);
        let bits = have.bitfield(n_parts).ok_or_else(|| bad_ranges(n_parts))?;
        let session = self.sessions.get(&id).ok_or_else(gone)?;
        let is_new = !session.torrents.contains(&hash);
        if is_new && session.torrents.len() >= self.limits.torrents_per_session {
            return Err(Refusal::new("this session shares as many torrents as the tracker allows"));
        }
        if is_new && swarm.len() >= self.limits.swarm_size {
            return Err(Refusal::new("the swarm of this torrent is full"));
        }
        if !bits.is_full() && self.sums.memory + bits.as_bytes().len() > self.limits.set_bytes {
            return Err(Refusal::new("the tracker follows as many unfinished downloads as it can"));
        }
        let (contact, giver) = (session.contact.clone(), session.giver);
        // The same peer may be a member already, through an earlier session or as an announcer. It
        // would count twice.
        let (peer_id, ip) = (contact.peer_id, contact.addresses.observed());
        let former = swarm.session_of(peer_id, ip).filter(|former| *former != id);
        let announcer = Who::Announcer(ip, contact.port);
        self.change(hash, Departure::Lost, |swarm| {
            former.map(|former| swarm.part(&Who::Session(former)));
            if swarm.find(&announcer).is_some_and(|peer| peer.has_id(peer_id)) {
                swarm.part(&announcer);
            }
            let member = Member { caller: Caller::Session(contact), have: Have::from_bits(bits) };
            swarm.join(Who::Session(id), member);
        });
        if let Some(session) = former.and_then(|former| self.sessions.get_mut(&former)) {
            session.torrents.remove(&hash);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.torrents.insert(hash);
        }
        if offer {
            self.offer(hash, giver);
        }
        Ok(())
    }

    /// Notes that a session has finished pieces.
    ///
    /// # Errors
    /// If it has not published the torrent, or the torrent does not have these pieces.
    pub fn finished(&mut self, id: SessionId, hash: InfoHash, ranges: &[Pieces]) -> Result<(), Refusal> {
        let n_parts = self.facts(hash)?.n_parts;
        if ranges.iter().any(|&(first, end)| first >= end || end > n_parts) {
            return Err(bad_ranges(n_parts));
        }
        self.change(hash, Departure::Lost, |swarm| swarm.finished(id, ranges))
            .unwrap_or(false)
            .then_some(())
            .ok_or_else(|| Refusal::new("this session has not published the torrent"))
    }

    /// Removes a session from a swarm.
    ///
    /// # Errors
    /// If it is not a member.
    pub fn unpublish(&mut self, id: SessionId, hash: InfoHash) -> Result<(), Refusal> {
        let session = self.sessions.get_mut(&id).ok_or_else(gone)?;
        if !session.torrents.remove(&hash) {
            return Err(Refusal::new("this session has not published the torrent"));
        }
        let by = session.giver;
        if let Some(listing) = self.swarms.get_mut(&hash).and_then(|swarm| swarm.listing.as_mut())
            && listing.offer == Some(by)
        {
            listing.offer = None;
            self.offers.remove(&mut listing.offered_at);
        }
        self.change(hash, Departure::Withdrew, |swarm| swarm.part(&Who::Session(id)));
        Ok(())
    }

    /// Ends a session, and removes it from all its swarms.
    pub fn leave(&mut self, id: SessionId, how: Departure) {
        let Some(session) = self.sessions.remove(&id) else { return };
        for hash in session.torrents {
            self.change(hash, how, |swarm| swarm.part(&Who::Session(id)));
        }
    }

    /// The other members of a swarm.
    ///
    /// # Errors
    /// If the torrent is not in the catalogue.
    pub fn peers(
        &mut self,
        id: SessionId,
        hash: InfoHash,
        want: Option<usize>,
    ) -> Result<Vec<PeerInfo>, Refusal> {
        self.facts(hash)?;
        let (Some(swarm), Some(asker)) = (self.swarms.get(&hash), self.sessions.get(&id)) else {
            return Err(gone());
        };
        let want = want.unwrap_or(DEFAULT_WANT).min(MAX_LISTED);
        let me = &asker.contact;
        let picked = swarm.pick(&me.addresses, want, &mut self.rng, false, |peer| !is_peer(peer, me));
        let info = |peer: MemberRef| {
            let blocked = swarm.blocked(&peer.who()).cloned();
            Some(PeerInfo { blocked, ..swarm.info(peer, &me.addresses)? })
        };
        Ok(picked.into_iter().filter_map(info).collect())
    }

    /// The other sessions.
    pub fn all_peers(&self, id: SessionId, want: Option<usize>) -> Vec<PeerInfo> {
        let Some(asker) = self.sessions.get(&id) else { return Vec::new() };
        let others = self.sessions.values().filter(|other| !is_same_peer(&other.contact, &asker.contact));
        others
            .filter_map(|other| {
                let address = other.contact.address_for(&asker.contact.addresses)?;
                Some(other.contact.info(address, 0, 0))
            })
            .take(want.unwrap_or(MAX_LISTED).min(MAX_LISTED))
            .collect()
    }

    /// The members that hold any of `pieces`, and which of them.
    ///
    /// # Errors
    /// If the torrent is not in the catalogue, or does not have these pieces.
    pub fn locate(&mut self, id: SessionId, hash: InfoHash, pieces: Pieces) -> Result<Vec<Holder>, Refusal> {
        let n_parts = self.facts(hash)?.n_parts;
        if pieces.0 >= pieces.1 || pieces.1 > n_parts {
            return Err(bad_ranges(n_parts));
        }
        let (Some(swarm), Some(asker)) = (self.swarms.get(&hash), self.sessions.get(&id)) else {
            return Err(gone());
        };
        let me = &asker.contact;
        let picked =
            swarm.holders(&me.addresses, DEFAULT_WANT, &mut self.rng, pieces, |peer| !is_peer(peer, me));
        Ok(picked
            .into_iter()
            .filter_map(|peer| {
                let ranges = peer.member.have.within(pieces);
                Some(Holder { peer: swarm.info(peer, &me.addresses)?, ranges })
            })
            .collect())
    }
}

/// Whether two contacts are one peer: same peer id and same address. The address is compared so that no other
/// peer can take its place.
fn is_same_peer(a: &Contact, b: &Contact) -> bool {
    a.peer_id == b.peer_id && a.addresses.observed() == b.addresses.observed()
}

/// Whether a member is the peer of `contact`, in the same sense.
fn is_peer(member: MemberRef, contact: &Contact) -> bool {
    member.has_id(contact.peer_id) && member.observed() == contact.addresses.observed()
}

fn bad_ranges(n_parts: u32) -> Refusal {
    Refusal::new(format!("pieces must be ranges [first, end] with first < end, and end at most {n_parts}"))
}

fn gone() -> Refusal {
    Refusal::new("this session has ended")
}
