//! Connections that help each other at the end of a download: blocks of our pieces that we lend to others,
//! and blocks that we fetch for others. Pure.

use super::{Arrival, BlockTask, Came, Requests};
use crate::peer::identity::{ConnId, SourceIdentity};
use crate::torrent::{Block, Piece};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A block that was asked for less than this ago is assumed to be on its way. If another peer were asked for
/// it too, it would mostly come twice.
const SOON: Duration = Duration::from_millis(500);

impl Requests {
    /// Asks this peer for blocks on behalf of `owner`, another connection.
    pub fn help(&mut self, owner: ConnId, blocks: &[Block]) {
        for task in blocks.iter().map(|block| BlockTask { block: *block, owner: Some(owner) }) {
            match self.may_ask(task.block.piece()) {
                true => self.to_ask.push_back(task),
                false => self.not_helping(task),
            }
        }
    }

    pub(super) fn not_helping(&mut self, task: BlockTask) {
        if let Some(owner) = task.owner {
            self.unhelped.entry(owner).or_default().push(task.block);
        }
    }

    /// Takes the blocks that we were asked to fetch for other connections and will not fetch, by owner.
    pub fn take_unhelped(&mut self) -> BTreeMap<ConnId, Vec<Block>> {
        std::mem::take(&mut self.unhelped)
    }

    /// Blocks of `piece` for `helper` to fetch: half of those that are still missing and not lent yet, from
    /// the end of the piece, since these would arrive last. Blocks that were asked for a moment ago are left
    /// out: they should arrive by themselves. Once all are lent, half of those that are lent only once are
    /// lent to a second helper, in case the first is slow, but never to a third: of several connections that
    /// fetch the same block all but one do so in vain. What we have not asked for ourselves yet moves to the
    /// end of our queue, so that we fetch it only if help fails.
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

    /// A helper fetched a block. Returns whether our own request for it must be cancelled, and
    /// the consequences.
    pub fn helped(&mut self, block: Block, data: &[u8], from: &Arc<SourceIdentity>) -> (bool, Arrival) {
        let helpers = self.no_longer_lent(block);
        let ours = |task: &BlockTask| task.block == block && task.owner.is_none();
        self.to_ask.retain(|task| !ours(task));
        let asked = self.asked.iter().position(|asked| ours(&asked.task));
        if let Some(at) = asked {
            let asked = self.asked.remove(at);
            asked.iter().for_each(|asked| self.abandon(asked, false));
        }
        let complete = self.put(block, Came::Elsewhere(data), from);
        (asked.is_some(), Arrival { complete, helpers, ..Arrival::default() })
    }

    /// Drops a block that we fetch for another connection. Returns whether its request must be cancelled.
    pub fn forget_help(&mut self, block: Block) -> bool {
        let theirs = |task: &BlockTask| task.block == block && task.owner.is_some();
        self.to_ask.retain(|task| !theirs(task));
        let asked = self.asked.iter().position(|asked| theirs(&asked.task));
        if let Some(at) = asked {
            let asked = self.asked.remove(at);
            asked.iter().for_each(|asked| self.abandon(asked, false));
        }
        asked.is_some()
    }

    pub(super) fn helpers_with(&self, block: Block) -> impl Iterator<Item = ConnId> + '_ {
        self.lent.iter().filter(move |(lent, _)| *lent == block).map(|(_, helper)| *helper)
    }

    pub(super) fn no_longer_lent(&mut self, block: Block) -> Vec<ConnId> {
        self.lent.extract_if(.., |(lent, _)| *lent == block).map(|(_, helper)| helper).collect()
    }
}
