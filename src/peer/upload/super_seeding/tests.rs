//! Tests of super-seeding: what each peer is shown, and the invariant of `to_give`.

use super::*;
use crate::testing::geometry;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};

const PIECE: u32 = 1 << 14;

fn seeding(pieces: u32, peers: u64) -> (SuperSeeding, Geometry) {
    let geometry = geometry((pieces * PIECE) as usize, PIECE);
    let mut seeding = SuperSeeding::new(&geometry, 7);
    (0..peers).for_each(|id| seeding.joined(ConnId(id)));
    (seeding, geometry)
}

fn pieces(show: Show) -> Vec<Piece> {
    match show {
        Show::Pieces(pieces) => pieces,
        Show::All => panic!("there is something to give yet"),
    }
}

impl SuperSeeding {
    fn assert_invariant(&self) {
        for piece in self.geometry.pieces() {
            let having = self.peers.values().filter(|peer| peer.has.has(piece.index())).count();
            let looks = |peer: &&Peer| peer.shown.has(piece.index()) && !peer.has.has(piece.index());
            let looking = self.peers.values().filter(looks).count();
            assert_eq!((having, looking), (self.holders[at(piece)].into(), self.looking[at(piece)].into()));
            let listed = self.to_give.contains(&(looking as u16, self.order[at(piece)], piece));
            assert_eq!(listed, having == 0);
        }
        assert_eq!(self.to_give.len(), self.holders.iter().filter(|holders| **holders == 0).count());
        for peer in self.peers.values() {
            let open = peer.shown.iter().filter(|index| !peer.has.has(*index)).count();
            assert_eq!(open, peer.open);
        }
    }
}

#[test]
fn each_peer_is_shown_other_pieces_until_all_are_out() {
    let (mut seeding, _) = seeding(40, 4);
    let mut given = HashSet::new();
    while given.len() < 40 {
        for id in (0..4).map(ConnId) {
            let shown = match seeding.show(id, false) {
                Show::Pieces(shown) => shown,
                Show::All => break,
            };
            assert!(shown.len() <= FIRST);
            for piece in shown {
                assert!(given.insert(piece), "{piece:?} went out twice");
                seeding.has(id, [piece]);
            }
        }
    }
    assert!(seeding.is_over());
    assert_eq!(seeding.show(ConnId(0), false), Show::All);
}

#[test]
fn a_piece_that_stays_with_somebody_who_does_not_fetch_it_is_shown_to_others() {
    let (mut seeding, _) = seeding(4, 2);
    let stuck = pieces(seeding.show(ConnId(0), false));
    let fresh = pieces(seeding.show(ConnId(1), false));
    assert!(fresh.iter().all(|piece| !stuck.contains(piece)));
    seeding.has(ConnId(1), fresh);
    let again = pieces(seeding.show(ConnId(1), false));
    assert_eq!(again.iter().collect::<HashSet<_>>(), stuck.iter().collect());
    seeding.has(ConnId(1), again);
    assert!(seeding.is_over());
}

#[test]
fn what_only_one_peer_had_is_given_out_again_when_it_leaves() {
    let (mut seeding, geometry) = seeding(2, 2);
    seeding.has(ConnId(0), geometry.pieces());
    assert!(seeding.is_over());
    seeding.left(ConnId(0));
    assert_eq!(pieces(seeding.show(ConnId(1), false)).len(), 2);
}

#[test]
fn who_passes_on_is_shown_more_at_a_time() {
    let (mut seeding, _) = seeding(100, 3);
    let first = pieces(seeding.show(ConnId(0), true));
    let other = pieces(seeding.show(ConnId(1), true));
    seeding.has(ConnId(0), first.clone());
    assert_eq!(pieces(seeding.show(ConnId(0), true)).len(), FIRST, "it passed on nothing");
    seeding.has(ConnId(2), [first[0]]);
    assert_eq!(pieces(seeding.show(ConnId(0), true)).len(), FIRST, "twice as many, and {FIRST} are open");
    seeding.has(ConnId(1), other);
    assert_eq!(pieces(seeding.show(ConnId(1), true)).len(), FIRST);
    let (mut lone, _) = self::seeding(100, 1);
    assert_eq!(pieces(lone.show(ConnId(0), true)).len(), 2 * FIRST, "there is nobody to pass on to");
}

proptest! {
    #[test]
    fn every_piece_without_a_holder_is_to_be_given(
        steps in prop::collection::vec((0u64..5, 0u8..5, any::<bool>()), 1..200),
    ) {
        let (mut seeding, geometry) = seeding(12, 3);
        let mut random = fastrand::Rng::with_seed(1);
        let mut held: BTreeMap<ConnId, HashSet<Piece>> =
            (0..3).map(|id| (ConnId(id), HashSet::new())).collect();
        for (id, what, idle) in steps {
            let id = ConnId(id);
            let mut got = Vec::new();
            match what {
                0 => {
                    seeding.joined(id);
                    held.entry(id).or_default();
                }
                1 => {
                    seeding.left(id);
                    held.remove(&id);
                }
                2 => got.extend(geometry.piece(random.u32(..12))),
                _ => {
                    let shown = seeding.show(id, idle);
                    if let (Show::Pieces(shown), true) = (shown, what == 3) {
                        got = shown;
                    }
                }
            }
            seeding.has(id, got.clone());
            if let Some(has) = held.get_mut(&id) {
                has.extend(got);
            }
            seeding.assert_invariant();
            let to_give: HashSet<Piece> = seeding.to_give.iter().map(|(_, _, piece)| *piece).collect();
            let is_without = |piece: &Piece| !held.values().any(|has| has.contains(piece));
            prop_assert_eq!(to_give, geometry.pieces().filter(is_without).collect::<HashSet<_>>());
        }
    }
}
