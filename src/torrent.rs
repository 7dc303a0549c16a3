//! Torrents: what a metainfo file says, how its pieces lie in its files, making one, checking files against one.
//! Layer 1: knows [`crate::bencode`] and [`crate::hash`]. A [`Torrent`] never changes, so threads share it as an `Arc`
//! without a lock.
//!
//! | file | what it holds |
//! |---|---|
//! | `metainfo.rs` | bytes to [`Torrent`], with every check on a stranger's words |
//! | `geometry.rs` | [`Geometry`]: [`Piece`], [`Block`], [`Span`] |
//! | `paths.rs` | which names are safe |
//! | `infohash.rs` | [`InfoHash`], [`Format`], [`Proof`] |
//! | `magnet.rs` | [`Magnet`] links |
//! | `create.rs`, `verify.rs` | [`create`] and [`verify`], on the threads of `readers.rs` |
//! | `selection.rs` | [`Selection`]: which files somebody wants |
//! | `show.rs`, `units.rs` | a torrent in words and in JSON; numbers in words |

pub mod create;
pub mod show;
pub mod units;
pub mod verify;

mod geometry;
mod infohash;
mod magnet;
mod metainfo;
mod paths;
mod readers;
mod selection;

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;

pub use geometry::{BLOCK_LEN, Block, Geometry, MAX_REQUEST_LEN, Piece, Span};
pub use infohash::{Format, InfoHash, NotAnInfoHash, Proof};
pub use magnet::{Magnet, MagnetError};
pub use metainfo::{MAX_FILES, MAX_METAINFO_LEN, MAX_PIECE_LENGTH, MAX_PIECES};
pub use paths::{MAX_PATH_DEPTH, unsafe_name};
pub use readers::all_cores;
pub use selection::{Selection, SelectionError};

use crate::bencode;
use crate::hash::{self, Hash256, LEAF_LEN};

/// Why something is not a torrent that we take.
#[derive(Debug, thiserror::Error)]
pub enum TorrentError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("not a torrent: {0}")]
    Bencode(#[from] bencode::Error),
    #[error("not a torrent: there is no `info` dictionary")]
    NotATorrent,
    #[error("broken torrent: `{0}` is missing")]
    Missing(&'static str),
    #[error("broken torrent: `{key}` must be {must}")]
    Wrong { key: &'static str, must: &'static str },
    #[error("broken torrent: {hashes} hashes in `pieces` for {pieces} pieces of content")]
    PieceCount { hashes: usize, pieces: u32 },
    #[error("broken torrent: the piece layer of `{path}` {why}")]
    Layer { path: String, why: &'static str },
    #[error("broken torrent: {0}")]
    Contradiction(&'static str),
    #[error("broken torrent: the lengths of its files add up to more than 63 bits hold")]
    Overflow,
    #[error("broken torrent: it holds no bytes at all")]
    Empty,
    #[error("unsafe torrent: the name `{name}` in folder `{folder}` {why}")]
    UnsafeName { name: String, folder: String, why: &'static str },
    #[error("unsafe torrent: `{path}` is there twice, or is both a file and a folder")]
    Collision { path: String },
    #[error("unsafe torrent: `{path}` goes on for more than {MAX_PATH_DEPTH} folders")]
    TooDeep { path: String },
    #[error("torrent too large: {what} has more than {limit} {unit}")]
    TooLarge { what: &'static str, limit: u64, unit: &'static str },
    #[error("unsupported torrent: {0}")]
    Unsupported(&'static str),
}

/// One file of a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Safe names, from the torrent's root down. In a single-file torrent the torrent's name alone.
    pub path: Vec<String>,
    /// Bytes.
    pub len: u64,
    /// Whether the file is to be executable (BEP 47).
    pub executable: bool,
    /// Root of the file's merkle tree (BEP 52); v1 torrents have none, and neither have empty files.
    pub pieces_root: Option<[u8; 32]>,
}

/// The v1 half: SHA-1.
#[derive(Debug)]
struct V1 {
    hash: InfoHash,
    /// 20 bytes for each piece, in the metainfo file.
    pieces: Range<usize>,
}

/// The v2 half: SHA-256.
#[derive(Debug)]
struct V2 {
    hash: [u8; 32],
    /// The merkle root of each piece, over as many leaves as the piece has in its file's tree.
    roots: Vec<Hash256>,
}

/// What a metainfo file says, checked. Never changes.
pub struct Torrent {
    bytes: Box<[u8]>,
    info: Range<usize>,
    name: String,
    single_file: bool,
    v1: Option<V1>,
    v2: Option<V2>,
    geometry: Geometry,
    files: Vec<FileEntry>,
    trackers: Vec<Vec<String>>,
    private: bool,
    comment: Option<String>,
    created_by: Option<String>,
    creation_date: Option<i64>,
}

impl Torrent {
    /// Reads the bytes of a metainfo file. Whatever they are, the answer is a sound torrent or an error.
    pub fn parse(bytes: &[u8]) -> Result<Torrent, TorrentError> {
        metainfo::parse(bytes.to_vec())
    }

    /// Reads a metainfo file of up to [`MAX_METAINFO_LEN`] bytes.
    pub fn read(path: &Path) -> Result<Torrent, TorrentError> {
        let failed = |source| TorrentError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(MAX_METAINFO_LEN as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        metainfo::parse(bytes)
    }

    /// The whole metainfo file as it was.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The info dictionary as it was: what the info-hashes are of.
    pub fn info_bytes(&self) -> &[u8] {
        &self.bytes[self.info.clone()]
    }

    /// The name of the file or folder: one safe component of a path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the torrent is one file rather than a folder.
    pub fn is_single_file(&self) -> bool {
        self.single_file
    }

    pub fn format(&self) -> Format {
        match (&self.v1, &self.v2) {
            (Some(_), Some(_)) => Format::Hybrid,
            (Some(_), None) => Format::V1,
            (None, _) => Format::V2,
        }
    }

    /// SHA-1 of the info dictionary, if there is a v1 part.
    pub fn v1_hash(&self) -> Option<InfoHash> {
        self.v1.as_ref().map(|v1| v1.hash)
    }

    /// SHA-256 of the info dictionary, if there is a v2 part.
    pub fn v2_hash(&self) -> Option<[u8; 32]> {
        self.v2.as_ref().map(|v2| v2.hash)
    }

    /// The v2 hash as it appears on the wire.
    pub fn v2_short(&self) -> Option<InfoHash> {
        self.v2.as_ref().map(|v2| InfoHash::truncated(&v2.hash))
    }

    /// The hash that the torrent goes by on the wire: v1 if it has that, or else v2, truncated.
    pub fn info_hash(&self) -> InfoHash {
        self.wire_hashes().next().unwrap_or(InfoHash([0; 20]))
    }

    /// Every hash that a handshake or an announce for this torrent may carry; one, or two for a hybrid.
    pub fn wire_hashes(&self) -> impl Iterator<Item = InfoHash> {
        self.v1_hash().into_iter().chain(self.v2_short())
    }

    /// What users see: the v1 info-hash in 40 hexadecimal digits, or for v2 alone all 64 of that.
    pub fn key(&self) -> String {
        match (&self.v1, &self.v2) {
            (None, Some(v2)) => HEXLOWER.encode(&v2.hash),
            _ => self.info_hash().to_string(),
        }
    }

    /// Announce URLs in tiers (BEP 12).
    pub fn trackers(&self) -> &[Vec<String>] {
        &self.trackers
    }

    /// Whether peers may come from the torrent's trackers only (BEP 27).
    pub fn private(&self) -> bool {
        self.private
    }

    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// The program that made the torrent.
    pub fn created_by(&self) -> Option<&str> {
        self.created_by.as_deref()
    }

    /// Seconds since 1970.
    pub fn creation_date(&self) -> Option<i64> {
        self.creation_date
    }

    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The files, in the order of the stream. Pad files are not among them.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// Where a file of the torrent is if the torrent's file or folder is in `folder`.
    pub fn path_in(&self, folder: &Path, file: &FileEntry) -> PathBuf {
        let mut path = folder.to_owned();
        if !self.single_file {
            path.push(&self.name);
        }
        path.extend(&file.path);
        path
    }

    /// Whether `data` is that piece, as many bytes as `piece_len` says. If the torrent has no hashes of the
    /// kind that `proof` asks for, those that it has decide.
    pub fn verify(&self, piece: Piece, data: &[u8], proof: Proof) -> bool {
        self.verify_all(&[(piece, data, proof)]) == [true]
    }

    /// The same for several pieces, whose hashes are computed side by side.
    pub fn verify_all(&self, pieces: &[(Piece, &[u8], Proof)]) -> Vec<bool> {
        let fits = |piece: Piece, data: &[u8]| data.len() == self.geometry.piece_len(piece) as usize;
        let by_sha1 = |proof: Proof| self.is_verified_by_sha1(proof);
        let v1 = pieces.iter().filter(|(piece, data, proof)| fits(*piece, data) && by_sha1(*proof));
        let zeros =
            |piece: Piece| (self.geometry.padded_len(piece) - self.geometry.piece_len(piece)) as usize;
        let padded: Vec<_> = v1.map(|(piece, data, _)| (*data, zeros(*piece))).collect();
        let mut sha1s = hash::sha1_many_padded(&padded).into_iter();
        let is_good = |(piece, data, proof): &(Piece, &[u8], Proof)| match fits(*piece, data) {
            false => false,
            true if by_sha1(*proof) => sha1s.next().is_some_and(|hash| self.piece_sha1(*piece) == Some(hash)),
            true => self.piece_root(*piece) == Some(hash::data_root(data, self.geometry.leaf_width(*piece))),
        };
        pieces.iter().map(is_good).collect()
    }

    /// Whether it is by SHA-1 that pieces are verified of which `proof` is asked.
    pub fn is_verified_by_sha1(&self, proof: Proof) -> bool {
        self.v1.is_some() && (self.v2.is_none() || proof == Proof::V1)
    }

    /// The SHA-1 of the piece and its padding, if there is a v1 part.
    pub fn piece_sha1(&self, piece: Piece) -> Option<[u8; 20]> {
        let (hashes, _) = self.bytes[self.v1.as_ref()?.pieces.clone()].as_chunks();
        hashes.get(piece.index() as usize).copied()
    }

    /// The root of the piece's merkle tree, if there is a v2 part.
    pub fn piece_root(&self, piece: Piece) -> Option<[u8; 32]> {
        self.v2.as_ref()?.roots.get(piece.index() as usize).copied()
    }
}

impl std::fmt::Debug for Torrent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Torrent({:?}, {}, {})", self.name, self.format(), self.key())
    }
}

const _: () = assert!(BLOCK_LEN as usize == LEAF_LEN);
