//! The upload folder: every file in it and its subfolders, of any type, is a torrent of its own. Runs on the
//! thread that scans: `main` at the start, then `watch`. No lock.
//!
//! A file is hashed once. Its torrent is kept by path, size and time ([`Stamp`]), so a restart hashes nothing
//! again. Links, which may lead to what nobody meant to share, empty files, and names that begin with a dot
//! or end in `.part` (unfinished) are left out, and that is told once.
//!
//! A file that is gone is withdrawn, and its hashes forgotten. But not if it is out of reach: the upload
//! folder is not there, or the folder that held it is on another device than it was, as where a share is
//! mounted when it is not.

mod listing;
#[cfg(test)]
mod tests;

use super::progress::plural;
use crate::peer::storage::stamp::Stamp;
use crate::peer::storage::state_dir::StateDir;
use crate::torrent::create::{CreateError, Options, Source};
use crate::torrent::{Torrent, all_cores};
use listing::{Listing, MOST_FILES};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    /// What went wrong at the last scan, by path.
    troubles: BTreeMap<PathBuf, String>,
    /// What the last scan left out.
    left_out: BTreeSet<PathBuf>,
    /// The folders that the last scan looked into.
    folders: Vec<PathBuf>,
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
    /// A sentence on what is left out and was not at the scan before.
    pub left_out: Option<String>,
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
            troubles: BTreeMap::new(),
            left_out: BTreeSet::new(),
            folders: Vec::new(),
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
        let mut listing = Listing::default();
        if self.dir.is_dir() {
            listing.add(&self.dir, 0)?;
        }
        let Listing { folders, files, mut troubles, left_out } = listing;
        self.folders = folders;
        let nothing_is_there = files.is_empty();
        let mut current = BTreeMap::new();
        let mut torrents = BTreeMap::new();
        let mut unsettled = false;
        for (path, stamp, device) in files {
            if age(stamp) < settled && self.known.get(&path).is_none_or(|known| known.stamp != stamp) {
                unsettled = true;
                continue;
            }
            if let Some(known) = self.is_shared(&path, stamp) {
                let known = Known { device: Some(device), ..known.clone() };
                torrents.entry(known.key.clone()).or_insert((None, path.clone()));
                current.insert(path, known);
                continue;
            }
            let torrent = self.torrent_of(&path, stamp, &mut hashing);
            if self.stop.load(Ordering::Relaxed) {
                return Ok(Changes::default()); // the result for that file may be incomplete
            }
            match torrent {
                Ok((known, torrent)) => {
                    torrents.entry(known.key.clone()).or_insert((Some(torrent), path.clone()));
                    current.insert(path, known);
                }
                Err(why) if is_being_written(&*why) => unsettled = true,
                Err(why) => drop(troubles.insert(path, format!("it is not shared: {why}"))),
            }
        }
        self.news(troubles).iter().for_each(|news| log::warn!("{news}"));
        let left_out = self.newly_left_out(left_out);
        let gone = self.known.iter().filter(|(path, _)| !current.contains_key(*path));
        let gone = gone.filter(|(path, known)| self.is_out_of_reach(path, known));
        let gone: Vec<_> = gone.map(|(path, known)| (path.clone(), known.clone())).collect();
        let absent = !self.dir.is_dir() || (nothing_is_there && !gone.is_empty());
        current.extend(gone.into_iter().take(MOST_FILES.saturating_sub(current.len())));
        if self.known != current {
            self.known = current;
            self.save();
        }
        Ok(Changes { unsettled, absent, left_out, ..self.changes(torrents) })
    }

    /// What is known of a file that is shared already, and has not changed since.
    fn is_shared(&self, path: &Path, stamp: Stamp) -> Option<&Known> {
        let known = self.known.get(path).filter(|known| known.stamp == stamp)?;
        let is_shared = self.shared.get(&known.key).is_some_and(|shared| shared == path);
        is_shared.then_some(known)
    }

    /// What is to be said of what went wrong at this scan: each trouble once, and once when it is over.
    fn news(&mut self, now: BTreeMap<PathBuf, String>) -> Vec<String> {
        let new = now.iter().filter(|(path, why)| self.troubles.get(*path) != Some(why));
        let over = self.troubles.keys().filter(|path| !now.contains_key(*path) && path.exists());
        let new = new.map(|(path, why)| format!("{}: {why}", path.display()));
        let news = new.chain(over.map(|path| format!("{}: all is well again", path.display()))).collect();
        self.troubles = now;
        news
    }

    fn newly_left_out(&mut self, now: BTreeMap<PathBuf, &'static str>) -> Option<String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, what) in now.iter().filter(|(path, _)| !self.left_out.contains(*path)) {
            *counts.entry(what).or_default() += 1;
        }
        self.left_out = now.into_keys().collect();
        let counts = counts.iter().map(|(what, count)| plural(*count as u64, what));
        let counts: Vec<String> = counts.collect();
        let dir = self.dir.display();
        (!counts.is_empty()).then(|| format!("in {dir}, these are not shared: {}", counts.join(", ")))
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

    fn changes(&mut self, torrents: BTreeMap<String, (Option<Torrent>, PathBuf)>) -> Changes {
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
            if let Some(torrent) = torrent.filter(|_| !before.contains(&(key, path.clone()))) {
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

    /// The folders that the last scan looked into.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
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
