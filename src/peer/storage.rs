//! A torrent's files: positional reads and writes, and how a finished download gets its name. Any thread; its two
//! locks are leaves and never held over the disk.
//!
//! A download is written in place under `NAME.part` (a file, or a folder for a torrent of several), synced before
//! anything vouches for it ([`resume`](super::resume)), and renamed to `NAME` when complete: atomically, and never
//! over something that is there already. Nothing is reached through a link below the download folder. Where the files are of
//! which only some are wanted, [`places`] says.

mod places;

use super::resume::Stamp;
use crate::atomic;
use crate::bitfield::Bitfield;
use crate::torrent::{Piece, Selection, Torrent};
use parking_lot::{Mutex, RwLock};
use places::{Place, Places};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

#[cfg(test)]
mod tests;

/// Open files kept at once, of one torrent: a folder may have more files than a process may have open.
const OPEN_FILES: usize = 64;

/// Why the disk did not do as asked.
#[derive(Debug, Error)]
pub enum StorageError {
    #[error("cannot {what} {}: {why}", path.display())]
    Io { what: &'static str, path: PathBuf, why: io::Error },
    #[error("{} is in the way: move it, or download to another folder", .0.display())]
    InTheWay(PathBuf),
    #[error("{} is a link, and a download is never written through one: remove it", .0.display())]
    Link(PathBuf),
    #[error("{} is shorter than it should be: it was changed while it was shared", .0.display())]
    Truncated(PathBuf),
    #[error("{} was changed while it was shared: offer it anew to share what it is now", .0.display())]
    Changed(PathBuf),
    #[error("{} is only shared, and never written", .0.display())]
    Shared(PathBuf),
}

/// Where a torrent's files are.
enum Access {
    /// Somebody else's: only read.
    Shared,
    /// Ours, being downloaded.
    Download,
}

/// The files of one torrent.
pub struct Storage {
    torrent: Arc<Torrent>,
    /// The folder that holds `NAME` or `NAME.part`.
    dir: PathBuf,
    access: Access,
    /// Changes once, when the download is complete.
    places: RwLock<Places>,
    open: RwLock<HashMap<usize, Arc<File>>>,
    /// Written since the last sync.
    dirty: Mutex<BTreeSet<usize>>,
    /// Of shared content: each file as it was when it was first shared. Who served what it became since would be banned
    /// for it by everybody.
    stamps: Vec<Option<Stamp>>,
}

impl Storage {
    /// Content that is there already, under `dir/NAME`; it is never written.
    pub fn shared(torrent: Arc<Torrent>, dir: &Path) -> Self {
        let places = Places::settled(&torrent, dir);
        let mut storage = Storage::new(torrent, dir, places, Access::Shared);
        let files = 0..storage.torrent.files().len();
        storage.stamps = files.map(|index| Stamp::of(&storage.path(index)).ok()).collect();
        storage
    }

    /// A download of every file into `dir/NAME.part`, begun before or not. Fails if `dir/NAME` exists and is something else.
    pub fn download(torrent: Arc<Torrent>, dir: &Path) -> Result<Self, StorageError> {
        let all = Selection::all(&torrent);
        Storage::download_files(torrent, dir, &all, &BTreeMap::new())
    }

    /// A download of these files, begun before or not. What is under `dir/NAME` is not downloaded again, if it is as it is `known` or
    /// what the torrent says; anything else there is in the way.
    pub fn download_files(
        torrent: Arc<Torrent>,
        dir: &Path,
        files: &Selection,
        known: &BTreeMap<usize, Stamp>,
    ) -> Result<Self, StorageError> {
        fs::create_dir_all(dir).map_err(failed("create", dir))?;
        let mut places = Places::wanted(&torrent, dir, files);
        places.find(&torrent, known)?;
        let storage = Storage::new(torrent, dir, places, Access::Download);
        storage.check_writable()?;
        Ok(storage)
    }

    fn new(torrent: Arc<Torrent>, dir: &Path, places: Places, access: Access) -> Self {
        Storage {
            torrent,
            dir: dir.to_owned(),
            access,
            places: RwLock::new(places),
            open: RwLock::default(),
            dirty: Mutex::default(),
            stamps: Vec::new(),
        }
    }

    /// Says at the start, not at the first piece, that the folder cannot be written.
    fn check_writable(&self) -> Result<(), StorageError> {
        if self.places.read().unsettled().is_empty() {
            return Ok(()); // nothing is to be written but what is aside
        }
        let root = self.root();
        if is_link(&root) {
            return Err(StorageError::Link(root));
        }
        if self.torrent.is_single_file() {
            self.open_or_create(0, &root).map(drop)
        } else {
            fs::create_dir_all(&root).map_err(failed("create", &root))
        }
    }

    /// What the files hang under now: `NAME` or `NAME.part`.
    pub fn root(&self) -> PathBuf {
        self.places.read().root()
    }

    pub fn torrent(&self) -> &Arc<Torrent> {
        &self.torrent
    }

    /// The folder that holds the torrent's files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the content is there already and only read.
    pub fn is_shared(&self) -> bool {
        matches!(self.access, Access::Shared)
    }

    /// Where file `index` is now.
    pub fn path(&self, index: usize) -> PathBuf {
        self.places.read().path(index)
    }

    /// Whether every file of the torrent is there under its name, and nothing is left to download.
    pub fn is_all_settled(&self) -> bool {
        self.places.read().is_all_settled()
    }

    /// Of a torrent of which some files have their names and others do not: the former, as they were then.
    pub fn settled(&self) -> BTreeMap<usize, Stamp> {
        self.places.read().stamps()
    }

    /// Those of `pieces` for which the files are long enough. What is not there cannot be vouched for, whatever was
    /// known of it.
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
        for piece in pieces.iter().filter_map(|index| geometry.piece(index)).filter(is_there) {
            within.set(piece.index());
        }
        within
    }

    /// Whether there is something on the disk at all.
    pub fn has_content(&self) -> bool {
        let bases = [Place::Settled, Place::Wanted, Place::Aside].map(|place| self.places.read().base(place));
        bases.iter().any(|base| fs::metadata(base).is_ok_and(|meta| meta.is_dir() || meta.len() > 0))
    }

    /// Fills `into` with the bytes of `piece` from `begin` on; padding reads as zeros.
    pub fn read(&self, piece: Piece, begin: u32, into: &mut [u8]) -> Result<(), StorageError> {
        let mut rest = into;
        for span in self.torrent.geometry().spans(piece, begin, rest.len() as u32) {
            let (part, after) = rest.split_at_mut(span.len);
            rest = after;
            match span.file {
                None => part.fill(0),
                Some(index) => self.read_file(index, span.offset, part)?,
            }
        }
        Ok(())
    }

    fn read_file(&self, index: usize, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let file = self.file_to_read(index)?;
        file.read_exact_at(into, offset).map_err(|why| {
            let path = self.path(index);
            match why.kind() {
                io::ErrorKind::UnexpectedEof => StorageError::Truncated(path),
                _ => StorageError::Io { what: "read", path, why },
            }
        })?;
        // After reading: what changes from here on is not in what was read.
        let now = file.metadata().and_then(|meta| Stamp::of_metadata(&meta));
        match self.stamps.get(index).copied().flatten() {
            Some(stamp) if now.is_ok_and(|now| now != stamp) => Err(StorageError::Changed(self.path(index))),
            _ => Ok(()),
        }
    }

    /// Writes a whole piece; it is on the disk for good only after the next [`sync`](Self::sync).
    pub fn write(&self, piece: Piece, data: &[u8]) -> Result<(), StorageError> {
        let mut rest = data;
        for span in self.torrent.geometry().spans(piece, 0, data.len() as u32) {
            let (part, after) = rest.split_at(span.len);
            rest = after;
            // A settled file of a download has these bytes already, and is the user's.
            let is_ours = |index: &usize| self.is_shared() || self.places.read().of(*index) != Place::Settled;
            if let Some(index) = span.file.filter(is_ours) {
                let file = self.file_to_write(index)?;
                file.write_all_at(part, span.offset).map_err(|why| self.failed("write", index, why))?;
                self.dirty.lock().insert(index);
            }
        }
        Ok(())
    }

    /// Makes durable what was written before the call.
    pub fn sync(&self) -> Result<(), StorageError> {
        let dirty = std::mem::take(&mut *self.dirty.lock());
        for &index in &dirty {
            let synced = self
                .file_to_write(index)
                .and_then(|file| file.sync_data().map_err(|why| self.failed("sync", index, why)));
            if let Err(why) = synced {
                self.dirty.lock().extend(dirty); // not vouched for: the next sync tries again
                return Err(why);
            }
        }
        Ok(())
    }

    /// Gives a complete download its name, or the wanted files theirs.
    pub fn finish(&self) -> Result<(), StorageError> {
        if self.is_shared() {
            return Ok(());
        }
        let unsettled = self.places.read().unsettled();
        for (index, entry) in
            unsettled.iter().filter_map(|index| Some((*index, self.torrent.files().get(*index)?)))
        {
            // An empty file was never opened, and what lay there before the download may have been longer.
            let file = self.file_to_write(index)?;
            let len = file.metadata().map_err(|why| self.failed("look at", index, why))?.len();
            if len > entry.len {
                file.set_len(entry.len).map_err(|why| self.failed("shorten", index, why))?;
                self.dirty.lock().insert(index);
            }
            if entry.executable {
                file.set_permissions(fs::Permissions::from_mode(0o755))
                    .map_err(|why| self.failed("mark", index, why))?;
            }
        }
        self.sync()?;
        if unsettled.is_empty() {
            return Ok(());
        }
        let changed = self.places.write().settle()?;
        changed
            .iter()
            .try_for_each(|path| atomic::sync_folder(path).map_err(failed("sync the folder of", path)))
    }

    /// Opens it for reading only what is there; a download that is being renamed has it under its new name.
    fn file_to_read(&self, index: usize) -> Result<Arc<File>, StorageError> {
        let path = self.path(index);
        self.file(index, || match self.open_existing(index, &path) {
            Err(_) if path != self.path(index) => self.open_existing(index, &self.path(index)),
            opened => opened,
        })
    }

    /// Opens it for writing, and makes it if need be.
    fn file_to_write(&self, index: usize) -> Result<Arc<File>, StorageError> {
        if self.is_shared() {
            return Err(StorageError::Shared(self.path(index)));
        }
        self.file(index, || self.open_or_create(index, &self.path(index)))
    }

    fn file(
        &self,
        index: usize,
        open: impl FnOnce() -> Result<File, StorageError>,
    ) -> Result<Arc<File>, StorageError> {
        if let Some(file) = self.open.read().get(&index) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(open()?);
        let mut open = self.open.write();
        if open.len() >= OPEN_FILES {
            let any = open.keys().next().copied();
            any.and_then(|any| open.remove(&any));
        }
        Ok(Arc::clone(open.entry(index).or_insert(file)))
    }

    fn open_existing(&self, index: usize, path: &Path) -> Result<File, StorageError> {
        if self.is_shared() {
            return File::open(path).map_err(|why| self.failed("open", index, why));
        }
        self.refuse_links(path)?;
        self.open_with(OpenOptions::new().read(true).write(true), index, path)
    }

    fn open_or_create(&self, index: usize, path: &Path) -> Result<File, StorageError> {
        self.places.read().make_folders(path)?;
        self.open_with(OpenOptions::new().read(true).write(true).create(true).truncate(false), index, path)
    }

    fn open_with(&self, options: &mut OpenOptions, index: usize, path: &Path) -> Result<File, StorageError> {
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        options.open(path).map_err(|why| match is_link(path) {
            true => StorageError::Link(path.to_owned()),
            false => self.failed("open", index, why),
        })
    }

    fn refuse_links(&self, path: &Path) -> Result<(), StorageError> {
        let link = self.places.read().folders_to(path).into_iter().find(|folder| is_link(folder));
        link.map_or(Ok(()), |link| Err(StorageError::Link(link)))
    }

    fn failed(&self, what: &'static str, index: usize, why: io::Error) -> StorageError {
        StorageError::Io { what, path: self.path(index), why }
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    let path = path.to_owned();
    move |why| StorageError::Io { what, path, why }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink())
}

/// Renames, but never over something that is there.
fn rename_to_free(from: &Path, to: &Path) -> Result<(), StorageError> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let renamed = renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).or_else(|why| match why {
        // The file system cannot promise it: look, then rename.
        rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS if fs::symlink_metadata(to).is_err() => {
            rustix::fs::rename(from, to)
        }
        why => Err(why),
    });
    renamed.map_err(|why| match why {
        rustix::io::Errno::EXIST => StorageError::InTheWay(to.to_owned()),
        why => StorageError::Io { what: "rename", path: from.to_owned(), why: why.into() },
    })
}
