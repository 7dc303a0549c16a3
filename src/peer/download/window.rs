//! How many blocks to have asked one peer for: measured bandwidth × delay (Little's law). Pure.
//!
//! Each block that comes measures the rate: so many blocks came from its asking to its coming, in so much time. The
//! window that keeps the pipe full is that rate times the shortest delay seen, plus `QUEUE` so that the other side
//! always has a request at hand. While the window is the bottleneck, the rate grows with it, so the goal stays ahead
//! of it, and growing by one with each block doubles it in each round trip, as slow start does.

use std::time::Duration;

/// How long a request should wait at the other side: enough to cover its scheduling, short enough that a piece is
/// not stuck at a peer that slows down.
const QUEUE: Duration = Duration::from_millis(400);
const LEAST: u32 = 1;
/// Before anything is measured: 128 KiB, five seconds of a slow link. What a slow peer is asked for too much, fast ones
/// have to race it for in the end; what a fast one is asked for too little, it makes up for in two round trips.
const FIRST: u32 = 8;
/// 8 MiB under way on one connection: what a 10 Gbit/s link needs at 6 ms.
const MOST: u32 = 512;

/// The request window of one connection, in blocks.
#[derive(Debug)]
pub struct Window {
    blocks: u32,
    limit: u32,
    first: u32,
    shortest: Duration,
    /// How long a block takes of late; zero before the first.
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

    /// The other side said how many requests it keeps.
    pub fn set_limit(&mut self, queue: u32) {
        self.limit = queue.clamp(1, MOST);
        self.blocks = self.blocks.max(self.first).min(self.limit);
    }

    /// Begins with so many blocks instead of `FIRST`.
    pub fn start_with(&mut self, blocks: u32) {
        self.first = blocks;
        self.blocks = blocks.clamp(1, self.limit);
    }

    /// Blocks that may be under way.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// How long a block takes of late, from its asking to its coming; zero before the first.
    pub fn usual(&self) -> Duration {
        self.usual
    }

    /// A block came, so long after it was asked for; `meanwhile` blocks came in that time, this one included.
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

    /// A block took so long, in the window's time or later.
    pub fn took(&mut self, after: Duration) {
        self.usual = if self.usual.is_zero() { after } else { (self.usual * 3 + after) / 4 };
    }

    /// The other side refused a request: it keeps fewer than we thought.
    pub fn refused(&mut self) {
        self.blocks = (self.blocks / 2).max(LEAST.min(self.limit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link that carries `rate` blocks a second with `delay`, kept full for a minute.
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
        // 100 blocks a second (1.6 MB/s), 100 ms: 10 blocks fill the pipe, some 40 more wait.
        assert!((45..=55).contains(&settled(100.0, 0.1)), "{}", settled(100.0, 0.1));
        assert_eq!(settled(2.0, 0.1), 2, "one that comes and one that waits");
        assert_eq!(settled(100_000.0, 0.001), MOST);
    }

    /// With 32 blocks, the first two of five sources were asked for all of a small file, and the other three only raced
    /// them for it: `make uneven` took 12.0 s instead of 8.8 s.
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
