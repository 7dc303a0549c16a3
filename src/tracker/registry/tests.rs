//! Tests of the registry, without sockets and with times that the tests choose. This file has
//! what they share.

mod catalogue;
mod drawing;
mod events;
mod limits;
mod members;
mod versions;

use std::net::IpAddr;

use super::*;
use crate::bencode;
use crate::protocol::announce::{Announce, AnnounceEvent, AnnounceReply};
use crate::protocol::catalogue::{DEFAULT_WANT, Entry, Found, Giver, Held, Hello, PeerId};

const NEAR: &str = "192.168.1.10";
const FAR: &str = "203.0.113.9";

/// A v1 torrent of one file with `n_parts` pieces of 16 KiB and arbitrary hashes.
fn torrent(name: &str, n_parts: u32) -> Torrent {
    let info = bencode::dict(|d| {
        d.int("length", i64::from(n_parts) * 16384);
        d.bytes("name", name);
        d.int("piece length", 16384);
        d.bytes("pieces", vec![7; n_parts as usize * 20]);
    });
    Torrent::parse(&bencode::dict(|d| d.raw("info", &info))).unwrap()
}

fn hybrid() -> Torrent {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("both.bin");
    std::fs::write(&path, vec![1; 100_000]).unwrap();
    let options = crate::torrent::create::Options::default();
    Torrent::parse(&crate::torrent::create::create(&path, &options, &|_| {}).unwrap()).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

struct World {
    registry: Registry,
    start: Instant,
}

impl World {
    fn new() -> World {
        World::with(RegistryLimits::default())
    }

    fn with(limits: RegistryLimits) -> World {
        let start = Instant::now();
        World { registry: Registry::new(limits, 1, start), start }
    }

    fn join(&mut self, id: u8, from: &str) -> (SessionId, Read) {
        self.join_telling(id, from, &[], false)
    }

    fn join_telling(&mut self, id: u8, from: &str, told: &[&str], mirror: bool) -> (SessionId, Read) {
        let hello = Hello {
            peer_id: PeerId([id; 20]),
            port: 6881,
            addresses: told.iter().map(|told| ip(told)).collect(),
            client: "test".into(),
            mirror,
            secret: Some(id.to_string()),
        };
        self.registry.hello(&hello, ip(from))
    }

    fn publish(&mut self, id: SessionId, torrent: &Torrent, have: Held) -> InfoHash {
        self.registry.catalogue(torrent);
        self.registry.publish(id, torrent.info_hash(), &have, false).unwrap();
        torrent.info_hash()
    }

    fn announce(
        &mut self,
        hash: InfoHash,
        port: u16,
        from: &str,
        left: u64,
        event: AnnounceEvent,
    ) -> AnnounceReply {
        let announce = announce(hash, port, left, event);
        self.registry.announce(&announce, ip(from), self.start).unwrap()
    }

    fn events(&self, read: &mut Read) -> Vec<String> {
        let events = self.registry.events(read, 100);
        events
            .into_iter()
            .map(|event| match event {
                Event::Added { entry } => format!("added {} {}", entry.name, entry.available),
                Event::Removed { name, reason, .. } => format!("removed {name}: {reason}"),
                Event::Offered { entry, by, .. } => {
                    let is_by = |id: &u8| by == Giver::by_secret(&id.to_string());
                    format!("offered {} by {}", entry.name, (0..=255).find(is_by).unwrap())
                }
            })
            .collect()
    }

    fn sweep(&mut self, now: Instant) {
        let mut sweep = self.registry.begin_sweep();
        while self.registry.sweep(&mut sweep, now) {}
    }

    fn entry(&self, name: &str) -> Entry {
        let hash = self.registry.resolve(name).unwrap();
        self.registry.swarms[&hash].entry().unwrap()
    }
}

fn announce(hash: InfoHash, port: u16, left: u64, event: AnnounceEvent) -> Announce {
    let mut id = *b"-LT2110-____________";
    id[18..].copy_from_slice(&port.to_be_bytes());
    Announce { left, event, no_peer_id: false, ..Announce::new(hash, PeerId(id), port) }
}

fn addresses(reply: &AnnounceReply) -> Vec<String> {
    let mut addresses: Vec<String> = reply.peers.iter().map(|peer| peer.address.to_string()).collect();
    addresses.sort();
    addresses
}
