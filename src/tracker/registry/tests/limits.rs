//! Limits, and requests that are refused.

use super::*;

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
    // There is no memory for its bitfield.
    assert!(world.registry.publish(b, x.info_hash(), &Held::Ranges(vec![]), false).is_err());
    world.registry.publish(b, x.info_hash(), &Held::All, false).unwrap();
    // There is room for one more member. The announcers that are not added are answered all the same.
    for port in 1..=3 {
        assert_eq!(world.announce(x.info_hash(), port, FAR, 5, AnnounceEvent::Started).complete, 1);
    }
    assert_eq!(world.registry.census().announcers, 1);
    let (c, _) = world.join(3, NEAR);
    assert!(world.registry.publish(c, x.info_hash(), &Held::All, false).is_err());
    // At most two members at one address, and two swarms that are not in the catalogue.
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
