//! How a connection opens: 68 bytes in each direction (BEP 3), with reserved bits that tell which extensions
//! each side supports (BEP 6, 10, 52). Pure.
//!
//! The types enforce the order. An [`Initiator`] has sent its handshake and can only
//! [`accept`](Initiator::accept) a reply. A reply can only be made from a [`Hello`] that was read. Only these
//! two give an [`Agreement`], which a session needs.

pub use crate::peer_id::PeerId;
use crate::torrent::{InfoHash, InfoHashes, Proof};
use thiserror::Error;

/// Length of a handshake in bytes.
pub const HANDSHAKE_LEN: usize = 68;
const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// Why a handshake ends the connection.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HandshakeError {
    /// The first 20 bytes are not those of a BitTorrent handshake.
    #[error("it does not speak BitTorrent")]
    NotBitTorrent,
    /// The reply carries the info-hash of another torrent.
    #[error("it answered for another torrent than we asked for")]
    OtherTorrent,
    /// The handshake asks for a torrent that we do not have.
    #[error("we have no torrent {0}")]
    NoSuchTorrent(InfoHash),
    /// The remote peer id is our own: we have connected to ourselves.
    #[error("it is ourselves")]
    Ourselves,
}

/// One side's handshake, decoded.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The torrent's info-hash.
    pub info_hash: InfoHash,
    /// The sender's peer id.
    pub peer_id: PeerId,
    /// Supports the extension protocol (BEP 10).
    pub extended: bool,
    /// Supports the fast extension (BEP 6).
    pub fast: bool,
    /// Supports v2, and so can upgrade a hybrid torrent to v2 (BEP 52).
    pub v2: bool,
}

impl Hello {
    fn ours(info_hash: InfoHash, peer_id: PeerId, v2: bool) -> Self {
        Hello { info_hash, peer_id, extended: true, fast: true, v2 }
    }

    /// The 68 bytes to send.
    pub fn encode(&self) -> [u8; HANDSHAKE_LEN] {
        let mut bytes = [0; HANDSHAKE_LEN];
        bytes[..20].copy_from_slice(PROTOCOL);
        if self.extended {
            bytes[25] |= 0x10;
        }
        if self.fast {
            bytes[27] |= 0x04;
        }
        if self.v2 {
            bytes[27] |= 0x10;
        }
        bytes[28..48].copy_from_slice(&self.info_hash.0);
        bytes[48..].copy_from_slice(&self.peer_id.0);
        bytes
    }

    /// Reads a handshake. The only possible error is [`HandshakeError::NotBitTorrent`].
    pub fn decode(bytes: &[u8; HANDSHAKE_LEN]) -> Result<Self, HandshakeError> {
        check_start(bytes)?;
        let mut info_hash = [0; 20];
        let mut peer_id = [0; 20];
        info_hash.copy_from_slice(&bytes[28..48]);
        peer_id.copy_from_slice(&bytes[48..]);
        Ok(Hello {
            info_hash: InfoHash(info_hash),
            peer_id: PeerId(peer_id),
            extended: bytes[25] & 0x10 != 0,
            fast: bytes[27] & 0x04 != 0,
            v2: bytes[27] & 0x10 != 0,
        })
    }
}

/// Checks that `bytes`, as far as they go, begin a BitTorrent handshake. So garbage is recognised at once,
/// and not taken for a slow peer.
pub fn check_start(bytes: &[u8]) -> Result<(), HandshakeError> {
    let known = bytes.len().min(PROTOCOL.len());
    if bytes[..known] == PROTOCOL[..known] { Ok(()) } else { Err(HandshakeError::NotBitTorrent) }
}

/// What both sides agreed on.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Agreement {
    /// The remote peer's id.
    pub peer_id: PeerId,
    /// Whether the remote peer supports the extension protocol (BEP 10).
    pub extended: bool,
    /// Whether the remote peer supports the fast extension (BEP 6).
    pub fast: bool,
    /// Which hashes verify the pieces received over this connection.
    pub proof: Proof,
}

/// The side that opened the connection, after it has sent its [`Hello`].
pub struct Initiator {
    sent: Hello,
    /// The v2 hash, with which the remote side may upgrade the connection to v2.
    upgrade: Option<InfoHash>,
}

impl Initiator {
    /// The handshake to send for the torrent with these hashes. A hybrid torrent uses its v1 hash and offers
    /// v2.
    pub fn new(hashes: &InfoHashes, peer_id: PeerId) -> (Self, [u8; HANDSHAKE_LEN]) {
        let upgrade = hashes.v2_short();
        let sent = Hello::ours(hashes.info_hash(), peer_id, upgrade.is_some());
        (Initiator { sent, upgrade }, sent.encode())
    }

    /// Reads the reply. It must carry the same hash, or the v2 hash of the same hybrid torrent.
    pub fn accept(self, reply: &[u8; HANDSHAKE_LEN]) -> Result<Agreement, HandshakeError> {
        let reply = Hello::decode(reply)?;
        let proof = match reply.info_hash {
            hash if Some(hash) == self.upgrade => Proof::V2,
            hash if hash == self.sent.info_hash => Proof::V1,
            _ => return Err(HandshakeError::OtherTorrent),
        };
        agree(&reply, self.sent.peer_id, proof)
    }
}

/// Answers a [`Hello`] for the torrent with these hashes: in v2 if both sides support it. The reply is sent
/// even if there is no agreement, so that a process that connected to itself learns it from the reply.
pub fn reply(
    theirs: &Hello,
    hashes: &InfoHashes,
    peer_id: PeerId,
) -> (Result<Agreement, HandshakeError>, [u8; HANDSHAKE_LEN]) {
    let short = hashes.v2_short();
    let (info_hash, proof) = match short {
        Some(v2) if theirs.info_hash == v2 || theirs.v2 => (v2, Proof::V2),
        _ => (theirs.info_hash, Proof::V1),
    };
    let ours = Hello::ours(info_hash, peer_id, short.is_some());
    (agree(theirs, peer_id, proof), ours.encode())
}

fn agree(theirs: &Hello, own: PeerId, proof: Proof) -> Result<Agreement, HandshakeError> {
    if theirs.peer_id == own {
        return Err(HandshakeError::Ourselves);
    }
    Ok(Agreement { peer_id: theirs.peer_id, extended: theirs.extended, fast: theirs.fast, proof })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(hash: [u8; 20], id: [u8; 20], extended: bool, fast: bool, v2: bool) {
            let hello = Hello { info_hash: InfoHash(hash), peer_id: PeerId(id), extended, fast, v2 };
            prop_assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
        }

        #[test]
        fn any_bytes_give_a_hello_or_an_error(head in prop::collection::vec(any::<u8>(), 68)) {
            let bytes: [u8; 68] = head.try_into().unwrap();
            prop_assert!(Hello::decode(&bytes).is_err() || bytes.starts_with(PROTOCOL));
        }
    }

    /// The accepting side once closed without a reply, so the connecting side took it for a fault
    /// and retried forever.
    #[test]
    fn whoever_connects_to_itself_learns_it_from_the_reply() {
        let torrent = crate::testing::torrent(b"x", 1 << 14);
        let own = PeerId::random();
        let (initiator, hello) = Initiator::new(torrent.hashes(), own);
        let (agreement, reply) = reply(&Hello::decode(&hello).unwrap(), torrent.hashes(), own);
        assert_eq!(agreement, Err(HandshakeError::Ourselves));
        assert_eq!(initiator.accept(&reply), Err(HandshakeError::Ourselves));
    }

    #[test]
    fn garbage_is_known_by_its_first_byte() {
        assert_eq!(check_start(b"GET / HTTP/1.1"), Err(HandshakeError::NotBitTorrent));
        assert_eq!(check_start(b"\x13BitT"), Ok(()));
        assert_eq!(check_start(b""), Ok(()));
    }
}
