//! `NAME.part`: its name, and the lock that keeps others from writing to it. Any thread; the lock is the file
//! system's, and is never waited for.

use super::{StorageError, failed};
use crate::lock;
use crate::torrent::Torrent;
use std::fs::{self, TryLockError};
use std::path::Path;

/// Maximum length of a file name, in bytes: no usual file system allows more.
pub const LONGEST_NAME: usize = 255;
/// The ending of an unfinished download's name.
pub const PART: &str = ".part";

/// `NAME.part`, locked while this value lives, unless the file system has no locks.
pub struct Held {
    _lock: Option<fs::File>,
    /// As it was when it was locked.
    pub meta: fs::Metadata,
}

/// What a download is called until it is complete. A name that leaves no room for the ending, and for the dot
/// before the name of the files that are not wanted, is shortened; its key then distinguishes it from others
/// with the same beginning.
pub fn name_of(torrent: &Torrent) -> String {
    let name = torrent.name();
    if name.len() + PART.len() < LONGEST_NAME {
        return format!("{name}{PART}");
    }
    let ending = format!("~{:.8}{PART}", torrent.key());
    let room = LONGEST_NAME.saturating_sub(1 + ending.len());
    let end = (0..=room).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{ending}", &name[..end])
}

/// Locks `NAME.part`. If the file system has no locks, the user must keep two programs apart.
pub fn hold(path: &Path) -> Result<Held, StorageError> {
    let lock = match lock::hold(path, || fs::File::open(path)) {
        Ok(lock) => Some(lock),
        Err(TryLockError::WouldBlock) => return Err(StorageError::InUse(path.to_owned())),
        Err(TryLockError::Error(why)) => {
            log::debug!("{} cannot be locked: {why}", path.display());
            None
        }
    };
    let meta = lock.as_ref().map_or_else(|| fs::metadata(path), fs::File::metadata);
    Ok(Held { _lock: lock, meta: meta.map_err(failed("look at", path))? })
}
