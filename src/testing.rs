//! What the tests of the pure parts share: torrents made in memory, and ids of peers. Test builds only.

use crate::peer::download::memory::Budget;
use crate::peer::download::partial::Partial;
use crate::peer::identity::{PeerIdentity, SourceIdentity};
use crate::protocol::handshake::{Agreement, PeerId};
use crate::torrent::{Geometry, Piece, Proof, Torrent};
use sha1::{Digest, Sha1};
use std::sync::Arc;

/// Random bytes, the same for the same length.
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

/// The geometry of a torrent of `len` bytes.
pub fn geometry(len: usize, piece_length: u32) -> Geometry {
    torrent(&vec![0; len], piece_length).geometry().clone()
}

/// The identity of peer `number`.
pub fn identity(number: u8) -> Arc<SourceIdentity> {
    let peer = PeerIdentity { addr: [10, 0, 0, number].into(), peer_id: PeerId([number; 20]) };
    Arc::new(peer.into())
}

/// The agreement of two peers that support every extension, or none beyond BEP 3.
pub fn agreement(number: u8, modern: bool) -> Agreement {
    Agreement { peer_id: PeerId([number; 20]), extended: modern, fast: modern, proof: Proof::V1 }
}

/// A piece of which no block is there yet.
pub fn empty(geometry: &Geometry, piece: Piece) -> Partial {
    Partial::new(piece, Budget::new(usize::MAX).reserve(geometry.piece_length()).unwrap(), geometry)
}
