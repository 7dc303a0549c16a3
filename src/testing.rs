//! What the tests of the pure parts share: torrents made in memory, and names of peers.

use crate::peer::download::memory::Budget;
use crate::peer::download::partial::Partial;
use crate::peer::identity::PeerIdentity;
use crate::protocol::handshake::{Agreement, PeerId};
use crate::torrent::{Geometry, Piece, Proof, Torrent};
use sha1::{Digest, Sha1};
use std::sync::Arc;

/// Bytes that look like nothing in particular.
pub fn content(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(len as u64).fill(&mut bytes);
    bytes
}

/// A v1 torrent of one file.
pub fn torrent(content: &[u8], piece_length: u32) -> Arc<Torrent> {
    let hashes: Vec<u8> = content.chunks(piece_length as usize).flat_map(Sha1::digest).collect();
    let mut bytes = format!(
        "d4:infod6:lengthi{}e4:name4:file12:piece lengthi{piece_length}e6:pieces{}:",
        content.len(),
        hashes.len()
    )
    .into_bytes();
    bytes.extend(hashes);
    bytes.extend(b"ee");
    Arc::new(Torrent::parse(&bytes).unwrap())
}

/// A torrent of so many bytes of which only the geometry matters.
pub fn geometry(len: usize, piece_length: u32) -> Geometry {
    torrent(&vec![0; len], piece_length).geometry().clone()
}

/// The `number`th of the peers we know.
pub fn identity(number: u8) -> Arc<PeerIdentity> {
    Arc::new(PeerIdentity { addr: [10, 0, 0, number].into(), peer_id: PeerId([number; 20]) })
}

/// What two peers agree on that speak everything, or nothing beyond BEP 3.
pub fn agreement(number: u8, modern: bool) -> Agreement {
    Agreement { peer_id: PeerId([number; 20]), extended: modern, fast: modern, proof: Proof::V1 }
}

/// Nothing of a piece yet.
pub fn empty(geometry: &Geometry, piece: Piece) -> Partial {
    Partial::new(piece, Budget::new(usize::MAX).reserve(geometry.piece_length()).unwrap(), geometry)
}
