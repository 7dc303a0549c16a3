//! The picker of a torrent of 100,000 pieces with 500 peers.
//!
//! Who has what decides what a pick costs, so there are several swarms:
//!
//! - `mixed`: each peer has from a tenth to all of the pieces, at random: some hundred degrees of rarity, the
//!   rarest of a few pieces each;
//! - `seeds`: each peer has everything, and all pieces are as rare;
//! - `halves`: the first half only one seed has, and all others have the second half: most peers have nothing
//!   among the rarest;
//! - `stairs`: each peer has a beginning, the next one a longer one, as where people watch while it loads: as
//!   many degrees of rarity as peers, and nobody has what is rarer than the end of its own.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use shoal::bencode;
use shoal::bitfield::Bitfield;
use shoal::peer::download::memory::Budget;
use shoal::peer::download::partial::Partial;
use shoal::peer::download::picker::{Pick, Picker};
use shoal::peer::identity::ConnId;
use shoal::torrent::{BLOCK_LEN, Geometry, Torrent};
use std::collections::VecDeque;
use std::sync::Arc;

const PIECES: u32 = 100_000;
const PEERS: u64 = 500;
/// Number of pieces that are here already. A new download would pick at random.
const HAD: u32 = 4;
/// Number of pieces in flight at any time.
const IN_FLIGHT: usize = 100;

const SWARMS: [&str; 4] = ["mixed", "seeds", "halves", "stairs"];

fn geometry() -> Geometry {
    let bytes = bencode::dict(|top| {
        top.dict("info", |info| {
            info.int("length", i64::from(PIECES) * i64::from(BLOCK_LEN));
            info.bytes("name", "large");
            info.int("piece length", BLOCK_LEN.into());
            info.bytes("pieces", vec![7; PIECES as usize * 20]);
        });
    });
    Torrent::parse(&bytes).unwrap().geometry().clone()
}

fn bits(pieces: impl IntoIterator<Item = u32>) -> Bitfield {
    let mut bits = Bitfield::new(PIECES);
    for piece in pieces {
        bits.set(piece);
    }
    bits
}

fn some(random: &mut fastrand::Rng, percent: u32) -> Bitfield {
    bits((0..PIECES).filter(|_| random.u32(0..100) < percent))
}

/// What a peer of such a swarm has. The first is a seed in each.
fn has(swarm: &str, peer: u64, random: &mut fastrand::Rng) -> Bitfield {
    match swarm {
        "mixed" if peer > 0 => {
            let percent = random.u32(10..=100);
            some(random, percent)
        }
        "halves" if peer > 0 => bits(PIECES / 2..PIECES),
        "stairs" if peer > 0 => bits(0..peer as u32 * (PIECES / PEERS as u32)),
        _ => Bitfield::full(PIECES),
    }
}

/// A picker, and what the rest of a peer would hold.
struct World {
    picker: Picker,
    budget: Arc<Budget>,
    in_flight: VecDeque<(Partial, ConnId)>,
    random: fastrand::Rng,
}

impl World {
    fn new(swarm: &str) -> World {
        let mut random = fastrand::Rng::with_seed(1);
        let mut picker = Picker::new(geometry(), bits(0..HAD), 1);
        for peer in 0..PEERS {
            picker.joined(ConnId(peer));
            picker.peer_has_pieces(ConnId(peer), has(swarm, peer, &mut random));
        }
        World { picker, budget: Budget::new(usize::MAX), in_flight: VecDeque::new(), random }
    }

    fn pick(&mut self, peer: ConnId) -> bool {
        let memory = self.budget.reserve(BLOCK_LEN);
        let Pick::Fetch(partial) = self.picker.pick(peer, memory) else { return false };
        self.in_flight.push_back((partial, peer));
        true
    }

    fn pick_for_anybody(&mut self) -> bool {
        let peer = ConnId(self.random.u64(..PEERS));
        self.pick(peer)
    }

    /// The oldest of those in flight has come.
    fn finish(&mut self, good: bool) {
        let Some((partial, owner)) = self.in_flight.pop_front() else { return };
        let piece = partial.piece();
        assert!(self.picker.checking(piece, owner));
        if good { self.picker.good(piece) } else { self.picker.bad(piece) }
    }
}

/// One piece is picked for one peer or another, and an earlier one comes; all have to be fetched again, so
/// that it goes on.
#[divan::bench(args = SWARMS, sample_size = 100)]
fn pick_and_finish(bencher: Bencher, swarm: &str) {
    let mut world = World::new(swarm);
    while world.in_flight.len() < IN_FLIGHT {
        world.pick_for_anybody();
    }
    bencher.bench_local(|| {
        world.pick_for_anybody();
        world.finish(false);
    });
}

/// The whole download, from the first piece to the last: what a piece costs while they become fewer.
#[divan::bench(args = ["mixed", "seeds"], sample_count = 1, sample_size = 1)]
fn whole_download(bencher: Bencher, swarm: &str) {
    let download = |mut world: World| {
        while !world.picker.is_complete() {
            let picked = world.pick_for_anybody();
            if !picked || world.in_flight.len() > IN_FLIGHT {
                world.finish(true);
            }
        }
    };
    bencher
        .counter(ItemsCount::new(PIECES - HAD))
        .with_inputs(|| World::new(swarm))
        .bench_local_values(download);
}

/// A peer of which everything is here or in flight looks for work.
#[divan::bench]
fn pick_in_vain(bencher: Bencher) {
    let mut world = World::new("mixed");
    let late = ConnId(PEERS);
    world.picker.joined(late);
    for _ in 0..IN_FLIGHT {
        world.pick(ConnId(0));
    }
    let taken = world.in_flight.iter().map(|(partial, _)| partial.piece().index());
    world.picker.peer_has_pieces(late, bits(taken.chain(0..HAD)));
    bencher.bench_local(|| world.pick(black_box(late)));
}

/// A connection comes, tells what it has, and ends.
#[divan::bench(args = SWARMS)]
fn join_and_leave(bencher: Bencher, swarm: &str) {
    let mut world = World::new(swarm);
    let its = has(swarm, PEERS / 2, &mut world.random);
    let id = ConnId(PEERS);
    bencher.with_inputs(|| its.clone()).bench_local_values(|its| {
        world.picker.joined(id);
        world.picker.peer_has_pieces(id, its);
        world.picker.left(id);
    });
}

/// A peer tells of one piece after the other.
#[divan::bench(sample_size = 1000)]
fn have(bencher: Bencher) {
    let mut world = World::new("mixed");
    let pieces: Vec<_> = geometry().pieces().collect();
    let (mut next, mut id) = (0, PEERS);
    bencher.bench_local(|| {
        if next % pieces.len() == 0 {
            id += 1;
            world.picker.joined(ConnId(id));
        }
        let piece = pieces[next % pieces.len()];
        next += 1;
        world.picker.peer_has(ConnId(id), piece)
    });
}
