//! How fast each code path is, for `docs/HASHING.md`. Not a test: it is run by `make hashing`, and asserts nothing.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::super::kernel::{self, Hash};
use super::super::*;

/// Bytes of all messages together that stay in the second cache, and that do not stay in any.
const SIZES: [(&str, usize); 2] = [("256 KiB", 256 << 10), ("256 MiB", 256 << 20)];

#[test]
#[ignore = "a measurement"]
fn speed() {
    println!("GB/s; messages of 16 KiB for as many at a time as the column says\n");
    for (name, size) in SIZES {
        let data: Vec<u8> = (0..size).map(|at| (at / 7 + at) as u8).collect();
        println!("from {name}                1      2      4      8     12     16     64");
        row("SHA-1, crate", &data, |messages| {
            drop(black_box(messages.iter().map(|m| sha1(m)).collect::<Vec<_>>()))
        });
        each(&kernel::SHA1, "SHA-1", &data, |hash, messages| drop(black_box(sha1s(hash, messages))));
        row("SHA-256, crate", &data, |messages| {
            drop(black_box(messages.iter().map(|m| sha256(m)).collect::<Vec<_>>()))
        });
        each(&kernel::SHA256, "SHA-256", &data, |hash, messages| drop(black_box(sha256s(hash, messages))));
    }
    let layer = vec![[7; 32]; 1024];
    let time = fastest(|| drop(black_box(parents(&kernel::SHA256, &layer))));
    println!("a merkle layer of 1024 nodes: {:.1} ns a pair", time.as_nanos() as f64 / 512.0);
}

fn each<const W: usize>(hash: &'static Hash<W>, title: &str, data: &[u8], work: impl Fn(&Hash<W>, &[&[u8]])) {
    for kernel in &hash.kernels {
        let only = hash.only(kernel.name).expect("it is one of them");
        row(&format!("{title}, {}", kernel.name), data, |messages| work(&only, messages));
    }
    row(&format!("{title}, best"), data, |messages| work(hash, messages));
}

fn row(title: &str, data: &[u8], work: impl Fn(&[&[u8]])) {
    print!("{title:20}");
    let messages: Vec<&[u8]> = data.chunks(LEAF_LEN).collect();
    for at_a_time in [1, 2, 4, 8, 12, 16, 64] {
        let whole = at_a_time.min(messages.len());
        let time = fastest(|| messages.chunks_exact(whole).for_each(&work));
        let bytes = messages.len() / whole * whole * LEAF_LEN;
        print!(" {:6.2}", bytes as f64 / time.as_nanos() as f64);
    }
    println!();
}

/// The shortest time of many: what disturbs makes it longer only.
fn fastest(work: impl Fn()) -> Duration {
    let (start, mut best) = (Instant::now(), Duration::MAX);
    while start.elapsed() < Duration::from_millis(150) {
        let begin = Instant::now();
        work();
        best = best.min(begin.elapsed());
    }
    best
}
