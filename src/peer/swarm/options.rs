//! What the user wants of a torrent: all of it, or some files; in any order, or from the first byte to the last. Pure.

use crate::torrent::{Selection, Torrent};

/// By default everything, the rarest pieces first.
#[derive(Clone, Default, Debug)]
pub struct DownloadOptions {
    /// Without, every file.
    pub files: Option<Selection>,
    /// Pieces from the first to the last: to watch while it loads. It makes a swarm slower, for all peers that load so have the
    /// same pieces.
    pub in_order: bool,
}

impl DownloadOptions {
    /// The wanted files of this torrent.
    pub(crate) fn files_of(&self, torrent: &Torrent) -> Selection {
        self.files.clone().unwrap_or_else(|| Selection::all(torrent))
    }
}
