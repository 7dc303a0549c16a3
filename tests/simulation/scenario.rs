//! A random swarm from a seed: its peers, their lines, and the faults that happen.
//!
//! Whatever happens, in the end all sources are back and the network is connected, so every download
//! has to complete.

use super::network::{Line, NodeNo};
use shoal::bitfield::Bitfield;
use std::collections::BTreeSet;
use std::time::Duration;

/// How a peer behaves.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Manners {
    Honest,
    /// One of this many blocks that it sends is wrong.
    Liar(u32),
    /// Gives slots and takes requests, and never sends a block.
    Silent,
    /// Sends blocks at one byte per second.
    Trickle,
}

impl Manners {
    pub fn is_honest(self) -> bool {
        self == Manners::Honest
    }

    pub fn serves(self) -> bool {
        self != Manners::Silent
    }

    pub fn lies(self, random: &mut fastrand::Rng) -> bool {
        matches!(self, Manners::Liar(one_in) if random.u32(..one_in) == 0)
    }
}

/// Settings of one peer.
#[derive(Clone, Debug)]
pub struct Plan {
    pub manners: Manners,
    pub line: Line,
    /// Its latency to the middle of the network.
    pub place: Duration,
    /// The pieces that it has at the start, if any.
    pub source: Option<Bitfield>,
    /// It wants no more pieces than it has.
    pub only_serves: bool,
    pub slots: usize,
    /// It answers what was requested together, each time this has passed.
    pub pulse: Option<Duration>,
    /// Memory for pieces in flight, in bytes.
    pub memory: usize,
    /// Number of peers that it connects to by itself, and maximum number of its connections.
    pub dial: usize,
    pub connections: usize,
    /// It leaves this long after its download is complete.
    pub leaves_after: Option<Duration>,
}

/// Faults that happen to the swarm.
#[derive(Clone, Debug)]
pub enum Happening {
    Start(NodeNo),
    Die(NodeNo),
    /// This many connections break.
    Cut(usize),
    /// Nothing leaves that peer for a while.
    Stall(NodeNo, Duration),
    /// The peers inside and the others cannot reach each other for a while.
    Part(Vec<bool>, Duration),
}

/// A swarm and its faults.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    /// Bytes.
    pub length: usize,
    pub piece_length: u32,
    pub plans: Vec<Plan>,
    pub happenings: Vec<(Duration, Happening)>,
    /// Maximum jitter, as a part of the latency.
    pub jitter: f64,
    /// The run must be over by then.
    pub deadline: Duration,
    /// How long a peer may get nothing from peers that have what it lacks.
    pub patience: Duration,
}

impl Scenario {
    /// The scenario of a seed: 5 to 200 peers.
    pub fn draw(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let random = &mut random;
        let count = spread(random, 5.0, 200.0) as usize;
        let piece_length = 1u32 << random.u32(14..=17);
        let most = (200 << 20) / count; // bounds the cost of a run
        let length = (spread(random, 20_000.0, 8e6) as usize).min(most);
        let sources = random.usize(1..=3).min(count - 1);
        let pieces = length.div_ceil(piece_length as usize) as u32;
        let base = spread(random, 20_000.0, 1e6);
        let hostile = if random.bool() { random.f64() * 0.3 } else { 0.0 };
        let mut plans: Vec<Plan> = (0..count).map(|no| plan(random, base, no < sources, hostile)).collect();
        share_out(random, &mut plans[..sources], pieces);
        for plan in plans.iter_mut().filter(|plan| !plan.manners.is_honest()) {
            plan.source = Some(Bitfield::full(pieces)); // it says so
        }
        let mut scenario = Scenario {
            seed,
            length,
            piece_length,
            plans,
            happenings: Vec::new(),
            jitter: random.f64(),
            deadline: Duration::ZERO,
            patience: Duration::ZERO,
        };
        scenario.draw_pulses();
        scenario.draw_happenings(random, sources);
        scenario.set_bounds();
        scenario
    }

    /// In some swarms, some peers answer in pulses. From random numbers of their own, so that the rest of the
    /// scenario stays what it is.
    fn draw_pulses(&mut self) {
        let mut random = fastrand::Rng::with_seed(!self.seed);
        let part = if random.bool() { random.f64() * 0.5 } else { 0.0 };
        for plan in &mut self.plans {
            plan.pulse = (random.f64() < part).then(|| seconds(spread(&mut random, 0.1, 2.0)));
        }
    }

    fn draw_happenings(&mut self, random: &mut fastrand::Rng, sources: usize) {
        let (count, happenings) = (self.plans.len(), &mut self.happenings);
        let flash_crowd = random.bool();
        let last_join = if flash_crowd { 1.0 } else { random.f64() * 300.0 };
        for no in 0..count {
            let at = if no < sources { 0.0 } else { random.f64() * last_join };
            happenings.push((seconds(at), Happening::Start(no)));
        }
        let churn = if random.bool() { random.f64() * 0.5 } else { 0.0 };
        for no in 0..count {
            let mut at = last_join;
            while random.f64() < churn {
                at += random.f64() * 120.0;
                happenings.push((seconds(at), Happening::Die(no)));
                at += random.f64() * 60.0;
                happenings.push((seconds(at), Happening::Start(no)));
            }
        }
        for _ in 0..random.usize(..6) {
            let (at, long) = (seconds(random.f64() * 300.0), seconds(random.f64() * 60.0));
            let happening = match random.u8(..3) {
                0 => Happening::Cut(random.usize(..=count)),
                1 => Happening::Stall(random.usize(..count), long),
                _ => Happening::Part((0..count).map(|_| random.u8(..) < 80).collect(), long),
            };
            happenings.push((at, happening));
        }
    }

    /// Generous but finite: a download that is a hundred times too slow, or makes no progress, is detected.
    pub fn set_bounds(&mut self) {
        let honest = || self.plans.iter().filter(|plan| plan.manners.is_honest());
        let sources = || honest().filter(|plan| plan.source.is_some());
        let slowest = sources().map(|plan| plan.line.up).fold(f64::MAX, f64::min);
        let narrowest = honest().map(|plan| plan.line.down).fold(f64::MAX, f64::min);
        let all: f64 = honest().map(|plan| plan.line.up).sum();
        let length = self.length as f64;
        let bound = (length / slowest).max(length / narrowest).max(self.plans.len() as f64 * length / all);
        let quiet = self.happenings.iter().map(|(at, _)| *at).max().unwrap_or_default();
        self.deadline = quiet + seconds(3600.0 + 20.0 * bound);
        let turns = self.plans.iter().map(|plan| plan.connections).max().unwrap_or_default() as f64;
        let a_piece = f64::from(self.piece_length) / slowest;
        self.patience = seconds(600.0 + 60.0 * turns + 20.0 * a_piece);
    }

    pub fn latency(&self, a: NodeNo, b: NodeNo) -> Duration {
        self.plans[a].place + self.plans[b].place
    }

    pub fn liars(&self) -> BTreeSet<NodeNo> {
        let lies = |plan: &Plan| matches!(plan.manners, Manners::Liar(_));
        self.plans.iter().enumerate().filter(|(_, plan)| lies(plan)).map(|(no, _)| no).collect()
    }

    /// Maximum number of useless bytes for this many useful ones: half as many; one block from each
    /// connection at each end of a download, which crossed its cancel; and the cost of the faults.
    pub fn waste(&self, gained: u64) -> u64 {
        let deaths = self.happenings.iter().filter(|(_, what)| !matches!(what, Happening::Start(_))).count();
        let hostile = self.plans.iter().filter(|plan| !plan.manners.is_honest()).count();
        let accidents = (deaths + hostile + 1) * self.plans.len();
        let connections: usize = self.plans.iter().map(|plan| plan.connections).sum();
        let crossed = connections as u64 * u64::from(shoal::torrent::BLOCK_LEN);
        gained / 2 + crossed + accidents as u64 * u64::from(self.piece_length)
    }
}

fn plan(random: &mut fastrand::Rng, base: f64, source: bool, hostile: f64) -> Plan {
    let up = base * 10f64.powf(random.f64() * 2.0 - 1.0);
    let manners = match random.f64() {
        dice if source || dice >= hostile => Manners::Honest,
        _ => match random.u8(..3) {
            0 => Manners::Liar(random.u32(1..=8)),
            1 => Manners::Silent,
            _ => Manners::Trickle,
        },
    };
    let dial = random.usize(3..=15);
    Plan {
        manners,
        line: Line {
            up,
            down: up * spread(random, 1.0, 10.0),
            blocks: (manners == Manners::Trickle).then_some(1.0),
        },
        place: seconds(spread(random, 0.0005, 0.15)),
        source: None,
        only_serves: false,
        slots: random.usize(2..=8),
        pulse: None,
        memory: 1 << random.u32(18..=24),
        dial,
        connections: dial * 2 + 5,
        leaves_after: (!source && random.u8(..) < 64).then(|| seconds(random.f64() * 120.0)),
    }
}

/// Gives the sources their pieces: all pieces to each, or a part to each so that none is missing.
fn share_out(random: &mut fastrand::Rng, sources: &mut [Plan], pieces: u32) {
    let whole = sources.len() == 1 || random.bool();
    for source in sources.iter_mut() {
        source.source = Some(if whole { Bitfield::full(pieces) } else { Bitfield::new(pieces) });
    }
    for index in 0..pieces {
        let holder = random.usize(..sources.len());
        if let Some(bits) = &mut sources[holder].source {
            bits.set(index);
        }
    }
}

/// A random number between two numbers, each order of magnitude equally likely.
fn spread(random: &mut fastrand::Rng, least: f64, most: f64) -> f64 {
    least * (most / least).powf(random.f64())
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}
