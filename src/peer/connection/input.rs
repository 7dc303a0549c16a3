//! The receive buffer of a connection. Runs on the connection's thread, which owns it.

use super::end::End;
use crate::peer::session::Violation;
use crate::peer::wire;
use std::io::{self, Read};
use std::net::TcpStream;

/// The buffer starts so small, for a connection that stays idle ...
const SMALL_BUFFER: usize = 4 * 1024;
/// ... and grows up to this, which is what a fast one fills between two turns.
pub const LARGE_BUFFER: usize = 256 * 1024;

/// Bytes that came and were not understood yet. Its bound is the longest message, or [`LARGE_BUFFER`].
pub struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    limit: usize,
    max_message_len: u32,
}

impl Input {
    pub fn new(max_message_len: u32) -> Self {
        let limit = LARGE_BUFFER.max(4 + max_message_len as usize);
        Input { bytes: vec![0; SMALL_BUFFER], start: 0, end: 0, limit, max_message_len }
    }

    /// Reads once from the socket, at most `most` bytes; 0 if there is nothing now.
    pub fn fill(&mut self, mut socket: &TcpStream, most: usize) -> Result<usize, End> {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.bytes.len() {
            self.grow();
        }
        let room = &mut self.bytes[self.end..];
        let most = most.min(room.len());
        match socket.read(&mut room[..most]) {
            Ok(0) => Err(End::Closed),
            Ok(read) => {
                self.end += read;
                if self.end == self.bytes.len() {
                    self.grow(); // there is more than we thought: next time in one go
                }
                Ok(read)
            }
            Err(why) if matches!(why.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            Err(why) => Err(why.into()),
        }
    }

    /// Gives back the memory that a busy time took, if nothing waits in it.
    pub fn rest(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.bytes = vec![0; SMALL_BUFFER];
        }
    }

    fn grow(&mut self) {
        let len = (self.bytes.len() * 4).min(self.limit);
        self.bytes.resize(len, 0);
    }

    /// The next message and its length, if it is all there. Stays until [`consume`](Self::consume).
    pub fn next(&self) -> Result<Option<(wire::Message<'_>, usize)>, Violation> {
        Ok(wire::decode(&self.bytes[self.start..self.end], self.max_message_len)?)
    }

    pub fn consume(&mut self, len: usize) {
        self.start += len;
    }
}
