//! Which kernels there are, and which of them is chosen.
//!
//! **The rule.** A kernel has a number of lanes, and takes as long for one block in all of them as for one
//! block in one. That time, measured in cycles, is noted in the kernel. The chosen kernel needs the fewest
//! cycles per message, with the messages that there are to fill its lanes. So most of the 16 lanes of AVX-512
//! must be filled before it is better than the SHA instructions, which hash two messages at a time. On a
//! processor without these, a few lanes are enough.
//!
//! The processor is asked once for its instructions, and the environment once for the kernels to leave out.
//! Memory: none; no thread, no lock.

use std::sync::LazyLock;

use super::kernel::Kernel;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512, sha_ni};
use super::{portable, rounds};

/// Names of kernels, or prefixes of them, separated by commas. They are left out, to measure a processor
/// without them, or because a machine claims instructions that it does not have.
const WITHOUT: &str = "SHOAL_HASH_WITHOUT";

/// One of the two hash functions.
pub(super) struct Hash<const W: usize> {
    /// The state before the first block.
    pub initial: [u32; W],
    /// The kernels that this processor supports, always with the portable one.
    pub kernels: Vec<Kernel<W>>,
}

impl<const W: usize> Hash<W> {
    fn new(initial: [u32; W], kernels: &[Kernel<W>]) -> Self {
        let without = std::env::var(WITHOUT).unwrap_or_default();
        let unwanted =
            |name: &str| without.split(',').any(|start| !start.is_empty() && name.starts_with(start));
        let is_usable = |kernel: &&Kernel<W>| {
            (kernel.is_there)() && (kernel.name == portable::NAME || !unwanted(kernel.name))
        };
        let kernels = kernels.iter().filter(is_usable).copied().collect();
        Hash { initial, kernels }
    }

    /// The same hash with one kernel only, if this processor supports it: for tests and measurements.
    #[cfg(test)]
    pub fn only(&self, name: &str) -> Option<Self> {
        let kernel = self.kernels.iter().find(|kernel| kernel.name == name)?;
        Some(Hash { initial: self.initial, kernels: vec![*kernel] })
    }

    /// The best kernel for `messages` messages, by the rule of this module.
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
