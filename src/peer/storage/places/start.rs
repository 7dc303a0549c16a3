//! Where the files of a torrent are at the start: which are settled, which are adopted, and which move since
//! other files are wanted now. Any thread; no lock.

use super::{Place, Places, rename};
use crate::bitfield::Bitfield;
use crate::disk::Disk;
use crate::peer::storage::adopting::{self, Finding, Look};
use crate::peer::storage::older::Older;
use crate::peer::storage::stamp::Stamp;
use crate::peer::storage::{StorageError, failed, is_link};
use crate::torrent::locate::locate;
use crate::torrent::verify::check_pieces;
use crate::torrent::{FileEntry, Piece, Torrent, all_cores};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What is known of the files that are there before a download begins.
#[derive(Default)]
pub struct Before {
    /// The files that were settled, with their stamps from then.
    pub known: BTreeMap<usize, Stamp>,
    /// The paths of other torrents' files and folders.
    pub taken: Vec<PathBuf>,
    /// Whether what was settled, and has been changed since, is its user's; otherwise it is mended.
    pub keeps_changes: bool,
}

impl Places {
    /// The files of content that is complete, and has names of the torrent itself where a download would have
    /// others; `None` if there is no such content.
    pub fn made_elsewhere(torrent: &Torrent, dir: &Path, before: &Before) -> Option<Self> {
        let located = locate(torrent, dir)?;
        let paths = located.paths(dir);
        let fits = |(path, file): (&PathBuf, &FileEntry)| {
            fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == file.len)
        };
        let is_known = |(index, path): (usize, &PathBuf)| {
            Stamp::of(path).is_ok_and(|stamp| before.known.get(&index) == Some(&stamp))
        };
        let is_right = || {
            let pieces: Vec<Piece> = torrent.geometry().pieces().collect();
            check_pieces(torrent, &|file| paths[file].clone(), &pieces, all_cores(), &|_| ()).is_full()
        };
        let is_there = paths.iter().zip(torrent.files()).all(fits);
        let is_complete = is_there && (paths.iter().enumerate().all(is_known) || is_right());
        is_complete.then(|| Places::new(torrent, dir, |_| Place::Settled).named(Some(located)))
    }

    /// Finds the files that are settled, and moves the others to where they belong now. A file that is not
    /// known, or has changed, must match the torrent at least in part, and `NAME` must not be among the paths
    /// of other torrents; otherwise it is in the way, and nothing is moved. Returns the pieces that were
    /// found to be right.
    ///
    /// An `older` version may lie under `NAME`: until its files have been removed, nothing there is looked
    /// at, and after that, files of others may be all that is left of it.
    pub fn find(
        &mut self,
        disk: &Disk,
        torrent: &Torrent,
        before: &Before,
        older: Option<&Older>,
    ) -> Result<Bitfield, StorageError> {
        let Before { known, taken, keeps_changes } = before;
        let complete = self.base(Place::Settled);
        let mut good = Bitfield::new(torrent.geometry().piece_count());
        if older.is_none_or(Older::is_cleared) && fs::symlink_metadata(&complete).is_ok() {
            let present = self.find_known(known)?;
            let mut look = self.look_at(torrent, &present);
            if taken.contains(&complete) {
                look.belongs_to_another();
            }
            if *keeps_changes {
                look.are_the_user_s(|index| known.contains_key(&index));
            }
            self.adopt(disk, &look, &present)?;
            good = look.good;
            if older.is_none() && !self.places.contains(&Place::Settled) {
                self.leave(complete)?;
            }
        }
        self.gather(disk)?;
        Ok(good)
    }

    /// Moves the files that are not settled to where they belong now. What lies under `NAME` is not looked
    /// at.
    pub fn gather(&mut self, disk: &Disk) -> Result<(), StorageError> {
        let moves =
            self.places.contains(&Place::Aside) || fs::symlink_metadata(self.base(Place::Aside)).is_ok();
        for index in (0..self.places.len()).filter(|_| moves) {
            match self.of(index) {
                Place::Settled => {}
                Place::Wanted => self.fetch_from(disk, Place::Aside, index)?,
                Place::Aside => self.fetch_from(disk, Place::Wanted, index)?,
            }
        }
        self.tidy(Place::Aside);
        Ok(())
    }

    /// None of the torrent's files is under `complete`. Empty folders that are left of them are removed.
    /// Anything else there only has the same name, and is in the way.
    fn leave(&self, complete: PathBuf) -> Result<(), StorageError> {
        self.tidy(Place::Settled);
        let is_there = fs::symlink_metadata(&complete).is_ok();
        if is_there { Err(StorageError::InTheWay(complete)) } else { Ok(()) }
    }

    /// Marks the files under `NAME` as settled that have not changed since they were. Returns the others that
    /// are there, by index, with their stamps.
    fn find_known(&mut self, known: &BTreeMap<usize, Stamp>) -> Result<BTreeMap<usize, Stamp>, StorageError> {
        let mut present = BTreeMap::new();
        for index in 0..self.places.len() {
            let path = self.path_in(Place::Settled, index);
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            if let Some(link) = self.folders_to(&path).into_iter().find(|folder| is_link(folder)) {
                return Err(StorageError::Link(link));
            }
            if !meta.is_file() {
                return Err(StorageError::InTheWay(path));
            }
            let stamp = Stamp::of_metadata(&meta).map_err(failed("look at", &path))?;
            match known.get(&index) == Some(&stamp) {
                true => self.settled_as(index, stamp),
                false => drop(present.insert(index, stamp)),
            }
        }
        Ok(present)
    }

    fn look_at(&self, torrent: &Torrent, present: &BTreeMap<usize, Stamp>) -> Look {
        let present: Vec<(usize, u64)> = present.iter().map(|(index, stamp)| (*index, stamp.size)).collect();
        let is_known = |index| self.of(index) == Place::Settled;
        adopting::look(torrent, &|index| self.readable(index), &present, is_known)
    }

    /// Marks the files as settled that are right, and moves those that are only partly right to where they
    /// belong. If one of them cannot be used, nothing is moved.
    fn adopt(
        &mut self,
        disk: &Disk,
        look: &Look,
        present: &BTreeMap<usize, Stamp>,
    ) -> Result<(), StorageError> {
        let mut adopted = Vec::new();
        for (index, finding) in look.findings.iter().copied() {
            match finding {
                Finding::Whole => present.get(&index).into_iter().for_each(|stamp| {
                    self.settled_as(index, *stamp);
                }),
                Finding::Unproven { ours } => {
                    self.places[index] = Place::Settled;
                    self.unproven.insert(index, ours);
                }
                Finding::Partly => adopted.push(index),
                Finding::Foreign => {
                    return Err(StorageError::InTheWay(self.path_in(Place::Settled, index)));
                }
                Finding::Changed => {
                    return Err(StorageError::ChangedByUser(self.path_in(Place::Settled, index)));
                }
            }
        }
        let (complete, part) = (self.base(Place::Settled), self.base(Place::Wanted));
        // All at once, so that what else is in the folder stays with it.
        let at_once = !self.places.contains(&Place::Settled) && fs::symlink_metadata(&part).is_err();
        if at_once && !adopted.is_empty() {
            return rename(disk, &complete, &part);
        }
        let moves = adopted.into_iter().map(|index| (self.path_in(Place::Settled, index), self.path(index)));
        let moves: Vec<(PathBuf, PathBuf)> = moves.collect();
        if let Some((from, _)) = moves.iter().find(|(_, to)| fs::symlink_metadata(to).is_ok()) {
            return Err(StorageError::InTheWay(from.clone())); // there is one in each place
        }
        for (from, to) in moves {
            self.make_folders(disk, &to)?;
            rename(disk, &from, &to)?;
        }
        Ok(())
    }

    /// Moves the file to where it belongs, if it is still in `old`.
    fn fetch_from(&self, disk: &Disk, old: Place, index: usize) -> Result<(), StorageError> {
        let (from, to) = (self.path_in(old, index), self.path(index));
        let is_there = fs::symlink_metadata(&from).is_ok_and(|meta| meta.is_file());
        let through_link = self.folders_to(&from).iter().any(|folder| is_link(folder));
        if !is_there || through_link || fs::symlink_metadata(&to).is_ok() {
            return Ok(());
        }
        self.make_folders(disk, &to)?;
        rename(disk, &from, &to)
    }
}
