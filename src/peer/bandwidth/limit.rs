//! A limit on how fast bytes pass, shared by all connections. Any thread; the lock is a leaf.

use super::rate::Bucket;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// A limit on how fast bytes pass, or none. Without one no lock is taken.
pub struct Limit {
    bucket: Option<Mutex<Bucket>>,
}

impl Limit {
    /// At most `rate` bytes per second; `None` is no limit.
    pub fn new(rate: Option<u64>) -> Self {
        Limit { bucket: rate.map(|rate| Mutex::new(Bucket::new(rate, Instant::now()))) }
    }

    /// Whether something may pass now, or how long to wait.
    pub fn ready(&self, now: Instant) -> Result<(), Duration> {
        self.bucket.as_ref().map_or(Ok(()), |bucket| bucket.lock().ready(now))
    }

    /// So many bytes passed.
    pub fn spend(&self, bytes: usize) {
        if let Some(bucket) = &self.bucket {
            bucket.lock().spend(bytes as u64);
        }
    }

    /// The most that should pass at a time, bytes; at most `most`.
    pub fn portion(&self, most: u32) -> u32 {
        self.bucket.as_ref().map_or(most, |bucket| bucket.lock().portion().min(most))
    }
}
