//! How a connection opens: 68 bytes each way (BEP 3), with the reserved bits that tell what else each side speaks
//! (BEP 6, 10, 52). Pure.
//!
//! The order is in the types: an [`Initiator`] has sent and can only [`accept`](Initiator::accept) a reply; a reply
//! can only be made from a [`Hello`] that was read; and only these two give an [`Agreement`], which a session needs.

pub use crate::peer_id::PeerId;
use crate::torrent::{InfoHash, Proof, Torrent};
use thiserror::Error;

/// Bytes of a handshake.
pub const HANDSHAKE_LEN: usize = 68;
const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// Why a handshake ends the connection.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HandshakeError {
    #[error("it does not speak BitTorrent")]
    NotBitTorrent,
    #[error("it answered for another torrent than we asked for")]
    OtherTorrent,
    #[error("we have no torrent {0}")]
    NoSuchTorrent(InfoHash),
    #[error("it is ourselves")]
    Ourselves,
}

/// One side's 68 bytes, taken apart.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    pub info_hash: InfoHash,
    pub peer_id: PeerId,
    /// BEP 10.
    pub extended: bool,
    /// BEP 6.
    pub fast: bool,
    /// BEP 52: would take a hybrid torrent as v2.
    pub v2: bool,
}

impl Hello {
    fn ours(info_hash: InfoHash, peer_id: PeerId, v2: bool) -> Self {
        Hello { info_hash, peer_id, extended: true, fast: true, v2 }
    }

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

/// Whether `bytes`, as far as they go, open a BitTorrent handshake: garbage is told from a slow peer at once.
pub fn check_start(bytes: &[u8]) -> Result<(), HandshakeError> {
    let known = bytes.len().min(PROTOCOL.len());
    if bytes[..known] == PROTOCOL[..known] { Ok(()) } else { Err(HandshakeError::NotBitTorrent) }
}

/// What both sides speak from here on.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Agreement {
    pub peer_id: PeerId,
    pub extended: bool,
    pub fast: bool,
    /// The hashes that vouch for what comes over this connection.
    pub proof: Proof,
}

/// The side that connected, having sent its [`Hello`].
pub struct Initiator {
    sent: Hello,
    /// The hash with which the other side may lift the connection to v2.
    upgrade: Option<InfoHash>,
}

impl Initiator {
    /// The handshake to send for `torrent`: a hybrid goes by its v1 hash and offers v2.
    pub fn new(torrent: &Torrent, peer_id: PeerId) -> (Self, [u8; HANDSHAKE_LEN]) {
        let upgrade = torrent.v2_short();
        let sent = Hello::ours(torrent.info_hash(), peer_id, upgrade.is_some());
        (Initiator { sent, upgrade }, sent.encode())
    }

    /// Reads the reply: the same hash, or the v2 hash of the same hybrid torrent.
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

/// Answers a [`Hello`] that asked for `torrent`: in v2 where both know it. The answer goes out even if there is no
/// agreement: whoever connected to itself learns from it that it did.
pub fn reply(
    theirs: &Hello,
    torrent: &Torrent,
    peer_id: PeerId,
) -> (Result<Agreement, HandshakeError>, [u8; HANDSHAKE_LEN]) {
    let short = torrent.v2_short();
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

    /// It closed without a word, so that the side that had connected took it for a fault and tried again for ever.
    #[test]
    fn whoever_connects_to_itself_learns_it_from_the_reply() {
        let torrent = crate::testing::torrent(b"x", 1 << 14);
        let own = PeerId::random();
        let (initiator, hello) = Initiator::new(&torrent, own);
        let (agreement, reply) = reply(&Hello::decode(&hello).unwrap(), &torrent, own);
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
