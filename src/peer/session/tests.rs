//! The session: every path by example, two ends on a wire in memory, and anything at all.

use super::*;
use crate::peer::download::picker::{Pick, Picker};
use crate::protocol::extension;
use crate::protocol::handshake::PeerId;
use crate::testing::*;
use crate::torrent::BLOCK_LEN;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// Four blocks, the last one short.
const PIECE_LEN: u32 = 4 * BLOCK_LEN;

fn session(torrent: &Arc<Torrent>, have: &Bitfield, modern: bool, now: Instant) -> Session {
    Session::new(Arc::clone(torrent), agreement(2, modern), source(2), have, None, now)
}

/// A leecher's session with a seed that serves it, and what it has to fetch.
struct Leecher {
    session: Session,
    torrent: Arc<Torrent>,
    content: Vec<u8>,
    now: Instant,
}

impl Leecher {
    fn new(pieces: u32, modern: bool) -> Self {
        let content = content((pieces * PIECE_LEN) as usize);
        let (torrent, now) = (torrent(&content, PIECE_LEN), Instant::now());
        let mut leecher = Leecher {
            session: session(&torrent, &Bitfield::new(pieces), modern, now),
            torrent,
            content,
            now,
        };
        leecher.hears(Message::Bitfield(Bitfield::full(pieces).as_bytes())).unwrap();
        leecher.session.set_interested(true);
        leecher.hears(Message::Unchoke).unwrap();
        leecher.says();
        leecher.events();
        leecher
    }

    fn hears(&mut self, message: Message<'_>) -> Result<(), Violation> {
        self.session.on_message(message, self.now)
    }

    /// What the session sent since the last time, in words.
    fn says(&mut self) -> Vec<String> {
        says(&mut self.session, self.now)
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.next_event()).collect()
    }

    fn piece(&self, index: u32) -> Piece {
        self.torrent.geometry().piece(index).unwrap()
    }

    fn block(&self, piece: u32, nth: u32) -> Block {
        self.torrent.geometry().block(self.piece(piece), nth)
    }

    fn fetch(&mut self, piece: u32) {
        let partial = empty(self.torrent.geometry(), self.piece(piece));
        self.session.fetch(partial, self.now);
    }

    /// What it lends when what it asked for is no longer to be expected any moment.
    fn lends(&mut self, piece: u32, helper: ConnId) -> Vec<Block> {
        self.session.lend(self.piece(piece), helper, self.now + Duration::from_secs(1))
    }

    fn data(&self, block: Block) -> Vec<u8> {
        let at = (block.piece().index() * PIECE_LEN + block.begin()) as usize;
        self.content[at..at + block.len() as usize].to_vec()
    }

    fn gets(&mut self, block: Block) -> Result<(), Violation> {
        let data = self.data(block);
        self.hears(Message::Piece { index: block.piece().index(), begin: block.begin(), data: &data })
    }

    fn given_back(&mut self) -> Vec<(u32, u32)> {
        let given_back = self.events().into_iter().filter_map(|event| match event {
            Event::GaveBack(partials) => Some(partials),
            _ => None,
        });
        given_back.flatten().map(|partial| (partial.piece().index(), partial.missing())).collect()
    }
}

fn says(session: &mut Session, now: Instant) -> Vec<String> {
    let bytes: Vec<u8> = session.output(now).drain(..).collect();
    let mut rest = &bytes[..];
    let mut said = Vec::new();
    while let Some((message, len)) = wire::decode(rest, 1 << 20).unwrap() {
        said.push(match message {
            Message::Request(w) => format!("request {}:{}", w.index, w.begin / BLOCK_LEN),
            Message::Cancel(w) => format!("cancel {}:{}", w.index, w.begin / BLOCK_LEN),
            Message::Reject(w) => format!("reject {}:{}", w.index, w.begin / BLOCK_LEN),
            Message::Have(index) => format!("have {index}"),
            Message::Bitfield(_) => "bitfield".to_owned(),
            Message::Extended { .. } => "hello".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        });
        rest = &rest[len..];
    }
    assert!(rest.is_empty());
    said
}

// ---- the opening ------------------------------------------------------------------------------------------------

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

/// aria2 sends a second bitfield in place of many haves; it was taken for a violation.
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

// ---- fetching ---------------------------------------------------------------------------------------------------

#[test]
fn a_piece_comes_block_by_block_in_any_order() {
    let mut leecher = Leecher::new(1, true);
    leecher.fetch(0);
    assert_eq!(leecher.says(), ["request 0:0", "request 0:1", "request 0:2", "request 0:3"]);
    for nth in [2, 0, 3] {
        leecher.gets(leecher.block(0, nth)).unwrap();
        assert!(leecher.events().is_empty());
        leecher.session.fetching.assert_invariant();
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
        assert_eq!(sent, Err(Violation::Unasked(Wanted { index: 0, begin, len })));
    }
    assert_eq!(
        leecher.hears(Message::Piece { index: 2, begin: 0, data: &[] }),
        Err(Violation::NoSuchPiece(2))
    );
}

#[test]
fn a_choke_gives_back_what_came_and_late_blocks_are_no_crime() {
    let mut leecher = Leecher::new(2, true);
    leecher.fetch(0);
    leecher.fetch(1);
    leecher.gets(leecher.block(0, 0)).unwrap();
    leecher.hears(Message::Choke).unwrap();
    assert_eq!(leecher.given_back(), [(0, 3), (1, 4)]);
    assert!(!leecher.session.wants_work());
    leecher.gets(leecher.block(1, 2)).unwrap(); // it was under way
    leecher.hears(Message::Reject(leecher.block(0, 1).into())).unwrap();
    leecher.fetch(0);
    assert_eq!(leecher.given_back(), [(0, 4)], "there is nothing to ask for while choked");
    leecher.hears(Message::Unchoke).unwrap();
    assert!(leecher.session.wants_work());
    leecher.session.fetching.assert_invariant();
}

#[test]
fn a_refused_block_gives_its_piece_back_and_too_many_refusals_end_the_asking() {
    let mut leecher = Leecher::new(3, true);
    (0..3).for_each(|piece| leecher.fetch(piece));
    leecher.hears(Message::Reject(leecher.block(1, 2).into())).unwrap();
    assert_eq!(leecher.given_back(), [(1, 4)]);
    leecher.session.fetching.assert_invariant();
    leecher.session.abandon();
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
    leecher.gets(leecher.block(0, 0)).unwrap(); // it was asked for at first, and shows good will
    assert!(leecher.session.wants_work());
}

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

/// The patience began anew with each unchoke, so that a peer could sit on pieces for ever.
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

// ---- helping ----------------------------------------------------------------------------------------------------

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
    leecher.session.helped(lent[1], &leecher.data(lent[1]), &source(9));
    assert_eq!(leecher.says(), ["cancel 0:3"]);
    leecher.gets(lent[1]).unwrap(); // it came all the same, in vain
    leecher.gets(lent[0]).unwrap();
    assert_eq!(not_needed(&leecher.events()), [(HELPER, 3), (HELPER, 2)]);
    leecher.gets(leecher.block(0, 0)).unwrap();
    leecher.session.fetching.assert_invariant();
    leecher.gets(leecher.block(0, 1)).unwrap();
    match leecher.events().pop() {
        Some(Event::Complete(partial)) => {
            assert_eq!(partial.data(), &leecher.content[..]);
            assert_eq!(partial.sources(), [source(9), source(2)], "it is known who sent what");
        }
        _ => panic!("it is complete"),
    }
    leecher.session.helped(lent[0], &leecher.data(lent[0]), &source(9)); // too late: nothing happens
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

/// What a helper did not fetch stayed lent, and only the slow owner was left to fetch it.
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
    helper.session.abandon();
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
    owner.session.fetching.assert_invariant();
    let third = owner.lends(0, ConnId(9));
    assert_eq!(third, [owner.block(0, 1)], "block 3 is with two already");
    assert!(Leecher::new(1, true).lends(0, OTHER).is_empty(), "not its piece");
}

/// Toward the end every idle connection asked for the same blocks, and most of what came was of no use.
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

// ---- serving ----------------------------------------------------------------------------------------------------

/// A seed's session.
fn seed(modern: bool) -> (Session, Arc<Torrent>, Instant) {
    let (torrent, now) = (torrent(&content(2 * PIECE_LEN as usize), PIECE_LEN), Instant::now());
    let mut session = session(&torrent, &Bitfield::full(2), modern, now);
    says(&mut session, now);
    (session, torrent, now)
}

fn wanted(index: u32, begin: u32, len: u32) -> Wanted {
    Wanted { index, begin, len }
}

#[test]
fn requests_are_served_in_order_in_runs_of_neighbours() {
    let (mut seed, _, now) = seed(true);
    seed.unchoke();
    for nth in [0, 1, 2, 0] {
        seed.on_message(Message::Request(wanted(0, nth * BLOCK_LEN, BLOCK_LEN)), now).unwrap();
    }
    seed.on_message(Message::Request(wanted(1, BLOCK_LEN, BLOCK_LEN)), now).unwrap();
    let mut run = Vec::new();
    let mut runs = Vec::new();
    while seed.has_uploads() {
        seed.next_uploads(2 * BLOCK_LEN, &mut run);
        runs.push(
            run.iter().map(|block| (block.piece().index(), block.begin() / BLOCK_LEN)).collect::<Vec<_>>(),
        );
    }
    assert_eq!(runs, [vec![(0, 0), (0, 1)], vec![(0, 2)], vec![(0, 0)], vec![(1, 1)]]);
}

#[test]
fn requests_outside_pieces_end_it() {
    let (mut seed, _, now) = seed(true);
    seed.unchoke();
    for bad in [
        wanted(2, 0, BLOCK_LEN),
        wanted(u32::MAX, 0, BLOCK_LEN),
        wanted(0, PIECE_LEN, 1),
        wanted(0, u32::MAX, BLOCK_LEN),
        wanted(0, 0, 0),
        wanted(0, 0, 128 * 1024 + 1),
        wanted(0, PIECE_LEN - 1, 2),
    ] {
        assert_eq!(seed.on_message(Message::Request(bad), now), Err(Violation::BadRequest(bad)));
        assert_eq!(seed.on_message(Message::Cancel(bad), now), Err(Violation::BadRequest(bad)));
    }
    seed.on_message(Message::Request(wanted(0, PIECE_LEN - 1, 1)), now).unwrap();
    assert!(seed.has_uploads());
}

#[test]
fn no_more_requests_are_kept_than_we_said() {
    for modern in [true, false] {
        let (mut seed, _, now) = seed(modern);
        seed.unchoke();
        says(&mut seed, now);
        let request = Message::Request(wanted(0, 0, BLOCK_LEN));
        for _ in 0..REQQ {
            seed.on_message(request, now).unwrap();
        }
        let one_more = seed.on_message(request, now);
        assert_eq!(one_more, if modern { Ok(()) } else { Err(Violation::TooManyRequests) });
        assert_eq!(says(&mut seed, now).len(), usize::from(modern), "a refusal where they are understood");
        assert_eq!(seed.serving.waiting(), REQQ);
    }
}

#[test]
fn choked_peers_get_refusals_or_nothing_and_a_choke_empties_the_queue() {
    for modern in [true, false] {
        let (mut seed, _, now) = seed(modern);
        let request = Message::Request(wanted(0, 0, BLOCK_LEN));
        seed.on_message(request, now).unwrap();
        assert!(!seed.has_uploads());
        seed.unchoke();
        seed.unchoke();
        seed.on_message(request, now).unwrap();
        assert!(seed.has_uploads());
        seed.choke();
        seed.choke();
        assert!(!seed.has_uploads());
        let refusals = ["reject 0:0", "unchoke", "choke", "reject 0:0"];
        let expected: Vec<&str> =
            refusals.into_iter().filter(|said| modern || !said.starts_with("reject")).collect();
        assert_eq!(says(&mut seed, now), expected);
    }
}

#[test]
fn a_cancelled_request_is_not_served() {
    let (mut seed, _, now) = seed(true);
    seed.unchoke();
    says(&mut seed, now);
    for nth in 0..3 {
        seed.on_message(Message::Request(wanted(0, nth * BLOCK_LEN, BLOCK_LEN)), now).unwrap();
    }
    let second = Message::Cancel(wanted(0, BLOCK_LEN, BLOCK_LEN));
    seed.on_message(second, now).unwrap();
    seed.on_message(second, now).unwrap(); // served or cancelled already: nothing to do
    assert_eq!(says(&mut seed, now), ["reject 0:1"]);
    let mut run = Vec::new();
    seed.next_uploads(u32::MAX, &mut run);
    assert_eq!(run.len(), 1);
    assert_eq!(seed.serving.waiting(), 1);
}

#[test]
fn pieces_we_lack_are_not_served_until_we_said_that_we_have_them() {
    let (torrent, now) = (torrent(&content(2 * PIECE_LEN as usize), PIECE_LEN), Instant::now());
    let mut session = session(&torrent, &Bitfield::new(2), true, now);
    session.unchoke();
    says(&mut session, now);
    let request = Message::Request(wanted(1, 0, BLOCK_LEN));
    session.on_message(request, now).unwrap();
    let second = torrent.geometry().piece(1).unwrap();
    session.announce(&[second, second]);
    session.on_message(request, now).unwrap();
    assert_eq!(says(&mut session, now), ["reject 1:0", "have 1"]);
    assert!(session.has_uploads());
}

#[test]
fn interest_is_told_once_each_way() {
    let (mut seed, _, now) = seed(true);
    for message in [Message::Interested, Message::Interested, Message::NotInterested, Message::NotInterested]
    {
        seed.on_message(message, now).unwrap();
    }
    let told: Vec<bool> = std::iter::from_fn(|| seed.next_event())
        .map(|event| matches!(event, Event::Interested(true)))
        .collect();
    assert_eq!(told, [true, false]);
    for interested in [false, true, true, false] {
        seed.set_interested(interested);
    }
    assert_eq!(says(&mut seed, now), ["interested", "notinterested"]);
}

// ---- two sessions, back to back ---------------------------------------------------------------------------------

/// One end of a wire: a session with all that the rest of a peer does for it.
struct End {
    session: Session,
    picker: Picker,
    content: Vec<u8>,
    torrent: Arc<Torrent>,
    finished: Vec<Piece>,
}

const PEER: ConnId = ConnId(1);

impl End {
    fn new(torrent: &Arc<Torrent>, content: &[u8], have: Bitfield, modern: bool, now: Instant) -> Self {
        let mut picker = Picker::new(torrent.geometry().clone(), have.clone(), 1);
        picker.joined(PEER);
        let mut session = session(torrent, &have, modern, now);
        session.unchoke();
        End { session, picker, content: content.to_vec(), torrent: Arc::clone(torrent), finished: Vec::new() }
    }

    /// Takes what the other end sent, and gives what it sends.
    fn turn(&mut self, mut input: &[u8], now: Instant) -> Vec<u8> {
        while let Some((message, len)) = wire::decode(input, 1 << 20).unwrap() {
            self.session.on_message(message, now).unwrap();
            input = &input[len..];
            while let Some(event) = self.session.next_event() {
                self.on_event(event);
            }
            self.session.fetching.assert_invariant();
        }
        self.session.ask(now);
        while self.session.wants_work() {
            match self.picker.pick(PEER, Some(buffer())) {
                Pick::Fetch(partial) => self.session.fetch(partial, now),
                _ => break,
            }
        }
        self.picker.assert_invariant();
        self.session.announce(&std::mem::take(&mut self.finished));
        let mut out = std::mem::take(self.session.output(now));
        let mut run = Vec::new();
        while self.session.has_uploads() {
            self.session.next_uploads(1 << 18, &mut run);
            for block in &run {
                let at = (block.piece().index() * PIECE_LEN + block.begin()) as usize;
                let data = &self.content[at..at + block.len() as usize];
                Message::Piece { index: block.piece().index(), begin: block.begin(), data }.encode(&mut out);
            }
        }
        out
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::HasPieces(bits) => {
                let lacking = self.picker.peer_has_pieces(PEER, bits);
                self.session.set_interested(lacking);
            }
            Event::Has(piece) => {
                let lacking = self.picker.peer_has(PEER, piece);
                self.session.set_interested(lacking || self.session.is_interested());
            }
            Event::Complete(partial) => {
                let piece = partial.piece();
                assert!(self.picker.checking(piece, PEER));
                assert!(self.torrent.verify(piece, partial.data(), crate::torrent::Proof::V1));
                let at = (piece.index() * PIECE_LEN) as usize;
                self.content[at..at + partial.data().len()].copy_from_slice(partial.data());
                self.picker.good(piece);
                self.finished.push(piece);
            }
            Event::GaveBack(partials) => {
                partials.into_iter().for_each(|partial| self.picker.gave_back(partial, PEER));
            }
            _ => {}
        }
    }
}

fn buffer() -> crate::peer::download::memory::Buffer {
    crate::peer::download::memory::Budget::new(usize::MAX).reserve(PIECE_LEN).unwrap()
}

#[test]
fn two_halves_become_two_wholes_on_a_wire_in_memory() {
    let whole = content(50 * PIECE_LEN as usize + 777);
    let torrent = torrent(&whole, PIECE_LEN);
    let pieces = torrent.geometry().piece_count();
    for modern in [true, false] {
        let mut now = Instant::now();
        let mut ends: Vec<End> = (0..2)
            .map(|half| {
                let mut have = Bitfield::new(pieces);
                (0..pieces).filter(|piece| piece % 2 == half).for_each(|piece| assert!(have.set(piece)));
                let mut content = whole.clone();
                for (index, piece) in content.chunks_mut(PIECE_LEN as usize).enumerate() {
                    if !have.has(index as u32) {
                        piece.fill(0);
                    }
                }
                End::new(&torrent, &content, have, modern, now)
            })
            .collect();
        let mut wire = Vec::new();
        for turn in 0..1000 {
            now += Duration::from_millis(10);
            wire = ends[turn % 2].turn(&wire, now);
            if ends.iter().all(|end| end.picker.is_complete()) {
                break;
            }
        }
        assert!(ends.iter().all(|end| end.content == whole), "after 5 s of virtual time");
    }
}

// ---- anything at all --------------------------------------------------------------------------------------------

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
    /// A block of this piece, asked for or not.
    Piece(u32, u32),
    /// One of those that were asked for.
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

/// A session, and the books about what went in and came out.
struct Books {
    leecher: Leecher,
    /// Of each piece: how often it was handed in, less how often it came out.
    held: BTreeMap<u32, i32>,
    /// Of each block: how often it was asked for, less how often it was taken.
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
                leecher.session.helped(block, &leecher.data(block), &source(9));
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

    /// Writes down what came out.
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
        assert!(self.leecher.session.serving.waiting() <= REQQ);
        self.leecher.session.fetching.assert_invariant();
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
        books.leecher.session.abandon();
        books.settle();
        prop_assert!(books.held.values().all(|held| *held == 0), "lost: {:?}", books.held);
    }

    #[test]
    fn any_messages_from_a_stranger_give_a_session_or_its_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut leecher = Leecher::new(PIECES, true);
        leecher.fetch(0);
        let mut rest = &bytes[..];
        while let Ok(Some((message, len))) = wire::decode(rest, 1 << 16) {
            if leecher.hears(message).is_err() {
                break;
            }
            rest = &rest[len..];
        }
        leecher.session.fetching.assert_invariant();
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
    assert_eq!(leecher.hears(Message::Extended { id: 0, payload: b"x" }), Err(Violation::BadExtended));
    leecher.hears(Message::Extended { id: 9, payload: b"x" }).unwrap();
    let mut plain = Leecher::new(1, false);
    assert_eq!(
        plain.hears(Message::Extended { id: 0, payload: b"de" }),
        Err(Violation::NotAgreed("extended"))
    );
    assert_eq!(leecher.session.agreement().peer_id, PeerId([2; 20]));
}

// ---- slow peers, and peers that want nothing --------------------------------------------------------------------

/// A block now and then kept it from being snubbed, and pieces with it for as long as it liked.
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
    leecher.session.fetching.assert_invariant();
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

/// Nobody may help with a piece that came broken, so whoever had it could keep it for ever.
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
        leecher.session.fetching.assert_invariant();
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
    leecher.session.helped(block, &data, &source(7)); // the helper did not know
    assert!(leecher.events().is_empty());
    leecher.session.fetching.assert_invariant();
}

/// All that a slow peer owes goes to others, a half at a time, and once more to others still.
#[test]
fn in_the_end_everything_owed_is_lent() {
    let mut leecher = Leecher::new(1, true);
    leecher.fetch(0);
    for helper in [7, 8] {
        let lent: Vec<usize> = (0..4).map(|_| leecher.lends(0, ConnId(helper)).len()).collect();
        assert_eq!(lent, [2, 1, 1, 0], "to helper {helper}");
    }
}

fn extended(session: &mut Session, now: Instant) -> Vec<(u8, Vec<u8>)> {
    let bytes: Vec<u8> = session.output(now).drain(..).collect();
    let mut rest = &bytes[..];
    let mut said = Vec::new();
    while let Some((message, len)) = wire::decode(rest, 1 << 20).unwrap() {
        if let Message::Extended { id, payload } = message {
            said.push((id, payload.to_vec()));
        }
        rest = &rest[len..];
    }
    said
}

/// BEP 21, and the message by which libtorrent learns of a change.
#[test]
fn who_wants_nothing_more_says_so_once() {
    let (torrent, now) = (torrent(&content(PIECE_LEN as usize * 2), PIECE_LEN), Instant::now());
    let upload_only = |payload: &[u8]| Extended::decode(payload).unwrap().upload_only;
    let mut seed = session(&torrent, &Bitfield::full(2), true, now);
    let said = extended(&mut seed, now);
    assert!(said.len() == 1 && upload_only(&said[0].1), "a seed in its handshake");
    seed.set_upload_only();
    assert!(extended(&mut seed, now).is_empty());

    let with_id = Extended { upload_only_id: Some(5), ..Extended::default() };
    for (theirs, by_message) in [(with_id, true), (Extended::default(), false)] {
        let mut partial = session(&torrent, &Bitfield::new(2), true, now);
        assert!(!upload_only(&extended(&mut partial, now)[0].1));
        partial.set_upload_only();
        assert!(extended(&mut partial, now).is_empty(), "how, we know when the other is introduced");
        partial.on_message(Message::Extended { id: 0, payload: &theirs.encode() }, now).unwrap();
        match &extended(&mut partial, now)[..] {
            [(5, payload)] if by_message => assert_eq!(payload, &[1]),
            [(0, payload)] if !by_message => assert!(upload_only(payload)),
            other => panic!("{other:?}"),
        }
        partial.set_upload_only();
        assert!(extended(&mut partial, now).is_empty());
    }
}

#[test]
fn a_connection_is_useless_when_neither_side_wants_anything() {
    let (torrent, now) = (torrent(&content(PIECE_LEN as usize * 2), PIECE_LEN), Instant::now());
    let hello = Extended { upload_only: true, ..Extended::default() }.encode();
    let hears = |session: &mut Session, message| session.on_message(message, now).unwrap();
    let mut partial = session(&torrent, &Bitfield::new(2), true, now);
    hears(&mut partial, Message::Extended { id: 0, payload: &hello });
    assert!(!partial.is_useless(), "it has not said what it has");
    hears(&mut partial, Message::Have(0));
    partial.set_interested(true);
    assert!(!partial.is_useless(), "it has something that we want");
    partial.set_interested(false);
    assert!(partial.is_useless(), "it has nothing for us, and wants nothing of us");
    hears(&mut partial, Message::Extended { id: extension::UPLOAD_ONLY_ID, payload: &[0] });
    assert!(!partial.is_useless(), "it has changed its mind");

    let mut done = session(&torrent, &Bitfield::new(2), true, now);
    done.set_upload_only();
    hears(&mut done, Message::Have(1));
    assert!(!done.is_useless(), "it may want what we have");
    hears(&mut done, Message::HaveAll);
    assert!(done.is_useless(), "a seed");
}

fn late(events: Vec<Event>) -> Vec<Block> {
    let late = events.into_iter().filter_map(|event| match event {
        Event::Late { block, .. } => Some(block),
        _ => None,
    });
    late.collect()
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

#[test]
fn a_block_that_crossed_its_cancel_is_of_no_use() {
    let mut leecher = Leecher::new(1, true);
    leecher.fetch(0);
    let block = leecher.block(0, 1);
    leecher.session.helped(block, &leecher.data(block), &source(9));
    leecher.events();
    leecher.gets(block).unwrap();
    assert!(late(leecher.events()).is_empty());
}

/// Half of what idle connections took over came twice.
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

/// With a slow line of ours and many peers every one of them was late, and its blocks were thrown away.
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
