//! The incoming half of a session: the pieces we fetch from this peer and the blocks we asked it for. Pure.
//!
//! Invariant: each block that is missing of a piece in `pieces` is in `to_ask` or in `asked`, and nowhere twice. A
//! block in `abandoned` was asked for once and may still come, but nobody waits for it.
//!
//! A peer that owes us blocks loses its pieces in one of three ways: it sends nothing for a *patience* (30 s) and is
//! snubbed until it gives a sign; it *trickles* for four of them, or keeps a piece too long that nobody may help with, and rests
//! for one, in which others take what it had; or it refuses. What an idle connection may take over is in
//! [`lend`](Requests::lend).

mod snubbing;
use super::landing::{self, Landing};
use super::partial::Partial;
use super::window::Window;
use crate::peer::identity::ConnId;
use crate::peer::identity::PeerIdentity;
use crate::torrent::{Block, Piece, Torrent};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many requests a peer keeps that does not say: libtorrent and aria2 keep at least this many.
const DEFAULT_QUEUE: u32 = 250;
/// Blocks that may still come after we gave up on them: as many as two full windows.
const MAX_ABANDONED: usize = 1024;
/// A block that was asked for so short a time ago is on its way as far as anybody knows: asking another peer for it, too, would
/// mostly bring it twice.
const SOON: Duration = Duration::from_millis(500);
/// So many refusals with no block between them, and we stop asking until the peer gives a sign.
const REFUSALS: u32 = 16;

/// A peer's speed is judged over so many patiences: with the usual one, two minutes.
const TRIAL: u32 = 4;
/// The trial of a piece that is to come from one peer alone doubles with each peer that gave it up, so that where all are slow
/// the least slow one gets it; but no more often than this, to half a day.
const MOST_DOUBLINGS: u16 = 8;

/// A piece that this connection owns.
struct Held {
    partial: Partial,
    since: Instant,
}

impl Held {
    fn piece(&self) -> Piece {
        self.partial.piece()
    }

    /// Until when it may be kept: without end if others can help with it, and what came of it is not lost.
    fn until(&self, patience: Duration) -> Option<Instant> {
        let doublings = self.partial.tries()?.min(MOST_DOUBLINGS);
        Some(self.since + patience * (TRIAL << doublings))
    }
}

/// A block to fetch; for another connection if `owner` is set.
#[derive(Copy, Clone)]
struct BlockTask {
    block: Block,
    owner: Option<ConnId>,
}

struct Asked {
    task: BlockTask,
    at: Instant,
    /// How many blocks had come by then.
    came: u64,
}

/// A block that was asked for and is no longer waited for.
struct Abandoned {
    block: Block,
    asked_at: Instant,
    /// Whether it may still be of use.
    of_use: bool,
}

/// Where the bytes of a block are that came.
#[derive(Copy, Clone)]
pub enum Came<'a> {
    /// They wait to be copied.
    Elsewhere(&'a [u8]),
    /// They landed where they belong.
    InPlace,
}

/// What the arrival of a block brought about.
#[derive(Default)]
pub struct Arrival {
    /// It finished its piece.
    pub complete: Option<Partial>,
    /// It was fetched for this connection.
    pub owner: Option<ConnId>,
    /// These connections were to fetch it too.
    pub helpers: Vec<ConnId>,
    /// We had given up on it, and somebody else may fetch its piece by now.
    pub late: bool,
}

pub struct Requests {
    torrent: Arc<Torrent>,
    identity: Arc<PeerIdentity>,
    choked: bool,
    snubbed: bool,
    refusals: u32,
    window: Window,
    pieces: Vec<Held>,
    to_ask: VecDeque<BlockTask>,
    asked: VecDeque<Asked>,
    /// Blocks that came and were asked for.
    came: u64,
    /// Blocks of our pieces that others were asked to fetch; one block to several if time runs short.
    lent: Vec<(Block, ConnId)>,
    /// Blocks that we were to fetch for others and will not.
    unhelped: BTreeMap<ConnId, Vec<Block>>,
    abandoned: VecDeque<Abandoned>,
    /// When the last block came, or the first was asked for after a pause.
    progress_at: Instant,
    /// Since when its speed is on trial: it owed us blocks all the time; and how many had come before.
    trial: (Instant, u64),
    /// Too slow just now: until then others have what it had.
    resting_until: Option<Instant>,
}

impl Requests {
    pub fn new(torrent: Arc<Torrent>, identity: Arc<PeerIdentity>, now: Instant) -> Self {
        Requests {
            torrent,
            identity,
            choked: true,
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

    pub fn is_choked(&self) -> bool {
        self.choked
    }

    pub fn set_queue(&mut self, requests: u32) {
        self.window.set_limit(requests);
    }

    pub fn set_window(&mut self, blocks: u32) {
        self.window.start_with(blocks);
    }

    pub fn unchoked(&mut self, now: Instant) {
        self.choked = false;
        self.progress_at = now;
        self.encouraged();
    }

    /// The peer gave a sign of life that makes it worth asking again.
    pub fn encouraged(&mut self) {
        self.snubbed = false;
        self.refusals = 0;
    }

    /// Everything in flight is void. Returns the pieces as far as they came.
    pub fn choked(&mut self) -> Vec<Partial> {
        self.choked = true;
        self.let_go()
    }

    fn let_go(&mut self) -> Vec<Partial> {
        self.lent.clear();
        for task in std::mem::take(&mut self.to_ask) {
            self.not_helping(task);
        }
        while let Some(asked) = self.asked.pop_front() {
            self.forgive(&asked, true);
            self.not_helping(asked.task);
        }
        std::mem::take(&mut self.pieces).into_iter().map(|held| held.partial).collect()
    }

    /// Takes a piece on. Gives it back at once if the peer has choked, or has turned out too slow, in the meantime.
    pub fn add(&mut self, partial: Partial, now: Instant) -> Option<Partial> {
        if !self.is_fit() {
            return Some(partial);
        }
        let missing = partial.missing_blocks(self.torrent.geometry());
        self.to_ask.extend(missing.map(|block| BlockTask { block, owner: None }));
        self.pieces.push(Held { partial, since: now });
        None
    }

    /// Whether to ask this peer for anything at all.
    fn is_fit(&self) -> bool {
        !self.choked && !self.snubbed && self.resting_until.is_none()
    }

    pub fn help(&mut self, owner: ConnId, blocks: &[Block]) {
        let tasks = blocks.iter().map(|block| BlockTask { block: *block, owner: Some(owner) });
        if !self.is_fit() {
            tasks.for_each(|task| self.not_helping(task));
        } else {
            self.to_ask.extend(tasks);
        }
    }

    fn not_helping(&mut self, task: BlockTask) {
        if let Some(owner) = task.owner {
            self.unhelped.entry(owner).or_default().push(task.block);
        }
    }

    /// The blocks that we were to fetch for others and will not, by owner.
    pub fn take_unhelped(&mut self) -> BTreeMap<ConnId, Vec<Block>> {
        std::mem::take(&mut self.unhelped)
    }

    /// The blocks that are asked for and awaited.
    pub fn asked(&self) -> impl ExactSizeIterator<Item = Block> + '_ {
        self.asked.iter().map(|asked| asked.task.block)
    }

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

    /// Whether less than half a window is asked for or waits to be.
    pub fn wants_work(&self) -> bool {
        let ahead = self.asked.len() + self.to_ask.len();
        self.is_fit() && ahead * 2 < self.window.blocks() as usize + 1
    }

    /// Where the blocks will land that should come next: those asked for longest ago, up to the first that is not ours.
    pub fn landing(&mut self) -> Landing<'_> {
        let ours = self.asked.iter().map(|asked| asked.task).take_while(|task| task.owner.is_none());
        let runs = landing::runs(ours.map(|task| task.block));
        let partials = self.pieces.iter_mut().map(|held| &mut held.partial);
        Landing::new(runs, partials)
    }

    /// The block asked for longest ago has landed in its place.
    pub fn landed(&mut self, now: Instant) -> Option<(Block, Arrival)> {
        let block = self.asked.front()?.task.block;
        Some((block, self.arrived(block, Came::InPlace, now)?))
    }

    /// A block came. `None` if nobody ever asked for it.
    pub fn arrived(&mut self, block: Block, data: Came<'_>, now: Instant) -> Option<Arrival> {
        let Some(at) = self.asked.iter().position(|asked| asked.task.block == block) else {
            let late = self.take_abandoned(block)?;
            self.encouraged();
            self.window.took(now.saturating_duration_since(late.asked_at));
            return Some(Arrival { late: late.of_use, ..Arrival::default() });
        };
        let asked = self.asked.remove(at)?;
        self.progress_at = now;
        self.encouraged();
        self.came += 1;
        self.window.arrived(now.saturating_duration_since(asked.at), self.came - asked.came);
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

    fn put(&mut self, block: Block, data: Came<'_>, from: &Arc<PeerIdentity>) -> Option<Partial> {
        let at = self.pieces.iter().position(|held| held.piece() == block.piece())?;
        let partial = &mut self.pieces.get_mut(at)?.partial;
        match data {
            Came::Elsewhere(data) => partial.put(block, data, from),
            Came::InPlace => partial.landed(block, from),
        };
        let complete = partial.is_complete();
        complete.then(|| self.pieces.swap_remove(at).partial)
    }

    /// The peer refused a block. Its piece goes back, since the peer may not have it at all.
    pub fn rejected(&mut self, block: Block) -> Vec<Partial> {
        let Some(at) = self.asked.iter().position(|asked| asked.task.block == block) else {
            self.take_abandoned(block);
            return Vec::new();
        };
        let refused = self.asked.remove(at);
        self.window.refused();
        self.refusals += 1;
        if self.refusals >= REFUSALS {
            self.snubbed = true;
            refused.into_iter().for_each(|asked| self.not_helping(asked.task));
            return self.let_go();
        }
        match refused {
            Some(Asked { task: BlockTask { owner: None, .. }, .. }) => self.let_go_of(block.piece()),
            Some(asked) => {
                self.not_helping(asked.task);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    fn let_go_of(&mut self, piece: Piece) -> Vec<Partial> {
        self.to_ask.retain(|task| task.block.piece() != piece || task.owner.is_some());
        self.lent.retain(|(block, _)| block.piece() != piece);
        let (gone, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.asked)
            .into_iter()
            .partition(|asked| asked.task.block.piece() == piece && asked.task.owner.is_none());
        self.asked = kept;
        gone.iter().for_each(|asked| self.forgive(asked, true));
        let at = self.pieces.iter().position(|held| held.piece() == piece);
        at.map(|at| self.pieces.swap_remove(at).partial).into_iter().collect()
    }

    /// Half of what is still owed of `piece` and not lent yet, from its end: what would come last; but not what was asked for
    /// a moment ago, which comes by itself if all is well. Once all is lent, the
    /// same to one more, in case the first is slow, and no further: of many who fetch the same all but one do so in
    /// vain. What we have not asked for ourselves yet moves to the end of our own queue, so that it is fetched here
    /// only if help fails.
    pub fn lend(&mut self, piece: Piece, helper: ConnId, now: Instant) -> Vec<Block> {
        let Some(held) = self.pieces.iter().find(|held| held.piece() == piece) else {
            return Vec::new();
        };
        let soon = SOON.max(self.window.usual() * 3 / 2);
        let expected: Vec<Block> =
            self.asked.iter().filter(|asked| now < asked.at + soon).map(|asked| asked.task.block).collect();
        let missing =
            || held.partial.missing_blocks(self.torrent.geometry()).filter(|block| !expected.contains(block));
        let mut owed: Vec<Block> =
            missing().filter(|block| self.helpers_with(*block).next().is_none()).collect();
        if owed.is_empty() {
            let may_help = |block: &Block| {
                let mut helpers = self.helpers_with(*block);
                let (first, second) = (helpers.next(), helpers.next());
                first != Some(helper) && second.is_none()
            };
            owed = missing().filter(may_help).collect();
        }
        let lent = owed[owed.len() / 2..].to_vec();
        self.lent.extend(lent.iter().map(|block| (*block, helper)));
        let (last, first): (VecDeque<BlockTask>, VecDeque<BlockTask>) = std::mem::take(&mut self.to_ask)
            .into_iter()
            .partition(|task| task.owner.is_none() && lent.contains(&task.block));
        self.to_ask = first;
        self.to_ask.extend(last);
        lent
    }

    /// A helper will not fetch these blocks of ours.
    pub fn not_helped(&mut self, helper: ConnId, blocks: &[Block]) {
        self.lent.retain(|(block, to)| *to != helper || !blocks.contains(block));
    }

    /// A helper brought a block: whether our own request for it is to be cancelled, and what else came of it.
    pub fn helped(&mut self, block: Block, data: &[u8], from: &Arc<PeerIdentity>) -> (bool, Arrival) {
        let helpers = self.no_longer_lent(block);
        let ours = |task: &BlockTask| task.block == block && task.owner.is_none();
        self.to_ask.retain(|task| !ours(task));
        let asked = self.asked.iter().position(|asked| ours(&asked.task));
        if let Some(at) = asked {
            let asked = self.asked.remove(at);
            asked.iter().for_each(|asked| self.forgive(asked, false));
        }
        let complete = self.put(block, Came::Elsewhere(data), from);
        (asked.is_some(), Arrival { complete, helpers, ..Arrival::default() })
    }

    /// Drops a block that we fetch for somebody else: whether its request is to be cancelled.
    pub fn forget_help(&mut self, block: Block) -> bool {
        let theirs = |task: &BlockTask| task.block == block && task.owner.is_some();
        self.to_ask.retain(|task| !theirs(task));
        let asked = self.asked.iter().position(|asked| theirs(&asked.task));
        if let Some(at) = asked {
            let asked = self.asked.remove(at);
            asked.iter().for_each(|asked| self.forgive(asked, false));
        }
        asked.is_some()
    }

    fn helpers_with(&self, block: Block) -> impl Iterator<Item = ConnId> + '_ {
        self.lent.iter().filter(move |(lent, _)| *lent == block).map(|(_, helper)| *helper)
    }

    fn no_longer_lent(&mut self, block: Block) -> Vec<ConnId> {
        self.lent.extract_if(.., |(lent, _)| *lent == block).map(|(_, helper)| helper).collect()
    }

    fn forgive(&mut self, asked: &Asked, of_use: bool) {
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
        assert!(!self.choked || self.pieces.is_empty());
    }
}
