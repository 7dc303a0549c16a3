//! Size and time of a file, by which a change is noticed. No lock.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Size and time of a file, to notice that it changed.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub modified: u128,
}

impl Stamp {
    /// The stamp of the file at `path`.
    pub fn of(path: &Path) -> io::Result<Self> {
        Stamp::of_metadata(&fs::metadata(path)?)
    }

    /// The stamp of a file whose metadata was read already.
    pub fn of_metadata(meta: &fs::Metadata) -> io::Result<Self> {
        let modified = meta.modified()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Ok(Stamp { size: meta.len(), modified })
    }
}
