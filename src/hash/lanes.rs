//! Assigns any number of hashes to the lanes of a kernel. Pure; no thread, no lock.
//!
//! Invariant: between two calls of a kernel, the seats from 0 on are taken without a gap, and
//! `seats[n]` is in lane `n`.

use super::choice::Hash;
use super::kernel::{BLOCK, Columns, Kernel, MAX_LANES};

/// Whole blocks to be added to the state of one hash.
pub(super) struct Run<'a, const W: usize> {
    pub state: &'a mut [u32; W],
    pub blocks: &'a [[u8; BLOCK]],
}

/// Adds its blocks to every state. The runs may be of any length; afterwards they have no blocks.
pub(super) fn advance<const W: usize>(hash: &Hash<W>, mut runs: &mut [Run<W>]) {
    hash.used();
    loop {
        runs = unfinished(runs);
        if runs.is_empty() {
            return;
        }
        work(hash, hash.best(runs.len()), runs);
    }
}

/// The runs that have blocks left, moved to the end of `runs`.
fn unfinished<'a, 'b, const W: usize>(runs: &'a mut [Run<'b, W>]) -> &'a mut [Run<'b, W>] {
    let mut finished = 0;
    for at in 0..runs.len() {
        if runs[at].blocks.is_empty() {
            runs.swap(at, finished);
            finished += 1;
        }
    }
    &mut runs[finished..]
}

/// Uses one kernel as long as it is the best one for what is left. A run without blocks gives its
/// lane to the next run.
fn work<const W: usize>(hash: &Hash<W>, kernel: &Kernel<W>, runs: &mut [Run<W>]) {
    let mut columns = Columns([[0; MAX_LANES]; W]);
    let (mut seats, mut seated, mut next) = ([0; MAX_LANES], 0, 0);
    loop {
        while seated < kernel.lanes && next < runs.len() {
            columns.set_lane(seated, *runs[next].state);
            seats[seated] = next;
            (seated, next) = (seated + 1, next + 1);
        }
        let mut blocks: [&[[u8; BLOCK]]; MAX_LANES] = [&[]; MAX_LANES];
        for (blocks, run) in blocks.iter_mut().zip(&seats[..seated]) {
            *blocks = runs[*run].blocks;
        }
        let done = kernel.advance(&mut columns, &blocks[..seated]);
        for lane in (0..seated).rev() {
            let run = &mut runs[seats[lane]];
            run.blocks = &run.blocks[done..];
            if run.blocks.is_empty() {
                *run.state = columns.lane(lane);
                // The last one moves up.
                seated -= 1;
                seats[lane] = seats[seated];
                columns.set_lane(lane, columns.lane(seated));
            }
        }
        let left = seated + runs.len() - next;
        if left == 0 || hash.best(left).name != kernel.name {
            break;
        }
    }
    for (lane, run) in seats[..seated].iter().enumerate() {
        *runs[*run].state = columns.lane(lane);
    }
}
