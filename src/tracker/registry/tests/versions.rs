//! Offers that replace older ones.

use super::*;

/// Two versions of one name; their numbers of pieces tell them apart.
fn course(version: u32) -> Torrent {
    torrent("course", version)
}

impl World {
    /// A session offers a version in place of others, and what is not needed any more.
    fn offer(&mut self, id: SessionId, new: &Torrent, older: &[&Torrent]) -> Vec<String> {
        self.registry.catalogue(new);
        self.registry.publish(id, new.info_hash(), &Held::All, true).unwrap();
        let older: Vec<String> = older.iter().map(|older| older.key()).collect();
        self.registry.replace(id, new.info_hash(), &older)
    }

    fn found(&self) -> Vec<u32> {
        let Found { entries, .. } = self.registry.search("course", true, 0);
        let mut found: Vec<u32> = entries.iter().map(|entry| entry.n_parts).collect();
        found.sort_unstable();
        found
    }
}

#[test]
fn a_newer_version_takes_the_place_of_the_older_one() {
    let mut world = World::new();
    let (giver, _) = world.join(1, NEAR);
    let (mirror, mut read) = world.join(2, FAR);
    let (one, two) = (course(1), course(2));
    world.offer(giver, &one, &[]);
    world.publish(mirror, &one, Held::All);
    world.events(&mut read);
    assert_eq!(world.offer(giver, &two, &[&one]), [one.key()]);
    assert_eq!(world.found(), [2]);
    assert_eq!(world.registry.resolve("course").unwrap(), two.info_hash());
    let told = world.events(&mut read);
    assert_eq!(
        told,
        ["added course true", "removed course: a newer version replaces it", "offered course by 1"]
    );
    assert_eq!(world.registry.census().available, 1);
    let (_, mut late) = world.join_telling(3, FAR, &[], true);
    let offers = world.registry.events(&mut late, 100);
    let [Event::Offered { entry, replaces, .. }] = offers.as_slice() else { panic!("{offers:?}") };
    assert_eq!((entry.n_parts, replaces.as_slice()), (2, &[one.key()][..]));

    // Its members come and go, and nobody is told of that.
    world.registry.unpublish(giver, one.info_hash()).unwrap();
    world.registry.unpublish(mirror, one.info_hash()).unwrap();
    world.publish(mirror, &one, Held::All);
    assert_eq!((world.events(&mut read).len(), world.found()), (0, vec![2]));
    assert_eq!(world.offer(giver, &two, &[&one]), [""; 0], "it is said again");

    // It is offered again.
    assert_eq!(world.offer(giver, &one, &[&two]), [two.key()]);
    assert_eq!(world.found(), [1]);
    assert!(!world.registry.is_replaced(one.info_hash()) && world.registry.is_replaced(two.info_hash()));
    assert_eq!(world.registry.census().available, 1);
}

#[test]
fn only_who_offered_a_torrent_can_replace_it() {
    let mut world = World::new();
    let (giver, _) = world.join(1, NEAR);
    let (other, _) = world.join(2, FAR);
    let (one, theirs) = (course(1), course(2));
    world.offer(giver, &one, &[]);
    assert_eq!(world.offer(other, &theirs, &[&one]), [""; 0]);
    assert_eq!(world.found(), [1, 2]);
    world.publish(other, &course(3), Held::All);
    world.registry.own(other, course(3).info_hash(), true);
    assert_eq!(world.offer(giver, &course(4), &[&course(3)]), [""; 0], "it is the other's own");
    assert_eq!(world.offer(giver, &torrent("else", 5), &[&one]), [""; 0], "another name");
    assert_eq!(world.registry.replace(giver, one.info_hash(), &["no key".to_owned()]), [""; 0]);
}

/// Bug: whoever offered a torrent last could replace it, so anybody could hide what others share.
#[test]
fn nobody_hides_what_another_shares() {
    let mut world = World::new();
    let (owner, _) = world.join(1, NEAR);
    let (vandal, _) = world.join(2, FAR);
    let (film, theirs) = (course(1), course(2));
    world.publish(owner, &film, Held::All);
    world.registry.own(owner, film.info_hash(), true);
    world.registry.publish(vandal, film.info_hash(), &Held::Ranges(Vec::new()), true).unwrap();
    assert_eq!(world.offer(vandal, &theirs, &[&film]), [""; 0]);
    assert_eq!(world.found(), [1, 2]);

    // Nor what another offers, as long as that one is here.
    let (offered, giver) = (course(3), world.join(3, NEAR).0);
    world.offer(giver, &offered, &[]);
    world.registry.publish(vandal, offered.info_hash(), &Held::Ranges(Vec::new()), true).unwrap();
    assert_eq!(world.offer(vandal, &theirs, &[&offered]), [""; 0]);

    // What was hidden while its owner was away is back with it.
    world.registry.leave(owner, Departure::Left);
    let before = world.registry.metainfo_bytes;
    assert_eq!(world.offer(vandal, &theirs, &[&film]), [film.key()]);
    assert!(world.registry.metainfo_bytes < before, "its metainfo is not kept any more");
    let (owner, mut read) = world.join(1, NEAR);
    world.publish(owner, &film, Held::All);
    assert!(world.registry.is_replaced(film.info_hash()));
    world.registry.own(owner, film.info_hash(), true);
    assert_eq!(world.found(), [1, 2, 3]);
    assert_eq!(world.registry.metainfo_bytes, before);
    assert_eq!(world.events(&mut read), ["added course true"]);
}

/// Bug: a tracker that had restarted showed each older version that a member still had beside the newest.
#[test]
fn after_a_restart_it_does_not_matter_who_comes_first() {
    let (one, two) = (course(1), course(2));
    for giver_is_first in [true, false] {
        let mut world = World::new();
        let (giver, _) = world.join(1, NEAR);
        let (mirror, _) = world.join(2, FAR);
        if giver_is_first {
            world.offer(giver, &two, &[&one]);
            assert_eq!(world.registry.catalogue(&one), Some(one.key()));
            world.publish(mirror, &one, Held::All);
        } else {
            world.publish(mirror, &one, Held::All);
            world.offer(giver, &two, &[&one]);
        }
        assert_eq!(world.found(), [2]);
        assert_eq!(world.registry.census().available, 1);
    }
}

#[test]
fn who_cannot_fetch_it_says_why() {
    let mut world = World::new();
    let (giver, _) = world.join(1, NEAR);
    let (mirror, _) = world.join(2, FAR);
    let hash = course(1).info_hash();
    world.offer(giver, &course(1), &[]);
    world.publish(mirror, &course(1), Held::Ranges(Vec::new()));
    let blocked = |world: &mut World| world.registry.peers(giver, hash, None).unwrap().remove(0).blocked;
    world.registry.blocked(mirror, hash, Some(&"é".repeat(1000)));
    assert_eq!(blocked(&mut world), Some("é".repeat(200)));
    assert_eq!(world.registry.sums.memory, 400 + 1, "and one byte of pieces");
    world.registry.blocked(mirror, hash, None);
    assert_eq!((blocked(&mut world), world.registry.sums.memory), (None, 1));
    world.registry.blocked(mirror, hash, Some(&"no space".to_owned()));
    world.registry.leave(mirror, Departure::Left);
    let (mirror, _) = world.join(2, FAR);
    world.publish(mirror, &course(1), Held::Ranges(Vec::new()));
    assert_eq!(blocked(&mut world), None, "it came again");
    world.registry.limits.set_bytes = 3;
    world.registry.blocked(mirror, hash, Some(&"no space".to_owned()));
    assert_eq!(blocked(&mut world), None, "there is no room for it");
}
