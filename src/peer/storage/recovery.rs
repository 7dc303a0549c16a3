//! What an earlier run knew of a torrent: its resume state, read once, when the torrent is added. Runs on the thread that
//! adds; no lock.

use super::Storage;
use super::resume::{Resume, ResumeFile, Stamp};
use crate::bitfield::Bitfield;
use crate::torrent::{Piece, Torrent};
use std::collections::BTreeMap;
use std::path::Path;

/// What an earlier run saved of a torrent, and where the next save goes.
pub struct Recovery {
    file: Option<ResumeFile>,
    resume: Option<Resume>,
}

/// What of a torrent's pieces is known when it is added.
pub struct Recovered {
    /// Pieces that are on the disk for sure.
    pub durable: Bitfield,
    /// Pieces that may be on the disk: they are looked for. Ascending, and none of them durable.
    pub unverified: Vec<Piece>,
    /// What the disk did, if that stopped an earlier run: it may show more than it keeps, so that what is found is written anew.
    pub trouble: Option<String>,
    /// Where the resume state is saved; without it nothing survives the process.
    pub file: Option<ResumeFile>,
}

impl Recovery {
    /// Reads what was saved last in `file`. Nothing is known without a file, or if it is not there or broken.
    pub fn load(file: Option<ResumeFile>) -> Self {
        let resume = file.as_ref().and_then(ResumeFile::load);
        Recovery { file, resume }
    }

    /// The folder that holds the torrent's files, if a run knew it.
    pub fn dir(&self) -> Option<&Path> {
        self.resume.as_ref().map(|resume| resume.dir.as_path())
    }

    /// Whether the user had paused it.
    pub fn is_paused(&self) -> bool {
        self.resume.as_ref().is_some_and(|resume| resume.paused)
    }

    /// The files in `dir` that had their names, by index, as they were then.
    pub fn settled(&self, dir: &Path) -> BTreeMap<usize, Stamp> {
        let resume = self.resume.as_ref().filter(|resume| resume.dir == dir);
        let settled = |resume: &Resume| {
            resume
                .files
                .iter()
                .copied()
                .enumerate()
                .chain(resume.settled.iter().map(|(k, v)| (*k, *v)))
                .collect()
        };
        resume.map_or_else(BTreeMap::new, settled)
    }

    /// What is known of the content in `storage`: durable is what was so when it was saved, as far as the files are still what
    /// they were.
    pub fn judge(self, storage: &Storage) -> Recovered {
        let torrent = storage.torrent();
        let pieces = torrent.geometry().piece_count();
        let known = self.resume.as_ref().and_then(|resume| {
            let is_same = resume.dir == storage.dir() && is_unchanged(resume, torrent, storage);
            resume.pieces(pieces).filter(|_| is_same)
        });
        let durable = known.map_or_else(|| Bitfield::new(pieces), |known| storage.within_files(&known));
        let is_durable = |piece: &Piece| durable.has(piece.index());
        Recovered {
            unverified: torrent.geometry().pieces().filter(|piece| !is_durable(piece)).collect(),
            durable,
            trouble: self.resume.and_then(|resume| resume.trouble),
            file: self.file,
        }
    }

    /// What is known where all of the content was verified a moment ago.
    pub fn complete(self, torrent: &Torrent) -> Recovered {
        let durable = Bitfield::full(torrent.geometry().piece_count());
        Recovered { durable, unverified: Vec::new(), trouble: None, file: self.file }
    }
}

/// Whether the files are as the resume state knew them. Those of an unfinished download change all the time, but what is
/// durable of them was on the disk before.
fn is_unchanged(resume: &Resume, torrent: &Torrent, storage: &Storage) -> bool {
    if resume.files.is_empty() {
        return !storage.is_shared();
    }
    let is_same =
        |(index, stamp): (usize, &Stamp)| Stamp::of(&storage.path(index)).is_ok_and(|now| now == *stamp);
    resume.files.len() == torrent.files().len() && resume.files.iter().enumerate().all(is_same)
}
