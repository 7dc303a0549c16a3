//! How many blocks to ask one peer for at a time: measured bandwidth × delay (Little's law). Pure.
//!
//! Each block that arrives measures the rate: the number of blocks that arrived between its request and its
//! arrival, divided by that time. The window that keeps the pipe full is this rate times the shortest delay
//! seen, plus `QUEUE` so that the other side always has a request to work on. While the window is the
//! bottleneck, the rate grows with it, so the goal stays ahead of it. Growing by one with each block doubles
//! the window in each round trip, as slow start does.

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

/// The request window of one connection, in blocks.
#[derive(Debug)]
pub struct Window {
    blocks: u32,
    limit: u32,
    first: u32,
    shortest: Duration,
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

    /// A block arrived `after` it was asked for. `meanwhile` is the number of blocks that arrived in that
    /// time, including this one.
    pub fn arrived(&mut self, after: Duration, meanwhile: u64) {
        self.shortest = self.shortest.min(after);
        self.took(after);
        let seconds = after.as_secs_f64().max(1e-6);
        let goal = (meanwhile as f64 / seconds * (self.shortest + QUEUE).as_secs_f64()).ceil();
        if f64::from(self.blocks) < goal {
            self.blocks = (self.blocks + 1).min(self.limit);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The window for a link that carries `rate` blocks a second with `delay` (seconds), after a full
    /// minute of use.
    fn settled(rate: f64, delay: f64) -> u32 {
        let mut window = Window::new(u32::MAX);
        let mut asked: std::collections::VecDeque<(f64, u64)> =
            vec![(0.0, 0); window.blocks() as usize].into();
        let (mut now, mut came) = (0.0f64, 0);
        while let Some((at, then)) = asked.pop_front().filter(|_| now < 60.0) {
            now = now.max(at + delay) + 1.0 / rate;
            came += 1;
            window.arrived(Duration::from_secs_f64(now - at), came - then);
            while asked.len() < window.blocks() as usize {
                asked.push_back((now, came));
            }
        }
        window.blocks()
    }

    #[test]
    fn it_settles_at_bandwidth_times_delay() {
        // 100 blocks a second (1.6 MB/s) at 100 ms: 10 blocks fill the pipe, and about 40 more wait.
        assert!((45..=55).contains(&settled(100.0, 0.1)), "{}", settled(100.0, 0.1));
        assert_eq!(settled(2.0, 0.1), 2, "one that comes and one that waits");
        assert_eq!(settled(100_000.0, 0.001), MOST);
    }

    /// Bug: with 32 blocks, the first two of five peers were asked for all of a small file, and the other
    /// three only fetched the same blocks again: `make uneven` took 12.0 s instead of 8.8 s.
    #[test]
    fn nobody_is_asked_for_much_before_it_has_shown_what_it_can() {
        let slow_links_five_seconds = 5 * 26_000;
        assert!(Window::new(u32::MAX).blocks() * 16_384 <= slow_links_five_seconds + 16_384);
        let mut window = Window::new(u32::MAX);
        // Two round trips of a fast link, each of a full window.
        for _ in 0..2 {
            let blocks = window.blocks();
            (0..blocks).for_each(|_| window.arrived(Duration::from_millis(1), blocks.into()));
        }
        assert!(window.blocks() >= 32, "{}", window.blocks());
    }

    #[test]
    fn it_keeps_to_what_the_other_side_can_hold() {
        let mut window = Window::new(10);
        (0..100).for_each(|_| window.arrived(Duration::from_millis(1), 1));
        assert_eq!(window.blocks(), 10);
        window.set_limit(0);
        assert_eq!(window.blocks(), 1);
    }
}
