//! Hashes a few pieces in parallel, in *strips*: a part of the first piece, an equal part of the second, and
//! so on, then the next part of the first. So there are as many messages to hash at once as there are pieces,
//! of any length. What was read is still in the second-level cache of the core when it is hashed, for both
//! formats if both are wanted. Runs on the threads of [`readers`](super). No lock.
//!
//! A v2 piece has many leaves, which fill the lanes on their own; it shares its batch only if it is short.

use super::files::Files;
use super::{Hashes, Job, MAX_BATCH, ReadError};
use crate::hash::{Hash256, LEAF_LEN, Sha1s, merkle_root, sha256_many};
use crate::torrent::Piece;

/// Total length in bytes of all strips of a batch: half of the second-level cache of most cores. The other
/// half is for the memory from which the system copies them.
const BUFFER: usize = 512 * 1024;

/// Bytes between two strips: one cache line. If strips began whole pages apart, the same position of every
/// strip would map to the same few lines of the first-level cache, and the lanes would evict each other: 6.2
/// GB/s of SHA-1 instead of 7.2.
const GAP: usize = 64;

/// Bytes of a piece that the system is asked to read while the bytes before them are hashed; a whole number
/// of strips.
const AHEAD: u32 = 1024 * 1024;

/// How many pieces to hash in parallel.
pub(super) fn pieces_of(job: &Job) -> usize {
    // Where each small file has a piece of its own, pieces are much shorter than the torrent says.
    let bytes: u64 = job.pieces.iter().map(|piece| u64::from(job.geometry.piece_len(*piece))).sum();
    let usual = (bytes / job.pieces.len().max(1) as u64).max(1) as usize;
    let fill = BUFFER.div_ceil(usual);
    let wanted = if job.v1 { MAX_BATCH } else { fill.min(MAX_BATCH) };
    // A small number of pieces is divided among the threads instead of hashed by one.
    wanted.min(job.pieces.len().div_ceil(job.threads.max(1))).max(1)
}

/// One thread's files and buffer.
pub(super) struct Reader<'a> {
    job: Job<'a>,
    files: Files<'a>,
    buffer: Vec<u8>,
}

/// A piece that is being read.
struct Reading {
    piece: Piece,
    /// Number of bytes to read.
    len: u32,
    /// Why reading failed. After that no more is read.
    failed: Option<ReadError>,
    leaves: Vec<Hash256>,
}

impl<'a> Reader<'a> {
    pub fn new(job: Job<'a>) -> Self {
        Reader { job, files: Files::new(job), buffer: vec![0; BUFFER + MAX_BATCH * GAP] }
    }

    /// Has the system read the beginning of pieces that are hashed soon.
    pub fn announce(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            self.files.announce(*piece, 0, self.job.geometry.piece_len(*piece).min(AHEAD));
        }
    }

    /// The hashes of `pieces`, which are at most as many as [`pieces_of`] says.
    pub fn hash<E>(
        &mut self,
        pieces: &[Piece],
        progress: &impl Fn(u64) -> Result<(), E>,
    ) -> Result<Vec<Result<Hashes, ReadError>>, E> {
        let Job { geometry, v1, v2, .. } = self.job;
        let reading = |piece: &Piece| Reading {
            piece: *piece,
            len: geometry.piece_len(*piece),
            failed: None,
            leaves: Vec::new(),
        };
        let mut batch: Vec<Reading> = pieces.iter().map(reading).collect();
        let mut sha1s = Sha1s::new(if v1 { pieces.len() } else { 0 });
        let longest = batch.iter().map(|reading| reading.len).max().unwrap_or(0);
        let strip = strip_len(pieces.len());
        for begin in (0..longest).step_by(strip) {
            let bytes: u64 = batch.iter().map(|reading| u64::from(reading.left(begin, strip))).sum();
            let parts = self.read_strips(&mut batch, begin, strip);
            if v1 {
                sha1s.feed(&parts);
            }
            if v2 {
                hash_leaves(&mut batch, &parts);
            }
            progress(bytes)?;
        }
        Ok(self.finish(batch, sha1s))
    }

    /// Reads the next strip of each piece. Pieces that have ended or failed get an empty one.
    fn read_strips(&mut self, batch: &mut [Reading], begin: u32, strip: usize) -> Vec<&[u8]> {
        if begin.is_multiple_of(AHEAD) {
            let after = begin + AHEAD;
            for reading in batch.iter().filter(|reading| reading.failed.is_none() && reading.len > after) {
                self.files.announce(reading.piece, after, reading.left(after, AHEAD as usize));
            }
        }
        let mut parts: Vec<&[u8]> = vec![&[]; batch.len()];
        for ((reading, strips), to) in
            batch.iter_mut().zip(self.buffer.chunks_mut(strip + GAP)).zip(&mut parts)
        {
            let part = &mut strips[..reading.left(begin, strip) as usize];
            if reading.failed.is_none() {
                match self.files.read(reading.piece, begin, part) {
                    Ok(()) => *to = part,
                    Err(error) => reading.failed = Some(error),
                }
            }
        }
        parts
    }

    fn finish(&self, batch: Vec<Reading>, mut sha1s: Sha1s) -> Vec<Result<Hashes, ReadError>> {
        let geometry = self.job.geometry;
        if self.job.v1 {
            let zeros =
                batch.iter().map(|reading| (geometry.padded_len(reading.piece) - reading.len) as usize);
            sha1s.feed_zeros(&zeros.collect::<Vec<_>>());
        }
        let mut sha1s = sha1s.finish().into_iter();
        let hashes = batch.into_iter().map(|reading| {
            let width = geometry.leaf_width(reading.piece);
            let sha1 = sha1s.next();
            let root = self.job.v2.then(|| merkle_root(&reading.leaves, width, [0; 32]));
            reading.failed.map_or(Ok(Hashes { sha1, root }), Err)
        });
        hashes.collect()
    }
}

impl Reading {
    /// Number of bytes of the piece from `begin` on, at most `most`.
    fn left(&self, begin: u32, most: usize) -> u32 {
        self.len.saturating_sub(begin).min(most as u32)
    }
}

/// Length of a strip in bytes: as many leaves as fit, a power of two, so that [`AHEAD`] is a whole
/// number of strips.
fn strip_len(pieces: usize) -> usize {
    LEAF_LEN << (BUFFER / LEAF_LEN / pieces).ilog2()
}

/// Hashes the leaves of all parts in parallel.
fn hash_leaves(batch: &mut [Reading], parts: &[&[u8]]) {
    let leaves: Vec<&[u8]> = parts.iter().flat_map(|part| part.chunks(LEAF_LEN)).collect();
    let mut hashes = sha256_many(&leaves).into_iter();
    for (reading, part) in batch.iter_mut().zip(parts) {
        reading.leaves.extend(hashes.by_ref().take(part.len().div_ceil(LEAF_LEN)));
    }
}
