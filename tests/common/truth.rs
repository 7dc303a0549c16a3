//! What a torrent's files should hold, for tests that look at the disk behind the peer's back.

use data_encoding::BASE64;
use shoal::bitfield::Bitfield;
use shoal::torrent::{Piece, Torrent};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Content that is all there, and its torrent.
#[derive(Clone)]
pub struct Truth {
    pub torrent: std::sync::Arc<Torrent>,
    pieces: Vec<Vec<u8>>,
}

impl Truth {
    /// The content under `dir/NAME`.
    pub fn new(torrent: std::sync::Arc<Torrent>, dir: &Path) -> Self {
        let root = dir.join(torrent.name());
        let read = |piece| piece_at(&torrent, piece, &root).expect("the content is there");
        let pieces = torrent.geometry().pieces().map(read).collect();
        Truth { torrent, pieces }
    }

    pub fn is(&self, piece: Piece, bytes: &[u8]) -> bool {
        self.pieces[piece.index() as usize] == bytes
    }

    /// The first of these pieces that is not what it should be under `root`.
    pub fn first_wrong(&self, of: &Bitfield, root: &Path) -> Option<u32> {
        let geometry = self.torrent.geometry();
        of.iter().find(|index| {
            let piece = geometry.piece(*index).unwrap();
            !piece_at(&self.torrent, piece, root).is_some_and(|bytes| self.is(piece, &bytes))
        })
    }
}

/// Copies the content under `whole` to `root`, but for these pieces, which become zeros.
pub fn copy_without(torrent: &Torrent, whole: &Path, pieces: &Bitfield, root: &Path) {
    for index in 0..torrent.files().len() {
        let path = file_under(torrent, root, index);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::copy(file_under(torrent, whole, index), path).unwrap();
    }
    let geometry = torrent.geometry();
    for piece in pieces.iter().map(|index| geometry.piece(index).unwrap()) {
        for span in geometry.spans(piece, 0, geometry.piece_len(piece)) {
            let Some(index) = span.file else { continue };
            let file = std::fs::File::options().write(true).open(file_under(torrent, root, index));
            file.unwrap().write_all_at(&vec![0; span.len], span.offset).unwrap();
        }
    }
}

/// Where file `index` is if the torrent's content hangs under `root`.
pub fn file_under(torrent: &Torrent, root: &Path, index: usize) -> PathBuf {
    let mut path = root.to_owned();
    if !torrent.is_single_file() {
        path.extend(&torrent.files()[index].path);
    }
    path
}

/// The bytes of a piece under `root`; nothing if a file is missing or too short.
pub fn piece_at(torrent: &Torrent, piece: Piece, root: &Path) -> Option<Vec<u8>> {
    piece_of(torrent, piece, |index, offset, into| {
        let file = std::fs::File::open(file_under(torrent, root, index)).ok()?;
        file.read_exact_at(into, offset).ok()
    })
}

/// The bytes of a piece, put together from what `read` gives of each file.
pub fn piece_of(
    torrent: &Torrent,
    piece: Piece,
    read: impl Fn(usize, u64, &mut [u8]) -> Option<()>,
) -> Option<Vec<u8>> {
    let geometry = torrent.geometry();
    let mut bytes = Vec::new();
    for span in geometry.spans(piece, 0, geometry.piece_len(piece)) {
        let start = bytes.len();
        bytes.resize(start + span.len, 0);
        if let Some(index) = span.file {
            read(index, span.offset, &mut bytes[start..])?;
        }
    }
    Some(bytes)
}

/// The pieces that a resume state vouches for. Panics unless it is whole.
pub fn durable_in(bytes: &[u8], pieces: u32) -> Bitfield {
    let json: serde_json::Value = serde_json::from_slice(bytes).expect("it is replaced whole or not at all");
    let bits = BASE64.decode(json["pieces"].as_str().unwrap().as_bytes()).unwrap();
    Bitfield::from_bytes(&bits, pieces).unwrap()
}
