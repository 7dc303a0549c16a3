//! The state machine of one connection: messages and commands in, with the time as a parameter; bytes and
//! events out. Pure: no socket, no clock, no lock, so a whole swarm of sessions runs in one test thread.
//!
//! It has two halves that meet only in the bytes they write. *Download*: which pieces we fetch from this
//! peer, and which blocks we requested (`requests`). *Upload*: which blocks it requested, and whether it has
//! an upload slot (`upload_queue`).
//!
//! Invariants: a block is accepted only if it was requested; no more than [`REQQ`] requests of the other side
//! are kept; every partial that was handed in comes out again, complete or given back.

mod allowed;
pub mod dispatch;
mod event;
mod extensions;
mod flood;
mod incoming;
#[cfg(test)]
mod tests;
mod upload_queue;

pub use super::download::landing::Landing;
pub use event::{Event, Violation};

use super::download::partial::Partial;
use super::download::requests::Requests;
use super::identity::ConnId;
use super::identity::SourceIdentity;
use crate::bitfield::Bitfield;
use crate::protocol::extension::Extended;
use crate::protocol::handshake::Agreement;
use crate::protocol::wire::{self, BlockRequest, Message};
use crate::torrent::{BLOCK_LEN, Block, Geometry, Piece, Proof, Torrent};
use flood::{Flood, IDLE};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use upload_queue::UploadQueue;

/// Maximum number of requests kept for the other side, as the extension handshake says (BEP 10).
pub const REQQ: usize = 1000;
/// Maximum time that the other side may be silent.
const SILENCE: Duration = Duration::from_secs(120);
/// Maximum time without a message from us. If there is none, a keep-alive is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How long a peer that owes us blocks may send none, before it is snubbed and its pieces go elsewhere.
const PATIENCE: Duration = Duration::from_secs(30);

/// The state of one connection after the handshake.
pub struct Session {
    torrent: Arc<Torrent>,
    agreement: Agreement,
    /// Which pieces we told the other side we have.
    told: Bitfield,
    interested: bool,
    peer_interested: bool,
    /// Which pieces the other side has, as far as it said.
    peer_has: Bitfield,
    /// Whether it said so.
    has_spoken: bool,
    /// Whether we fetch nothing any more, and whether we said so (BEP 21).
    upload_only: bool,
    told_upload_only: bool,
    /// What the other side told of itself, once it did.
    introduced: Option<Extended>,
    requests: Requests,
    uploads: UploadQueue,
    /// The tokens that are left for messages that carry nothing.
    flood: Flood,
    out: Vec<u8>,
    /// Drained after each message, so bounded by what one message can cause.
    events: VecDeque<Event>,
    patience: Duration,
    heard_at: Instant,
    spoke_at: Instant,
}

impl Session {
    /// Opens the session. What we have, and who we are, is in the output at once. `own_port` is where others
    /// may connect to us. It is sent only if we connected: a peer that connected to us knows it.
    pub fn new(
        torrent: Arc<Torrent>,
        agreement: Agreement,
        identity: Arc<SourceIdentity>,
        have: &Bitfield,
        own_port: Option<u16>,
        now: Instant,
    ) -> Self {
        let pieces = torrent.geometry().piece_count();
        let mut session = Session {
            requests: Requests::new(Arc::clone(&torrent), identity, now),
            torrent,
            agreement,
            told: have.clone(),
            interested: false,
            peer_interested: false,
            peer_has: Bitfield::new(pieces),
            has_spoken: false,
            upload_only: have.is_full(),
            told_upload_only: agreement.extended && have.is_full(),
            introduced: None,
            uploads: UploadQueue::default(),
            flood: Flood::new(pieces, now),
            out: Vec::new(),
            events: VecDeque::new(),
            patience: PATIENCE,
            heard_at: now,
            spoke_at: now,
        };
        session.open(own_port);
        session
    }

    fn open(&mut self, own_port: Option<u16>) {
        if self.agreement.extended {
            self.say_hello(own_port);
        }
        match (self.agreement.fast, self.told.count()) {
            (true, 0) => Message::HaveNone.encode(&mut self.out),
            (true, _) if self.told.is_full() => Message::HaveAll.encode(&mut self.out),
            (_, 0) => {}
            _ => Message::Bitfield(self.told.as_bytes()).encode(&mut self.out),
        }
        self.may_be_newcomer();
    }

    // ---- what comes in ------------------------------------------------------------------------------------

    /// Where the next blocks will land, if they come in the order of the requests. The thread that reads the
    /// socket may write them there, and calls [`landed`](Self::landed) for each that came, before it calls
    /// anything else here. Other bytes go the usual way, and so do blocks that come with padding.
    pub fn landing(&mut self) -> Landing<'_> {
        let (agreement, geometry) = (self.agreement, self.torrent.geometry());
        self.requests.landing(|block| named(block, agreement, geometry).len == block.len())
    }

    /// A message that carries nothing; see [`flood`].
    fn idle(&mut self, now: Instant) -> Result<(), Violation> {
        self.spend(IDLE, now)
    }

    fn spend(&mut self, cost: u64, now: Instant) -> Result<(), Violation> {
        if self.flood.spend(cost, now) { Ok(()) } else { Err(Violation::Flood) }
    }

    fn piece(&self, index: u32) -> Result<Piece, Violation> {
        self.torrent.geometry().piece(index).ok_or(Violation::NoSuchPiece(index))
    }

    fn requested(&self, wanted: BlockRequest) -> Option<Block> {
        self.torrent.geometry().requested(wanted.index, wanted.begin, wanted.len)
    }

    /// How this connection names one of our blocks.
    fn named(&self, block: Block) -> BlockRequest {
        named(block, self.agreement, self.torrent.geometry())
    }

    /// Our block that this connection names so.
    fn our_block(&self, name: BlockRequest) -> Option<Block> {
        let geometry = self.torrent.geometry();
        let piece = geometry.piece(name.index)?;
        let left = geometry.piece_len(piece).checked_sub(name.begin)?;
        let block = geometry.block_at(piece, name.begin, left.min(BLOCK_LEN))?;
        (self.named(block) == name).then_some(block)
    }

    fn fast(&self, what: &'static str) -> Result<(), Violation> {
        if self.agreement.fast { Ok(()) } else { Err(Violation::NotAgreed(what)) }
    }

    fn reject(&mut self, wanted: BlockRequest) {
        if self.agreement.fast {
            Message::Reject(wanted).encode(&mut self.out);
        }
    }

    /// Gives back what this connection will not fetch, for itself or for others.
    fn give_back(&mut self, partials: Vec<Partial>) {
        if !partials.is_empty() {
            self.events.push_back(Event::GaveBack(partials));
        }
        let unhelped = self.requests.take_unhelped();
        self.events.extend(unhelped.into_iter().map(|(owner, blocks)| Event::NotHelping { owner, blocks }));
    }

    // ---- what the rest of the engine wants of this connection ---------------------------------------------

    /// Fetches what is missing of this piece.
    pub fn fetch(&mut self, partial: Partial, now: Instant) {
        let given_back = self.requests.add(partial, now);
        self.give_back(given_back.into_iter().collect());
        self.ask(now);
    }

    /// Lends up to half of what is still owed of `piece` to another connection: the blocks that would come
    /// last.
    pub fn lend(&mut self, piece: Piece, helper: ConnId, now: Instant) -> Vec<Block> {
        self.requests.lend(piece, helper, now)
    }

    /// Fetches blocks of a piece that another connection owns.
    pub fn help(&mut self, owner: ConnId, blocks: &[Block], now: Instant) {
        self.requests.help(owner, blocks);
        self.give_back(Vec::new());
        self.ask(now);
    }

    /// A helper brought a block of one of our pieces.
    pub fn helped(&mut self, block: Block, data: &[u8], from: &Arc<SourceIdentity>) {
        let (cancel, arrival) = self.requests.helped(block, data, from);
        if cancel {
            Message::Cancel(self.named(block)).encode(&mut self.out);
        }
        self.on_arrival(block, arrival);
    }

    /// A helper will not bring these blocks: they may be lent again.
    pub fn not_helped(&mut self, helper: ConnId, blocks: &[Block]) {
        self.requests.not_helped(helper, blocks);
    }

    /// A block that we fetch for another connection came to it from elsewhere.
    pub fn help_not_needed(&mut self, block: Block) {
        if self.requests.forget_help(block) {
            Message::Cancel(self.named(block)).encode(&mut self.out);
        }
    }

    /// Sends as many requests as the window has room for.
    pub fn ask(&mut self, now: Instant) {
        while let Some(block) = self.requests.next_request(now) {
            Message::Request(self.named(block)).encode(&mut self.out);
        }
    }

    /// Whether the window runs low, so that more pieces should be found for this connection.
    pub fn wants_work(&self) -> bool {
        let any = |pieces: Vec<Piece>| !pieces.is_empty();
        self.interested && self.requests.wants_work() && self.only().is_none_or(any)
    }

    /// Sets the first request window, in blocks; at most as many as the other side keeps.
    pub fn set_window(&mut self, blocks: u32) {
        self.requests.set_window(blocks);
    }

    /// Changes how long a peer that owes us blocks may send none before it is snubbed.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// All pieces in flight come back, as events: the connection ends, or the torrent pauses.
    pub fn give_back_all(&mut self) {
        let given_back = self.requests.ended();
        self.give_back(given_back);
    }

    /// Tells the other side about pieces we finished.
    pub fn announce(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            if self.told.set(piece.index()) {
                Message::Have(piece.index()).encode(&mut self.out);
            }
        }
    }

    /// Tells the other side whether it has something we lack.
    pub fn set_interested(&mut self, interested: bool) {
        if self.interested != interested {
            self.interested = interested;
            let message = if interested { Message::Interested } else { Message::NotInterested };
            message.encode(&mut self.out);
        }
    }

    /// We have all that we want, and only serve from now on (BEP 21). Not for a seed that does not show all
    /// it has (BEP 16): a peer that has got all it was shown would leave.
    pub fn set_upload_only(&mut self) {
        self.upload_only = true;
        self.tell_upload_only();
    }

    /// Whether nothing can pass over this connection any more: neither side wants anything, or the other side
    /// wants nothing and has nothing that we lack.
    pub fn is_useless(&self) -> bool {
        let only_uploads = self.introduced.as_ref().and_then(|hello| hello.upload_only);
        let wants_nothing = self.peer_has.is_full() || only_uploads == Some(true);
        let has_told = self.peer_has.count() > 0; // its handshake may come before it says what it has
        wants_nothing && !self.interested && (self.upload_only || has_told)
    }

    /// Admits the other side to an upload slot.
    pub fn unchoke(&mut self) {
        if self.uploads.unchoke() {
            Message::Unchoke.encode(&mut self.out);
        }
    }

    /// Takes the upload slot back, with all that waits in it.
    pub fn choke(&mut self) {
        if let Some(waiting) = self.uploads.choke(self.is_newcomer()) {
            Message::Choke.encode(&mut self.out);
            waiting.into_iter().for_each(|block| self.reject(block.into()));
        }
    }

    /// Takes the next blocks to send into `run`: neighbours in one piece, at most `most` bytes together, but
    /// at least one block if there is any.
    pub fn next_uploads(&mut self, most: u32, run: &mut Vec<Block>) {
        self.uploads.next(most, run);
    }

    /// A block cannot be served, for example because its file vanished.
    pub fn refuse(&mut self, block: Block) {
        self.reject(block.into());
    }

    /// Does what is due by the time alone: keep-alives, snubbing, the end of a silent peer.
    pub fn tick(&mut self, now: Instant) -> Result<(), Violation> {
        if now.saturating_duration_since(self.heard_at) >= SILENCE {
            return Err(Violation::Silent);
        }
        if now.saturating_duration_since(self.spoke_at) >= KEEP_ALIVE {
            Message::KeepAlive.encode(&mut self.out);
        }
        let given_back = self.requests.snub_if_late(self.patience, now);
        self.give_back(given_back);
        let (given_back, cancelled) = self.requests.relieve_if_slow(self.patience, now);
        cancelled.into_iter().for_each(|block| Message::Cancel(block.into()).encode(&mut self.out));
        self.give_back(given_back);
        Ok(())
    }

    /// When [`tick`](Self::tick) has something to do again, if nothing happens before.
    pub fn deadline(&self) -> Instant {
        let quiet = (self.heard_at + SILENCE).min(self.spoke_at + KEEP_ALIVE);
        self.requests.due_at(self.patience).map_or(quiet, |due| quiet.min(due))
    }

    // ---- what comes out -----------------------------------------------------------------------------------

    /// The next thing the rest of the engine must know.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Bytes to send, in order. The caller takes all of them, with `drain(..)` or `clear()`.
    pub fn output(&mut self, now: Instant) -> &mut Vec<u8> {
        if !self.out.is_empty() {
            self.spoke_at = now;
        }
        &mut self.out
    }

    /// A block was sent beside the output.
    pub fn uploaded(&mut self, now: Instant) {
        self.spoke_at = now;
    }

    /// What the handshakes agreed on.
    pub fn agreement(&self) -> Agreement {
        self.agreement
    }

    /// The torrent of this connection.
    pub fn torrent(&self) -> &Arc<Torrent> {
        &self.torrent
    }

    /// Which pieces the other side has.
    pub fn peer_has(&self) -> &Bitfield {
        &self.peer_has
    }

    /// Whether we choke the other side.
    pub fn is_choking(&self) -> bool {
        self.uploads.is_choking()
    }

    /// Whether there is something to send.
    pub fn is_about_to_speak(&self) -> bool {
        !self.out.is_empty() || self.has_uploads()
    }

    /// Whether the other side wants to be served.
    pub fn peer_is_interested(&self) -> bool {
        self.peer_interested
    }

    /// Whether we want to be served.
    pub fn is_interested(&self) -> bool {
        self.interested
    }

    /// Whether the other side does not serve us.
    pub fn is_choked(&self) -> bool {
        self.requests.is_choked()
    }

    /// Whether there is something to serve.
    pub fn has_uploads(&self) -> bool {
        self.uploads.waiting() > 0
    }

    /// The blocks that we requested and wait for.
    pub fn asked(&self) -> impl ExactSizeIterator<Item = Block> + '_ {
        self.requests.asked()
    }

    /// The request window: how many blocks we request at a time.
    pub fn window(&self) -> u32 {
        self.requests.window()
    }

    /// How many blocks wait to be served.
    pub fn uploads_waiting(&self) -> usize {
        self.uploads.waiting()
    }

    /// Length in bytes of the longest message that this torrent needs.
    pub fn max_message_len(&self) -> u32 {
        wire::max_len(self.told.len())
    }

    /// Panics if an invariant of either half is broken; for tests, simulations and fuzzing.
    #[doc(hidden)]
    pub fn assert_invariant(&self) {
        self.requests.assert_invariant();
        self.uploads.assert_invariant();
    }
}

/// The name of one of our blocks on a connection. A v1 peer takes the padding of a hybrid torrent for
/// content: rqbit closes if less is requested. Over v2 a block ends where its file ends.
fn named(block: Block, agreement: Agreement, geometry: &Geometry) -> BlockRequest {
    match agreement.proof {
        Proof::V1 => geometry.padded(block).into(),
        Proof::V2 => block.into(),
    }
}
