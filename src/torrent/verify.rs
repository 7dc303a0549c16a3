//! Checks files against a torrent. Used for `torrent verify`, and for the files that the engine finds on disk
//! when it starts. Runs on the caller's thread and those of `readers.rs`. No lock.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::readers::{Hashes, Job, hash_pieces};
use super::{Piece, Proof, Torrent, locate};
use crate::bitfield::Bitfield;

/// The result for one file.
#[derive(Debug, PartialEq, Eq)]
pub enum FileState {
    /// All of its content is right.
    Good,
    /// There is no such file.
    Missing,
    /// A folder or a device is in its place.
    NotAFile,
    /// The file has the wrong length.
    WrongLength {
        /// Its length in bytes.
        found: u64,
    },
    /// Some of its pieces do not match.
    Damaged {
        /// Number of these pieces.
        pieces: u32,
    },
    /// Some of its pieces do not match, but in v1 they also hold bytes of a file that is missing or wrong. So
    /// nothing is known about this file's part of them.
    Unproven {
        /// Number of these pieces.
        pieces: u32,
    },
    /// The file cannot be read, for this reason.
    Unreadable(String),
}

/// The result for a torrent's files.
#[derive(Debug)]
pub struct Report {
    /// The pieces that match.
    pub have: Bitfield,
    /// One entry for each of the torrent's files.
    pub files: Vec<FileState>,
    /// Where each of them is, or should be.
    pub paths: Vec<PathBuf>,
}

impl Report {
    /// Whether every file is good.
    pub fn is_good(&self) -> bool {
        self.files.iter().all(|state| *state == FileState::Good)
    }
}

/// Checks which of `pieces` match the files on disk. `path_of` gives the path of the file with that index. A
/// piece that cannot be read completely does not match. `progress` is called from any of the threads with the
/// number of bytes checked since the last call.
pub fn check_pieces(
    torrent: &Torrent,
    path_of: &(dyn Fn(usize) -> PathBuf + Sync),
    pieces: &[Piece],
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Bitfield {
    // The v2 hashes of a hybrid torrent are enough.
    let v2 = !torrent.is_verified_by_sha1(Proof::V2);
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

/// Checks all files of a torrent whose file or folder is in `folder`. See [`check_pieces`].
pub fn verify(torrent: &Torrent, folder: &Path, threads: usize, progress: &(dyn Fn(u64) + Sync)) -> Report {
    let paths = locate::paths(torrent, folder);
    let pieces: Vec<Piece> = torrent.geometry().pieces().collect();
    let have = check_pieces(torrent, &|file| paths[file].clone(), &pieces, threads, progress);
    let entries = torrent.files().iter().zip(&paths);
    let mut files: Vec<FileState> = entries.map(|(entry, path)| on_disk(path, entry.len)).collect();
    judge_by_pieces(torrent, &have, &mut files);
    Report { have, files, paths }
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

/// Finds the files that look right but hold pieces that do not match.
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
