//! The upload folder: every file under it, in subfolders too and of any type, is a torrent of its own. Runs on the
//! thread that scans: `main` at the start, then `watch`.
//!
//! A file is hashed once; its torrent is kept by path, size and time ([`Stamp`]), so a restart reads nothing again.
//! Left out are links, empty files, and names that begin with a dot or end in `.part`, which are not finished.

use super::resume::Stamp;
use super::state_dir::StateDir;
use crate::atomic;
use crate::torrent::create::{Options, create};
use crate::torrent::{Torrent, all_cores};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders nested deeper are not looked into.
const MOST_DEPTH: usize = 64;
/// So many files are shared at most: each is a torrent at the tracker.
const MOST_FILES: usize = 100_000;

/// A file whose torrent is known.
#[derive(Clone, Serialize, Deserialize)]
struct Known {
    stamp: Stamp,
    key: String,
}

/// The files under one folder and their torrents.
pub struct Library {
    dir: PathBuf,
    state: Arc<StateDir>,
    known: BTreeMap<PathBuf, Known>,
    /// What is shared now: each key with the file it stands for.
    shared: BTreeMap<String, PathBuf>,
}

/// A file to share.
pub struct Found {
    pub torrent: Arc<Torrent>,
    /// The folder that holds it.
    pub dir: PathBuf,
}

/// What a scan found different from the one before.
#[derive(Default)]
pub struct Changes {
    pub added: Vec<Found>,
    /// Keys of torrents whose file is gone or has changed.
    pub removed: Vec<String>,
}

impl Library {
    /// The library of `dir`; nothing is looked at yet.
    pub fn open(dir: &Path, state: Arc<StateDir>) -> Self {
        let known = fs::read(state.published()).ok().and_then(|json| serde_json::from_slice(&json).ok());
        Library { dir: dir.to_owned(), state, known: known.unwrap_or_default(), shared: BTreeMap::new() }
    }

    /// Looks at every file, and hashes those that are new or changed. `hashing` is told of each before it is read.
    pub fn scan(&mut self, mut hashing: impl FnMut(&Path)) -> io::Result<Changes> {
        let mut files = Vec::new();
        list(&self.dir, 0, &mut files)?;
        let mut current = BTreeMap::new();
        let mut torrents = BTreeMap::new();
        for (path, stamp) in files {
            match self.torrent_of(&path, stamp, &mut hashing) {
                Ok((known, torrent)) => {
                    torrents.entry(known.key.clone()).or_insert((torrent, path.clone()));
                    current.insert(path, known);
                }
                Err(why) => log::warn!("{} is not shared: {why}", path.display()),
            }
        }
        self.known = current;
        self.save();
        Ok(self.changes(torrents))
    }

    fn torrent_of(
        &self,
        path: &Path,
        stamp: Stamp,
        hashing: &mut impl FnMut(&Path),
    ) -> Result<(Known, Torrent), Box<dyn std::error::Error>> {
        if let Some(known) = self.known.get(path).filter(|known| known.stamp == stamp)
            && let Some(torrent) = self.state.kept(&known.key)
        {
            return Ok((known.clone(), torrent));
        }
        hashing(path);
        let torrent = make_torrent(path)?;
        self.state.keep(&torrent)?;
        Ok((Known { stamp, key: torrent.key() }, torrent))
    }

    fn changes(&mut self, torrents: BTreeMap<String, (Torrent, PathBuf)>) -> Changes {
        let now: BTreeMap<String, PathBuf> =
            torrents.iter().map(|(key, (_, path))| (key.clone(), path.clone())).collect();
        let before: BTreeSet<(String, PathBuf)> =
            std::mem::replace(&mut self.shared, now.clone()).into_iter().collect();
        let after: BTreeSet<(String, PathBuf)> = now.into_iter().collect();
        let mut changes = Changes::default();
        changes.removed.extend(before.difference(&after).map(|(key, _)| key.clone()));
        for (key, (torrent, path)) in torrents {
            if !before.contains(&(key, path.clone())) {
                let dir = path.parent().map(Path::to_owned).unwrap_or_default();
                changes.added.push(Found { torrent: Arc::new(torrent), dir });
            }
        }
        changes
    }

    fn save(&self) {
        let json = serde_json::to_vec(&self.known).map_err(io::Error::from);
        if let Err(why) = json.and_then(|json| atomic::write(&self.state.published(), &json)) {
            log::warn!("cannot keep the hashes of {}: {why}", self.dir.display());
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// A hybrid torrent of a file or folder, made with all cores.
pub fn make_torrent(path: &Path) -> Result<Torrent, Box<dyn std::error::Error>> {
    let options = Options { threads: all_cores(), ..Options::default() };
    Ok(Torrent::parse(&create(path, &options, &|_| ())?)?)
}

/// The files under `dir` that are to be shared, ordered by path.
fn list(dir: &Path, depth: usize, files: &mut Vec<(PathBuf, Stamp)>) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(dir)?.filter_map(Result::ok).collect();
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let Ok(kind) = entry.file_type() else { continue };
        if name.starts_with('.') || name.ends_with(".part") || files.len() >= MOST_FILES {
            continue;
        }
        if kind.is_dir() && depth < MOST_DEPTH {
            if let Err(why) = list(&path, depth + 1, files) {
                log::warn!("{} is not looked into: {why}", path.display());
            }
        } else if kind.is_file()
            && let Ok(stamp) = Stamp::of(&path)
            && stamp.size > 0
        {
            files.push((path, stamp));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_reads_nothing_again_and_changes_are_found() {
        let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        write("a.txt", "one");
        write("sub/b.bin", "two");
        for left_out in ["empty", ".hidden", "film.part"] {
            write(left_out, if left_out == "empty" { "" } else { "x" });
        }
        let open = || Library::open(dir.path(), Arc::new(StateDir::open(state.path()).unwrap()));
        let mut hashed = Vec::new();
        let first = open().scan(|path| hashed.push(path.to_owned())).unwrap();
        assert_eq!((first.added.len(), hashed.len()), (2, 2));

        let mut library = open();
        let second = library.scan(|path| panic!("{} was read again", path.display())).unwrap();
        assert_eq!((second.added.len(), second.removed.len()), (2, 0));

        write("a.txt", "changed");
        fs::remove_file(dir.path().join("sub/b.bin")).unwrap();
        write("c", "three");
        let third = library.scan(|_| ()).unwrap();
        assert_eq!((third.added.len(), third.removed.len()), (2, 2));
    }

    #[test]
    fn the_same_file_twice_is_one_torrent_until_both_are_gone() {
        let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for sub in ["x", "y"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
            fs::write(dir.path().join(sub).join("same"), "same").unwrap();
        }
        let mut library = Library::open(dir.path(), Arc::new(StateDir::open(state.path()).unwrap()));
        assert_eq!(library.scan(|_| ()).unwrap().added.len(), 1);
        fs::remove_file(dir.path().join("x/same")).unwrap();
        let moved = library.scan(|_| ()).unwrap();
        assert_eq!((moved.added.len(), moved.removed.len()), (1, 1));
        assert!(moved.added[0].dir.ends_with("y"));
    }
}
