//! How fast bytes flow, and how fast they may. Pure: the time is a parameter.

use std::time::{Duration, Instant};

/// Number of seconds that a [`Meter`] remembers: the span of tit for tat.
const SPAN: usize = 20;

/// Measures bytes per second over the last seconds, in slots of one second.
#[derive(Clone, Debug)]
pub struct Meter {
    start: Instant,
    slots: [u64; SPAN],
    /// The second, counted from `start`, of the newest slot.
    newest: u64,
}

impl Meter {
    /// Starts measuring now.
    pub fn new(now: Instant) -> Self {
        Meter { start: now, slots: [0; SPAN], newest: 0 }
    }

    /// Counts `bytes` that flowed now.
    pub fn add(&mut self, bytes: u64, now: Instant) {
        self.advance(now);
        self.slots[self.newest as usize % SPAN] += bytes;
    }

    /// Bytes per second over the last `seconds` (1 to 20), or since the start if that is shorter.
    pub fn rate(&mut self, seconds: usize, now: Instant) -> u64 {
        self.advance(now);
        let seconds = seconds.clamp(1, SPAN);
        let sum: u64 = (0..seconds as u64)
            .filter_map(|ago| self.newest.checked_sub(ago))
            .map(|second| self.slots[second as usize % SPAN])
            .sum();
        let alive = now.saturating_duration_since(self.start).as_secs_f64();
        (sum as f64 / alive.clamp(0.25, seconds as f64)) as u64
    }

    fn advance(&mut self, now: Instant) {
        let second = now.saturating_duration_since(self.start).as_secs();
        let passed = second.saturating_sub(self.newest).min(SPAN as u64);
        for step in 1..=passed {
            self.slots[(second - passed + step) as usize % SPAN] = 0;
        }
        self.newest = self.newest.max(second);
    }
}

/// A token bucket that lets bytes through while it is not empty, and then waits until its debt is paid. It is
/// exact over time, whatever the size of each portion.
#[derive(Debug)]
pub struct Bucket {
    /// Bytes per second.
    rate: u64,
    /// Bytes that may pass now; negative while in debt.
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// `rate` in bytes per second.
    pub fn new(rate: u64, now: Instant) -> Self {
        Bucket { rate: rate.max(1), tokens: 0.0, filled: now }
    }

    /// Bytes per second.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// `Ok` if bytes may pass now; otherwise how long to wait.
    pub fn ready(&mut self, now: Instant) -> Result<(), Duration> {
        // The bytes of a twentieth of a second are saved up, so that a late wake-up does not cost speed.
        let capacity = (self.rate as f64 / 20.0).max(1.0);
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate as f64).min(capacity);
        self.filled = self.filled.max(now);
        if self.tokens >= 1.0 {
            return Ok(());
        }
        let wait = Duration::from_secs_f64((1.0 - self.tokens) / self.rate as f64);
        Err(wait.max(Duration::from_millis(1)))
    }

    /// That many bytes have passed.
    pub fn spend(&mut self, bytes: u64) {
        self.tokens -= bytes as f64;
    }

    /// How many bytes to pass at a time for a smooth flow: those of a twentieth of a second, and at
    /// least 16 KiB.
    pub fn portion(&self) -> u32 {
        u32::try_from(self.rate / 20).unwrap_or(u32::MAX).max(16 * 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_forgets() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut meter = Meter::new(start);
        (0..10).for_each(|n| meter.add(100, at(n * 1000)));
        assert_eq!(meter.rate(5, at(9_999)), 100);
        assert_eq!(meter.rate(20, at(9_999)), 100);
        assert_eq!(meter.rate(5, at(60_000)), 0);
    }

    #[test]
    fn a_bucket_keeps_its_rate_whatever_is_asked_for() {
        for ask in [1_000, 16_384, 400_000] {
            let start = Instant::now();
            let mut now = start;
            let mut bucket = Bucket::new(1_000_000, start);
            let mut sent = 0;
            while now < start + Duration::from_secs(10) {
                match bucket.ready(now) {
                    Ok(()) => {
                        bucket.spend(ask);
                        sent += ask;
                    }
                    Err(wait) => now += wait,
                }
            }
            assert!((9_600_000..=10_500_000).contains(&sent), "{sent} bytes in 10 s by {ask}");
        }
    }
}
