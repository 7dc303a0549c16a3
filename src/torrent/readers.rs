//! Reads a torrent's pieces from files and hands them to a function, with several threads at once. Making a
//! torrent and checking one are both this, with a different function.
//!
//! Threads: the caller's and up to `threads - 1` named `hash-N`, which end before [`each_piece`] returns. No lock: an
//! atomic counter deals out the pieces, so that the disk is read nearly in order. Memory: one piece a thread.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{Geometry, Piece};

/// A file that could not be read.
#[derive(Debug)]
pub(super) struct ReadError {
    /// Its index in the torrent.
    pub file: usize,
    pub source: io::Error,
}

/// What [`each_piece`] is to read.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub geometry: &'a Geometry,
    /// Where the file of that index is.
    pub path_of: &'a (dyn Fn(usize) -> PathBuf + Sync),
    pub pieces: &'a [Piece],
    /// How many threads are to work, at least 1.
    pub threads: usize,
}

/// As many threads as there are cores to run them.
pub fn all_cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Calls `work` with each piece and its bytes (`piece_len` of them) and gives what it answered, in no certain order.
/// The first `Err` ends the whole; a piece that cannot be read is left to `work`.
pub(super) fn each_piece<T: Send, E: Send>(
    job: Job,
    work: impl Fn(Piece, Result<&[u8], ReadError>) -> Result<T, E> + Sync,
) -> Result<Vec<(Piece, T)>, E> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut reader = Reader { job, open: None, buffer: Vec::new() };
        let mut answers = Vec::new();
        while let Some(piece) = job.pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            match work(*piece, reader.read(*piece)) {
                Ok(answer) => answers.push((*piece, answer)),
                Err(error) => {
                    next.store(job.pieces.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(answers)
    };
    let helpers = job.threads.min(job.pieces.len()).saturating_sub(1);
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

/// One thread's open file and buffer.
struct Reader<'a> {
    job: Job<'a>,
    open: Option<(usize, File)>,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    fn read(&mut self, piece: Piece) -> Result<&[u8], ReadError> {
        let geometry = self.job.geometry;
        let len = geometry.piece_len(piece);
        self.buffer.resize(len as usize, 0);
        let mut at = 0;
        for span in geometry.spans(piece, 0, len) {
            let end = at + span.len;
            match span.file {
                Some(file) => self
                    .file(file)
                    .and_then(|(handle, buffer)| handle.read_exact_at(&mut buffer[at..end], span.offset))
                    .map_err(|source| ReadError { file, source })?,
                None => self.buffer[at..end].fill(0),
            }
            at = end;
        }
        Ok(&self.buffer)
    }

    /// The file of that index, opened unless it is the one that was read last.
    fn file(&mut self, file: usize) -> io::Result<(&File, &mut [u8])> {
        let handle = match self.open.take() {
            Some((open, handle)) if open == file => handle,
            _ => open_regular(&(self.job.path_of)(file))?,
        };
        Ok((&self.open.insert((file, handle)).1, &mut self.buffer))
    }
}

/// Opens a regular file. To open a pipe would wait for somebody to write into it.
fn open_regular(path: &std::path::Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}
