//! What an earlier run knew of a torrent: its resume state, read once, when the torrent is added. Runs on the
//! thread that adds the torrent; no lock.

use super::older::Older;
use super::resume::{Resume, ResumeFile};
use super::stamp::Stamp;
use super::{Before, Storage, absence};
use crate::bitfield::Bitfield;
use crate::disk::Disk;
use crate::torrent::{Piece, Selection, Torrent};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What an earlier run saved of a torrent, and the file for the next save.
pub struct Recovery {
    file: Option<ResumeFile>,
    resume: Option<Resume>,
}

/// What is known of a torrent's pieces when it is added.
pub struct Recovered {
    /// Pieces that are on the disk for certain.
    pub durable: Bitfield,
    /// Pieces that were just found on the disk. None of them is durable.
    pub found: Bitfield,
    /// How many pieces a look at what was there before the download found, with those that are durable; 0 if
    /// it found none.
    pub here: u32,
    /// All other pieces: they may be on the disk, and are to be checked. In ascending order.
    pub unverified: Vec<Piece>,
    /// The disk error that stopped an earlier run, if one did. Such a disk may show more than it keeps, so
    /// what is found is written again.
    pub trouble: Option<String>,
    /// The file for the resume state; without it nothing survives the process.
    pub file: Option<ResumeFile>,
}

impl Recovery {
    /// Reads the last saved state from `file`. Nothing is known without a file, or if it is
    /// missing or broken.
    pub fn load(file: Option<ResumeFile>) -> Self {
        let resume = file.as_ref().and_then(ResumeFile::load);
        Recovery { file, resume }
    }

    /// The folder that holds the torrent's files, if an earlier run saved it.
    pub fn dir(&self) -> Option<&Path> {
        self.resume.as_ref().map(|resume| resume.dir.as_path())
    }

    /// Whether the user had paused the torrent.
    pub fn is_paused(&self) -> bool {
        self.resume.as_ref().is_some_and(|resume| resume.paused)
    }

    /// Whether it was the user's own content, which is only read.
    pub fn is_own(&self) -> bool {
        self.resume.as_ref().is_some_and(|resume| resume.own)
    }

    /// The files that were wanted, if not all were.
    pub fn wanted(&self, torrent: &Torrent) -> Option<Selection> {
        Selection::of_indexes(torrent, self.resume.as_ref()?.wanted.as_ref()?)
    }

    /// The older version in `dir` whose place the download takes.
    pub fn older(&self, dir: &Path) -> Option<Older> {
        self.resume.as_ref().filter(|resume| resume.dir == dir)?.older.clone()
    }

    /// The files in `dir` that had their final names, by index, with size and time from then.
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

    /// Whether an earlier run had something of the torrent in `dir`, and that folder is absent now.
    pub fn is_absent(&self, torrent: &Torrent, dir: &Path) -> bool {
        let had_some = |resume: &&Resume| {
            let pieces = resume.pieces(torrent.geometry().piece_count());
            resume.dir == dir && pieces.is_some_and(|pieces| pieces.count() > 0)
        };
        let resume = self.resume.as_ref().filter(had_some);
        resume.is_some_and(|resume| absence::is_absent(torrent, dir, resume.folder))
    }

    /// The files of the torrent in `dir`, which is absent, and what is believed of them until it is back.
    pub fn await_folder(
        self,
        disk: Disk,
        torrent: &Arc<Torrent>,
        dir: &Path,
        files: Selection,
        keeps_changes: bool,
    ) -> (Storage, Recovered) {
        let before = Before { known: self.settled(dir), taken: Vec::new(), keeps_changes };
        let folder = self.resume.as_ref().and_then(|resume| resume.folder);
        let older = self.older(dir);
        let storage = Storage::awaited(disk, Arc::clone(torrent), dir, files, before, folder, older);
        let pieces = torrent.geometry().piece_count();
        let durable = self.resume.as_ref().and_then(|resume| resume.pieces(pieces));
        let durable = durable.unwrap_or_else(|| Bitfield::new(pieces));
        let is_open = |piece: &Piece| !durable.has(piece.index());
        let unverified = torrent.geometry().pieces().filter(is_open).collect();
        let trouble = self.resume.and_then(|resume| resume.trouble);
        let found = Bitfield::new(pieces);
        (storage, Recovered { durable, found, here: 0, unverified, trouble, file: self.file })
    }

    /// Compares the saved state with the files in `storage`. What was durable is still durable if the
    /// files are unchanged.
    pub fn judge(self, storage: &Storage) -> Recovered {
        let torrent = storage.torrent();
        let pieces = torrent.geometry().piece_count();
        let resume = self.resume.as_ref().filter(|resume| resume.dir == storage.dir());
        let known = resume.and_then(|resume| unchanged(resume, resume.pieces(pieces)?, storage));
        let durable = known.map_or_else(|| Bitfield::new(pieces), |known| storage.within_files(&known));
        let trouble = self.resume.and_then(|resume| resume.trouble);
        let mut found = Bitfield::new(pieces);
        for piece in storage.found_at_first().iter().filter(|piece| !durable.has(*piece)) {
            found.set(piece);
        }
        let here = if found.count() > 0 { durable.count() + found.count() } else { 0 };
        if trouble.is_some() {
            found = Bitfield::new(pieces); // what such a disk shows has to be written again
        }
        let is_open = |piece: &Piece| !durable.has(piece.index()) && !found.has(piece.index());
        let unverified = torrent.geometry().pieces().filter(is_open).collect();
        Recovered { durable, found, here, unverified, trouble, file: self.file }
    }

    /// The state of a torrent whose whole content was verified a moment ago.
    pub fn complete(self, torrent: &Torrent) -> Recovered {
        let durable = Bitfield::full(torrent.geometry().piece_count());
        let found = Bitfield::new(durable.len());
        Recovered { durable, found, here: 0, unverified: Vec::new(), trouble: None, file: self.file }
    }
}

/// Those of the durable `pieces` whose files are as the resume state describes them. The files of an
/// unfinished download change all the time, but what is durable in them stays.
fn unchanged(resume: &Resume, mut pieces: Bitfield, storage: &Storage) -> Option<Bitfield> {
    if resume.files.is_empty() {
        return (!storage.is_shared()).then_some(pieces);
    }
    let torrent = storage.torrent();
    if resume.files.len() != torrent.files().len() {
        return None;
    }
    for (index, stamp) in resume.files.iter().enumerate() {
        if Stamp::of(&storage.path(index)).is_ok_and(|now| now == *stamp) {
            continue;
        }
        for piece in torrent.geometry().pieces_of(index) {
            pieces.clear(piece);
        }
    }
    Some(pieces)
}
