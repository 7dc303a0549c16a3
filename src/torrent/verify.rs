//! Checking files against a torrent, with all cores. Used for `torrent verify`, and for what a peer finds on disk when it
//! starts.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::readers::{Hashes, Job, hash_pieces};
use super::{Format, Piece, Torrent};
use crate::bitfield::Bitfield;

/// What became of one file.
#[derive(Debug, PartialEq, Eq)]
pub enum FileState {
    /// All of its bytes are as they should be.
    Good,
    Missing,
    /// A folder or a device is in its place.
    NotAFile,
    /// The file has `found` bytes instead of those that it should have.
    WrongLength {
        found: u64,
    },
    /// So many of its pieces do not match.
    Damaged {
        pieces: u32,
    },
    /// So many of its pieces, in v1, also hold bytes of a file that is missing or wrong, so nothing can be said of them.
    Unproven {
        pieces: u32,
    },
    Unreadable(String),
}

/// What became of a torrent's files.
#[derive(Debug)]
pub struct Report {
    /// The pieces that match.
    pub have: Bitfield,
    /// One for each of the torrent's files.
    pub files: Vec<FileState>,
}

impl Report {
    pub fn is_good(&self) -> bool {
        self.files.iter().all(|state| *state == FileState::Good)
    }
}

/// Which of `pieces` match what is on disk. `path_of` says where the file of an index is; a piece of which something
/// cannot be read does not match. `progress` is told, from any of the threads, how many more bytes were looked at.
pub fn check_pieces(
    torrent: &Torrent,
    path_of: &(dyn Fn(usize) -> PathBuf + Sync),
    pieces: &[Piece],
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Bitfield {
    // A hybrid's v2 hashes say enough.
    let v2 = torrent.format() != Format::V1;
    let job = Job { geometry: torrent.geometry(), path_of, pieces, v1: !v2, v2, threads };
    let progress = |bytes| -> Result<(), Infallible> {
        progress(bytes);
        Ok(())
    };
    let answers = hash_pieces(job, progress, |piece, hashes| {
        Ok(hashes.is_ok_and(|Hashes { sha1, root }| match v2 {
            true => root.is_some() && root == torrent.piece_root(piece),
            false => sha1.is_some() && sha1 == torrent.piece_sha1(piece),
        }))
    });
    let mut have = Bitfield::new(torrent.geometry().piece_count());
    let Ok(answers) = answers;
    for (piece, _) in answers.into_iter().filter(|(_, good)| *good) {
        have.set(piece.index());
    }
    have
}

/// Checks all files of a torrent, the file or folder of which is in `folder`. See [`check_pieces`].
pub fn verify(torrent: &Torrent, folder: &Path, threads: usize, progress: &(dyn Fn(u64) + Sync)) -> Report {
    let path_of = |file: usize| torrent.path_in(folder, &torrent.files()[file]);
    let pieces: Vec<Piece> = torrent.geometry().pieces().collect();
    let have = check_pieces(torrent, &path_of, &pieces, threads, progress);
    let mut files: Vec<FileState> =
        torrent.files().iter().enumerate().map(|(file, entry)| on_disk(&path_of(file), entry.len)).collect();
    judge_by_pieces(torrent, &have, &mut files);
    Report { have, files }
}

/// What can be said of a file without reading it.
fn on_disk(path: &Path, len: u64) -> FileState {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => FileState::NotAFile,
        Ok(found) if found.len() != len => FileState::WrongLength { found: found.len() },
        Ok(_) => match fs::File::open(path) {
            Ok(_) => FileState::Good,
            Err(error) => FileState::Unreadable(error.to_string()),
        },
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            FileState::Missing
        }
        Err(error) => FileState::Unreadable(error.to_string()),
    }
}

/// Finds the files that look right and hold pieces that do not match.
fn judge_by_pieces(torrent: &Torrent, have: &Bitfield, files: &mut [FileState]) {
    let geometry = torrent.geometry();
    let explained: HashSet<u32> = (0..files.len())
        .filter(|file| files[*file] != FileState::Good)
        .flat_map(|file| geometry.pieces_of(file))
        .collect();
    for (file, state) in files.iter_mut().enumerate().filter(|(_, state)| **state == FileState::Good) {
        let (unproven, damaged): (Vec<u32>, Vec<u32>) = geometry
            .pieces_of(file)
            .filter(|piece| !have.has(*piece))
            .partition(|piece| explained.contains(piece));
        if !damaged.is_empty() {
            *state = FileState::Damaged { pieces: damaged.len() as u32 };
        } else if !unproven.is_empty() {
            *state = FileState::Unproven { pieces: unproven.len() as u32 };
        }
    }
}
