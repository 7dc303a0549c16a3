//! A torrent's files: reads and writes at an offset, and how a finished download gets its name. Any thread.
//! The locks are leaves. Of them only `places` is held while the disk works: for the renames of a finished
//! download, and to look for links.
//!
//! A download is written in place under `NAME.part` (a file, or a folder if the torrent has several files).
//! It is synced before anything calls it durable ([`resume`]), and renamed to `NAME` when it is complete:
//! atomically, and never over something that exists. What was there under `NAME` before is looked at first
//! (`adopting`). Nothing below the download folder is reached through a
//! link. `NAME.part` is locked during the download, so that two processes never write into one, and each sync
//! checks that it is still there. `places` says where the files are when only some of them are wanted.

use crate::bitfield::Bitfield;
use crate::disk::{Disk, above};
use crate::torrent::{Piece, Selection, Torrent};
use absence::Awaited;
pub use absence::FolderId;
pub use error::StorageError;
use older::Older;
use opening::Opened;
use parking_lot::{Mutex, RwLock};
pub use places::Before;
use places::{Place, Places};
use stamp::Stamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

mod absence;
mod adopting;
mod durable;
mod error;
pub mod older;
mod opening;
mod part;
mod places;
pub(crate) mod recovery;
pub mod resume;
pub mod stamp;
pub mod state_dir;
#[cfg(test)]
mod tests;

/// Maximum number of bytes of a settled file that are compared at a time.
const COMPARED: usize = 256 * 1024;

/// What was written or made, and is not durable yet.
#[derive(Default)]
struct Dirty {
    /// Files that were written to.
    files: BTreeSet<usize>,
    /// Folders in which a file or folder was made or renamed.
    folders: BTreeSet<PathBuf>,
}

/// Whether a torrent's files may be written.
#[derive(PartialEq, Eq)]
enum Access {
    /// Content of the user: only read.
    Own,
    /// A download that is complete: only read.
    Complete,
    /// A download that was complete, and that its user has changed since: only read.
    Changed,
    /// A download: read and written.
    Download,
}

/// The files of one torrent.
pub struct Storage {
    torrent: Arc<Torrent>,
    disk: Disk,
    /// The folder that holds `NAME` or `NAME.part`.
    dir: PathBuf,
    access: Access,
    /// Changes when files get their names: once the download is complete.
    places: RwLock<Places>,
    open: RwLock<HashMap<usize, Arc<Opened>>>,
    /// For a download: `NAME.part` as it was at the start, until the download is finished or given up.
    held: Mutex<Option<part::Held>>,
    /// For a download: the files known to exist, with a minimum length of each, in bytes. A file that is
    /// missing or shorter was removed or cut.
    made: Mutex<BTreeMap<usize, u64>>,
    /// What changed since the last sync.
    dirty: Mutex<Dirty>,
    /// The folder `dir` as it was when the torrent's files were last seen in it.
    folder: Mutex<Option<FolderId>>,
    /// When it was last looked for.
    looked_at: Mutex<Instant>,
    /// What the files are to be compared with, if the folder was not there when the torrent was added.
    awaited: Mutex<Option<Awaited>>,
    /// The pieces that were found to be right under `NAME` when the download began.
    found: Bitfield,
    /// The older version under `NAME`, until its place is free.
    older: Mutex<Option<Older>>,
    /// For complete content: each file as it was when it was first shared. A peer that serves changed content
    /// would be banned by everybody.
    stamps: OnceLock<Vec<Option<Stamp>>>,
}

impl Storage {
    /// Content that exists already, under `dir/NAME` or the names that the torrent itself gives. It is never
    /// written.
    pub fn shared(torrent: Arc<Torrent>, dir: &Path) -> Self {
        let places = Places::settled(&torrent, dir);
        let storage = Storage::new(torrent, Disk::default(), dir, places, Access::Own);
        storage.stamp();
        storage
    }

    /// A new or continued download of these files, on a disk that a test may observe. What is under
    /// `dir/NAME` is not downloaded again if it is unchanged since it was known, or matches the torrent.
    /// What matches in part becomes part of the download, unless it is the content of another torrent.
    /// Anything else there is an error. Nor is anything downloaded if
    /// all of it is there under the names that the torrent itself gives. If an `older` version is there, all
    /// of that is left alone.
    pub fn download_files(
        disk: Disk,
        torrent: Arc<Torrent>,
        dir: &Path,
        files: &Selection,
        before: &Before,
        older: Option<Older>,
    ) -> Result<Self, StorageError> {
        disk.make_folders(dir).map_err(failed("create", dir))?;
        let elsewhere = || Places::made_elsewhere(&torrent, dir, before);
        let (places, found) = match older.is_none().then(elsewhere).flatten() {
            Some(complete) => (complete, Bitfield::new(torrent.geometry().piece_count())),
            None => {
                let mut places = Places::wanted(&torrent, dir, files);
                let found = places.find(&disk, &torrent, before, older.as_ref())?;
                (places, found)
            }
        };
        let storage = Storage::new(torrent, disk, dir, places, Access::Download);
        let storage = Storage { found, older: Mutex::new(older), ..storage };
        storage.begin()?;
        Ok(storage)
    }

    /// A complete download, which from now on is only read.
    pub fn into_shared(self) -> Self {
        Storage { access: Access::Complete, older: Mutex::default(), ..self }
    }

    /// A complete download of which its user has changed something since the files were `known`. What is left
    /// of it is shared, and nothing is written.
    pub fn changed(torrent: Arc<Torrent>, dir: &Path, known: &BTreeMap<usize, Stamp>) -> Self {
        let places = Places::settled(&torrent, dir);
        let stamps: Vec<_> = (0..torrent.files().len()).map(|index| known.get(&index).copied()).collect();
        let storage = Storage::new(torrent, Disk::default(), dir, places, Access::Changed);
        Storage { stamps: OnceLock::from(stamps), ..storage }
    }

    fn new(torrent: Arc<Torrent>, disk: Disk, dir: &Path, places: Places, access: Access) -> Self {
        Storage {
            found: Bitfield::new(torrent.geometry().piece_count()),
            torrent,
            disk,
            dir: dir.to_owned(),
            access,
            places: RwLock::new(places),
            open: RwLock::default(),
            held: Mutex::default(),
            made: Mutex::default(),
            dirty: Mutex::default(),
            folder: Mutex::new(FolderId::of(dir)),
            looked_at: Mutex::new(Instant::now()),
            awaited: Mutex::default(),
            older: Mutex::default(),
            stamps: OnceLock::new(),
        }
    }

    /// Makes `NAME.part` if necessary, locks it, and looks which files exist. A folder that cannot be written
    /// is so noticed at the start, not at the first piece.
    fn begin(&self) -> Result<(), StorageError> {
        if self.is_finished() {
            self.stamp();
            return Ok(()); // nothing is to be written, except files that are not wanted
        }
        let root = self.root();
        if is_link(&root) {
            return Err(StorageError::Link(root));
        }
        if self.torrent.is_single_file() {
            self.create(0, &root)?;
        } else {
            self.make_folder(&root)?;
        }
        let held = part::hold(&root)?;
        *self.held.lock() = Some(held);
        let len = |index| fs::metadata(self.path(index)).ok().map(|meta| (index, meta.len()));
        *self.made.lock() = (0..self.torrent.files().len()).filter_map(len).collect();
        Ok(())
    }

    /// Restarts with what is on the disk, after an error: closes all files and locks `NAME.part` again.
    pub fn begin_again(&self) -> Result<(), StorageError> {
        if self.is_shared() || self.is_finished() {
            return Ok(());
        }
        self.open.write().clear();
        self.release();
        self.begin()
    }

    /// Releases the lock of `NAME.part`: the download is given up, and others may download to this place.
    pub fn release(&self) {
        *self.held.lock() = None;
    }

    /// The path of the torrent's file or top folder now: `NAME` or `NAME.part`.
    pub fn root(&self) -> PathBuf {
        self.places.read().root()
    }

    /// The torrent that these files belong to.
    pub fn torrent(&self) -> &Arc<Torrent> {
        &self.torrent
    }

    /// The folder that holds the torrent's files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the content existed already and is only read.
    pub fn is_shared(&self) -> bool {
        self.access != Access::Download
    }

    /// Whether it is the user's own content, and no download.
    pub fn is_own(&self) -> bool {
        self.access == Access::Own
    }

    /// Whether its user has changed it since it was complete.
    pub fn was_changed(&self) -> bool {
        self.access == Access::Changed
    }

    /// Whether every wanted file has its final name.
    fn is_finished(&self) -> bool {
        self.places.read().is_settled()
    }

    /// Where file `index` is now.
    pub fn path(&self, index: usize) -> PathBuf {
        self.places.read().path(index)
    }

    /// Whether every file of the torrent has its final name, and nothing is left to download.
    pub fn is_all_settled(&self) -> bool {
        self.places.read().is_all_settled()
    }

    /// The files that have their final names, with their stamps at that time; empty once all files of
    /// the torrent have.
    pub fn settled(&self) -> BTreeMap<usize, Stamp> {
        self.places.read().stamps()
    }

    /// The pieces that were found to be right under `NAME` when the download began. They are not durable yet:
    /// for each of them [`found`](Self::found) has to be called.
    pub fn found_at_first(&self) -> &Bitfield {
        &self.found
    }

    /// Whether anything of the torrent is on the disk.
    pub fn has_content(&self) -> bool {
        fs::metadata(self.root()).is_ok_and(|meta| meta.is_dir() || meta.len() > 0)
    }

    /// Fills `into` with the bytes of `piece` from offset `begin` on. Padding reads as zeros.
    pub fn read(&self, piece: Piece, begin: u32, into: &mut [u8]) -> Result<(), StorageError> {
        self.look_for_folder()?;
        let mut rest = into;
        for span in self.torrent.geometry().spans(piece, begin, rest.len() as u32) {
            let (part, after) = rest.split_at_mut(span.len);
            rest = after;
            match span.file {
                None => part.fill(0),
                Some(index) => self.read_file(index, span.offset, part)?,
            }
        }
        Ok(())
    }

    fn read_file(&self, index: usize, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let file = self.file_to_read(index)?;
        file.read_exact_at(into, offset).map_err(|why| {
            let path = self.path(index);
            match why.kind() {
                io::ErrorKind::UnexpectedEof => StorageError::Truncated(path),
                _ => StorageError::Io { what: "read", path, why },
            }
        })?;
        // Checked after reading, since a change from here on does not concern the bytes that were read.
        let now = file.metadata().and_then(|meta| Stamp::of_metadata(&meta));
        match self.stamp_of(index) {
            Some(stamp) if now.is_ok_and(|now| now != stamp) => Err(StorageError::Changed(self.path(index))),
            _ => Ok(()),
        }
    }

    /// Records size and time of the settled files: from here on they must not change.
    fn stamp(&self) {
        let settled = |index| self.places.read().of(index) == Place::Settled;
        let stamp = |index| settled(index).then(|| Stamp::of(&self.path(index)).ok())?;
        let _ = self.stamps.set((0..self.torrent.files().len()).map(stamp).collect());
    }

    /// Each file as it was when it was complete; empty if one of them was missing. What became of the files
    /// since then is not known to be good.
    pub fn stamps(&self) -> Vec<Stamp> {
        let stamps = self.stamps.get().map_or(&[][..], Vec::as_slice);
        stamps.iter().copied().collect::<Option<_>>().unwrap_or_default()
    }

    /// File `index` as it was when it was complete; `None` if it was not.
    pub fn stamp_of(&self, index: usize) -> Option<Stamp> {
        self.stamps.get()?.get(index).copied().flatten()
    }

    /// The older version whose place this download takes, if that is not done yet.
    pub fn older(&self) -> Option<Older> {
        self.older.lock().clone()
    }

    /// The files that are wanted, by index, if not all are.
    pub fn wanted_only(&self) -> Option<Vec<usize>> {
        self.places.read().wanted_only()
    }

    /// The path of the torrent's file or top folder once it is complete.
    pub fn final_root(&self) -> PathBuf {
        self.places.read().base(Place::Settled)
    }

    /// Writes a whole piece. It is durable only after the next [`sync`](Self::sync).
    pub fn write(&self, piece: Piece, data: &[u8]) -> Result<(), StorageError> {
        let mut rest = data;
        for span in self.torrent.geometry().spans(piece, 0, data.len() as u32) {
            let (part, after) = rest.split_at(span.len);
            rest = after;
            if let Some(index) = span.file
                && (self.is_shared() || !self.has_settled(index, span.offset, part)?)
            {
                let file = self.file_to_write(index)?;
                let least = self.made.lock().get(&index).copied();
                if least.is_some_and(|least| file.metadata().is_ok_and(|meta| meta.len() < least)) {
                    return Err(StorageError::Vanished(self.path(index))); // writing on would hide the hole
                }
                let written = file.download()?.write_all_at(part, span.offset);
                written.map_err(|why| self.failed("write", index, why))?;
                self.dirty.lock().files.insert(index);
                let (mut made, end) = (self.made.lock(), span.offset + span.len as u64);
                made.entry(index).and_modify(|len| *len = end.max(*len));
            }
        }
        Ok(())
    }

    /// Whether file `index` is settled and has these bytes at `offset`. If it is settled and holds something
    /// else, it is part of the download from now on, or in the way.
    fn has_settled(&self, index: usize, offset: u64, bytes: &[u8]) -> Result<bool, StorageError> {
        if self.places.read().of(index) != Place::Settled {
            return Ok(false);
        }
        let mut there = vec![0; COMPARED.min(bytes.len())];
        for (at, bytes) in (offset..).step_by(COMPARED).zip(bytes.chunks(COMPARED)) {
            let there = &mut there[..bytes.len()];
            let is_there = match self.read_file(index, at, there) {
                Ok(()) => there == bytes,
                Err(why) if !why.is_shortage() || self.is_absent() => return Err(why),
                Err(_) => false,
            };
            if !is_there {
                let (from, to) = self.places.write().unsettle(&self.disk, index)?;
                self.open.write().remove(&index);
                if !to.exists() {
                    self.made.lock().remove(&index); // it was taken away, and is made anew
                }
                self.names_are_dirty(&from);
                // Its folders are gone if nothing was left in them.
                let is_gone = |folder: &PathBuf| from.starts_with(folder) && !folder.is_dir();
                self.dirty.lock().folders.retain(|folder| !is_gone(folder));
                self.names_are_dirty(&to);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The piece was found on the disk. It may not be durable, since the process that wrote it may have died
    /// before its sync, so the next sync includes its files.
    pub fn found(&self, piece: Piece) {
        if !self.is_shared() {
            let geometry = self.torrent.geometry();
            let files = geometry.spans(piece, 0, geometry.piece_len(piece)).filter_map(|span| span.file);
            for index in files {
                self.dirty.lock().files.insert(index);
                self.names_are_dirty(&self.path(index));
            }
        }
    }

    /// Marks the names of a file, and of the folders that lead to it, as not yet durable.
    fn names_are_dirty(&self, path: &Path) {
        let mut names = self.places.read().folders_to(path);
        names.push(path.to_owned());
        self.dirty.lock().folders.extend(names.iter().map(|name| above(name).to_owned()));
    }

    fn failed(&self, what: &'static str, index: usize, why: io::Error) -> StorageError {
        StorageError::Io { what, path: self.path(index), why }
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    let path = path.to_owned();
    move |why| StorageError::Io { what, path, why }
}

/// Gives a path where each file of the torrent can be read, by index: below `dir/NAME`, or where a download
/// into `dir` keeps it meanwhile.
pub fn files_in(torrent: &Torrent, dir: &Path) -> impl Fn(usize) -> PathBuf + Sync + use<> {
    let places = Places::settled(torrent, dir);
    move |index| places.readable(index)
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink())
}
