//! The metainfo files of the catalogue. With `--data` they are in a folder, as `KEY.torrent`, beside a list
//! of them for people and other programs, `search_content.txt`. Without it they are in memory.
//!
//! A file is written under a temporary name, synced, and renamed; then the folder is synced. After a crash
//! the file is there in full or not at all. [`Store::put`] does that on the thread that calls it, and returns
//! when it is done. The list is written by the thread `store`, which writes all waiting entries at once. It
//! is made again from the folder at every start, so a crash before it is written loses nothing.
//!
//! One lock, on the files in memory, only without a folder. The folder needs none: files are replaced as a
//! whole. A lock on the file `.lock` keeps a second tracker out of the folder.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;

use crate::atomic;
use crate::threads;
use crate::torrent::Torrent;

use super::registry::Facts;

const LIST: &str = "search_content.txt";

/// Maximum number of list entries that wait for the thread `store`. If there are as many, `put` waits until
/// one has been written.
const WAITING: usize = 1024;

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be created, read or written.
    #[error("cannot use the data folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another tracker uses it.
    #[error("the data folder {} is in use by another tracker", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
}

/// Keeps the metainfo files of the catalogue.
pub struct Store {
    backend: StoreBackend,
}

/// The two ways to keep the files.
enum StoreBackend {
    Memory(Mutex<HashMap<String, Arc<[u8]>>>),
    Folder {
        path: PathBuf,
        listings: Option<Sender<ListEntry>>,
        writer: Option<JoinHandle<()>>,
        /// The file `.lock`, locked as long as the store is open.
        _lock: File,
    },
}

/// A torrent's line in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ListEntry {
    key: String,
    /// Empty if the torrent was removed.
    line: String,
}

impl ListEntry {
    fn of(facts: &Facts) -> ListEntry {
        let line = format!("Name : {} type: {} tor : {}.torrent\n", facts.stem(), facts.kind, facts.key);
        ListEntry { key: facts.key.clone(), line }
    }
}

impl Store {
    /// A store in memory, which is lost when the tracker ends.
    pub fn in_memory() -> Store {
        Store { backend: StoreBackend::Memory(Mutex::new(HashMap::new())) }
    }

    /// A store in the folder `path`, which is created if it is missing, and the torrents in it. Files that
    /// are no torrents are skipped with a warning.
    ///
    /// # Errors
    /// If the folder cannot be read and written, or another tracker uses it.
    pub fn open(path: &Path) -> Result<(Store, Vec<Torrent>), StoreError> {
        let failed = |source| StoreError::Folder { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let lock = File::create(path.join(".lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let torrents = load(path).map_err(failed)?;
        let list: BTreeMap<String, String> = torrents
            .iter()
            .map(|torrent| ListEntry::of(&Facts::of(torrent)))
            .map(|listing| (listing.key, listing.line))
            .collect();
        write_list(path, &list).map_err(failed)?;
        let (listings, waiting) = crossbeam_channel::bounded(WAITING);
        let folder = path.to_owned();
        let writer = threads::spawn("store", move || keep_list(&folder, list, &waiting)).map_err(failed)?;
        let backend = StoreBackend::Folder {
            path: path.to_owned(),
            listings: Some(listings),
            writer: Some(writer),
            _lock: lock,
        };
        Ok((Store { backend }, torrents))
    }

    /// Stores a torrent. With a folder, it is on disk when this returns.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn put(&self, torrent: &Torrent) -> io::Result<()> {
        match &self.backend {
            StoreBackend::Memory(files) => {
                files.lock().insert(torrent.key(), torrent.bytes().into());
            }
            StoreBackend::Folder { path, listings, .. } => {
                let facts = Facts::of(torrent);
                replace(path, &file_name(&facts.key), torrent.bytes())?;
                if let Some(listings) = listings {
                    // Fails only if the writer has panicked, which ends the process.
                    let _ = listings.send(ListEntry::of(&facts));
                }
            }
        }
        Ok(())
    }

    /// Removes a torrent. `key` must come from the catalogue. An error is logged: the file is then found at
    /// the next start.
    pub fn remove(&self, key: &str) {
        match &self.backend {
            StoreBackend::Memory(files) => drop(files.lock().remove(key)),
            StoreBackend::Folder { path, listings, .. } => {
                let file = path.join(file_name(key));
                if let Err(why) = fs::remove_file(&file) {
                    log::warn!("cannot remove {}: {why}", file.display());
                }
                if let Some(listings) = listings {
                    // Fails only if the writer has panicked, which ends the process.
                    let _ = listings.send(ListEntry { key: key.to_owned(), line: String::new() });
                }
            }
        }
    }

    /// The metainfo file of a stored torrent. `key` must come from the catalogue, never directly from a peer.
    ///
    /// # Errors
    /// Those of the disk; `NotFound` if it is not there.
    pub fn get(&self, key: &str) -> io::Result<Vec<u8>> {
        match &self.backend {
            StoreBackend::Memory(files) => {
                let bytes = files.lock().get(key).cloned();
                bytes.map(|bytes| bytes.to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
            }
            StoreBackend::Folder { path, .. } => fs::read(path.join(file_name(key))),
        }
    }
}

impl Drop for Store {
    /// Waits until the list is written.
    fn drop(&mut self) {
        if let StoreBackend::Folder { listings, writer, .. } = &mut self.backend {
            listings.take();
            if let Some(writer) = writer.take() {
                let _ = writer.join(); // its panic has ended the process
            }
        }
    }
}

fn file_name(key: &str) -> String {
    format!("{key}.torrent")
}

/// Reads all torrents in the folder. A file under another name, put there by hand, is copied to
/// its key's name.
fn load(path: &Path) -> io::Result<Vec<Torrent>> {
    let mut torrents: BTreeMap<String, Torrent> = BTreeMap::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("tmp") => fs::remove_file(&file)?, // left by a crash, never acknowledged
            Some("torrent") => match Torrent::read(&file) {
                Ok(torrent) => {
                    torrents.insert(torrent.key(), torrent);
                }
                Err(error) => log::warn!("left out {}: {error}", file.display()),
            },
            _ => {}
        }
    }
    for (key, torrent) in &torrents {
        if !path.join(file_name(key)).exists() {
            replace(path, &file_name(key), torrent.bytes())?;
        }
    }
    Ok(torrents.into_values().collect())
}

/// The thread `store`.
fn keep_list(path: &Path, mut list: BTreeMap<String, String>, waiting: &Receiver<ListEntry>) {
    while let Ok(first) = waiting.recv() {
        for ListEntry { key, line } in std::iter::once(first).chain(waiting.try_iter()) {
            match line.is_empty() {
                true => drop(list.remove(&key)),
                false => drop(list.insert(key, line)),
            }
        }
        if let Err(error) = write_list(path, &list) {
            log::error!(
                "cannot write {}: {error}; will try again at the next publish",
                path.join(LIST).display()
            );
        }
    }
}

fn write_list(path: &Path, list: &BTreeMap<String, String>) -> io::Result<()> {
    let mut lines: Vec<&str> = list.values().map(String::as_str).collect();
    lines.sort_unstable();
    replace(path, LIST, lines.concat().as_bytes())
}

/// Writes `bytes` to the file `name` in `folder`, so that after a crash it is the old or the new file. Two
/// threads may do so at the same time; the later one wins.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.{:016x}.tmp", fastrand::u64(..)));
    atomic::write_by(&folder.join(name), &temporary, bytes)
}

#[cfg(test)]
mod tests;
