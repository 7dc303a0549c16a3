//! The copy of an older version of a torrent. What is equal in it is not fetched again, and the new version
//! takes its place once it is whole. Any thread; no lock.
//!
//! A file of the older copy is removed only if it is as it was when it was complete. One that is not there is
//! nothing to lose. Files that never were part of the older version stay, and keep their place in the folder.

use super::stamp::Stamp;
use super::{Storage, StorageError, failed, is_link};
use crate::disk::{Disk, above};
use crate::torrent::{Piece, Torrent};
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
}

impl Older {
    /// The copy in `old`, which is complete, as a source of the torrent `new`. A file of the new version is
    /// looked for in the old one with the same content (v2), or else the same path.
    pub fn new(old: &Storage, new: &Torrent) -> Self {
        let mut files = Vec::new();
        let (mut by_path, mut by_root) = (HashMap::new(), HashMap::new());
        for (index, entry) in old.torrent().files().iter().enumerate() {
            let Some(stamp) = old.stamp_of(index) else { continue };
            by_path.insert(&entry.path, files.len());
            if let Some(root) = entry.pieces_root {
                by_root.insert(root, files.len());
            }
            files.push(OldFile { path: old.path(index), stamp });
        }
        let single = (new.is_single_file() && old.torrent().is_single_file()).then_some(0);
        let source = |entry: &crate::torrent::FileEntry| {
            let same = entry.pieces_root.and_then(|root| by_root.get(&root));
            same.or_else(|| by_path.get(&entry.path)).copied().or(single.filter(|_| !files.is_empty()))
        };
        let sources = new.files().iter().map(source).collect();
        Older { root: old.root(), files, sources }
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
        for OldFile { path, .. } in self.files.iter().filter(|file| file.is_there()) {
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
/// Files of the same path stay: what is equal in them is found there.
pub fn drop_leftovers(old: &Storage, new: &Torrent) {
    let kept: BTreeSet<&Vec<String>> = new.files().iter().map(|entry| &entry.path).collect();
    for (index, entry) in old.torrent().files().iter().enumerate() {
        if !old.torrent().is_single_file() && !kept.contains(&entry.path) {
            let path = old.path(index);
            let _ = fs::remove_file(&path); // it may not have been begun
            let mut above = path.parent();
            while let Some(folder) = above.filter(|folder| *folder != old.root()) {
                if fs::remove_dir(folder).is_err() {
                    break; // something is left in it
                }
                above = folder.parent();
            }
        }
    }
}
