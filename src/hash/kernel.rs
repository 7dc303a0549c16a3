//! Kernels: the code paths that advance several hashes at once, and which of them is taken.
//!
//! **The rule.** A kernel has a number of lanes, and takes as long for one block of all of them as for one block of one. That time,
//! measured in cycles, stands beside it. The kernel is taken that needs the fewest cycles for each message that
//! there is to fill its lanes with. So AVX-512 has to have most of its 16 lanes filled to be better than the SHA
//! instructions, which do two messages at a time; and where there are none of these, a few are enough.
//!
//! The processor is asked once what it has. Memory: none; no thread, no lock.

use std::sync::LazyLock;

#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512, sha_ni};
use super::{portable, rounds};

/// The most lanes that a kernel has.
pub(super) const MAX_LANES: usize = 16;

/// Bytes of a block, in SHA-1 and in SHA-256.
pub(super) const BLOCK: usize = 64;

/// The states of all lanes: word `w` of lane `n` is `.0[w][n]`, so that a row is a vector.
#[derive(Clone)]
#[repr(align(64))]
pub(super) struct Columns<const W: usize>(pub [[u32; MAX_LANES]; W]);

impl<const W: usize> Columns<W> {
    pub fn lane(&self, lane: usize) -> [u32; W] {
        std::array::from_fn(|word| self.0[word][lane])
    }

    pub fn set_lane(&mut self, lane: usize, state: [u32; W]) {
        for (row, word) in self.0.iter_mut().zip(state) {
            row[lane] = word;
        }
    }
}

/// Where the blocks of each lane are.
pub(super) type Inputs = [*const u8; MAX_LANES];

/// One code path of a hash of `W` words.
#[derive(Clone, Copy)]
pub(super) struct Kernel<const W: usize> {
    pub name: &'static str,
    /// How many messages it hashes side by side, [`MAX_LANES`] at most.
    pub lanes: usize,
    /// Cycles for one block in every lane, about; see `docs/HASHING.md`.
    pub cycles: u32,
    /// Whether this processor has the instructions.
    pub is_there: fn() -> bool,
    /// Adds that many blocks to each lane.
    ///
    /// # Safety
    /// `is_there` said so, and each of the first `lanes` inputs is readable for that many blocks.
    pub compress: unsafe fn(&mut Columns<W>, &Inputs, usize),
}

impl<const W: usize> Kernel<W> {
    /// Adds blocks to the first `blocks.len()` lanes, as many to each as the shortest of them has, and gives their number.
    /// What is in the other lanes is lost. The kernel is one of [`Hash::kernels`].
    pub fn advance(&self, columns: &mut Columns<W>, blocks: &[&[[u8; BLOCK]]]) -> usize {
        assert!((1..=self.lanes).contains(&blocks.len()));
        let count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
        // Lanes without a message hash the first one's once more.
        let mut inputs = [blocks[0].as_ptr().cast(); MAX_LANES];
        for (input, blocks) in inputs.iter_mut().zip(blocks) {
            *input = blocks.as_ptr().cast();
        }
        // SAFETY: only kernels that are there come out of `Hash::kernels`; every input has `count` blocks.
        unsafe { (self.compress)(columns, &inputs, count) };
        count
    }

    /// Cycles for a block of one message, if there are `messages` of them. In 256ths, since these are whole numbers.
    fn cycles_each(&self, messages: usize) -> u32 {
        256 * self.cycles / messages.clamp(1, self.lanes) as u32
    }
}

/// One of the two hashes.
pub(super) struct Hash<const W: usize> {
    /// The state before the first block.
    pub initial: [u32; W],
    /// Those that this processor has; the portable one always.
    pub kernels: Vec<Kernel<W>>,
}

impl<const W: usize> Hash<W> {
    fn new(initial: [u32; W], kernels: &[Kernel<W>]) -> Self {
        Hash { initial, kernels: kernels.iter().filter(|kernel| (kernel.is_there)()).copied().collect() }
    }

    /// The same hash by one kernel alone, if it is there: for tests, and to measure it.
    #[cfg(test)]
    pub fn only(&self, name: &str) -> Option<Self> {
        let kernel = self.kernels.iter().find(|kernel| kernel.name == name)?;
        Some(Hash { initial: self.initial, kernels: vec![*kernel] })
    }

    /// The best kernel for that many messages: the rule of this module.
    pub fn best(&self, messages: usize) -> &Kernel<W> {
        let by_cycles = |kernel: &&Kernel<W>| kernel.cycles_each(messages);
        self.kernels.iter().min_by_key(by_cycles).expect("the portable kernel is always there")
    }
}

pub(super) static SHA1: LazyLock<Hash<5>> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    let [one, two, four] = sha_ni::SHA1;
    #[cfg(target_arch = "x86_64")]
    let kernels = [avx512::SHA1, avx2::SHA1, one, two, four, portable::SHA1];
    #[cfg(not(target_arch = "x86_64"))]
    let kernels = [portable::SHA1];
    Hash::new(rounds::SHA1_INITIAL, &kernels)
});

pub(super) static SHA256: LazyLock<Hash<8>> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    let [one, two, four] = sha_ni::SHA256;
    #[cfg(target_arch = "x86_64")]
    let kernels = [avx512::SHA256, avx2::SHA256, one, two, four, portable::SHA256];
    #[cfg(not(target_arch = "x86_64"))]
    let kernels = [portable::SHA256];
    Hash::new(rounds::SHA256_INITIAL, &kernels)
});
