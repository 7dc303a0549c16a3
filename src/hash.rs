//! SHA-1, SHA-256 and the merkle trees of BitTorrent v2 (BEP 52). Pure; no thread, no lock.
//!
//! A v2 file is cut into leaves of 16 KiB, each hashed on its own (the last one as short as it is). The hashes are the
//! lowest layer of a binary tree; where the file has no more leaves, leaf hashes of all zeros fill the layer. A piece is a
//! subtree, and a torrent carries the layer of its pieces' roots (`piece layers`) and the root of each file (`pieces root`).

use sha1::{Digest, Sha1};
use sha2::Sha256;

/// Bytes of a file under one leaf of the tree (BEP 52); also the length of a block.
pub const LEAF_LEN: usize = 16 * 1024;

/// A SHA-256 hash: a leaf's, or a node's of a tree.
pub type Hash256 = [u8; 32];

/// SHA-1 of `data`.
pub fn sha1(data: &[u8]) -> [u8; 20] {
    Sha1::digest(data).into()
}

/// SHA-1 of `data` followed by `zeros` bytes of zero: a v1 piece of which the end is padding (BEP 47).
pub fn sha1_padded(data: &[u8], zeros: usize) -> [u8; 20] {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut hasher = Sha1::new();
    hasher.update(data);
    let mut left = zeros;
    while left > 0 {
        let now = left.min(ZEROS.len());
        hasher.update(&ZEROS[..now]);
        left -= now;
    }
    hasher.finalize().into()
}

/// SHA-256 of `data`.
pub fn sha256(data: &[u8]) -> Hash256 {
    Sha256::digest(data).into()
}

/// Appends to `out` the hash of each leaf of `data`; the last leaf may be short. The leaves do not depend on each
/// other, and all of them come in one call, so that they can be hashed side by side.
pub fn leaf_hashes(data: &[u8], out: &mut Vec<Hash256>) {
    out.extend(data.chunks(LEAF_LEN).map(sha256));
}

/// The root over `layer`, filled up on the right with `pad` to `width` nodes. `width` is a power of two and at least
/// `layer.len()`; no nodes at all give `pad` as it would stand at the top.
pub fn merkle_root(layer: &[Hash256], width: usize, pad: Hash256) -> Hash256 {
    debug_assert!(width.is_power_of_two() && layer.len() <= width);
    let mut layer = layer.to_vec();
    let mut pad = pad;
    let mut width = width;
    while width > 1 {
        if layer.len() % 2 == 1 {
            layer.push(pad);
        }
        for at in 0..layer.len() / 2 {
            layer[at] = node(&layer[2 * at], &layer[2 * at + 1]);
        }
        layer.truncate(layer.len() / 2);
        pad = node(&pad, &pad);
        width /= 2;
    }
    layer.first().copied().unwrap_or(pad)
}

/// The root of a subtree of `leaves` leaves (a power of two) of which none has data: what stands for a missing
/// piece when a layer of pieces is filled up.
pub fn padding_root(leaves: usize) -> Hash256 {
    merkle_root(&[], leaves, [0; 32])
}

/// The root over the leaves of `data`, in a tree that is `width` leaves wide (a power of two).
pub fn data_root(data: &[u8], width: usize) -> Hash256 {
    let mut leaves = Vec::with_capacity(data.len().div_ceil(LEAF_LEN));
    leaf_hashes(data, &mut leaves);
    merkle_root(&leaves, width, [0; 32])
}

/// The `pieces root` of a file from the roots of its pieces, each of `piece_length` bytes (a power of two, one leaf at
/// least).
pub fn file_root(pieces: &[Hash256], piece_length: u32) -> Hash256 {
    let pad = padding_root((piece_length as usize / LEAF_LEN).max(1));
    merkle_root(pieces, pieces.len().next_power_of_two(), pad)
}

/// Whether `node_hash`, the `index`th of its layer, is under `root`, given the hashes beside its way up (`uncles`,
/// lowest first), as in the hash messages of BEP 52.
pub fn proves(node_hash: Hash256, index: usize, uncles: &[Hash256], root: &Hash256) -> bool {
    let mut hash = node_hash;
    let mut index = index;
    for uncle in uncles {
        hash = if index.is_multiple_of(2) { node(&hash, uncle) } else { node(uncle, &hash) };
        index /= 2;
    }
    index == 0 && hash == *root
}

fn node(left: &Hash256, right: &Hash256) -> Hash256 {
    let mut hasher = Sha256::new();
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests;
