//! Reads a torrent's pieces from files and hashes them, on several threads. Both creating and checking a
//! torrent do this; they differ in what they do with the hashes.
//!
//! Threads: the caller's and up to `threads - 1` named `hash-N`, which end before [`hash_pieces`] returns. No
//! lock: an atomic counter hands out the pieces, a few neighbours at a time, so that the disk is read nearly
//! in order; while a thread hashes, the system reads the next ones. Memory: half a megabyte per thread, for
//! any piece length ([`batch`]).

mod batch;
mod files;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{Geometry, Piece};
use crate::hash::Hash256;
use batch::Reader;

/// Maximum number of pieces in a batch: the number of lanes in the widest vector.
const MAX_BATCH: usize = 16;

/// A file that could not be read.
#[derive(Debug)]
pub(super) struct ReadError {
    /// Index of the file in the torrent.
    pub file: usize,
    pub source: io::Error,
}

/// What [`hash_pieces`] is to read, and which hashes are wanted.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub geometry: &'a Geometry,
    /// The path of the file with this index.
    pub path_of: &'a (dyn Fn(usize) -> PathBuf + Sync),
    pub pieces: &'a [Piece],
    /// Whether to compute the SHA-1 of the piece and its padding (BEP 3, 47).
    pub v1: bool,
    /// Whether to compute the root of the piece's merkle tree (BEP 52).
    pub v2: bool,
    /// Number of threads, at least 1.
    pub threads: usize,
}

/// The wanted hashes of one piece.
#[derive(Clone, Copy, Default)]
pub(super) struct Hashes {
    pub sha1: Option<[u8; 20]>,
    pub root: Option<Hash256>,
}

/// Number of threads that can run at the same time on this machine's cores.
pub fn all_cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Calls `work` with each piece and its hashes and returns the answers, in no particular order. `progress` is
/// called from any of the threads with the number of bytes processed since the last call. The first `Err` of
/// either ends the whole work. A piece that cannot be read is left to `work`.
pub(super) fn hash_pieces<T: Send, E: Send>(
    job: Job,
    progress: impl Fn(u64) -> Result<(), E> + Sync,
    work: impl Fn(Piece, Result<Hashes, ReadError>) -> Result<T, E> + Sync,
) -> Result<Vec<(Piece, T)>, E> {
    let batches: Vec<&[Piece]> = job.pieces.chunks(batch::pieces_of(&job)).collect();
    let helpers = job.threads.min(batches.len()).saturating_sub(1);
    let next = AtomicUsize::new(0);
    let run = || {
        let mut reader = Reader::new(job);
        let mut answers = Vec::new();
        let threads = helpers + 1;
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(batch) = batches.get(at) else { break };
            // The disk reads the batch after this one while this one is hashed. The first ones have nobody
            // before them.
            if at < threads {
                reader.announce(batch);
            }
            if let Some(after) = batches.get(at + threads) {
                reader.announce(after);
            }
            let finished = reader.hash(batch, &progress).and_then(|hashes| {
                batch.iter().zip(hashes).map(|(piece, hashes)| Ok((*piece, work(*piece, hashes)?))).collect()
            });
            match finished {
                Ok(more) => answers.extend::<Vec<_>>(more),
                Err(error) => {
                    next.store(batches.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(answers)
    };
    thread::scope(|scope| {
        // If a thread cannot be started, the others do its share.
        let spawn = |n| thread::Builder::new().name(format!("hash-{n}")).spawn_scoped(scope, run).ok();
        let handles: Vec<_> = (0..helpers).filter_map(spawn).collect();
        let mut answers = run();
        for handle in handles {
            let more = handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            answers = answers.and_then(|mut answers| {
                answers.extend(more?);
                Ok(answers)
            });
        }
        answers
    })
}
