//! A few pieces hashed side by side, in *strips*: some of the first piece, as much of the second, and so on, then some more of
//! the first. So there are as many messages to be hashed at once as there are pieces, of whatever length, and what was read is still in
//! the second cache of the core when it is hashed, for both formats if two are wanted.
//!
//! A v2 piece is many leaves, which fill the lanes by themselves; it shares its batch only if it is short.

use super::files::Files;
use super::{Hashes, Job, MAX_BATCH, ReadError};
use crate::hash::{Hash256, LEAF_LEN, Sha1s, merkle_root, sha256_many};
use crate::torrent::Piece;

/// Bytes of all strips of a batch: half of what the second cache of most cores holds. The other half is for what the system
/// copies them from.
const BUFFER: usize = 512 * 1024;

/// Bytes between two strips: a line of the cache. If strips began whole pages apart, the same place in each would belong
/// into the same few lines of the first cache, and the lanes would take turns at that: 6.2 GB/s of SHA-1 instead of 7.2.
const GAP: usize = 64;

/// Bytes of a piece that the system is asked to have read when we come to them; a whole number of strips.
const AHEAD: u32 = 1024 * 1024;

/// How many pieces are to be hashed side by side.
pub(super) fn pieces_of(job: &Job) -> usize {
    let fill = BUFFER.div_ceil(job.geometry.piece_length() as usize);
    let wanted = if job.v1 { MAX_BATCH } else { fill.min(MAX_BATCH) };
    // Few pieces are shared out among the threads rather than hashed by one.
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
    /// Bytes to be read.
    len: u32,
    /// Why they could not be; then no more is read.
    failed: Option<ReadError>,
    leaves: Vec<Hash256>,
}

impl<'a> Reader<'a> {
    pub fn new(job: Job<'a>) -> Self {
        Reader { job, files: Files::new(job), buffer: vec![0; BUFFER + MAX_BATCH * GAP] }
    }

    /// The hashes of each of `pieces`, of which there are as many as [`pieces_of`] says at most.
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

    /// The next strip of each piece: nothing of those that have ended or failed.
    fn read_strips(&mut self, batch: &mut [Reading], begin: u32, strip: usize) -> Vec<&[u8]> {
        if begin.is_multiple_of(AHEAD) {
            for reading in batch.iter().filter(|reading| reading.failed.is_none()) {
                self.files.announce(reading.piece, begin, reading.left(begin, AHEAD as usize));
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
    /// How many bytes of the piece there are from `begin` on, up to `most`.
    fn left(&self, begin: u32, most: usize) -> u32 {
        self.len.saturating_sub(begin).min(most as u32)
    }
}

/// Bytes of a strip: as many leaves as fit, in a power of two, so that [`AHEAD`] is a whole number of strips.
fn strip_len(pieces: usize) -> usize {
    LEAF_LEN << (BUFFER / LEAF_LEN / pieces).ilog2()
}

/// The leaves of all parts, hashed side by side.
fn hash_leaves(batch: &mut [Reading], parts: &[&[u8]]) {
    let leaves: Vec<&[u8]> = parts.iter().flat_map(|part| part.chunks(LEAF_LEN)).collect();
    let mut hashes = sha256_many(&leaves).into_iter();
    for (reading, part) in batch.iter_mut().zip(parts) {
        reading.leaves.extend(hashes.by_ref().take(part.len().div_ceil(LEAF_LEN)));
    }
}
