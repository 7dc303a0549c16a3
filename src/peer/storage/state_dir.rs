//! The state folder: what the engine keeps from one start to the next. Any thread; only one process at a time
//! uses the folder, by a lock on the file `lock`.
//!
//! It holds `lock`, `peer_id`, `ledger.json`, `bans.json` ([`bans`](crate::peer::bans)),
//! `published.json` ([`library`](crate::peer::app::library)), `offered.json`, `mirrored.json`, `secret`,
//! `torrents/KEY.torrent`, and `resume/KEY.json` ([`resume`](super::resume)).

use super::resume::{Resume, ResumeFile};
use crate::atomic;
use crate::disk::Disk;
use crate::lock;
use crate::protocol::catalogue::Giver;
use crate::protocol::handshake::PeerId;
use crate::torrent::{InfoHash, Torrent};
use data_encoding::HEXLOWER;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Our files in the folder, apart from `lock` and those that belong to one torrent.
const FILES: [&str; 7] = ["peer_id", "ledger.json", PUBLISHED, OFFERED, MIRRORED, SECRET, "bans.json"];
const OFFERED: &str = "offered.json";
const MIRRORED: &str = "mirrored.json";
const SECRET: &str = "secret";
const PUBLISHED: &str = "published.json";
const TORRENTS: &str = "torrents";
const LOCK: &str = "lock";

/// Why a state folder cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// The operating system reported an error.
    #[error("cannot use the state folder {}: {why}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        why: io::Error,
    },
    /// Another process holds the lock of the folder.
    #[error(
        "the state folder {} is in use by another peer: give this one its own with --state",
        .0.display()
    )]
    InUse(PathBuf),
}

/// A state folder, locked for this process while this value lives.
pub struct StateDir {
    path: PathBuf,
    disk: Disk,
    _lock: File,
}

impl StateDir {
    /// Makes the folder if necessary, and locks it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        StateDir::open_on(Disk::default(), path)
    }

    /// The same, on a disk that a test may observe.
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

    /// Replaces one of the files atomically.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        atomic::write_on(&self.disk, path, bytes)
    }

    /// Removes the state of torrents that are no longer needed, and the whole folder if no other torrent is
    /// left. Files that are not ours stay, and so does a folder that has something in it.
    pub fn discard(&self, keys: &[String]) {
        let remove = |path: PathBuf| {
            let _ = self.disk.remove(&path); // it may not exist
        };
        let resume = self.path.join("resume");
        for key in keys {
            remove(resume.join(format!("{key}.json")));
            remove(resume.join(format!("{key}.json.tmp")));
            remove(self.metainfo(key));
        }
        if fs::read_dir(&resume).is_ok_and(|mut entries| entries.next().is_some()) {
            return; // other torrents still need the rest
        }
        for name in FILES {
            remove(self.path.join(name));
            remove(self.path.join(format!("{name}.tmp")));
        }
        // As long as the lock is held and its file exists, no other process starts. One that opened the file
        // before it is removed notices that it is gone.
        let _ = fs::remove_dir(resume);
        let _ = fs::remove_dir(self.path.join(TORRENTS));
        remove(self.path.join(LOCK));
        let _ = fs::remove_dir(&self.path); // fails if files of others are in it
    }

    /// Our peer id in all swarms, kept so that the ledgers of other peers recognize us.
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

    /// What proves to the trackers that an offer is by the same peer as an earlier one: 32 hexadecimal digits
    /// that only this user can read.
    pub fn secret(&self) -> Result<String, StateError> {
        let path = self.path.join(SECRET);
        let is_whole = |secret: &String| secret.len() == 32 && secret.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(secret) = fs::read_to_string(&path).ok().filter(is_whole) {
            return Ok(secret);
        }
        let failed = |why| StateError::Io { path: path.clone(), why };
        let mut bytes = [0; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|why| failed(why.into()))?;
        let secret = HEXLOWER.encode(&bytes);
        atomic::write_secret_on(&self.disk, &path, secret.as_bytes()).map_err(failed)?;
        Ok(secret)
    }

    /// The path of the ledger.
    pub fn ledger(&self) -> PathBuf {
        self.path.join("ledger.json")
    }

    /// The path of the bans.
    pub fn bans(&self) -> PathBuf {
        Self::bans_under(&self.path)
    }

    /// The path of the bans under a state folder. Any process may read that file.
    pub fn bans_under(path: &Path) -> PathBuf {
        path.join("bans.json")
    }

    /// The path of the list of what the upload folder has published.
    pub fn published(&self) -> PathBuf {
        self.path.join(PUBLISHED)
    }

    /// Whether the runs that used the state folder `state` had something in the folder `dir`. Nothing is
    /// locked or made.
    pub fn has_used(state: &Path, dir: &Path) -> bool {
        let published = fs::read(state.join(PUBLISHED)).ok();
        let published: Option<BTreeMap<PathBuf, IgnoredAny>> =
            published.and_then(|json| serde_json::from_slice(&json).ok());
        let resumes = fs::read_dir(state.join("resume")).into_iter().flatten().flatten();
        let mut resumes = resumes.filter_map(|entry| fs::read(entry.path()).ok());
        published.is_some_and(|published| published.keys().any(|path| path.starts_with(dir)))
            || resumes.any(|json| serde_json::from_slice::<Resume>(&json).is_ok_and(|old| old.dir == dir))
    }

    /// The torrents that earlier runs offered to everybody, each with the keys of the older versions that it
    /// replaces; empty if the file is missing or broken.
    pub fn offered(&self) -> BTreeMap<InfoHash, Vec<String>> {
        let json = fs::read(self.path.join(OFFERED)).unwrap_or_default();
        if let Ok(keys) = serde_json::from_slice::<Vec<String>>(&json) {
            // As it was written before there were versions.
            return keys.iter().filter_map(|key| Some((key.parse().ok()?, Vec::new()))).collect();
        }
        by_hash(&json)
    }

    /// Saves which torrents are offered to everybody, for the next run.
    pub fn keep_offered(&self, offered: &BTreeMap<InfoHash, Vec<String>>) -> Result<(), StateError> {
        self.keep_by_hash(OFFERED, offered)
    }

    /// The torrents that earlier runs fetched as a mirror, and who offered them.
    pub fn mirrored(&self) -> BTreeMap<InfoHash, Giver> {
        by_hash(&fs::read(self.path.join(MIRRORED)).unwrap_or_default())
    }

    /// Saves which torrents were fetched as a mirror, for the next run.
    pub fn keep_mirrored(&self, mirrored: &BTreeMap<InfoHash, Giver>) -> Result<(), StateError> {
        self.keep_by_hash(MIRRORED, mirrored)
    }

    fn keep_by_hash<T: Serialize>(&self, name: &str, of: &BTreeMap<InfoHash, T>) -> Result<(), StateError> {
        let path = self.path.join(name);
        let by_key: BTreeMap<String, &T> = of.iter().map(|(hash, value)| (hash.to_string(), value)).collect();
        let json = serde_json::to_vec(&by_key).map_err(io::Error::from);
        json.and_then(|json| self.replace(&path, &json)).map_err(|why| StateError::Io { path, why })
    }

    /// The resume state of the torrent `key`.
    pub fn resume(&self, key: &str) -> ResumeFile {
        ResumeFile::on(self.disk.clone(), &self.path, key)
    }

    /// Keeps a torrent's metainfo, so that it can be shared or continued after a restart.
    pub fn keep(&self, torrent: &Torrent) -> Result<(), StateError> {
        let path = self.metainfo(&torrent.key());
        if path.exists() {
            return Ok(());
        }
        self.replace(&path, torrent.bytes()).map_err(|why| StateError::Io { path, why })
    }

    /// The torrent that was kept under `key`; `None` if there is none, or it is broken.
    pub fn kept(&self, key: &str) -> Option<Torrent> {
        Torrent::read(&self.metainfo(key)).ok()
    }

    /// Removes a torrent's metainfo.
    pub fn forget(&self, key: &str) {
        let _ = self.disk.remove(&self.metainfo(key)); // it may not exist
    }

    fn metainfo(&self, key: &str) -> PathBuf {
        self.path.join(TORRENTS).join(format!("{key}.torrent"))
    }

    /// The keys of all torrents that have a resume state.
    pub fn resumable(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path.join("resume")).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut keys: Vec<String> =
            names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect();
        keys.sort();
        keys
    }
}

/// What a file says of torrents, by their keys; nothing if it is broken.
fn by_hash<T: DeserializeOwned>(json: &[u8]) -> BTreeMap<InfoHash, T> {
    let by_key: BTreeMap<String, T> = serde_json::from_slice(json).unwrap_or_default();
    by_key.into_iter().filter_map(|(key, value)| Some((key.parse().ok()?, value))).collect()
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
        let offers = BTreeMap::from([
            (InfoHash([1; 20]), Vec::new()),
            (InfoHash([2; 20]), vec![InfoHash([3; 20]).to_string()]),
        ]);
        again.keep_offered(&offers).unwrap();
        assert_eq!(again.offered(), offers);
        fs::write(dir.path().join(OFFERED), format!("[\"{}\"]", InfoHash([1; 20]))).unwrap();
        assert_eq!(again.offered(), BTreeMap::from([(InfoHash([1; 20]), Vec::new())]), "of an older shoal");
        let mirrored = BTreeMap::from([(InfoHash([4; 20]), Giver::by_secret("1"))]);
        again.keep_mirrored(&mirrored).unwrap();
        assert_eq!(again.mirrored(), mirrored);
        let secret = again.secret().unwrap();
        assert_eq!((secret.len(), again.secret().unwrap()), (32, secret));
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
