//! The registry: members, availability, addresses and what is told of them.

use std::net::IpAddr;

use super::*;
use crate::bencode;
use crate::protocol::announce::{Announce, AnnounceEvent, AnnounceReply};
use crate::protocol::catalogue::{DEFAULT_WANT, Entry, Found, Held, Hello, PeerId};

const NEAR: &str = "192.168.1.10";
const FAR: &str = "203.0.113.9";

/// A v1 torrent of one file with `n_parts` pieces of 16 KiB, hashes made up.
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
                Event::Offered { entry, by } => format!("offered {} by {}", entry.name, by.0[0]),
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
    Announce {
        info_hash: hash,
        peer_id: PeerId(id),
        port,
        uploaded: 0,
        downloaded: 0,
        left,
        event,
        want: None,
        key: None,
        compact: true,
        no_peer_id: false,
    }
}

fn addresses(reply: &AnnounceReply) -> Vec<String> {
    let mut addresses: Vec<String> = reply.peers.iter().map(|peer| peer.address.to_string()).collect();
    addresses.sort();
    addresses
}

#[test]
fn a_torrent_is_available_while_every_piece_is_held_by_somebody() {
    let mut world = World::new();
    let (watcher, mut read) = world.join(9, NEAR);
    let torrent = torrent("got5.mp4", 10);
    let (a, _) = world.join(1, NEAR);
    let (b, _) = world.join(2, NEAR);
    let hash = world.publish(a, &torrent, Held::Ranges(vec![(0, 6)]));
    assert_eq!(world.events(&mut read), ["added got5.mp4 false"]);
    world.publish(b, &torrent, Held::Ranges(vec![(5, 9)]));
    assert_eq!(world.events(&mut read), [""; 0]);
    world.registry.finished(a, hash, &[(9, 10)]).unwrap();
    assert_eq!(world.events(&mut read), ["added got5.mp4 true"]);
    assert_eq!((world.entry("got5").seeds, world.entry("got5").peers), (0, 2));
    world.registry.leave(b, Departure::Silent);
    assert_eq!(
        world.events(&mut read),
        ["removed got5.mp4: the last holder of piece 6 and 2 more went silent"]
    );
    world.registry.finished(a, hash, &[(6, 9)]).unwrap();
    assert_eq!(world.events(&mut read), ["added got5.mp4 true"]);
    assert_eq!(world.entry("got5").seeds, 1);
    world.registry.unpublish(a, hash).unwrap();
    assert_eq!(world.events(&mut read), ["removed got5.mp4: the last holder of all 10 pieces withdrew it"]);
    assert_eq!(world.registry.sums.memory, 0);
    let _ = watcher;
}

#[test]
fn reasons_name_the_piece_and_what_became_of_its_holder() {
    for (how, verb) in [
        (Departure::Left, "left"),
        (Departure::Silent, "went silent"),
        (Departure::Dropped, "dropped its connection"),
    ] {
        let mut world = World::new();
        let (a, mut read) = world.join(1, NEAR);
        let (b, _) = world.join(2, NEAR);
        let torrent = torrent("x", 20);
        world.publish(a, &torrent, Held::Ranges(vec![(0, 17), (18, 20)]));
        world.publish(b, &torrent, Held::All);
        world.events(&mut read);
        world.registry.leave(b, how);
        assert_eq!(world.events(&mut read), [format!("removed x: the last holder of piece 17 {verb}")]);
    }
}

#[test]
fn a_session_learns_what_stands_not_what_was() {
    let mut world = World::new();
    let (a, mut read) = world.join(1, NEAR);
    let torrent = torrent("x", 4);
    for _ in 0..50 {
        let hash = world.publish(a, &torrent, Held::All);
        world.registry.unpublish(a, hash).unwrap();
    }
    world.publish(a, &torrent, Held::All);
    assert_eq!(world.events(&mut read), ["added x true"]);
    let (_, mut late) = world.join(2, NEAR);
    assert_eq!(world.events(&mut late), [""; 0]);
}

#[test]
fn an_offer_stands_for_mirrors_that_come_later() {
    let mut world = World::new();
    let (a, _) = world.join(1, NEAR);
    let (_, mut early) = world.join(2, NEAR);
    let torrent = torrent("lesson", 4);
    world.registry.catalogue(&torrent);
    let hash = torrent.info_hash();
    world.registry.publish(a, hash, &Held::All, true).unwrap();
    world.registry.publish(a, hash, &Held::All, true).unwrap();
    assert_eq!(world.events(&mut early), ["added lesson true", "offered lesson by 1"]);
    let (_, mut mirror) = world.join_telling(3, NEAR, &[], true);
    assert_eq!(world.events(&mut mirror), ["offered lesson by 1"]);
    world.registry.unpublish(a, hash).unwrap();
    let (_, mut mirror) = world.join_telling(4, NEAR, &[], true);
    assert_eq!(world.events(&mut mirror), [""; 0]);
}

#[test]
fn libtorrent_and_shoal_find_each_other_under_either_hash() {
    let mut world = World::new();
    let torrent = hybrid();
    let hashes: Vec<InfoHash> = torrent.wire_hashes().collect();
    let [v1, v2] = hashes[..] else { panic!("a hybrid has two") };
    // Before anybody published it there are two swarms, then one.
    world.announce(v1, 1001, FAR, 0, AnnounceEvent::Started);
    world.announce(v2, 1001, FAR, 0, AnnounceEvent::Started);
    world.announce(v2, 1002, FAR, 5, AnnounceEvent::Started);
    assert_eq!(world.registry.census().announcers, 3);
    let (a, mut read) = world.join(1, NEAR);
    world.publish(a, &torrent, Held::Ranges(vec![]));
    assert_eq!(world.events(&mut read), ["added both.bin true"]);
    let census = world.registry.census();
    assert_eq!((census.swarms, census.seeds, census.peers, census.announcers), (1, 1, 2, 2));
    let reply = world.announce(v2, 1003, "198.51.100.1", 7, AnnounceEvent::Started);
    assert_eq!(addresses(&reply), ["192.168.1.10:6881", "203.0.113.9:1001", "203.0.113.9:1002"]);
    let peers = world.registry.peers(a, v1, None).unwrap();
    assert_eq!(peers.len(), 3);
    assert!(peers.iter().all(|peer| peer.client == "-LT2110-"));
    let scraped = world.registry.scrape(&[v1, v2, InfoHash([0; 20])]);
    assert_eq!(scraped.iter().map(|s| (s.info_hash, s.complete)).collect::<Vec<_>>(), [(v1, 1), (v2, 1)]);
    assert_eq!(world.registry.resolve(&v2.to_string()), Ok(v1));
    assert_eq!(world.registry.resolve(&data_encoding::HEXLOWER.encode(&torrent.v2_hash().unwrap())), Ok(v1));
}

#[test]
fn an_unknown_swarm_lasts_as_long_as_its_members() {
    let mut world = World::new();
    let hash = InfoHash([9; 20]);
    world.announce(hash, 1, FAR, 10, AnnounceEvent::Started);
    let reply = world.announce(hash, 2, FAR, 0, AnnounceEvent::Completed);
    assert_eq!(addresses(&reply), ["203.0.113.9:1"]);
    assert_eq!((reply.complete, reply.incomplete, reply.downloaded), (1, 1, 1));
    let stopped = world.announce(hash, 1, FAR, 10, AnnounceEvent::Stopped);
    assert!(stopped.peers.is_empty());
    assert_eq!(world.registry.census().swarms, 1);
    world.announce(hash, 2, FAR, 0, AnnounceEvent::Stopped);
    assert_eq!(world.registry.census(), Census::default());
}

#[test]
fn a_seed_is_not_sent_to_seeds() {
    let mut world = World::new();
    let hash = InfoHash([9; 20]);
    world.announce(hash, 1, FAR, 0, AnnounceEvent::Started);
    world.announce(hash, 2, FAR, 5, AnnounceEvent::Started);
    assert_eq!(addresses(&world.announce(hash, 3, FAR, 0, AnnounceEvent::None)), ["203.0.113.9:2"]);
    assert_eq!(world.announce(hash, 4, FAR, 5, AnnounceEvent::None).peers.len(), 3);
}

#[test]
fn silent_announcers_are_forgotten_after_two_intervals() {
    let mut world = World::new();
    let torrent = torrent("x", 4);
    let (a, mut read) = world.join(1, NEAR);
    let hash = world.publish(a, &torrent, Held::Ranges(vec![]));
    world.announce(hash, 1, FAR, 0, AnnounceEvent::Started);
    assert_eq!(world.events(&mut read), ["added x true"]);
    let at = |seconds| world.start + Duration::from_secs(seconds);
    let (early, late) = (at(240), at(241));
    world.sweep(early);
    assert_eq!(world.registry.census().announcers, 1);
    world.sweep(late);
    assert_eq!(world.events(&mut read), ["removed x: the last holder of all 4 pieces went silent"]);
    assert_eq!(world.registry.census().announcers, 0);
}

#[test]
fn a_client_that_moved_or_came_back_counts_once() {
    let mut world = World::new();
    let hash = InfoHash([9; 20]);
    let mut moving = announce(hash, 1, 5, AnnounceEvent::Started);
    moving.key = Some("secret".into());
    world.registry.announce(&moving, ip(FAR), world.start).unwrap();
    world.registry.announce(&moving, ip("198.51.100.1"), world.start).unwrap();
    assert_eq!(world.registry.census().announcers, 1);
    // The same id with another key is somebody else, and both families at once are no move.
    moving.key = Some("other".into());
    world.registry.announce(&moving, ip("198.51.100.2"), world.start).unwrap();
    world.registry.announce(&moving, ip("2001:db8::1"), world.start).unwrap();
    assert_eq!(world.registry.census().announcers, 3);
}

#[test]
fn a_peer_with_a_session_is_not_counted_again_when_it_announces_or_reconnects() {
    let mut world = World::new();
    let torrent = torrent("x", 4);
    let (a, mut read) = world.join(b'z', NEAR);
    let hash = world.publish(a, &torrent, Held::All);
    world.events(&mut read);
    let mut same = announce(hash, 6881, 0, AnnounceEvent::Started);
    same.peer_id = PeerId([b'z'; 20]);
    world.registry.announce(&same, ip(NEAR), world.start).unwrap();
    assert_eq!(world.registry.census().announcers, 0);
    // Its connection broke unnoticed; the new session takes the place of the old one without a word.
    let (again, _) = world.join(b'z', NEAR);
    world.publish(again, &torrent, Held::All);
    world.registry.leave(a, Departure::Silent);
    assert_eq!(world.entry("x").seeds, 1);
    assert_eq!(world.events(&mut read), [""; 0]);
    // Somebody else by that name from elsewhere takes nobody's place.
    let (stranger, _) = world.join(b'z', FAR);
    world.publish(stranger, &torrent, Held::All);
    assert_eq!(world.entry("x").seeds, 2);
}

#[test]
fn the_own_subnet_comes_first_and_loopback_stays_home() {
    let mut world = World::new();
    let hash = InfoHash([9; 20]);
    for port in 1..=100 {
        world.announce(hash, port, FAR, 5, AnnounceEvent::Started);
    }
    world.announce(hash, 200, "192.168.1.99", 5, AnnounceEvent::Started);
    world.announce(hash, 300, "127.0.0.1", 5, AnnounceEvent::Started);
    let reply = world.announce(hash, 400, NEAR, 5, AnnounceEvent::None);
    assert_eq!(reply.peers.len(), DEFAULT_WANT);
    assert_eq!(reply.peers[0].address.to_string(), "192.168.1.99:200");
    let mut many = announce(hash, 400, 5, AnnounceEvent::None);
    many.want = Some(100_000);
    let all = world.registry.announce(&many, ip(NEAR), world.start).unwrap();
    assert_eq!(all.peers.len(), 101);
    assert!(all.peers.iter().all(|peer| !peer.address.ip().is_loopback()));
    let local = world.registry.announce(&many, ip("127.0.0.1"), world.start).unwrap();
    assert!(local.peers.iter().any(|peer| peer.address.to_string() == "127.0.0.1:300"));
}

#[test]
fn a_peer_on_the_tracker_s_machine_is_reached_from_elsewhere() {
    let mut world = World::new();
    let torrent = torrent("x", 4);
    let (local, _) = world.join_telling(1, "127.0.0.1", &["192.168.1.5", "10.0.0.5"], false);
    let hash = world.publish(local, &torrent, Held::All);
    let (near, _) = world.join(2, NEAR);
    let (other, _) = world.join(3, "127.0.0.1");
    let seen = |world: &mut World, by| world.registry.peers(by, hash, None).unwrap()[0].address.to_string();
    assert_eq!(seen(&mut world, near), "192.168.1.5:6881");
    assert_eq!(seen(&mut world, other), "127.0.0.1:6881");
    let all: Vec<String> =
        world.registry.all_peers(near, None).iter().map(|peer| peer.address.to_string()).collect();
    assert_eq!(all, ["192.168.1.5:6881"]); // the other one told no address
    let holders = world.registry.locate(near, hash, (1, 3)).unwrap();
    assert_eq!(holders[0].ranges, [(1, 3)]);
    assert!(world.registry.locate(near, hash, (3, 5)).is_err());
}

#[test]
fn locate_tells_who_holds_which_part() {
    let mut world = World::new();
    let torrent = torrent("x", 100);
    let (asker, _) = world.join(1, NEAR);
    let (a, _) = world.join(2, NEAR);
    let (b, _) = world.join(3, NEAR);
    let hash = world.publish(a, &torrent, Held::Ranges(vec![(0, 10), (20, 30)]));
    world.publish(b, &torrent, Held::Ranges(vec![(50, 60)]));
    let holders = world.registry.locate(asker, hash, (5, 25)).unwrap();
    assert_eq!(holders.len(), 1);
    assert_eq!(holders[0].ranges, [(5, 10), (20, 25)]);
    assert_eq!((holders[0].peer.have, holders[0].peer.n_parts), (20, 100));
    world.announce(hash, 1, NEAR, 50 * 16384, AnnounceEvent::Started);
    let peers = world.registry.peers(asker, hash, None).unwrap();
    let announcer = peers.iter().find(|peer| peer.address.port() == 1).unwrap();
    assert_eq!((announcer.have, announcer.n_parts), (50, 100));
}

#[test]
fn names_keys_and_words() {
    let mut world = World::new();
    let (a, _) = world.join(1, NEAR);
    let (mp4, mkv) = (torrent("Got5 final.mp4", 4), torrent("Got5 final.mkv", 5));
    let twin = torrent("Got5 final.mp4", 6);
    world.publish(a, &mp4, Held::All);
    world.publish(a, &mkv, Held::All);
    world.registry.catalogue(&twin);
    let names = |found: Found| found.entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>();
    assert_eq!(names(world.registry.search("FINAL got", false, 0)), ["Got5 final.mkv", "Got5 final.mp4"]);
    assert_eq!(world.registry.search("final got", true, 0).entries.len(), 3);
    assert_eq!(world.registry.search("final", true, 2).entries.len(), 1);
    assert_eq!(world.registry.search("final other", true, 0), Found::default());
    assert_eq!(world.registry.resolve("Got5 final.mkv"), Ok(mkv.info_hash()));
    assert_eq!(world.registry.resolve(&mkv.key().to_uppercase()), Ok(mkv.info_hash()));
    assert_eq!(world.registry.resolve(&mkv.key()[..8]), Ok(mkv.info_hash()));
    assert!(world.registry.resolve(&mkv.key()[..5]).is_err());
    let refusal = world.registry.resolve("Got5 final.mp4").unwrap_err();
    assert_eq!(refusal.choices.len(), 2);
    assert!(refusal.message.contains(&mp4.key()) && refusal.message.contains(&twin.key()), "{refusal}");
    assert_eq!(world.registry.resolve("Got5 final").unwrap_err().choices.len(), 3);
    assert!(world.registry.resolve("nothing").unwrap_err().choices.is_empty());
}

#[test]
fn every_table_has_a_bound() {
    let limits = RegistryLimits {
        torrents: 2,
        swarm_size: 3,
        swarm_size_per_address: 2,
        announcers: 4,
        torrents_per_session: 1,
        set_bytes: 1,
        ..RegistryLimits::default()
    };
    let mut world = World::with(limits);
    let (x, y) = (torrent("x", 4), torrent("y", 4));
    let (a, _) = world.join(1, NEAR);
    world.publish(a, &x, Held::Ranges(vec![]));
    world.registry.catalogue(&y);
    let more = world.registry.publish(a, y.info_hash(), &Held::All, false).unwrap_err();
    assert!(more.message.contains("as many torrents"), "{more}");
    assert!(world.registry.has_room(1).is_err());
    let (b, _) = world.join(2, NEAR);
    assert!(world.registry.publish(b, x.info_hash(), &Held::Ranges(vec![]), false).is_err()); // no room for its set
    world.registry.publish(b, x.info_hash(), &Held::All, false).unwrap();
    // One place is left in the swarm; whoever does not get it is answered all the same.
    for port in 1..=3 {
        assert_eq!(world.announce(x.info_hash(), port, FAR, 5, AnnounceEvent::Started).complete, 1);
    }
    assert_eq!(world.registry.census().announcers, 1);
    let (c, _) = world.join(3, NEAR);
    assert!(world.registry.publish(c, x.info_hash(), &Held::All, false).is_err());
    // Two from one address, and two swarms that are in no catalogue.
    for port in 1..=3 {
        world.announce(InfoHash([1; 20]), port, FAR, 5, AnnounceEvent::Started);
    }
    assert_eq!(world.registry.census().announcers, 3);
    world.announce(InfoHash([2; 20]), 1, FAR, 5, AnnounceEvent::Started);
    world.announce(InfoHash([2; 20]), 1, NEAR, 5, AnnounceEvent::Started);
    assert_eq!(world.registry.census().announcers, 4);
    let third = announce(InfoHash([3; 20]), 1, 5, AnnounceEvent::Started);
    assert!(world.registry.announce(&third, ip(FAR), world.start).is_err());
}

#[test]
fn what_a_session_may_not_say() {
    let mut world = World::new();
    let (a, _) = world.join(1, NEAR);
    let x = torrent("x", 4);
    world.registry.catalogue(&x);
    let hash = x.info_hash();
    assert!(world.registry.publish(a, hash, &Held::Ranges(vec![(0, 5)]), false).is_err());
    assert!(world.registry.finished(a, hash, &[(0, 1)]).is_err());
    assert!(world.registry.unpublish(a, hash).is_err());
    assert!(world.registry.peers(a, InfoHash([0; 20]), None).is_err());
    world.registry.publish(a, hash, &Held::Ranges(vec![]), false).unwrap();
    assert!(world.registry.finished(a, hash, &[(3, 5)]).is_err());
    assert!(world.registry.finished(a, hash, &[(2, 2)]).is_err());
    assert!(world.registry.finished(a, hash, &[(0, 4)]).is_ok());
    assert!(world.registry.finished(a, hash, &[(0, 4)]).is_ok());
    world.registry.leave(a, Departure::Left);
    assert!(world.registry.publish(a, hash, &Held::All, false).is_err());
}

#[test]
fn a_leecher_is_told_seeds_and_leechers_as_the_swarm_has_them() {
    let mut world = World::new();
    let hash = InfoHash([9; 20]);
    for port in 1..=1000 {
        let from = format!("203.0.{}.9", port % 200); // one subnet each
        world.announce(hash, port, &from, u64::from(port % 4), AnnounceEvent::Started);
    }
    let mut seeds = 0;
    for _ in 0..40 {
        let reply = world.announce(hash, 2001, NEAR, 5, AnnounceEvent::None);
        assert_eq!((reply.peers.len(), reply.complete, reply.incomplete), (DEFAULT_WANT, 250, 751));
        seeds += reply.peers.iter().filter(|peer| peer.address.port() % 4 == 0).count();
    }
    assert!((300..700).contains(&seeds), "{seeds} of 2000, a quarter would be 500");
    let to_a_seed = world.announce(hash, 2003, NEAR, 0, AnnounceEvent::None);
    assert_eq!(to_a_seed.peers.len(), DEFAULT_WANT);
    assert!(to_a_seed.peers.iter().all(|peer| peer.address.port() % 4 != 0));
}

#[test]
fn the_only_holder_of_a_piece_is_found_among_very_many() {
    let limits = RegistryLimits { swarm_size_per_address: 100_000, ..RegistryLimits::default() };
    let mut world = World::with(limits);
    let torrent = torrent("x", 100);
    let (asker, _) = world.join(1, NEAR);
    let hash = world.publish(asker, &torrent, Held::Ranges(vec![]));
    for port in 1..=20_000 {
        world.announce(hash, port, FAR, 5, AnnounceEvent::Started);
    }
    assert_eq!(world.registry.locate(asker, hash, (3, 4)).unwrap(), []);
    let (holder, _) = world.join(2, "198.51.100.1");
    world.publish(holder, &torrent, Held::Ranges(vec![(3, 4)]));
    assert_eq!(world.registry.locate(asker, hash, (3, 4)).unwrap()[0].ranges, [(3, 4)]);
    world.announce(hash, 30_000, "198.51.100.2", 0, AnnounceEvent::Started);
    assert_eq!(world.registry.locate(asker, hash, (3, 4)).unwrap().len(), 2);
    // Nobody but the silent goes, and all of them, though they are looked at a few at a time.
    let late = world.start + Duration::from_secs(300);
    let still = announce(hash, 77, 5, AnnounceEvent::None);
    world.registry.announce(&still, ip(FAR), late).unwrap();
    world.sweep(late);
    assert_eq!((world.registry.census().announcers, world.registry.census().peers), (1, 3));
}

#[test]
fn a_swarm_of_another_family_or_out_of_reach_is_searched_for_a_while_only() {
    let limits = RegistryLimits { swarm_size_per_address: 100_000, ..RegistryLimits::default() };
    let mut world = World::with(limits);
    let hash = InfoHash([9; 20]);
    world.announce(hash, 1, FAR, 5, AnnounceEvent::Started);
    for port in 1..=200 {
        world.announce(hash, port, "2001:db8::1", 5, AnnounceEvent::Started);
        world.announce(hash, port, "127.0.0.1", 5, AnnounceEvent::Started);
    }
    let asker = announce(hash, 9, 5, AnnounceEvent::None);
    let told = world.registry.announce_in_family(&asker, ip(NEAR), world.start).unwrap();
    assert_eq!(addresses(&told), ["203.0.113.9:1"], "it is small enough to be looked through");
}
