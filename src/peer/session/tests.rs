//! Tests of the session: every path by example, two ends on a wire in memory, and arbitrary input.

use super::*;
use crate::testing::*;
use crate::torrent::BLOCK_LEN;

mod allowed;
mod back_to_back;
mod extension_table;
mod fake;
mod helping;
mod interest;
mod looking;
mod opening;
mod padding;
mod properties;
mod requests;
mod serving;
mod snubbing;
mod telling;

/// Four blocks, the last one short.
const PIECE_LEN: u32 = 4 * BLOCK_LEN;

fn session(torrent: &Arc<Torrent>, have: &Bitfield, modern: bool, now: Instant) -> Session {
    Session::new(Arc::clone(torrent), agreement(2, modern), identity(2), have, None, now)
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

    /// What the session sent since the last call, in words.
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

    /// What it lends once its requests are too old to be expected at any moment.
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

/// A seed's session.
fn seed(modern: bool) -> (Session, Arc<Torrent>, Instant) {
    let (torrent, now) = (torrent(&content(2 * PIECE_LEN as usize), PIECE_LEN), Instant::now());
    let mut session = session(&torrent, &Bitfield::full(2), modern, now);
    says(&mut session, now);
    (session, torrent, now)
}

const fn wanted(index: u32, begin: u32, len: u32) -> BlockRequest {
    BlockRequest { index, begin, len }
}

fn late(events: Vec<Event>) -> Vec<Block> {
    let late = events.into_iter().filter_map(|event| match event {
        Event::Late { block, .. } => Some(block),
        _ => None,
    });
    late.collect()
}
