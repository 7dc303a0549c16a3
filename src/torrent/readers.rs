//! Reads a torrent's pieces from files and hashes them, with several threads at once. Making a torrent and checking
//! one are both this; they differ in what they do with the hashes.
//!
//! Threads: the caller's and up to `threads - 1` named `hash-N`, which end before [`hash_pieces`] returns. No lock: an
//! atomic counter deals out the pieces, a few neighbours at a time, so that the disk is read nearly in order. Memory: half
//! a megabyte a thread, whatever the piece length ([`batch`]).

mod batch;
mod files;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{Geometry, Piece};
use crate::hash::Hash256;
use batch::Reader;

/// The most pieces in a batch: as many as there are lanes in the widest vector.
const MAX_BATCH: usize = 16;

/// A file that could not be read.
#[derive(Debug)]
pub(super) struct ReadError {
    /// Its index in the torrent.
    pub file: usize,
    pub source: io::Error,
}

/// What [`hash_pieces`] is to read, and which hashes of it are wanted.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub geometry: &'a Geometry,
    /// Where the file of that index is.
    pub path_of: &'a (dyn Fn(usize) -> PathBuf + Sync),
    pub pieces: &'a [Piece],
    /// SHA-1 of the piece and its padding (BEP 3, 47).
    pub v1: bool,
    /// The root of the piece's merkle tree (BEP 52).
    pub v2: bool,
    /// How many threads are to work, at least 1.
    pub threads: usize,
}

/// The hashes of one piece, those that were wanted.
#[derive(Clone, Copy, Default)]
pub(super) struct Hashes {
    pub sha1: Option<[u8; 20]>,
    pub root: Option<Hash256>,
}

/// As many threads as there are cores to run them.
pub fn all_cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Calls `work` with each piece and its hashes and gives what it answered, in no certain order. `progress` hears, from any
/// of the threads, how many more bytes were dealt with. The first `Err` of either ends the whole; a piece that
/// cannot be read is left to `work`.
pub(super) fn hash_pieces<T: Send, E: Send>(
    job: Job,
    progress: impl Fn(u64) -> Result<(), E> + Sync,
    work: impl Fn(Piece, Result<Hashes, ReadError>) -> Result<T, E> + Sync,
) -> Result<Vec<(Piece, T)>, E> {
    let batches: Vec<&[Piece]> = job.pieces.chunks(batch::pieces_of(&job)).collect();
    let next = AtomicUsize::new(0);
    let run = || {
        let mut reader = Reader::new(job);
        let mut answers = Vec::new();
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
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
    let helpers = job.threads.min(batches.len()).saturating_sub(1);
    thread::scope(|scope| {
        // Where no thread is to be had, the others do its share.
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
