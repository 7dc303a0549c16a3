//! Streams cut anywhere, with blocks in order, out of order, and other messages in between. Whatever lands,
//! and whatever goes through the buffer, the session gets the same.

use super::*;
use crate::bitfield::Bitfield;
use crate::peer::download::partial::Partial;
use crate::peer::session::{Event, Session};
use crate::protocol::wire::{Message, max_len};
use crate::testing::{agreement, content, empty, identity, torrent};
use crate::torrent::{BLOCK_LEN, Block, Torrent};
use std::sync::Arc;
use std::time::Instant;

const PIECE_LEN: u32 = 4 * BLOCK_LEN;

/// A socket that has a limited number of bytes ready for each read, and now and then none.
struct Stream {
    bytes: Vec<u8>,
    at: usize,
    ready: Box<dyn FnMut() -> usize>,
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_vectored(&mut [IoSliceMut::new(buf)])
    }

    fn read_vectored(&mut self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let ready = (self.ready)().min(self.bytes.len() - self.at);
        if ready == 0 && self.at < self.bytes.len() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let start = self.at;
        for slice in slices {
            let part = slice.len().min(start + ready - self.at);
            slice[..part].copy_from_slice(&self.bytes[self.at..self.at + part]);
            self.at += part;
        }
        Ok(self.at - start)
    }
}

/// A session that has requested all blocks, in the order of the pieces.
struct Case {
    torrent: Arc<Torrent>,
    data: Vec<u8>,
    session: Session,
    input: Input,
    now: Instant,
}

impl Case {
    fn new(pieces: u32) -> Self {
        let data = content((pieces * PIECE_LEN) as usize - 100); // the last block is a short one
        let (torrent, now) = (torrent(&data, PIECE_LEN), Instant::now());
        let none = Bitfield::new(pieces);
        let mut session =
            Session::new(Arc::clone(&torrent), agreement(7, true), identity(7), &none, None, now);
        session.set_window(512);
        session.on_message(Message::HaveAll, now).unwrap();
        session.on_message(Message::Unchoke, now).unwrap();
        session.set_interested(true);
        for piece in torrent.geometry().pieces() {
            session.fetch(empty(torrent.geometry(), piece), now);
        }
        let input = Input::new(max_len(pieces));
        Case { torrent, data, session, input, now }
    }

    fn blocks(&self) -> Vec<Block> {
        let geometry = self.torrent.geometry();
        let blocks = |piece| (0..geometry.block_count(piece)).map(move |nth| geometry.block(piece, nth));
        geometry.pieces().flat_map(blocks).collect()
    }

    fn bytes(&self, block: Block) -> &[u8] {
        let start = (block.piece().index() * PIECE_LEN + block.begin()) as usize;
        &self.data[start..start + block.len() as usize]
    }

    fn say(&self, block: Block, to: &mut Vec<u8>) {
        let (index, begin) = (block.piece().index(), block.begin());
        Message::Piece { index, begin, data: self.bytes(block) }.encode(to);
    }

    /// Reads the stream to its end as a connection does. Returns the pieces that came, how many blocks
    /// landed, and how many other messages there were.
    fn read(&mut self, mut stream: Stream, mut most: impl FnMut() -> usize) -> (Vec<Partial>, usize, usize) {
        let (mut complete, mut landed, mut others) = (Vec::new(), 0, 0);
        while stream.at < stream.bytes.len() {
            let filled = self.input.fill(&mut stream, self.session.landing(), most()).unwrap();
            landed += filled.landed;
            (0..filled.landed).for_each(|_| assert!(self.session.landed(self.now) > 0));
            while let Some((message, len)) = self.input.next().unwrap() {
                others += usize::from(!matches!(message, Message::Piece { .. }));
                self.session.on_message(message, self.now).unwrap();
                self.input.consume(len);
            }
            assert!(self.input.bytes.len() <= self.input.limit);
            self.session.assert_invariant();
            while let Some(event) = self.session.next_event() {
                if let Event::Complete(partial) = event {
                    complete.push(partial);
                }
            }
        }
        (complete, landed, others)
    }

    fn is_right(&self, partial: &Partial) -> bool {
        let start = (partial.piece().index() * PIECE_LEN) as usize;
        *partial.data() == self.data[start..start + partial.data().len()]
    }
}

#[test]
fn blocks_in_order_land_without_passing_through_the_buffer() {
    let mut case = Case::new(32);
    let mut bytes = Vec::new();
    case.blocks().iter().for_each(|block| case.say(*block, &mut bytes));
    let stream = Stream { bytes, at: 0, ready: Box::new(|| 200_000) };
    let (complete, landed, _) = case.read(stream, || LARGE_BUFFER);
    assert_eq!(complete.len(), 32);
    assert!(complete.iter().all(|partial| case.is_right(partial)));
    assert!(landed > 110, "{landed} of 128 landed");
}

#[test]
fn whatever_comes_and_however_it_is_cut_nothing_is_lost() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut case = Case::new(random.u32(1..12));
        let (mut bytes, mut said) = (Vec::new(), 0);
        let mut blocks = case.blocks();
        let disorder = [0.0, 0.05, 0.5][random.usize(..3)];
        for at in 0..blocks.len() {
            if random.f64() < disorder {
                let other = random.usize(..blocks.len());
                blocks.swap(at, other);
            }
        }
        for block in blocks {
            if random.f64() < disorder {
                Message::Port(random.u16(..)).encode(&mut bytes);
                said += 1;
            }
            case.say(block, &mut bytes);
        }
        let largest = [10, 3_000, 40_000, 1_000_000][random.usize(..4)].min(bytes.len() / 20 + 10);
        let mut lens = random.fork();
        let ready = Box::new(move || lens.usize(..=largest));
        let (complete, _, others) =
            case.read(Stream { bytes, at: 0, ready }, move || random.usize(1..LARGE_BUFFER));
        assert_eq!(complete.len(), case.torrent.geometry().piece_count() as usize, "seed {seed}");
        assert!(complete.iter().all(|partial| case.is_right(partial)), "seed {seed}");
        assert_eq!(others, said, "seed {seed}");
    }
}

/// What was begun is in the buffer between two reads, so the piece may go elsewhere meanwhile.
#[test]
fn a_piece_may_be_taken_away_while_its_block_is_half_here() {
    let mut case = Case::new(2);
    let mut bytes = Vec::new();
    case.say(case.blocks()[0], &mut bytes);
    let (half, rest) = bytes.split_at(5_000);
    case.read(Stream { bytes: half.to_vec(), at: 0, ready: Box::new(|| 5_000) }, || LARGE_BUFFER);
    case.session.give_back_all();
    let mut rest = rest.to_vec();
    Message::Have(1).encode(&mut rest);
    let (complete, landed, others) =
        case.read(Stream { bytes: rest, at: 0, ready: Box::new(|| 100_000) }, || LARGE_BUFFER);
    assert_eq!((complete.len(), landed, others), (0, 0, 1));
}
