//! How many pieces each worker of the pool took, stole and finished: for `status`, and to see how the work is
//! shared out. Workers write, any thread reads; no lock.

use crate::pool::Turn;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of all workers, by their number.
pub struct WorkerStats {
    workers: Vec<Counts>,
}

#[derive(Default)]
struct Counts {
    taken: AtomicU64,
    stolen: AtomicU64,
    finished: AtomicU64,
}

/// What one worker did since the start, in pieces.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Work {
    /// Missing pieces that it chose for a connection.
    pub taken: u64,
    /// Those among them whose job it stole from the deque of another worker.
    pub stolen: u64,
    /// Pieces that came in and that it verified and wrote. Seldom the same ones: any worker that is free does
    /// the next job.
    pub finished: u64,
}

impl WorkerStats {
    /// Counters for this number of workers.
    pub fn new(workers: usize) -> Self {
        WorkerStats { workers: (0..workers).map(|_| Counts::default()).collect() }
    }

    /// A worker chose a piece.
    pub fn took(&self, turn: Turn) {
        if let Some(counts) = self.workers.get(turn.worker) {
            counts.taken.fetch_add(1, Ordering::Relaxed);
            counts.stolen.fetch_add(turn.stolen_from.is_some().into(), Ordering::Relaxed);
        }
    }

    /// A worker verified and wrote a piece.
    pub fn finished(&self, turn: Turn) {
        if let Some(counts) = self.workers.get(turn.worker) {
            counts.finished.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What each worker did so far, in the order of their numbers.
    pub fn read(&self) -> Vec<Work> {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let workers = self.workers.iter();
        let work = |counts: &Counts| Work {
            taken: read(&counts.taken),
            stolen: read(&counts.stolen),
            finished: read(&counts.finished),
        };
        workers.map(work).collect()
    }
}
