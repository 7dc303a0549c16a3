//! The open files of a torrent: opened when needed, never through a link, with a limit on how many are open.
//! Any thread. `open` is a leaf lock, and no file is opened under it.

use super::{Storage, StorageError, failed, is_link};
use crate::disk::{self, above};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Maximum number of files of one torrent that are kept open. A folder may have more files than a
/// process may open.
pub(super) const OPEN_FILES: usize = 64;

/// An open file: shared content, or a file of a download.
pub(super) enum Opened {
    Shared(fs::File),
    Download(disk::File),
}

impl Storage {
    /// Opens file `index` for reading, if it exists. A file that is renamed meanwhile is opened under
    /// its new name.
    pub(super) fn file_to_read(&self, index: usize) -> Result<Arc<Opened>, StorageError> {
        let path = self.path(index);
        self.file(index, || match self.open_existing(index, &path) {
            Err(_) if path != self.path(index) => self.open_existing(index, &self.path(index)),
            opened => opened,
        })
    }

    /// Opens file `index` for writing, and makes it if necessary.
    pub(super) fn file_to_write(&self, index: usize) -> Result<Arc<Opened>, StorageError> {
        if self.is_shared() {
            return Err(StorageError::Shared(self.path(index)));
        }
        self.file(index, || self.open_or_create(index, &self.path(index)))
    }

    pub(super) fn file(
        &self,
        index: usize,
        open: impl FnOnce() -> Result<Opened, StorageError>,
    ) -> Result<Arc<Opened>, StorageError> {
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

    pub(super) fn open_existing(&self, index: usize, path: &Path) -> Result<Opened, StorageError> {
        if self.is_shared() {
            let opened = fs::File::open(path).map(Opened::Shared);
            return opened.map_err(|why| self.failed("open", index, why));
        }
        self.refuse_links(path)?;
        match self.disk.open(path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound && self.made.lock().contains_key(&index) => {
                Err(StorageError::Vanished(path.to_owned()))
            }
            opened => opened.map(Opened::Download).map_err(self.cannot_open(path)),
        }
    }

    pub(super) fn open_or_create(&self, index: usize, path: &Path) -> Result<Opened, StorageError> {
        // It was made at the start, and must not be made again unnoticed if it was removed.
        let root = self.root();
        let folders = self.places.read().folders_to(path);
        folders.iter().filter(|folder| **folder != root).try_for_each(|folder| self.make_folder(folder))?;
        match self.disk.open(path) {
            Ok(file) => Ok(Opened::Download(file)),
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(self.cannot_open(path)(why)),
            Err(_) if self.made.lock().contains_key(&index) => Err(StorageError::Vanished(path.to_owned())),
            Err(_) => self.create(index, path).map(Opened::Download),
        }
    }

    pub(super) fn create(&self, index: usize, path: &Path) -> Result<disk::File, StorageError> {
        let file = self.disk.create(path).map_err(self.cannot_open(path))?;
        self.made.lock().entry(index).or_insert(0);
        self.names_are_dirty(path);
        Ok(file)
    }

    pub(super) fn make_folder(&self, path: &Path) -> Result<(), StorageError> {
        if is_link(path) {
            return Err(StorageError::Link(path.to_owned()));
        }
        if self.disk.make_folder(path).map_err(failed("create", path))? {
            self.dirty.lock().folders.insert(above(path).to_owned());
        }
        Ok(())
    }

    pub(super) fn cannot_open(&self, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
        let path = path.to_owned();
        move |why| match is_link(&path) {
            true => StorageError::Link(path),
            false => StorageError::Io { what: "open", path, why },
        }
    }

    pub(super) fn refuse_links(&self, path: &Path) -> Result<(), StorageError> {
        let link = self.places.read().folders_to(path).into_iter().find(|folder| is_link(folder));
        link.map_or(Ok(()), |link| Err(StorageError::Link(link)))
    }
}

impl Opened {
    pub(super) fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Opened::Shared(file) => file.read_exact_at(into, offset),
            Opened::Download(file) => file.read_exact_at(into, offset),
        }
    }

    pub(super) fn metadata(&self) -> io::Result<fs::Metadata> {
        match self {
            Opened::Shared(file) => file.metadata(),
            Opened::Download(file) => file.metadata(),
        }
    }

    pub(super) fn download(&self) -> Result<&disk::File, StorageError> {
        match self {
            Opened::Download(file) => Ok(file),
            Opened::Shared(_) => Err(StorageError::Shared(PathBuf::new())),
        }
    }
}
