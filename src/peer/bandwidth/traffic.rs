//! How many bytes the sockets of all connections to peers carried: content, messages and handshakes. The
//! thread of each connection counts what it reads and writes, and any thread reads the sums; no lock.
//! Announces to trackers are not counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes over all connections to peers since the start.
#[derive(Default)]
pub struct SocketTraffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl SocketTraffic {
    /// That many bytes were read from a socket.
    pub fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// That many bytes were written to a socket.
    pub fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes received and sent.
    pub fn totals(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }
}
