//! Who is who: the name of a connection, and of the peer at its other end. Pure.

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

/// Where a block came from: whom to blame if it is wrong.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PeerIdentity {
    pub addr: IpAddr,
    pub peer_id: PeerId,
}
