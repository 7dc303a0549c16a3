//! The incoming half of a session: the pieces we fetch from this peer and the blocks we asked it for. Pure.
//!
//! Invariant: each block that is missing of a piece in `pieces` is in `to_ask` or in `asked`, and nowhere twice. A
//! block in `forgiven` was asked for once and may still come, but nobody waits for it.
//!
//! A peer that owes us blocks loses its pieces in one of three ways: it sends nothing for a *patience* (30 s) and is
//! snubbed until it gives a sign; it *trickles* for four of them, or keeps a piece too long that nobody may help with, and rests
//! for one, in which others take what it had; or it refuses. What an idle connection may take over is in
//! [`lend`](Fetching::lend).

mod snubbing;
use super::landing::{self, Landing};
use super::partial::Partial;
use super::window::Window;
use crate::peer::identity::ConnId;
use crate::peer::identity::Source;
use crate::torrent::{Block, Piece, Torrent};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many requests a peer keeps that does not say: libtorrent and aria2 keep at least this many.
const DEFAULT_QUEUE: u32 = 250;
/// Blocks that may still come after we gave up on them: as many as two full windows.
const FORGIVEN: usize = 1024;
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
struct Errand {
    block: Block,
    owner: Option<ConnId>,
}

struct Asked {
    errand: Errand,
    at: Instant,
    /// How many blocks had come by then.
    came: u64,
}

/// A block that was asked for and is no longer waited for.
struct Forgiven {
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

pub struct Fetching {
    torrent: Arc<Torrent>,
    source: Arc<Source>,
    choked: bool,
    snubbed: bool,
    refusals: u32,
    window: Window,
    pieces: Vec<Held>,
    to_ask: VecDeque<Errand>,
    asked: VecDeque<Asked>,
    /// Blocks that came and were asked for.
    came: u64,
    /// Blocks of our pieces that others were asked to fetch; one block to several if time runs short.
    lent: Vec<(Block, ConnId)>,
    /// Blocks that we were to fetch for others and will not.
    unhelped: BTreeMap<ConnId, Vec<Block>>,
    forgiven: VecDeque<Forgiven>,
    /// When the last block came, or the first was asked for after a pause.
    progress_at: Instant,
    /// Since when its speed is on trial: it owed us blocks all the time; and how many had come before.
    trial: (Instant, u64),
    /// Too slow just now: until then others have what it had.
    resting_until: Option<Instant>,
}

impl Fetching {
    pub fn new(torrent: Arc<Torrent>, source: Arc<Source>, now: Instant) -> Self {
        Fetching {
            torrent,
            source,
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
            forgiven: VecDeque::new(),
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
        for errand in std::mem::take(&mut self.to_ask) {
            self.not_helping(errand);
        }
        while let Some(asked) = self.asked.pop_front() {
            self.forgive(&asked, true);
            self.not_helping(asked.errand);
        }
        std::mem::take(&mut self.pieces).into_iter().map(|held| held.partial).collect()
    }

    /// Takes a piece on. Gives it back at once if the peer has choked, or has turned out too slow, in the meantime.
    pub fn add(&mut self, partial: Partial, now: Instant) -> Option<Partial> {
        if !self.is_fit() {
            return Some(partial);
        }
        let missing = partial.missing_blocks(self.torrent.geometry());
        self.to_ask.extend(missing.map(|block| Errand { block, owner: None }));
        self.pieces.push(Held { partial, since: now });
        None
    }

    /// Whether to ask this peer for anything at all.
    fn is_fit(&self) -> bool {
        !self.choked && !self.snubbed && self.resting_until.is_none()
    }

    pub fn help(&mut self, owner: ConnId, blocks: &[Block]) {
        let errands = blocks.iter().map(|block| Errand { block: *block, owner: Some(owner) });
        if !self.is_fit() {
            errands.for_each(|errand| self.not_helping(errand));
        } else {
            self.to_ask.extend(errands);
        }
    }

    fn not_helping(&mut self, errand: Errand) {
        if let Some(owner) = errand.owner {
            self.unhelped.entry(owner).or_default().push(errand.block);
        }
    }

    /// The blocks that we were to fetch for others and will not, by owner.
    pub fn take_unhelped(&mut self) -> BTreeMap<ConnId, Vec<Block>> {
        std::mem::take(&mut self.unhelped)
    }

    /// The blocks that are asked for and awaited.
    pub fn asked(&self) -> impl ExactSizeIterator<Item = Block> + '_ {
        self.asked.iter().map(|asked| asked.errand.block)
    }

    pub fn window(&self) -> u32 {
        self.window.blocks()
    }

    /// The next block to ask for, if the window has room.
    pub fn next_request(&mut self, now: Instant) -> Option<Block> {
        if self.asked.len() >= self.window.blocks() as usize {
            return None;
        }
        let errand = self.to_ask.pop_front()?;
        if self.asked.is_empty() {
            self.progress_at = now;
            self.trial = (now, self.came);
        }
        self.asked.push_back(Asked { errand, at: now, came: self.came });
        Some(errand.block)
    }

    /// Whether less than half a window is asked for or waits to be.
    pub fn wants_work(&self) -> bool {
        let ahead = self.asked.len() + self.to_ask.len();
        self.is_fit() && ahead * 2 < self.window.blocks() as usize + 1
    }

    /// Where the blocks will land that should come next: those asked for longest ago, up to the first that is not ours.
    pub fn landing(&mut self) -> Landing<'_> {
        let ours = self.asked.iter().map(|asked| asked.errand).take_while(|errand| errand.owner.is_none());
        let runs = landing::runs(ours.map(|errand| errand.block));
        let partials = self.pieces.iter_mut().map(|held| &mut held.partial);
        Landing::new(runs, partials)
    }

    /// The block asked for longest ago has landed in its place.
    pub fn landed(&mut self, now: Instant) -> Option<(Block, Arrival)> {
        let block = self.asked.front()?.errand.block;
        Some((block, self.arrived(block, Came::InPlace, now)?))
    }

    /// A block came. `None` if nobody ever asked for it.
    pub fn arrived(&mut self, block: Block, data: Came<'_>, now: Instant) -> Option<Arrival> {
        let Some(at) = self.asked.iter().position(|asked| asked.errand.block == block) else {
            let late = self.take_forgiven(block)?;
            self.encouraged();
            self.window.took(now.saturating_duration_since(late.asked_at));
            return Some(Arrival { late: late.of_use, ..Arrival::default() });
        };
        let asked = self.asked.remove(at)?;
        self.progress_at = now;
        self.encouraged();
        self.came += 1;
        self.window.arrived(now.saturating_duration_since(asked.at), self.came - asked.came);
        if asked.errand.owner.is_some() {
            return Some(Arrival { owner: asked.errand.owner, ..Arrival::default() });
        }
        let source = Arc::clone(&self.source);
        Some(Arrival {
            complete: self.put(block, data, &source),
            helpers: self.no_longer_lent(block),
            ..Arrival::default()
        })
    }

    fn put(&mut self, block: Block, data: Came<'_>, from: &Arc<Source>) -> Option<Partial> {
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
        let Some(at) = self.asked.iter().position(|asked| asked.errand.block == block) else {
            self.take_forgiven(block);
            return Vec::new();
        };
        let refused = self.asked.remove(at);
        self.window.refused();
        self.refusals += 1;
        if self.refusals >= REFUSALS {
            self.snubbed = true;
            refused.into_iter().for_each(|asked| self.not_helping(asked.errand));
            return self.let_go();
        }
        match refused {
            Some(Asked { errand: Errand { owner: None, .. }, .. }) => self.let_go_of(block.piece()),
            Some(asked) => {
                self.not_helping(asked.errand);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    fn let_go_of(&mut self, piece: Piece) -> Vec<Partial> {
        self.to_ask.retain(|errand| errand.block.piece() != piece || errand.owner.is_some());
        self.lent.retain(|(block, _)| block.piece() != piece);
        let (gone, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.asked)
            .into_iter()
            .partition(|asked| asked.errand.block.piece() == piece && asked.errand.owner.is_none());
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
            self.asked.iter().filter(|asked| now < asked.at + soon).map(|asked| asked.errand.block).collect();
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
        let (last, first): (VecDeque<Errand>, VecDeque<Errand>) = std::mem::take(&mut self.to_ask)
            .into_iter()
            .partition(|errand| errand.owner.is_none() && lent.contains(&errand.block));
        self.to_ask = first;
        self.to_ask.extend(last);
        lent
    }

    /// A helper will not fetch these blocks of ours.
    pub fn not_helped(&mut self, helper: ConnId, blocks: &[Block]) {
        self.lent.retain(|(block, to)| *to != helper || !blocks.contains(block));
    }

    /// A helper brought a block: whether our own request for it is to be cancelled, and what else came of it.
    pub fn helped(&mut self, block: Block, data: &[u8], from: &Arc<Source>) -> (bool, Arrival) {
        let helpers = self.no_longer_lent(block);
        let ours = |errand: &Errand| errand.block == block && errand.owner.is_none();
        self.to_ask.retain(|errand| !ours(errand));
        let asked = self.asked.iter().position(|asked| ours(&asked.errand));
        if let Some(at) = asked {
            let asked = self.asked.remove(at);
            asked.iter().for_each(|asked| self.forgive(asked, false));
        }
        let complete = self.put(block, Came::Elsewhere(data), from);
        (asked.is_some(), Arrival { complete, helpers, ..Arrival::default() })
    }

    /// Drops a block that we fetch for somebody else: whether its request is to be cancelled.
    pub fn forget_help(&mut self, block: Block) -> bool {
        let theirs = |errand: &Errand| errand.block == block && errand.owner.is_some();
        self.to_ask.retain(|errand| !theirs(errand));
        let asked = self.asked.iter().position(|asked| theirs(&asked.errand));
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
        if self.forgiven.len() == FORGIVEN {
            self.forgiven.pop_front();
        }
        self.forgiven.push_back(Forgiven { block: asked.errand.block, asked_at: asked.at, of_use });
    }

    fn take_forgiven(&mut self, block: Block) -> Option<Forgiven> {
        let at = self.forgiven.iter().position(|forgiven| forgiven.block == block)?;
        self.forgiven.remove(at)
    }

    /// Panics if the invariant is broken; for tests, simulations and fuzzing.
    pub fn assert_invariant(&self) {
        let ours = |errand: &Errand| errand.owner.is_none();
        let asked = self.asked.iter().map(|asked| asked.errand).filter(ours);
        let waiting: Vec<Block> =
            asked.chain(self.to_ask.iter().copied().filter(ours)).map(|errand| errand.block).collect();
        let missing =
            self.pieces.iter().flat_map(|held| held.partial.missing_blocks(self.torrent.geometry()));
        let missing: std::collections::HashSet<Block> = missing.collect();
        assert_eq!(waiting.len(), missing.len(), "some block is nowhere, or twice");
        assert!(waiting.iter().all(|block| missing.contains(block)));
        assert!(self.lent.iter().all(|(block, _)| missing.contains(block)), "lent and not missing");
        assert!(self.forgiven.len() <= FORGIVEN);
        assert!(!self.choked || self.pieces.is_empty());
    }
}
