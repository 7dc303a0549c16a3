//! One seed that answers in pulses, and one peer that downloads from it over a line that carries all that the
//! largest window can ask for.

use super::network::Line;
use super::scenario::{Happening, Manners, Plan, Scenario};
use super::world::World;
use shoal::bitfield::Bitfield;
use std::time::Duration;

/// Bytes.
pub const LENGTH: usize = 64 << 20;
const PIECE_LENGTH: u32 = 256 << 10;
/// Of both lines, bytes per second.
pub const RATE: f64 = 32e6;

/// How long the download takes. `pulse` and `latency` are in seconds.
pub fn time(pulse: f64, latency: f64) -> Duration {
    let pieces = LENGTH as u32 / PIECE_LENGTH;
    let pulse = (pulse > 0.0).then(|| Duration::from_secs_f64(pulse));
    let seed = Plan { pulse, source: Some(Bitfield::full(pieces)), dial: 0, ..plan(latency) };
    let mut scenario = Scenario {
        seed: 1,
        length: LENGTH,
        piece_length: PIECE_LENGTH,
        plans: vec![seed, plan(latency)],
        happenings: [0, 1].map(|no| (Duration::ZERO, Happening::Start(no))).into(),
        jitter: 0.0,
        deadline: Duration::ZERO,
        patience: Duration::ZERO,
    };
    scenario.set_bounds();
    let report = World::new(scenario, None).run().unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!((report.downloads, report.completions), (1, 1));
    report.times[0]
}

fn plan(latency: f64) -> Plan {
    Plan {
        manners: Manners::Honest,
        line: Line { up: RATE, down: RATE, blocks: None },
        place: Duration::from_secs_f64(latency / 2.0),
        source: None,
        only_serves: false,
        slots: 4,
        pulse: None,
        memory: 32 << 20,
        dial: 1,
        connections: 2,
        leaves_after: None,
    }
}
