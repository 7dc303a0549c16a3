//! A member of a swarm: its identity, its address, and what it holds. Pure.
//!
//! There may be a million members, most of them known from announces alone. So an announcer takes no memory
//! beyond its entries in the tables of its swarm.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::bitfield::Bitfield;
use crate::protocol::announce::{AnnounceEvent, Key};
use crate::protocol::catalogue::{PeerId, PeerInfo, Pieces};
use crate::tracker::address::PeerAddresses;

use super::SessionId;

/// Identifies a member of a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    Session(SessionId),
    /// The address that it announces from, and the port on which it accepts connections.
    Announcer(IpAddr, u16),
}

/// Identity and addresses of a session's peer, shared by all its swarms.
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
        PeerInfo { peer_id: self.peer_id, address, client, have, n_parts, blocked: None }
    }
}

/// The program that a peer id names (BEP 20): the first 8 of its 20 bytes, such as `-LT2110-`.
fn client_of(id: PeerId) -> String {
    id.0.iter().take(8).take_while(|byte| byte.is_ascii_graphic()).map(|byte| char::from(*byte)).collect()
}

/// What a member holds.
#[derive(Debug)]
pub enum Have {
    All,
    Some(Box<Bitfield>),
    /// An announcer that lacks this many bytes. An announce does not say which.
    Left(u64),
    /// The same of a partial seed: it does not want what it lacks (BEP 21).
    Unwanted(u64),
}

impl Have {
    pub fn from_bits(bits: Bitfield) -> Have {
        if bits.is_full() { Have::All } else { Have::Some(Box::new(bits)) }
    }

    pub fn from_left(left: u64) -> Have {
        if left == 0 { Have::All } else { Have::Left(left) }
    }

    /// What an announcer holds that lacks `left` bytes.
    pub fn announced(left: u64, event: AnnounceEvent) -> Have {
        match Have::from_left(left) {
            Have::Left(left) if event == AnnounceEvent::Paused => Have::Unwanted(left),
            have => have,
        }
    }

    pub fn is_partial_seed(&self) -> bool {
        matches!(self, Have::Unwanted(_))
    }

    /// Size of the bitfield in bytes.
    pub fn memory(&self) -> usize {
        if let Have::Some(bits) = self { bits.as_bytes().len() } else { 0 }
    }

    pub fn is_all(&self) -> bool {
        matches!(self, Have::All)
    }

    /// The pieces of `first..end` that it holds.
    pub fn within(&self, (first, end): Pieces) -> Vec<Pieces> {
        match self {
            Have::All => vec![(first, end)],
            Have::Left(_) | Have::Unwanted(_) => Vec::new(),
            Have::Some(bits) => {
                let clipped = bits.ranges().into_iter().map(|r| (r.start.max(first), r.end.min(end)));
                clipped.filter(|(first, end)| first < end).collect()
            }
        }
    }
}

/// A point in time: milliseconds since the registry's start. It wraps around after 49 days; no member is
/// silent that long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick(pub u32);

impl Tick {
    /// Milliseconds from `earlier` to this.
    pub fn since(self, earlier: Tick) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

/// How a member is known. The address of an announcer is in its [`Who`].
#[derive(Debug)]
pub enum Caller {
    Session(Arc<Contact>),
    Announcer { peer_id: PeerId, key: Option<Key>, heard: Tick },
}

impl Caller {
    pub fn peer_id(&self) -> PeerId {
        match self {
            Caller::Session(contact) => contact.peer_id,
            Caller::Announcer { peer_id, .. } => *peer_id,
        }
    }
}

/// A member of a swarm.
#[derive(Debug)]
pub struct Member {
    pub caller: Caller,
    pub have: Have,
}

impl Member {
    pub fn peer_id(&self) -> PeerId {
        self.caller.peer_id()
    }

    /// The peer id and key of an announcer that sent one.
    pub fn key(&self) -> Option<(PeerId, Key)> {
        match &self.caller {
            Caller::Announcer { peer_id, key, .. } => key.map(|key| (*peer_id, key)),
            Caller::Session(_) => None,
        }
    }

    /// What others are told of it.
    pub fn info(&self, address: SocketAddr, (have, n_parts): (u32, u32)) -> PeerInfo {
        match &self.caller {
            Caller::Session(contact) => contact.info(address, have, n_parts),
            Caller::Announcer { peer_id, .. } => PeerInfo {
                peer_id: *peer_id,
                address,
                client: client_of(*peer_id),
                have,
                n_parts,
                blocked: None,
            },
        }
    }
}
