//! How many bytes the sockets of all connections to peers carried: content, messages and handshakes. The
//! thread of each connection counts what it reads and writes, and any thread reads the sums; no lock.
//! Announces to trackers are not counted.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::TcpStream;
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

/// A socket that counts every byte.
pub struct Counted<'a> {
    /// The socket to read from and write to.
    pub socket: &'a TcpStream,
    /// Where the bytes are counted.
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
