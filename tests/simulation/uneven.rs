//! Five sources over uneven, noisy lines, one of which dies and comes back, and one peer that fetches a small
//! file from them. It compares two splits: the next missing piece goes to the source that is free, or it is
//! fixed in advance which source sends it.
//!
//! The static split needs no other picker: source `k` of five has only the pieces whose number is `k` modulo
//! five, so no source can help another.

use super::network::Line;
use super::scenario::{Happening, Manners, Plan, Scenario};
use super::world::World;
use shoal::bitfield::Bitfield;
use std::time::Duration;

const SOURCES: usize = 5;
const LENGTH: usize = 800_000;

/// Which pieces each source has.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Split {
    /// Every source has everything.
    Dynamic,
    /// By piece number modulo five.
    Static,
}

/// How long the download takes.
pub fn time(seed: u64, piece_length: u32, split: Split) -> Duration {
    let report = World::new(scenario(seed, piece_length, split), None).run();
    let report = report.unwrap_or_else(|broken| panic!("seed {seed}, {split:?}: {broken}"));
    assert_eq!((report.downloads, report.completions), (1, 1));
    report.times[0]
}

/// The same lines and the same faults for both splits.
fn scenario(seed: u64, piece_length: u32, split: Split) -> Scenario {
    let mut random = fastrand::Rng::with_seed(seed);
    let pieces = LENGTH.div_ceil(piece_length as usize) as u32;
    let mut plans: Vec<Plan> = (0..SOURCES)
        .map(|k| {
            let up = 4_000.0 + 8_000.0 * random.f64(); // bytes per second
            plan(up, random.f64(), Some(share(k as u32, pieces, split)))
        })
        .collect();
    plans.push(plan(1e6, random.f64(), None));
    let mut happenings: Vec<(Duration, Happening)> =
        (0..plans.len()).map(|no| (Duration::ZERO, Happening::Start(no))).collect();
    for source in 0..SOURCES {
        let mut at = 0.0;
        while at < 60.0 {
            at += 15.0 * random.f64();
            let stall = Happening::Stall(source, seconds(4.0 * random.f64()));
            happenings.push((seconds(at), stall));
        }
    }
    let (mortal, dies_at) = (random.usize(..SOURCES), 2.0 + 8.0 * random.f64());
    happenings.push((seconds(dies_at), Happening::Die(mortal)));
    happenings.push((seconds(dies_at + 10.0), Happening::Start(mortal)));
    let mut scenario = Scenario {
        seed,
        length: LENGTH,
        piece_length,
        plans,
        happenings,
        jitter: 2.0,
        deadline: Duration::ZERO,
        patience: Duration::ZERO,
    };
    scenario.set_bounds();
    scenario
}

fn share(k: u32, pieces: u32, split: Split) -> Bitfield {
    let mut bits = Bitfield::new(pieces);
    for index in (0..pieces).filter(|index| split == Split::Dynamic || index % SOURCES as u32 == k) {
        bits.set(index);
    }
    bits
}

fn plan(up: f64, place: f64, source: Option<Bitfield>) -> Plan {
    Plan {
        manners: Manners::Honest,
        line: Line { up, down: 1e6, blocks: None },
        place: seconds(0.01 + 0.09 * place),
        only_serves: source.is_some(), // otherwise it would carry pieces from one source to another
        dial: if source.is_some() { 0 } else { SOURCES },
        source,
        slots: 4,
        pulse: None,
        memory: 32 << 20,
        connections: SOURCES,
        leaves_after: None,
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}
