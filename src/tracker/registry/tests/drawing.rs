//! Which members an asker is told, with which addresses.

use super::*;

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
    assert_eq!(all, ["192.168.1.5:6881"]); // the other one sent no address
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
    // All silent members are removed and no others, although they are checked a few at a time.
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
