//! The table of extensions: what it offers for which torrent, and what happens to messages that are not in
//! it.

use super::*;
use crate::peer::session::extensions::{Extension, TABLE, allowed, offered};
use crate::protocol::extension::{CLIENT, HANDSHAKE_ID, MOST_MESSAGE_NAME};
use std::collections::BTreeSet;

#[test]
fn the_table_has_nothing_twice() {
    let names: BTreeSet<&str> = TABLE.iter().map(|extension| extension.name).collect();
    let ids: BTreeSet<u8> = TABLE.iter().map(|extension| extension.id).collect();
    assert_eq!((names.len(), ids.len()), (TABLE.len(), TABLE.len()));
    assert!(!ids.contains(&HANDSHAKE_ID));
    assert!(names.iter().all(|name| name.len() <= MOST_MESSAGE_NAME));
}

#[test]
fn a_private_torrent_is_not_offered_what_is_forbidden() {
    let row = |name, id, forbidden_if_private| Extension {
        name,
        id,
        forbidden_if_private,
        on_message: |_, _, _| Ok(()),
    };
    let table = [row("first", 1, false), row("finds_peers", 2, true), row("last", 3, false)];
    let names = |is_private| allowed(&table, is_private).map(|extension| extension.name).collect::<Vec<_>>();
    assert_eq!(names(false), ["first", "finds_peers", "last"]);
    assert_eq!(names(true), ["first", "last"]);
    assert_eq!(offered(false).count(), TABLE.len());
    assert!(offered(true).all(|extension| !extension.forbidden_if_private));
}

/// The bytes with which a session starts today. They must not change when the table does.
#[test]
fn the_handshake_is_the_same_byte_for_byte() {
    let (torrent, now) = (torrent(&content(PIECE_LEN as usize), PIECE_LEN), Instant::now());
    for (have, port, flag) in [
        (Bitfield::new(1), Some(6881), ""),
        (Bitfield::full(1), Some(6881), "11:upload_onlyi1e"),
        (Bitfield::new(1), None, ""),
    ] {
        let torrent = Arc::clone(&torrent);
        let mut session = Session::new(torrent, agreement(2, true), identity(2), &have, port, now);
        let port = port.map_or(String::new(), |port| format!("1:pi{port}e"));
        let client = format!("1:v{}:{CLIENT}", CLIENT.len());
        let payload = format!("d1:md11:upload_onlyi3ee{port}4:reqqi1000e{flag}{client}e");
        let mut expected = (payload.len() as u32 + 2).to_be_bytes().to_vec();
        expected.extend([20, 0]);
        expected.extend(payload.as_bytes());
        assert!(session.output(now).starts_with(&expected), "{have:?}");
    }
}

#[test]
fn a_message_that_we_did_not_offer_is_ignored_and_costs() {
    let mut leecher = Leecher::new(1, true);
    let ids: Vec<u8> = TABLE.iter().map(|extension| extension.id).collect();
    for id in (1..=u8::MAX).filter(|id| !ids.contains(id)) {
        leecher.hears(Message::Extended { id, payload: b"x" }).unwrap();
    }
    assert!(leecher.says().is_empty() && leecher.events().is_empty());
    let unknown = Message::Extended { id: 77, payload: &[0; 1000] };
    assert!((0..10_000).any(|_| leecher.hears(unknown) == Err(Violation::Flood)));
}

#[test]
fn a_long_message_costs_more_than_a_short_one() {
    let taken = |len| {
        let (mut leecher, payload) = (Leecher::new(1, true), vec![0; len]);
        let unknown = || Message::Extended { id: 77, payload: &payload };
        (0..).take_while(|_| leecher.hears(unknown()).is_ok()).count()
    };
    assert!(taken(63 * 1024) * 50 < taken(1000), "64 times as much");
}
