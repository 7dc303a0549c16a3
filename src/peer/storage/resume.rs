//! What survives a crash: which pieces of each torrent are durable, in a file beside the kept `.torrent`. Any
//! thread; no lock.
//!
//! A piece is called durable only after its data has been synced: the caller takes the set of pieces, syncs
//! the data, and only then saves the set ([`ResumeFile::save`] is atomic and durable itself). After an
//! unclean stop only pieces that are not durable are hashed again. For a complete torrent the size and time
//! of each file are recorded, so that a file that changed in between is noticed.

use super::FolderId;
use super::older::Older;
use super::stamp::Stamp;
use crate::atomic;
use crate::bitfield::Bitfield;
use crate::disk::{Disk, above};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file that holds the resume state of one torrent.
pub struct ResumeFile {
    path: PathBuf,
    disk: Disk,
}

/// The resume state of one torrent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Resume {
    /// The folder that holds `NAME` or `NAME.part`.
    pub dir: PathBuf,
    /// Which folder that was, when the files were last seen in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderId>,
    pieces: String,
    n_parts: u32,
    /// For a complete torrent: each file as it was when we last looked.
    #[serde(default)]
    pub files: Vec<Stamp>,
    /// For a torrent of which only some files were wanted: the files that have their final names, by index,
    /// with size and time from then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settled: BTreeMap<usize, Stamp>,
    /// The files that are wanted, by index, if not all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Vec<usize>>,
    /// Whether it is the user's own content, which is only read.
    #[serde(default)]
    pub own: bool,
    /// The older version whose place the download takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older: Option<Older>,
    /// Whether the user paused the torrent: it stays paused after a restart.
    #[serde(default)]
    pub paused: bool,
    /// Why the disk stopped the torrent, if it did. The next start tries again, and trusts
    /// only durable pieces.
    #[serde(default)]
    pub trouble: Option<String>,
}

impl Resume {
    /// A state with these durable pieces, of a torrent in `dir`.
    pub fn new(dir: &Path, pieces: &Bitfield, files: Vec<Stamp>, paused: bool) -> Self {
        Resume {
            dir: dir.to_owned(),
            folder: None,
            pieces: BASE64.encode(pieces.as_bytes()),
            n_parts: pieces.len(),
            files,
            settled: BTreeMap::new(),
            wanted: None,
            own: false,
            older: None,
            paused,
            trouble: None,
        }
    }

    /// The same state, with the reason why the disk stopped the torrent.
    pub fn troubled(self, why: Option<String>) -> Self {
        Resume { trouble: why, ..self }
    }

    /// The pieces that are durable; `None` if the state is not of a torrent of `n_parts` pieces.
    pub fn pieces(&self, n_parts: u32) -> Option<Bitfield> {
        let bytes = BASE64.decode(self.pieces.as_bytes()).ok()?;
        Bitfield::from_bytes(&bytes, n_parts).filter(|_| self.n_parts == n_parts)
    }
}

impl ResumeFile {
    /// The state file of the torrent `key`, under the state folder `state`.
    pub fn new(state: &Path, key: &str) -> Self {
        ResumeFile::on(Disk::default(), state, key)
    }

    /// The same, on a disk that a test may observe.
    pub fn on(disk: Disk, state: &Path, key: &str) -> Self {
        ResumeFile { path: state.join("resume").join(format!("{key}.json")), disk }
    }

    /// What was saved last; `None` if nothing was, or it cannot be read: then everything is unverified.
    pub fn load(&self) -> Option<Resume> {
        let bytes = fs::read(&self.path).ok()?;
        serde_json::from_slice(&bytes)
            .inspect_err(|why| log::warn!("{} is broken ({why}): checking everything", self.path.display()))
            .ok()
    }

    /// Replaces the saved state, atomically and durably. The state folder must be there: it may lie in a
    /// folder that is absent now, and is not made in its place.
    pub fn save(&self, resume: &Resume) -> io::Result<()> {
        let folder = above(&self.path);
        if !folder.is_dir() && self.disk.make_folder(folder)? {
            self.disk.sync_folder(above(folder))?;
        }
        atomic::write_on(&self.disk, &self.path, &serde_json::to_vec(resume)?)
    }

    /// Removes the state file.
    pub fn remove(&self) {
        let _ = self.disk.remove(&self.path); // it may not exist
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_garbage_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = ResumeFile::new(dir.path(), "abc");
        assert!(file.load().is_none());
        let mut pieces = Bitfield::new(19);
        pieces.set(18);
        let resume = Resume::new(Path::new("/downloads"), &pieces, vec![], true);
        file.save(&resume).unwrap();
        let loaded = file.load().unwrap();
        assert_eq!(loaded, resume);
        assert_eq!(loaded.pieces(19), Some(pieces));
        assert_eq!(loaded.pieces(18), None);
        let resume = resume.troubled(Some("no space left".to_owned()));
        file.save(&resume).unwrap();
        assert_eq!(file.load().unwrap(), resume);
        for garbage in [&b""[..], b"{", b"[]", &[0xff; 100]] {
            fs::write(dir.path().join("resume/abc.json"), garbage).unwrap();
            assert!(file.load().is_none());
        }
    }
}
