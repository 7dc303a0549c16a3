//! Pieces that are allowed without an upload slot (BEP 6), in both directions.

use super::*;
use crate::protocol::allowed_fast::SET_SIZE;

/// The session of a peer that has these pieces of a torrent of 20. There was no place for another newcomer
/// when it began.
fn holder(have: &Bitfield, modern: bool) -> (Session, Instant) {
    let (torrent, now) = (torrent(&content(20 * PIECE_LEN as usize), PIECE_LEN), Instant::now());
    let mut session = session(&torrent, have, modern, now);
    says(&mut session, now);
    let is_newcomer = matches!(session.next_event(), Some(Event::Newcomer));
    assert_eq!(is_newcomer, modern && have.count() > 0);
    (session, now)
}

/// The pieces that it allows after it heard the first word of the other side.
fn allowed(session: &mut Session, first: Message<'_>, now: Instant) -> Vec<u32> {
    session.on_message(first, now).unwrap();
    let events: Vec<Event> = std::iter::from_fn(|| session.next_event()).collect();
    if events.iter().any(|event| matches!(event, Event::Newcomer)) {
        session.allow_fast();
    }
    let said = says(session, now);
    let indices = said.iter().filter_map(|said| said.strip_prefix("allowedfast(")?.strip_suffix(')'));
    indices.map(|index| index.parse().unwrap()).collect()
}

fn first(pieces: u32) -> Bitfield {
    let mut bits = Bitfield::new(20);
    (0..pieces).for_each(|index| assert!(bits.set(index)));
    bits
}

#[test]
fn a_newcomer_is_served_allowed_pieces_without_a_slot_and_nothing_else() {
    let (mut seed, now) = holder(&first(20), true);
    let set = allowed(&mut seed, Message::HaveNone, now);
    assert_eq!(set.len(), SET_SIZE);
    for index in 0..20 {
        seed.on_message(Message::Request(wanted(index, 0, BLOCK_LEN)), now).unwrap();
        let said = says(&mut seed, now);
        assert_eq!(said.is_empty(), set.contains(&index), "{index}: {said:?}");
    }
    assert_eq!(seed.uploads_waiting(), SET_SIZE);
    seed.assert_invariant();
}

#[test]
fn only_a_newcomer_is_allowed_pieces_and_only_those_that_it_was_told_of() {
    let nothing: [u32; 0] = [];
    let (mut seed, now) = holder(&first(20), true);
    let most = first(SET_SIZE as u32);
    assert_eq!(allowed(&mut seed, Message::Bitfield(most.as_bytes()), now), nothing);
    let (mut seed, now) = holder(&first(20), false);
    assert_eq!(allowed(&mut seed, Message::Bitfield(first(1).as_bytes()), now), nothing, "it knows no BEP 6");
    let (mut hides, now) = holder(&first(0), true);
    assert_eq!(allowed(&mut hides, Message::HaveNone, now), nothing, "it shows nothing (BEP 16)");
    hides.announce(&hides.torrent().geometry().pieces().collect::<Vec<_>>());
    assert_eq!(allowed(&mut hides, Message::HaveNone, now), nothing, "nor later");
    let (mut half, now) = holder(&first(10), true);
    let set = allowed(&mut half, Message::Bitfield(first(5).as_bytes()), now);
    assert!(!set.is_empty() && set.iter().all(|index| (5..10).contains(index)), "{set:?}");
}

#[test]
fn a_piece_is_allowed_three_times_and_to_a_newcomer_only() {
    let (mut seed, now) = holder(&first(20), true);
    let set = allowed(&mut seed, Message::HaveNone, now);
    let ask = |seed: &mut Session, index, nth| {
        seed.on_message(Message::Request(wanted(index, nth * BLOCK_LEN, BLOCK_LEN)), now).unwrap();
        says(seed, now).is_empty()
    };
    for _ in 0..3 {
        assert!((0..4).all(|nth| ask(&mut seed, set[0], nth)));
    }
    assert!(!ask(&mut seed, set[0], 0), "a fourth time");
    assert!(ask(&mut seed, set[1], 0));
    (0..SET_SIZE as u32).for_each(|index| seed.on_message(Message::Have(index), now).unwrap());
    assert!(!ask(&mut seed, set[1], 1), "it has enough to trade by now");
    seed.unchoke();
    says(&mut seed, now);
    assert!(ask(&mut seed, set[0], 0), "with a slot nothing is counted");
}

#[test]
fn a_choke_voids_no_request_for_an_allowed_piece() {
    let (mut seed, now) = holder(&first(20), true);
    let set = allowed(&mut seed, Message::HaveNone, now);
    let other = (0..20).find(|index| !set.contains(index)).unwrap();
    seed.unchoke();
    for index in [set[0], other] {
        seed.on_message(Message::Request(wanted(index, 0, BLOCK_LEN)), now).unwrap();
    }
    says(&mut seed, now);
    seed.choke();
    assert_eq!(says(&mut seed, now), ["choke", &format!("reject {other}:0")]);
    assert_eq!(seed.uploads_waiting(), 1);
    seed.assert_invariant();
    seed.unchoke();
    for _ in 0..REQQ - 1 {
        seed.on_message(Message::Request(wanted(set[1], 0, BLOCK_LEN)), now).unwrap();
    }
    seed.choke();
    assert_eq!(seed.uploads_waiting() - 1, 12, "three times a piece of four blocks, at a choke too");
}

/// A leecher's session with a seed that chokes it.
fn choked() -> Leecher {
    let mut leecher = Leecher::new(3, true);
    leecher.hears(Message::Choke).unwrap();
    assert!(!leecher.session.wants_work());
    leecher
}

/// Bug: what the other side allowed was ignored, so a newcomer waited for an upload slot to begin.
#[test]
fn what_is_allowed_is_requested_while_choked_and_nothing_else() {
    let mut leecher = choked();
    leecher.hears(Message::AllowedFast(1)).unwrap();
    assert!(leecher.session.wants_work());
    assert_eq!(leecher.session.only(), Some(vec![leecher.piece(1)]));
    leecher.fetch(0);
    assert_eq!((leecher.given_back(), leecher.says().len()), (vec![(0, 4)], 0));
    leecher.fetch(1);
    assert_eq!(leecher.says(), ["request 1:0", "request 1:1", "request 1:2", "request 1:3"]);
    assert!(!leecher.session.wants_work(), "there is nothing else to look for");
    for nth in 0..4 {
        leecher.gets(leecher.block(1, nth)).unwrap();
    }
    assert!(leecher.events().iter().any(|event| matches!(event, Event::Complete(_))));
    leecher.session.announce(&[leecher.piece(1)]);
    assert!(!leecher.session.wants_work(), "it has that piece");
    leecher.hears(Message::Unchoke).unwrap();
    assert_eq!(leecher.session.only(), None);
    assert!(leecher.session.wants_work());
    leecher.session.assert_invariant();
}

#[test]
fn a_choke_gives_back_all_but_what_is_allowed_and_a_refusal_ends_the_promise() {
    let mut leecher = Leecher::new(3, true);
    leecher.hears(Message::AllowedFast(1)).unwrap();
    (0..2).for_each(|index| leecher.fetch(index));
    leecher.hears(Message::Choke).unwrap();
    assert_eq!(leecher.given_back(), [(0, 4)]);
    leecher.session.assert_invariant();
    leecher.gets(leecher.block(1, 0)).unwrap();
    leecher.hears(Message::Reject(leecher.block(1, 1).into())).unwrap();
    assert_eq!(leecher.given_back(), [(1, 3)]);
    assert!(!leecher.session.wants_work());
    leecher.session.assert_invariant();
    leecher.hears(Message::AllowedFast(2)).unwrap();
    leecher.fetch(2);
    leecher.session.give_back_all();
    assert_eq!(leecher.given_back(), [(2, 4)]);
}

/// Bug, found by the simulation: a refusal of a block for another connection took the promise back, but kept
/// our own piece, which nobody would have asked for.
#[test]
fn a_refusal_of_help_gives_back_our_own_piece_too_if_it_is_allowed_no_more() {
    let mut leecher = choked();
    leecher.hears(Message::AllowedFast(1)).unwrap();
    let [first, second] = [0, 1].map(|nth| leecher.block(1, nth));
    leecher.session.help(ConnId(9), &[first, second], leecher.now);
    leecher.fetch(1);
    leecher.says();
    leecher.hears(Message::Reject(first.into())).unwrap();
    leecher.session.assert_invariant();
    let (mut given_back, mut unhelped) = (Vec::new(), Vec::new());
    for event in leecher.events() {
        match event {
            Event::GaveBack(partials) => given_back.extend(partials.iter().map(Partial::piece)),
            Event::NotHelping { blocks, .. } => unhelped.extend(blocks),
            _ => {}
        }
    }
    assert_eq!(given_back, [leecher.piece(1)]);
    assert_eq!(unhelped, [first, second]);
}

#[test]
fn what_the_other_side_lacks_is_not_looked_for_although_it_is_allowed() {
    let (mut session, now) = holder(&first(0), true);
    session.set_interested(true);
    session.on_message(Message::HaveNone, now).unwrap();
    session.on_message(Message::AllowedFast(7), now).unwrap();
    assert!(!session.wants_work());
    session.on_message(Message::Have(7), now).unwrap();
    assert!(session.wants_work());
}

/// Bug: allowed pieces were named only in answer to what the other side has, and a slot is given only in
/// answer to its interest. So a newcomer's first request went out a round trip later than it could.
#[test]
fn a_newcomer_requests_allowed_pieces_in_its_first_answer() {
    let mut leecher = Leecher::new(3, true);
    let mut seed = session(&leecher.torrent, &Bitfield::full(3), true, leecher.now);
    assert!(matches!(seed.next_event(), Some(Event::Newcomer)));
    seed.allow_fast();
    let opening: Vec<u8> = seed.output(leecher.now).drain(..).collect();

    leecher.session = session(&leecher.torrent, &Bitfield::new(3), true, leecher.now);
    let mut rest = &opening[..];
    while let Some((message, len)) = wire::decode(rest, 1 << 20).unwrap() {
        leecher.hears(message).unwrap();
        rest = &rest[len..];
    }
    assert!(matches!(&leecher.events()[..], [Event::Introduced(_), Event::HasPieces(_)]));
    leecher.session.set_interested(true);
    assert!(leecher.session.is_choked() && leecher.session.wants_work());
    leecher.fetch(0);
    let answer: Vec<u8> = leecher.session.output(leecher.now).drain(..).collect();

    let mut rest = &answer[..];
    while let Some((message, len)) = wire::decode(rest, 1 << 20).unwrap() {
        seed.on_message(message, leecher.now).unwrap();
        rest = &rest[len..];
    }
    assert_eq!(seed.uploads_waiting(), 4, "all blocks of the piece");
    assert!(says(&mut seed, leecher.now).is_empty(), "nothing was refused, and nothing is allowed again");
    let events: Vec<Event> = std::iter::from_fn(|| seed.next_event()).collect();
    assert!(!events.iter().any(|event| matches!(event, Event::Newcomer)));
}

#[test]
fn who_turns_out_to_have_enough_gets_nothing_of_what_it_was_allowed() {
    let (torrent, now) = (torrent(&content(20 * PIECE_LEN as usize), PIECE_LEN), Instant::now());
    let mut seed = session(&torrent, &first(20), true, now);
    seed.allow_fast();
    let allowed: Vec<String> = says(&mut seed, now).split_off(2);
    assert_eq!(allowed.len(), SET_SIZE);
    seed.on_message(Message::Bitfield(first(SET_SIZE as u32).as_bytes()), now).unwrap();
    for index in 0..20 {
        seed.on_message(Message::Request(wanted(index, 0, BLOCK_LEN)), now).unwrap();
        assert_eq!(says(&mut seed, now), [format!("reject {index}:0")]);
    }
    assert_eq!(seed.uploads_waiting(), 0);
}
