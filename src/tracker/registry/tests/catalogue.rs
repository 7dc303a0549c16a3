//! Finding torrents by name, key and words.

use super::*;

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
fn a_path_is_what_the_first_member_tells_until_it_is_gone() {
    let mut world = World::new();
    let (one, _) = world.join(1, NEAR);
    let (two, _) = world.join(2, FAR);
    let slides = torrent("slides.txt", 3);
    let hash = world.publish(one, &slides, Held::All);
    world.publish(two, &slides, Held::All);
    let labels = |world: &World, words: &str| {
        let Found { entries, .. } = world.registry.search(words, true, 0);
        entries.iter().map(|entry| entry.label().to_owned()).collect::<Vec<_>>()
    };
    let place = |world: &mut World, id, path: &str| world.registry.place(id, hash, Some(&path.to_owned()));
    place(&mut world, one, "Course/slides.txt");
    place(&mut world, two, "copy/slides.txt");
    assert_eq!(labels(&world, "course"), ["Course/slides.txt"]);
    assert_eq!(labels(&world, "copy"), [""; 0]);
    assert_eq!(world.registry.resolve("Course/slides.txt").unwrap(), hash);
    assert_eq!(world.registry.resolve("slides.txt").unwrap(), hash);
    place(&mut world, one, "moved/slides.txt");
    assert_eq!(labels(&world, ""), ["moved/slides.txt"]);
    world.registry.leave(one, Departure::Left);
    place(&mut world, two, "copy/slides.txt");
    assert_eq!(labels(&world, ""), ["copy/slides.txt"]);
    world.registry.place(two, hash, None);
    assert_eq!(labels(&world, ""), ["slides.txt"]);
    place(&mut world, two, "../slides.txt");
    assert_eq!(labels(&world, ""), ["slides.txt"]);
}
