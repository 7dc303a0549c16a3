//! A piece in flight: its memory, which blocks have arrived, and who sent each of them. Pure.
//!
//! A partial has exactly one owner at any time: a connection, a worker, or the swarm while no connection
//! fetches it. It is moved, never shared, so a block is put into it without a lock.

use super::memory::Buffer;
use crate::peer::identity::SourceIdentity;
use crate::torrent::{BLOCK_LEN, Block, Geometry, Piece};
use std::ops::Range;
use std::sync::Arc;

/// A piece that is being fetched.
pub struct Partial {
    piece: Piece,
    data: Buffer,
    /// For each block, one more than the index of its sender in `contributors`; 0 while it is missing.
    senders: Vec<u16>,
    contributors: Vec<Arc<SourceIdentity>>,
    missing: u32,
    /// Only for a piece that arrived broken: the number of peers that gave it up since then.
    alone: Option<u16>,
}

impl Partial {
    /// A partial without any block of `piece`. `data` has room for the piece.
    pub fn new(piece: Piece, mut data: Buffer, geometry: &Geometry) -> Self {
        data.shorten(geometry.piece_len(piece));
        let blocks = geometry.block_count(piece);
        let senders = vec![0; blocks as usize];
        Partial { piece, data, senders, contributors: Vec::new(), missing: blocks, alone: None }
    }

    /// The piece arrived broken, so from now on all of it must come from one peer. `tries` peers have given
    /// it up since.
    pub fn alone(self, tries: u16) -> Self {
        Partial { alone: Some(tries), ..self }
    }

    /// If all of it must come from one peer: the number of peers that gave it up before this one.
    pub fn tries(&self) -> Option<u16> {
        self.alone
    }

    /// The piece that it is a part of.
    pub fn piece(&self) -> Piece {
        self.piece
    }

    /// The bytes of the piece. Those of missing blocks are arbitrary.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Whether all blocks have arrived.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// How many blocks are missing.
    pub fn missing(&self) -> u32 {
        self.missing
    }

    /// Whether that block is still missing.
    pub fn lacks(&self, block: Block) -> bool {
        self.senders.get(nth(block)).is_some_and(|sender| *sender == 0)
    }

    /// The missing blocks, in order.
    pub fn missing_blocks<'a>(
        &'a self,
        geometry: &'a Geometry,
    ) -> impl DoubleEndedIterator<Item = Block> + 'a {
        let missing = self.senders.iter().enumerate().filter(|(_, sender)| **sender == 0);
        missing.map(|(nth, _)| geometry.block(self.piece, nth as u32))
    }

    /// Copies a block of this piece to its place. False if the block was there already.
    pub fn put(&mut self, block: Block, data: &[u8], from: &Arc<SourceIdentity>) -> bool {
        debug_assert_eq!((block.piece(), block.len() as usize), (self.piece, data.len()));
        if !self.lacks(block) {
            return false;
        }
        let begin = block.begin();
        self.place(begin..begin + block.len()).copy_from_slice(data);
        self.landed(block, from)
    }

    /// The memory of these bytes of the piece. Only missing blocks may be written to.
    pub fn place(&mut self, bytes: Range<u32>) -> &mut [u8] {
        &mut self.data[bytes.start as usize..bytes.end as usize]
    }

    /// Records that a block of this piece lies in its place. False if it was there already.
    pub fn landed(&mut self, block: Block, from: &Arc<SourceIdentity>) -> bool {
        if !self.lacks(block) {
            return false;
        }
        self.senders[nth(block)] = self.sender(from);
        self.missing -= 1;
        true
    }

    fn sender(&mut self, from: &Arc<SourceIdentity>) -> u16 {
        let known = self.contributors.iter().position(|identity| Arc::ptr_eq(identity, from));
        let at = known.unwrap_or_else(|| {
            self.contributors.push(Arc::clone(from));
            self.contributors.len() - 1
        });
        u16::try_from(at + 1).unwrap_or(u16::MAX)
    }

    /// Every peer that sent a block of this piece.
    pub fn contributors(&self) -> &[Arc<SourceIdentity>] {
        &self.contributors
    }

    /// Each block that has arrived: its bytes and its sender.
    pub fn blocks(&self) -> impl Iterator<Item = (&[u8], &Arc<SourceIdentity>)> {
        let chunks = self.data.chunks(BLOCK_LEN as usize);
        chunks.zip(&self.senders).filter_map(|(bytes, sender)| {
            let at = usize::from(*sender).checked_sub(1)?;
            Some((bytes, self.contributors.get(at)?))
        })
    }
}

fn nth(block: Block) -> usize {
    (block.begin() / BLOCK_LEN) as usize
}
