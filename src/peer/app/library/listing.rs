//! What is under the upload folder: what is to be shared, what is not, and what cannot be. No lock.

use crate::peer::storage::stamp::Stamp;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Maximum depth of subfolders that are scanned.
const MOST_DEPTH: usize = 64;
/// Maximum number of files that are shared: each is a torrent at the tracker.
pub(super) const MOST_FILES: usize = 100_000;

/// What is under the folder.
#[derive(Default)]
pub(super) struct Listing {
    /// The folders that were looked into.
    pub folders: Vec<PathBuf>,
    /// The files to be shared, ordered by path, each with its stamp and the device that it is on.
    pub files: Vec<(PathBuf, Stamp, u64)>,
    /// What cannot be shared although it should be, and why.
    pub troubles: BTreeMap<PathBuf, String>,
    /// What is not to be shared, and what it is.
    pub left_out: BTreeMap<PathBuf, &'static str>,
}

impl Listing {
    /// Adds what is under `dir`, files ordered by path.
    pub fn add(&mut self, dir: &Path, depth: usize) -> io::Result<()> {
        let mut entries: Vec<_> = fs::read_dir(dir)?.filter_map(Result::ok).collect();
        entries.sort_by_key(|entry| entry.file_name());
        self.folders.push(dir.to_owned());
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let Ok(kind) = entry.file_type() else { continue };
            let left_out = match kind {
                _ if name.starts_with('.') => "hidden file",
                _ if name.ends_with(".part") => "unfinished file (.part)",
                _ if kind.is_symlink() => "link",
                _ if kind.is_dir() && depth >= MOST_DEPTH => "folder in too many others",
                _ if kind.is_dir() => {
                    if let Err(why) = self.add(&path, depth + 1) {
                        self.troubles.insert(path, format!("this folder is not looked into: {why}"));
                    }
                    continue;
                }
                _ if !kind.is_file() => "special file",
                _ if self.files.len() >= MOST_FILES => "file more than can be shared",
                _ => {
                    let looked_at =
                        entry.metadata().and_then(|meta| Ok((Stamp::of_metadata(&meta)?, meta.dev())));
                    match looked_at {
                        Ok((stamp, device)) if stamp.size > 0 => {
                            self.files.push((path, stamp, device));
                            continue;
                        }
                        Ok(_) => "empty file",
                        Err(_) => continue, // it is gone, or will be told when it is read
                    }
                }
            };
            self.left_out.insert(path, left_out);
        }
        Ok(())
    }
}
