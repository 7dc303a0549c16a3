//! How many bytes a peer's sockets carried: content, messages and handshakes alike. Each connection's thread counts what
//! it reads and writes, anybody reads the sums; no lock. What is said to trackers is not in it.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes over all connections to other peers since the start.
#[derive(Default)]
pub struct SocketTraffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl SocketTraffic {
    /// So many bytes were read from a socket.
    pub fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// So many bytes were written to one.
    pub fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that came in, and that went out.
    pub fn totals(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }
}

/// A socket of which every byte is counted.
pub struct Counted<'a> {
    pub socket: &'a TcpStream,
    pub traffic: &'a SocketTraffic,
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.read(into).inspect(|read| self.traffic.received(*read))
    }

    fn read_vectored(&mut self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.socket.read_vectored(into).inspect(|read| self.traffic.received(*read))
    }
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes).inspect(|written| self.traffic.sent(*written))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.write_vectored(slices).inspect(|written| self.traffic.sent(*written))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
