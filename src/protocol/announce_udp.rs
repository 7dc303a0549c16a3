//! The UDP tracker protocol (BEP 15, with the options of BEP 41) as types and bytes, for the tracker and for
//! the engine's announcer. Pure. A request is read without allocating.
//!
//! A client first asks for a *connection id*, which proves that its packets come from the address
//! they carry. With that id it announces or scrapes. Every packet has a *transaction id*, which the
//! reply repeats. Numbers are big-endian. A reply does not say whether its peers are IPv4 or IPv6:
//! they are of the packet's own family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::torrent::InfoHash;

use super::announce::{Announce, AnnounceEvent, AnnounceReply, AnnouncedPeer, key_number};
use super::catalogue::PeerId;

/// The first 8 bytes of a request for a connection id. Packets of other protocols get no reply.
const MAGIC: u64 = 0x0417_2710_1980;

/// Maximum number of swarms in one scrape (BEP 15).
pub const MAX_SCRAPED: usize = 74;

/// Maximum length in bytes of a reply to an announce. It fits into one packet on every link that carries IPv6
/// (1280 bytes), so it is never fragmented. It holds 202 IPv4 peers or 67 IPv6 peers.
pub const MAX_REPLY: usize = 1232;

/// Maximum length in bytes of the reason for a refusal.
const MAX_REASON: usize = 300;

mod action {
    pub const CONNECT: u32 = 0;
    pub const ANNOUNCE: u32 = 1;
    pub const SCRAPE: u32 = 2;
    pub const ERROR: u32 = 3;
}

/// The event of a partial seed. BEP 15 has no number for it; this is the one that libtorrent sends.
const PAUSED: u32 = 4;

mod option {
    pub const END: u8 = 0;
    pub const NOP: u8 = 1;
    pub const URL_DATA: u8 = 2;
}

/// The family of a packet's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4: a peer takes 6 bytes.
    V4,
    /// IPv6: a peer takes 18 bytes.
    V6,
}

impl Family {
    /// The family of an address. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn of(ip: IpAddr) -> Family {
        if ip.to_canonical().is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// A client's request. Borrows the hashes and options from the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// Asks for a connection id.
    Connect,
    /// Announces one torrent.
    Announce {
        /// The connection id.
        connection: u64,
        /// The fields of fixed length.
        announce: UdpAnnounce,
        /// The options after them (BEP 41).
        options: Options<'a>,
    },
    /// Asks for the numbers of some swarms.
    Scrape {
        /// The connection id.
        connection: u64,
        /// The info-hashes, at most [`MAX_SCRAPED`].
        hashes: &'a [[u8; 20]],
    },
}

/// The fields of an announce as they stand in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpAnnounce {
    /// The torrent's info-hash.
    pub info_hash: InfoHash,
    /// The client's peer id.
    pub peer_id: PeerId,
    /// Bytes downloaded since `started`.
    pub downloaded: u64,
    /// Bytes still missing.
    pub left: u64,
    /// Bytes uploaded since `started`.
    pub uploaded: u64,
    /// Why the client announces.
    pub event: AnnounceEvent,
    /// A secret number of this client; 0 if it has none.
    pub key: u32,
    /// How many peers the client would like.
    pub want: Option<u32>,
    /// The TCP port on which the client accepts connections.
    pub port: u16,
}

impl UdpAnnounce {
    /// Converts an announce for UDP. A key that is not a hexadecimal number of 32 bits becomes 0.
    pub fn new(announce: &Announce) -> UdpAnnounce {
        let key = announce.key.as_deref().and_then(key_number);
        UdpAnnounce {
            info_hash: announce.info_hash,
            peer_id: announce.peer_id,
            downloaded: announce.downloaded,
            left: announce.left,
            uploaded: announce.uploaded,
            event: announce.event,
            key: key.unwrap_or(0),
            want: announce.want.map(|want| u32::try_from(want).unwrap_or(u32::MAX)),
            port: announce.port,
        }
    }
}

/// The key becomes the text that our own clients send over HTTP, so that a client is the same one over both.
impl From<UdpAnnounce> for Announce {
    fn from(announce: UdpAnnounce) -> Announce {
        Announce {
            uploaded: announce.uploaded,
            downloaded: announce.downloaded,
            left: announce.left,
            event: announce.event,
            want: announce.want.and_then(|want| usize::try_from(want).ok()),
            key: (announce.key != 0).then(|| format!("{:08x}", announce.key).into()),
            ..Announce::new(announce.info_hash, announce.peer_id, announce.port)
        }
    }
}

/// The options after an announce (BEP 41), unchecked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options<'a>(pub &'a [u8]);

impl<'a> Options<'a> {
    /// The parts of the path and query of the URL that the client announces to, to be joined. Options of
    /// other kinds are skipped. An option that is cut short ends the list.
    pub fn url_data(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            loop {
                let (kind, after) = rest.split_first()?;
                match *kind {
                    option::END => return None,
                    option::NOP => rest = after,
                    kind => {
                        let (len, after) = after.split_first()?;
                        let (data, after) = after.split_at_checked(usize::from(*len))?;
                        rest = after;
                        if kind == option::URL_DATA {
                            return Some(data);
                        }
                    }
                }
            }
        })
    }

    /// Appends the options that carry this path and query.
    pub fn put_url_data(path: &str, out: &mut Vec<u8>) {
        for part in path.as_bytes().chunks(usize::from(u8::MAX)) {
            // A chunk is no longer than a byte can say.
            out.extend_from_slice(&[option::URL_DATA, part.len() as u8]);
            out.extend_from_slice(part);
        }
    }
}

impl<'a> Request<'a> {
    /// Reads a packet: its transaction id and its request. `None` if it is not a packet of this
    /// protocol; it gets no reply.
    pub fn decode(packet: &'a [u8]) -> Option<(u32, Request<'a>)> {
        let mut fields = Fields(packet);
        let connection = fields.u64()?;
        let action = fields.u32()?;
        let transaction = fields.u32()?;
        let request = match action {
            action::CONNECT if connection == MAGIC => Request::Connect,
            action::ANNOUNCE => {
                let announce = fields.announce()?;
                Request::Announce { connection, announce, options: Options(fields.0) }
            }
            action::SCRAPE => {
                let (hashes, _) = fields.0.as_chunks::<20>();
                let hashes = hashes.get(..MAX_SCRAPED).unwrap_or(hashes);
                (!hashes.is_empty()).then_some(Request::Scrape { connection, hashes })?
            }
            _ => return None,
        };
        Some((transaction, request))
    }

    /// Appends the packet.
    pub fn encode(&self, transaction: u32, out: &mut Vec<u8>) {
        let (connection, action) = match self {
            Request::Connect => (MAGIC, action::CONNECT),
            Request::Announce { connection, .. } => (*connection, action::ANNOUNCE),
            Request::Scrape { connection, .. } => (*connection, action::SCRAPE),
        };
        out.extend_from_slice(&connection.to_be_bytes());
        put(out, &[action, transaction]);
        match self {
            Request::Connect => {}
            Request::Announce { announce, options, .. } => {
                put_announce(announce, out);
                out.extend_from_slice(options.0);
            }
            Request::Scrape { hashes, .. } => out.extend_from_slice(hashes.as_flattened()),
        }
    }
}

fn put_announce(announce: &UdpAnnounce, out: &mut Vec<u8>) {
    out.extend_from_slice(&announce.info_hash.0);
    out.extend_from_slice(&announce.peer_id.0);
    for bytes in [announce.downloaded, announce.left, announce.uploaded] {
        out.extend_from_slice(&bytes.to_be_bytes());
    }
    let event = match announce.event {
        AnnounceEvent::None => 0,
        AnnounceEvent::Completed => 1,
        AnnounceEvent::Started => 2,
        AnnounceEvent::Stopped => 3,
        AnnounceEvent::Paused => PAUSED,
    };
    // -1 means "as many as you like". The field is signed.
    let want = announce.want.map_or(u32::MAX, |want| want.min(i32::MAX as u32));
    put(out, &[event, 0, announce.key, want]);
    out.extend_from_slice(&announce.port.to_be_bytes());
}

/// A tracker's reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The connection id that was asked for.
    Connected(u64),
    /// The reply to an announce. Only the interval, the counts and the peers of the packet's family are sent.
    Announced(AnnounceReply),
    /// The reply to a scrape, in the order of the requested hashes.
    Scraped(Vec<Counts>),
    /// The request was refused, for this reason.
    Refused(String),
}

/// A scrape's result for one swarm; all zero if the tracker does not know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Number of seeds.
    pub seeds: u32,
    /// Number of completed downloads.
    pub downloaded: u32,
    /// Number of leechers.
    pub peers: u32,
}

impl Reply {
    /// Appends the packet, of at most [`MAX_REPLY`] bytes.
    pub fn encode(&self, transaction: u32, family: Family, out: &mut Vec<u8>) {
        match self {
            Reply::Connected(connection) => {
                put(out, &[action::CONNECT, transaction]);
                out.extend_from_slice(&connection.to_be_bytes());
            }
            Reply::Announced(reply) => {
                let head = [action::ANNOUNCE, transaction, reply.interval, reply.incomplete, reply.complete];
                put(out, &head);
                put_peers(&reply.peers, family, MAX_REPLY - size_of_val(&head), out);
            }
            Reply::Scraped(swarms) => {
                put(out, &[action::SCRAPE, transaction]);
                for swarm in swarms.iter().take(MAX_SCRAPED) {
                    put(out, &[swarm.seeds, swarm.downloaded, swarm.peers]);
                }
            }
            Reply::Refused(reason) => {
                put(out, &[action::ERROR, transaction]);
                out.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(MAX_REASON)]);
            }
        }
    }

    /// Reads a packet: its transaction id and the reply. `None` if it is not a packet of this protocol.
    /// Peers with port 0 are skipped.
    pub fn decode(packet: &[u8], family: Family) -> Option<(u32, Reply)> {
        let mut fields = Fields(packet);
        let action = fields.u32()?;
        let transaction = fields.u32()?;
        let reply = match action {
            action::CONNECT => Reply::Connected(fields.u64()?),
            action::ANNOUNCE => Reply::Announced(fields.announce_reply(family)?),
            action::SCRAPE => Reply::Scraped(std::iter::from_fn(|| fields.counts()).collect()),
            action::ERROR => Reply::Refused(reason(fields.0)),
            _ => return None,
        };
        Some((transaction, reply))
    }
}

fn put_peers(peers: &[AnnouncedPeer], family: Family, room: usize, out: &mut Vec<u8>) {
    let end = out.len() + room;
    for peer in peers {
        let port = peer.address.port().to_be_bytes();
        match (peer.address.ip(), family) {
            (IpAddr::V4(ip), Family::V4) if out.len() + 6 <= end => {
                out.extend_from_slice(&ip.octets());
                out.extend_from_slice(&port);
            }
            (IpAddr::V6(ip), Family::V6) if out.len() + 18 <= end => {
                out.extend_from_slice(&ip.octets());
                out.extend_from_slice(&port);
            }
            _ => {}
        }
    }
}

/// A remote text made safe to show on one line.
fn reason(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_REASON)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn put(out: &mut Vec<u8>, numbers: &[u32]) {
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
}

/// Reads a packet field by field. `None` if the packet is too short.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn announce(&mut self) -> Option<UdpAnnounce> {
        let info_hash = InfoHash(self.array()?);
        let peer_id = PeerId(self.array()?);
        let [downloaded, left, uploaded] = [self.u64()?, self.u64()?, self.u64()?];
        let event = match self.u32()? {
            1 => AnnounceEvent::Completed,
            2 => AnnounceEvent::Started,
            3 => AnnounceEvent::Stopped,
            PAUSED => AnnounceEvent::Paused,
            _ => AnnounceEvent::None,
        };
        // The address in the packet is ignored, as over HTTP: a client's address is the one it connects from.
        let [_ip, key, want] = [self.u32()?, self.u32()?, self.u32()?];
        let want = Some(want).filter(|want| i32::try_from(*want).is_ok());
        let port = self.u16().filter(|port| *port != 0)?;
        Some(UdpAnnounce { info_hash, peer_id, downloaded, left, uploaded, event, key, want, port })
    }

    fn announce_reply(&mut self, family: Family) -> Option<AnnounceReply> {
        let [interval, incomplete, complete] = [self.u32()?, self.u32()?, self.u32()?];
        let peers = std::iter::from_fn(|| self.peer(family));
        let peers = peers.filter(|address| address.port() != 0);
        let peers = peers.map(|address| AnnouncedPeer { peer_id: None, address }).collect();
        Some(AnnounceReply { interval, complete, incomplete, peers, ..AnnounceReply::default() })
    }

    fn peer(&mut self, family: Family) -> Option<SocketAddr> {
        let ip = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)).to_canonical(),
        };
        Some(SocketAddr::new(ip, self.u16()?))
    }

    fn counts(&mut self) -> Option<Counts> {
        Some(Counts { seeds: self.u32()?, downloaded: self.u32()?, peers: self.u32()? })
    }
}

#[cfg(test)]
mod tests;
