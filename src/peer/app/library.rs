//! The upload folder: every file in it and its subfolders, of any type, is a torrent of its own. Runs on the
//! thread that scans: `main` at the start, then `watch`. No lock.
//!
//! A file is hashed once. Its torrent is kept by path, size and time ([`Stamp`]), so a restart hashes nothing
//! again. Links, empty files, and names that begin with a dot or end in `.part` (unfinished) are left out.
//!
//! A file that is gone is withdrawn, and its hashes forgotten. But not if it is out of reach: the upload
//! folder is not there, or the folder that held it is on another device than it was, as where a share is
//! mounted when it is not.

use crate::peer::storage::resume::Stamp;
use crate::peer::storage::state_dir::StateDir;
use crate::torrent::create::{CreateError, Options, Source};
use crate::torrent::{Torrent, all_cores};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Maximum depth of subfolders that are scanned.
const MOST_DEPTH: usize = 64;
/// Maximum number of files that are shared: each is a torrent at the tracker.
const MOST_FILES: usize = 100_000;

/// A file whose torrent is known.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Known {
    stamp: Stamp,
    key: String,
    /// The device that the file was on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<u64>,
}

/// The files under one folder and their torrents.
pub struct Library {
    dir: PathBuf,
    state: Arc<StateDir>,
    known: BTreeMap<PathBuf, Known>,
    /// What is shared now: the key of each torrent, with its file.
    shared: BTreeMap<String, PathBuf>,
    stop: Arc<AtomicBool>,
}

/// A file to share.
pub struct Found {
    /// Its torrent.
    pub torrent: Arc<Torrent>,
    /// The folder that it lies in.
    pub dir: PathBuf,
}

/// What a scan found that differs from the scan before.
#[derive(Default)]
pub struct Changes {
    /// New or changed files.
    pub added: Vec<Found>,
    /// Keys of torrents whose file is gone or has changed.
    pub removed: Vec<String>,
    /// Whether files were left for later because they are being written.
    pub unsettled: bool,
    /// Whether nothing is there, and all that was is out of reach.
    pub absent: bool,
}

impl Library {
    /// The library of `dir`. Nothing on the disk is looked at yet.
    pub fn open(dir: &Path, state: Arc<StateDir>) -> Self {
        let known = fs::read(state.published()).ok().and_then(|json| serde_json::from_slice(&json).ok());
        Library {
            dir: dir.to_owned(),
            state,
            known: known.unwrap_or_default(),
            shared: BTreeMap::new(),
            stop: Arc::default(),
        }
    }

    /// Once this is set to true, a scan stops and reports no changes.
    pub fn stopper(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Looks at every file in reach, and hashes those that are new or changed. `hashing` is called with each
    /// file before it is hashed. A new file that was written to less than `settled` ago is left for a later
    /// scan.
    pub fn scan(&mut self, settled: Duration, mut hashing: impl FnMut(&Path, Stamp)) -> io::Result<Changes> {
        let mut files = Vec::new();
        if self.dir.is_dir() {
            list(&self.dir, 0, &mut files)?;
        }
        let nothing_is_there = files.is_empty();
        let mut current = BTreeMap::new();
        let mut torrents = BTreeMap::new();
        let mut unsettled = false;
        for (path, stamp) in files {
            if age(stamp) < settled && self.known.get(&path).is_none_or(|known| known.stamp != stamp) {
                unsettled = true;
                continue;
            }
            let torrent = self.torrent_of(&path, stamp, &mut hashing);
            if self.stop.load(Ordering::Relaxed) {
                return Ok(Changes::default()); // the result for that file may be incomplete
            }
            match torrent {
                Ok((known, torrent)) => {
                    torrents.entry(known.key.clone()).or_insert((torrent, path.clone()));
                    current.insert(path, known);
                }
                Err(why) if is_being_written(&*why) => unsettled = true,
                Err(why) => log::warn!("{} is not shared: {why}", path.display()),
            }
        }
        let gone = self.known.iter().filter(|(path, known)| self.is_out_of_reach(path, known));
        let gone: Vec<_> = gone.map(|(path, known)| (path.clone(), known.clone())).collect();
        let absent = !self.dir.is_dir() || (nothing_is_there && !gone.is_empty());
        current.extend(gone.into_iter().take(MOST_FILES.saturating_sub(current.len())));
        if self.known != current {
            self.known = current;
            self.save();
        }
        Ok(Changes { unsettled, absent, ..self.changes(torrents) })
    }

    /// Whether a file that is not found may be there all the same: the folder that should hold it, or the
    /// nearest one that is left above it, is not where the file was.
    fn is_out_of_reach(&self, path: &Path, known: &Known) -> bool {
        if path.exists() {
            return false;
        }
        let folders = path.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.dir));
        let nearest = folders.into_iter().find_map(|folder| Some((folder, device(folder).ok()?)));
        nearest.is_none_or(|(folder, now)| {
            known.device.is_some_and(|device| device != now) || fs::read_dir(folder).is_err()
        })
    }

    fn torrent_of(
        &self,
        path: &Path,
        stamp: Stamp,
        hashing: &mut impl FnMut(&Path, Stamp),
    ) -> Result<(Known, Torrent), Box<dyn std::error::Error>> {
        if let Some(known) = self.known.get(path).filter(|known| known.stamp == stamp)
            && let Some(torrent) = self.state.kept(&known.key)
        {
            return Ok((Known { device: device(path).ok(), ..known.clone() }, torrent));
        }
        hashing(path, stamp);
        let torrent = make_torrent(path, &self.stop, &|_, _| ())?;
        self.state.keep(&torrent)?;
        Ok((Known { stamp, key: torrent.key(), device: device(path).ok() }, torrent))
    }

    fn changes(&mut self, torrents: BTreeMap<String, (Torrent, PathBuf)>) -> Changes {
        let mut now: BTreeMap<String, PathBuf> =
            torrents.iter().map(|(key, (_, path))| (key.clone(), path.clone())).collect();
        for (key, path) in &self.shared {
            // Not found, and not forgotten: it is out of reach.
            let is_known = self.known.get(path).is_some_and(|known| known.key == *key);
            if is_known && !now.contains_key(key) {
                now.insert(key.clone(), path.clone());
            }
        }
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
        // JSON holds no other paths. Files that have one are hashed again at the next start.
        let known = self.known.iter().filter(|(path, _)| path.to_str().is_some());
        let json = serde_json::to_vec(&known.collect::<BTreeMap<_, _>>()).map_err(io::Error::from);
        if let Err(why) = json.and_then(|json| self.state.replace(&self.state.published(), &json)) {
            log::warn!("cannot keep the hashes of {}: {why}", self.dir.display());
        }
    }

    /// The upload folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Makes a hybrid torrent of a file or folder, on all cores. `progress` is called with the number of bytes
/// hashed since the last call, and the total. It gives up once `stop` is true.
pub fn make_torrent(
    path: &Path,
    stop: &Arc<AtomicBool>,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Torrent, Box<dyn std::error::Error>> {
    let options = Options { threads: all_cores(), stop: Arc::clone(stop), ..Options::default() };
    let source = Source::scan(path)?;
    let total = source.total_len();
    Ok(Torrent::parse(&source.create(&options, &|more| progress(more, total))?)?)
}

fn device(path: &Path) -> io::Result<u64> {
    Ok(fs::metadata(path)?.dev())
}

fn is_being_written(why: &(dyn std::error::Error + 'static)) -> bool {
    matches!(why.downcast_ref(), Some(CreateError::Changed(_)))
}

/// How long ago the file was written to. A time in the future counts as long ago.
fn age(stamp: Stamp) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let age = now.checked_sub(stamp.modified).and_then(|nanos| u64::try_from(nanos).ok());
    age.map_or(Duration::MAX, Duration::from_nanos)
}

/// Adds the files under `dir` that are to be shared, ordered by path.
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
    use std::ffi::OsStr;
    use std::fs::File;
    use std::os::unix::ffi::OsStrExt;

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
        let first = open().scan(Duration::ZERO, |path, _| hashed.push(path.to_owned())).unwrap();
        assert_eq!((first.added.len(), hashed.len()), (2, 2));

        let mut library = open();
        let read_again = |path: &Path, _| panic!("{} was read again", path.display());
        let second = library.scan(Duration::ZERO, read_again).unwrap();
        assert_eq!((second.added.len(), second.removed.len()), (2, 0));

        write("a.txt", "changed");
        fs::remove_file(dir.path().join("sub/b.bin")).unwrap();
        write("c", "three");
        let third = library.scan(Duration::ZERO, |_, _| ()).unwrap();
        assert_eq!((third.added.len(), third.removed.len()), (2, 2));
    }

    #[test]
    fn a_file_that_is_being_written_is_left_for_later() {
        let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = dir.path().join("film");
        fs::write(&path, "half").unwrap();
        let mut library = Library::open(dir.path(), Arc::new(StateDir::open(state.path()).unwrap()));
        let an_hour = Duration::from_secs(3600);
        let early = library.scan(an_hour, |_, _| panic!("it was read")).unwrap();
        assert!(early.unsettled && early.added.is_empty());

        let set_modified =
            |time| File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        set_modified(SystemTime::now() - 2 * an_hour);
        let later = library.scan(an_hour, |_, _| ()).unwrap();
        assert_eq!((later.unsettled, later.added.len()), (false, 1));

        fs::write(&path, "half and half").unwrap();
        let changed = library.scan(an_hour, |_, _| panic!("it was read")).unwrap();
        assert_eq!((changed.unsettled, changed.removed.len()), (true, 1), "what it was is gone");
        set_modified(SystemTime::now() + an_hour);
        let odd = library.scan(an_hour, |_, _| ()).unwrap();
        assert_eq!((odd.unsettled, odd.added.len()), (false, 1), "a clock that is wrong");
    }

    #[test]
    fn a_scan_that_is_stopped_changes_nothing() {
        let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(dir.path().join("a"), "one").unwrap();
        let mut library = Library::open(dir.path(), Arc::new(StateDir::open(state.path()).unwrap()));
        assert_eq!(library.scan(Duration::ZERO, |_, _| ()).unwrap().added.len(), 1);
        fs::write(dir.path().join("b"), "two").unwrap();
        library.stopper().store(true, Ordering::Relaxed);
        let stopped = library.scan(Duration::ZERO, |_, _| ()).unwrap();
        assert!(stopped.added.is_empty() && stopped.removed.is_empty());
    }

    /// Bug: such a file was not shared. Where it was, no hash of the whole folder could be kept.
    #[test]
    fn a_name_that_is_not_utf8_is_shared_and_costs_only_its_own_hashes() {
        let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let odd = dir.path().join(OsStr::from_bytes(b"\xcf\\\xf0"));
        fs::write(&odd, "odd").unwrap();
        fs::write(dir.path().join("plain"), "plain").unwrap();
        for hashed in [2, 1] {
            let mut library = Library::open(dir.path(), Arc::new(StateDir::open(state.path()).unwrap()));
            let mut paths = Vec::new();
            let found = library.scan(Duration::ZERO, |path, _| paths.push(path.to_owned())).unwrap();
            assert_eq!((found.added.len(), paths.len()), (2, hashed), "{paths:?}");
            assert!(paths.contains(&odd));
        }
    }

    #[test]
    fn the_same_file_twice_is_one_torrent_until_both_are_gone() {
        let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for sub in ["x", "y"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
            fs::write(dir.path().join(sub).join("same"), "same").unwrap();
        }
        let mut library = Library::open(dir.path(), Arc::new(StateDir::open(state.path()).unwrap()));
        assert_eq!(library.scan(Duration::ZERO, |_, _| ()).unwrap().added.len(), 1);
        fs::remove_file(dir.path().join("x/same")).unwrap();
        let moved = library.scan(Duration::ZERO, |_, _| ()).unwrap();
        assert_eq!((moved.added.len(), moved.removed.len()), (1, 1));
        assert!(moved.added[0].dir.ends_with("y"));
    }

    /// Bug: a share that was not mounted for a while was withdrawn, and hashed again when it was back.
    #[test]
    fn a_folder_that_is_away_for_a_while_is_neither_withdrawn_nor_hashed_again() {
        let (place, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (dir, away) = (place.path().join("uploads"), place.path().join("away"));
        fs::create_dir_all(dir.join("sub")).unwrap();
        fs::write(dir.join("a"), "one").unwrap();
        fs::write(dir.join("sub/b"), "two").unwrap();
        let open = || Library::open(&dir, Arc::new(StateDir::open(state.path()).unwrap()));
        let read_again = |path: &Path, _| panic!("{} was read again", path.display());
        let counts = |changes: Changes| (changes.added.len(), changes.removed.len(), changes.absent);
        let mut library = open();
        assert_eq!(counts(library.scan(Duration::ZERO, |_, _| ()).unwrap()), (2, 0, false));
        fs::rename(&dir, &away).unwrap();
        assert_eq!(counts(library.scan(Duration::ZERO, read_again).unwrap()), (0, 0, true));
        assert!(!dir.exists(), "it is not made anew");
        fs::rename(&away, &dir).unwrap();
        assert_eq!(counts(library.scan(Duration::ZERO, read_again).unwrap()), (0, 0, false));
        drop(library);

        // It is away at the start.
        fs::rename(&dir, &away).unwrap();
        let mut library = open();
        assert_eq!(counts(library.scan(Duration::ZERO, read_again).unwrap()), (0, 0, true));
        fs::rename(&away, &dir).unwrap();
        assert_eq!(counts(library.scan(Duration::ZERO, read_again).unwrap()), (2, 0, false));

        // What is really gone, is.
        fs::remove_file(dir.join("a")).unwrap();
        assert_eq!(counts(library.scan(Duration::ZERO, read_again).unwrap()), (0, 1, false));
        fs::remove_dir_all(dir.join("sub")).unwrap();
        assert_eq!(counts(library.scan(Duration::ZERO, read_again).unwrap()), (0, 1, false));
    }

    /// Where a share is mounted there is an empty folder when it is not, on another device.
    #[test]
    fn a_file_whose_folder_is_on_another_device_now_is_out_of_reach() {
        let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(dir.path().join("share")).unwrap();
        fs::write(dir.path().join("here"), "one").unwrap();
        let mut library = Library::open(dir.path(), Arc::new(StateDir::open(state.path()).unwrap()));
        library.scan(Duration::ZERO, |_, _| ()).unwrap();
        let (path, device) = (dir.path().join("share/film"), device(dir.path()).unwrap() + 1);
        let known = library.known[&dir.path().join("here")].clone();
        library.known.insert(path.clone(), Known { device: Some(device), ..known });
        let changes = library.scan(Duration::ZERO, |_, _| ()).unwrap();
        assert!(!changes.absent && library.known.contains_key(&path));
        library.known.get_mut(&path).unwrap().device = Some(device - 1);
        library.scan(Duration::ZERO, |_, _| ()).unwrap();
        assert!(!library.known.contains_key(&path), "it was removed");
    }
}
