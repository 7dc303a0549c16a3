//! The files that one hashing thread reads, kept open while they are likely to be needed again. No
//! lock: each thread has its own.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Advice, OFlags, fadvise};

use super::{Job, MAX_BATCH, ReadError};
use crate::torrent::Piece;

/// Maximum number of open files: as many as pieces are read in parallel, each of which may lie in
/// another file.
const MAX_OPEN: usize = MAX_BATCH;

pub(super) struct Files<'a> {
    job: Job<'a>,
    /// Pairs of index in the torrent and file. The one used last is at the end.
    open: Vec<(usize, File)>,
}

impl<'a> Files<'a> {
    pub fn new(job: Job<'a>) -> Self {
        Files { job, open: Vec::new() }
    }

    /// Fills `buffer` with the bytes of `piece` from `begin` on.
    pub fn read(&mut self, piece: Piece, begin: u32, buffer: &mut [u8]) -> Result<(), ReadError> {
        let mut rest = buffer;
        for span in self.job.geometry.spans(piece, begin, rest.len() as u32) {
            let (now, later) = rest.split_at_mut(span.len);
            rest = later;
            match span.file {
                Some(file) => self
                    .file(file)
                    .and_then(|handle| handle.read_exact_at(now, span.offset))
                    .map_err(|source| ReadError { file, source })?,
                None => now.fill(0),
            }
        }
        Ok(())
    }

    /// Asks the system to read `len` bytes of `piece` ahead: in one go, because we then read them in turns
    /// with other pieces. Errors of opening a file are left to [`read`](Self::read).
    pub fn announce(&mut self, piece: Piece, begin: u32, len: u32) {
        for span in self.job.geometry.spans(piece, begin, len) {
            if let Some(Ok(handle)) = span.file.map(|file| self.file(file)) {
                // This is only advice. Without it the disk is slower.
                let _ = fadvise(handle, span.offset, (span.len as u64).try_into().ok(), Advice::WillNeed);
            }
        }
    }

    fn file(&mut self, file: usize) -> io::Result<&File> {
        let handle = match self.open.iter().position(|(open, _)| *open == file) {
            Some(at) => self.open.remove(at).1,
            None => {
                let handle = open_regular(&(self.job.path_of)(file))?;
                if self.open.len() == MAX_OPEN {
                    self.open.remove(0);
                }
                handle
            }
        };
        self.open.push((file, handle));
        Ok(&self.open[self.open.len() - 1].1)
    }
}

/// Opens a regular file. Opening a pipe as usual would block until some process writes to it.
fn open_regular(path: &Path) -> io::Result<File> {
    let unblocked = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(unblocked).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}
