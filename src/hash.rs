//! SHA-1, SHA-256 and the merkle trees of BitTorrent v2 (BEP 52). Pure, but for the clock by which the code
//! paths are compared; no thread, no lock.
//!
//! Callers with several messages to hash pass them in one call ([`sha1_many`], [`sha256_many`],
//! [`leaf_hashes`], [`Sha1s`]). The messages are hashed in parallel, in the lanes of the processor's
//! vectors: up to ten times as fast as one after the other. The code path is chosen here; all of them give
//! the same result (`docs/HASHING.md`).
//!
//! | file | what it holds |
//! |---|---|
//! | `choice.rs` | which code paths there are, and the rule by which one is chosen |
//! | `calibration.rs` | how long each takes on this processor |
//! | `kernel.rs` | what a code path is, and the call to it |
//! | `lanes.rs` | assigns messages to lanes |
//! | `stream.rs` | messages that come in parts; padding |
//! | `rounds.rs` | the rounds, over vectors of any width |
//! | `avx512.rs`, `avx2.rs`, `sha_ni.rs`, `portable.rs` | the code paths |
//!
//! `unsafe` occurs only in the code paths and where `kernel.rs` calls them, nowhere else in shoal.
//!
//! A v2 file is cut into leaves of 16 KiB, each hashed on its own; the last one may be shorter. The hashes
//! are the lowest layer of a binary tree. Where the file has no more leaves, leaf hashes of all zeros fill
//! the layer. A piece is a subtree. A torrent holds the layer of its pieces' roots (`piece layers`) and the
//! root of each file (`pieces root`).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod calibration;
mod choice;
mod kernel;
mod lanes;
mod portable;
mod rounds;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
mod stream;

use sha1::{Digest, Sha1};
use sha2::Sha256;

use choice::Hash;
use kernel::BLOCK;
use lanes::Run;
use stream::Stream;

/// Bytes of a file under one leaf of the tree (BEP 52); also the length of a block.
pub const LEAF_LEN: usize = 16 * 1024;

/// A SHA-256 hash, of a leaf or of a node of a tree.
pub type Hash256 = [u8; 32];

/// SHA-1 of `data`.
pub fn sha1(data: &[u8]) -> [u8; 20] {
    Sha1::digest(data).into()
}

/// SHA-1 of `data` followed by `zeros` zero bytes: a v1 piece that ends in padding (BEP 47).
pub fn sha1_padded(data: &[u8], zeros: usize) -> [u8; 20] {
    let mut hasher = Sha1::new();
    hasher.update(data);
    for zeros in parts_of(zeros) {
        hasher.update(zeros);
    }
    hasher.finalize().into()
}

/// SHA-1 of each message.
pub fn sha1_many(messages: &[&[u8]]) -> Vec<[u8; 20]> {
    sha1s(&choice::SHA1, messages)
}

/// [`sha1_padded`] of each message with its number of zero bytes.
pub fn sha1_many_padded(messages: &[(&[u8], usize)]) -> Vec<[u8; 20]> {
    let mut hashes = Sha1s::new(messages.len());
    let (data, zeros): (Vec<&[u8]>, Vec<usize>) = messages.iter().copied().unzip();
    hashes.feed(&data);
    hashes.feed_zeros(&zeros);
    hashes.finish()
}

/// Several SHA-1 hashes in progress, for messages that come in parts.
pub struct Sha1s(Vec<Stream<5>>);

impl Sha1s {
    /// `count` hashes that have no data yet.
    pub fn new(count: usize) -> Self {
        Sha1s(vec![Stream::new(&choice::SHA1); count])
    }

    /// Adds the next part of its message to each hash; a part may be empty. Multiples of 64 bytes
    /// are fastest.
    pub fn feed(&mut self, parts: &[&[u8]]) {
        assert_eq!(parts.len(), self.0.len(), "one part for each hash");
        stream::feed(&choice::SHA1, &mut self.0, parts);
    }

    /// Adds a number of zero bytes to each hash (BEP 47).
    pub fn feed_zeros(&mut self, zeros: &[usize]) {
        let mut left: Vec<_> = zeros.iter().map(|zeros| parts_of(*zeros)).collect();
        loop {
            let parts: Vec<&[u8]> = left.iter_mut().map(|zeros| zeros.next().unwrap_or_default()).collect();
            if parts.iter().all(|part| part.is_empty()) {
                return;
            }
            self.feed(&parts);
        }
    }

    /// The hashes, in the order of the messages.
    pub fn finish(self) -> Vec<[u8; 20]> {
        stream::finish(&choice::SHA1, self.0).into_iter().map(bytes).collect()
    }
}

fn sha1s(hash: &Hash<5>, messages: &[&[u8]]) -> Vec<[u8; 20]> {
    let mut streams = vec![Stream::new(hash); messages.len()];
    stream::feed(hash, &mut streams, messages);
    stream::finish(hash, streams).into_iter().map(bytes).collect()
}

fn sha256s(hash: &Hash<8>, messages: &[&[u8]]) -> Vec<Hash256> {
    let mut streams = vec![Stream::new(hash); messages.len()];
    stream::feed(hash, &mut streams, messages);
    stream::finish(hash, streams).into_iter().map(bytes).collect()
}

/// `zeros` zero bytes, in parts of at most 4 KiB.
fn parts_of(zeros: usize) -> impl Iterator<Item = &'static [u8]> {
    const ZEROS: [u8; 4096] = [0; 4096];
    (0..zeros).step_by(ZEROS.len()).map(move |at| &ZEROS[..ZEROS.len().min(zeros - at)])
}

/// A state as the bytes of its hash; `B` is four times `W`.
fn bytes<const W: usize, const B: usize>(state: [u32; W]) -> [u8; B] {
    const { assert!(B == 4 * W) };
    let mut bytes = [0; B];
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    bytes
}

/// SHA-256 of `data`.
pub fn sha256(data: &[u8]) -> Hash256 {
    Sha256::digest(data).into()
}

/// SHA-256 of each message.
pub fn sha256_many(messages: &[&[u8]]) -> Vec<Hash256> {
    sha256s(&choice::SHA256, messages)
}

/// Appends the hash of each leaf of `data` to `out`; the last leaf may be short. The leaves do not depend on
/// each other, and they are passed in one call, so they are hashed in parallel.
pub fn leaf_hashes(data: &[u8], out: &mut Vec<Hash256>) {
    let leaves: Vec<&[u8]> = data.chunks(LEAF_LEN).collect();
    out.extend(sha256_many(&leaves));
}

/// The root over `layer`, filled up on the right with `pad` to `width` nodes. `width` is a power of two and
/// at least `layer.len()`. An empty layer gives the root over `pad` alone.
pub fn merkle_root(layer: &[Hash256], width: usize, pad: Hash256) -> Hash256 {
    debug_assert!(width.is_power_of_two() && layer.len() <= width);
    let mut layer = layer.to_vec();
    let mut pad = pad;
    let mut width = width;
    while width > 1 {
        if layer.len() % 2 == 1 {
            layer.push(pad);
        }
        layer = parents(&choice::SHA256, &layer);
        pad = node(&pad, &pad);
        width /= 2;
    }
    layer.first().copied().unwrap_or(pad)
}

/// The layer above: one node for each pair of `layer`, hashed in parallel.
fn parents(hash: &Hash<8>, layer: &[Hash256]) -> Vec<Hash256> {
    // The padding of a message of 64 bytes is a block of its own.
    const PADDING: [[u8; BLOCK]; 1] = {
        let mut block = [0; BLOCK];
        block[0] = 0x80;
        block[BLOCK - 2] = 2; // 512 bits
        [block]
    };
    let (pairs, _) = layer.as_flattened().as_chunks::<BLOCK>();
    let mut states = vec![hash.initial; pairs.len()];
    let blocks = pairs.chunks(1);
    let mut runs: Vec<_> =
        states.iter_mut().zip(blocks).map(|(state, blocks)| Run { state, blocks }).collect();
    lanes::advance(hash, &mut runs);
    let mut runs: Vec<_> = states.iter_mut().map(|state| Run { state, blocks: &PADDING }).collect();
    lanes::advance(hash, &mut runs);
    states.into_iter().map(bytes).collect()
}

/// The root of a subtree of `leaves` leaves (a power of two) without data. It stands for a missing piece when
/// a layer of pieces is filled up.
pub fn padding_root(leaves: usize) -> Hash256 {
    merkle_root(&[], leaves, [0; 32])
}

/// The root over the leaves of `data`, in a tree that is `width` leaves wide (a power of two).
pub fn data_root(data: &[u8], width: usize) -> Hash256 {
    let mut leaves = Vec::with_capacity(data.len().div_ceil(LEAF_LEN));
    leaf_hashes(data, &mut leaves);
    merkle_root(&leaves, width, [0; 32])
}

/// The `pieces root` of a file from the roots of its pieces, each of `piece_length` bytes (a power
/// of two, at least one leaf).
pub fn file_root(pieces: &[Hash256], piece_length: u32) -> Hash256 {
    let pad = padding_root((piece_length as usize / LEAF_LEN).max(1));
    merkle_root(pieces, pieces.len().next_power_of_two(), pad)
}

/// Whether `node_hash`, number `index` of its layer, is under `root`. `uncles` are the hashes beside its way
/// up, lowest first, as in the hash messages of BEP 52.
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
