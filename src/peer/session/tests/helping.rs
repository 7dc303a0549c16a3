//! Blocks that one connection owes and another one fetches, toward the end.

use super::*;

const HELPER: ConnId = ConnId(7);
const OTHER: ConnId = ConnId(8);

fn not_needed(events: &[Event]) -> Vec<(ConnId, u32)> {
    let told = events.iter().filter_map(|event| match event {
        Event::HelpNotNeeded { helper, block } => Some((*helper, block.begin() / BLOCK_LEN)),
        _ => None,
    });
    told.collect()
}

#[test]
fn half_of_what_is_owed_is_lent_and_what_the_helper_brings_is_cancelled_here() {
    let mut leecher = Leecher::new(1, true);
    leecher.fetch(0);
    leecher.says();
    let lent = leecher.lends(0, HELPER);
    assert_eq!(lent, [leecher.block(0, 2), leecher.block(0, 3)]);
    leecher.session.helped(lent[1], &leecher.data(lent[1]), &identity(9));
    assert_eq!(leecher.says(), ["cancel 0:3"]);
    leecher.gets(lent[1]).unwrap(); // it came too, and was not needed
    leecher.gets(lent[0]).unwrap();
    assert_eq!(not_needed(&leecher.events()), [(HELPER, 3), (HELPER, 2)]);
    leecher.gets(leecher.block(0, 0)).unwrap();
    leecher.session.requests.assert_invariant();
    leecher.gets(leecher.block(0, 1)).unwrap();
    match leecher.events().pop() {
        Some(Event::Complete(partial)) => {
            assert_eq!(partial.data(), &leecher.content[..]);
            assert_eq!(partial.contributors(), [identity(9), identity(2)], "it is known who sent what");
        }
        _ => panic!("it is complete"),
    }
    leecher.session.helped(lent[0], &leecher.data(lent[0]), &identity(9)); // too late: nothing happens
    assert!(leecher.events().is_empty() && leecher.says().is_empty());
}

#[test]
fn what_is_not_asked_for_yet_is_asked_for_last_when_it_is_lent() {
    let mut leecher = Leecher::new(2, true);
    leecher.session.set_window(1);
    leecher.fetch(0);
    leecher.fetch(1);
    leecher.lends(0, HELPER);
    let mut order = leecher.says();
    for (piece, nth) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3), (0, 2), (0, 3)] {
        leecher.gets(leecher.block(piece, nth)).unwrap();
        leecher.session.set_window(1);
        leecher.session.ask(leecher.now);
        order.extend(leecher.says());
    }
    let expected =
        ["0:0", "0:1", "1:0", "1:1", "1:2", "1:3", "0:2", "0:3"].map(|block| format!("request {block}"));
    assert_eq!(order, expected);
}

#[test]
fn a_helper_fetches_for_the_owner_and_stops_when_told() {
    let mut helper = Leecher::new(1, true);
    let blocks = [helper.block(0, 2), helper.block(0, 3)];
    helper.session.help(OTHER, &blocks, helper.now);
    assert_eq!(helper.says(), ["request 0:2", "request 0:3"]);
    helper.gets(blocks[0]).unwrap();
    let events = helper.events();
    assert!(matches!(&events[..], [Event::Helped { owner: OTHER, block, data }]
        if *block == blocks[0] && *data == helper.data(blocks[0])));
    helper.session.help_not_needed(blocks[1]);
    assert_eq!(helper.says(), ["cancel 0:3"]);
    helper.session.help_not_needed(blocks[1]);
    assert!(helper.says().is_empty(), "cancelled once");
    helper.gets(blocks[1]).unwrap(); // it was under way
    assert!(helper.events().is_empty());
}

/// Bug: what a helper did not fetch stayed lent, and only the slow owner was left to fetch it.
#[test]
fn help_that_fails_is_lent_again() {
    let not_helping = |helper: &mut Leecher| {
        let events = helper.events();
        let told = events.into_iter().filter_map(|event| match event {
            Event::NotHelping { owner, blocks } => Some((owner, blocks)),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    let mut owner = Leecher::new(1, true);
    owner.fetch(0);
    let lent = owner.lends(0, HELPER);

    let mut choked = Leecher::new(1, true);
    choked.hears(Message::Choke).unwrap();
    choked.session.help(OTHER, &lent, choked.now);
    assert_eq!(not_helping(&mut choked), [(OTHER, lent.clone())], "it was choked before");

    let mut helper = Leecher::new(1, true);
    helper.session.help(OTHER, &lent, helper.now);
    helper.hears(Message::Reject(lent[0].into())).unwrap();
    assert_eq!(not_helping(&mut helper), [(OTHER, vec![lent[0]])], "it was refused");
    helper.session.give_back_all();
    assert_eq!(not_helping(&mut helper), [(OTHER, vec![lent[1]])], "it ends");

    owner.session.not_helped(HELPER, &lent);
    assert_eq!(owner.lends(0, ConnId(9)), lent);
}

#[test]
fn once_all_is_lent_the_same_goes_to_one_more() {
    let mut owner = Leecher::new(1, true);
    owner.fetch(0);
    let mut lent = Vec::new();
    for _ in 0..3 {
        lent.extend(owner.lends(0, HELPER));
    }
    assert_eq!(lent.len(), 4);
    assert!(owner.lends(0, HELPER).is_empty(), "one helper is not asked twice");
    let again = owner.lends(0, OTHER);
    assert_eq!(again, [owner.block(0, 2), owner.block(0, 3)]);
    owner.gets(again[0]).unwrap();
    assert_eq!(not_needed(&owner.events()), [(HELPER, 2), (OTHER, 2)]);
    owner.session.requests.assert_invariant();
    let third = owner.lends(0, ConnId(9));
    assert_eq!(third, [owner.block(0, 1)], "block 3 is with two already");
    assert!(Leecher::new(1, true).lends(0, OTHER).is_empty(), "not its piece");
}

/// Bug: toward the end every idle connection requested the same blocks, and most of what came was of no use.
#[test]
fn a_block_is_lent_to_two_at_most() {
    let mut owner = Leecher::new(1, true);
    owner.fetch(0);
    let mut lent: Vec<Block> = Vec::new();
    for helper in 10..100 {
        lent.extend(owner.lends(0, ConnId(helper)));
    }
    for nth in 0..4 {
        assert_eq!(lent.iter().filter(|block| **block == owner.block(0, nth)).count(), 2);
    }
}

/// All that a slow peer owes goes to other connections, half at a time, and once more to others still.
#[test]
fn in_the_end_everything_owed_is_lent() {
    let mut leecher = Leecher::new(1, true);
    leecher.fetch(0);
    for helper in [7, 8] {
        let lent: Vec<usize> = (0..4).map(|_| leecher.lends(0, ConnId(helper)).len()).collect();
        assert_eq!(lent, [2, 1, 1, 0], "to helper {helper}");
    }
}

#[test]
fn a_block_that_crossed_its_cancel_is_of_no_use() {
    let mut leecher = Leecher::new(1, true);
    leecher.fetch(0);
    let block = leecher.block(0, 1);
    leecher.session.helped(block, &leecher.data(block), &identity(9));
    leecher.events();
    leecher.gets(block).unwrap();
    assert!(late(leecher.events()).is_empty());
}

/// Bug: half of what idle connections took over came twice.
#[test]
fn what_was_asked_for_a_moment_ago_is_not_lent_and_what_usually_takes_longer_not_so_soon() {
    let mut leecher = Leecher::new(2, true);
    leecher.fetch(0);
    let (piece, at) = (leecher.piece(0), |leecher: &Leecher, ms| leecher.now + Duration::from_millis(ms));
    let (soon, later) = (at(&leecher, 499), at(&leecher, 500));
    assert!(leecher.session.lend(piece, HELPER, soon).is_empty());
    assert_eq!(leecher.session.lend(piece, HELPER, later).len(), 2);

    let mut slow = Leecher::new(2, true);
    slow.fetch(0);
    slow.now += Duration::from_secs(4);
    (0..4).for_each(|nth| slow.gets(slow.block(0, nth)).unwrap());
    slow.fetch(1);
    let (piece, soon, later) = (slow.piece(1), at(&slow, 5_999), at(&slow, 6_000));
    assert!(slow.session.lend(piece, HELPER, soon).is_empty(), "its blocks take four seconds");
    assert_eq!(slow.session.lend(piece, HELPER, later).len(), 2);
}
