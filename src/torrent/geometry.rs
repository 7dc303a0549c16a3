//! Where pieces and blocks lie, in the torrent and in its files. Pure arithmetic.
//!
//! A torrent is one stream of bytes, cut into pieces. In v1 the files follow each other without a gap, so a
//! piece may hold the end of one file and the start of another. In v2 and hybrid torrents every file starts
//! at the start of a piece, so the stream has gaps. A hybrid torrent describes them to v1 clients as pad
//! files of zeros (BEP 47). v1 torrents may have such pad files too. Here all of these are the same thing: a
//! part of the stream that no file covers.
//!
//! Invariants: files are in stream order, do not overlap, and are not empty; each of the `piece_count` pieces
//! has at least one byte to download; `piece_len <= padded_len <= piece_length`.
//!
//! A [`Piece`] or a [`Block`] was checked against one geometry. Do not use it with another one.

use crate::bitfield::Bitfield;
use crate::hash::LEAF_LEN;

/// Length of a block in bytes: the unit that we request (BEP 3).
pub const BLOCK_LEN: u32 = 16 * 1024;

/// Maximum length in bytes of a request that we accept. 16 KiB is usual, but old clients request up
/// to 128 KiB.
pub const MAX_REQUEST_LEN: u32 = 128 * 1024;

/// A piece index that was checked against its torrent's geometry.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Piece(u32);

impl Piece {
    /// The index, from 0.
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
    /// The piece that it is in.
    pub fn piece(self) -> Piece {
        self.piece
    }

    /// Offset of the first byte within the piece, in bytes.
    pub fn begin(self) -> u32 {
        self.begin
    }

    /// Length in bytes.
    pub fn len(self) -> u32 {
        self.len
    }

    /// Always false: a block has at least one byte.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// A range of bytes in one file.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Span {
    /// Index in the torrent's list of files. `None` is padding: it reads as zeros and is never written.
    pub file: Option<usize>,
    /// Offset of the first byte within the file, in bytes; 0 for padding.
    pub offset: u64,
    /// Length in bytes, at least 1.
    pub len: usize,
}

/// Where a file lies in the stream.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Placed {
    file: usize,
    start: u64,
    end: u64,
}

/// How a torrent is divided into pieces and blocks, and where these lie in its files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Geometry {
    piece_length: u32,
    piece_count: u32,
    stream_len: u64,
    total_len: u64,
    /// v2 and hybrid: a piece belongs to one file, and what is downloaded of it ends where the file ends.
    aligned: bool,
    files: Vec<Placed>,
}

/// Places files one after the other in the stream, and makes a [`Geometry`] of them.
#[derive(Debug)]
pub(crate) struct Layout {
    piece_length: u32,
    at: u64,
    next_file: usize,
    files: Vec<Placed>,
}

impl Layout {
    /// An empty stream. `piece_length` is in bytes, at least 1.
    pub(crate) fn new(piece_length: u32) -> Self {
        Layout { piece_length: piece_length.max(1), at: 0, next_file: 0, files: Vec::new() }
    }

    /// Appends the next file of the torrent, of `len` bytes. `None` if the stream would be longer than an
    /// `i64` can say, which is the limit of lengths in a metainfo file.
    pub(crate) fn file(&mut self, len: u64) -> Option<()> {
        let (file, start) = (self.next_file, self.at);
        self.pad(len)?;
        self.next_file += 1;
        if len > 0 {
            self.files.push(Placed { file, start, end: self.at });
        }
        Some(())
    }

    /// Appends `len` bytes that no file covers.
    pub(crate) fn pad(&mut self, len: u64) -> Option<()> {
        self.at = self.at.checked_add(len).filter(|end| *end <= i64::MAX as u64)?;
        Some(())
    }

    /// Bytes of padding from here to the start of the next piece.
    pub(crate) fn to_next_piece(&self) -> u64 {
        self.at.next_multiple_of(self.piece_length.into()) - self.at
    }

    /// The finished geometry; `aligned` for v2 and hybrid. `None` if there are more than `max_pieces` pieces.
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
    /// Number of pieces.
    pub fn piece_count(&self) -> u32 {
        self.piece_count
    }

    /// Nominal length of a piece in bytes. The last piece may be shorter; in v2 and hybrid torrents,
    /// the last piece of each file.
    pub fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// Length in bytes of the longest piece, of which there may be only one.
    pub fn longest_piece(&self) -> u32 {
        let files = self.files.iter().map(|placed| placed.end - placed.start);
        let longest = if self.aligned { files.max().unwrap_or(0) } else { self.stream_len };
        longest.min(self.piece_length.into()) as u32
    }

    /// Bytes of all files, without padding.
    pub fn total_len(&self) -> u64 {
        self.total_len
    }

    /// The piece of this index. `None` if the torrent has no such piece.
    pub fn piece(&self, index: u32) -> Option<Piece> {
        (index < self.piece_count).then_some(Piece(index))
    }

    /// All pieces, in ascending order.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + use<'_> {
        (0..self.piece_count).map(Piece)
    }

    /// The pieces that are set in `bits`, in ascending order.
    pub fn pieces_in<'a>(&'a self, bits: &'a Bitfield) -> impl Iterator<Item = Piece> + use<'a> {
        bits.iter().filter_map(|index| self.piece(index))
    }

    /// Number of bytes of the piece that are downloaded. In v2 and hybrid torrents a piece ends
    /// where its file ends.
    pub fn piece_len(&self, piece: Piece) -> u32 {
        let start = self.start(piece);
        let end = match self.aligned.then(|| self.covering(start)).flatten() {
            Some(placed) => placed.end,
            None => self.stream_len,
        };
        self.up_to(start, end)
    }

    /// Number of bytes that the v1 hash of the piece covers and that a v1 peer may request: with
    /// its padding (BEP 47).
    pub fn padded_len(&self, piece: Piece) -> u32 {
        self.up_to(self.start(piece), self.stream_len)
    }

    /// Number of blocks of 16 KiB in the bytes that are downloaded. The last one may be shorter.
    pub fn block_count(&self, piece: Piece) -> u32 {
        self.piece_len(piece).div_ceil(BLOCK_LEN)
    }

    /// Block number `nth` of the piece. `nth` must be less than the piece's `block_count`.
    pub fn block(&self, piece: Piece, nth: u32) -> Block {
        let piece_len = self.piece_len(piece);
        debug_assert!(nth < piece_len.div_ceil(BLOCK_LEN));
        let begin = nth.saturating_mul(BLOCK_LEN).min(piece_len);
        Block { piece, begin, len: (piece_len - begin).min(BLOCK_LEN) }
    }

    /// The block with these numbers, if it is exactly one of the piece's blocks.
    pub fn block_at(&self, piece: Piece, begin: u32, len: u32) -> Option<Block> {
        let nth = begin / BLOCK_LEN;
        if nth >= self.block_count(piece) {
            return None;
        }
        let block = self.block(piece, nth);
        (block.begin == begin && block.len == len).then_some(block)
    }

    /// One of the piece's blocks as v1 counts it: with the padding behind it, up to the block's full length
    /// or the end of the stream (BEP 47).
    pub fn padded(&self, block: Block) -> Block {
        Block { len: (self.padded_len(block.piece) - block.begin).min(BLOCK_LEN), ..block }
    }

    /// A peer's request as a block. `None` unless it is 1 byte to 128 KiB within one piece and its padding.
    pub fn requested(&self, index: u32, begin: u32, len: u32) -> Option<Block> {
        let piece = self.piece(index)?;
        let end = begin.checked_add(len)?;
        let fits = (1..=MAX_REQUEST_LEN).contains(&len) && end <= self.served_len(piece);
        fits.then_some(Block { piece, begin, len })
    }

    /// Number of bytes of the piece that a peer may request. In v2 and hybrid torrents the space behind each
    /// file reads as zeros, also behind the last one: libtorrent 2.0 requests a file's last block whole.
    fn served_len(&self, piece: Piece) -> u32 {
        if self.aligned { self.piece_length } else { self.padded_len(piece) }
    }

    /// The ranges of files that make up `len` bytes from `begin` of the piece: in order, without gaps or
    /// overlaps. Bytes that nobody may request are left out.
    pub fn spans(&self, piece: Piece, begin: u32, len: u32) -> impl Iterator<Item = Span> + '_ {
        let mut at = self.start(piece) + u64::from(begin);
        let end = (at + u64::from(len)).min(self.start(piece) + u64::from(self.served_len(piece)));
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

    /// The indices of the pieces that hold bytes of a file. Empty for an empty file.
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

    /// Width of the piece's subtree in its file's merkle tree, in leaves of 16 KiB (BEP 52). It is the
    /// number of leaves in a piece. For a file not longer than a piece it is the number that the file needs,
    /// rounded up to a power of two.
    pub(crate) fn leaf_width(&self, piece: Piece) -> usize {
        let whole = u64::from(self.piece_length);
        let file_len = self.covering(self.start(piece)).map_or(whole, |placed| placed.end - placed.start);
        (file_len.min(whole) as usize).div_ceil(LEAF_LEN).next_power_of_two()
    }

    /// Whether both have the same pieces and every file at the same place. The padding at their
    /// ends may differ.
    pub(crate) fn places_files_like(&self, other: &Geometry) -> bool {
        self.piece_length == other.piece_length
            && self.piece_count == other.piece_count
            && self.files == other.files
    }

    fn start(&self, piece: Piece) -> u64 {
        u64::from(piece.0) * u64::from(self.piece_length)
    }

    /// Bytes from `start` to `end`, at most a piece.
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
