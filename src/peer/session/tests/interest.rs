//! Which side wants something of the other, and when neither side wants anything any more.

use super::*;

#[test]
fn interest_is_told_once_each_way() {
    let (mut seed, _, now) = seed(true);
    for message in [Message::Interested, Message::Interested, Message::NotInterested, Message::NotInterested]
    {
        seed.on_message(message, now).unwrap();
    }
    let told: Vec<bool> = std::iter::from_fn(|| seed.next_event())
        .filter_map(|event| if let Event::Interested(is) = event { Some(is) } else { None })
        .collect();
    assert_eq!(told, [true, false]);
    for interested in [false, true, true, false] {
        seed.set_interested(interested);
    }
    assert_eq!(says(&mut seed, now), ["interested", "notinterested"]);
}

fn extended(session: &mut Session, now: Instant) -> Vec<(u8, Vec<u8>)> {
    let bytes: Vec<u8> = session.output(now).drain(..).collect();
    let mut rest = &bytes[..];
    let mut said = Vec::new();
    while let Some((message, len)) = wire::decode(rest, 1 << 20).unwrap() {
        if let Message::Extended { id, payload } = message {
            said.push((id, payload.to_vec()));
        }
        rest = &rest[len..];
    }
    said
}

/// BEP 21, and the message by which libtorrent learns of a change.
#[test]
fn who_wants_nothing_more_says_so_once() {
    let (torrent, now) = (torrent(&content(PIECE_LEN as usize * 2), PIECE_LEN), Instant::now());
    let upload_only = |payload: &[u8]| Extended::decode(payload).unwrap().upload_only == Some(true);
    let mut seed = session(&torrent, &Bitfield::full(2), true, now);
    let said = extended(&mut seed, now);
    assert!(said.len() == 1 && upload_only(&said[0].1), "a seed in its handshake");
    seed.set_upload_only();
    assert!(extended(&mut seed, now).is_empty());

    let with_id = Extended { messages: [("upload_only".to_owned(), 5)].into(), ..Extended::default() };
    for (theirs, by_message) in [(with_id, true), (Extended::default(), false)] {
        let mut partial = session(&torrent, &Bitfield::new(2), true, now);
        assert!(!upload_only(&extended(&mut partial, now)[0].1));
        partial.set_upload_only();
        assert!(extended(&mut partial, now).is_empty(), "how, we know when the other is introduced");
        partial.on_message(Message::Extended { id: 0, payload: &theirs.encode() }, now).unwrap();
        match &extended(&mut partial, now)[..] {
            [(5, payload)] if by_message => assert_eq!(payload, &[1]),
            [(0, payload)] if !by_message => assert!(upload_only(payload)),
            other => panic!("{other:?}"),
        }
        partial.set_upload_only();
        assert!(extended(&mut partial, now).is_empty());
    }
}

/// Bug: a second handshake without `m` made us forget the ids of the first, and reply with handshakes alone.
#[test]
fn a_second_handshake_without_ids_keeps_those_of_the_first() {
    let first = Extended { messages: [("upload_only".to_owned(), 5)].into(), ..Extended::default() }.encode();
    for (second, id) in [
        (&b"de"[..], 5),
        (b"d4:reqqi7e1:v1:xe", 5),
        (b"d1:md6:ut_pexi1eee", 5),
        (b"d1:md11:upload_onlyi9eee", 9),
        (b"d1:md11:upload_onlyi0eee", 0), // not any more: so by a handshake
        (b"not bencode", 5),
    ] {
        let (torrent, now) = (torrent(&content(PIECE_LEN as usize * 2), PIECE_LEN), Instant::now());
        let mut partial = session(&torrent, &Bitfield::new(2), true, now);
        for payload in [&first[..], second] {
            partial.on_message(Message::Extended { id: 0, payload }, now).unwrap();
        }
        partial.output(now).clear();
        partial.set_upload_only();
        let ids: Vec<u8> = extended(&mut partial, now).iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [id], "{}", second.escape_ascii());
    }
}

#[test]
fn a_connection_is_useless_when_neither_side_wants_anything() {
    let (torrent, now) = (torrent(&content(PIECE_LEN as usize * 2), PIECE_LEN), Instant::now());
    let hello = Extended { upload_only: Some(true), ..Extended::default() }.encode();
    let hears = |session: &mut Session, message| session.on_message(message, now).unwrap();
    let mut partial = session(&torrent, &Bitfield::new(2), true, now);
    hears(&mut partial, Message::Extended { id: 0, payload: &hello });
    assert!(!partial.is_useless(), "it has not said what it has");
    hears(&mut partial, Message::Have(0));
    partial.set_interested(true);
    assert!(!partial.is_useless(), "it has something that we want");
    partial.set_interested(false);
    assert!(partial.is_useless(), "it has nothing for us, and wants nothing of us");
    hears(&mut partial, Message::Extended { id: 0, payload: b"de" });
    assert!(partial.is_useless(), "a further handshake that does not mention it changes nothing");
    hears(&mut partial, Message::Extended { id: extensions::TABLE[0].id, payload: &[0] });
    assert!(!partial.is_useless(), "it has changed its mind");

    let mut done = session(&torrent, &Bitfield::new(2), true, now);
    done.set_upload_only();
    hears(&mut done, Message::Have(1));
    assert!(!done.is_useless(), "it may want what we have");
    hears(&mut done, Message::HaveAll);
    assert!(done.is_useless(), "a seed");
}
