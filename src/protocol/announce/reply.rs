//! What a tracker answers to announces and scrapes, bencoded (BEP 3, 7, 23, 24, 48). Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::bencode::{self, Dict};

use crate::protocol::catalogue::PeerId;

use crate::torrent::InfoHash;

/// Maximum number of peers read from a reply. A peer has no use for more.
pub const MAX_PEERS_READ: usize = 2000;

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
    /// The client's address as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// A warning for people to read.
    pub warning: Option<String>,
}

/// One peer in the reply to an announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnouncedPeer {
    /// The peer's id. Only lists of dictionaries carry it.
    pub peer_id: Option<PeerId>,
    /// Address and port on which the peer accepts connections.
    pub address: SocketAddr,
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

    /// Reads a tracker's reply. Peers with port 0, host names instead of addresses, and peers beyond
    /// [`MAX_PEERS_READ`] are skipped.
    ///
    /// # Errors
    /// The tracker's own `failure reason`, or one sentence on why these bytes are not a reply.
    pub fn parse(bytes: &[u8]) -> Result<AnnounceReply, String> {
        let value = bencode::parse(bytes).map_err(|error| format!("the tracker's reply is {error}"))?;
        let reply = value.as_dict().ok_or("the tracker's reply is no dictionary")?;
        if let Some(reason) = text(reply, "failure reason") {
            return Err(format!("the tracker refused: {reason}"));
        }
        let interval = reply.int("interval").ok_or("the tracker's reply has no interval")?;
        let mut peers = Vec::new();
        match reply.get("peers") {
            Some(bencode::Value::Bytes(packed)) => peers.extend(unpack_v4(packed)),
            Some(bencode::Value::List(list)) => {
                peers.extend(list.iter().filter_map(bencode::Value::as_dict).filter_map(listed_peer));
            }
            _ => {}
        }
        peers.extend(unpack_v6(reply.bytes("peers6").unwrap_or_default()));
        peers.retain(|peer| peer.address.port() != 0);
        peers.truncate(MAX_PEERS_READ);
        Ok(AnnounceReply {
            interval: clamp(interval),
            min_interval: reply.int("min interval").map(clamp),
            complete: reply.int("complete").map_or(0, clamp),
            incomplete: reply.int("incomplete").map_or(0, clamp),
            downloaded: reply.int("downloaded").map_or(0, clamp),
            peers,
            external_ip: reply.bytes("external ip").and_then(unpack_ip),
            warning: text(reply, "warning message"),
        })
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
    let ip: IpAddr = peer.get("ip")?.as_str()?.parse().ok()?;
    let port = u16::try_from(peer.int("port")?).ok()?;
    let peer_id = peer.bytes("peer id").and_then(|id| id.try_into().ok()).map(PeerId);
    Some(AnnouncedPeer { peer_id, address: (ip.to_canonical(), port).into() })
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
                    d.int("incomplete", swarm.incomplete.into());
                });
            }
        });
    })
}
