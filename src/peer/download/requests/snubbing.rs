//! Whether a peer that owes us blocks is worth waiting for: patience, snubbing, trickling. Pure.

use super::{Held, Requests, TRIAL};
use crate::peer::download::partial::Partial;
use crate::torrent::{Block, Piece};
use std::time::{Duration, Instant};

/// A peer trickles if it sends fewer blocks than this in each patience of a trial: less than about 3
/// kB/s with the usual patience, although it owes us blocks all the time. It keeps its pieces from
/// others for nothing.
const FEW: u32 = 6;

impl Requests {
    /// A peer whose blocks always take long is given more time than `patience`, within bounds: it is not the
    /// peer's fault if our own line is slow.
    fn patience(&self, patience: Duration) -> Duration {
        (self.window.usual() * 2).min(patience * TRIAL).max(patience)
    }

    /// When a timer ends next, if nothing happens before.
    pub fn due_at(&self, patience: Duration) -> Option<Instant> {
        let owes = !self.asked.is_empty();
        let timers = [
            owes.then(|| self.progress_at + self.patience(patience)),
            owes.then(|| self.trial.0 + patience * TRIAL),
            self.resting_until,
        ];
        timers.into_iter().flatten().chain(self.pieces.iter().filter_map(|held| held.until(patience))).min()
    }

    /// Snubs a peer that owes us blocks and has sent none for `patience`, or for much longer than its blocks
    /// usually take. Returns its pieces, for other connections.
    pub fn snub_if_late(&mut self, patience: Duration, now: Instant) -> Vec<Partial> {
        if self.asked.is_empty() || now < self.progress_at + self.patience(patience) {
            return Vec::new();
        }
        self.snubbed = true;
        self.window.refused();
        self.let_go()
    }

    /// Takes all pieces from a peer that trickles, or only a piece that it keeps for too long and nobody
    /// may help with. The peer then rests. Returns these pieces, and the blocks that the peer need not
    /// send any more.
    pub fn relieve_if_slow(&mut self, patience: Duration, now: Instant) -> (Vec<Partial>, Vec<Block>) {
        self.resting_until.take_if(|until| *until <= now);
        let trickles = self.trickles(patience, now);
        let overdue = |held: &&Held| held.until(patience).is_some_and(|until| until <= now);
        let overdue: Vec<Piece> = self.pieces.iter().filter(overdue).map(Held::piece).collect();
        if !trickles && overdue.is_empty() {
            return (Vec::new(), Vec::new());
        }
        self.resting_until = Some(now + patience);
        let before: Vec<Block> = self.asked.iter().map(|asked| asked.task.block).collect();
        let given_back = match trickles {
            true => self.let_go(),
            false => overdue.into_iter().flat_map(|piece| self.let_go_of(piece)).collect(),
        };
        let still_asked = |block: &Block| self.asked.iter().any(|asked| asked.task.block == *block);
        (given_back, before.into_iter().filter(|block| !still_asked(block)).collect())
    }

    /// Whether too few blocks arrived in the trial, if it ends now. Then the next one begins.
    fn trickles(&mut self, patience: Duration, now: Instant) -> bool {
        let (since, came_before) = self.trial;
        if self.asked.is_empty() || now < since + patience * TRIAL {
            return false;
        }
        let expected =
            now.saturating_duration_since(since).as_secs_f64() / patience.as_secs_f64() * f64::from(FEW);
        let came = self.came - came_before;
        self.trial = (now, self.came);
        (came as f64) < expected
    }
}
