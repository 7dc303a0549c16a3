//! Torrents: what a metainfo file says, how pieces map to files, creating a torrent, checking files against
//! one. Layer 1: uses [`crate::bencode`] and [`crate::hash`]. A [`Torrent`] never changes, so threads share
//! it in an `Arc` without a lock.
//!
//! | file | what it holds |
//! |---|---|
//! | `metainfo.rs` | bytes to [`Torrent`], with every check on untrusted input |
//! | `geometry.rs` | [`Geometry`]: [`Piece`], [`Block`], [`Span`] |
//! | `names.rs` | [`Renamed`]: from the torrent's names to those on disk |
//! | `locate.rs` | content that has the torrent's own names |
//! | `info.rs` | [`Info`] and [`PieceLayers`], which can come apart |
//! | `infohash.rs` | [`InfoHash`], [`InfoHashes`], [`Format`], [`Proof`] |
//! | `magnet.rs` | [`Magnet`] links |
//! | `create.rs`, `verify.rs` | [`create`] and [`verify`], on the threads of `readers.rs` |
//! | `selection.rs` | [`Selection`]: which files a user wants |
//! | `show.rs`, `units.rs` | a torrent as text and as JSON; numbers as text |

pub mod create;
pub mod show;
mod trackers;
pub mod units;
pub mod verify;

mod geometry;
mod info;
mod infohash;
pub(crate) mod locate;
mod magnet;
mod metainfo;
pub(crate) mod names;
mod readers;
mod selection;

use std::fs::File;
use std::io::{self, Read};

use std::path::{Path, PathBuf};

pub use geometry::{BLOCK_LEN, Block, Geometry, MAX_REQUEST_LEN, Piece, Span};
pub use info::{Info, PieceLayers};
pub use infohash::{Format, InfoHash, InfoHashes, NotAnInfoHash, Proof};
pub use magnet::{Magnet, MagnetError};
pub use metainfo::{MAX_FILES, MAX_METAINFO_LEN, MAX_PIECE_LENGTH, MAX_PIECES};
pub use names::{MAX_PATH_DEPTH, Renamed, Why};
pub use readers::all_cores;
pub use selection::{Selection, SelectionError};
pub use trackers::with_trackers;

use crate::bencode;
use crate::hash::{self, LEAF_LEN};

/// Why bytes or a file are not a torrent that we accept.
#[derive(Debug, thiserror::Error)]
pub enum TorrentError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The metainfo file.
        path: PathBuf,
        /// What the system reported.
        source: io::Error,
    },
    /// The bytes are not bencoding.
    #[error("not a torrent: {0}")]
    Bencode(#[from] bencode::Error),
    /// There is no `info` dictionary.
    #[error("not a torrent: there is no `info` dictionary")]
    NotATorrent,
    /// This key is missing.
    #[error("broken torrent: `{0}` is missing")]
    Missing(&'static str),
    /// A value is of the wrong kind.
    #[error("broken torrent: `{key}` must be {must}")]
    Wrong {
        /// The key of the value.
        key: &'static str,
        /// What the value must be.
        must: &'static str,
    },
    /// The number of SHA-1 hashes does not fit the content.
    #[error("broken torrent: {hashes} hashes in `pieces` for {pieces} pieces of content")]
    PieceCount {
        /// Number of hashes.
        hashes: usize,
        /// Number of pieces.
        pieces: u32,
    },
    /// A piece layer is wrong (BEP 52).
    #[error("broken torrent: the piece layer of `{path}` {why}")]
    Layer {
        /// Path of its file in the torrent.
        path: String,
        /// What is wrong, as the end of a sentence.
        why: &'static str,
    },
    /// Two parts of the torrent contradict each other, as this sentence says.
    #[error("broken torrent: {0}")]
    Contradiction(&'static str),
    /// The sum of the file lengths does not fit into 63 bits.
    #[error("broken torrent: the lengths of its files add up to more than 63 bits hold")]
    Overflow,
    /// The torrent has no content.
    #[error("broken torrent: it holds no bytes at all")]
    Empty,
    /// A limit is exceeded.
    #[error("torrent too large: {what} has more than {limit} {unit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// The unit of the limit.
        unit: &'static str,
    },
    /// The torrent uses a feature that we do not support, named by this text.
    #[error("unsupported torrent: {0}")]
    Unsupported(&'static str),
}

/// One file of a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// The names on disk, from the torrent's root down: safe, and no other file has the same. In a
    /// single-file torrent only the torrent's name.
    pub path: Vec<String>,
    /// What the torrent calls it, if that is something else.
    pub renamed: Option<Box<Renamed>>,
    /// Length in bytes.
    pub len: u64,
    /// Whether the file should be executable (BEP 47).
    pub executable: bool,
    /// Root of the file's merkle tree (BEP 52). v1 torrents and empty files have none.
    pub pieces_root: Option<[u8; 32]>,
}

/// A checked metainfo file. Never changes.
pub struct Torrent {
    info: Info,
    /// The hashes of the v2 part. A hybrid torrent may lack them.
    layers: Option<PieceLayers>,
    trackers: Vec<Vec<String>>,
    comment: Option<String>,
    created_by: Option<String>,
    creation_date: Option<i64>,
}

impl Torrent {
    /// Reads the bytes of a metainfo file. Any bytes give a valid torrent or an error.
    ///
    /// # Errors
    /// What is wrong with the bytes, or which limit they exceed.
    pub fn parse(bytes: &[u8]) -> Result<Torrent, TorrentError> {
        metainfo::parse(bytes.to_vec())
    }

    /// Reads a metainfo file of at most [`MAX_METAINFO_LEN`] bytes.
    ///
    /// # Errors
    /// The file cannot be read, or [`parse`](Self::parse) does not accept its content.
    pub fn read(path: &Path) -> Result<Torrent, TorrentError> {
        let failed = |source| TorrentError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(MAX_METAINFO_LEN as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        metainfo::parse(bytes)
    }

    /// The info dictionary, checked.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The hashes that the torrent goes by.
    pub fn hashes(&self) -> &InfoHashes {
        &self.info.hashes
    }

    /// The bytes of the whole metainfo file, unchanged.
    pub fn bytes(&self) -> &[u8] {
        &self.info.whole
    }

    /// The bytes of the info dictionary, unchanged. The info-hashes are computed over them.
    pub fn info_bytes(&self) -> &[u8] {
        self.info.bytes()
    }

    /// Name of the file or folder on disk: one safe path component.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// What the torrent itself calls its file or folder, if that is something else.
    pub fn renamed(&self) -> Option<&Renamed> {
        self.info.renamed.as_deref()
    }

    /// Whether the torrent is a single file instead of a folder.
    pub fn is_single_file(&self) -> bool {
        self.info.single_file
    }

    /// Which info dictionaries the torrent holds: v1, v2 or both.
    pub fn format(&self) -> Format {
        self.info.format()
    }

    /// The v1 info-hash: SHA-1 of the info dictionary. `None` without a v1 part.
    pub fn v1_hash(&self) -> Option<InfoHash> {
        self.info.hashes.v1()
    }

    /// The v2 info-hash: SHA-256 of the info dictionary. `None` without a v2 part.
    pub fn v2_hash(&self) -> Option<[u8; 32]> {
        self.info.hashes.v2()
    }

    /// The v2 info-hash as it appears on the wire, truncated to 20 bytes.
    pub fn v2_short(&self) -> Option<InfoHash> {
        self.info.hashes.v2_short()
    }

    /// The torrent's usual info-hash on the wire: v1 if it has one, otherwise v2, truncated.
    pub fn info_hash(&self) -> InfoHash {
        self.info.hashes.info_hash()
    }

    /// Every info-hash that a handshake or an announce for this torrent may carry: one, or two for
    /// a hybrid torrent.
    pub fn wire_hashes(&self) -> impl Iterator<Item = InfoHash> {
        self.info.hashes.on_the_wire()
    }

    /// The info-hash as users see it: 40 hexadecimal digits of v1, or all 64 of a torrent that is v2 only.
    pub fn key(&self) -> String {
        self.info.hashes.key()
    }

    /// Announce URLs in tiers (BEP 12).
    pub fn trackers(&self) -> &[Vec<String>] {
        &self.trackers
    }

    /// Whether the torrent is private: peers may come only from its trackers (BEP 27).
    pub fn private(&self) -> bool {
        self.info.private
    }

    /// The comment of the metainfo file.
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// The program that made the torrent.
    pub fn created_by(&self) -> Option<&str> {
        self.created_by.as_deref()
    }

    /// When the torrent was made, in seconds since 1970.
    pub fn creation_date(&self) -> Option<i64> {
        self.creation_date
    }

    /// How the torrent is divided into pieces and blocks, and where these lie in its files.
    pub fn geometry(&self) -> &Geometry {
        &self.info.geometry
    }

    /// The files, in stream order. Pad files are left out.
    pub fn files(&self) -> &[FileEntry] {
        &self.info.files
    }

    /// Path of a file on disk, if the torrent's file or folder is in `folder`.
    pub fn path_in(&self, folder: &Path, file: &FileEntry) -> PathBuf {
        let mut path = folder.to_owned();
        if !self.info.single_file {
            path.push(&self.info.name);
        }
        path.extend(&file.path);
        path
    }

    /// Whether `data` is the content of that piece, `piece_len` bytes long. If the torrent has no hashes of
    /// the kind that `proof` asks for, its other hashes are used.
    pub fn verify(&self, piece: Piece, data: &[u8], proof: Proof) -> bool {
        self.verify_all(&[(piece, data, proof)]) == [true]
    }

    /// [`verify`](Self::verify) for several pieces, whose hashes are computed in parallel.
    pub fn verify_all(&self, pieces: &[(Piece, &[u8], Proof)]) -> Vec<bool> {
        let fits = |piece: Piece, data: &[u8]| data.len() == self.info.geometry.piece_len(piece) as usize;
        let by_sha1 = |proof: Proof| self.is_verified_by_sha1(proof);
        let v1 = pieces.iter().filter(|(piece, data, proof)| fits(*piece, data) && by_sha1(*proof));
        let zeros = |piece: Piece| {
            (self.info.geometry.padded_len(piece) - self.info.geometry.piece_len(piece)) as usize
        };
        let padded: Vec<_> = v1.map(|(piece, data, _)| (*data, zeros(*piece))).collect();
        let mut sha1s = hash::sha1_many_padded(&padded).into_iter();
        let is_good = |(piece, data, proof): &(Piece, &[u8], Proof)| match fits(*piece, data) {
            false => false,
            true if by_sha1(*proof) => sha1s.next().is_some_and(|hash| self.piece_sha1(*piece) == Some(hash)),
            true => {
                self.piece_root(*piece) == Some(hash::data_root(data, self.info.geometry.leaf_width(*piece)))
            }
        };
        pieces.iter().map(is_good).collect()
    }

    /// Whether SHA-1 is used to verify pieces for which `proof` is asked.
    pub fn is_verified_by_sha1(&self, proof: Proof) -> bool {
        self.format().has_v1() && (self.layers.is_none() || proof == Proof::V1)
    }

    /// The SHA-1 of the piece and its padding. `None` without a v1 part.
    pub fn piece_sha1(&self, piece: Piece) -> Option<[u8; 20]> {
        self.info.piece_sha1(piece)
    }

    /// The root of the piece's merkle tree. `None` without a v2 part.
    pub fn piece_root(&self, piece: Piece) -> Option<[u8; 32]> {
        self.layers.as_ref()?.root(piece)
    }
}

impl std::fmt::Debug for Torrent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Torrent({:?}, {}, {})", self.name(), self.format(), self.key())
    }
}

const _: () = assert!(BLOCK_LEN as usize == LEAF_LEN);
