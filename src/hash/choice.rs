//! Which kernels there are, and which of them is used for how many messages.
//!
//! **The rule.** A kernel takes as long for one block in all of its lanes as for one block in one. That time
//! is measured while it runs ([`calibration`](super::calibration)), for processors that have the same
//! instructions differ in it by a factor of two. From the times follows a plan: for each number of
//! messages, the kernel to begin with, such that this kernel, and those that the plan names for the messages
//! it has no lane for, need the least time together. So six messages may take four lanes and then two.
//!
//! The processor is asked once for its instructions, and the environment once for the kernels to leave out.
//! Memory: the plan; no lock.

use std::sync::LazyLock;

use super::calibration::{self, Calibration, Cost};
use super::kernel::Kernel;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512, sha_ni};
use super::{portable, rounds};

/// Names of kernels, or prefixes of them, separated by commas. They are left out, to measure a processor
/// without them, or because a machine claims instructions that it does not have.
const WITHOUT: &str = "SHOAL_HASH_WITHOUT";

/// One of the two hash functions.
pub(super) struct Hash<const W: usize> {
    name: &'static str,
    /// The state before the first block.
    pub initial: [u32; W],
    /// The kernels that this processor supports, always with the portable one.
    pub kernels: Vec<Kernel<W>>,
    /// Which of them is used.
    calibration: Calibration,
}

impl<const W: usize> Hash<W> {
    fn new(name: &'static str, initial: [u32; W], kernels: &[Kernel<W>]) -> Self {
        let without = std::env::var(WITHOUT).unwrap_or_default();
        let unwanted =
            |name: &str| without.split(',').any(|start| !start.is_empty() && name.starts_with(start));
        let is_usable = |kernel: &&Kernel<W>| {
            (kernel.is_there)() && (kernel.name == portable::NAME || !unwanted(kernel.name))
        };
        let kernels: Vec<_> = kernels.iter().filter(is_usable).copied().collect();
        let hash = Hash { name, initial, kernels, calibration: Calibration::new() };
        let guess = hash.kernels.iter().map(|kernel| Cost { lanes: kernel.lanes, time: kernel.cycles });
        hash.calibration.plan_for(&guess.collect::<Vec<_>>());
        hash
    }

    /// The same hash with one kernel only, if this processor supports it: for tests and measurements.
    #[cfg(test)]
    pub fn only(&self, name: &str) -> Option<Self> {
        let kernel = self.kernels.iter().find(|kernel| kernel.name == name)?;
        Some(Hash {
            name: self.name,
            initial: self.initial,
            kernels: vec![*kernel],
            calibration: Calibration::new(),
        })
    }

    /// The kernel to begin with for `messages` messages, by the rule of this module.
    pub fn best(&self, messages: usize) -> &Kernel<W> {
        &self.kernels[self.calibration.first(messages)]
    }

    /// The hash is used once more.
    pub fn used(&self) {
        if self.calibration.is_due() {
            self.measure();
        }
    }

    fn measure(&self) {
        let costs = calibration::measure(&self.kernels);
        let times =
            self.kernels.iter().zip(&costs).map(|(kernel, cost)| format!("{} {} ns", kernel.name, cost.time));
        let times = times.collect::<Vec<_>>().join(", ");
        self.calibration.note(costs);
        log::debug!("{} of 16 messages by {} ({times})", self.name, self.best(16).name);
    }
}

pub(super) static SHA1: LazyLock<Hash<5>> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    let [one, two, four] = sha_ni::SHA1;
    #[cfg(target_arch = "x86_64")]
    let kernels = [avx512::SHA1, avx2::SHA1, one, two, four, portable::SHA1];
    #[cfg(not(target_arch = "x86_64"))]
    let kernels = [portable::SHA1];
    Hash::new("SHA-1", rounds::SHA1_INITIAL, &kernels)
});

pub(super) static SHA256: LazyLock<Hash<8>> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    let [one, two, four] = sha_ni::SHA256;
    #[cfg(target_arch = "x86_64")]
    let kernels = [avx512::SHA256, avx2::SHA256, one, two, four, portable::SHA256];
    #[cfg(not(target_arch = "x86_64"))]
    let kernels = [portable::SHA256];
    Hash::new("SHA-256", rounds::SHA256_INITIAL, &kernels)
});
