//! How a connection opens: 68 bytes in each direction (BEP 3), with reserved bits that tell which extensions
//! each side supports (BEP 6, 10, 52). Pure.
//!
//! The types enforce the order. An [`Initiator`] has sent its handshake and can only
//! [`accept`](Initiator::accept) a reply. A [`Responder`] comes with the reply to a [`Greeting`] that was
//! read, which is all of a handshake but the peer id, and can only [`accept`](Responder::accept) that. Only
//! these two give an [`Agreement`], which a session needs.

pub use crate::peer_id::PeerId;
use crate::torrent::{InfoHash, InfoHashes, Proof};
use thiserror::Error;

/// Length of a handshake in bytes.
pub const HANDSHAKE_LEN: usize = 68;
/// Length in bytes of the part of a handshake that stands before the peer id.
pub const GREETING_LEN: usize = 48;
const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// Length in bytes of the key with which both sides of an encrypted connection begin (MSE): random bytes,
/// then padding. So many bytes tell it from other protocols.
pub const MSE_KEY_LEN: usize = 96;
/// Minimum number of different values among the bytes of such a key. The mean is 80, with a standard
/// deviation of 3; text has no more than about 50.
const MSE_VALUES: usize = 60;

/// Why a handshake ends the connection.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HandshakeError {
    /// The first 20 bytes are not those of a BitTorrent handshake.
    #[error("it does not speak BitTorrent")]
    NotBitTorrent,
    /// The first bytes are random, as those of an encrypted connection are (MSE).
    #[error("by its first bytes it asks for encryption (MSE), which we do not speak")]
    Encrypted,
    /// The other side closed the connection when it had our handshake. It does not say why.
    #[error(
        "it closed the connection instead of answering our handshake: it insists on encryption (MSE), which \
         we do not speak, or does not have the torrent, or refuses us"
    )]
    Unanswered,
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
        let Greeting { info_hash, extended, fast, v2 } = Greeting::decode(bytes)?;
        Ok(Hello { info_hash, peer_id: peer_id(bytes), extended, fast, v2 })
    }
}

/// One side's handshake before its peer id.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Greeting {
    /// The torrent's info-hash.
    pub info_hash: InfoHash,
    /// Supports the extension protocol (BEP 10).
    pub extended: bool,
    /// Supports the fast extension (BEP 6).
    pub fast: bool,
    /// Supports v2, and so can upgrade a hybrid torrent to v2 (BEP 52).
    pub v2: bool,
}

impl Greeting {
    /// Reads a handshake, of which the first [`GREETING_LEN`] bytes must be there. The only possible error is
    /// [`HandshakeError::NotBitTorrent`].
    pub fn decode(bytes: &[u8; HANDSHAKE_LEN]) -> Result<Self, HandshakeError> {
        check_start(bytes)?;
        let mut info_hash = [0; 20];
        info_hash.copy_from_slice(&bytes[28..GREETING_LEN]);
        Ok(Greeting {
            info_hash: InfoHash(info_hash),
            extended: bytes[25] & 0x10 != 0,
            fast: bytes[27] & 0x04 != 0,
            v2: bytes[27] & 0x10 != 0,
        })
    }
}

/// The peer id at the end of a handshake.
pub fn peer_id(bytes: &[u8; HANDSHAKE_LEN]) -> PeerId {
    let mut peer_id = [0; 20];
    peer_id.copy_from_slice(&bytes[GREETING_LEN..]);
    PeerId(peer_id)
}

/// Checks that `bytes`, as far as they go, begin a BitTorrent handshake. So garbage is recognised at once,
/// and not taken for a slow peer.
pub fn check_start(bytes: &[u8]) -> Result<(), HandshakeError> {
    let known = bytes.len().min(PROTOCOL.len());
    if bytes[..known] == PROTOCOL[..known] { Ok(()) } else { Err(HandshakeError::NotBitTorrent) }
}

/// What a connection seems to carry if it does not begin with a handshake, by its first bytes.
pub fn stranger(bytes: &[u8]) -> HandshakeError {
    // TLS begins with the head of a record, version 3.0 to 3.4, that holds a greeting.
    let is_tls = matches!(bytes, [0x16, 3, 0..=4, _, _, 1, ..]);
    let values = bytes.iter().collect::<std::collections::HashSet<_>>().len();
    if bytes.len() >= MSE_KEY_LEN && values >= MSE_VALUES && !is_tls {
        HandshakeError::Encrypted
    } else {
        HandshakeError::NotBitTorrent
    }
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

/// The side that was connected to, after it has answered.
pub struct Responder {
    theirs: Greeting,
    own: PeerId,
    proof: Proof,
}

/// Answers a [`Greeting`] for the torrent with these hashes: in v2 if both sides support it. The peer id of
/// the other side is not waited for: a tracker that checks whether a peer can be reached waits for the answer
/// before it sends one. So a process that connected to itself gets a reply too, and learns it from that.
pub fn reply(theirs: Greeting, hashes: &InfoHashes, own: PeerId) -> (Responder, [u8; HANDSHAKE_LEN]) {
    let short = hashes.v2_short();
    let (info_hash, proof) = match short {
        Some(v2) if theirs.info_hash == v2 || theirs.v2 => (v2, Proof::V2),
        _ => (theirs.info_hash, Proof::V1),
    };
    let ours = Hello::ours(info_hash, own, short.is_some());
    (Responder { theirs, own, proof }, ours.encode())
}

impl Responder {
    /// Takes the peer id at the end of the other side's handshake.
    pub fn accept(self, peer_id: PeerId) -> Result<Agreement, HandshakeError> {
        let Greeting { info_hash, extended, fast, v2 } = self.theirs;
        agree(&Hello { info_hash, peer_id, extended, fast, v2 }, self.own, self.proof)
    }
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
        let (responder, reply) = reply(Greeting::decode(&hello).unwrap(), torrent.hashes(), own);
        assert_eq!(responder.accept(peer_id(&hello)), Err(HandshakeError::Ourselves));
        assert_eq!(initiator.accept(&reply), Err(HandshakeError::Ourselves));
    }

    /// Bug: a peer that insists on encryption was said not to speak BitTorrent.
    #[test]
    fn random_bytes_are_taken_for_encryption_and_other_protocols_are_not() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            let key: Vec<u8> = (0..MSE_KEY_LEN).map(|_| rng.u8(..)).collect();
            assert_eq!(stranger(&key), HandshakeError::Encrypted);
            assert_eq!(stranger(&key[..50]), HandshakeError::NotBitTorrent, "too little to tell");
            assert_eq!(
                stranger(&[b"\x16\x03\x01\x02\0\x01", &key[..]].concat()),
                HandshakeError::NotBitTorrent
            );
        }
        let request =
            b"GET /announce?info_hash=%01%02 HTTP/1.1\r\nHost: tracker.example:6969\r\nAccept: */*\r\n\
            User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0\r\n\r\n";
        assert_eq!(stranger(request), HandshakeError::NotBitTorrent);
        assert_eq!(stranger(&[0; 500]), HandshakeError::NotBitTorrent);
    }

    #[test]
    fn garbage_is_known_by_its_first_byte() {
        assert_eq!(check_start(b"GET / HTTP/1.1"), Err(HandshakeError::NotBitTorrent));
        assert_eq!(check_start(b"\x13BitT"), Ok(()));
        assert_eq!(check_start(b""), Ok(()));
    }
}
