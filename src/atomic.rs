//! Files that are replaced whole or not at all, whatever happens in between.

use crate::disk::{Disk, above};
use std::io;
use std::path::Path;

/// Writes `bytes` to a temporary file beside `path`, syncs it, renames it to `path`, and syncs the folder. After a
/// crash `path` has the old content or the new. One thread at a time may write a given path.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_on(&Disk::default(), path, bytes)
}

/// The same on a disk that somebody may look at.
pub fn write_on(disk: &Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".tmp");
    replace(disk, path, &path.with_file_name(name), bytes)
}

/// The same by a temporary file that the caller names, in the folder of `path`: with a name for each call, several
/// threads may write the same path, and the last wins. What could not be written whole is taken away again.
pub fn write_by(path: &Path, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(&Disk::default(), path, temporary, bytes)
}

fn replace(disk: &Disk, path: &Path, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = write_synced(disk, temporary, bytes).and_then(|()| disk.rename(temporary, path));
    if written.is_err() {
        let _ = disk.remove(temporary); // the first error is the one to tell
    }
    written?;
    disk.sync_folder(above(path))
}

fn write_synced(disk: &Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk.create(path)?;
    file.set_len(0)?; // a crash may have left some of another
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
}
