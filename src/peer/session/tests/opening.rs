//! The first messages: which pieces each side has, and how a peer introduces itself.

use super::*;
use crate::protocol::handshake::PeerId;

#[test]
fn what_we_have_is_said_first() {
    let (torrent, now) = (torrent(&content(3 * PIECE_LEN as usize), PIECE_LEN), Instant::now());
    let mut some = Bitfield::new(3);
    some.set(1);
    for (have, modern, expected) in [
        (Bitfield::new(3), true, vec!["hello", "havenone"]),
        (Bitfield::full(3), true, vec!["hello", "haveall"]),
        (some.clone(), true, vec!["hello", "bitfield"]),
        (Bitfield::new(3), false, vec![]),
        (Bitfield::full(3), false, vec!["bitfield"]),
        (some, false, vec!["bitfield"]),
    ] {
        assert_eq!(says(&mut session(&torrent, &have, modern, now), now), expected);
    }
}

/// Bug: aria2 sends a second bitfield instead of many `Have` messages, which was taken for a violation.
#[test]
fn a_second_bitfield_adds_to_the_first() {
    let (torrent, now) = (torrent(&content(9 * PIECE_LEN as usize), PIECE_LEN), Instant::now());
    let mut session = session(&torrent, &Bitfield::new(9), true, now);
    for bits in [&[0x80, 0x00], &[0x01, 0x80], &[0x00, 0x00]] {
        assert_eq!(session.on_message(Message::Bitfield(bits), now), Ok(()));
    }
    assert_eq!(session.peer_has().iter().collect::<Vec<_>>(), [0, 7, 8]);
    let told =
        std::iter::from_fn(|| session.next_event()).filter(|event| matches!(event, Event::HasPieces(_)));
    assert_eq!(told.count(), 2, "the last one added nothing");
}

#[test]
fn a_bitfield_fits_its_torrent() {
    let leecher = Leecher::new(9, true);
    let fresh = |modern| session(&leecher.torrent, &Bitfield::new(9), modern, leecher.now);
    let now = leecher.now;
    assert_eq!(fresh(true).on_message(Message::Bitfield(&[0xff]), now), Err(Violation::BadBitfield));
    assert_eq!(fresh(true).on_message(Message::Bitfield(&[0xff, 0xff]), now), Err(Violation::BadBitfield));
    assert_eq!(fresh(false).on_message(Message::HaveAll, now), Err(Violation::NotAgreed("have all")));
    assert_eq!(fresh(true).on_message(Message::Have(9), now), Err(Violation::NoSuchPiece(9)));
    let mut session = fresh(true);
    for (message, pieces) in [
        (Message::Have(3), 1),
        (Message::Bitfield(&[0x80, 0x80]), 3),
        (Message::HaveNone, 3),
        (Message::HaveAll, 9),
        (Message::Bitfield(&[0x80, 0]), 9),
    ] {
        session.on_message(message, now).unwrap();
        assert_eq!(session.peer_has().count(), pieces);
    }
}

#[test]
fn a_peer_introduces_itself() {
    let mut leecher = Leecher::new(1, true);
    let hello = Extended { client: Some("x".into()), reqq: Some(3), port: Some(1), ..Extended::default() };
    leecher.hears(Message::Extended { id: 0, payload: &hello.encode() }).unwrap();
    assert!(matches!(&leecher.events()[..], [Event::Introduced(told)] if *told == hello));
    leecher.fetch(0);
    assert_eq!(leecher.says().len(), 3, "no more than it keeps");
    leecher.hears(Message::Extended { id: 9, payload: b"x" }).unwrap();
    let mut plain = Leecher::new(1, false);
    assert_eq!(
        plain.hears(Message::Extended { id: 0, payload: b"de" }),
        Err(Violation::NotAgreed("extended"))
    );
    assert_eq!(leecher.session.agreement().peer_id, PeerId([2; 20]));
}

/// Bug: a peer whose handshake had a byte too many was shown out and banned, so a download from it alone
/// never ended.
#[test]
fn an_extension_handshake_that_cannot_be_read_is_ignored_and_costs() {
    let mut leecher = Leecher::new(1, true);
    for payload in [&b""[..], b"x", b"i5e", b"le", b"d", b"d1:v", b"d1:md11:upload_only"] {
        leecher.hears(Message::Extended { id: 0, payload }).unwrap();
    }
    assert!(leecher.says().is_empty() && leecher.events().is_empty());
    leecher.fetch(0);
    leecher.gets(leecher.block(0, 0)).unwrap();
    let broken = Message::Extended { id: 0, payload: &[b'x'; 1000] };
    assert!((0..10_000).any(|_| leecher.hears(broken) == Err(Violation::Flood)));
}
