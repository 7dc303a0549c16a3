//! How many blocks to ask one peer for at a time: measured bandwidth × delay (Little's law). Pure.
//!
//! Each block that arrives measures the rate: the number of blocks that arrived between its request and its
//! arrival, divided by that time. The window that keeps the pipe full is this rate times the shortest delay
//! seen. To this comes what should wait at the other side for `QUEUE`, so that it always has a request to
//! work on.
//!
//! Many senders answer together what has come, and then pause until their clock ticks again: a *pulse*
//! (Transmission 3: half a second). `Pulse` measures these pauses, if they are long: for short ones, what
//! waits for `QUEUE` is enough. Such a sender needs what it answers in one pulse, and as much again that
//! waits, or that is under way if this is more, with half of `QUEUE`. The window is the greater of the two
//! sums.
//!
//! Why this finds the right size at any rhythm: while the window is the bottleneck, all of it is answered
//! within the delay, or in one pulse. So the rate is window / delay, it grows with the window, and the goal
//! stays ahead of it. Once the sender is the bottleneck, blocks have to wait there; the rate grows no more,
//! and neither does the goal. So a window is paid for by the blocks that came: a sender that pauses for long
//! without having sent much has a long delay and a low rate, and pauses longer than a pulse do not count.
//!
//! Pieces for the window are looked for once what waits in `QUEUE` is used up, or half of the window if that
//! is earlier, not before: what a slow peer was given too early, others have to fetch again at the end. But
//! never later than that: what is under way must be there. A pulse answers all that is there, so for such a
//! sender it is once a quarter of the window is used up.

mod pulse;
#[cfg(test)]
mod tests;

use pulse::Pulse;
use std::time::Duration;

/// How long a request should wait at the other side: long enough to cover its scheduling, short enough that a
/// piece does not get stuck at a peer that becomes slow.
const QUEUE: Duration = Duration::from_millis(400);
/// Minimum window, in blocks.
const LEAST: u32 = 1;
/// The window before anything is measured: 128 KiB, five seconds of a slow link. If a slow peer is asked for
/// too much, fast peers must fetch the same blocks again at the end. If a fast peer is asked for too little,
/// it makes up for it in two round trips.
const FIRST: u32 = 8;
/// Maximum window, in blocks: 8 MiB on their way over one connection, what a 10 Gbit/s link needs at 6 ms.
const MOST: u32 = 512;

/// What part of the window a sender that answers in pulses should have, at least. It must be more than half:
/// one pulse.
const IN_PULSES: f64 = 0.75;

/// The request window of one connection, in blocks.
#[derive(Debug)]
pub struct Window {
    blocks: u32,
    limit: u32,
    first: u32,
    shortest: Duration,
    pulse: Pulse,
    /// With fewer blocks than this asked for, the other side would soon have nothing to do.
    low: f64,
    /// Average time that a block takes, over the last few; zero before the first.
    usual: Duration,
}

impl Window {
    /// `queue` is how many requests the other side says it keeps (`reqq`, BEP 10).
    pub fn new(queue: u32) -> Self {
        let limit = queue.clamp(1, MOST);
        Window {
            blocks: FIRST.min(limit),
            limit,
            first: FIRST,
            shortest: Duration::MAX,
            pulse: Pulse::default(),
            low: 0.0,
            usual: Duration::ZERO,
        }
    }

    /// The peer said how many requests it keeps.
    pub fn set_limit(&mut self, queue: u32) {
        self.limit = queue.clamp(1, MOST);
        self.blocks = self.blocks.max(self.first).min(self.limit);
    }

    /// Begins with that many blocks instead of `FIRST`.
    pub fn start_with(&mut self, blocks: u32) {
        self.first = blocks;
        self.blocks = blocks.clamp(1, self.limit);
    }

    /// Maximum number of blocks that may be asked for at a time.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Average time from request to arrival of a block, over the last few; zero before the first.
    pub fn usual(&self) -> Duration {
        self.usual
    }

    /// Whether more blocks should be looked for if this many are asked for or about to be.
    pub fn is_low(&self, ahead: usize) -> bool {
        let half = f64::from(self.blocks + 1) / 2.0;
        (ahead as f64) < self.low.max(half).min(f64::from(self.blocks))
    }

    /// A block arrived `after` it was asked for. `meanwhile` is the number of blocks that arrived in that
    /// time, including this one. For as long as `pause` before, nothing had arrived, although blocks were
    /// asked for.
    pub fn arrived(&mut self, after: Duration, meanwhile: u64, pause: Duration) {
        self.shortest = self.shortest.min(after);
        self.took(after);
        self.pulse.arrived(meanwhile, pause);
        let seconds = after.as_secs_f64().max(1e-6);
        let rate = meanwhile as f64 / seconds;
        let shortest = self.shortest.as_secs_f64();
        let steady = rate * (shortest + QUEUE.as_secs_f64());
        let pulses = self.pulse.length().map_or(0.0, |length| {
            // The first half of a pulse does not show yet that it brings more than the last one.
            let pulsed = (meanwhile + self.pulse.expected()) as f64 / seconds;
            // A steady sender pauses for the time of one block after each: that is no pulse.
            let pulse = pulsed * length.as_secs_f64() - 1.0;
            pulse + pulse.max(pulsed * (shortest + QUEUE.as_secs_f64() / 2.0))
        });
        let goal = steady.max(pulses).ceil();
        let (low, step) = if pulses > steady { (IN_PULSES * goal, 2) } else { (rate * shortest, 1) };
        self.low = low;
        if f64::from(self.blocks) < goal {
            self.blocks = (self.blocks + step).min(goal as u32).min(self.limit);
        } else if f64::from(self.blocks) > goal {
            self.blocks = self.blocks.saturating_sub(1).max(LEAST.min(self.limit));
        }
    }

    /// Records how long a block took, even one that was given up.
    pub fn took(&mut self, after: Duration) {
        self.usual = if self.usual.is_zero() { after } else { (self.usual * 3 + after) / 4 };
    }

    /// The peer refused a request: it keeps fewer than we thought.
    pub fn refused(&mut self) {
        self.blocks = (self.blocks / 2).max(LEAST.min(self.limit));
    }
}
