//! Where each file of a torrent is: paths and renames. Content is only read, to recognize a finished file.
//! Any thread; no lock of its own, since the storage keeps it under one of its leaf locks.
//!
//! Invariant: a file is in one of three places, and the disk shows which one it is.
//!
//! | place | path | what it is |
//! |---|---|---|
//! | settled | `NAME/x` | complete, and not written again |
//! | wanted | `NAME.part/x` | being downloaded |
//! | aside | `.NAME.part/x` | not wanted, and has holes |
//!
//! A file that is not wanted holds only what came with the pieces of its neighbours (in v1 a piece may hold
//! bytes of several files), or what was downloaded when other files were wanted.
//!
//! So the selection may change from one run to the next. Files move between the second and the third place
//! when a download starts, and to the first when all that is wanted is complete. After a crash in between,
//! the next start finds each file where it is, and moves the rest.
//!
//! A file that is only partly right under `NAME` is adopted: it moves to where it belongs, with all that it
//! holds ([`adopting`](super::adopting)). One that is not proved, since a piece of it (v1) lies partly in a
//! file that is not here, counts as settled. It moves only if that piece comes, and shows that it is wrong.

mod start;

pub use start::Before;

use super::older::Older;
use super::stamp::Stamp;
use super::{StorageError, failed, is_link, part};
use crate::disk::Disk;
use crate::torrent::locate::{Located, locate};
use crate::torrent::{Selection, Torrent};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One of the three places that a file can be in.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// Complete, under its final name.
    Settled,
    /// Wanted, and being downloaded.
    Wanted,
    /// Not wanted.
    Aside,
}

/// The place of each file of one torrent.
pub struct Places {
    /// The folder that holds `NAME`.
    dir: PathBuf,
    name: PathBuf,
    /// What `NAME` is called during the download.
    part: String,
    /// The path of each file below `NAME`; empty for a single file.
    paths: Vec<PathBuf>,
    places: Vec<Place>,
    /// Where each file is as long as it is not settled.
    homes: Vec<Place>,
    /// Settled files that are not proved, and whether something of each was right.
    unproven: BTreeMap<usize, bool>,
    /// Settled files of a download, with size and time from when they were settled.
    stamps: BTreeMap<usize, Stamp>,
}

impl Places {
    /// Every file exists already, under its final name or the one that the torrent itself gives it.
    pub fn settled(torrent: &Torrent, dir: &Path) -> Self {
        Places::new(torrent, dir, |_| Place::Settled).named(locate(torrent, dir))
    }

    /// The files of a download, of which `files` are wanted. Nothing on the disk is looked at yet.
    pub fn wanted(torrent: &Torrent, dir: &Path, files: &Selection) -> Self {
        Places::new(torrent, dir, |index| if files.has(index) { Place::Wanted } else { Place::Aside })
    }

    /// The same, with the files `known` as settled.
    pub fn expected(
        torrent: &Torrent,
        dir: &Path,
        files: &Selection,
        known: &BTreeMap<usize, Stamp>,
    ) -> Self {
        let mut places = Places::wanted(torrent, dir, files);
        let known = known.iter().filter(|(index, _)| **index < torrent.files().len());
        known.for_each(|(index, stamp)| places.settled_as(*index, *stamp));
        places
    }

    fn new(torrent: &Torrent, dir: &Path, place: impl Fn(usize) -> Place) -> Self {
        let below =
            |path: &[String]| if torrent.is_single_file() { PathBuf::new() } else { path.iter().collect() };
        Places {
            dir: dir.to_owned(),
            name: torrent.name().into(),
            part: part::name_of(torrent),
            paths: torrent.files().iter().map(|file| below(&file.path)).collect(),
            places: (0..torrent.files().len()).map(&place).collect(),
            homes: (0..torrent.files().len()).map(place).collect(),
            unproven: BTreeMap::new(),
            stamps: BTreeMap::new(),
        }
    }

    fn named(self, located: Option<Located>) -> Self {
        match located {
            Some(Located { name, files }) => Places { name, paths: files, ..self },
            None => self,
        }
    }

    // ---- paths --------------------------------------------------------------------------------------------

    /// The path of the torrent's file or top folder in that place.
    pub fn base(&self, place: Place) -> PathBuf {
        self.dir.join(match place {
            Place::Settled => self.name.clone(),
            Place::Wanted => self.part.clone().into(),
            Place::Aside => format!(".{}", self.part).into(),
        })
    }

    /// Whether anything has one of the torrent's names.
    pub fn is_anywhere(&self) -> bool {
        let places = [Place::Settled, Place::Wanted, Place::Aside];
        places.into_iter().any(|place| fs::symlink_metadata(self.base(place)).is_ok())
    }

    /// The path of the torrent now: `NAME.part` while a wanted file is not settled.
    pub fn root(&self) -> PathBuf {
        self.base(if self.is_settled() { Place::Settled } else { Place::Wanted })
    }

    /// The files that are wanted, if not all are.
    pub fn wanted_only(&self) -> Option<Vec<usize>> {
        let is_wanted = |index: &usize| self.homes.get(*index) != Some(&Place::Aside);
        let wanted: Vec<usize> = (0..self.homes.len()).filter(is_wanted).collect();
        (wanted.len() < self.homes.len()).then_some(wanted)
    }

    /// The path of file `index` now.
    pub fn path(&self, index: usize) -> PathBuf {
        self.path_in(self.of(index), index)
    }

    /// The place of file `index`.
    pub fn of(&self, index: usize) -> Place {
        self.places.get(index).copied().unwrap_or(Place::Aside)
    }

    fn path_in(&self, place: Place, index: usize) -> PathBuf {
        let below = self.paths.get(index).filter(|path| !path.as_os_str().is_empty());
        below.map_or_else(|| self.base(place), |path| self.base(place).join(path))
    }

    /// A path where file `index` can be read: under `NAME`, or in one of the other places.
    pub fn readable(&self, index: usize) -> PathBuf {
        let places = [Place::Settled, self.of(index), Place::Wanted, Place::Aside];
        let found = places.into_iter().map(|place| self.path_in(place, index)).find(|path| path.is_file());
        found.unwrap_or_else(|| self.path(index))
    }

    /// The folders that lead to a file's `path`, outermost first; none for a torrent that is a single file.
    pub fn folders_to(&self, path: &Path) -> Vec<PathBuf> {
        let below = |place| {
            let base = self.base(place);
            let parent = path.strip_prefix(&base).ok()?.parent()?.to_owned();
            Some((base, parent))
        };
        let Some((base, parent)) = [Place::Settled, Place::Wanted, Place::Aside].into_iter().find_map(below)
        else {
            return Vec::new();
        };
        let mut folders = vec![base];
        for name in parent.components() {
            folders.extend(folders.last().map(|above| above.join(name)));
        }
        folders
    }

    // ---- folders ------------------------------------------------------------------------------------------

    /// Makes the folders that lead to `path`, none of them through a link.
    fn make_folders(&self, disk: &Disk, path: &Path) -> Result<(), StorageError> {
        for folder in self.folders_to(path) {
            if is_link(&folder) {
                return Err(StorageError::Link(folder));
            }
            disk.make_folder(&folder).map_err(failed("create", &folder))?;
        }
        Ok(())
    }

    /// Removes the empty folders of a place.
    fn tidy(&self, place: Place) {
        let base = self.base(place);
        if !base.is_dir() || is_link(&base) {
            return;
        }
        let files = 0..self.paths.len();
        let folders: BTreeSet<PathBuf> =
            files.flat_map(|index| self.folders_to(&self.path_in(place, index))).collect();
        // In this order a folder comes before what is inside it, so the reverse removes from the inside out.
        for folder in folders.iter().rev().filter(|folder| !is_link(folder)) {
            let _ = fs::remove_dir(folder); // a folder that is not empty stays
        }
    }

    /// Removes a file that was begun and has not got its final name, and the folders that are empty then.
    pub fn remove_begun(&self, index: usize) {
        let path = self.path(index);
        let folders = self.folders_to(&path);
        if self.of(index) == Place::Settled || folders.iter().any(|folder| is_link(folder)) {
            return; // what is there is not ours
        }
        let _ = fs::remove_file(&path); // it may not have been begun
        for folder in folders.iter().skip(1).rev() {
            let _ = fs::remove_dir(folder); // a folder that is not empty stays
        }
    }

    // ---- the end ------------------------------------------------------------------------------------------

    /// Whether every wanted file is complete under its final name, for certain.
    pub fn is_settled(&self) -> bool {
        !self.places.contains(&Place::Wanted) && self.unproven_but_wanted().next().is_none()
    }

    fn unproven_but_wanted(&self) -> impl Iterator<Item = usize> + '_ {
        self.unproven.keys().copied().filter(|index| self.homes.get(*index) == Some(&Place::Wanted))
    }

    /// The wanted files that are not settled yet.
    pub fn unsettled(&self) -> Vec<usize> {
        (0..self.places.len()).filter(|index| self.of(*index) == Place::Wanted).collect()
    }

    /// What will have its final name next is free to have it: nothing is there but files of the older
    /// version.
    pub fn is_way_free(&self, older: &Older) -> Result<(), StorageError> {
        for index in self.unsettled() {
            let to = self.path_in(Place::Settled, index);
            let is_folder =
                |folder: &PathBuf| fs::symlink_metadata(folder).map_or(true, |meta| meta.is_dir());
            let above = self.folders_to(&to).into_iter().find(|folder| !is_folder(folder));
            for path in above.into_iter().chain([to]) {
                if older.leaves(&path) {
                    return Err(StorageError::InTheWay(path));
                }
            }
        }
        Ok(())
    }

    /// Gives the wanted files their final names: with one rename, unless some files of the torrent have
    /// theirs already, or something may be left there of an older version. Returns the paths whose folder has
    /// changed and must be synced.
    pub fn settle(&mut self, disk: &Disk, replaces: bool) -> Result<Vec<PathBuf>, StorageError> {
        let (part, complete) = (self.base(Place::Wanted), self.base(Place::Settled));
        let mut changed = Vec::new();
        if self.places.contains(&Place::Settled) || (replaces && complete.is_dir() && !is_link(&complete)) {
            for index in self.unsettled() {
                let to = self.path_in(Place::Settled, index);
                self.make_folders(disk, &to)?;
                rename(disk, &self.path(index), &to)?;
                self.settled_now(index);
                changed.extend(self.folders_to(&to));
                changed.push(to);
            }
            // All wanted pieces are here, and each was compared with what these files hold of it.
            let proved: Vec<usize> = self.unproven_but_wanted().collect();
            proved.into_iter().for_each(|index| self.settled_now(index));
            self.tidy(Place::Wanted);
        } else {
            rename(disk, &part, &complete)?;
            self.unsettled().into_iter().for_each(|index| self.settled_now(index));
            changed.push(complete);
        }
        changed.sort();
        changed.dedup();
        Ok(changed)
    }

    /// A settled file turned out not to hold what it should. It moves to where it belongs. If nothing of it
    /// was ever right, it is in the way, or was taken out of it. Returns its old path and the new one.
    pub fn unsettle(&mut self, disk: &Disk, index: usize) -> Result<(PathBuf, PathBuf), StorageError> {
        let from = self.path_in(Place::Settled, index);
        let home = self.homes.get(index).copied().unwrap_or(Place::Aside);
        let to = self.path_in(home, index);
        let is_foreign = self.unproven.get(&index) == Some(&false);
        let now = Stamp::of(&from).ok();
        let is_changed = self.stamps.get(&index).is_some_and(|stamp| now.is_some_and(|now| now != *stamp));
        match fs::symlink_metadata(&from).is_ok() {
            true if is_changed => return Err(StorageError::ChangedByUser(from)),
            true if is_foreign => return Err(StorageError::InTheWay(from)),
            true => {
                self.make_folders(disk, &to)?;
                rename(disk, &from, &to)?;
            }
            false if is_foreign => {}
            // Other pieces of it count as being here.
            false => return Err(StorageError::Vanished(from)),
        }
        self.places[index] = home;
        self.unproven.remove(&index);
        self.stamps.remove(&index);
        if !self.places.contains(&Place::Settled) {
            self.tidy(Place::Settled); // so that the whole can have its name
        }
        Ok((from, to))
    }

    /// Marks the file as settled, and records its size and time.
    fn settled_now(&mut self, index: usize) {
        self.places[index] = Place::Settled;
        self.unproven.remove(&index);
        if let Ok(stamp) = Stamp::of(&self.path(index)) {
            self.stamps.insert(index, stamp);
        }
    }

    fn settled_as(&mut self, index: usize, stamp: Stamp) {
        self.places[index] = Place::Settled;
        self.stamps.insert(index, stamp);
    }

    /// The settled files with their stamps; empty once every file of the torrent is settled.
    pub fn stamps(&self) -> BTreeMap<usize, Stamp> {
        if self.is_all_settled() { BTreeMap::new() } else { self.stamps.clone() }
    }

    /// The stamps of the settled files once all that is wanted is settled.
    pub fn stamps_next(&self) -> BTreeMap<usize, Stamp> {
        let next = self.unsettled().into_iter().chain(self.unproven_but_wanted());
        let next = next.filter_map(|index| Some((index, Stamp::of(&self.path(index)).ok()?)));
        self.stamps.clone().into_iter().chain(next).collect()
    }

    /// Whether every file of the torrent has its final name.
    pub fn is_all_settled(&self) -> bool {
        self.unproven.is_empty() && self.places.iter().all(|place| *place == Place::Settled)
    }
}

/// Renames, but never over something that exists.
fn rename(disk: &Disk, from: &Path, to: &Path) -> Result<(), StorageError> {
    disk.rename_to_free(from, to).map_err(|why| match why.kind() {
        io::ErrorKind::AlreadyExists => StorageError::InTheWay(to.to_owned()),
        _ => StorageError::Io { what: "rename", path: from.to_owned(), why },
    })
}
