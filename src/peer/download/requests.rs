//! The download half of a session: the pieces that we fetch from this peer, and the blocks that we asked
//! it for. Pure.
//!
//! While the peer chokes us, nothing is asked for but pieces that it allows all the same (BEP 6).
//!
//! Invariant: each missing block of a piece in `pieces` is in `to_ask` or in `asked`, and there only once. A
//! block in `abandoned` was asked for once and may still arrive, but is not waited for.
//!
//! A peer that owes us blocks loses its pieces in three cases. It sends nothing for one *patience* (30 s):
//! then it is snubbed until it sends something. It *trickles* for four patiences, or keeps a piece that
//! nobody may help with for too long: then it rests for one patience, during which others take its pieces. Or
//! it refuses requests. [`lend`](Requests::lend) says which blocks an idle connection may take over.

mod helping;
mod snubbing;
use super::landing::{self, Landing};
use super::partial::Partial;
use super::window::Window;
use crate::peer::identity::{ConnId, SourceIdentity};
use crate::torrent::{Block, Piece, Torrent};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Number of requests that a peer is assumed to keep if it does not say: libtorrent and aria2 keep at
/// least this many.
const DEFAULT_QUEUE: u32 = 250;
/// Maximum number of abandoned blocks that are remembered because they may still arrive: two full windows.
const MAX_ABANDONED: usize = 1024;
/// Maximum number of pieces that are remembered because the peer allows them: many times what BEP 6 suggests.
const MAX_ALLOWED: usize = 100;
/// After this many refusals without a block in between we stop asking, until the peer sends something.
const REFUSALS: u32 = 16;

/// Number of patiences over which a peer's speed is judged: two minutes with the usual patience.
const TRIAL: u32 = 4;
/// Maximum number of doublings of the trial of a piece that must come from one peer alone. The trial doubles
/// with each peer that gave the piece up, so that the least slow peer gets it if all are slow. At most 8.5
/// hours with the usual patience.
const MOST_DOUBLINGS: u16 = 8;

/// A piece that this connection owns, and since when.
struct Held {
    partial: Partial,
    since: Instant,
}

impl Held {
    fn piece(&self) -> Piece {
        self.partial.piece()
    }

    /// How long it may be kept: no limit if other connections can help with it and take over
    /// what has arrived.
    fn until(&self, patience: Duration) -> Option<Instant> {
        let doublings = self.partial.tries()?.min(MOST_DOUBLINGS);
        Some(self.since + patience * (TRIAL << doublings))
    }
}

/// A block to fetch, for another connection if `owner` is set.
#[derive(Copy, Clone)]
struct BlockTask {
    block: Block,
    owner: Option<ConnId>,
}

/// A block that was asked for and has not arrived yet.
struct Asked {
    task: BlockTask,
    at: Instant,
    /// The value of `Requests::came` at that time.
    came: u64,
}

/// A block that was asked for and is no longer waited for.
struct Abandoned {
    block: Block,
    asked_at: Instant,
    /// Whether another connection may still need it.
    of_use: bool,
}

/// Where the bytes of an arrived block are.
#[derive(Copy, Clone)]
pub enum Came<'a> {
    /// They still must be copied to their place.
    Elsewhere(&'a [u8]),
    /// They lie in their place already.
    InPlace,
}

/// The consequences of a block's arrival.
#[derive(Default)]
pub struct Arrival {
    /// The piece, if this block completed it.
    pub complete: Option<Partial>,
    /// The connection that the block was fetched for, if it was not for this one.
    pub owner: Option<ConnId>,
    /// Connections that were asked to fetch the block too.
    pub helpers: Vec<ConnId>,
    /// We had given up on the block, and another connection may be fetching its piece now.
    pub late: bool,
}

/// The pieces and requests of one connection, as downloader.
pub struct Requests {
    torrent: Arc<Torrent>,
    identity: Arc<SourceIdentity>,
    choked: bool,
    /// Pieces that may be asked for although the peer chokes us.
    allowed: Vec<Piece>,
    snubbed: bool,
    refusals: u32,
    window: Window,
    pieces: Vec<Held>,
    to_ask: VecDeque<BlockTask>,
    asked: VecDeque<Asked>,
    /// Number of blocks that arrived and were asked for.
    came: u64,
    /// Blocks of our pieces that other connections were asked to fetch; at most two connections a block.
    lent: Vec<(Block, ConnId)>,
    /// Blocks that we were asked to fetch for other connections and will not fetch.
    unhelped: BTreeMap<ConnId, Vec<Block>>,
    abandoned: VecDeque<Abandoned>,
    /// When the last block arrived, or the first one after a pause was asked for.
    progress_at: Instant,
    /// Start of the current trial of the peer's speed, during which it always owed us blocks, and `came`
    /// at that time.
    trial: (Instant, u64),
    /// Set while the peer is too slow: until then other connections take its pieces.
    resting_until: Option<Instant>,
}

impl Requests {
    /// No pieces yet, and choked, as every connection begins (BEP 3).
    pub fn new(torrent: Arc<Torrent>, identity: Arc<SourceIdentity>, now: Instant) -> Self {
        Requests {
            torrent,
            identity,
            choked: true,
            allowed: Vec::new(),
            snubbed: false,
            refusals: 0,
            window: Window::new(DEFAULT_QUEUE),
            pieces: Vec::new(),
            to_ask: VecDeque::new(),
            asked: VecDeque::new(),
            came: 0,
            lent: Vec::new(),
            unhelped: BTreeMap::new(),
            abandoned: VecDeque::new(),
            progress_at: now,
            trial: (now, 0),
            resting_until: None,
        }
    }

    /// Whether the peer chokes us.
    pub fn is_choked(&self) -> bool {
        self.choked
    }

    /// The address of the peer, if this is one.
    pub fn peer_addr(&self) -> Option<IpAddr> {
        self.identity.peer().map(|peer| peer.addr)
    }

    /// The peer lets us ask for this piece even while it chokes us (BEP 6).
    pub fn allow(&mut self, piece: Piece) {
        if self.allowed.len() < MAX_ALLOWED && !self.allowed.contains(&piece) {
            self.allowed.push(piece);
        }
    }

    /// While the peer chokes us, the only pieces that may be asked for, without those that are being fetched.
    pub fn only(&self) -> Option<impl Iterator<Item = Piece> + '_> {
        let is_held = |piece: &Piece| self.pieces.iter().any(|held| held.piece() == *piece);
        let pieces = self.allowed.iter().copied().filter(move |piece| !is_held(piece));
        self.choked.then_some(pieces)
    }

    /// The peer said how many requests it keeps (`reqq`, BEP 10).
    pub fn set_queue(&mut self, requests: u32) {
        self.window.set_limit(requests);
    }

    /// Begins with a window of that many blocks, instead of the default.
    pub fn set_window(&mut self, blocks: u32) {
        self.window.start_with(blocks);
    }

    /// The peer unchoked us.
    pub fn unchoked(&mut self, now: Instant) {
        self.choked = false;
        self.progress_at = now;
        self.encouraged();
    }

    /// The peer sent something useful, so it is worth asking again.
    pub fn encouraged(&mut self) {
        self.snubbed = false;
        self.refusals = 0;
    }

    /// The peer choked us: all open requests are void but those for pieces that it allows. Returns the other
    /// pieces, with the blocks that arrived.
    pub fn choked(&mut self) -> Vec<Partial> {
        self.choked = true;
        let allowed = self.allowed.clone();
        self.let_go_all_but(&allowed)
    }

    /// Nothing will come any more. Returns the pieces with the blocks that arrived.
    pub fn ended(&mut self) -> Vec<Partial> {
        self.choked = true;
        self.allowed.clear();
        self.let_go()
    }

    fn let_go(&mut self) -> Vec<Partial> {
        self.let_go_all_but(&[])
    }

    fn let_go_all_but(&mut self, kept: &[Piece]) -> Vec<Partial> {
        let goes = |block: Block| !kept.contains(&block.piece());
        self.lent.retain(|(block, _)| !goes(*block));
        let to_ask = std::mem::take(&mut self.to_ask).into_iter();
        let (gone, kept_to_ask): (VecDeque<_>, VecDeque<_>) = to_ask.partition(|task| goes(task.block));
        self.to_ask = kept_to_ask;
        gone.into_iter().for_each(|task| self.not_helping(task));
        let asked = std::mem::take(&mut self.asked).into_iter();
        let (gone, kept_asked): (VecDeque<_>, VecDeque<_>) = asked.partition(|asked| goes(asked.task.block));
        self.asked = kept_asked;
        for asked in gone {
            self.abandon(&asked, true);
            self.not_helping(asked.task);
        }
        let pieces = self.pieces.extract_if(.., |held| !kept.contains(&held.piece()));
        pieces.map(|held| held.partial).collect()
    }

    /// Takes over a piece. Returns it at once if the peer has choked us, or turned out too slow,
    /// in the meantime.
    pub fn add(&mut self, partial: Partial, now: Instant) -> Option<Partial> {
        if !self.may_ask(partial.piece()) {
            return Some(partial);
        }
        let missing = partial.missing_blocks(self.torrent.geometry());
        self.to_ask.extend(missing.map(|block| BlockTask { block, owner: None }));
        self.pieces.push(Held { partial, since: now });
        None
    }

    /// Whether this peer is worth asking.
    fn is_fit(&self) -> bool {
        !self.snubbed && self.resting_until.is_none()
    }

    /// Whether this peer may be asked for the piece.
    fn may_ask(&self, piece: Piece) -> bool {
        self.is_fit() && (!self.choked || self.allowed.contains(&piece))
    }

    /// The blocks that are asked for and have not arrived yet.
    pub fn asked(&self) -> impl ExactSizeIterator<Item = Block> + '_ {
        self.asked.iter().map(|asked| asked.task.block)
    }

    /// Maximum number of blocks that may be asked for at a time.
    pub fn window(&self) -> u32 {
        self.window.blocks()
    }

    /// The next block to ask for, if the window has room.
    pub fn next_request(&mut self, now: Instant) -> Option<Block> {
        if self.asked.len() >= self.window.blocks() as usize {
            return None;
        }
        let task = self.to_ask.pop_front()?;
        if self.asked.is_empty() {
            self.progress_at = now;
            self.trial = (now, self.came);
        }
        self.asked.push_back(Asked { task, at: now, came: self.came });
        Some(task.block)
    }

    /// Whether so few blocks are asked for or in the queue that more pieces should be found.
    pub fn wants_work(&self) -> bool {
        let ahead = self.asked.len() + self.to_ask.len();
        let serves = !self.choked || !self.allowed.is_empty();
        self.is_fit() && serves && self.window.is_low(ahead)
    }

    /// The scatter-read targets of the blocks that should come next: those asked for longest ago, up to the
    /// first that is for another connection, or not `whole`: it comes with bytes that have no place.
    pub fn landing(&mut self, whole: impl Fn(Block) -> bool) -> Landing<'_> {
        let tasks = self.asked.iter().map(|asked| asked.task);
        let ours = tasks.take_while(|task| task.owner.is_none() && whole(task.block));
        let runs = landing::runs(ours.map(|task| task.block));
        let partials = self.pieces.iter_mut().map(|held| &mut held.partial);
        Landing::new(runs, partials)
    }

    /// The block asked for longest ago was read into its place.
    pub fn landed(&mut self, now: Instant) -> Option<(Block, Arrival)> {
        let block = self.asked.front()?.task.block;
        Some((block, self.arrived(block, Came::InPlace, now)?))
    }

    /// A block arrived. `None` if it was never asked for.
    pub fn arrived(&mut self, block: Block, data: Came<'_>, now: Instant) -> Option<Arrival> {
        let Some(at) = self.asked.iter().position(|asked| asked.task.block == block) else {
            let late = self.take_abandoned(block)?;
            self.encouraged();
            self.window.took(now.saturating_duration_since(late.asked_at));
            return Some(Arrival { late: late.of_use, ..Arrival::default() });
        };
        let asked = self.asked.remove(at)?;
        let [after, pause] = [asked.at, self.progress_at].map(|since| now.saturating_duration_since(since));
        self.progress_at = now;
        self.encouraged();
        self.came += 1;
        self.window.arrived(after, self.came - asked.came, pause);
        if asked.task.owner.is_some() {
            return Some(Arrival { owner: asked.task.owner, ..Arrival::default() });
        }
        let identity = Arc::clone(&self.identity);
        Some(Arrival {
            complete: self.put(block, data, &identity),
            helpers: self.no_longer_lent(block),
            ..Arrival::default()
        })
    }

    fn put(&mut self, block: Block, data: Came<'_>, from: &Arc<SourceIdentity>) -> Option<Partial> {
        let at = self.pieces.iter().position(|held| held.piece() == block.piece())?;
        let partial = &mut self.pieces.get_mut(at)?.partial;
        match data {
            Came::Elsewhere(data) => partial.put(block, data, from),
            Came::InPlace => partial.landed(block, from),
        };
        let complete = partial.is_complete();
        complete.then(|| self.pieces.swap_remove(at).partial)
    }

    /// The peer refused a block (BEP 6). Returns the pieces that go back: that of the block, which the peer
    /// may not have at all, or all of them after too many refusals.
    pub fn rejected(&mut self, block: Block) -> Vec<Partial> {
        let at = self.asked.iter().position(|asked| asked.task.block == block);
        let Some(refused) = at.and_then(|at| self.asked.remove(at)) else {
            self.take_abandoned(block);
            return Vec::new();
        };
        self.not_helping(refused.task);
        self.window.refused();
        self.refusals += 1;
        if self.refusals >= REFUSALS {
            self.snubbed = true;
            return self.let_go();
        }
        if self.choked {
            self.allowed.retain(|piece| *piece != block.piece()); // not any more
            return self.let_go_all_but(&self.allowed.clone());
        }
        match refused.task.owner {
            None => self.let_go_of(block.piece()),
            Some(_) => Vec::new(),
        }
    }

    fn let_go_of(&mut self, piece: Piece) -> Vec<Partial> {
        self.to_ask.retain(|task| task.block.piece() != piece || task.owner.is_some());
        self.lent.retain(|(block, _)| block.piece() != piece);
        let (gone, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.asked)
            .into_iter()
            .partition(|asked| asked.task.block.piece() == piece && asked.task.owner.is_none());
        self.asked = kept;
        gone.iter().for_each(|asked| self.abandon(asked, true));
        let at = self.pieces.iter().position(|held| held.piece() == piece);
        at.map(|at| self.pieces.swap_remove(at).partial).into_iter().collect()
    }

    fn abandon(&mut self, asked: &Asked, of_use: bool) {
        if self.abandoned.len() == MAX_ABANDONED {
            self.abandoned.pop_front();
        }
        self.abandoned.push_back(Abandoned { block: asked.task.block, asked_at: asked.at, of_use });
    }

    fn take_abandoned(&mut self, block: Block) -> Option<Abandoned> {
        let at = self.abandoned.iter().position(|abandoned| abandoned.block == block)?;
        self.abandoned.remove(at)
    }

    /// Panics if the invariant is broken; for tests, simulations and fuzzing.
    pub fn assert_invariant(&self) {
        let ours = |task: &BlockTask| task.owner.is_none();
        let asked = self.asked.iter().map(|asked| asked.task).filter(ours);
        let waiting: Vec<Block> =
            asked.chain(self.to_ask.iter().copied().filter(ours)).map(|task| task.block).collect();
        let missing =
            self.pieces.iter().flat_map(|held| held.partial.missing_blocks(self.torrent.geometry()));
        let missing: std::collections::HashSet<Block> = missing.collect();
        assert_eq!(waiting.len(), missing.len(), "some block is nowhere, or twice");
        assert!(waiting.iter().all(|block| missing.contains(block)));
        assert!(self.lent.iter().all(|(block, _)| missing.contains(block)), "lent and not missing");
        assert!(self.abandoned.len() <= MAX_ABANDONED);
        let may_come = |piece: &Piece| !self.choked || self.allowed.contains(piece);
        assert!(self.pieces.iter().all(|held| may_come(&held.piece())));
        let tasks = self.asked.iter().map(|asked| &asked.task).chain(&self.to_ask);
        assert!(tasks.map(|task| task.block.piece()).all(|piece| may_come(&piece)));
    }
}
