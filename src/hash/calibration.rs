//! How long each kernel takes on this processor, and what follows from it.
//!
//! The kernels are measured for a millisecond once their hash has been used a little, and a few times more
//! after more use: the other half of the core, or the machine's host, may have been busy at first. The
//! shortest time counts. Whoever hashes no more than a small file gains nothing by it, and does not wait for
//! it. Memory while it measures: 256 KiB. Any thread; a few atomics, no lock.

use std::cmp::Reverse;
use std::hint::black_box;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::LEAF_LEN;
use super::kernel::{BLOCK, Columns, Kernel, MAX_LANES};

/// How often the kernels are measured in turns each time, with one leaf in each lane.
const ROUNDS: usize = 6;

/// After how many uses they are measured; a megabyte is some ten uses.
const MEASURED_AFTER: [u32; 5] = [30, 300, 3_000, 30_000, 300_000];

/// Maximum number of kernels of a hash.
const KERNELS: usize = 8;

/// Up to how many messages the plan counts. Beyond it, a kernel that fills all its lanes is best.
const PLANNED: usize = 2 * MAX_LANES;

/// What one kernel needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// How many messages it hashes in parallel.
    pub lanes: usize,
    /// Time for a leaf in every lane, in nanoseconds.
    pub time: u64,
}

/// Measures each kernel, with messages that lie as the leaves of a piece do.
pub(super) fn measure<const W: usize>(kernels: &[Kernel<W>]) -> Vec<Cost> {
    let mut costs: Vec<Cost> =
        kernels.iter().map(|kernel| Cost { lanes: kernel.lanes, time: u64::MAX }).collect();
    if let [_] = kernels {
        return costs; // there is nothing to choose
    }
    // Not zeros: the system would give the same page of zeros for all of them.
    let leaves = vec![0x5A; MAX_LANES * LEAF_LEN];
    let messages: Vec<&[[u8; BLOCK]]> = leaves.chunks(LEAF_LEN).map(|leaf| leaf.as_chunks().0).collect();
    let mut columns = Columns([[0; MAX_LANES]; W]);
    for _ in 0..ROUNDS {
        for (kernel, cost) in kernels.iter().zip(&mut costs) {
            let begin = Instant::now();
            kernel.advance(black_box(&mut columns), black_box(&messages[..kernel.lanes]));
            cost.time = cost.time.min(begin.elapsed().as_nanos() as u64);
        }
    }
    costs
}

/// The plan with the least time for each number of messages of equal length: for each number, the place of
/// the kernel to begin with. The wider kernel comes first, because a message that ends early gives its lane
/// to the next.
pub(super) fn plan(costs: &[Cost]) -> [u8; PLANNED + 1] {
    let (mut plan, mut least) = ([0; PLANNED + 1], [0; PLANNED + 1]);
    for messages in 1..=PLANNED {
        let time = |cost: &Cost| cost.time.saturating_add(least[messages.saturating_sub(cost.lanes)]);
        let best = costs.iter().enumerate().min_by_key(|(_, cost)| (time(cost), Reverse(cost.lanes)));
        if let Some((kernel, cost)) = best {
            least[messages] = time(cost);
            plan[messages] = kernel as u8;
        }
    }
    plan
}

/// Which kernel is best for how many messages, as far as was measured.
pub(super) struct Calibration {
    /// The shortest time of each kernel so far.
    times: [AtomicU64; KERNELS],
    /// A thread that reads while another writes may find some of the old plan and some of the new one. Each
    /// entry is a kernel that gives the right hash.
    plan: [AtomicU8; PLANNED + 1],
    uses: AtomicU32,
}

impl Calibration {
    /// The first kernel for everything, until there is a plan.
    pub fn new() -> Self {
        Calibration {
            times: [const { AtomicU64::new(u64::MAX) }; KERNELS],
            plan: [const { AtomicU8::new(0) }; PLANNED + 1],
            uses: AtomicU32::new(0),
        }
    }

    /// Notes times that were measured.
    pub fn note(&self, costs: Vec<Cost>) {
        let shortest = |(cost, time): (Cost, &AtomicU64)| Cost {
            time: cost.time.min(time.fetch_min(cost.time, Relaxed)),
            ..cost
        };
        let costs: Vec<Cost> = costs.into_iter().zip(&self.times).map(shortest).collect();
        self.plan_for(&costs);
    }

    /// Plans with these times, and does not remember them.
    pub fn plan_for(&self, costs: &[Cost]) {
        for (entry, kernel) in self.plan.iter().zip(plan(costs)) {
            entry.store(kernel, Relaxed);
        }
    }

    /// Notes a use of the hash. True if its kernels should be measured now.
    pub fn is_due(&self) -> bool {
        MEASURED_AFTER.contains(&self.uses.fetch_add(1, Relaxed))
    }

    /// The place of the kernel to begin with.
    pub fn first(&self, messages: usize) -> usize {
        self.plan[messages.min(PLANNED)].load(Relaxed).into()
    }
}
