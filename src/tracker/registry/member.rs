//! A peer in a swarm: who it is, where it is, what it holds. Pure.
//!
//! There may be a million of them, most known from announces alone, so an announcer takes no memory of its own beyond its
//! place in its swarm's tables.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::bitfield::Bitfield;
use crate::protocol::announce::Key;
use crate::protocol::catalogue::{PeerId, PeerInfo, Pieces};
use crate::tracker::address::{self, PeerAddresses};

use super::SessionId;

/// What tells the members of a swarm apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    Session(SessionId),
    /// Where it calls from, and the port on which it takes connections.
    Announcer(IpAddr, u16),
}

/// How to know and to reach a session's peer. All its swarms share one.
#[derive(Debug)]
pub struct Contact {
    pub peer_id: PeerId,
    pub addresses: PeerAddresses,
    pub port: u16,
    pub client: String,
}

impl Contact {
    pub fn address_for(&self, asker: &PeerAddresses) -> Option<SocketAddr> {
        self.addresses.seen_from(asker).map(|ip| SocketAddr::new(ip, self.port))
    }

    pub fn info(&self, address: SocketAddr, have: u32, n_parts: u32) -> PeerInfo {
        let client = match self.client.as_str() {
            "" => client_of(self.peer_id),
            said => said.to_owned(),
        };
        PeerInfo { peer_id: self.peer_id, address, client, have, n_parts }
    }
}

/// The program that a peer id names, after BEP 20: `-LT2110-` and twelve bytes more.
fn client_of(id: PeerId) -> String {
    id.0.iter().take(8).take_while(|byte| byte.is_ascii_graphic()).map(|byte| char::from(*byte)).collect()
}

/// What a member holds.
#[derive(Debug)]
pub enum Have {
    All,
    Some(Box<Bitfield>),
    /// An announcer that lacks this many bytes. Which ones, announces do not say.
    Left(u64),
}

impl Have {
    pub fn from_bits(bits: Bitfield) -> Have {
        if bits.is_full() { Have::All } else { Have::Some(Box::new(bits)) }
    }

    pub fn from_left(left: u64) -> Have {
        if left == 0 { Have::All } else { Have::Left(left) }
    }

    /// Bytes of the set of pieces.
    pub fn memory(&self) -> usize {
        if let Have::Some(bits) = self { bits.as_bytes().len() } else { 0 }
    }

    pub fn is_all(&self) -> bool {
        matches!(self, Have::All)
    }

    /// What it holds of the pieces `first..end`.
    pub fn within(&self, (first, end): Pieces) -> Vec<Pieces> {
        match self {
            Have::All => vec![(first, end)],
            Have::Left(_) => Vec::new(),
            Have::Some(bits) => {
                let clipped = bits.ranges().into_iter().map(|r| (r.start.max(first), r.end.min(end)));
                clipped.filter(|(first, end)| first < end).collect()
            }
        }
    }
}

/// A moment: milliseconds since the registry's beginning. It comes round after 49 days; nobody is silent for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick(pub u32);

impl Tick {
    /// Milliseconds from `earlier` to this.
    pub fn since(self, earlier: Tick) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

/// What is known of a member beside where it calls from, if that is in its [`Who`].
#[derive(Debug)]
pub enum Caller {
    Session(Arc<Contact>),
    Announcer { peer_id: PeerId, key: Option<Key>, heard: Tick },
}

/// A peer in a swarm.
#[derive(Debug)]
pub struct Member {
    pub caller: Caller,
    pub have: Have,
}

/// A member where it stands.
#[derive(Debug, Clone, Copy)]
pub struct MemberRef<'a> {
    pub who: &'a Who,
    pub member: &'a Member,
}

impl MemberRef<'_> {
    pub fn peer_id(&self) -> PeerId {
        match &self.member.caller {
            Caller::Session(contact) => contact.peer_id,
            Caller::Announcer { peer_id, .. } => *peer_id,
        }
    }

    /// The address that it calls from.
    pub fn observed(&self) -> IpAddr {
        match (self.who, &self.member.caller) {
            (_, Caller::Session(contact)) => contact.addresses.observed(),
            (Who::Announcer(ip, _), _) => *ip,
            (Who::Session(_), _) => unreachable!("a session has a contact"),
        }
    }

    /// Where `asker` reaches it; `None` if it cannot.
    pub fn address_for(&self, asker: &PeerAddresses) -> Option<SocketAddr> {
        match (self.who, &self.member.caller) {
            (_, Caller::Session(contact)) => contact.address_for(asker),
            (Who::Announcer(ip, port), _) => {
                address::is_within_reach(*ip, asker).then(|| SocketAddr::new(*ip, *port))
            }
            (Who::Session(_), _) => None,
        }
    }

    pub fn info(&self, address: SocketAddr, (have, n_parts): (u32, u32)) -> PeerInfo {
        match &self.member.caller {
            Caller::Session(contact) => contact.info(address, have, n_parts),
            Caller::Announcer { peer_id, .. } => {
                PeerInfo { peer_id: *peer_id, address, client: client_of(*peer_id), have, n_parts }
            }
        }
    }
}
