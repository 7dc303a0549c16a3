//! Hashes in progress: messages that come in parts, and their padding (FIPS 180-4). Pure; no thread, no lock.
//!
//! Invariant: `tail` holds the bytes since the last whole block, `length % 64` of them.

use super::choice::Hash;
use super::kernel::BLOCK;
use super::lanes::{Run, advance};

/// A hash in progress.
#[derive(Clone)]
pub(super) struct Stream<const W: usize> {
    state: [u32; W],
    tail: [u8; BLOCK],
    /// Number of bytes so far.
    length: u64,
}

/// Adds to each stream the message of the same index, in parallel.
pub(super) fn feed<const W: usize>(hash: &Hash<W>, streams: &mut [Stream<W>], messages: &[&[u8]]) {
    debug_assert_eq!(streams.len(), messages.len());
    let mut rest: Vec<&[u8]> = messages.to_vec();
    // Tails that become whole blocks.
    let mut runs = Vec::new();
    for (stream, message) in streams.iter_mut().zip(&mut rest) {
        if stream.fill_tail(message) {
            runs.push(Run { state: &mut stream.state, blocks: std::slice::from_ref(&stream.tail) });
        }
    }
    advance(hash, &mut runs);
    let bodies = streams.iter_mut().zip(&mut rest).map(|(stream, message)| {
        let (blocks, tail) = message.as_chunks();
        stream.length += (BLOCK * blocks.len()) as u64;
        *message = tail;
        Run { state: &mut stream.state, blocks }
    });
    advance(hash, &mut bodies.collect::<Vec<_>>());
    for (stream, tail) in streams.iter_mut().zip(rest) {
        stream.append(tail);
    }
}

/// Ends the streams and returns the state of each, which is its hash.
pub(super) fn finish<const W: usize>(hash: &Hash<W>, mut streams: Vec<Stream<W>>) -> Vec<[u32; W]> {
    let padded: Vec<([[u8; BLOCK]; 2], usize)> = streams.iter().map(Stream::last_blocks).collect();
    let last = streams.iter_mut().zip(&padded);
    let mut runs: Vec<_> = last
        .map(|(stream, (blocks, count))| Run { state: &mut stream.state, blocks: &blocks[..*count] })
        .collect();
    advance(hash, &mut runs);
    streams.into_iter().map(|stream| stream.state).collect()
}

impl<const W: usize> Stream<W> {
    pub fn new(hash: &Hash<W>) -> Self {
        Stream { state: hash.initial, tail: [0; BLOCK], length: 0 }
    }

    fn tail_len(&self) -> usize {
        (self.length % BLOCK as u64) as usize
    }

    /// Fills a tail that has begun from `message`. Returns whether `tail` is a whole block now.
    fn fill_tail(&mut self, message: &mut &[u8]) -> bool {
        let begun = self.tail_len();
        if begun == 0 {
            return false;
        }
        let (now, rest) = message.split_at(message.len().min(BLOCK - begun));
        self.append(now);
        *message = rest;
        self.tail_len() == 0 && !now.is_empty()
    }

    /// Appends bytes to the tail, which has room for them.
    fn append(&mut self, bytes: &[u8]) {
        let at = self.tail_len();
        self.tail[at..at + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len() as u64;
    }

    /// The tail, a bit of 1, zeros, and the length in bits: one block, or two if these do not fit into one.
    fn last_blocks(&self) -> ([[u8; BLOCK]; 2], usize) {
        let mut blocks = [[0; BLOCK]; 2];
        let used = self.tail_len();
        blocks[0][..used].copy_from_slice(&self.tail[..used]);
        blocks[0][used] = 0x80;
        let count = if used + 1 + 8 <= BLOCK { 1 } else { 2 };
        blocks[count - 1][BLOCK - 8..].copy_from_slice(&(8 * self.length).to_be_bytes());
        (blocks, count)
    }
}
