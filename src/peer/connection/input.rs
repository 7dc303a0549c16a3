//! The receive buffer of a connection. Runs on the connection's thread, which owns it.
//!
//! Blocks that come in the order of the requests do not pass through the buffer. One read scatters the
//! stream: each header into a slot, each block into the memory of its piece ([`Landing`]). Then the slots are
//! looked at. From the first unexpected header on, and for a block whose end has not come yet, the bytes are
//! moved into the buffer, and are handled like all messages. A block that began in the buffer moves on to its
//! place at the next read. So between two reads nothing is left half done, and no byte is lost, whatever
//! happens to the piece meanwhile.
//!
//! The number of blocks that a read expects (`depth`) doubles while they come as expected, and halves if not.
//! A peer that sends other messages in between, as one that fetches from us does, is read through the buffer.

use super::end::End;
use crate::peer::download::landing::Target;
use crate::peer::session::{Landing, Violation};
use crate::protocol::wire::{self, BlockRequest, PIECE_HEADER_LEN, piece_header};
use std::io::{self, IoSliceMut, Read};

/// First length of the buffer, in bytes; enough for a connection that stays idle.
const SMALL_BUFFER: usize = 4 * 1024;
/// Length to which the buffer grows, in bytes: what a fast peer fills between two turns.
pub const LARGE_BUFFER: usize = 256 * 1024;
/// Maximum number of blocks expected in a read: nearly a full buffer.
const DEEPEST: usize = 15;

/// Bytes that came and were not decoded yet. Its bound is the longest message, or [`LARGE_BUFFER`].
pub struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    limit: usize,
    max_message_len: u32,
    depth: usize,
}

/// What one read brought.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Filled {
    /// Bytes.
    pub read: usize,
    /// Number of blocks that lie in their places: the first ones of the landing.
    pub landed: usize,
}

type Header = [u8; PIECE_HEADER_LEN];

/// An expected block: the header it should have, the header that came, and the block's memory.
struct Expected<'a> {
    header: Header,
    slot: Header,
    place: &'a mut [u8],
}

impl<'a> Expected<'a> {
    fn of(Target { piece, begin, memory }: Target<'a>) -> Self {
        let header = piece_header(BlockRequest { index: piece.index(), begin, len: memory.len() as u32 });
        Expected { header, slot: header, place: memory }
    }

    fn len(&self) -> usize {
        PIECE_HEADER_LEN + self.place.len()
    }

    /// Copies the bytes that came for it, as many as fit into `to`.
    fn copy(&self, to: &mut [u8]) {
        let (header, data) = to.split_at_mut(to.len().min(PIECE_HEADER_LEN));
        header.copy_from_slice(&self.slot[..header.len()]);
        data.copy_from_slice(&self.place[..data.len()]);
    }
}

impl Input {
    /// An empty buffer, for messages of at most `max_message_len` bytes.
    pub fn new(max_message_len: u32) -> Self {
        let limit = LARGE_BUFFER.max(4 + max_message_len as usize);
        Input { bytes: vec![0; SMALL_BUFFER], start: 0, end: 0, limit, max_message_len, depth: 1 }
    }

    /// Reads once from the socket, at most `most` bytes. Reads nothing if there is nothing now. Blocks may
    /// land at once.
    pub fn fill(&mut self, mut socket: impl Read, landing: Landing<'_>, most: usize) -> Result<Filled, End> {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let mut expected = self.expect(landing, most);
        let begun = self.move_begun(expected.first_mut());
        let room = self.room(&expected, most);
        let tail = self.end..self.end + room;
        let read = {
            let mut slices = Vec::with_capacity(2 * expected.len() + 1);
            for Expected { slot, place, .. } in &mut expected {
                slices.extend([IoSliceMut::new(slot), IoSliceMut::new(place)]);
            }
            slices.push(IoSliceMut::new(&mut self.bytes[tail]));
            let mut slices = &mut slices[..];
            IoSliceMut::advance_slices(&mut slices, begun);
            match socket.read_vectored(slices) {
                Ok(0) => return Err(End::Closed),
                Ok(read) => read,
                Err(why) if matches!(why.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
                Err(why) => return Err(why.into()),
            }
        };
        let landed = self.sort(&expected, begun + read);
        if self.end == self.bytes.len() {
            self.grow(self.bytes.len() * 4); // there is more than we thought: next time in one go
        }
        Ok(Filled { read, landed })
    }

    /// The blocks expected in the next `most` bytes. None if the buffer holds the start of something else.
    fn expect<'a>(&self, landing: Landing<'a>, most: usize) -> Vec<Expected<'a>> {
        let begun = &self.bytes[..self.end];
        let mut left = begun.len() + most;
        let expected = landing.blocks().map(Expected::of);
        let expected = expected.take(self.depth).take_while(|expected| {
            let fits = expected.len() <= left;
            left = left.saturating_sub(expected.len());
            fits
        });
        let expected: Vec<Expected<'a>> = expected.collect();
        let header = begun.len().min(PIECE_HEADER_LEN);
        match expected.first() {
            Some(first) if begun[..header] == first.header[..header] => expected,
            _ => Vec::new(),
        }
    }

    /// Moves a block that began in the buffer to its place. Returns how many bytes of its message that were.
    fn move_begun(&mut self, first: Option<&mut Expected<'_>>) -> usize {
        let Some(first) = first else { return 0 };
        let begun = std::mem::take(&mut self.end);
        if let Some(data) = begun.checked_sub(PIECE_HEADER_LEN) {
            first.place[..data].copy_from_slice(&self.bytes[PIECE_HEADER_LEN..begun]);
        }
        begun
    }

    /// How many bytes after the expected blocks may be read into the buffer. None if all comes as expected:
    /// the next blocks are to land, too.
    fn room(&mut self, expected: &[Expected<'_>], most: usize) -> usize {
        if expected.is_empty() && self.end == self.bytes.len() {
            self.grow(self.bytes.len() * 4);
        }
        if expected.len() == DEEPEST {
            return 0;
        }
        let expected: usize = expected.iter().map(Expected::len).sum();
        let bound = self.limit.saturating_sub(expected).min(most.saturating_sub(expected));
        bound.min(self.bytes.len() - self.end)
    }

    /// Looks which of the expected blocks are complete. Moves the rest of the `bytes` that came into the
    /// buffer, before those that were read there. Returns how many blocks landed.
    fn sort(&mut self, expected: &[Expected<'_>], bytes: usize) -> usize {
        let mut left = bytes;
        let landed = expected.iter().take_while(|expected| {
            let whole = left >= expected.len() && expected.slot == expected.header;
            left -= if whole { expected.len() } else { 0 };
            whole
        });
        let landed = landed.count();
        let others = &expected[landed..];
        let ahead = left.min(others.iter().map(Expected::len).sum());
        self.grow(self.end + left);
        self.bytes.copy_within(self.end..self.end + left - ahead, self.end + ahead);
        let mut at = self.end;
        for expected in others {
            let part = expected.len().min(self.end + ahead - at);
            expected.copy(&mut self.bytes[at..at + part]);
            at += part;
        }
        self.end += left;
        match others.first() {
            None if landed > 0 => self.depth = (self.depth * 2).min(DEEPEST),
            Some(missed) if ahead >= PIECE_HEADER_LEN && missed.slot != missed.header => {
                self.depth = (self.depth / 2).max(1);
            }
            _ => {}
        }
        landed
    }

    /// Frees the memory that a busy time needed, if the buffer is empty.
    pub fn rest(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.bytes = vec![0; SMALL_BUFFER];
        }
    }

    fn grow(&mut self, len: usize) {
        let len = len.min(self.limit).max(self.bytes.len());
        self.bytes.resize(len, 0);
    }

    /// The next message and its length, if all of it is here. It stays until [`consume`](Self::consume).
    pub fn next(&self) -> Result<Option<(wire::Message<'_>, usize)>, Violation> {
        Ok(wire::decode(&self.bytes[self.start..self.end], self.max_message_len)?)
    }

    /// Removes the first `len` bytes: a message that was handled.
    pub fn consume(&mut self, len: usize) {
        self.start += len;
    }
}

#[cfg(test)]
mod tests;
