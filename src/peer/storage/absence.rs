//! A folder that is not there for a while, such as a share that is not mounted. What an earlier run, or this
//! one, knew of the files in it stays true: it is compared when the folder is back, and nothing is made in
//! its place. Any thread; the locks are those of the storage.
//!
//! The folder is absent if it cannot be looked at. A folder that is there is absent too if it is not the one
//! that it was, and nothing of the torrent is in it: that is where a share is mounted when it is not. If it
//! is the one that it was, the files were removed.

use super::older::Older;
use super::places::{Before, Places};
use super::stamp::Stamp;
use super::{Access, Disk, Storage, StorageError};
use crate::bitfield::Bitfield;
use crate::torrent::{Selection, Torrent};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the folder is looked for while its files are read.
const LOOK: Duration = Duration::from_secs(1);

/// Which folder it is, whatever its path.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FolderId {
    device: u64,
    inode: u64,
}

impl FolderId {
    /// The folder at `path`; `None` if there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok().filter(fs::Metadata::is_dir)?;
        Some(FolderId { device: meta.dev(), inode: meta.ino() })
    }
}

/// What is wanted of a torrent whose folder is not there, and which files had their final names.
pub struct Awaited {
    files: Selection,
    before: Before,
}

/// Whether the folder `dir` is absent, if it was the folder `known`.
pub fn is_absent(torrent: &Torrent, dir: &Path, known: Option<FolderId>) -> bool {
    match FolderId::of(dir) {
        None => true,
        Some(now) => known.is_some_and(|known| known != now) && !Places::settled(torrent, dir).is_anywhere(),
    }
}

impl Storage {
    /// The files of a torrent whose folder is absent, as an earlier run left them. Nothing is made. They are
    /// of use only after [`come_back`](Self::come_back).
    pub fn awaited(
        disk: Disk,
        torrent: Arc<Torrent>,
        dir: &Path,
        files: Selection,
        before: Before,
        folder: Option<FolderId>,
        older: Option<Older>,
    ) -> Self {
        let places = Places::expected(&torrent, dir, &files, &before.known);
        let storage = Storage::new(torrent, disk, dir, places, Access::Download);
        if storage.is_all_settled() {
            let _ = storage.stamps.set(before.known.values().copied().map(Some).collect()); // it is new
        }
        *storage.folder.lock() = folder;
        *storage.older.lock() = older;
        *storage.awaited.lock() = Some(Awaited { files, before });
        storage
    }

    /// Whether the folder was absent when the torrent was added, and has not come back.
    pub fn is_awaited(&self) -> bool {
        self.awaited.lock().is_some()
    }

    /// The folder, as it was when the files were last seen in it.
    pub fn folder(&self) -> Option<FolderId> {
        *self.folder.lock()
    }

    /// Whether the folder is absent now.
    pub fn is_absent(&self) -> bool {
        is_absent(&self.torrent, &self.dir, self.folder())
    }

    /// Looks for the folder, unless that was done a moment ago: a file that is open can be read without it.
    pub(super) fn look_for_folder(&self) -> Result<(), StorageError> {
        {
            let mut looked_at = self.looked_at.lock();
            if looked_at.elapsed() < LOOK {
                return Ok(());
            }
            *looked_at = Instant::now();
        }
        if self.is_absent() { Err(StorageError::NotThere(self.dir.clone())) } else { Ok(()) }
    }

    /// Closes all files, so that they do not keep a share from being unmounted.
    pub fn close_files(&self) {
        self.open.write().clear();
        self.release();
    }

    /// The folder is there again: compares the files with what is known of them, and locks `NAME.part` again.
    ///
    /// # Errors
    /// A file was changed or removed meanwhile.
    pub fn come_back(&self) -> Result<(), StorageError> {
        let awaited = self.awaited.lock().take();
        let compared = match &awaited {
            Some(awaited) => self.find_awaited(awaited),
            None => self.find_again(),
        };
        if compared.is_err() {
            *self.awaited.lock() = awaited;
        }
        compared?;
        *self.folder.lock() = FolderId::of(&self.dir);
        Ok(())
    }

    fn find_awaited(&self, awaited: &Awaited) -> Result<(), StorageError> {
        let mut places = Places::wanted(&self.torrent, &self.dir, &awaited.files);
        let older = self.older();
        places.find(&self.disk, &self.torrent, &awaited.before, older.as_ref())?;
        if self.is_all_settled() && !places.is_all_settled() {
            return Err(StorageError::Vanished(self.root())); // the next start sees what is left
        }
        *self.places.write() = places;
        self.begin()
    }

    fn find_again(&self) -> Result<(), StorageError> {
        self.open.write().clear();
        for (index, stamp) in self.stamps.get().into_iter().flatten().enumerate() {
            let path = self.path(index);
            if stamp.is_some_and(|stamp| Stamp::of(&path).map_or(true, |now| now != stamp)) {
                return Err(StorageError::Changed(path));
            }
        }
        self.check_lengths()?;
        self.begin_again()
    }

    /// Those of the `pieces` that are not there any more, since a file is gone or shorter.
    pub fn lost(&self, pieces: &Bitfield) -> Bitfield {
        let (within, mut lost) = (self.within_files(pieces), Bitfield::new(pieces.len()));
        for piece in pieces.iter().filter(|piece| !within.has(*piece)) {
            lost.set(piece);
        }
        lost
    }
}
