//! Tests of the picker: by example, and the invariant after every step of random runs.

mod properties;

use super::*;
use crate::testing::{empty, geometry, identity};

const BLOCK: u32 = 16 * 1024;

/// A picker with `pieces` pieces of two blocks each, all of them missing.
fn picker(pieces: u32, seed: u64) -> Picker {
    let geometry = geometry((pieces * BLOCK * 2) as usize, BLOCK * 2);
    Picker::new(geometry, Bitfield::new(pieces), seed)
}

/// `pieces` missing pieces, followed by as many pieces that we have as make the download no longer new.
fn settled_in(pieces: u32, seed: u64) -> Picker {
    let all = pieces + RANDOM_FIRST;
    let geometry = geometry((all * BLOCK * 2) as usize, BLOCK * 2);
    Picker::new(geometry, bits(all, pieces..all), seed)
}

fn memory() -> Option<Buffer> {
    crate::peer::download::memory::Budget::new(usize::MAX).reserve(BLOCK * 2)
}

fn bits(len: u32, pieces: impl IntoIterator<Item = u32>) -> Bitfield {
    let mut bits = Bitfield::new(len);
    pieces.into_iter().for_each(|piece| assert!(bits.set(piece)));
    bits
}

fn join(picker: &mut Picker, peer: u64, has: Bitfield) {
    picker.joined(ConnId(peer));
    picker.peer_has_pieces(ConnId(peer), has);
}

fn fetch(picker: &mut Picker, peer: u64) -> Partial {
    match picker.pick(ConnId(peer), memory()) {
        Pick::Fetch(partial) => partial,
        Pick::Help(piece, _) => panic!("help with {piece:?}"),
        Pick::Nothing { .. } => panic!("nothing"),
    }
}

fn order(picker: &mut Picker, peer: u64, pieces: u32) -> Vec<u32> {
    (0..pieces).map(|_| fetch(picker, peer).piece().index()).collect()
}

fn availability(picker: &Picker, index: u32) -> u16 {
    picker.rarity.of(picker.geometry.piece(index).unwrap())
}

#[test]
fn the_rarest_come_first_and_ties_differ_by_seed() {
    let orders: Vec<Vec<u32>> = (0..5)
        .map(|seed| {
            let mut picker = settled_in(30, seed);
            join(&mut picker, 1, Bitfield::full(34));
            join(&mut picker, 2, bits(34, 10..30));
            join(&mut picker, 3, bits(34, 20..30));
            let order = order(&mut picker, 1, 30);
            // The seed alone has 0 to 9, one other peer 10 to 19, two others 20 to 29
            let rarity = |piece: &u32| piece / 10;
            assert!(order.is_sorted_by_key(rarity), "{order:?}");
            order
        })
        .collect();
    assert!(orders.iter().any(|other| *other != orders[0]), "the same order for every seed: {orders:?}");
}

#[test]
fn what_becomes_rarer_or_more_frequent_moves() {
    let mut picker = settled_in(3, 1);
    join(&mut picker, 1, Bitfield::full(7));
    join(&mut picker, 2, bits(7, [0, 1]));
    join(&mut picker, 3, bits(7, [0, 2]));
    join(&mut picker, 4, bits(7, [2]));
    picker.left(ConnId(3));
    let third = picker.geometry.piece(2).unwrap();
    picker.left(ConnId(4));
    picker.assert_invariant();
    assert_eq!([0, 1, 2].map(|at| availability(&picker, at)), [1, 1, 0]);
    assert_eq!(fetch(&mut picker, 1).piece(), third, "only the seed has it now");
}

#[test]
fn seeds_are_only_counted() {
    let mut picker = picker(50, 1);
    for seed in 0..20 {
        join(&mut picker, seed, Bitfield::full(50));
        picker.assert_invariant();
    }
    assert!((0..50).all(|piece| availability(&picker, piece) == 0), "a seed moves nothing");
    join(&mut picker, 99, Bitfield::new(50));
    for piece in picker.geometry.clone().pieces() {
        assert!(picker.peer_has(ConnId(99), piece));
        picker.assert_invariant();
    }
    assert!((0..50).all(|piece| availability(&picker, piece) == 0), "it turned into a seed");
    (0..20).for_each(|seed| picker.left(ConnId(seed)));
    picker.left(ConnId(99));
    picker.assert_invariant();
}

#[test]
fn what_was_begun_is_finished_first() {
    let mut picker = picker(40, 1);
    join(&mut picker, 1, Bitfield::full(40));
    join(&mut picker, 2, Bitfield::full(40));
    let mut partial = fetch(&mut picker, 1);
    let piece = partial.piece();
    let block = picker.geometry.block(piece, 1);
    partial.put(block, &[7; BLOCK as usize], &identity(1));
    picker.gave_back(partial, ConnId(1));
    picker.assert_invariant();
    let partial = fetch(&mut picker, 2);
    assert_eq!((partial.piece(), partial.missing()), (piece, 1));
    assert!(!partial.lacks(block));
}

#[test]
fn without_memory_only_what_was_begun_goes_on() {
    let mut picker = picker(4, 1);
    join(&mut picker, 1, Bitfield::full(4));
    join(&mut picker, 2, Bitfield::full(4));
    assert!(matches!(picker.pick(ConnId(1), None), Pick::Nothing { interesting: true }));
    let mut partial = fetch(&mut picker, 1);
    let piece = partial.piece();
    assert!(matches!(picker.pick(ConnId(2), None), Pick::Help(other, ConnId(1)) if other == piece));
    partial.put(picker.geometry.block(piece, 0), &[7; BLOCK as usize], &identity(1));
    picker.gave_back(partial, ConnId(1));
    assert!(matches!(picker.pick(ConnId(2), None), Pick::Fetch(again) if again.piece() == piece));
}

#[test]
fn the_least_helped_is_helped_next_and_nobody_helps_himself() {
    let mut picker = picker(2, 1);
    for peer in 1..=3 {
        join(&mut picker, peer, Bitfield::full(2));
    }
    let first = fetch(&mut picker, 1).piece();
    let second = fetch(&mut picker, 2).piece();
    let mut helped = Vec::new();
    for _ in 0..40 {
        match picker.pick(ConnId(3), memory()) {
            Pick::Help(piece, owner) => {
                assert_eq!(owner, ConnId(if piece == first { 1 } else { 2 }));
                helped.push(piece);
            }
            _ => panic!("there is always somebody to help"),
        }
    }
    assert_eq!(helped.iter().filter(|piece| **piece == first).count(), 20);
    assert!(matches!(picker.pick(ConnId(1), memory()), Pick::Help(piece, ConnId(2)) if piece == second));
}

/// Bug: with help from a liar every copy arrived broken, and it was never clear who had lied.
#[test]
fn a_piece_that_came_broken_is_fetched_from_one_peer_alone() {
    let mut picker = picker(1, 1);
    join(&mut picker, 1, Bitfield::full(1));
    join(&mut picker, 2, Bitfield::full(1));
    let piece = fetch(&mut picker, 1).piece();
    assert!(picker.checking(piece, ConnId(1)));
    picker.broken(piece);
    picker.assert_invariant();
    let mut partial = fetch(&mut picker, 1);
    assert!(matches!(picker.pick(ConnId(2), memory()), Pick::Nothing { interesting: true }), "no help");
    partial.put(picker.geometry.block(piece, 0), &[7; BLOCK as usize], &identity(1));
    picker.gave_back(partial, ConnId(1));
    assert_eq!(fetch(&mut picker, 2).missing(), 2, "nothing is kept of what the other sent");
    assert!(picker.checking(piece, ConnId(2)));
    picker.good(piece);
    picker.assert_invariant();
    assert!(picker.alone.is_empty() && picker.is_complete());
}

/// Bug: a piece that a connection had begun was checked on the disk as well, and so was in two states.
#[test]
fn a_piece_under_way_is_not_doubted() {
    let mut picker = picker(2, 1);
    join(&mut picker, 1, Bitfield::full(2));
    let piece = fetch(&mut picker, 1).piece();
    let other = picker.geometry.pieces().find(|other| *other != piece).unwrap();
    assert!(!picker.mark_unverified(piece));
    assert!(picker.mark_unverified(other));
    picker.assert_invariant();
    assert_eq!(picker.checking_count(), 1);
    picker.good(other);
    assert!(!picker.mark_unverified(other));
}

#[test]
fn only_the_owner_finishes_or_gives_back() {
    let mut picker = picker(1, 1);
    join(&mut picker, 1, Bitfield::full(1));
    join(&mut picker, 2, Bitfield::full(1));
    let piece = fetch(&mut picker, 1).piece();
    assert!(!picker.checking(piece, ConnId(2)));
    picker.gave_back(empty(&picker.geometry.clone(), piece), ConnId(2));
    assert!(matches!(picker.pick(ConnId(2), memory()), Pick::Help(_, ConnId(1))), "still in flight");
    picker.left(ConnId(1));
    assert!(!picker.checking(piece, ConnId(1)), "it left");
    assert_eq!(fetch(&mut picker, 2).piece(), piece);
    picker.assert_invariant();
}

/// A rare piece comes from few peers, and slowly; until it is complete there is nothing to trade.
#[test]
fn the_first_pieces_are_left_to_chance() {
    let firsts: Vec<u32> = (0..40)
        .map(|seed| {
            let mut picker = picker(40, seed);
            join(&mut picker, 1, Bitfield::full(40));
            join(&mut picker, 2, bits(40, 1..40));
            let first = fetch(&mut picker, 1).piece();
            assert!(picker.checking(first, ConnId(1)));
            picker.good(first);
            first.index()
        })
        .collect();
    let distinct: std::collections::BTreeSet<u32> = firsts.iter().copied().collect();
    assert!(distinct.len() > 15, "with the rarest first each of them would be 0: {firsts:?}");

    let mut picker = picker(40, 1);
    join(&mut picker, 1, Bitfield::full(40));
    join(&mut picker, 2, bits(40, 20..40));
    for _ in 0..RANDOM_FIRST {
        let piece = fetch(&mut picker, 1).piece();
        assert!(picker.checking(piece, ConnId(1)));
        picker.good(piece);
    }
    let rare = (0..20).filter(|piece| !picker.have.has(*piece)).count() as u32;
    assert!(
        order(&mut picker, 1, rare).iter().all(|piece| *piece < 20),
        "from then on the rarest come first"
    );
}

#[test]
fn in_order_means_from_the_first_to_the_last_that_is_wanted() {
    let mut picker = picker(40, 1);
    picker.in_order();
    picker.want_only(bits(40, (0..40).filter(|piece| piece % 3 == 0)));
    join(&mut picker, 1, Bitfield::full(40));
    join(&mut picker, 2, bits(40, 6..40));
    picker.assert_invariant();
    assert_eq!(fetch(&mut picker, 2).piece().index(), 6, "the first that this one has");
    assert_eq!(order(&mut picker, 1, 12), [0, 3, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36]);
    assert_eq!(fetch(&mut picker, 1).piece().index(), 39);
    assert!(matches!(picker.pick(ConnId(1), memory()), Pick::Help(_, ConnId(2))), "the endgame as usual");
}

#[test]
fn what_is_not_wanted_is_not_fetched_but_kept_if_it_is_there() {
    let mut picker = picker(10, 1);
    picker.want_only(bits(10, [2, 3]));
    picker.joined(ConnId(1));
    assert!(!picker.peer_has_pieces(ConnId(1), bits(10, [0, 1, 9])), "nothing of interest");
    assert!(matches!(picker.pick(ConnId(1), memory()), Pick::Nothing { interesting: false }));
    assert!(picker.peer_has(ConnId(1), picker.geometry.piece(2).unwrap()));
    let first = picker.geometry.piece(0).unwrap();
    assert!(picker.mark_unverified(first), "it may be on the disk all the same");
    picker.assert_invariant();
    picker.good(first);
    assert!(picker.have().has(0) && !picker.is_complete());
    let second = picker.geometry.piece(1).unwrap();
    assert!(picker.mark_unverified(second));
    picker.bad(second);
    picker.assert_invariant();
    assert_eq!(fetch(&mut picker, 1).piece().index(), 2);
    assert!(matches!(picker.pick(ConnId(1), memory()), Pick::Nothing { interesting: true }));
    for index in [2, 3] {
        join(&mut picker, 2, Bitfield::full(10));
        let piece =
            if index == 2 { picker.geometry.piece(2).unwrap() } else { fetch(&mut picker, 2).piece() };
        let owner = if index == 2 { ConnId(1) } else { ConnId(2) };
        assert!(picker.checking(piece, owner));
        picker.good(piece);
    }
    assert!(picker.is_complete() && !picker.have().is_full());
    assert!(!picker.lacks_any(&Bitfield::full(10)));
}

/// After each peer that gives up a piece which must come from one peer alone, the next one gets more time.
#[test]
fn whoever_gives_up_a_lone_piece_is_counted() {
    let mut picker = picker(1, 1);
    join(&mut picker, 1, Bitfield::full(1));
    let piece = fetch(&mut picker, 1).piece();
    assert!(picker.checking(piece, ConnId(1)));
    picker.broken(piece);
    for tries in 0..3 {
        let mut partial = fetch(&mut picker, 1);
        assert_eq!((partial.tries(), partial.missing()), (Some(tries), 2));
        partial.put(picker.geometry.block(piece, 0), &[7; BLOCK as usize], &identity(1));
        picker.gave_back(partial, ConnId(1));
    }
    let last = fetch(&mut picker, 1);
    assert!(picker.checking(last.piece(), ConnId(1)));
    picker.good(piece);
    picker.assert_invariant();
}

/// The same seed and the same events give the same pieces. The simulator depends on it.
#[test]
fn a_seed_replays_every_choice() {
    let run = || {
        let mut picker = picker(200, 7);
        let mut random = fastrand::Rng::with_seed(3);
        for peer in 0..20 {
            join(&mut picker, peer, bits(200, (0..200).filter(|_| random.bool())));
        }
        let mut trace = Vec::new();
        let mut flying: Vec<(Partial, ConnId)> = Vec::new();
        for _ in 0..600 {
            let peer = random.u64(0..20);
            match picker.pick(ConnId(peer), memory()) {
                Pick::Fetch(partial) => {
                    trace.push((peer, partial.piece().index()));
                    flying.push((partial, ConnId(peer)));
                }
                Pick::Help(piece, owner) => trace.push((owner.0, piece.index())),
                Pick::Nothing { .. } => trace.push((peer, u32::MAX)),
            }
            if random.u8(0..3) == 0 && !flying.is_empty() {
                let (mut partial, owner) = flying.swap_remove(random.usize(..flying.len()));
                let block = picker.geometry.block(partial.piece(), 0);
                partial.put(block, &[1; BLOCK as usize], &identity(1));
                picker.gave_back(partial, owner);
            }
        }
        trace
    };
    assert_eq!(run(), run());
}

#[test]
fn strangers_get_nothing() {
    let mut picker = picker(3, 1);
    assert!(matches!(picker.pick(ConnId(9), memory()), Pick::Nothing { interesting: false }));
    assert!(!picker.peer_has_pieces(ConnId(9), Bitfield::full(3)));
    assert!(!picker.peer_has(ConnId(9), picker.geometry.piece(1).unwrap()));
    picker.left(ConnId(9));
    picker.assert_invariant();
}

const PIECES: u32 = 12;
const PEERS: u64 = 5;

/// Bug: a peer that needed longer for a block than the patience was asked for it again and again, and never
/// got one to us.
#[test]
fn a_block_that_comes_late_is_not_lost() {
    let mut picker = picker(1, 1);
    let geometry = picker.geometry.clone();
    let piece = geometry.piece(0).unwrap();
    let blocks = [geometry.block(piece, 0), geometry.block(piece, 1)];
    let data = [7; BLOCK as usize];
    join(&mut picker, 1, Bitfield::full(1));
    join(&mut picker, 2, Bitfield::full(1));

    let partial = fetch(&mut picker, 1);
    picker.gave_back(partial, ConnId(1)); // no block had arrived, so nothing is kept
    assert!(
        matches!(picker.late(blocks[0], &data, &identity(1), None), Late::Done),
        "there is no memory for it"
    );
    assert!(matches!(picker.late(blocks[0], &data, &identity(1), memory()), Late::Done));
    picker.assert_invariant();
    let partial = fetch(&mut picker, 2);
    assert_eq!(partial.missing(), 1, "the next goes on from there");
    let late = picker.late(blocks[1], &data, &identity(1), None);
    assert!(matches!(late, Late::Of(ConnId(2))), "it may have a use for it");

    picker.gave_back(partial, ConnId(2));
    match picker.late(blocks[1], &data, &identity(2), None) {
        Late::Complete(partial) => assert_eq!(partial.contributors(), [identity(1), identity(2)]),
        _ => panic!("it was the last"),
    }
    picker.assert_invariant();
    assert!(
        matches!(picker.late(blocks[1], &data, &identity(1), memory()), Late::Done),
        "it is being checked"
    );
    picker.broken(piece);
    assert!(
        matches!(picker.late(blocks[0], &data, &identity(1), memory()), Late::Done),
        "it is to come from one peer"
    );
    picker.assert_invariant();
}

#[test]
fn a_connection_that_may_fetch_only_some_pieces_gets_one_of_them_and_helps_with_none() {
    let mut picker = picker(4, 0);
    let pieces: Vec<Piece> = picker.geometry.pieces().collect();
    (1..3).for_each(|peer| join(&mut picker, peer, Bitfield::full(4)));
    let among = |picker: &mut Picker, peer| picker.pick_among(ConnId(peer), &pieces[2..3], memory());
    assert!(matches!(among(&mut picker, 1), Pick::Fetch(partial) if partial.piece() == pieces[2]));
    assert!(matches!(among(&mut picker, 2), Pick::Nothing { interesting: true }), "the first fetches it");
    picker.left(ConnId(1));
    assert!(matches!(among(&mut picker, 2), Pick::Fetch(partial) if partial.piece() == pieces[2]));
    assert!(matches!(picker.pick(ConnId(2), memory()), Pick::Fetch(_)), "it has the others, too");
    picker.assert_invariant();
}
