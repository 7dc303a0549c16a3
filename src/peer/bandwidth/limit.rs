//! A speed limit shared by all connections. Any thread; the lock is a leaf.

use super::rate::Bucket;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// A speed limit in bytes per second, or none. Without a limit no lock is taken.
pub struct Limit {
    bucket: Option<Mutex<Bucket>>,
}

impl Limit {
    /// At most `rate` bytes per second; `None` is no limit.
    pub fn new(rate: Option<u64>) -> Self {
        Limit { bucket: rate.map(|rate| Mutex::new(Bucket::new(rate, Instant::now()))) }
    }

    /// The limit in bytes per second; `None` without one.
    pub fn rate(&self) -> Option<u64> {
        self.bucket.as_ref().map(|bucket| bucket.lock().rate())
    }

    /// `Ok` if bytes may pass now; otherwise how long to wait.
    pub fn ready(&self, now: Instant) -> Result<(), Duration> {
        self.bucket.as_ref().map_or(Ok(()), |bucket| bucket.lock().ready(now))
    }

    /// That many bytes have passed.
    pub fn spend(&self, bytes: usize) {
        if let Some(bucket) = &self.bucket {
            bucket.lock().spend(bytes as u64);
        }
    }

    /// How many bytes should pass at a time; at most `most`.
    pub fn portion(&self, most: u32) -> u32 {
        self.bucket.as_ref().map_or(most, |bucket| bucket.lock().portion().min(most))
    }
}
