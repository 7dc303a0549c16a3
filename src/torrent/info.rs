//! The two parts of a torrent that peers can send apart from each other: the info dictionary, which the
//! info-hashes are of, and the piece layers of v2, which are checked against it (BEP 9, 52). Neither ever
//! changes. Pure.

use super::{FileEntry, Format, Geometry, InfoHashes, Piece, Renamed, TorrentError, metainfo};
use crate::hash::Hash256;
use std::ops::Range;
use std::sync::Arc;

/// An info dictionary, checked: everything that a torrent's info-hashes are of.
pub struct Info {
    /// The bytes that hold the dictionary: a whole metainfo file, or the dictionary alone.
    pub(super) whole: Arc<[u8]>,
    /// Where in `whole` the dictionary is.
    pub(super) range: Range<usize>,
    pub(super) hashes: InfoHashes,
    pub(super) name: String,
    pub(super) renamed: Option<Box<Renamed>>,
    pub(super) single_file: bool,
    pub(super) geometry: Geometry,
    pub(super) files: Vec<FileEntry>,
    /// Where in `whole` the v1 hashes of the pieces are, 20 bytes each.
    pub(super) pieces: Option<Range<usize>>,
    pub(super) private: bool,
}

/// The v2 hashes of a torrent's pieces: the merkle root of each, over as many leaves as the piece has in its
/// file's tree. Checked against the roots in the info dictionary.
#[derive(Debug)]
pub struct PieceLayers {
    pub(super) roots: Vec<Hash256>,
}

impl Info {
    /// Reads an info dictionary that came alone, as by the metadata exchange (BEP 9).
    ///
    /// # Errors
    /// If it is not a sound info dictionary; the error says why.
    pub fn parse(bytes: &[u8]) -> Result<Info, TorrentError> {
        metainfo::parse_info(bytes)
    }

    /// The dictionary as it was: what the info-hashes are of.
    pub fn bytes(&self) -> &[u8] {
        &self.whole[self.range.clone()]
    }

    /// The hashes that the torrent goes by.
    pub fn hashes(&self) -> &InfoHashes {
        &self.hashes
    }

    /// The name of the file or folder on disk: one safe component of a path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which hashes the pieces have.
    pub fn format(&self) -> Format {
        self.hashes.format()
    }

    /// The SHA-1 of a piece and its padding, if there is a v1 part.
    pub(super) fn piece_sha1(&self, piece: Piece) -> Option<[u8; 20]> {
        let (hashes, _) = self.whole[self.pieces.clone()?].as_chunks();
        hashes.get(piece.index() as usize).copied()
    }

    /// The roots of the files that have a piece layer: those of more than one piece, in v2 and hybrid
    /// torrents. Without these layers such a torrent cannot be verified by its v2 hashes.
    pub fn layered_roots(&self) -> impl Iterator<Item = Hash256> + '_ {
        let piece_length = u64::from(self.geometry.piece_length());
        self.files.iter().filter(move |file| file.len > piece_length).filter_map(|file| file.pieces_root)
    }
}

impl PieceLayers {
    /// The merkle root of a piece.
    pub(super) fn root(&self, piece: Piece) -> Option<Hash256> {
        self.roots.get(piece.index() as usize).copied()
    }
}
