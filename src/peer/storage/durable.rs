//! What was written becomes durable, and a complete download gets its name. One thread at a time, which is
//! the caller's part; the locks are those of the storage.

use super::stamp::Stamp;
use super::{Dirty, Storage, StorageError, failed};
use crate::bitfield::Bitfield;
use crate::disk::{self, above};
use crate::torrent::Piece;
use std::collections::BTreeMap;
use std::fs;
use std::io;

impl Storage {
    /// Makes everything durable that was written before the call, names included. After an error none of it
    /// can be trusted, even if the next call succeeds: the kernel forgets what it could not write. Only one
    /// thread at a time may call this: a second one would take for durable what the first is still syncing.
    pub fn sync(&self) -> Result<(), StorageError> {
        let dirty = std::mem::take(&mut *self.dirty.lock());
        let synced = self.sync_files(&dirty).and_then(|()| self.is_in_place());
        if synced.is_err() {
            let mut still = self.dirty.lock();
            still.files.extend(dirty.files);
            still.folders.extend(dirty.folders);
        }
        synced
    }

    fn sync_files(&self, dirty: &Dirty) -> Result<(), StorageError> {
        for &index in &dirty.files {
            let file = self.file_to_write(index)?;
            let file = file.download()?;
            file.sync().map_err(|why| self.failed("sync", index, why))?;
            let path = self.path(index);
            if !file.metadata().is_ok_and(|meta| disk::is_at(&path, &meta)) {
                return Err(StorageError::Vanished(path));
            }
        }
        for folder in &dirty.folders {
            self.disk.sync_folder(folder).map_err(|why| match why.kind() {
                io::ErrorKind::NotFound => StorageError::Vanished(folder.clone()),
                _ => failed("sync", folder)(why),
            })?;
        }
        Ok(())
    }

    /// Whether `NAME.part` is still the file or folder that the download started with.
    fn is_in_place(&self) -> Result<(), StorageError> {
        let meta = self.held.lock().as_ref().map(|held| held.meta.clone());
        match meta {
            Some(meta) if !disk::is_at(&self.root(), &meta) => Err(StorageError::Vanished(self.root())),
            _ => Ok(()),
        }
    }

    /// Whether the files of a download exist and are at least as long as they were.
    pub fn check_lengths(&self) -> Result<(), StorageError> {
        let made = self.made.lock().clone();
        for (index, least) in made {
            let path = self.path(index);
            if fs::metadata(&path).map_or(true, |meta| meta.len() < least) {
                return Err(StorageError::Vanished(path));
            }
        }
        Ok(())
    }

    /// The pieces among `pieces` for which the files are long enough. A piece beyond the end of its file
    /// cannot be durable, whatever was recorded.
    pub fn within_files(&self, pieces: &Bitfield) -> Bitfield {
        let geometry = self.torrent.geometry();
        let lens = (0..self.torrent.files().len())
            .map(|index| fs::metadata(self.path(index)).map_or(0, |meta| meta.len()));
        let lens: Vec<u64> = lens.collect();
        let is_there = |piece: &Piece| {
            let mut spans = geometry.spans(*piece, 0, geometry.piece_len(*piece));
            spans.all(|span| span.file.is_none_or(|file| span.offset + span.len as u64 <= lens[file]))
        };
        let mut within = Bitfield::new(pieces.len());
        for piece in geometry.pieces_in(pieces).filter(is_there) {
            within.set(piece.index());
        }
        within
    }

    /// Removes the older version whose place a complete download takes, unless its user has changed it, or
    /// something else is in the way. True if the next start has to know that before the download gets its
    /// name. Only one thread at a time may call this, as for [`sync`](Self::sync).
    pub fn clear_way(&self) -> Result<bool, StorageError> {
        let older = self.older().filter(|older| !older.is_cleared());
        let Some(older) = older.filter(|_| !self.is_shared() && !self.is_finished()) else {
            return Ok(false);
        };
        self.finish_files()?;
        self.sync()?;
        self.is_way_free()?;
        let folders = older.clear_away(&self.disk)?;
        *self.older.lock() = Some(older.cleared());
        self.dirty.lock().folders.extend(folders);
        self.sync()?;
        Ok(true)
    }

    /// Whether the older version may give way: its user has not changed it, and nothing else has a name that
    /// the download needs.
    pub fn is_way_free(&self) -> Result<(), StorageError> {
        let Some(older) = self.older() else { return Ok(()) };
        if let Some(path) = older.changed() {
            return Err(StorageError::ChangedByUser(path.to_owned()));
        }
        self.places.read().is_way_free(&older)
    }

    /// Whether each file that is there is as it was when it was complete.
    pub fn is_as_known(&self) -> bool {
        let is_known = |index| {
            let now = fs::symlink_metadata(self.path(index)).ok();
            now.is_none_or(|now| Stamp::of_metadata(&now).ok() == self.stamp_of(index))
        };
        (0..self.torrent.files().len()).all(is_known)
    }

    /// Syncs a complete download and gives it its final name, or the wanted files theirs. Only one thread at
    /// a time may call this, as for [`sync`](Self::sync). Only complete files ever have a final name.
    pub fn finish(&self) -> Result<(), StorageError> {
        self.prepare()?;
        self.take_names()
    }

    /// Syncs a complete download, and clears the way for its final names. Returns whether older files were
    /// removed, which must be saved before it takes them: see [`clear_way`](Self::clear_way).
    pub fn prepare(&self) -> Result<bool, StorageError> {
        if self.is_shared() {
            return Ok(false);
        }
        let has_cleared = self.clear_way()?;
        if !self.is_finished() {
            self.finish_files()?;
            self.sync()?;
        }
        Ok(has_cleared)
    }

    /// Gives what was [prepared](Self::prepare) its final names.
    pub fn take_names(&self) -> Result<(), StorageError> {
        if self.is_shared() {
            return Ok(());
        }
        if !self.is_finished() {
            let replaces = self.older().is_some();
            let changed = self.places.write().settle(&self.disk, replaces)?;
            *self.older.lock() = None;
            self.dirty.lock().folders.extend(changed.iter().map(|path| above(path).to_owned()));
        }
        self.release();
        self.sync()?; // makes the new names durable
        self.stamp();
        Ok(())
    }

    /// What [`stamps`](Self::stamps) and [`settled`](Self::settled) will be once what was
    /// [prepared](Self::prepare) has its final names: a rename changes no stamp.
    pub fn known_next(&self) -> (Vec<Stamp>, BTreeMap<usize, Stamp>) {
        let next = self.places.read().stamps_next();
        match next.len() == self.torrent.files().len() {
            true => (next.into_values().collect(), BTreeMap::new()),
            false => (Vec::new(), next),
        }
    }

    fn finish_files(&self) -> Result<(), StorageError> {
        let unsettled = self.places.read().unsettled();
        let files = self.torrent.files().iter().enumerate();
        for (index, entry) in files.filter(|(index, _)| unsettled.contains(index)) {
            // An empty file was never opened, and a file from before the download may be longer.
            let file = self.file_to_write(index)?;
            let file = file.download()?;
            let len = file.metadata().map_err(|why| self.failed("look at", index, why))?.len();
            if len > entry.len {
                file.set_len(entry.len).map_err(|why| self.failed("shorten", index, why))?;
                self.made.lock().insert(index, entry.len);
                self.dirty.lock().files.insert(index);
            }
            if entry.executable {
                file.set_mode(0o755).map_err(|why| self.failed("mark", index, why))?;
                self.dirty.lock().files.insert(index);
            }
        }
        Ok(())
    }
}
