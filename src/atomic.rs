//! Files that are replaced completely or not at all, even in a crash. Any thread; no lock.

use crate::disk::{Disk, above};
use std::io;
use std::path::{Path, PathBuf};

/// Writes `bytes` to a temporary file beside `path`, syncs it, renames it to `path`, and syncs the
/// folder. After a crash `path` has either the old content or the new. Only one thread at a time
/// may write a given path.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_on(&Disk::default(), path, bytes)
}

/// [`write`](write()) on a [`Disk`] that a test may observe.
pub fn write_on(disk: &Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(disk, path, &temporary(path)?, bytes, None)
}

/// The same, and no other user can read it.
pub fn write_secret_on(disk: &Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(disk, path, &temporary(path)?, bytes, Some(0o600))
}

fn temporary(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".tmp");
    Ok(path.with_file_name(name))
}

/// [`write`](write()) by a temporary file that the caller names, in the folder of `path`. With a different
/// name in each call, several threads may write the same path, and the last one wins. A temporary file that
/// could not be written completely is removed.
pub fn write_by(path: &Path, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(&Disk::default(), path, temporary, bytes, None)
}

fn replace(disk: &Disk, path: &Path, temporary: &Path, bytes: &[u8], mode: Option<u32>) -> io::Result<()> {
    let written = write_synced(disk, temporary, bytes, mode).and_then(|()| disk.rename(temporary, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = disk.remove(temporary);
    }
    written?;
    disk.sync_folder(above(path))
}

fn write_synced(disk: &Disk, path: &Path, bytes: &[u8], mode: Option<u32>) -> io::Result<()> {
    let file = disk.create(path)?;
    if let Some(mode) = mode {
        file.set_mode(mode)?;
    }
    // A crash may have left an older temporary file.
    file.set_len(0)?;
    file.write_all_at(bytes, 0)?;
    file.sync()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        super::write(&path, b"old").unwrap();
        std::fs::write(dir.path().join("state.json.tmp"), b"left by a crash, and longer").unwrap();
        super::write(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_is_for_its_user_alone() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        super::write_secret_on(&crate::disk::Disk::default(), &path, b"of mine").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }
}
