//! Where pieces and blocks lie: in the torrent, and in its files. Pure arithmetic.
//!
//! A torrent is one stream of bytes, cut into pieces. In v1 the files follow each other without a gap, and a piece may
//! hold the end of one file and the start of another. In v2 and hybrid torrents every file starts on a piece of
//! its own, so there are gaps in the stream; a hybrid torrent shows them to v1 clients as pad files of zeros (BEP 47).
//! v1 torrents may have such pad files too. Here all of these are one thing: a stretch of the stream that no file covers.
//!
//! Invariants: files are in stream order, do not overlap, and are not empty; each of the `piece_count` pieces has
//! at least one byte that is to be fetched; `piece_len <= padded_len <= piece_length`.
//!
//! A [`Piece`] or a [`Block`] was checked against one geometry; do not use it with another's.

use crate::bitfield::Bitfield;
use crate::hash::LEAF_LEN;

/// Bytes of a block, the unit that we request (BEP 3).
pub const BLOCK_LEN: u32 = 16 * 1024;

/// The most that we let a peer ask for at once. 16 KiB is the custom, yet old clients ask for up to 128 KiB.
pub const MAX_REQUEST_LEN: u32 = 128 * 1024;

/// A piece index that was checked against its torrent's geometry.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Piece(u32);

impl Piece {
    pub fn index(self) -> u32 {
        self.0
    }
}

/// A range of bytes within one piece, checked against its torrent's geometry.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Block {
    piece: Piece,
    begin: u32,
    len: u32,
}

impl Block {
    pub fn piece(self) -> Piece {
        self.piece
    }

    /// Offset of the first byte within the piece.
    pub fn begin(self) -> u32 {
        self.begin
    }

    /// Length in bytes.
    pub fn len(self) -> u32 {
        self.len
    }

    /// Never: a block has at least one byte.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// A stretch of bytes in one file.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Span {
    /// Index into the torrent's files. `None` is padding: it reads as zeros and is never written.
    pub file: Option<usize>,
    /// Offset of the first byte within the file (0 for padding).
    pub offset: u64,
    /// Length in bytes, at least 1.
    pub len: usize,
}

/// A file's place in the stream.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Placed {
    file: usize,
    start: u64,
    end: u64,
}

/// How a torrent is cut into pieces and blocks, and which bytes of which files these are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Geometry {
    piece_length: u32,
    piece_count: u32,
    stream_len: u64,
    total_len: u64,
    /// v2, hybrid: a piece belongs to one file, and what is fetched of it ends where the file ends.
    aligned: bool,
    files: Vec<Placed>,
}

/// Puts files one after the other into the stream, and makes a [`Geometry`] of it.
#[derive(Debug)]
pub(crate) struct Layout {
    piece_length: u32,
    at: u64,
    next_file: usize,
    files: Vec<Placed>,
}

impl Layout {
    /// `piece_length` in bytes, at least 1.
    pub(crate) fn new(piece_length: u32) -> Self {
        Layout { piece_length: piece_length.max(1), at: 0, next_file: 0, files: Vec::new() }
    }

    /// The next file of the torrent, of `len` bytes. `None` if the stream would outgrow an `i64`, which is as far as
    /// lengths in a metainfo file go.
    pub(crate) fn file(&mut self, len: u64) -> Option<()> {
        let (file, start) = (self.next_file, self.at);
        self.pad(len)?;
        self.next_file += 1;
        if len > 0 {
            self.files.push(Placed { file, start, end: self.at });
        }
        Some(())
    }

    /// `len` bytes that no file covers.
    pub(crate) fn pad(&mut self, len: u64) -> Option<()> {
        self.at = self.at.checked_add(len).filter(|end| *end <= i64::MAX as u64)?;
        Some(())
    }

    /// How many bytes of padding there are from here to the next piece.
    pub(crate) fn to_next_piece(&self) -> u64 {
        self.at.next_multiple_of(self.piece_length.into()) - self.at
    }

    /// The finished geometry; `aligned` for v2 and hybrid. `None` if there are more pieces than `max_pieces`.
    pub(crate) fn finish(self, aligned: bool, max_pieces: u32) -> Option<Geometry> {
        let piece_count = u32::try_from(self.at.div_ceil(self.piece_length.into())).ok()?;
        (piece_count <= max_pieces).then(|| Geometry {
            piece_length: self.piece_length,
            piece_count,
            stream_len: self.at,
            total_len: self.files.iter().map(|placed| placed.end - placed.start).sum(),
            aligned,
            files: self.files,
        })
    }
}

impl Geometry {
    pub fn piece_count(&self) -> u32 {
        self.piece_count
    }

    /// The nominal length of a piece in bytes; the last piece, and in v2 and hybrid each file's last, may be shorter.
    pub fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// Bytes of all files, padding apart.
    pub fn total_len(&self) -> u64 {
        self.total_len
    }

    /// The piece of that index, if there is one.
    pub fn piece(&self, index: u32) -> Option<Piece> {
        (index < self.piece_count).then_some(Piece(index))
    }

    /// All pieces, ascending.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + use<'_> {
        (0..self.piece_count).map(Piece)
    }

    /// The pieces that are set in `bits`, in order.
    pub fn pieces_in<'a>(&'a self, bits: &'a Bitfield) -> impl Iterator<Item = Piece> + use<'a> {
        bits.iter().filter_map(|index| self.piece(index))
    }

    /// How many bytes of the piece are to be fetched. In v2 and hybrid torrents it ends where its file ends.
    pub fn piece_len(&self, piece: Piece) -> u32 {
        let start = self.start(piece);
        let end = match self.aligned.then(|| self.covering(start)).flatten() {
            Some(placed) => placed.end,
            None => self.stream_len,
        };
        self.up_to(start, end)
    }

    /// How many bytes the v1 hash of the piece covers, and a v1 peer may ask for: its padding included (BEP 47).
    pub fn padded_len(&self, piece: Piece) -> u32 {
        self.up_to(self.start(piece), self.stream_len)
    }

    /// The number of 16 KiB blocks in the bytes to be fetched; the last one may be short.
    pub fn block_count(&self, piece: Piece) -> u32 {
        self.piece_len(piece).div_ceil(BLOCK_LEN)
    }

    /// The `nth` block of the piece, which has to be less than its `block_count`.
    pub fn block(&self, piece: Piece, nth: u32) -> Block {
        let piece_len = self.piece_len(piece);
        debug_assert!(nth < piece_len.div_ceil(BLOCK_LEN));
        let begin = nth.saturating_mul(BLOCK_LEN).min(piece_len);
        Block { piece, begin, len: (piece_len - begin).min(BLOCK_LEN) }
    }

    /// The block that these numbers describe, if it is exactly one of the piece's own.
    pub fn block_at(&self, piece: Piece, begin: u32, len: u32) -> Option<Block> {
        let nth = begin / BLOCK_LEN;
        if nth >= self.block_count(piece) {
            return None;
        }
        let block = self.block(piece, nth);
        (block.begin == begin && block.len == len).then_some(block)
    }

    /// A peer's request, if it is one to be served: 1 byte to 128 KiB within one piece and its padding.
    pub fn requested(&self, index: u32, begin: u32, len: u32) -> Option<Block> {
        let piece = self.piece(index)?;
        let end = begin.checked_add(len)?;
        let fits = (1..=MAX_REQUEST_LEN).contains(&len) && end <= self.padded_len(piece);
        fits.then_some(Block { piece, begin, len })
    }

    /// The stretches of files that `len` bytes at `begin` of the piece are made of: in order, without gap or overlap.
    /// What lies beyond the end of the stream is left out.
    pub fn spans(&self, piece: Piece, begin: u32, len: u32) -> impl Iterator<Item = Span> + '_ {
        let mut at = self.start(piece) + u64::from(begin);
        let end = (at + u64::from(len)).min(self.stream_len);
        let mut next = self.files.partition_point(|placed| placed.end <= at);
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let (file, offset, stop) = match self.files.get(next) {
                Some(placed) if placed.start <= at => {
                    next += 1;
                    (Some(placed.file), at - placed.start, placed.end.min(end))
                }
                Some(placed) => (None, 0, placed.start.min(end)),
                None => (None, 0, end),
            };
            let len = (stop - at) as usize;
            at = stop;
            Some(Span { file, offset, len })
        })
    }

    /// The pieces that hold bytes of a file, as indices from first to last. Empty for an empty file.
    pub fn pieces_of(&self, file: usize) -> std::ops::Range<u32> {
        match self.files.binary_search_by_key(&file, |placed| placed.file) {
            Ok(at) => {
                let placed = self.files[at];
                let piece_length = u64::from(self.piece_length);
                (placed.start / piece_length) as u32..placed.end.div_ceil(piece_length) as u32
            }
            Err(_) => 0..0,
        }
    }

    /// How many leaves of 16 KiB the piece's subtree is wide in its file's merkle tree (BEP 52): as many as a piece
    /// holds, or for a file that is no longer than a piece as many as the file needs, rounded up to a power of two.
    pub(crate) fn leaf_width(&self, piece: Piece) -> usize {
        let whole = u64::from(self.piece_length);
        let file_len = self.covering(self.start(piece)).map_or(whole, |placed| placed.end - placed.start);
        (file_len.min(whole) as usize).div_ceil(LEAF_LEN).next_power_of_two()
    }

    /// Whether both have the same pieces, and every file at the same place; what they end in may differ.
    pub(crate) fn places_files_like(&self, other: &Geometry) -> bool {
        self.piece_length == other.piece_length
            && self.piece_count == other.piece_count
            && self.files == other.files
    }

    fn start(&self, piece: Piece) -> u64 {
        u64::from(piece.0) * u64::from(self.piece_length)
    }

    /// Bytes from `start` to `end`, no more than a piece has.
    fn up_to(&self, start: u64, end: u64) -> u32 {
        end.saturating_sub(start).min(self.piece_length.into()) as u32
    }

    fn covering(&self, at: u64) -> Option<&Placed> {
        let next = self.files.partition_point(|placed| placed.end <= at);
        self.files.get(next).filter(|placed| placed.start <= at)
    }
}

#[cfg(test)]
mod tests;
