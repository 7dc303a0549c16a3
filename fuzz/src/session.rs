//! The session of one connection: any order of messages from a stranger and commands from our own side. No
//! piece that was handed in is lost or comes out twice, no block is taken that was not asked for, and the
//! session's own invariants hold after every step.
//!
//! The input is read as a program: a byte for the step, and then the bytes that the step needs. One step
//! feeds the raw bytes of messages, so that what the steps do not think of is reached as well.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use shoal::bitfield::Bitfield;
use shoal::hash;
use shoal::peer::download::memory::Budget;
use shoal::peer::download::partial::Partial;
use shoal::peer::identity::ConnId;
use shoal::peer::identity::{PeerIdentity, SourceIdentity};
use shoal::peer::session::{Event, Session, Violation};
use shoal::protocol::handshake::{Agreement, PeerId};
use shoal::protocol::wire::{self, BlockRequest, Message};
use shoal::torrent::{BLOCK_LEN, Block, Piece, Proof, Torrent};

const PIECES: u32 = 6;
/// Four blocks, the last of them short.
const PIECE_LEN: u32 = 3 * BLOCK_LEN + 1000;
/// The last piece has two blocks.
const TOTAL: u32 = (PIECES - 1) * PIECE_LEN + BLOCK_LEN + 1;

/// Every byte tells where it is, as far as a byte can.
static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| (0..TOTAL).map(|at| (at ^ (at >> 8)) as u8).collect());
static TORRENT: LazyLock<Arc<Torrent>> = LazyLock::new(|| Arc::new(torrent()));
/// All sessions start at one instant, so that an input does the same each time.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn torrent() -> Torrent {
    let hashes: Vec<u8> = CONTENT.chunks(PIECE_LEN as usize).flat_map(hash::sha1).collect();
    let head =
        format!("d4:infod6:lengthi{TOTAL}e4:name1:f12:piece lengthi{PIECE_LEN}e6:pieces{}:", hashes.len());
    let mut bytes = head.into_bytes();
    bytes.extend(hashes);
    bytes.extend(b"ee");
    Torrent::parse(&bytes).unwrap()
}

pub fn check(data: &[u8]) {
    let mut program = Program(data);
    let mut books = Books::new(&mut program);
    while let Some(step) = program.next() {
        let ended = books.step(step, &mut program).is_err();
        books.settle();
        if ended {
            break;
        }
    }
    books.session.give_back_all();
    books.settle();
    assert!(books.held.values().all(|held| *held == 0), "lost: {:?}", books.held);
}

/// What is left of the input.
struct Program<'a>(&'a [u8]);

impl<'a> Program<'a> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number below `bound`; 0 when the input is at its end.
    fn below(&mut self, bound: u32) -> u32 {
        u32::from(self.next().unwrap_or(0)) % bound
    }

    fn bytes(&mut self, len: u32) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(self.0.len().min(len as usize));
        self.0 = rest;
        taken
    }
}

/// A session, and counts of what went in and came out.
struct Books {
    session: Session,
    now: Instant,
    /// Of each piece: how often it was handed in, less how often it came out.
    held: BTreeMap<Piece, i32>,
    /// Of each block: how often it was asked for, less how often it was taken.
    asked: HashMap<Block, i32>,
    /// Blocks that were asked for, and not answered by a step that answers.
    pending: Vec<Block>,
    /// Blocks of pieces of others that we were asked to fetch, by whom.
    errands: Vec<(ConnId, Block)>,
    /// Pieces that the other side may have without a slot, and how many bytes of each.
    allowed: BTreeMap<Piece, u32>,
    is_fast: bool,
}

impl Books {
    /// The session's kind is in the first bytes of the program.
    fn new(program: &mut Program) -> Books {
        let kind = program.next().unwrap_or(0);
        let is_fast = kind & 1 != 0;
        let agreement =
            Agreement { peer_id: PeerId([2; 20]), extended: kind & 2 != 0, fast: is_fast, proof: Proof::V1 };
        let mut have = Bitfield::new(PIECES);
        (0..PIECES).filter(|piece| kind & 4 != 0 && (kind & 8 != 0 || piece % 2 == 0)).for_each(|piece| {
            have.set(piece);
        });
        let session = Session::new(Arc::clone(&TORRENT), agreement, identity(2), &have, Some(6881), *START);
        let mut books = Books {
            session,
            now: *START,
            held: BTreeMap::new(),
            asked: HashMap::new(),
            pending: Vec::new(),
            errands: Vec::new(),
            allowed: BTreeMap::new(),
            is_fast,
        };
        if kind & 16 != 0 {
            books.session.set_window(1 + program.below(40));
        }
        books
    }

    fn step(&mut self, step: u8, program: &mut Program) -> Result<(), Violation> {
        match step % 32 {
            0..16 => self.message(step % 16, program),
            step => {
                self.command(step, program);
                if step == 31 { self.session.tick(self.now) } else { Ok(()) }
            }
        }
    }

    /// What the other side says.
    fn message(&mut self, step: u8, program: &mut Program) -> Result<(), Violation> {
        match step {
            0 => self.hears(Message::Choke),
            1 => self.hears(Message::Unchoke),
            2 => self.hears(Message::Interested),
            3 => self.hears(Message::NotInterested),
            4 => self.hears(Message::Have(program.below(PIECES + 1))),
            5 => self.hears(Message::Bitfield(program.bytes(1))),
            6 => self.hears(Message::HaveAll),
            7 => self.hears(Message::Request(wanted(program))),
            8 => self.hears(Message::Cancel(wanted(program))),
            9 => self.hears(Message::Reject(wanted(program))),
            10 => self.sends(any_block(program)),
            11 => match self.pull(program) {
                Some(block) => self.sends(block),
                None => Ok(()),
            },
            12 => match self.pull(program) {
                Some(block) => self.hears(Message::Reject(block.into())),
                None => Ok(()),
            },
            13 => {
                let len = program.below(64);
                self.hears(Message::Extended { id: 0, payload: program.bytes(len) })
            }
            14 => self.answer_all(),
            _ => {
                let len = program.below(128);
                self.raw(program.bytes(len))
            }
        }
    }

    fn hears(&mut self, message: Message<'_>) -> Result<(), Violation> {
        self.session.on_message(message, self.now)
    }

    /// Messages as they come from a socket. Blocks are fed by `sends` alone, which keeps the books.
    fn raw(&mut self, mut bytes: &[u8]) -> Result<(), Violation> {
        while let Some((message, len)) = wire::decode(bytes, self.session.max_message_len())? {
            match message {
                Message::Piece { index, begin, data } => {
                    let geometry = TORRENT.geometry();
                    let block = geometry
                        .piece(index)
                        .and_then(|piece| geometry.block_at(piece, begin, data.len() as u32));
                    assert!(block.is_none(), "a step has no bytes for a whole block");
                    assert!(self.hears(message).is_err());
                    return Err(Violation::NoSuchPiece(index));
                }
                other => self.hears(other)?,
            }
            bytes = &bytes[len..];
        }
        Ok(())
    }

    /// The other side sends a block with its true content, whether it was asked for or not.
    fn sends(&mut self, block: Block) -> Result<(), Violation> {
        let message =
            Message::Piece { index: block.piece().index(), begin: block.begin(), data: content(block) };
        let taken = self.session.on_message(message, self.now);
        if taken.is_ok() {
            let asked = self.asked.entry(block).or_default();
            *asked -= 1;
            assert!(*asked >= 0, "{block:?} was taken more often than it was asked for");
        }
        taken
    }

    fn answer_all(&mut self) -> Result<(), Violation> {
        std::mem::take(&mut self.pending).into_iter().try_for_each(|block| self.sends(block))
    }

    fn pull(&mut self, program: &mut Program) -> Option<Block> {
        let at = program.below(256) as usize;
        (!self.pending.is_empty()).then(|| self.pending.remove(at % self.pending.len()))
    }

    /// What our own side wants.
    fn command(&mut self, step: u8, program: &mut Program) {
        let other = |program: &mut Program| ConnId(10 + u64::from(program.below(3)));
        match step {
            16..19 => self.fetch(any_piece(program)),
            19 => drop(self.session.lend(any_piece(program), other(program), self.now)),
            20 => self.help(other(program), any_block(program)),
            21 => {
                let block = any_block(program);
                self.session.helped(block, content(block), &identity(9));
            }
            22 => self.not_needed(program),
            23 => {
                let helper = other(program);
                let piece = any_piece(program);
                let blocks = (0..TORRENT.geometry().block_count(piece))
                    .map(|nth| TORRENT.geometry().block(piece, nth));
                self.session.not_helped(helper, &blocks.collect::<Vec<_>>());
            }
            24 => self.session.choke(),
            25 => self.session.unchoke(),
            26 => self.session.set_interested(program.below(2) == 1),
            27 => self.session.announce(&[any_piece(program)]),
            28 => self.serve(program),
            29 => self.session.ask(self.now),
            30 => self.session.set_patience(Duration::from_secs(program.below(60).into())),
            _ => self.now += Duration::from_millis(u64::from(program.below(256)) * 250),
        }
    }

    /// The picker gives a piece to one owner at a time.
    fn fetch(&mut self, piece: Piece) {
        let held = self.held.entry(piece).or_default();
        if *held == 0 {
            *held += 1;
            let buffer = Budget::new(usize::MAX).reserve(PIECE_LEN).unwrap();
            self.session.fetch(Partial::new(piece, buffer, TORRENT.geometry()), self.now);
        }
    }

    /// An owner does not lend its block twice to one helper, nor does a connection that owns the
    /// piece help with it.
    fn help(&mut self, owner: ConnId, block: Block) {
        let is_ours = self.held.get(&block.piece()).is_some_and(|held| *held > 0);
        if !is_ours && !self.errands.iter().any(|(_, errand)| *errand == block) {
            self.errands.push((owner, block));
            self.session.help(owner, &[block], self.now);
        }
    }

    fn not_needed(&mut self, program: &mut Program) {
        let block = any_block(program);
        self.errands.retain(|(_, errand)| *errand != block);
        self.session.help_not_needed(block);
    }

    fn serve(&mut self, program: &mut Program) {
        let mut run = Vec::new();
        let most = program.below(8) * BLOCK_LEN;
        let had = self.session.has_uploads();
        self.session.next_uploads(most, &mut run);
        assert_eq!(run.is_empty(), !had);
        let bytes: u32 = run.iter().map(|block| block.len()).sum();
        assert!(bytes <= most || run.len() == 1);
        for block in run.iter().filter(|_| self.session.is_choking()) {
            let left =
                self.allowed.get_mut(&block.piece()).expect("who has no slot is served allowed pieces");
            *left = left.checked_sub(block.len()).expect("and these three times");
        }
        if program.below(2) == 1 {
            run.iter().for_each(|block| self.session.refuse(*block));
        }
    }

    /// Writes down what came out.
    fn settle(&mut self) {
        self.session.assert_invariant();
        let bytes = std::mem::take(self.session.output(self.now));
        let mut rest = &bytes[..];
        while let Some((message, len)) = wire::decode(rest, 1 << 20).unwrap() {
            self.said(message);
            rest = &rest[len..];
        }
        assert!(rest.is_empty(), "what is sent is whole messages");
        while let Some(event) = self.session.next_event() {
            self.happened(event);
        }
        assert!(self.held.values().all(|held| (0..=1).contains(held)), "{:?}", self.held);
    }

    fn said(&mut self, message: Message) {
        match message {
            Message::Request(wanted) => {
                let block = self.block(wanted);
                *self.asked.entry(block).or_default() += 1;
                self.pending.push(block);
            }
            Message::Cancel(wanted) => drop(self.block(wanted)),
            Message::Reject(_) | Message::HaveAll | Message::HaveNone => assert!(self.is_fast),
            Message::AllowedFast(index) => {
                assert!(self.is_fast);
                let piece = TORRENT.geometry().piece(index).unwrap();
                self.allowed.insert(piece, 3 * TORRENT.geometry().piece_len(piece));
            }
            Message::Extended { .. } => assert!(self.session.agreement().extended),
            _ => {}
        }
    }

    fn block(&self, wanted: BlockRequest) -> Block {
        let geometry = TORRENT.geometry();
        geometry.block_at(geometry.piece(wanted.index).unwrap(), wanted.begin, wanted.len).unwrap()
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Complete(partial) => {
                assert!(partial.is_complete());
                assert!(
                    TORRENT.verify(partial.piece(), partial.data(), Proof::V1),
                    "true blocks make a true piece"
                );
                *self.held.entry(partial.piece()).or_default() -= 1;
            }
            Event::GaveBack(partials) => {
                for partial in partials {
                    assert!(!partial.is_complete());
                    *self.held.entry(partial.piece()).or_default() -= 1;
                }
            }
            Event::Helped { owner, block, data } => {
                assert_eq!(data, content(block));
                self.errand_over(owner, block);
            }
            Event::Late { block, data } => {
                assert_eq!(data, content(block));
                self.session.helped(block, &data, &identity(2)); // its piece may be ours again
            }
            Event::NotHelping { owner, blocks } => {
                blocks.into_iter().for_each(|block| self.errand_over(owner, block))
            }
            Event::HasPieces(bits) => assert_eq!(&bits, self.session.peer_has()),
            Event::Has(piece) => assert!(self.session.peer_has().has(piece.index())),
            Event::Newcomer => self.session.allow_fast(),
            Event::Interested(_) | Event::Unchoked | Event::HelpNotNeeded { .. } | Event::Introduced(_) => {}
        }
    }

    /// A block task ends once: the block came, or will not come.
    fn errand_over(&mut self, owner: ConnId, block: Block) {
        let at = self.errands.iter().position(|errand| *errand == (owner, block));
        self.errands.remove(at.expect("an errand that nobody gave, or that was over"));
    }
}

fn any_piece(program: &mut Program) -> Piece {
    TORRENT.geometry().piece(program.below(PIECES)).unwrap()
}

fn any_block(program: &mut Program) -> Block {
    let piece = any_piece(program);
    TORRENT.geometry().block(piece, program.below(TORRENT.geometry().block_count(piece)))
}

/// A range as a stranger may name it: mostly a block, at times anything.
fn wanted(program: &mut Program) -> BlockRequest {
    let how = program.below(8);
    let mut wanted = BlockRequest::from(any_block(program));
    match how {
        0 => wanted.len = u32::from_be_bytes([program.below(256) as u8, 0, program.below(256) as u8, 0]),
        1 => wanted.begin = wanted.begin.wrapping_sub(program.below(256)),
        2 => wanted.index = program.below(256),
        _ => {}
    }
    wanted
}

fn content(block: Block) -> &'static [u8] {
    let at = (block.piece().index() * PIECE_LEN + block.begin()) as usize;
    &CONTENT[at..at + block.len() as usize]
}

fn identity(number: u8) -> Arc<SourceIdentity> {
    let peer = PeerIdentity { addr: [10, 0, 0, number].into(), peer_id: PeerId([number; 20]) };
    Arc::new(peer.into())
}
