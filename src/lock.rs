//! Files and folders that only one process at a time may use. The lock is the kernel's (`flock`): it
//! ends with the process, in whatever way that ends, and leaves nothing to clean up. Layer 0; any
//! thread; no lock inside the process.

use crate::disk::is_at;
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// Maximum number of attempts to lock a file that other processes keep removing. After that it
/// counts as locked by them.
const TRIES: usize = 100;

/// Opens the file or folder at `path` with `open`, and locks it while the result lives. If it was moved or
/// removed between opening and locking, the lock would protect nothing; then it is opened again.
pub fn hold(path: &Path, open: impl Fn() -> io::Result<File>) -> Result<File, TryLockError> {
    let mut gone = TryLockError::WouldBlock;
    for _ in 0..TRIES {
        let file = match open() {
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                gone = TryLockError::Error(why);
                continue;
            }
            opened => opened.map_err(TryLockError::Error)?,
        };
        file.try_lock()?;
        if is_at(path, &file.metadata().map_err(TryLockError::Error)?) {
            return Ok(file);
        }
    }
    Err(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_or_folder_is_held_by_one_and_then_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        for (path, open) in [(file.as_path(), File::create as fn(_) -> _), (dir.path(), File::open)] {
            let first = hold(path, || open(path)).unwrap();
            assert!(matches!(hold(path, || open(path)), Err(TryLockError::WouldBlock)));
            drop(first);
            hold(path, || open(path)).unwrap();
        }
    }

    #[test]
    fn what_was_removed_while_it_was_locked_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let opened = std::cell::Cell::new(0);
        let held = hold(&path, || {
            let file = File::create(&path);
            if opened.replace(opened.get() + 1) == 0 {
                std::fs::remove_file(&path)?;
            }
            file
        });
        assert!(is_at(&path, &held.unwrap().metadata().unwrap()));
        assert_eq!(opened.get(), 2);
    }
}
