//! Our requests: which blocks are requested, taken and given back.

use super::*;

#[test]
fn a_piece_comes_block_by_block_in_any_order() {
    let mut leecher = Leecher::new(1, true);
    leecher.fetch(0);
    assert_eq!(leecher.says(), ["request 0:0", "request 0:1", "request 0:2", "request 0:3"]);
    for nth in [2, 0, 3] {
        leecher.gets(leecher.block(0, nth)).unwrap();
        assert!(leecher.events().is_empty());
        leecher.session.requests.assert_invariant();
    }
    leecher.gets(leecher.block(0, 1)).unwrap();
    match leecher.events().pop() {
        Some(Event::Complete(partial)) => assert_eq!(partial.data(), &leecher.content[..]),
        _ => panic!("it is complete"),
    }
}

#[test]
fn blocks_nobody_asked_for_are_not_taken() {
    let mut leecher = Leecher::new(2, true);
    leecher.fetch(0);
    let (asked, other) = (leecher.block(0, 1), leecher.block(1, 0));
    let unasked = |block: Block| Err(Violation::Unasked(block.into()));
    assert_eq!(leecher.gets(other), unasked(other));
    leecher.gets(asked).unwrap();
    assert_eq!(leecher.gets(asked), unasked(asked), "it was asked for once");
    for (begin, len) in [(1, BLOCK_LEN), (0, 100), (0, BLOCK_LEN + 1), (PIECE_LEN, 1), (u32::MAX, 0)] {
        let data = vec![0; len as usize];
        let sent = leecher.hears(Message::Piece { index: 0, begin, data: &data });
        assert_eq!(sent, Err(Violation::Unasked(BlockRequest { index: 0, begin, len })));
    }
    assert_eq!(
        leecher.hears(Message::Piece { index: 2, begin: 0, data: &[] }),
        Err(Violation::NoSuchPiece(2))
    );
}

/// Bug: they ended the connection if their piece did not exist, and a peer that sent a few was banned.
#[test]
fn rejects_and_hints_that_mean_nothing_are_ignored() {
    let mut leecher = Leecher::new(1, true);
    leecher.fetch(0);
    for index in [0, 1, 77, u32::MAX] {
        leecher.hears(Message::Suggest(index)).unwrap();
        leecher.hears(Message::AllowedFast(index)).unwrap();
    }
    for (index, begin, len) in [
        (0, 1, BLOCK_LEN),
        (0, 0, 1),
        (0, 0, 0),
        (0, PIECE_LEN, BLOCK_LEN),
        (1, 0, BLOCK_LEN),
        (u32::MAX, 0, 1),
    ] {
        leecher.hears(Message::Reject(wanted(index, begin, len))).unwrap();
    }
    assert!(leecher.given_back().is_empty(), "nobody asked for that");
    leecher.gets(leecher.block(0, 3)).unwrap();
    leecher.session.requests.assert_invariant();
}

#[test]
fn a_choke_gives_back_what_came_and_late_blocks_are_no_crime() {
    let mut leecher = Leecher::new(2, true);
    leecher.fetch(0);
    leecher.fetch(1);
    leecher.gets(leecher.block(0, 0)).unwrap();
    assert!(!leecher.session.is_choked());
    leecher.hears(Message::Choke).unwrap();
    assert_eq!(leecher.given_back(), [(0, 3), (1, 4)]);
    assert!(leecher.session.is_choked() && !leecher.session.wants_work());
    leecher.gets(leecher.block(1, 2)).unwrap(); // it was under way
    leecher.hears(Message::Reject(leecher.block(0, 1).into())).unwrap();
    leecher.fetch(0);
    assert_eq!(leecher.given_back(), [(0, 4)], "there is nothing to ask for while choked");
    leecher.hears(Message::Unchoke).unwrap();
    assert!(leecher.session.wants_work());
    leecher.session.requests.assert_invariant();
}

#[test]
fn a_refused_block_gives_its_piece_back_and_too_many_refusals_end_the_asking() {
    let mut leecher = Leecher::new(3, true);
    (0..3).for_each(|piece| leecher.fetch(piece));
    leecher.hears(Message::Reject(leecher.block(1, 2).into())).unwrap();
    assert_eq!(leecher.given_back(), [(1, 4)]);
    leecher.session.requests.assert_invariant();
    leecher.session.give_back_all();
    leecher.hears(Message::Unchoke).unwrap();
    leecher.given_back();

    let refused = (0..100).take_while(|_| {
        leecher.fetch(1);
        leecher.hears(Message::Reject(leecher.block(1, 0).into())).unwrap();
        assert_eq!(leecher.given_back(), [(1, 4)]);
        leecher.session.wants_work()
    });
    assert_eq!(refused.count(), 15, "sixteen, and it is asked no more");
    leecher.fetch(1);
    assert_eq!(leecher.given_back(), [(1, 4)]);
    leecher.gets(leecher.block(0, 0)).unwrap(); // it was requested at first, and shows good will
    assert!(leecher.session.wants_work());
}
