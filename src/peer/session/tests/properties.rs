//! With arbitrary input no piece is lost, and nothing is taken that was not requested.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

const PIECES: u32 = 5;

#[derive(Clone, Debug)]
enum Step {
    Choke,
    Unchoke,
    Interested(bool),
    Have(u32),
    HaveAll,
    Request(u32, u32, u32),
    Cancel(u32, u32, u32),
    /// A block of this piece, requested or not.
    Piece(u32, u32),
    /// One of the requested blocks.
    Answer(usize),
    Reject(u32, u32),
    Refuse(usize),
    Extended(Vec<u8>),
    Fetch(u32),
    Lend(u32, u64),
    Help(u32, u64),
    Helped(u32, u32),
    HelpNotNeeded(u32, u32),
    NotHelped(u32, u64),
    SetChoking(bool),
    SetInterested(bool),
    Announce(u32),
    Serve,
    Tick(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (piece, nth) = (0..PIECES + 1, 0u32..5);
    let len = prop_oneof![8 => Just(BLOCK_LEN), 1 => any::<u32>()];
    prop_oneof![
        1 => Just(Step::Choke),
        3 => Just(Step::Unchoke),
        1 => any::<bool>().prop_map(Step::Interested),
        1 => piece.clone().prop_map(Step::Have),
        1 => Just(Step::HaveAll),
        3 => (0..PIECES, nth.clone(), len.clone()).prop_map(|(p, n, l)| Step::Request(p, n, l)),
        1 => (0..PIECES, nth.clone(), len).prop_map(|(p, n, l)| Step::Cancel(p, n, l)),
        1 => (piece.clone(), nth.clone()).prop_map(|(p, n)| Step::Piece(p, n)),
        15 => any::<usize>().prop_map(Step::Answer),
        1 => (0..PIECES, nth.clone()).prop_map(|(p, n)| Step::Reject(p, n)),
        3 => any::<usize>().prop_map(Step::Refuse),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Step::Extended),
        8 => (0..PIECES).prop_map(Step::Fetch),
        3 => (0..PIECES, 10u64..13).prop_map(|(p, id)| Step::Lend(p, id)),
        3 => (0..PIECES, 10u64..13).prop_map(|(p, id)| Step::Help(p, id)),
        4 => (0..PIECES, 0u32..4).prop_map(|(p, n)| Step::Helped(p, n)),
        2 => (0..PIECES, 0u32..4).prop_map(|(p, n)| Step::HelpNotNeeded(p, n)),
        1 => (0..PIECES, 10u64..13).prop_map(|(p, id)| Step::NotHelped(p, id)),
        1 => any::<bool>().prop_map(Step::SetChoking),
        2 => any::<bool>().prop_map(Step::SetInterested),
        1 => (0..PIECES).prop_map(Step::Announce),
        2 => Just(Step::Serve),
        2 => (0u64..40).prop_map(Step::Tick),
    ]
}

/// A session, and the records of what went in and came out.
struct Books {
    leecher: Leecher,
    /// For each piece: how often it was handed in, minus how often it came out.
    held: BTreeMap<u32, i32>,
    /// For each block: how often it was requested, minus how often it was taken.
    asked: HashMap<(u32, u32), i32>,
    pending: Vec<Block>,
}

impl Books {
    fn take(&mut self, step: Step) -> Result<(), Violation> {
        let leecher = &mut self.leecher;
        let wanted = |piece: u32, nth: u32, len: u32| wanted(piece, nth.saturating_mul(BLOCK_LEN), len);
        match step {
            Step::Choke => leecher.hears(Message::Choke)?,
            Step::Unchoke => leecher.hears(Message::Unchoke)?,
            Step::Interested(true) => leecher.hears(Message::Interested)?,
            Step::Interested(false) => leecher.hears(Message::NotInterested)?,
            Step::Have(piece) => leecher.hears(Message::Have(piece))?,
            Step::HaveAll => leecher.hears(Message::HaveAll)?,
            Step::Request(piece, nth, len) => leecher.hears(Message::Request(wanted(piece, nth, len)))?,
            Step::Cancel(piece, nth, len) => leecher.hears(Message::Cancel(wanted(piece, nth, len)))?,
            Step::Piece(piece, nth) => return self.piece(piece, nth),
            Step::Answer(nth) => {
                if let Some(block) = pull(&mut self.pending, nth) {
                    return self.piece(block.piece().index(), block.begin() / BLOCK_LEN);
                }
            }
            Step::Reject(piece, nth) => leecher.hears(Message::Reject(wanted(piece, nth, BLOCK_LEN)))?,
            Step::Refuse(nth) => {
                if let Some(block) = pull(&mut self.pending, nth) {
                    leecher.hears(Message::Reject(block.into()))?;
                }
            }
            Step::Extended(payload) => leecher.hears(Message::Extended { id: 0, payload: &payload })?,
            Step::Fetch(piece) => {
                // The picker gives a piece to one owner at a time.
                if self.held.get(&piece).copied().unwrap_or(0) == 0 {
                    *self.held.entry(piece).or_default() += 1;
                    leecher.fetch(piece);
                }
            }
            Step::Lend(piece, helper) => drop(leecher.lends(piece, ConnId(helper))),
            Step::Help(piece, owner) => {
                let blocks = [leecher.block(piece, 1), leecher.block(piece, 3)];
                leecher.session.help(ConnId(owner), &blocks, leecher.now);
            }
            Step::Helped(piece, nth) => {
                let block = leecher.block(piece, nth);
                leecher.session.helped(block, &leecher.data(block), &identity(9));
            }
            Step::HelpNotNeeded(piece, nth) => leecher.session.help_not_needed(leecher.block(piece, nth)),
            Step::NotHelped(piece, helper) => {
                let blocks: Vec<Block> = (0..4).map(|nth| leecher.block(piece, nth)).collect();
                leecher.session.not_helped(ConnId(helper), &blocks);
            }
            Step::SetChoking(true) => leecher.session.choke(),
            Step::SetChoking(false) => leecher.session.unchoke(),
            Step::SetInterested(interested) => leecher.session.set_interested(interested),
            Step::Announce(piece) => leecher.session.announce(&[leecher.piece(piece)]),
            Step::Serve => leecher.session.next_uploads(1 << 18, &mut Vec::new()),
            Step::Tick(seconds) => {
                leecher.now += Duration::from_secs(seconds);
                leecher.session.tick(leecher.now)?;
            }
        }
        Ok(())
    }

    fn piece(&mut self, piece: u32, nth: u32) -> Result<(), Violation> {
        if piece >= PIECES || nth >= 4 {
            let taken = self.leecher.hears(Message::Piece {
                index: piece,
                begin: nth * BLOCK_LEN,
                data: &[0; 16384],
            });
            assert!(taken.is_err(), "there is no such block");
            return taken;
        }
        let taken = self.leecher.gets(self.leecher.block(piece, nth));
        if taken.is_ok() {
            let asked = self.asked.entry((piece, nth)).or_default();
            *asked -= 1;
            assert!(*asked >= 0, "block {piece}:{nth} was taken more often than it was asked for");
        }
        taken
    }

    /// Records what came out.
    fn settle(&mut self) {
        let bytes: Vec<u8> = self.leecher.session.output(self.leecher.now).drain(..).collect();
        let mut rest = &bytes[..];
        while let Some((message, len)) = wire::decode(rest, 1 << 20).unwrap() {
            if let Message::Request(wanted) = message {
                *self.asked.entry((wanted.index, wanted.begin / BLOCK_LEN)).or_default() += 1;
                self.pending.push(self.leecher.block(wanted.index, wanted.begin / BLOCK_LEN));
            }
            rest = &rest[len..];
        }
        for event in self.leecher.events() {
            match event {
                Event::Complete(partial) => {
                    assert!(partial.is_complete());
                    let at = (partial.piece().index() * PIECE_LEN) as usize;
                    assert_eq!(partial.data(), &self.leecher.content[at..at + PIECE_LEN as usize]);
                    *self.held.entry(partial.piece().index()).or_default() -= 1;
                }
                Event::GaveBack(partials) => {
                    for partial in partials {
                        assert!(!partial.is_complete());
                        *self.held.entry(partial.piece().index()).or_default() -= 1;
                    }
                }
                _ => {}
            }
        }
        assert!(self.held.values().all(|held| (0..=1).contains(held)), "{:?}", self.held);
        assert!(self.leecher.session.uploads.waiting() <= REQQ);
        self.leecher.session.requests.assert_invariant();
    }
}

fn pull<T>(from: &mut Vec<T>, nth: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.remove(nth % from.len()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_no_piece_is_lost_and_nothing_unasked_is_taken(
        steps in prop::collection::vec(step(), 1..150),
        modern: bool,
        window in 1u32..40,
    ) {
        let mut leecher = Leecher::new(PIECES, modern);
        leecher.session.set_window(window);
        let mut books = Books { leecher, held: BTreeMap::new(), asked: HashMap::new(), pending: Vec::new() };
        for step in steps {
            let ended = books.take(step).is_err();
            books.settle();
            if ended {
                break;
            }
        }
        books.leecher.session.give_back_all();
        books.settle();
        prop_assert!(books.held.values().all(|held| *held == 0), "lost: {:?}", books.held);
    }

    #[test]
    fn any_messages_from_a_stranger_give_a_session_or_its_end(
        bodies in prop::collection::vec((0u8..25, prop::collection::vec(any::<u8>(), 0..20)), 0..30),
        noise in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut leecher = Leecher::new(PIECES, true);
        leecher.fetch(0);
        let mut bytes = Vec::new();
        for (id, body) in bodies {
            bytes.extend((body.len() as u32 + 1).to_be_bytes());
            bytes.push(id);
            bytes.extend(body);
        }
        bytes.extend(noise);
        let mut rest = &bytes[..];
        while let Ok(Some((message, len))) = wire::decode(rest, 1 << 16) {
            if leecher.hears(message).is_err() {
                break;
            }
            rest = &rest[len..];
        }
        leecher.session.requests.assert_invariant();
        prop_assert!(leecher.session.uploads.waiting() <= REQQ);
        leecher.session.give_back_all();
        prop_assert_eq!(leecher.given_back(), [(0, 4)], "nothing of it came, and nothing of it is lost");
    }
}
