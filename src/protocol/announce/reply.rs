//! What a tracker answers to announces and scrapes, bencoded (BEP 3, 7, 21, 23, 24, 31, 48). Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::bencode::{self, Dict};

use crate::protocol::catalogue::PeerId;

use crate::torrent::InfoHash;

/// Maximum number of peers read from a reply. A peer has no use for more.
pub const MAX_PEERS_READ: usize = 2000;

/// Maximum number of peers with a host name read from a reply. Each must be looked up.
pub const MAX_NAMES_READ: usize = 20;

/// Maximum length of a host name in bytes (RFC 1035).
const MAX_NAME_LEN: usize = 253;

/// The interval of a reply that names none, in seconds. Half an hour is usual (BEP 3 gives no number).
const USUAL_INTERVAL: u32 = 1800;
/// Maximum length of a `tracker id` that is kept, in bytes. It becomes part of a URL.
const MAX_TRACKER_ID: usize = 256;

/// A tracker's reply to an announce (BEP 3, 7, 23, 24).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnnounceReply {
    /// Seconds until the client should announce again.
    pub interval: u32,
    /// Minimum number of seconds between two announces.
    pub min_interval: Option<u32>,
    /// Number of seeds in the swarm.
    pub complete: u32,
    /// Number of leechers in the swarm.
    pub incomplete: u32,
    /// How many downloads have been completed, as far as the tracker knows.
    pub downloaded: u32,
    /// Other members of the swarm.
    pub peers: Vec<AnnouncedPeer>,
    /// Other members that are given by host name (BEP 3 allows it), each with its port.
    pub named_peers: Vec<(String, u16)>,
    /// The client's address as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// A warning for people to read.
    pub warning: Option<String>,
    /// What the client is to send back with its next announces, as `trackerid` (BEP 3).
    pub tracker_id: Option<Vec<u8>>,
}

/// One peer in the reply to an announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnouncedPeer {
    /// The peer's id. Only lists of dictionaries carry it.
    pub peer_id: Option<PeerId>,
    /// Address and port on which the peer accepts connections.
    pub address: SocketAddr,
}

/// Why bytes give no [`AnnounceReply`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The tracker refused, with a `failure reason`, which is on one line here.
    #[error("the tracker refused: {reason}")]
    Refused {
        /// The reason.
        reason: String,
        /// How long it does not want to be asked again (BEP 31); [`Duration::MAX`] for "never". `None` if it
        /// does not say.
        retry_in: Option<Duration>,
    },
    /// They are not bencoded.
    #[error("the tracker's reply is {0}")]
    NotBencoded(#[from] bencode::Error),
    /// They are no dictionary.
    #[error("the tracker's reply is no dictionary")]
    NoDictionary,
}

/// How the peers of a reply are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeersAs {
    /// As packed addresses (BEP 23) instead of a list of dictionaries.
    pub compact: bool,
    /// Without the peer ids.
    pub no_peer_id: bool,
}

impl AnnounceReply {
    /// The bencoded reply.
    pub fn bytes(&self, peers_as: PeersAs) -> Vec<u8> {
        bencode::dict(|d| {
            d.int("complete", self.complete.into());
            d.int("downloaded", self.downloaded.into());
            match self.external_ip {
                Some(IpAddr::V4(ip)) => d.bytes("external ip", ip.octets()),
                Some(IpAddr::V6(ip)) => d.bytes("external ip", ip.octets()),
                None => {}
            }
            d.int("incomplete", self.incomplete.into());
            d.int("interval", self.interval.into());
            if let Some(min) = self.min_interval {
                d.int("min interval", min.into());
            }
            if peers_as.compact {
                self.compact_peers(d);
            } else {
                self.listed_peers(d, peers_as.no_peer_id);
            }
            if let Some(id) = &self.tracker_id {
                d.bytes("tracker id", id);
            }
            if let Some(warning) = &self.warning {
                d.bytes("warning message", warning);
            }
        })
    }

    fn compact_peers(&self, d: &mut bencode::DictWriter) {
        let (mut peers, mut peers6) = (Vec::new(), Vec::new());
        for peer in &self.peers {
            match peer.address.ip() {
                IpAddr::V4(ip) => {
                    peers.extend_from_slice(&ip.octets());
                    peers.extend_from_slice(&peer.address.port().to_be_bytes());
                }
                IpAddr::V6(ip) => {
                    peers6.extend_from_slice(&ip.octets());
                    peers6.extend_from_slice(&peer.address.port().to_be_bytes());
                }
            }
        }
        d.bytes("peers", peers);
        if !peers6.is_empty() {
            d.bytes("peers6", peers6);
        }
    }

    fn listed_peers(&self, d: &mut bencode::DictWriter, no_peer_id: bool) {
        d.list("peers", |list| {
            for peer in &self.peers {
                list.dict(|d| {
                    d.bytes("ip", peer.address.ip().to_string());
                    if let Some(id) = peer.peer_id.filter(|_| !no_peer_id) {
                        d.bytes("peer id", id.0);
                    }
                    d.int("port", peer.address.port().into());
                });
            }
        });
    }

    /// Reads a tracker's reply, leniently: all of it is advice, and the peers in it are of use whatever else
    /// is odd or missing. Peers with port 0, and those beyond [`MAX_PEERS_READ`] and [`MAX_NAMES_READ`], are
    /// skipped.
    ///
    /// # Errors
    /// If the tracker refused, or if these bytes are no dictionary.
    pub fn parse(bytes: &[u8]) -> Result<AnnounceReply, ReplyError> {
        let (value, _) = bencode::parse_leniently(bytes)?;
        let reply = value.as_dict().ok_or(ReplyError::NoDictionary)?;
        if let Some(reason) = text(reply, "failure reason") {
            return Err(ReplyError::Refused { reason, retry_in: retry_in(reply) });
        }
        let (mut peers, mut named_peers) = (Vec::new(), Vec::new());
        match reply.get("peers") {
            Some(bencode::Value::Bytes(packed)) => peers.extend(unpack_v4(packed)),
            Some(bencode::Value::List(list)) => {
                let listed = || list.iter().filter_map(bencode::Value::as_dict);
                peers.extend(listed().filter_map(listed_peer));
                named_peers.extend(listed().filter_map(named_peer).take(MAX_NAMES_READ));
            }
            _ => {}
        }
        peers.extend(unpack_v6(reply.bytes("peers6").unwrap_or_default()));
        peers.retain(|peer| peer.address.port() != 0);
        peers.truncate(MAX_PEERS_READ);
        Ok(AnnounceReply {
            interval: reply.int("interval").map_or(USUAL_INTERVAL, clamp),
            min_interval: reply.int("min interval").map(clamp),
            complete: reply.int("complete").map_or(0, clamp),
            incomplete: reply.int("incomplete").map_or(0, clamp),
            downloaded: reply.int("downloaded").map_or(0, clamp),
            peers,
            named_peers,
            external_ip: reply.bytes("external ip").and_then(unpack_ip),
            warning: text(reply, "warning message"),
            tracker_id: reply.bytes("tracker id").filter(|id| id.len() <= MAX_TRACKER_ID).map(<[u8]>::to_vec),
        })
    }
}

/// How long a tracker that refuses does not want to be asked again (BEP 31).
fn retry_in(refusal: Dict) -> Option<Duration> {
    match refusal.get("retry in")? {
        bencode::Value::Bytes(b"never") => Some(Duration::MAX),
        bencode::Value::Int(minutes) => {
            Some(Duration::from_secs(u64::try_from(minutes).ok()?.saturating_mul(60)))
        }
        _ => None,
    }
}

fn clamp(number: i64) -> u32 {
    number.clamp(0, u32::MAX.into()) as u32
}

/// A string for people: on one line, at most 300 bytes, with invalid UTF-8 replaced.
fn text(dict: Dict, key: &str) -> Option<String> {
    let bytes = dict.bytes(key)?;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
    Some(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

fn unpack_v4(packed: &[u8]) -> impl Iterator<Item = AnnouncedPeer> {
    packed.as_chunks::<6>().0.iter().map(|&[a, b, c, d, high, low]| AnnouncedPeer {
        peer_id: None,
        address: (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into(),
    })
}

fn unpack_v6(packed: &[u8]) -> impl Iterator<Item = AnnouncedPeer> {
    packed.as_chunks::<18>().0.iter().filter_map(|chunk| {
        let (ip, port) = chunk.split_first_chunk::<16>()?;
        let port = u16::from_be_bytes(port.try_into().ok()?);
        Some(AnnouncedPeer { peer_id: None, address: (Ipv6Addr::from(*ip).to_canonical(), port).into() })
    })
}

fn unpack_ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

fn listed_peer(peer: Dict) -> Option<AnnouncedPeer> {
    let (host, port) = host_and_port(peer)?;
    let ip: IpAddr = host.parse().ok()?;
    let peer_id = peer.bytes("peer id").and_then(|id| id.try_into().ok()).map(PeerId);
    Some(AnnouncedPeer { peer_id, address: (ip.to_canonical(), port).into() })
}

/// A peer whose `ip` is a host name.
fn named_peer(peer: Dict) -> Option<(String, u16)> {
    let (host, port) = host_and_port(peer)?;
    let is_name =
        |host: &str| host.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_'));
    let good = port != 0 && (1..=MAX_NAME_LEN).contains(&host.len()) && is_name(host);
    (good && host.parse::<IpAddr>().is_err()).then(|| (host.to_owned(), port))
}

fn host_and_port<'a>(peer: Dict<'a>) -> Option<(&'a str, u16)> {
    Some((peer.get("ip")?.as_str()?, u16::try_from(peer.int("port")?).ok()?))
}

/// The bencoded reply to an announce or scrape that was refused, with its `failure reason`.
pub fn failure(reason: &str) -> Vec<u8> {
    bencode::dict(|d| d.bytes("failure reason", reason))
}

/// A scrape's result for one swarm (BEP 48).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scraped {
    /// The torrent's info-hash.
    pub info_hash: InfoHash,
    /// Number of seeds.
    pub complete: u32,
    /// Number of completed downloads, as far as the tracker knows.
    pub downloaded: u32,
    /// Number of leechers.
    pub incomplete: u32,
    /// Those of the leechers that are no partial seeds (BEP 21).
    pub downloaders: u32,
}

impl Scraped {
    /// Of a swarm that has no members.
    pub fn nobody(info_hash: InfoHash) -> Scraped {
        Scraped { info_hash, complete: 0, downloaded: 0, incomplete: 0, downloaders: 0 }
    }
}

/// The bencoded reply to a scrape. A swarm that was asked for twice appears once.
pub fn scrape_bytes(mut swarms: Vec<Scraped>) -> Vec<u8> {
    swarms.sort_unstable_by_key(|swarm| swarm.info_hash);
    swarms.dedup_by_key(|swarm| swarm.info_hash);
    bencode::dict(|d| {
        d.dict("files", |files| {
            for swarm in &swarms {
                files.dict(swarm.info_hash.0, |d| {
                    d.int("complete", swarm.complete.into());
                    d.int("downloaded", swarm.downloaded.into());
                    d.int("downloaders", swarm.downloaders.into());
                    d.int("incomplete", swarm.incomplete.into());
                });
            }
        });
    })
}
