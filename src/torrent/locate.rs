//! Looks for content that has the names of the torrent itself, where a download would give it others: the
//! torrent was made of it, or another program fetched it, on a disk that takes such names. It is read where
//! it is, and never written. Any thread; no lock.

use super::{Renamed, Torrent};
use std::fs;
use std::path::{Path, PathBuf};

/// Where content lies that has names of the torrent itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Located {
    /// The name of the file, or of the folder that holds the files.
    pub name: PathBuf,
    /// The path of each file below that folder; empty for a single file.
    pub files: Vec<PathBuf>,
}

impl Located {
    /// The whole path of each file, if the torrent's file or folder is in `folder`.
    pub fn paths(&self, folder: &Path) -> Vec<PathBuf> {
        let base = folder.join(&self.name);
        let below = |path: &PathBuf| if path.as_os_str().is_empty() { base.clone() } else { base.join(path) };
        self.files.iter().map(below).collect()
    }
}

/// Where each of the torrent's files is in `folder`, or would be after a download.
pub(crate) fn paths(torrent: &Torrent, folder: &Path) -> Vec<PathBuf> {
    match locate(torrent, folder) {
        Some(located) => located.paths(folder),
        None => torrent.files().iter().map(|file| torrent.path_in(folder, file)).collect(),
    }
}

/// Looks in `folder` for the torrent's content. A file counts as found under the name that the torrent gives
/// it if it has the right length; the other files have the names of a download. `None` if nothing has a name
/// that only the torrent gives. No content is read.
pub(crate) fn locate(torrent: &Torrent, folder: &Path) -> Option<Located> {
    let files = torrent.files();
    if torrent.renamed().is_none() && files.iter().all(|file| file.renamed.is_none()) {
        return None;
    }
    let own_name = torrent.renamed().and_then(Renamed::literal);
    let is_ours = |meta: fs::Metadata| match files {
        [only] if torrent.is_single_file() => meta.is_file() && meta.len() == only.len,
        _ => meta.is_dir(),
    };
    let own_name = own_name.filter(|name| fs::metadata(folder.join(name)).is_ok_and(is_ours));
    let mut found = own_name.is_some();
    let name = own_name.unwrap_or_else(|| torrent.name().into());
    if torrent.is_single_file() {
        return found.then(|| Located { name, files: vec![PathBuf::new()] });
    }
    let base = folder.join(&name);
    let is_there = |path: &PathBuf, len| {
        fs::metadata(base.join(path)).is_ok_and(|meta| meta.is_file() && meta.len() == len)
    };
    let below = files.iter().map(|file| {
        let own_path = file.renamed.as_deref().and_then(Renamed::literal);
        let own_path = own_path.filter(|path| is_there(path, file.len));
        found |= own_path.is_some();
        own_path.unwrap_or_else(|| file.path.iter().collect())
    });
    let files = below.collect();
    found.then_some(Located { name, files })
}
