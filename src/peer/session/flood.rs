//! How many messages that carry nothing are accepted: a budget of tokens for each connection. Pure.
//!
//! Messages that move the download on are free, and each kind has a bound of its own: a block that was
//! requested, a new piece, a request that is taken. All others cost tokens: keep-alives, repetitions, refused
//! requests, changes of interest, unknown messages. An honest peer in a hurry never spends as much. A peer
//! that does keeps a thread busy for nothing, and is disconnected.
//!
//! What moves the download on also earns tokens. A peer that has caught up with us wants each piece as it
//! comes, and then nothing again: it changes its interest twice for every piece, however fast the pieces
//! come.

use std::time::{Duration, Instant};

/// Tokens at the start. An honest peer that is choked in the middle of a full window has half as many
/// requests refused.
const SAVED: u64 = 2000;
/// Tokens a second: a hundred messages that carry nothing, without end.
const RATE: u64 = 100;

/// Cost of a message that makes us do next to nothing.
pub const IDLE: u64 = 1;
/// Cost of a message that takes a contended lock, or wakes a thread.
pub const STIR: u64 = 10;
/// Tokens earned by a piece that the other side did not have before: two changes of interest. Bounded by the
/// number of pieces.
pub const HAVE: u64 = 2 * STIR;
/// Tokens earned by a block that was requested.
pub const BLOCK: u64 = 1;
/// Bytes of a skipped message or a handshake for which one more token is spent.
pub const BYTES: usize = 1024;

/// The tokens of one connection.
pub struct Flood {
    tokens: u64,
    most: u64,
    /// The time up to which `tokens` was filled.
    filled: Instant,
}

impl Flood {
    /// A full budget for a torrent with this number of pieces: a `Have` for each of them may come twice.
    pub fn new(pieces: u32, now: Instant) -> Self {
        let most = SAVED + u64::from(pieces);
        Flood { tokens: most, most, filled: now }
    }

    /// Spends tokens. False if there were not enough.
    pub fn spend(&mut self, cost: u64, now: Instant) -> bool {
        self.fill(now);
        let left = self.tokens.checked_sub(cost);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }

    /// Adds tokens, up to the maximum.
    pub fn earn(&mut self, tokens: u64) {
        self.tokens = self.tokens.saturating_add(tokens).min(self.most);
    }

    /// Adds the tokens for the time that has passed. Only whole tokens; the rest of the time counts for the
    /// next.
    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        let each = Duration::from_secs(1) / RATE as u32;
        let new = (passed.as_micros() / each.as_micros()) as u64;
        if new > 0 {
            self.tokens = self.tokens.saturating_add(new).min(self.most);
            self.filled += each.saturating_mul(u32::try_from(new).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let start = Instant::now();
        let mut flood = Flood::new(500, start);
        assert!((0..SAVED + 500).all(|_| flood.spend(IDLE, start)));
        assert!(!flood.spend(IDLE, start));
        assert!(flood.spend(IDLE, start + Duration::from_millis(10)));
        assert!(!flood.spend(IDLE, start + Duration::from_millis(15)));
    }

    #[test]
    fn what_comes_slowly_may_come_for_ever() {
        let start = Instant::now();
        let mut flood = Flood::new(0, start);
        for nth in 0..100_000 {
            assert!(flood.spend(IDLE, start + Duration::from_millis(10) * nth), "{nth}");
        }
    }

    #[test]
    fn a_long_rest_saves_no_more_than_there_is_room_for() {
        let start = Instant::now();
        let mut flood = Flood::new(0, start);
        let later = start + Duration::from_secs(10_000_000);
        assert!(flood.spend(SAVED, later));
        assert!(!flood.spend(IDLE, later));
    }

    #[test]
    fn what_is_earned_can_be_spent_but_saves_no_more_than_there_is_room_for() {
        let start = Instant::now();
        let mut flood = Flood::new(0, start);
        assert!(flood.spend(SAVED, start));
        flood.earn(HAVE);
        assert!(flood.spend(HAVE, start));
        assert!(!flood.spend(IDLE, start));
        flood.earn(SAVED + HAVE);
        assert!(flood.spend(SAVED, start));
        assert!(!flood.spend(IDLE, start));
    }
}
