//! Names: of a connection, and of the source of content at its other end. Pure.

use crate::protocol::handshake::PeerId;
use std::net::IpAddr;

/// Names a connection for the life of the process.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ConnId(pub u64);

impl std::fmt::Display for ConnId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "conn-{}", self.0)
    }
}

/// A BitTorrent peer, as bans and the ledger know it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PeerIdentity {
    /// Its address; the port does not count.
    pub addr: IpAddr,
    /// Its peer id.
    pub peer_id: PeerId,
}

/// Where blocks come from: who is to blame if they are wrong.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum SourceIdentity {
    /// A BitTorrent peer.
    Peer(PeerIdentity),
    /// A server that has the files, by its URL.
    Url(String),
}

impl SourceIdentity {
    /// The peer, if it is one.
    pub fn peer(&self) -> Option<&PeerIdentity> {
        match self {
            SourceIdentity::Peer(peer) => Some(peer),
            SourceIdentity::Url(_) => None,
        }
    }

    /// The peer's name, if it is one.
    pub fn peer_id(&self) -> Option<PeerId> {
        self.peer().map(|peer| peer.peer_id)
    }
}

impl From<PeerIdentity> for SourceIdentity {
    fn from(peer: PeerIdentity) -> Self {
        SourceIdentity::Peer(peer)
    }
}

impl std::fmt::Display for SourceIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SourceIdentity::Peer(PeerIdentity { addr, peer_id }) => write!(f, "{addr} ({peer_id:?})"),
            SourceIdentity::Url(url) => f.write_str(url),
        }
    }
}
