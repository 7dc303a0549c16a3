//! Announce and scrape over HTTP (BEP 3, 7, 21, 23, 24, 48) as types and bytes: requests are the query
//! string of a URL, replies are bencoded. Pure. The tracker reads queries and writes replies; the
//! engine's announcer does the reverse.

mod reply;

use std::fmt::Write as _;

use std::hash::{DefaultHasher, Hash, Hasher};

use std::num::NonZeroU32;

use crate::torrent::InfoHash;

use super::catalogue::PeerId;

pub use reply::{
    AnnounceReply, AnnouncedPeer, MAX_NAMES_READ, MAX_PEERS_READ, PeersAs, ReplyError, Scraped, failure,
    scrape_bytes,
};

/// Maximum number of peers in a reply, whatever `numwant` says.
pub const MAX_WANT: usize = 200;

/// An announce: what a client tells a tracker about one torrent, and asks of it (BEP 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    /// The torrent's info-hash, of 20 bytes.
    pub info_hash: InfoHash,
    /// The client's peer id.
    pub peer_id: PeerId,
    /// The TCP port on which the client accepts connections.
    pub port: u16,
    /// Bytes uploaded to other peers since `started`.
    pub uploaded: u64,
    /// Bytes downloaded from other peers since `started`.
    pub downloaded: u64,
    /// Bytes still missing; 0 for a seed. `u64::MAX` if the client did not say, or does not know yet.
    pub left: u64,
    /// Why the client announces.
    pub event: AnnounceEvent,
    /// How many peers the client would like (`numwant`).
    pub want: Option<usize>,
    /// A secret of this client. It identifies the client after its address has changed.
    pub key: Option<Vec<u8>>,
    /// Whether the reply's peers are to be packed addresses (BEP 23) instead of a list of dictionaries.
    pub compact: bool,
    /// Whether to leave the peer ids out of the list of dictionaries.
    pub no_peer_id: bool,
    /// The `tracker id` of an earlier reply, sent back to that tracker (BEP 3).
    pub tracker_id: Option<Vec<u8>>,
}

/// The number of 32 bits that a `key` parameter is in hexadecimal digits, if it is one.
pub(super) fn key_number(bytes: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(bytes).ok()?, 16).ok()
}

/// A client's key as the tracker remembers it: a number of 32 bits, as it is over UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(NonZeroU32);

impl Key {
    /// The key for the bytes of a `key` parameter. Hexadecimal digits give the number that the same client
    /// sends over UDP; anything else is hashed. `None` if the number is 0.
    pub fn from_bytes(bytes: &[u8]) -> Option<Key> {
        let number = key_number(bytes).unwrap_or_else(|| {
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            hasher.finish() as u32 | 1
        });
        Key::from_number(number)
    }

    /// The key for a number. `None` for 0, which means over UDP that the client has no key.
    pub fn from_number(number: u32) -> Option<Key> {
        NonZeroU32::new(number).map(Key)
    }
}

/// The `event` of an announce (BEP 3, 21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AnnounceEvent {
    /// A regular announce, without an event.
    #[default]
    None,
    /// The first announce of a session.
    Started,
    /// The download has been completed.
    Completed,
    /// The client leaves the swarm.
    Stopped,
    /// A partial seed: it has everything that it wants, but not the whole torrent (BEP 21). Sent
    /// with every announce.
    Paused,
}

impl AnnounceEvent {
    fn parse(text: &[u8]) -> Self {
        match text {
            b"started" => AnnounceEvent::Started,
            b"completed" => AnnounceEvent::Completed,
            b"stopped" => AnnounceEvent::Stopped,
            b"paused" => AnnounceEvent::Paused,
            // Any other event is treated as a regular announce.
            _ => AnnounceEvent::None,
        }
    }

    fn name(self) -> Option<&'static str> {
        match self {
            AnnounceEvent::None => None,
            AnnounceEvent::Started => Some("started"),
            AnnounceEvent::Completed => Some("completed"),
            AnnounceEvent::Stopped => Some("stopped"),
            AnnounceEvent::Paused => Some("paused"),
        }
    }
}

impl Announce {
    /// An announce that tells only who announces what, and asks for nothing in particular. A literal takes
    /// from it what it does not name, so that a new field is written in this file alone.
    pub fn new(info_hash: InfoHash, peer_id: PeerId, port: u16) -> Announce {
        Announce {
            info_hash,
            peer_id,
            port,
            uploaded: 0,
            downloaded: 0,
            left: 0,
            event: AnnounceEvent::default(),
            want: None,
            key: None,
            compact: true,
            no_peer_id: true,
            tracker_id: None,
        }
    }

    /// Reads the query of an announce URL, the part after the `?`.
    ///
    /// # Errors
    /// One sentence for the `failure reason`.
    pub fn parse(query: &str) -> Result<Announce, String> {
        let mut fields = Fields::default();
        for (name, value) in pairs(query) {
            fields.take(name, value);
        }
        let port = fields.port.and_then(|text| number(&text)).and_then(|port| u16::try_from(port).ok());
        Ok(Announce {
            info_hash: InfoHash(twenty(fields.info_hash, "info_hash")?),
            peer_id: PeerId(twenty(fields.peer_id, "peer_id")?),
            port: port.filter(|port| *port != 0).ok_or("port must be a number from 1 to 65535")?,
            uploaded: fields.uploaded,
            downloaded: fields.downloaded,
            // Clients that have only a magnet link send nothing, -1 or other texts.
            left: fields.left.unwrap_or(u64::MAX),
            event: fields.event,
            want: fields.want,
            key: fields.key,
            compact: fields.compact.unwrap_or(true),
            no_peer_id: fields.no_peer_id,
            tracker_id: fields.tracker_id,
        })
    }

    /// The query of an announce URL, to follow a `?` or a `&`.
    pub fn query(&self) -> String {
        let mut query = format!(
            "info_hash={}&peer_id={}&port={}&uploaded={}&downloaded={}&left={}&compact={}",
            escape(&self.info_hash.0),
            escape(&self.peer_id.0),
            self.port,
            self.uploaded,
            self.downloaded,
            self.left,
            u8::from(self.compact),
        );
        // Writing to a string cannot fail.
        if let Some(event) = self.event.name() {
            let _ = write!(query, "&event={event}");
        }
        if let Some(want) = self.want {
            let _ = write!(query, "&numwant={want}");
        }
        if let Some(key) = &self.key {
            let _ = write!(query, "&key={}", escape(key));
        }
        if self.no_peer_id {
            query.push_str("&no_peer_id=1");
        }
        if let Some(id) = &self.tracker_id {
            let _ = write!(query, "&trackerid={}", escape(id));
        }
        query
    }
}

/// The fields of an announce that were found. If a field occurs twice, the last one counts.
#[derive(Default)]
struct Fields {
    info_hash: Option<Vec<u8>>,
    peer_id: Option<Vec<u8>>,
    port: Option<Vec<u8>>,
    uploaded: u64,
    downloaded: u64,
    left: Option<u64>,
    event: AnnounceEvent,
    want: Option<usize>,
    key: Option<Vec<u8>>,
    compact: Option<bool>,
    no_peer_id: bool,
    tracker_id: Option<Vec<u8>>,
}

impl Fields {
    fn take(&mut self, name: &str, value: Vec<u8>) {
        match name {
            "info_hash" => self.info_hash = Some(value),
            "peer_id" => self.peer_id = Some(value),
            "port" => self.port = Some(value),
            "uploaded" => self.uploaded = number(&value).unwrap_or(0),
            "downloaded" => self.downloaded = number(&value).unwrap_or(0),
            "left" => self.left = number(&value),
            "event" => self.event = AnnounceEvent::parse(&value),
            // Some clients send a negative number for "as many as you like".
            "numwant" => self.want = number(&value).and_then(|want| usize::try_from(want).ok()),
            // No known client has a longer key. Cutting a longer one would make different keys equal.
            "key" if value.len() <= 64 => self.key = Some(value),
            "compact" => self.compact = Some(value != b"0"),
            "no_peer_id" => self.no_peer_id = value == b"1",
            "trackerid" => self.tracker_id = Some(value),
            // This includes `ip`. A client's address is the one it connects from; otherwise it could
            // direct peers to a third party.
            _ => {}
        }
    }
}

fn twenty(value: Option<Vec<u8>>, name: &str) -> Result<[u8; 20], String> {
    let value = value.ok_or_else(|| format!("{name} is missing"))?;
    value.try_into().map_err(|value: Vec<u8>| format!("{name} must be 20 bytes, not {}", value.len()))
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The `info_hash`es in the query of a scrape URL, in order. Those that are not 20 bytes long are left out.
pub fn scrape_hashes(query: &str) -> Vec<InfoHash> {
    pairs(query)
        .filter(|(name, _)| *name == "info_hash")
        .filter_map(|(_, value)| value.try_into().ok().map(InfoHash))
        .collect()
}

/// The `name=value` pairs of a query string, with the values percent-decoded.
pub fn pairs(query: &str) -> impl Iterator<Item = (&str, Vec<u8>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name, unescape(value))
    })
}

/// Decodes percent-encoding (`%41`). A percent sign without two hexadecimal digits after it is
/// kept, and so is a plus sign.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return out,
            [b'%', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex_value(*high) << 4 | hex_value(*low));
                tail
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
        }
    }
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Percent-encodes everything except letters, digits and `-._~` (RFC 3986).
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 3);
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
