//! What a kernel is: a code path that advances several hashes at once. Memory: none; no thread, no lock.

/// Maximum number of lanes of a kernel.
pub(super) const MAX_LANES: usize = 16;

/// Length of a block in bytes, in SHA-1 and in SHA-256.
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

/// One code path of a hash whose state has `W` words.
#[derive(Clone, Copy)]
pub(super) struct Kernel<const W: usize> {
    pub name: &'static str,
    /// How many messages it hashes in parallel, at most [`MAX_LANES`].
    pub lanes: usize,
    /// Cycles for one block in every lane, on the processor on which it was written. It is a guess, until
    /// this one is measured.
    pub cycles: u64,
    /// Whether this processor has the instructions.
    pub is_there: fn() -> bool,
    /// Adds that number of blocks to each lane.
    ///
    /// # Safety
    /// `is_there` returned true, and each of the first `lanes` inputs is readable for that number of blocks.
    pub compress: unsafe fn(&mut Columns<W>, &Inputs, usize),
}

impl<const W: usize> Kernel<W> {
    /// Adds blocks to the first `blocks.len()` lanes, to each as many as the shortest of them has,
    /// and returns that number. The content of the other lanes is lost. The kernel must be one of
    /// `Hash::kernels`.
    pub fn advance(&self, columns: &mut Columns<W>, blocks: &[&[[u8; BLOCK]]]) -> usize {
        assert!((1..=self.lanes).contains(&blocks.len()));
        let count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
        // Lanes without a message hash the first lane's message again.
        let mut inputs = [blocks[0].as_ptr().cast(); MAX_LANES];
        for (input, blocks) in inputs.iter_mut().zip(blocks) {
            *input = blocks.as_ptr().cast();
        }
        // SAFETY: `Hash::kernels` holds only kernels that this processor supports; every input has
        // `count` blocks.
        unsafe { (self.compress)(columns, &inputs, count) };
        count
    }
}
