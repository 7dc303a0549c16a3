//! Measures how fast each code path is, for `docs/HASHING.md`, and whether the best one is chosen for every
//! number of messages. Not a test of `cargo test`: it is run by `make hashing`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::super::choice::{self, Hash};
use super::super::*;

/// Total bytes of all messages: one size that stays in the second-level cache, and one that fits in no cache.
const SIZES: [(&str, usize); 2] = [("the cache, 256 KiB", 256 << 10), ("memory, 256 MiB", 256 << 20)];

/// How many messages are passed at a time.
const COUNTS: [usize; 20] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 20, 24, 32, 64];

/// How long each is measured, in turns with the others, so that a moment of the machine is one for all.
const ROUNDS: usize = 40;
const ROUND: Duration = Duration::from_millis(3);

/// The part of the best code path's speed that what is chosen must reach.
const GOAL: f64 = 0.95;

#[test]
#[ignore = "a measurement"]
fn speed() {
    println!("GB/s; messages of 16 KiB, as many at a time as the column says");
    let mut missed = Vec::new();
    for (name, size) in SIZES {
        let data: Vec<u8> = (0..size).map(|at| (at / 7 + at) as u8).collect();
        print!("\n{:20}", format!("from {name}"));
        println!("{}", COUNTS.map(|count| format!("{count:6}")).concat());
        let crate_sha1 =
            |messages: &[&[u8]]| messages.iter().for_each(|message| _ = black_box(sha1(message)));
        let crate_sha256 =
            |messages: &[&[u8]]| messages.iter().for_each(|message| _ = black_box(sha256(message)));
        missed.extend(all(&choice::SHA1, "SHA-1", &data, &crate_sha1, &|hash, messages| {
            drop(black_box(sha1s(hash, messages)));
        }));
        missed.extend(all(&choice::SHA256, "SHA-256", &data, &crate_sha256, &|hash, messages| {
            drop(black_box(sha256s(hash, messages)));
        }));
    }
    let layer = vec![[7; 32]; 1024];
    let time =
        usual((0..1000).map(|_| timed(|| drop(black_box(parents(&choice::SHA256, &layer))))).collect());
    assert_eq!(parents(&choice::SHA256, &layer), vec![sha256(&[7; 64]); 512], "what was measured is right");
    println!("\na layer of a merkle tree, 1024 nodes: {:.0} ns for each of the 512 above", time / 512.0);
    assert!(missed.is_empty(), "not within 5 % of the best:\n{}", missed.join("\n"));
    println!("as chosen is within 5 % of the best for every number of messages");
}

/// Prints a row for each code path, and for what is chosen. Returns for which numbers that is not the best.
fn all<const W: usize>(
    hash: &'static Hash<W>,
    title: &str,
    data: &[u8],
    by_crate: &dyn Fn(&[&[u8]]),
    work: &dyn Fn(&Hash<W>, &[&[u8]]),
) -> Vec<String> {
    let alone: Vec<Hash<W>> = hash.kernels.iter().filter_map(|kernel| hash.only(kernel.name)).collect();
    let messages: Vec<&[u8]> = data.chunks(LEAF_LEN).collect();
    let mut columns = Vec::new();
    for count in COUNTS {
        let count = count.min(messages.len());
        let mut times = vec![Vec::new(); alone.len() + 2];
        let mut batches = messages.chunks_exact(count).cycle();
        for _ in 0..ROUNDS {
            for (row, times) in times.iter_mut().enumerate() {
                let start = Instant::now();
                while start.elapsed() < ROUND {
                    let batch = batches.next().expect("it goes round");
                    times.push(timed(|| match row {
                        0 => by_crate(batch),
                        row if row <= alone.len() => work(&alone[row - 1], batch),
                        _ => work(hash, batch),
                    }));
                }
            }
        }
        columns.push(
            times.into_iter().map(|times| (count * LEAF_LEN) as f64 / usual(times)).collect::<Vec<_>>(),
        );
    }
    let names = hash.kernels.iter().map(|kernel| kernel.name);
    let names: Vec<&str> = ["crate"].into_iter().chain(names).chain(["as chosen"]).collect();
    for (row, name) in names.iter().enumerate() {
        let speeds = columns.iter().map(|column| format!("{:6.2}", column[row]));
        println!("{:20}{}", format!("{title}, {name}"), speeds.collect::<String>());
    }
    let missed = COUNTS.iter().zip(&columns).filter_map(|(count, column)| {
        let (chosen, others) = column.split_last()?;
        let best = others.iter().copied().fold(0.0, f64::max);
        (*chosen < GOAL * best).then(|| format!("{title}, {count} messages: {chosen:.2} of {best:.2} GB/s"))
    });
    missed.collect()
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
