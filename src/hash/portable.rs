//! Kernels with one lane, by the crates `sha1` and `sha2`, for every processor. They also use the SHA
//! instructions of ARM and x86. Pure.

use super::kernel::{Columns, Inputs, Kernel};

pub(super) const NAME: &str = "portable";

pub(super) const SHA1: Kernel<5> =
    Kernel { name: NAME, lanes: 1, cycles: 400, is_there: || true, compress: sha1 };
pub(super) const SHA256: Kernel<8> =
    Kernel { name: NAME, lanes: 1, cycles: 700, is_there: || true, compress: sha256 };

/// # Safety
/// As [`Kernel::compress`] says.
unsafe fn sha1(columns: &mut Columns<5>, inputs: &Inputs, blocks: usize) {
    // SAFETY: the caller promises as many blocks at every input.
    let blocks = unsafe { std::slice::from_raw_parts(inputs[0].cast(), blocks) };
    let mut state = columns.lane(0);
    sha1::block_api::compress(&mut state, blocks);
    columns.set_lane(0, state);
}

/// # Safety
/// As [`Kernel::compress`] says.
unsafe fn sha256(columns: &mut Columns<8>, inputs: &Inputs, blocks: usize) {
    // SAFETY: the caller promises as many blocks at every input.
    let blocks = unsafe { std::slice::from_raw_parts(inputs[0].cast(), blocks) };
    let mut state = columns.lane(0);
    sha2::block_api::compress256(&mut state, blocks);
    columns.set_lane(0, state);
}
