//! Scatter-read targets: the socket is read straight into the memory of the pieces in flight, so that blocks
//! are not copied again. Pure.
//!
//! Most peers answer requests in the order in which they were made. So the next bytes of the stream can be
//! predicted: the header of the first block asked for, the block, the header of the second, and so on. Only
//! the headers show, once they have arrived, whether the prediction was right. Until then the memory of a
//! missing block may hold anything.

use super::partial::Partial;
use crate::torrent::{BLOCK_LEN, Block, Piece};
use std::ops::Range;

/// Maximum number of blocks: what a fast connection brings between two reads.
pub const MOST_LANDING: usize = 16;

/// Neighbouring blocks of one piece, asked for one after the other.
pub struct Run {
    piece: Piece,
    bytes: Range<u32>,
}

/// The memory of the blocks that should come next, in runs.
pub struct Landing<'a> {
    runs: Vec<(Run, &'a mut [u8])>,
}

/// The runs that `blocks` begin with; a second run of the same piece ends them.
pub fn runs(blocks: impl Iterator<Item = Block>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for block in blocks.take(MOST_LANDING) {
        let (piece, bytes) = (block.piece(), block.begin()..block.begin() + block.len());
        let goes_on = |run: &&mut Run| run.piece == piece && run.bytes.end == bytes.start;
        if let Some(run) = runs.last_mut().filter(goes_on) {
            run.bytes.end = bytes.end;
        } else if runs.iter().all(|run| run.piece != piece) {
            runs.push(Run { piece, bytes });
        } else {
            break;
        }
    }
    runs
}

/// Where one block belongs: the bytes of `piece` from `begin` on.
pub struct Target<'a> {
    /// The piece.
    pub piece: Piece,
    /// Bytes from the start of the piece.
    pub begin: u32,
    /// The block's memory, as long as the block.
    pub memory: &'a mut [u8],
}

impl<'a> Landing<'a> {
    /// Finds the memory of `runs` in the partials of their pieces.
    pub fn new(runs: Vec<Run>, partials: impl Iterator<Item = &'a mut Partial>) -> Self {
        let mut places: Vec<Option<&'a mut [u8]>> = runs.iter().map(|_| None).collect();
        for partial in partials {
            if let Some(at) = runs.iter().position(|run| run.piece == partial.piece()) {
                places[at] = Some(partial.place(runs[at].bytes.clone()));
            }
        }
        let runs = runs.into_iter().zip(places).map_while(|(run, place)| Some((run, place?)));
        Landing { runs: runs.collect() }
    }

    /// The blocks in order, each with its memory.
    pub fn blocks(self) -> impl Iterator<Item = Target<'a>> {
        self.runs.into_iter().flat_map(|(Run { piece, bytes }, memory)| {
            let begins = bytes.step_by(BLOCK_LEN as usize);
            let targets = memory.chunks_mut(BLOCK_LEN as usize).zip(begins);
            targets.map(move |(memory, begin)| Target { piece, begin, memory })
        })
    }
}
