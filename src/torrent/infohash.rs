//! The names of a torrent on the wire, and the versions of the protocol it supports. Pure.

use std::fmt;
use std::str::FromStr;

use crate::hash;
use data_encoding::HEXLOWER_PERMISSIVE;

/// The 20 bytes that identify a torrent on the wire: the SHA-1 of a v1 info dictionary (BEP 3), or the first
/// 20 bytes of the SHA-256 of a v2 one (BEP 52).
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InfoHash(pub [u8; 20]);

impl InfoHash {
    /// The first 20 bytes of a v2 info-hash.
    pub fn truncated(hash: &[u8; 32]) -> Self {
        let mut short = [0; 20];
        short.copy_from_slice(&hash[..20]);
        InfoHash(short)
    }
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The hashes that a torrent goes by: one of v1 or of v2, or both of a hybrid.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct InfoHashes {
    v1: Option<InfoHash>,
    v2: Option<[u8; 32]>,
}

impl InfoHashes {
    /// `None` without any hash.
    pub fn new(v1: Option<InfoHash>, v2: Option<[u8; 32]>) -> Option<Self> {
        (v1.is_some() || v2.is_some()).then_some(InfoHashes { v1, v2 })
    }

    /// Which hashes there are.
    pub fn format(&self) -> Format {
        match (self.v1, self.v2) {
            (Some(_), Some(_)) => Format::Hybrid,
            (Some(_), None) => Format::V1,
            (None, _) => Format::V2,
        }
    }

    /// SHA-1 of the info dictionary, if it has a v1 part.
    pub fn v1(&self) -> Option<InfoHash> {
        self.v1
    }

    /// SHA-256 of the info dictionary, if it has a v2 part.
    pub fn v2(&self) -> Option<[u8; 32]> {
        self.v2
    }

    /// The v2 hash as it appears on the wire.
    pub fn v2_short(&self) -> Option<InfoHash> {
        self.v2.as_ref().map(InfoHash::truncated)
    }

    /// Every hash that a handshake or an announce may carry: one, or two for a hybrid, v1 first.
    pub fn on_the_wire(&self) -> impl Iterator<Item = InfoHash> + use<> {
        self.v1.into_iter().chain(self.v2_short())
    }

    /// The hash that the torrent goes by on the wire: v1 if it has that, otherwise v2, truncated.
    pub fn info_hash(&self) -> InfoHash {
        self.on_the_wire().next().unwrap_or(InfoHash([0; 20])) // there is one
    }

    /// What users see: the v1 info-hash in 40 hexadecimal digits, or for v2 alone all 64 of that.
    pub fn key(&self) -> String {
        match (self.v1, self.v2) {
            (None, Some(v2)) => data_encoding::HEXLOWER.encode(&v2),
            _ => self.info_hash().to_string(),
        }
    }

    /// Whether all of these hashes are of this info dictionary.
    pub fn are_of(&self, info: &[u8]) -> bool {
        self.v1.is_none_or(|v1| v1.0 == hash::sha1(info)) && self.v2.is_none_or(|v2| v2 == hash::sha256(info))
    }
}

/// The text is not an info-hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an info-hash is 40 hexadecimal digits, or 64 for v2")]
pub struct NotAnInfoHash;

impl FromStr for InfoHash {
    type Err = NotAnInfoHash;

    /// Reads 40 hexadecimal digits. Of the 64 digits of a full v2 info-hash, the first 40 are used.
    fn from_str(text: &str) -> Result<Self, NotAnInfoHash> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| NotAnInfoHash)?;
        match bytes.len() {
            20 | 32 => bytes.first_chunk().map(|short| InfoHash(*short)).ok_or(NotAnInfoHash),
            _ => Err(NotAnInfoHash),
        }
    }
}

/// Which info dictionaries a torrent holds.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Format {
    /// SHA-1 over pieces that run across files (BEP 3).
    V1,
    /// A SHA-256 merkle tree over each file (BEP 52).
    V2,
    /// Both in one dictionary, over the same files.
    Hybrid,
}

impl Format {
    /// Whether pieces have SHA-1 hashes.
    pub fn has_v1(self) -> bool {
        self != Format::V2
    }

    /// Whether files have merkle trees.
    pub fn has_v2(self) -> bool {
        self != Format::V1
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Format::V1 => "v1",
            Format::V2 => "v2",
            Format::Hybrid => "hybrid",
        })
    }
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "v1" => Ok(Format::V1),
            "v2" => Ok(Format::V2),
            "hybrid" => Ok(Format::Hybrid),
            _ => Err("a format is hybrid, v2 or v1"),
        }
    }
}

/// Which of a torrent's hashes verify a piece.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Proof {
    /// SHA-1 of the piece (BEP 3).
    V1,
    /// The SHA-256 merkle root of the piece (BEP 52).
    V2,
}
