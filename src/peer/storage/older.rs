//! The copy of an older version of a torrent. What is equal in it is not fetched again, and the new version
//! takes its place once it is whole. Any thread; no lock.
//!
//! A file of the older copy is removed only if it is as it was when it was complete. One that is not there is
//! nothing to lose. Files that never were part of the older version stay, and keep their place in the folder.

use super::stamp::Stamp;
use super::{Storage, StorageError, failed, is_link};
use crate::disk::{Disk, above};
use crate::hash::Hash256;
use crate::torrent::{FileEntry, Piece, Torrent};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The files of an older version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Older {
    /// The folder that the files of a torrent with several lie in. It is removed if nothing is left in it.
    root: PathBuf,
    /// Empty once they have been removed, and the new version is about to take their place.
    files: Vec<OldFile>,
    /// For each file of the new version, the index of the old file that may hold the same.
    sources: Vec<Option<usize>>,
}

/// A file of an older version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct OldFile {
    path: PathBuf,
    /// As it was when it was complete.
    stamp: Stamp,
    /// Its path below the torrent's folder; empty for a torrent that is a single file.
    #[serde(default)]
    below: Vec<String>,
    /// The hash of its content, if the torrent says it (v2).
    #[serde(default)]
    pieces_root: Option<Hash256>,
}

impl Older {
    /// The complete files of `old` as sources of the torrent `new`.
    pub fn new(old: &Storage, new: &Torrent) -> Self {
        let (settled, is_single) = (old.settled(), old.torrent().is_single_file());
        let entries = old.torrent().files().iter().enumerate();
        let files = entries.filter_map(|(index, entry)| {
            let stamp = old.stamp_of(index).or_else(|| settled.get(&index).copied())?;
            let below = if is_single { Vec::new() } else { entry.path.clone() };
            Some(OldFile { path: old.path(index), stamp, below, pieces_root: entry.pieces_root })
        });
        Older { root: old.final_root(), files: files.collect(), sources: Vec::new() }.for_torrent(new)
    }

    /// The same files as sources of the torrent `new`. A file of the new version is looked for in the old one
    /// with the same content (v2), or else the same path.
    pub fn for_torrent(self, new: &Torrent) -> Self {
        let files = || self.files.iter().enumerate();
        let by_root: HashMap<_, _> =
            files().filter_map(|(index, file)| Some((file.pieces_root?, index))).collect();
        let by_path: HashMap<_, _> = files().map(|(index, file)| (&file.below[..], index)).collect();
        let source = |entry: &FileEntry| {
            let below = if new.is_single_file() { &[][..] } else { &entry.path[..] };
            let same = entry.pieces_root.and_then(|root| by_root.get(&root));
            same.or_else(|| by_path.get(below)).copied()
        };
        let sources = new.files().iter().map(source).collect();
        Older { sources, ..self }
    }

    /// The same, once its files have been removed.
    pub fn cleared(&self) -> Self {
        Older { root: self.root.clone(), files: Vec::new(), sources: Vec::new() }
    }

    /// Whether its files have been removed.
    pub fn is_cleared(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether something will be at `path` once the old files have been removed.
    pub fn leaves(&self, path: &Path) -> bool {
        let Ok(meta) = fs::symlink_metadata(path) else { return false };
        if !meta.is_dir() {
            return !self.files.iter().any(|file| file.path == path);
        }
        // A folder is removed with the last old file in it.
        let is_ours = self.files.iter().any(|file| file.path.starts_with(path));
        let inside = fs::read_dir(path).into_iter().flatten().flatten();
        !is_ours || inside.into_iter().any(|entry| self.leaves(&entry.path()))
    }

    /// Where the older copy is, and the new one will be.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file that its user changed since it was complete.
    pub fn changed(&self) -> Option<&Path> {
        let is_changed = |file: &&OldFile| file.is_there() && !(file.is_unchanged() && self.is_below(file));
        self.files.iter().find(is_changed).map(|file| file.path.as_path())
    }

    /// Whether no link leads to a file: its user has put its folder elsewhere.
    fn is_below(&self, file: &OldFile) -> bool {
        let folders = file.path.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.root));
        !folders.into_iter().any(is_link)
    }

    /// Fills `into` with what the old files hold in the place of `piece` of the new version. False if they
    /// are too short or cannot be read.
    pub fn read(&self, new: &Torrent, piece: Piece, into: &mut [u8]) -> bool {
        let mut rest = into;
        for span in new.geometry().spans(piece, 0, rest.len() as u32) {
            let (part, after) = rest.split_at_mut(span.len);
            rest = after;
            let Some(file) = span.file else {
                part.fill(0);
                continue;
            };
            let source = self.sources.get(file).copied().flatten().and_then(|at| self.files.get(at));
            let read = source.map(|source| source.read(part, span.offset));
            if read.is_none_or(|read| read.is_err()) {
                return false;
            }
        }
        true
    }

    /// Removes the old files, unless one of them was changed. Returns the folders that changed.
    pub fn clear_away(&self, disk: &Disk) -> Result<BTreeSet<PathBuf>, StorageError> {
        if let Some(path) = self.changed() {
            return Err(StorageError::ChangedByUser(path.to_owned()));
        }
        let mut folders = BTreeSet::new();
        for file in self.files.iter().filter(|file| file.is_there()) {
            let path = &file.path;
            if !file.is_unchanged() {
                return Err(StorageError::ChangedByUser(path.clone())); // since the look at all of them
            }
            disk.remove(path).map_err(failed("remove", path))?;
            let above = path.ancestors().skip(1).take_while(|above| above.starts_with(&self.root));
            folders.extend(above.map(Path::to_owned));
        }
        folders.insert(above(&self.root).to_owned());
        // In this order a folder comes before what is inside it.
        for folder in folders.iter().rev().filter(|folder| folder.starts_with(&self.root)) {
            let _ = fs::remove_dir(folder); // one that is not empty stays
        }
        folders.retain(|folder| folder.is_dir());
        Ok(folders)
    }
}

impl OldFile {
    fn read(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        File::open(&self.path)?.read_exact_at(into, offset)
    }

    fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok()
    }

    fn is_unchanged(&self) -> bool {
        let meta = fs::symlink_metadata(&self.path).ok().filter(fs::Metadata::is_file);
        meta.and_then(|meta| Stamp::of_metadata(&meta).ok()) == Some(self.stamp)
    }
}

/// Removes what an older version that is not complete left in `NAME.part`, and the new one has no place for.
/// Files of the same path stay: what is equal in them is found there. Nobody may be writing to it any more.
pub fn drop_leftovers(old: &Storage, new: &Torrent) {
    let kept: BTreeSet<&Vec<String>> = new.files().iter().map(|entry| &entry.path).collect();
    for (index, entry) in old.torrent().files().iter().enumerate() {
        if !old.torrent().is_single_file() && !kept.contains(&entry.path) {
            old.places.read().remove_begun(index);
        }
    }
}
