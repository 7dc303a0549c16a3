//! What a connection has to send and the socket has not taken yet. Owned by the connection's thread. Pure
//! except for the one write.
//!
//! One arena holds the bytes: messages, and blocks as they were read from the file, where neighbours lie side
//! by side. The order in which they are sent is kept apart. So a block that was read together with its
//! neighbours gets its header in front of it without being moved. When all has been sent, the arena is used
//! from its start again; a large one is lent to the next connection ([`spares`]). Its owner adds blocks only
//! when nothing is left to send; messages come in addition, and `CLOGGED` bounds all of it.

use super::spares::{self, LARGE};
use crate::protocol::wire::{PIECE_HEADER_LEN, piece_header};
use crate::torrent::{Block, Piece};
use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::ops::Range;

/// Maximum number of bytes since the arena was last empty. With more, the other side requests faster than it
/// reads.
const CLOGGED: usize = 4 << 20;
/// Number of slices in one write; the system takes up to 1024.
const SLICES: usize = 64;

/// Bytes on their way to one socket.
#[derive(Default)]
pub struct Outbox {
    /// Memory whose first `filled` bytes are in use. What is behind them was used earlier.
    arena: Vec<u8>,
    filled: usize,
    /// What to send next, in order: ranges of `arena`.
    order: VecDeque<Range<usize>>,
}

impl Outbox {
    /// Whether nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Frees the memory that a busy time needed, if nothing waits in it.
    pub fn rest(&mut self) {
        if self.is_empty() {
            *self = Outbox::default();
        }
    }

    /// Whether the other side does not read what it requests, or not all of it.
    pub fn is_clogged(&self) -> bool {
        self.filled > CLOGGED
    }

    /// Adds messages. `seal` encrypts them where the transport does that: once, as they enter.
    pub fn push(&mut self, messages: &[u8], mut seal: impl FnMut(&mut [u8])) {
        if !messages.is_empty() {
            let range = self.add(messages.len());
            self.arena[range.clone()].copy_from_slice(messages);
            seal(&mut self.arena[range.clone()]);
            self.append(range);
        }
    }

    /// The next `len` bytes of the arena. Only memory that was never used is zeroed.
    fn add(&mut self, len: usize) -> Range<usize> {
        if self.filled == 0 && len >= LARGE && self.arena.len() < LARGE {
            self.arena = spares::take();
        }
        let range = self.filled..self.filled + len;
        self.filled = range.end;
        if self.arena.len() < self.filled {
            self.arena.resize(self.filled, 0);
        }
        range
    }

    /// Adds blocks that are neighbours in one piece, with their headers. `read` fills their bytes in one
    /// call. If it fails, nothing is added.
    pub fn push_blocks<E>(
        &mut self,
        blocks: &[Block],
        read: impl FnOnce(Piece, u32, &mut [u8]) -> Result<(), E>,
        mut seal: impl FnMut(&mut [u8]),
    ) -> Result<usize, E> {
        let Some(first) = blocks.first() else { return Ok(0) };
        let data = self.add(blocks.iter().map(|block| block.len() as usize).sum());
        if let Err(why) = read(first.piece(), first.begin(), &mut self.arena[data.clone()]) {
            self.filled = data.start;
            return Err(why);
        }
        let mut at = data.start;
        for block in blocks {
            let header = self.add(PIECE_HEADER_LEN);
            self.arena[header.clone()].copy_from_slice(&piece_header((*block).into()));
            seal(&mut self.arena[header.clone()]);
            self.append(header);
            seal(&mut self.arena[at..at + block.len() as usize]);
            self.append(at..at + block.len() as usize);
            at += block.len() as usize;
        }
        Ok(data.len())
    }

    fn append(&mut self, range: Range<usize>) {
        match self.order.back_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.order.push_back(range),
        }
    }

    /// Writes as much as `socket` takes without waiting. Any error other than having to wait ends the
    /// connection.
    pub fn flush(&mut self, mut socket: impl Write) -> io::Result<()> {
        while !self.order.is_empty() {
            let ranges = self.order.iter().take(SLICES);
            let slices: Vec<IoSlice<'_>> =
                ranges.map(|range| IoSlice::new(&self.arena[range.clone()])).collect();
            match socket.write_vectored(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.sent(written),
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
        Ok(())
    }

    fn sent(&mut self, mut written: usize) {
        while let Some(range) = self.order.front_mut() {
            if written < range.len() {
                range.start += written;
                return;
            }
            written -= range.len();
            self.order.pop_front();
        }
        self.filled = 0;
        if self.arena.len() >= LARGE {
            spares::give(std::mem::take(&mut self.arena));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::wire::{Message, decode};

    fn plain(_: &mut [u8]) {}

    /// Takes at most a few bytes at a time, and refuses every other call.
    struct Stingy {
        taken: Vec<u8>,
        refuse: bool,
    }

    impl Write for Stingy {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.refuse = !self.refuse;
            if self.refuse {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let few = bytes.len().min(7);
            self.taken.extend_from_slice(&bytes[..few]);
            Ok(few)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn blocks_and_messages_go_out_in_order_however_little_the_socket_takes() {
        let data: Vec<u8> = (0..40_000u32).map(|n| n as u8).collect();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), &data).unwrap();
        let bytes =
            crate::torrent::create::create(&dir.path().join("f"), &Default::default(), &|_| ()).unwrap();
        let torrent = crate::torrent::Torrent::parse(&bytes).unwrap();
        let geometry = torrent.geometry();
        let piece = geometry.piece(0).unwrap();
        let blocks: Vec<Block> =
            (0..geometry.block_count(piece)).map(|nth| geometry.block(piece, nth)).collect();
        let len = geometry.piece_len(piece) as usize;

        let mut outbox = Outbox::default();
        let mut choke = Vec::new();
        Message::Choke.encode(&mut choke);
        outbox.push(&choke, plain);
        let read = |_, _, into: &mut [u8]| -> Result<(), ()> {
            into.copy_from_slice(&data[..len]);
            Ok(())
        };
        outbox.push_blocks(&blocks, read, plain).unwrap();
        assert_eq!(outbox.push_blocks(&blocks, |_, _, _| Err("no"), plain), Err("no"));
        outbox.push(&choke, plain);

        let mut socket = Stingy { taken: Vec::new(), refuse: false };
        while !outbox.is_empty() {
            outbox.flush(&mut socket).unwrap();
        }
        let mut expected = choke.clone();
        for block in &blocks {
            let bytes = &data[block.begin() as usize..][..block.len() as usize];
            Message::Piece { index: 0, begin: block.begin(), data: bytes }.encode(&mut expected);
        }
        expected.extend(&choke);
        assert_eq!(socket.taken, expected);
        assert!(matches!(decode(&socket.taken, 1 << 16), Ok(Some((Message::Choke, 5)))));
    }

    /// Hundreds that were busy once would each keep what they needed then.
    #[test]
    fn memory_is_lent_to_others_once_all_has_been_sent() {
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            outbox.push(&[7; 2 * LARGE], plain);
            assert!(outbox.arena.len() >= 2 * LARGE);
            let mut socket = Vec::new();
            outbox.flush(&mut socket).unwrap();
            assert!(socket == [7; 2 * LARGE] && outbox.is_empty() && outbox.arena.is_empty());
        }
        for _ in 0..100 {
            spares::give(vec![0; LARGE]);
        }
        assert!((0..100).filter(|_| !spares::take().is_empty()).count() < 100, "not all are kept");
    }

    /// Bug: what had been sent stayed in memory until all had, so a peer that always left a little unread
    /// made us keep more and more.
    #[test]
    fn whoever_never_reads_the_last_byte_is_clogged_in_the_end() {
        struct AllButOne;
        impl Write for AllButOne {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if bytes.len() > 1 { Ok(bytes.len() - 1) } else { Err(io::ErrorKind::WouldBlock.into()) }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut outbox = Outbox::default();
        let rounds = (0..1_000_000).take_while(|_| {
            outbox.push(&[0; 1000], plain);
            outbox.flush(AllButOne).unwrap();
            !outbox.is_clogged()
        });
        assert_eq!(rounds.count(), CLOGGED / 1000);
        assert!(outbox.filled <= CLOGGED + 1000);
    }

    /// A socket that takes a part of what it is offered is offered the rest again: as it was sealed the first
    /// time.
    #[test]
    fn each_byte_is_sealed_once_and_in_the_order_of_the_stream() {
        let geometry = crate::testing::geometry(40_000, 1 << 16);
        let piece = geometry.piece(0).unwrap();
        let blocks: Vec<Block> = (0..3).map(|nth| geometry.block(piece, nth)).collect();
        let sent = |cipher: bool| {
            let mut position = 0u8;
            let mut seal = |bytes: &mut [u8]| {
                for byte in bytes.iter_mut().filter(|_| cipher) {
                    (*byte, position) = (*byte ^ position, position.wrapping_add(1));
                }
            };
            let (mut outbox, mut socket) = (Outbox::default(), Stingy { taken: Vec::new(), refuse: false });
            outbox.push(b"some messages", &mut seal);
            let read = |_, _, into: &mut [u8]| -> Result<(), ()> {
                into.fill(7);
                Ok(())
            };
            outbox.push_blocks(&blocks, read, &mut seal).unwrap();
            outbox.push(b"and more", &mut seal);
            while !outbox.is_empty() {
                outbox.flush(&mut socket).unwrap();
            }
            socket.taken
        };
        let opened: Vec<u8> = sent(true).iter().zip(0u32..).map(|(byte, at)| byte ^ at as u8).collect();
        assert_eq!(opened, sent(false));
    }
}
