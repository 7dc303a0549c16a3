//! Any order of events: no piece is lost, none is fetched twice, and the books agree.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Join(u64),
    HasPieces(u64, u16),
    Has(u64, u32),
    Leave(u64),
    Pick(u64, bool),
    /// One of the pieces in flight, chosen by index, is given back; before that some of its blocks arrive.
    GiveBack(usize, bool),
    Complete(usize),
    /// One of the pieces being checked, chosen by index, turns out good, bad or broken.
    Checked(usize, u8),
    MarkUnverified(u32),
    DropLeftovers,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..PEERS).prop_map(Step::Join),
        2 => (0..PEERS, any::<u16>()).prop_map(|(peer, bits)| Step::HasPieces(peer, bits)),
        3 => (0..PEERS, 0..PIECES).prop_map(|(peer, piece)| Step::Has(peer, piece)),
        1 => (0..PEERS).prop_map(Step::Leave),
        8 => (0..PEERS, prop::bool::weighted(0.8)).prop_map(|(peer, memory)| Step::Pick(peer, memory)),
        2 => (0usize..8, any::<bool>()).prop_map(|(nth, some)| Step::GiveBack(nth, some)),
        4 => (0usize..8).prop_map(Step::Complete),
        4 => (0usize..8, 0u8..3).prop_map(|(nth, what)| Step::Checked(nth, what)),
        1 => (0..PIECES).prop_map(Step::MarkUnverified),
        1 => Just(Step::DropLeftovers),
    ]
}

/// A picker, and what the rest of the engine would hold.
struct World {
    picker: Picker,
    here: Vec<u64>,
    flying: Vec<(Partial, ConnId)>,
    checking: Vec<Piece>,
}

impl World {
    fn take(&mut self, step: Step) {
        match step {
            Step::Join(peer) if !self.here.contains(&peer) => {
                self.here.push(peer);
                self.picker.joined(ConnId(peer));
            }
            Step::Join(_) => {}
            Step::HasPieces(peer, bits) => {
                let bits = self::bits(PIECES, (0..PIECES).filter(|piece| bits >> piece & 1 == 1));
                self.picker.peer_has_pieces(ConnId(peer), bits);
            }
            Step::Has(peer, piece) => {
                let piece = self.picker.geometry.piece(piece).unwrap();
                self.picker.peer_has(ConnId(peer), piece);
            }
            Step::Leave(peer) => {
                self.here.retain(|other| *other != peer);
                self.picker.left(ConnId(peer)); // pieces that it still holds are given back too late
            }
            Step::Pick(peer, memory) => self.pick(ConnId(peer), memory),
            Step::GiveBack(nth, some) => self.give_back(nth, some),
            Step::Complete(nth) => {
                if let Some((partial, owner)) = pull(&mut self.flying, nth)
                    && self.picker.checking(partial.piece(), owner)
                {
                    self.checking.push(partial.piece());
                }
            }
            Step::Checked(nth, what) => {
                let Some(piece) = pull(&mut self.checking, nth) else { return };
                match what {
                    0 => self.picker.good(piece),
                    1 => self.picker.bad(piece),
                    _ => self.picker.broken(piece),
                }
            }
            Step::MarkUnverified(piece) => {
                let piece = self.picker.geometry.piece(piece).unwrap();
                if self.picker.mark_unverified(piece) {
                    self.checking.push(piece);
                }
            }
            Step::DropLeftovers => drop(self.picker.drop_leftovers()),
        }
    }

    fn pick(&mut self, peer: ConnId, has_memory: bool) {
        let had = self.picker.peers.get(&peer).map(|its| its.bits().clone());
        match self.picker.pick(peer, memory().filter(|_| has_memory)) {
            Pick::Fetch(partial) => {
                assert!(had.unwrap().has(partial.piece().index()), "the peer does not have it");
                assert!(self.picker.wanted.has(partial.piece().index()), "nobody wants it");
                assert_eq!(self.picker.owner(partial.piece()), Some(peer));
                self.flying.push((partial, peer));
            }
            Pick::Help(piece, owner) => {
                assert!(had.unwrap().has(piece.index()) && owner != peer);
                assert_eq!(self.picker.owner(piece), Some(owner));
            }
            Pick::Nothing { interesting } => {
                let lacks = had.is_some_and(|had| had.iter().any(|piece| self.lacks(piece)));
                assert_eq!(interesting, lacks);
            }
        }
    }

    fn lacks(&self, piece: u32) -> bool {
        self.picker.wanted.has(piece) && !self.picker.have.has(piece)
    }

    fn give_back(&mut self, nth: usize, some: bool) {
        let Some((mut partial, owner)) = pull(&mut self.flying, nth) else { return };
        let first =
            partial.missing_blocks(&self.picker.geometry).next().filter(|_| some && partial.missing() > 1);
        if let Some(block) = first {
            partial.put(block, &[1; BLOCK as usize], &identity(owner.0 as u8));
        }
        self.picker.gave_back(partial, owner);
    }
}

fn pull<T>(from: &mut Vec<T>, nth: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.remove(nth % from.len()))
}

proptest! {
    #[test]
    fn whatever_happens_each_piece_is_in_one_state(
        steps in prop::collection::vec(step(), 1..120), seed: u64, wanted: Option<u16>, in_order: bool,
    ) {
        let mut picker = picker(PIECES, seed);
        if let Some(wanted) = wanted {
            picker.want_only(self::bits(PIECES, (0..PIECES).filter(|piece| wanted >> piece & 1 == 1)));
        }
        if in_order {
            picker.in_order();
        }
        let mut world = World { picker, here: Vec::new(), flying: Vec::new(), checking: Vec::new() };
        for step in steps {
            world.take(step);
            world.picker.assert_invariant();
        }
        // From any state that this leads to, one seed completes the download.
        for peer in 0..PEERS {
            world.picker.left(ConnId(peer));
        }
        world.flying.clear();
        world.checking.drain(..).for_each(|piece| world.picker.bad(piece));
        join(&mut world.picker, 77, Bitfield::full(PIECES));
        while !world.picker.is_complete() {
            let piece = fetch(&mut world.picker, 77).piece();
            prop_assert!(world.picker.checking(piece, ConnId(77)));
            world.picker.good(piece);
            world.picker.assert_invariant();
        }
    }
}
