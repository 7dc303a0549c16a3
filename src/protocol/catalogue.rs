//! A *session* between a peer and a shoal tracker, one JSON object per line, for both sides. Pure: no thread,
//! no lock. `docs/PROTOCOL.md` shows an example of each line.
//!
//! A peer sends [`Call`]s. The tracker replies to each with the [`Answer`] of the same `id`, in the order of
//! the calls. It also sends [`Event`]s on its own. An empty line only says that the sender is alive.

mod envelope;
mod giver;
mod path;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use data_encoding::BASE64;
use serde::de::{self, Deserializer};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

pub use crate::peer_id::PeerId;
pub use envelope::{Answer, BadCall, Call};
pub use giver::Giver;
pub use path::is_path;

use crate::bitfield::Bitfield;

/// Maximum length of a line in bytes: room for a metainfo file of almost 12 MiB in base64.
pub const MAX_LINE: usize = 16 << 20;

/// Maximum length in bytes of a line before `hello`, while the tracker does not know who is calling.
pub const MAX_FIRST_LINE: usize = 64 << 10;

/// Maximum number of entries or peers in one reply. `skip` continues behind them.
pub const MAX_LISTED: usize = 1000;

/// How many peers a reply holds if the request does not say.
pub const DEFAULT_WANT: usize = 50;

/// Maximum number of older versions that an offer names.
pub const MAX_REPLACED: usize = 64;

/// Maximum length of the reason why a peer is blocked, in characters.
pub const MAX_BLOCKED: usize = 200;

/// The bytes of a metainfo file; base64 in JSON.
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

/// The pieces `first..end`, without `end`; `[first, end]` in JSON.
pub type Pieces = (u32, u32);

/// Which pieces of a torrent a member holds: `"all"`, or a list of ranges, which may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Every piece.
    All,
    /// The pieces in these ranges.
    Ranges(Vec<Pieces>),
}

impl Held {
    /// Converts to a bitfield of `n_parts` pieces. `None` if a range is empty, reversed or out of bounds.
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

/// A peer's request to the tracker. `hello` comes first; before it every other request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Opens the session.
    Hello(Hello),
    /// Announces a torrent, its metainfo and the pieces held.
    Publish(Publish),
    /// Searches the catalogue.
    Search(Search),
    /// Lists the catalogue, like [`Request::Search`] without words.
    List(List),
    /// Asks for the metainfo file of a torrent.
    Torrent {
        /// The info-hash in hexadecimal, as in [`Entry::key`].
        key: String,
    },
    /// Asks which members hold any of the pieces `first..end`.
    Locate {
        /// The torrent's key.
        key: String,
        /// Index of the first piece.
        first: u32,
        /// Index behind the last piece.
        end: u32,
    },
    /// Reports pieces that the peer has finished since its last report, of a torrent that it published.
    Have {
        /// The torrent's key.
        key: String,
        /// The new pieces.
        ranges: Vec<Pieces>,
    },
    /// Asks for the other members of a torrent's swarm; without a key, for all other sessions.
    Peers {
        /// The torrent's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// Maximum number of peers: [`DEFAULT_WANT`] if absent, never more than [`MAX_LISTED`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        want: Option<usize>,
    },
    /// The peer no longer holds or wants this torrent.
    Unpublish {
        /// The torrent's key.
        key: String,
    },
    /// Ends the session. The tracker replies and closes the connection.
    Leave {},
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The peer's id, 40 hexadecimal digits in JSON.
    pub peer_id: PeerId,
    /// The TCP port on which the peer accepts connections of other peers.
    pub port: u16,
    /// The peer's own addresses. The tracker uses them only if it sees the peer on loopback, which means on
    /// the tracker's own machine. Every other peer is known by the address that it connects from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Name and version of the program, for people.
    #[serde(default)]
    pub client: String,
    /// Whether the peer downloads every offered torrent by itself. It is told about the offers that
    /// exist already.
    #[serde(default)]
    pub mirror: bool,
    /// What only this peer knows. From it follows the name under which its offers go, so nobody else can
    /// replace them. Without it the name follows from the peer id and the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// Adds a torrent to the catalogue, and its sender to the torrent's swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The metainfo file.
    pub torrent: Metainfo,
    /// The pieces that the sender holds.
    pub have: Held,
    /// Whether every peer of the tracker is invited to download the torrent.
    #[serde(default)]
    pub offer: bool,
    /// Whether it is the sender's own, and was not downloaded: then nobody else's newer version hides it.
    #[serde(default)]
    pub own: bool,
    /// The file's path below the folder that the sender shares it from, if it lies deeper: [`is_path`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Of an offer: the keys of what the sender offered before, and what this is a newer version of. At most
    /// [`MAX_REPLACED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<String>,
    /// Why the sender cannot download it now, for people; at most [`MAX_BLOCKED`] characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
}

impl Publish {
    /// Announces the metainfo file `torrent` and the pieces held, and no more.
    pub fn new(torrent: &[u8], have: Held) -> Self {
        let torrent = Metainfo(torrent.to_vec());
        Publish { torrent, have, offer: false, own: false, path: None, replaces: Vec::new(), blocked: None }
    }
}

/// A search for torrents by name. Every word must occur in the name; case does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// The words, separated by spaces.
    pub words: String,
    /// Whether to include torrents of which some piece is held by no member now.
    #[serde(default)]
    pub all: bool,
    /// How many entries to skip.
    #[serde(default)]
    pub skip: usize,
}

/// Lists the catalogue, ordered by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Whether to include torrents of which some piece is held by no member now.
    #[serde(default)]
    pub all: bool,
    /// How many entries to skip.
    #[serde(default)]
    pub skip: usize,
}

/// The tracker's reply to a request that it granted. The tag `to` names the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum Reply {
    /// The session is open.
    Hello {
        /// The peer's address as the tracker sees it.
        address: IpAddr,
        /// Milliseconds of silence after which a peer should send an empty line.
        keep_alive_ms: u64,
    },
    /// The torrent is in the catalogue, and the sender in its swarm.
    Publish {
        /// The torrent's key.
        key: String,
    },
    /// The entries found.
    Search(Found),
    /// Part of the catalogue.
    List(Found),
    /// A metainfo file.
    Torrent {
        /// The torrent's key.
        key: String,
        /// The metainfo file.
        torrent: Metainfo,
        /// As in [`Entry::path`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    /// Who holds the pieces that were asked for.
    Locate {
        /// One for each member that holds any of them.
        holders: Vec<Holder>,
    },
    /// The pieces were noted.
    Have {},
    /// Members of a swarm, or other sessions.
    Peers {
        /// The peers.
        peers: Vec<PeerInfo>,
    },
    /// The sender has left the torrent's swarm.
    Unpublish {},
    /// The session ends.
    Leave {},
}

/// Part of the catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The entries, at most [`MAX_LISTED`].
    pub entries: Vec<Entry>,
    /// How many more entries there are behind these.
    pub more: usize,
}

/// A torrent in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The info-hash: 40 hexadecimal digits, or 64 for a torrent that is v2 only.
    pub key: String,
    /// The torrent's name.
    pub name: String,
    /// The file's path below the folder that it is shared from, if it lies deeper. Its last part is the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The file's extension; `folder` for a folder, `file` for a file without an extension.
    #[serde(rename = "type")]
    pub kind: String,
    /// Bytes of all files.
    pub size: u64,
    /// Number of pieces.
    pub n_parts: u32,
    /// `v1`, `v2` or `hybrid`.
    pub format: String,
    /// Number of members of the swarm that hold every piece.
    pub seeds: usize,
    /// Number of members of the swarm that do not.
    pub peers: usize,
    /// Whether every piece is held by some member now.
    pub available: bool,
}

impl Entry {
    /// What people call it: its path, or its name.
    pub fn label(&self) -> &str {
        self.path.as_deref().unwrap_or(&self.name)
    }
}

/// A member of a swarm, or a session of the tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its peer id.
    pub peer_id: PeerId,
    /// The address at which the caller can reach it.
    pub address: SocketAddr,
    /// Name of the program, as the peer reports it or as its peer id tells.
    pub client: String,
    /// How many pieces it holds. For a member that only announces and is not complete, this is an estimate
    /// from the bytes that it still misses. 0 in the list of all sessions.
    pub have: u32,
    /// Number of pieces of the torrent. 0 in the list of all sessions.
    pub n_parts: u32,
    /// Why it cannot download the torrent now, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
}

/// Which of the requested pieces a member holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    #[serde(flatten)]
    /// The member.
    pub peer: PeerInfo,
    /// The pieces it holds, of those asked for.
    pub ranges: Vec<Pieces>,
}

/// A notice that the tracker sends on its own. It describes the state when it is sent: of several changes in
/// a row a peer may see only the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A torrent became available, or known.
    Added {
        /// The torrent.
        entry: Entry,
    },
    /// A torrent is no longer completely available.
    Removed {
        /// The torrent's key.
        key: String,
        /// The torrent's name.
        name: String,
        /// One sentence for people.
        reason: String,
    },
    /// A peer invites all others to download a torrent.
    Offered {
        /// The torrent.
        entry: Entry,
        /// Who offers it: the same name for all offers of one peer, and no other's.
        by: Giver,
        /// The keys of what that peer offered before, and what this is a newer version of.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        replaces: Vec<String>,
    },
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// One sentence for people.
    pub message: String,
    /// If the request was ambiguous: the torrents that it may have meant.
    pub choices: Vec<Entry>,
}

impl Refusal {
    /// A refusal without choices.
    pub fn new(message: impl Into<String>) -> Self {
        Refusal { message: message.into(), choices: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
