//! Checks files against a torrent. Used for `torrent verify`, and for the files that the engine finds on disk
//! when it starts. Runs on the caller's thread and those of `readers.rs`. No lock. [`report`] says the
//! result.

pub mod report;

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::readers::{Hashes, Job, hash_pieces};
use super::{Piece, Proof, Selection, Torrent, locate};
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
    /// Number of pieces that hold something of the files that were asked for.
    pub pieces: u32,
    /// The files that were asked for.
    pub asked: Selection,
    /// One entry for each of the torrent's files. Of those that were not asked for, nothing was read.
    pub files: Vec<FileState>,
    /// Where each of them is, or should be.
    pub paths: Vec<PathBuf>,
}

impl Report {
    /// Whether every file that was asked for is good.
    pub fn is_good(&self) -> bool {
        self.asked().all(|(_, state)| *state == FileState::Good)
    }

    /// The files that were asked for, by index.
    pub fn asked(&self) -> impl Iterator<Item = (usize, &FileState)> {
        self.files.iter().enumerate().filter(|(file, _)| self.asked.has(*file))
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
    let path_of = |file: usize| paths[file].clone();
    verify_some(torrent, folder, &Selection::all(torrent), &path_of, threads, progress)
}

/// Checks some files. In v1 their pieces may hold bytes of files that are not in `folder`, as after a
/// download of these files alone; `path_of` gives a path where each file can be read. See [`check_pieces`].
pub fn verify_some(
    torrent: &Torrent,
    folder: &Path,
    asked: &Selection,
    path_of: &(dyn Fn(usize) -> PathBuf + Sync),
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Report {
    let geometry = torrent.geometry();
    let wanted = asked.pieces(geometry);
    let pieces: Vec<Piece> = geometry.pieces_in(&wanted).collect();
    let have = check_pieces(torrent, path_of, &pieces, threads, progress);
    let paths = locate::paths(torrent, folder);
    let entries = torrent.files().iter().zip(&paths);
    let mut files: Vec<FileState> = entries.map(|(entry, path)| on_disk(path, entry.len)).collect();
    judge(torrent, &wanted, &have, &mut files);
    Report { have, pieces: wanted.count(), asked: asked.clone(), files, paths }
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

/// Finds the files that look right but hold pieces that do not match: of those that were `looked` at, all but
/// the ones we `have`.
///
/// A piece that does not match makes a file damaged, but not if it also holds bytes of a file that is wrong
/// for certain: missing, of the wrong length, or with a wrong piece that is its own alone. Then either file
/// may be the reason, and this one is only unproven.
pub(crate) fn judge(torrent: &Torrent, looked: &Bitfield, have: &Bitfield, files: &mut [FileState]) {
    let geometry = torrent.geometry();
    let bad = |file: usize| geometry.pieces_of(file).filter(|piece| looked.has(*piece) && !have.has(*piece));
    let is_shared = |piece: u32| {
        let files = |piece| geometry.spans(piece, 0, geometry.piece_len(piece)).filter_map(|span| span.file);
        geometry.piece(piece).is_some_and(|piece| files(piece).nth(1).is_some())
    };
    let is_wrong = |file: usize| files[file] != FileState::Good || bad(file).any(|piece| !is_shared(piece));
    let mut explained = Bitfield::new(geometry.piece_count());
    for piece in (0..files.len()).filter(|file| is_wrong(*file)).flat_map(|file| geometry.pieces_of(file)) {
        explained.set(piece);
    }
    let verdict = |file: usize| {
        let explained = |piece: &u32| is_shared(*piece) && explained.has(*piece);
        let (unproven, damaged): (Vec<u32>, Vec<u32>) = bad(file).partition(explained);
        match (damaged.len() as u32, unproven.len() as u32) {
            (0, 0) => FileState::Good,
            (0, pieces) => FileState::Unproven { pieces },
            (pieces, _) => FileState::Damaged { pieces },
        }
    };
    let verdicts: Vec<(usize, FileState)> = (0..files.len())
        .filter(|file| files[*file] == FileState::Good)
        .map(|file| (file, verdict(file)))
        .collect();
    verdicts.into_iter().for_each(|(file, verdict)| files[file] = verdict);
}
