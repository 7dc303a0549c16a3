//! Measures how fast each code path is, for `docs/HASHING.md`. Not a test: it is run by `make
//! hashing`, and asserts nothing.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::super::choice::{self, Hash};
use super::super::*;

/// Total bytes of all messages: one size that stays in the second-level cache, and one that fits in no cache.
const SIZES: [(&str, usize); 2] = [("the cache, 256 KiB", 256 << 10), ("memory, 256 MiB", 256 << 20)];

/// How many messages are passed at a time.
const COUNTS: [usize; 9] = [1, 2, 3, 4, 6, 8, 12, 16, 64];

#[test]
#[ignore = "a measurement"]
fn speed() {
    println!("GB/s; messages of 16 KiB, as many at a time as the column says");
    for (name, size) in SIZES {
        let data: Vec<u8> = (0..size).map(|at| (at / 7 + at) as u8).collect();
        print!("\n{:20}", format!("from {name}"));
        println!("{}", COUNTS.map(|count| format!("{count:7}")).concat());
        row("SHA-1, crate", &data, |messages| {
            for message in messages {
                black_box(sha1(message));
            }
        });
        each(&choice::SHA1, "SHA-1", &data, |hash, messages| drop(black_box(sha1s(hash, messages))));
        row("SHA-256, crate", &data, |messages| {
            for message in messages {
                black_box(sha256(message));
            }
        });
        each(&choice::SHA256, "SHA-256", &data, |hash, messages| drop(black_box(sha256s(hash, messages))));
    }
    let layer = vec![[7; 32]; 1024];
    let time =
        usual((0..1000).map(|_| timed(|| drop(black_box(parents(&choice::SHA256, &layer))))).collect());
    assert_eq!(parents(&choice::SHA256, &layer), vec![sha256(&[7; 64]); 512], "what was measured is right");
    println!("\na layer of a merkle tree, 1024 nodes: {:.0} ns for each of the 512 above", time / 512.0);
}

fn each<const W: usize>(hash: &'static Hash<W>, title: &str, data: &[u8], work: impl Fn(&Hash<W>, &[&[u8]])) {
    for kernel in &hash.kernels {
        let only = hash.only(kernel.name).expect("it is one of them");
        row(&format!("{title}, {}", kernel.name), data, |messages| work(&only, messages));
    }
    row(&format!("{title}, as chosen"), data, |messages| work(hash, messages));
}

fn row(title: &str, data: &[u8], work: impl Fn(&[&[u8]])) {
    print!("{title:20}");
    let messages: Vec<&[u8]> = data.chunks(LEAF_LEN).collect();
    for count in COUNTS {
        let count = count.min(messages.len());
        let (start, mut times) = (Instant::now(), Vec::new());
        while start.elapsed() < Duration::from_millis(100) {
            times.extend(messages.chunks_exact(count).take(1000).map(|messages| timed(|| work(messages))));
        }
        print!(" {:6.2}", (count * LEAF_LEN) as f64 / usual(times));
    }
    println!();
}

/// How long `work` takes, in nanoseconds.
fn timed(work: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    work();
    begin.elapsed().as_nanos() as f64
}

/// The median, because the system sometimes interrupts a measurement.
fn usual(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
