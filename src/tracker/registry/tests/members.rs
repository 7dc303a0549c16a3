//! Which peers are members of a swarm, and for how long.

use super::*;
use crate::protocol::announce::Scraped;

#[test]
fn libtorrent_and_shoal_find_each_other_under_either_hash() {
    let mut world = World::new();
    let torrent = hybrid();
    let hashes: Vec<InfoHash> = torrent.wire_hashes().collect();
    let [v1, v2] = hashes[..] else { panic!("a hybrid has two") };
    // Before it is published there are two swarms, afterwards one.
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
    for hash in [v1, v2] {
        let scraped = world.registry.scrape(hash);
        assert_eq!((scraped.info_hash, scraped.complete), (hash, 1));
    }
    let unknown = InfoHash([0; 20]);
    assert_eq!(world.registry.scrape(unknown), Scraped::nobody(unknown));
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

/// Bug: a partial seed (BEP 21) was counted like one that downloads.
#[test]
fn a_partial_seed_is_no_downloader() {
    let mut world = World::new();
    let hash = InfoHash([9; 20]);
    let mut numbers = |port, left, event| {
        world.announce(hash, port, FAR, left, event);
        let Scraped { complete, incomplete, downloaders, .. } = world.registry.scrape(hash);
        (complete, incomplete, downloaders)
    };
    assert_eq!(numbers(1, 10, AnnounceEvent::Started), (0, 1, 1));
    assert_eq!(numbers(2, 10, AnnounceEvent::Paused), (0, 2, 1), "a partial seed from the start");
    assert_eq!(numbers(1, 5, AnnounceEvent::Paused), (0, 2, 0), "it has what it wants now");
    assert_eq!(numbers(1, 5, AnnounceEvent::None), (0, 2, 1), "it wants more");
    assert_eq!(numbers(1, 5, AnnounceEvent::Paused), (0, 2, 0));
    assert_eq!(numbers(1, 0, AnnounceEvent::Paused), (1, 1, 0), "it lacks nothing");
    assert_eq!(numbers(2, 10, AnnounceEvent::Stopped), (1, 0, 0));
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
    // The same peer id with another key is another client. A second address family is no new address.
    moving.key = Some("other".into());
    world.registry.announce(&moving, ip("198.51.100.2"), world.start).unwrap();
    world.registry.announce(&moving, ip("2001:db8::1"), world.start).unwrap();
    assert_eq!(world.registry.census().announcers, 3);
}

/// Bug: peers with one peer id, as some programs have, were told of nobody, after a look at hundreds.
#[test]
fn who_asks_is_not_told_of_itself_but_of_others_with_its_peer_id() {
    let mut world = World::new();
    let hash = InfoHash([9; 20]);
    let same = announce(hash, 1, 5, AnnounceEvent::Started);
    let mut told = |from: &str| addresses(&world.registry.announce(&same, ip(from), world.start).unwrap());
    assert_eq!(told(FAR), [""; 0]);
    assert_eq!(told("2001:db8::1"), [""; 0], "that is its other address");
    assert_eq!(told("198.51.100.1"), [format!("{FAR}:1")], "that is another peer");
    assert_eq!(told(FAR), ["198.51.100.1:1"]);
    // Nor of itself through its session.
    let torrent = torrent("x", 4);
    let (a, _) = world.join(b'z', NEAR);
    let hash = world.publish(a, &torrent, Held::Ranges(vec![]));
    let mut same = announce(hash, 6881, 5, AnnounceEvent::Started);
    same.peer_id = PeerId([b'z'; 20]);
    assert_eq!(addresses(&world.registry.announce(&same, ip(NEAR), world.start).unwrap()), [""; 0]);
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
    // Its connection broke unnoticed; the new session replaces the old one without an event.
    let (again, _) = world.join(b'z', NEAR);
    world.publish(again, &torrent, Held::All);
    world.registry.leave(a, Departure::Silent);
    assert_eq!(world.entry("x").seeds, 1);
    assert_eq!(world.events(&mut read), [""; 0]);
    // A peer with the same id at another address replaces no member.
    let (stranger, _) = world.join(b'z', FAR);
    world.publish(stranger, &torrent, Held::All);
    assert_eq!(world.entry("x").seeds, 2);
}
