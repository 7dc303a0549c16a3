//! A *session* with a shoal tracker, one JSON object a line: for the server and for the peer's client. Pure: no thread,
//! no lock. `docs/PROTOCOL.md` shows an example of each line.
//!
//! A peer sends [`Call`]s; the tracker answers each with the [`Answer`] of the same `id`, in the order of the
//! calls, and sends [`Event`]s unasked. An empty line says nothing but that one is alive.

mod envelope;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use data_encoding::BASE64;
use serde::de::{self, Deserializer};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

pub use crate::peer_id::PeerId;
pub use envelope::{Answer, BadCall, Call};

use crate::bitfield::Bitfield;

/// The longest line that a session may send, in bytes: a metainfo file of 12 MiB in base64, and then some.
pub const MAX_LINE: usize = 16 << 20;

/// The longest line before `hello`, in bytes, when the tracker does not know yet whom it has before it.
pub const MAX_FIRST_LINE: usize = 64 << 10;

/// The most entries or peers in one answer; `skip` reads on behind them.
pub const MAX_LISTED: usize = 1000;

/// How many peers an answer holds when the question does not say.
pub const DEFAULT_WANT: usize = 50;

/// A metainfo file; base64 in JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Metainfo(pub Vec<u8>);

impl fmt::Debug for Metainfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metainfo({} bytes)", self.0.len())
    }
}

impl Serialize for Metainfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Metainfo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let decoded = BASE64.decode(text.as_bytes());
        decoded.map(Metainfo).map_err(|_| de::Error::custom("a torrent must be base64, with padding"))
    }
}

/// Pieces `first..end`, the end not included; `[first, end]` in JSON.
pub type Pieces = (u32, u32);

/// What of a torrent somebody holds: `"all"`, or a list of ranges, which may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    All,
    Ranges(Vec<Pieces>),
}

impl Held {
    /// The same as a set of `n_parts` pieces. `None` if a range is empty, reversed or out of bounds.
    pub fn bitfield(&self, n_parts: u32) -> Option<Bitfield> {
        let ranges = match self {
            Held::All => return Some(Bitfield::full(n_parts)),
            Held::Ranges(ranges) => ranges,
        };
        let mut bits = Bitfield::new(n_parts);
        for &(first, end) in ranges {
            if first >= end || end > n_parts {
                return None;
            }
            (first..end).for_each(|piece| {
                bits.set(piece);
            });
        }
        Some(bits)
    }
}

impl From<&Bitfield> for Held {
    fn from(bits: &Bitfield) -> Self {
        if bits.is_full() {
            Held::All
        } else {
            Held::Ranges(bits.ranges().into_iter().map(|range| (range.start, range.end)).collect())
        }
    }
}

impl Serialize for Held {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Held::All => serializer.serialize_str("all"),
            Held::Ranges(ranges) => ranges.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Held {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Word(String),
            Ranges(Vec<Pieces>),
        }
        match Raw::deserialize(deserializer) {
            Ok(Raw::Word(word)) if word == "all" => Ok(Held::All),
            Ok(Raw::Ranges(ranges)) => Ok(Held::Ranges(ranges)),
            _ => Err(de::Error::custom("`have` must be \"all\" or a list of [first, end] pairs")),
        }
    }
}

/// What a peer asks of the tracker. `hello` comes first; every other request before it is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    Hello(Hello),
    Publish(Publish),
    Search(Search),
    /// As [`Request::Search`] without words.
    List(List),
    /// The metainfo file of a torrent.
    Torrent {
        key: String,
    },
    /// Who holds any of the pieces `first..end`.
    Locate {
        key: String,
        first: u32,
        end: u32,
    },
    /// Pieces that the asker has finished since it last said so; of a torrent that it published.
    Have {
        key: String,
        ranges: Vec<Pieces>,
    },
    /// The other members of a torrent's swarm; without a key, all other sessions.
    Peers {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// How many at most; [`DEFAULT_WANT`] if it does not say, never more than [`MAX_LISTED`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        want: Option<usize>,
    },
    /// The asker does not hold or want this torrent any more.
    Unpublish {
        key: String,
    },
    /// A polite end. The tracker answers and closes the connection.
    Leave {},
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub peer_id: PeerId,
    /// The TCP port on which the peer takes connections of other peers.
    pub port: u16,
    /// The peer's own addresses. The tracker uses them only if it sees the peer on loopback, that is on the
    /// tracker's own machine; every other peer is known by the address that it calls from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Name and version of the program, for people.
    #[serde(default)]
    pub client: String,
    /// Whether the peer fetches by itself whatever is offered. It is told the offers that stand already.
    #[serde(default)]
    pub mirror: bool,
}

/// Makes a torrent known, and its sender a member of the torrent's swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    pub torrent: Metainfo,
    pub have: Held,
    /// Whether every peer of the tracker is invited to fetch it.
    #[serde(default)]
    pub offer: bool,
}

/// Every word must occur in a name, whatever the case of its letters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    pub words: String,
    /// Also torrents of which some piece is held by nobody now.
    #[serde(default)]
    pub all: bool,
    /// How many of the first entries to leave out.
    #[serde(default)]
    pub skip: usize,
}

/// The catalogue, in the order of names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    #[serde(default)]
    pub all: bool,
    #[serde(default)]
    pub skip: usize,
}

/// What the tracker says of a request that it granted. The tag `to` names the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum Reply {
    Hello {
        /// The address that the tracker sees the peer at.
        address: IpAddr,
        /// Milliseconds after which a peer that has nothing to say should send an empty line.
        keep_alive_ms: u64,
    },
    Publish {
        key: String,
    },
    Search(Found),
    List(Found),
    Torrent {
        key: String,
        torrent: Metainfo,
    },
    Locate {
        holders: Vec<Holder>,
    },
    Have {},
    Peers {
        peers: Vec<PeerInfo>,
    },
    Unpublish {},
    Leave {},
}

/// Part of the catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub entries: Vec<Entry>,
    /// How many more there are behind these.
    pub more: usize,
}

/// A torrent in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The info-hash: 40 hexadecimal digits, 64 for v2 alone.
    pub key: String,
    pub name: String,
    /// The file's extension; `folder` for a folder, `file` without an extension.
    #[serde(rename = "type")]
    pub kind: String,
    /// Bytes.
    pub size: u64,
    pub n_parts: u32,
    /// `v1`, `v2` or `hybrid`.
    pub format: String,
    /// Members of the swarm that hold all of it.
    pub seeds: usize,
    /// Members of the swarm that do not.
    pub peers: usize,
    /// Whether every piece is held by somebody now.
    pub available: bool,
}

/// A member of a swarm, or of the tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    pub peer_id: PeerId,
    /// Where the asker reaches it.
    pub address: SocketAddr,
    /// Name of the program, as it says itself or as its peer id tells.
    pub client: String,
    /// How many pieces it holds; of an announcer that is not done, an estimate from the bytes it still wants. 0 in the
    /// list of all sessions.
    pub have: u32,
    /// How many pieces there are. 0 in the list of all sessions.
    pub n_parts: u32,
}

/// Who holds which of the pieces that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    #[serde(flatten)]
    pub peer: PeerInfo,
    pub ranges: Vec<Pieces>,
}

/// News, unasked. Events say how things stand when they are sent: of several changes in a row a peer may learn
/// the last alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A torrent became available, or known.
    Added { entry: Entry },
    /// A torrent is not available in full any more.
    Removed { key: String, name: String, reason: String },
    /// The peer `by` invites all others to fetch it.
    Offered { entry: Entry, by: PeerId },
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// One sentence for people.
    pub message: String,
    /// Where the request was ambiguous: what it may have meant.
    pub choices: Vec<Entry>,
}

impl Refusal {
    pub fn new(message: impl Into<String>) -> Self {
        Refusal { message: message.into(), choices: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
