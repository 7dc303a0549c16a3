//! Peers that send nothing, or too little: how long we wait for them, and what becomes of their pieces.

use super::*;

#[test]
fn who_sends_nothing_is_snubbed_and_forgiven_when_it_sends_again() {
    let mut leecher = Leecher::new(2, true);
    leecher.fetch(0);
    leecher.now += PATIENCE - Duration::from_millis(1);
    leecher.session.tick(leecher.now).unwrap();
    assert!(leecher.given_back().is_empty());
    assert!(leecher.session.deadline() <= leecher.now + Duration::from_millis(1));
    leecher.now += Duration::from_millis(1);
    leecher.session.tick(leecher.now).unwrap();
    assert_eq!(leecher.given_back(), [(0, 4)]);
    assert!(!leecher.session.wants_work());
    assert!(leecher.session.deadline() > leecher.now, "nothing more to wait for: no busy loop");
    leecher.gets(leecher.block(0, 3)).unwrap();
    assert!(leecher.session.wants_work());
}

#[test]
fn how_long_we_wait_can_be_changed() {
    let mut leecher = Leecher::new(2, true);
    leecher.session.set_patience(PATIENCE / 4);
    leecher.fetch(0);
    leecher.now += PATIENCE / 4;
    leecher.session.tick(leecher.now).unwrap();
    assert_eq!(leecher.given_back(), [(0, 4)]);
}

/// Bug: the time to wait began again with each unchoke, so that a peer could keep pieces without end.
#[test]
fn an_unchoke_said_again_does_not_excuse() {
    let mut leecher = Leecher::new(2, true);
    leecher.fetch(0);
    for _ in 0..3 {
        leecher.now += PATIENCE / 3;
        leecher.hears(Message::Unchoke).unwrap();
        leecher.session.tick(leecher.now).unwrap();
    }
    assert_eq!(leecher.given_back(), [(0, 4)]);
}

#[test]
fn silence_ends_it_and_keep_alives_prevent_that() {
    let mut leecher = Leecher::new(1, true);
    for _ in 0..5 {
        leecher.now = leecher.session.deadline();
        leecher.session.tick(leecher.now).unwrap();
        assert_eq!(leecher.says(), ["keepalive"]);
        leecher.hears(Message::KeepAlive).unwrap();
    }
    leecher.now += SILENCE;
    assert_eq!(leecher.session.tick(leecher.now), Err(Violation::Silent));
}

/// Bug: a block now and then kept a peer from being snubbed, and it could keep pieces as long as it liked.
#[test]
fn who_trickles_loses_its_pieces_and_rests() {
    let mut leecher = Leecher::new(4, true);
    (0..3).for_each(|piece| leecher.fetch(piece));
    let asked = leecher.says();
    assert!(asked.len() > 4 && asked.iter().all(|said| said.starts_with("request")));
    for nth in 0..4 {
        leecher.now += PATIENCE - Duration::from_secs(1);
        leecher.session.tick(leecher.now).unwrap();
        leecher.gets(leecher.block(0, nth)).unwrap();
        leecher.session.ask(leecher.now);
        assert!(leecher.given_back().is_empty());
    }
    let asked: Vec<String> =
        asked.into_iter().chain(leecher.says()).filter(|said| said != "keepalive").collect();
    assert!(leecher.session.deadline() <= leecher.now + Duration::from_secs(4));
    leecher.now += Duration::from_secs(4);
    leecher.session.tick(leecher.now).unwrap();
    let mut given_back = leecher.given_back();
    given_back.sort();
    assert_eq!(given_back, [(1, 4), (2, 4)]);
    let owed = asked.iter().filter(|said| !said.starts_with("request 0:"));
    let cancelled: Vec<String> = owed.map(|said| said.replace("request", "cancel")).collect();
    assert_eq!(leecher.says(), cancelled, "it need not send them any more");
    assert!(leecher.lends(1, ConnId(9)).is_empty(), "whoever wants them picks them now");

    assert!(!leecher.session.wants_work());
    leecher.gets(leecher.block(1, 0)).unwrap();
    assert!(!leecher.session.wants_work(), "what was on its way does not end the rest");
    leecher.fetch(3);
    assert_eq!(leecher.given_back(), [(3, 4)], "it came in the meantime");
    assert!(leecher.session.deadline() <= leecher.now + PATIENCE);
    leecher.now += PATIENCE;
    leecher.session.tick(leecher.now).unwrap();
    assert!(leecher.session.wants_work());
    leecher.session.requests.assert_invariant();
}

#[test]
fn a_slow_peer_that_goes_on_sending_keeps_its_pieces() {
    let mut leecher = Leecher::new(40, true);
    (0..40).for_each(|piece| leecher.fetch(piece));
    for block in (0..40).flat_map(|piece| (0..4).map(move |nth| (piece, nth))) {
        leecher.now += Duration::from_secs(4);
        leecher.session.tick(leecher.now).unwrap();
        leecher.gets(leecher.block(block.0, block.1)).unwrap();
        leecher.session.ask(leecher.now);
        assert!(leecher.given_back().is_empty(), "at {block:?}");
    }
}

/// Bug: no connection may help with a piece that came bad, so its owner could keep it without end.
#[test]
fn a_lone_piece_is_kept_for_so_long_and_by_the_next_for_twice_that() {
    for tries in 0..3u16 {
        let mut leecher = Leecher::new(200, true);
        (0..199).for_each(|piece| leecher.fetch(piece));
        let lone = empty(leecher.torrent.geometry(), leecher.piece(199)).alone(tries);
        leecher.session.fetch(lone, leecher.now);
        let begun = leecher.now;
        let mut blocks = (0..199).flat_map(|piece| (0..4).map(move |nth| (piece, nth)));
        let (piece, missing) = loop {
            leecher.now += Duration::from_secs(4);
            leecher.session.tick(leecher.now).unwrap();
            if let [given_back] = leecher.given_back()[..] {
                break given_back;
            }
            let (piece, nth) = blocks.next().expect("it is given back before all others are here");
            leecher.gets(leecher.block(piece, nth)).unwrap();
            leecher.session.ask(leecher.now);
        };
        assert_eq!((piece, missing), (199, 4), "what it is busy with stays");
        assert_eq!(leecher.now - begun, PATIENCE * 4 * (1 << tries));
        leecher.session.requests.assert_invariant();
    }
}

#[test]
fn what_a_snubbed_peer_owes_is_nobodys_to_lend_but_anybodys_to_pick() {
    let mut leecher = Leecher::new(2, true);
    leecher.fetch(0);
    assert_eq!(leecher.lends(0, ConnId(7)).len(), 2, "half of it");
    leecher.now += PATIENCE;
    leecher.session.tick(leecher.now).unwrap();
    assert_eq!(leecher.given_back(), [(0, 4)]);
    assert!(leecher.lends(0, ConnId(8)).is_empty());
    let block = leecher.block(0, 3);
    let data = leecher.data(block);
    leecher.session.helped(block, &data, &identity(7)); // the helper did not know
    assert!(leecher.events().is_empty());
    leecher.session.requests.assert_invariant();
}

#[test]
fn a_block_that_comes_after_its_peer_was_snubbed_is_passed_on() {
    let mut leecher = Leecher::new(1, true);
    leecher.fetch(0);
    leecher.now += PATIENCE;
    leecher.session.tick(leecher.now).unwrap();
    assert_eq!(leecher.given_back(), [(0, 4)]);
    leecher.gets(leecher.block(0, 1)).unwrap();
    let events = leecher.events();
    assert_eq!(late(events), [leecher.block(0, 1)]);
    assert!(leecher.gets(leecher.block(0, 1)).is_err(), "once");
}

/// Bug: with a slow line of ours and many peers, every one of them was late, and its blocks were thrown away.
#[test]
fn a_peer_whose_blocks_always_take_long_is_given_longer() {
    let mut leecher = Leecher::new(2, true);
    leecher.fetch(0);
    leecher.now += PATIENCE - Duration::from_secs(1);
    (0..4).for_each(|nth| leecher.gets(leecher.block(0, nth)).unwrap());
    leecher.events();
    leecher.fetch(1);
    leecher.now += PATIENCE;
    leecher.session.tick(leecher.now).unwrap();
    assert!(leecher.given_back().is_empty());
    leecher.now += PATIENCE;
    leecher.session.tick(leecher.now).unwrap();
    assert_eq!(leecher.given_back(), [(1, 4)], "but not for ever");
}
