//! A deterministic simulator of whole swarms, and its tests.
//!
//! It runs the library's own pure parts (sessions, pickers, request windows, chokers, ledgers, the blame for
//! bad pieces) over a fake network with a virtual clock, hundreds of peers in one thread. One seed determines
//! everything. After every step it checks the [`invariants`]. `make test` runs a few seeds; `make simulate
//! SEEDS=0..1000` runs as many as wanted. A seed that fails prints the command that runs it again.

mod clock;
mod connection;
mod invariants;
mod network;
mod peer;
mod pulses;
mod requests;
mod scenario;
mod uneven;
mod world;

use invariants::{Broken, Invariant};
use scenario::Scenario;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use uneven::Split;
use world::{Fault, Report, World};

/// The seeds that `make test` runs.
const FEW: Range<u64> = 0..16;

/// No seed.
const NONE: [u64; 0] = [];

#[test]
fn every_download_of_a_few_swarms_completes_and_no_invariant_breaks() {
    assert_eq!(failed(FEW), NONE);
}

/// `make simulate` sets `SEEDS` to a number or a range.
#[test]
#[ignore = "as long as one likes: make simulate SEEDS=0..1000"]
fn every_download_of_many_swarms_completes_and_no_invariant_breaks() {
    let seeds = seeds(&std::env::var("SEEDS").unwrap_or_else(|_| "0..200".into()));
    assert_eq!(failed(seeds), NONE);
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in [3, 7] {
        let reports = [(); 2].map(|()| World::new(Scenario::draw(seed), None).run().unwrap());
        assert_eq!(reports[0], reports[1], "seed {seed}");
    }
    let digest = |seed| World::new(Scenario::draw(seed), None).run().unwrap().digest;
    assert_ne!(digest(3), digest(7));
}

/// The invariants are useless if they do not detect mistakes. Each of three mistakes in the code around the
/// pure parts is detected in some of a few swarms, first by the invariant that it breaks.
#[test]
fn deliberate_faults_are_caught() {
    const SEEDS: u64 = 16;
    let expected = [
        (Fault::NeverCancel, Invariant::Requests),
        (Fault::ForgetPieces, Invariant::Owners),
        (Fault::AdmitTooMany, Invariant::Slots),
    ];
    for (fault, invariant) in expected {
        let broken: Vec<Broken> =
            (0..SEEDS).filter_map(|seed| World::new(Scenario::draw(seed), Some(fault)).run().err()).collect();
        println!("{fault:?}: caught in {} of {SEEDS} seeds, for example: {}", broken.len(), broken[0]);
        assert!(broken.len() >= 3, "{fault:?} is caught in {} of {SEEDS} seeds", broken.len());
        assert!(broken.iter().all(|broken| broken.invariant == invariant), "{fault:?}: {broken:?}");
    }
}

/// This is virtual time, so it may be asserted.
#[test]
fn the_next_missing_piece_beats_a_static_split_over_uneven_links() {
    const RUNS: u64 = 100;
    for piece_length in [16 << 10, 64 << 10] {
        let [dynamic, fixed] = [Split::Dynamic, Split::Static].map(|split| {
            let times = (0..RUNS).map(|seed| uneven::time(seed, piece_length, split));
            (times.sum::<Duration>() / RUNS as u32).as_secs_f64()
        });
        let less = 100.0 * (1.0 - dynamic / fixed);
        println!(
            "800 kB in pieces of {} KiB from five uneven sources, mean of {RUNS}: dynamic {dynamic:.1} s, \
             modulo five {fixed:.1} s: {less:.0} % less",
            piece_length >> 10
        );
        assert!(dynamic <= 0.75 * fixed, "{dynamic:.1} s against {fixed:.1} s");
    }
}

/// Bug: a seed that answered in pulses of half a second was asked for 16 blocks at a time and sent 0.5 MiB/s
/// instead of 16; with pulses of a second or more it was asked for one or two. And a connection looked for
/// more to request only once its window was half empty, so that half of it was never used.
#[test]
fn a_seed_that_answers_in_pulses_is_asked_for_enough() {
    for pulse in [0.0, 0.1, 0.2, 0.5, 1.0, 2.0] {
        for latency in [0.001, 0.05, 0.25, 0.5] {
            let time = pulses::time(pulse, latency).as_secs_f64();
            let (round, blocks) = ((2.0 * latency).max(pulse), (pulses::LENGTH / 16384) as f64);
            let line = f64::min(pulses::RATE, network::MOST_FLIGHT as f64 / latency) / 16384.0;
            let possible = f64::min(512.0 / (2.0 * latency + pulse), line);
            println!(
                "{time:6.1} s for {blocks} blocks with pulses of {pulse} s and a latency of {latency} s"
            );
            assert!(time <= 2.0 + 10.0 * round + 2.0 * blocks / possible, "{time} s");
        }
    }
}

/// Runs these seeds, prints a summary, and gives those that failed.
fn failed(seeds: Range<u64>) -> Vec<u64> {
    let began = Instant::now();
    let mut sum = Report::default();
    let count = seeds.end - seeds.start;
    let mut failed = Vec::new();
    for seed in seeds {
        let Some(report) = simulate(seed) else {
            failed.push(seed);
            continue;
        };
        sum.peers += report.peers;
        sum.downloads += report.downloads;
        sum.completions += report.completions;
        sum.virtual_time += report.virtual_time;
        sum.events += report.events;
        sum.blocks += report.blocks;
        sum.bans += report.bans;
        sum.received += report.received;
        sum.gained += report.gained;
    }
    let (real, waste) = (began.elapsed().as_secs_f64(), sum.received.saturating_sub(sum.gained));
    println!(
        "{count} seeds: {} peers, {:.0} virtual s in {real:.1} real s, {} of {} downloads completed, {} events, \
         {} blocks, {:.2} % of the bytes in vain, {} bans; {} seeds failed",
        sum.peers,
        sum.virtual_time.as_secs_f64(),
        sum.completions,
        sum.downloads,
        sum.events,
        sum.blocks,
        100.0 * waste as f64 / sum.received.max(1) as f64,
        sum.bans,
        failed.len(),
    );
    failed
}

/// Runs one seed. If it fails, prints why and how to run it again.
fn simulate(seed: u64) -> Option<Report> {
    let began = Instant::now();
    let run = || World::new(Scenario::draw(seed), None).run();
    let why = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(report)) => {
            if std::env::var_os("EACH").is_some() {
                let (peers, events) = (report.peers, report.events);
                let (passed, real) = (report.virtual_time.as_secs(), began.elapsed());
                println!("seed {seed}: {peers} peers, {passed} virtual s in {real:?}, {events} events");
            }
            return Some(report);
        }
        Ok(Err(broken)) => broken.to_string(),
        Err(_) => "a pure part is at odds with itself, as said above".to_owned(),
    };
    println!("seed {seed}: {why}\n  to see it again: make simulate SEEDS={seed}");
    None
}

/// `7`, or `0..1000`.
fn seeds(text: &str) -> Range<u64> {
    let number =
        |text: &str| text.parse().unwrap_or_else(|_| panic!("SEEDS={text}: not a number or a range"));
    match text.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(text)..number(text) + 1,
    }
}
