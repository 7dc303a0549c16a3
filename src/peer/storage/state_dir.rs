//! The state folder: what a peer keeps of itself from one start to the next. One process at a time uses it.
//!
//! `lock`, `peer_id`, `ledger.json`, `bans.json` ([`bans`](crate::peer::bans)), `published.json` ([`library`](crate::peer::app::library)),
//! `offered.json`, `torrents/KEY.torrent`, and `resume/KEY.json` ([`resume`](super::resume)).

use super::resume::ResumeFile;
use crate::atomic;
use crate::disk::Disk;
use crate::lock;
use crate::protocol::handshake::PeerId;
use crate::torrent::{InfoHash, Torrent};
use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What may be in the folder and is ours, beside what belongs to a torrent.
const FILES: [&str; 5] = ["peer_id", "ledger.json", "published.json", "offered.json", "bans.json"];
const TORRENTS: &str = "torrents";
const LOCK: &str = "lock";

/// Why a state folder cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    #[error("cannot use the state folder {}: {why}", path.display())]
    Io { path: PathBuf, why: io::Error },
    #[error("the state folder {} is in use by another peer: give this one its own with --state", .0.display())]
    InUse(PathBuf),
}

/// A state folder, locked for this process while this value lives.
pub struct StateDir {
    path: PathBuf,
    disk: Disk,
    _lock: File,
}

impl StateDir {
    /// Makes the folder if need be, and locks it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        StateDir::open_on(Disk::default(), path)
    }

    /// The same on a disk that somebody may look at.
    pub fn open_on(disk: Disk, path: &Path) -> Result<Self, StateError> {
        let lock_path = path.join(LOCK);
        let open = || {
            disk.make_folders(path)?;
            File::create(&lock_path)
        };
        let failed = |why| StateError::Io { path: path.to_owned(), why };
        let lock = lock::hold(&lock_path, open).map_err(|why| match why {
            TryLockError::WouldBlock => StateError::InUse(path.to_owned()),
            TryLockError::Error(why) => failed(why),
        })?;
        disk.make_folders(&path.join(TORRENTS)).map_err(failed)?;
        Ok(StateDir { path: path.to_owned(), disk, _lock: lock })
    }

    /// Where the state is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the state is kept on.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Replaces one of the files, whole or not at all.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        atomic::write_on(&self.disk, path, bytes)
    }

    /// Takes away the state of torrents that nobody needs any more, and what was kept beside it. What is not ours stays, and so
    /// does a folder that has something in it.
    pub fn discard(&self, keys: &[String]) {
        let remove = |path: PathBuf| {
            let _ = self.disk.remove(&path); // not there is as good
        };
        let resume = self.path.join("resume");
        for key in keys {
            remove(resume.join(format!("{key}.json")));
            remove(resume.join(format!("{key}.json.tmp")));
            remove(self.metainfo(key));
        }
        if fs::read_dir(&resume).is_ok_and(|mut entries| entries.next().is_some()) {
            return; // other torrents: they need the rest, too
        }
        for name in FILES {
            remove(self.path.join(name));
            remove(self.path.join(format!("{name}.tmp")));
        }
        // While the lock is held and its file there, nobody else begins; whoever opened it by now sees that it is gone.
        let _ = fs::remove_dir(resume);
        let _ = fs::remove_dir(self.path.join(TORRENTS));
        remove(self.path.join(LOCK));
        let _ = fs::remove_dir(&self.path); // not empty: not ours alone
    }

    /// The peer's name in all swarms, kept so that others' ledgers know it again.
    pub fn peer_id(&self) -> Result<PeerId, StateError> {
        let path = self.path.join("peer_id");
        match fs::read(&path).ok().and_then(|bytes| <[u8; 20]>::try_from(bytes).ok()).map(PeerId) {
            Some(name) if name.is_shoal() => Ok(name),
            _ => {
                let name = PeerId::random();
                let failed = |why| StateError::Io { path: self.path.clone(), why };
                self.replace(&path, &name.0).map_err(failed)?;
                Ok(name)
            }
        }
    }

    pub fn ledger(&self) -> PathBuf {
        self.path.join("ledger.json")
    }

    pub fn bans(&self) -> PathBuf {
        Self::bans_under(&self.path)
    }

    /// Where the bans of the peer with this state folder stand; to be read by anybody.
    pub fn bans_under(path: &Path) -> PathBuf {
        path.join("bans.json")
    }

    pub fn published(&self) -> PathBuf {
        self.path.join("published.json")
    }

    /// What earlier runs offered to everybody; nothing if the file is not there or broken.
    pub fn offered(&self) -> BTreeSet<InfoHash> {
        let keys = fs::read(self.path.join("offered.json")).ok();
        let keys =
            keys.and_then(|json| serde_json::from_slice::<Vec<String>>(&json).ok()).unwrap_or_default();
        keys.iter().filter_map(|key| key.parse().ok()).collect()
    }

    /// Keeps what is offered to everybody for the next run.
    pub fn keep_offered(&self, offered: &BTreeSet<InfoHash>) -> Result<(), StateError> {
        let path = self.path.join("offered.json");
        let keys: Vec<String> = offered.iter().map(InfoHash::to_string).collect();
        let json = serde_json::to_vec(&keys).map_err(io::Error::from);
        json.and_then(|json| self.replace(&path, &json)).map_err(|why| StateError::Io { path, why })
    }

    pub fn resume(&self, key: &str) -> ResumeFile {
        ResumeFile::on(self.disk.clone(), &self.path, key)
    }

    /// Keeps a torrent's metainfo, so that it can be shared or gone on with after a restart.
    pub fn keep(&self, torrent: &Torrent) -> Result<(), StateError> {
        let path = self.metainfo(&torrent.key());
        if path.exists() {
            return Ok(());
        }
        self.replace(&path, torrent.bytes()).map_err(|why| StateError::Io { path, why })
    }

    /// A torrent that was kept; `None` if it was not, or is broken.
    pub fn kept(&self, key: &str) -> Option<Torrent> {
        Torrent::read(&self.metainfo(key)).ok()
    }

    pub fn forget(&self, key: &str) {
        let _ = self.disk.remove(&self.metainfo(key)); // not there is as good
    }

    fn metainfo(&self, key: &str) -> PathBuf {
        self.path.join(TORRENTS).join(format!("{key}.torrent"))
    }

    /// The keys of all torrents with a resume state.
    pub fn resumable(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path.join("resume")).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut keys: Vec<String> =
            names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect();
        keys.sort();
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_user_is_refused_and_the_name_stays() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(dir.path()).unwrap();
        let name = first.peer_id().unwrap();
        assert!(matches!(StateDir::open(dir.path()), Err(StateError::InUse(_))));
        drop(first);
        let again = StateDir::open(dir.path()).unwrap();
        assert_eq!(again.peer_id().unwrap(), name);
        assert!(name.is_shoal());
        assert!(again.offered().is_empty());
        let offers = BTreeSet::from([InfoHash([1; 20]), InfoHash([2; 20])]);
        again.keep_offered(&offers).unwrap();
        assert_eq!(again.offered(), offers);
    }

    #[test]
    fn what_is_discarded_is_ours_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let state = StateDir::open(&path).unwrap();
        state.peer_id().unwrap();
        fs::create_dir(path.join("resume")).unwrap();
        fs::write(path.join("resume/other.json"), "").unwrap();
        fs::write(path.join("resume/mine.json"), "").unwrap();
        state.discard(&["mine".to_owned()]);
        assert!(
            path.join("peer_id").exists() && !path.join("resume/mine.json").exists(),
            "another torrent's"
        );
        fs::write(path.join("note"), "to myself").unwrap();
        state.discard(&["other".to_owned()]);
        let left: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["note"]);
        fs::remove_file(path.join("note")).unwrap();
        drop(state);
        StateDir::open(&path).unwrap().discard(&[]);
        assert!(!path.exists());
    }
}
