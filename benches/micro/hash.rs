//! The hashes of pieces, leaves and trees.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use shoal::hash::{self, LEAF_LEN};

/// A block, and pieces of 256 KiB, 1 MiB and 16 MiB.
const LENGTHS: [usize; 4] = [16 << 10, 256 << 10, 1 << 20, 16 << 20];

fn content(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(len as u64).fill(&mut bytes);
    bytes
}

/// One v1 piece alone.
#[divan::bench(args = LENGTHS)]
fn sha1(bencher: Bencher, len: usize) {
    let data = content(len);
    bencher.counter(BytesCount::new(len)).bench(|| hash::sha1(black_box(&data)));
}

#[divan::bench(args = LENGTHS)]
fn sha256(bencher: Bencher, len: usize) {
    let data = content(len);
    bencher.counter(BytesCount::new(len)).bench(|| hash::sha256(black_box(&data)));
}

/// The leaves of one v2 piece.
#[divan::bench(args = LENGTHS)]
fn leaf_hashes(bencher: Bencher, len: usize) {
    let data = content(len);
    let mut leaves = Vec::new();
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        leaves.clear();
        hash::leaf_hashes(black_box(&data), &mut leaves);
    });
}

/// The leaves of one v2 piece, and the tree over them.
#[divan::bench(args = LENGTHS)]
fn data_root(bencher: Bencher, len: usize) {
    let data = content(len);
    bencher.counter(BytesCount::new(len)).bench(|| hash::data_root(black_box(&data), len / LEAF_LEN));
}

/// The tree alone, over the leaves of this many bytes.
#[divan::bench(args = LENGTHS)]
fn merkle_root(bencher: Bencher, len: usize) {
    let mut leaves = Vec::new();
    hash::leaf_hashes(&content(len), &mut leaves);
    bencher.bench(|| hash::merkle_root(black_box(&leaves), leaves.len(), [0; 32]));
}

/// This many v1 pieces at once, side by side in the lanes of a vector.
#[divan::bench(args = [(16, 256 << 10), (16, 1 << 20)])]
fn sha1_many(bencher: Bencher, (pieces, len): (usize, usize)) {
    let data = content(pieces * len);
    let messages: Vec<&[u8]> = data.chunks(len).collect();
    bencher.counter(BytesCount::new(data.len())).bench(|| hash::sha1_many(black_box(&messages)));
}
