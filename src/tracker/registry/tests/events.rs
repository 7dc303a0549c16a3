//! Events that sessions are told: availability, reasons, offers.

use super::*;

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
