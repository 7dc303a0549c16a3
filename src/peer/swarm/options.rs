//! What the user wants of a torrent: all files or some, in any order or from the first byte to the last.
//! Pure.

use crate::torrent::{Selection, Torrent};

/// Which files of a torrent are wanted, and in which order. By default all files, rarest pieces first.
#[derive(Clone, Default, Debug)]
pub struct DownloadOptions {
    /// The wanted files; `None` for all.
    pub files: Option<Selection>,
    /// Whether to fetch pieces from the first to the last, as to watch a film while it loads. It makes a
    /// swarm slower, because all peers that do so have the same pieces.
    pub in_order: bool,
}

impl DownloadOptions {
    /// The wanted files of this torrent.
    pub(crate) fn files_of(&self, torrent: &Torrent) -> Selection {
        self.files.clone().unwrap_or_else(|| Selection::all(torrent))
    }
}
