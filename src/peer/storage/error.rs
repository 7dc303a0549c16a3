//! What goes wrong with a torrent's files, in words for the user. Pure.

use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a torrent's files cannot be read or written.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The operating system reported an error.
    #[error("cannot {what} {}: {}", path.display(), in_words(why))]
    Io {
        /// What was tried: a verb for the message.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        why: io::Error,
    },
    /// Something else has the name that the download needs.
    #[error("{} is in the way: move it, or download to another folder", .0.display())]
    InTheWay(PathBuf),
    /// The folder that holds the torrent's files, or should hold them, is not there.
    #[error("{} is not there", .0.display())]
    NotThere(PathBuf),
    /// A link where the download has a file or folder of its own.
    #[error("{} is a link, and a download is never written through one: remove it", .0.display())]
    Link(PathBuf),
    /// Another download holds the lock of this `NAME.part`.
    #[error(
        "{} is being downloaded already, by another program or as another torrent of that name",
        .0.display()
    )]
    InUse(PathBuf),
    /// A file of the download was removed, replaced or cut while it was being downloaded.
    #[error(
        "{} was removed or replaced while it was being downloaded: `resume`, or a new start, \
         looks what is left",
        .0.display()
    )]
    Vanished(PathBuf),
    /// A file ends before the bytes that were to be read.
    #[error("{} is shorter than it should be: it was changed while it was shared", .0.display())]
    Truncated(PathBuf),
    /// A file has another size or time than when it was first shared.
    #[error("{} was changed while it was shared: offer it anew to share what it is now", .0.display())]
    Changed(PathBuf),
    /// A file that was complete, and that its user has changed since: it is never written over, neither by
    /// what it was nor by a newer version.
    #[error("{} was changed here, and is not overwritten: move it away, and `resume`", .0.display())]
    ChangedByUser(PathBuf),
    /// A write to content that is only shared.
    #[error("{} is only shared, and never written", .0.display())]
    Shared(PathBuf),
}

/// What the system reported, and for what a user can see to, what to do.
fn in_words(why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::StorageFull => {
            "no space is left on the disk; make room, and resume or start it again".to_owned()
        }
        io::ErrorKind::QuotaExceeded => {
            "the quota is used up; make room, and resume or start it again".to_owned()
        }
        _ => why.to_string(),
    }
}

impl StorageError {
    /// What the user has to see to before it makes sense to try again.
    pub fn obstacle(&self) -> Option<&Path> {
        match self {
            StorageError::InTheWay(path) | StorageError::Link(path) | StorageError::ChangedByUser(path) => {
                Some(path)
            }
            _ => None,
        }
    }

    /// Whether there is no space left.
    pub fn is_for_space(&self) -> bool {
        matches!(self, StorageError::Io { why, .. } if why.kind() == io::ErrorKind::StorageFull)
    }

    /// Whether a file was not there, or ended too early.
    pub(super) fn is_shortage(&self) -> bool {
        match self {
            StorageError::Truncated(_) | StorageError::Vanished(_) => true,
            StorageError::Io { why, .. } => why.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}
