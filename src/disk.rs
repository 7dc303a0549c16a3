//! Every disk operation of the engine that must survive a crash: files created, written, shortened, synced,
//! renamed and removed, and folders created and synced. Layer 0; any thread; no lock. Reading changes
//! nothing, so it is not intercepted.
//!
//! What a disk guarantees, and nothing more is relied on:
//!
//! - What was written to a file before [`File::sync`] began is there after a power cut, once it has returned.
//!   Anything else in the file may or may not be there, page by page, in any order; its length too.
//! - A name that was created, renamed or removed is so after a power cut only once
//!   [`Disk::sync_folder`] of its folder has returned.
//! - A rename has happened completely or not at all.
//! - **A sync that failed has discarded what it could not write**, and the next sync does not report it.
//!
//! A test may put a [`Between`] between the engine and the disk. `tests/power/` records the operations
//! and cuts the power after each step; `tests/disk.rs` makes the disk fail. Without one, an operation only
//! costs a check of an `Option`.

use std::fmt;
use std::fs::{self, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An operation, as a [`Between`] sees it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Op<'a> {
    /// A folder is created.
    MakeFolder(&'a Path),
    /// A file is created. If it is there already, nothing happens to it.
    Create(&'a Path),
    /// Bytes are written to a file.
    Write {
        /// The file.
        path: &'a Path,
        /// Where the bytes begin in the file, in bytes.
        offset: u64,
        /// The bytes.
        data: &'a [u8],
    },
    /// A file is shortened or extended.
    SetLen {
        /// The file.
        path: &'a Path,
        /// Its new length in bytes.
        len: u64,
    },
    /// A file is made durable.
    Sync(&'a Path),
    /// The names in a folder are made durable.
    SyncFolder(&'a Path),
    /// A file or folder is renamed.
    Rename {
        /// The old path.
        from: &'a Path,
        /// The new path.
        to: &'a Path,
    },
    /// A file is removed.
    Remove(&'a Path),
}

/// Intercepts the operations between the engine and the disk; for tests.
pub trait Between: Send + Sync {
    /// Called when `op` is about to happen. `go` performs it; call it once, or not at all if the
    /// operation is to fail.
    fn pass(&self, op: &Op<'_>, go: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()>;
}

/// The disk, possibly with a [`Between`].
#[derive(Clone, Default)]
pub struct Disk {
    between: Option<Arc<dyn Between>>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.between.is_some() { "Disk with somebody in between" } else { "Disk" })
    }
}

/// A file that is open for reading and writing.
#[derive(Debug)]
pub struct File {
    file: fs::File,
    /// Its path when it was opened.
    path: PathBuf,
    disk: Disk,
}

impl Disk {
    /// A disk whose operations pass through `between`.
    pub fn with(between: Arc<dyn Between>) -> Self {
        Disk { between: Some(between) }
    }

    fn perform(&self, op: &Op<'_>, mut go: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        match &self.between {
            None => go(),
            Some(between) => between.pass(op, &mut go),
        }
    }

    /// Opens an existing file, but never through a symbolic link.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        Ok(self.file(open_options().open(path)?, path))
    }

    /// Opens a file, and creates it if it does not exist. Its name is durable once its folder is synced.
    pub fn create(&self, path: &Path) -> io::Result<File> {
        let mut opened = None;
        self.perform(&Op::Create(path), || {
            opened = Some(open_options().create(true).open(path)?);
            Ok(())
        })?;
        let file = opened.ok_or_else(|| io::Error::other("the file was not opened"))?;
        Ok(self.file(file, path))
    }

    fn file(&self, file: fs::File, path: &Path) -> File {
        File { file, path: path.to_owned(), disk: self.clone() }
    }

    /// Creates a folder; true if it did not exist before. Its name is durable once the folder above
    /// is synced.
    pub fn make_folder(&self, path: &Path) -> io::Result<bool> {
        match self.perform(&Op::MakeFolder(path), || fs::create_dir(path)) {
            Ok(()) => Ok(true),
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// Creates a folder and those above it, durably.
    pub fn make_folders(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let above = above(path);
        if above != path {
            self.make_folders(above)?;
        }
        match self.make_folder(path)? {
            true => self.sync_folder(above),
            false => Ok(()),
        }
    }

    /// Makes the names in the folder durable. Some file systems (mostly network ones) refuse to sync a
    /// folder; that is not an error here, because there is nothing else to do.
    pub fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.perform(&Op::SyncFolder(folder), || match fs::File::open(folder)?.sync_all() {
            Err(why) if why.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        })
    }

    /// Renames a file or folder, and replaces a file of the new name.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.perform(&Op::Rename { from, to }, || fs::rename(from, to))
    }

    /// Renames a file or folder, but never replaces anything.
    pub fn rename_to_free(&self, from: &Path, to: &Path) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        let rename = || match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // The file system cannot guarantee it: check first, then rename.
            Err(Errno::INVAL | Errno::NOSYS) if fs::symlink_metadata(to).is_err() => fs::rename(from, to),
            renamed => renamed.map_err(io::Error::from),
        };
        self.perform(&Op::Rename { from, to }, rename)
    }

    /// Removes a file.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.perform(&Op::Remove(path), || fs::remove_file(path))
    }
}

impl File {
    /// Fills `into` from byte `offset` of the file on. An error if the file ends before.
    pub fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }

    /// Writes all of `data` from byte `offset` of the file on.
    pub fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let op = Op::Write { path: &self.path, offset, data };
        self.disk.perform(&op, || self.file.write_all_at(data, offset))
    }

    /// Sets the length of the file in bytes.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.perform(&Op::SetLen { path: &self.path, len }, || self.file.set_len(len))
    }

    /// Makes durable what was written before the call, the length, and the time of the last write, which
    /// shows whether the file has been changed since.
    pub fn sync(&self) -> io::Result<()> {
        self.disk.perform(&Op::Sync(&self.path), || self.file.sync_all())
    }

    /// Sets the permissions; durable after the next sync.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.file.set_permissions(Permissions::from_mode(mode))
    }

    /// The file's metadata: length, times, permissions.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }
}

/// The folder that holds `path`.
pub fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => path,
    }
}

/// Whether the file or folder at `path` now is the one that `meta` belongs to.
pub fn is_at(path: &Path, meta: &Metadata) -> bool {
    fs::symlink_metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (meta.dev(), meta.ino()))
}

fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_from_the_outermost_on() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, deep) = (Disk::default(), dir.path().join("a/b/c"));
        disk.make_folders(&deep).unwrap();
        disk.make_folders(&deep).unwrap();
        assert!(deep.is_dir());
        fs::write(dir.path().join("file"), b"").unwrap();
        assert!(disk.make_folders(&dir.path().join("file/sub")).is_err());
        assert!(disk.make_folders(&dir.path().join("file")).is_err());
    }

    #[test]
    fn a_file_that_was_replaced_is_not_the_one_that_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = Disk::default().create(&path).unwrap();
        assert!(is_at(&path, &file.metadata().unwrap()));
        fs::write(dir.path().join("other"), b"").unwrap();
        fs::rename(dir.path().join("other"), &path).unwrap();
        assert!(!is_at(&path, &file.metadata().unwrap()));
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&path, &file.metadata().unwrap()));
    }
}
