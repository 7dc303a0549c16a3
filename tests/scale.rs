//! Many connections and many torrents at once, and stopping them.

mod common;

use common::raw::{self, Raw, last_words};
use common::*;
use parking_lot::Mutex;
use shoal::peer::engine::{AddTorrent, Engine};
use shoal::protocol::wire::{BlockRequest, Message};
use shoal::torrent::{BLOCK_LEN, Format, Torrent};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// The tests look at the threads of the process, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

const CONNECTIONS: usize = 200;

/// A seed of one file with that many bytes.
fn seed_of(bytes: &[u8]) -> (Engine, Arc<Torrent>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    let torrent = torrent_of(&path, Format::Hybrid, Some(1 << 16));
    let seed = Engine::start(&config(None)).unwrap();
    seed.add(AddTorrent::verified(torrent.clone(), dir.path())).unwrap();
    (seed, torrent, dir)
}

/// The scripted peers' names differ, or they would be taken for one.
fn join_all(seed: &Engine, torrent: &Torrent) -> Vec<Raw> {
    let peers: Vec<Raw> = (0..CONNECTIONS).map(|n| Raw::join(seed.addr(), torrent, n as u8, true)).collect();
    let swarm = seed.swarms.get(torrent.info_hash()).unwrap();
    wait_until("all are connected at once", || swarm.progress().peers == CONNECTIONS);
    peers
}

/// The names of this process's threads that belong to a peer.
fn threads_of_peers() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    let names = names.map(|name| name.trim().to_owned());
    let ours = |name: &String| {
        ["conn-", "fetch-"].iter().any(|start| name.starts_with(start))
            || ["accept", "choke"].contains(&name.as_str())
    };
    names.filter(ours).collect()
}

/// A thread that has just ended may still be seen for a moment: it is joined before the system forgets it.
fn assert_no_threads_left() {
    wait_until("all threads are gone", || threads_of_peers().is_empty());
}

/// Fetches piece after piece, as the seed tells of them: a lone one faced with many tells of a few at a time.
fn fetch_all(raw: &mut Raw, torrent: &Torrent, bytes: &[u8]) {
    let geometry = torrent.geometry();
    let (mut told, mut admitted): (Vec<u32>, bool) = (Vec::new(), false);
    let mut had = BTreeSet::new();
    let mut awaited: BTreeSet<(u32, u32)> = BTreeSet::new();
    while had.len() < geometry.piece_count() as usize {
        let flow = raw.listen(|_, message| {
            match message {
                Message::Unchoke => admitted = true,
                Message::HaveAll => told.extend(0..geometry.piece_count()),
                Message::Have(index) => told.push(index),
                Message::Piece { index, begin, data } => {
                    let at = (index << 16 | begin) as usize;
                    assert!(data == &bytes[at..at + data.len()]);
                    assert!(awaited.remove(&(index, begin)));
                    if !awaited.iter().any(|(other, _)| *other == index) {
                        had.insert(index);
                        return ControlFlow::Break(Some(index));
                    }
                }
                _ => {}
            }
            if told.is_empty() || !admitted { ControlFlow::Continue(()) } else { ControlFlow::Break(None) }
        });
        if let Some(index) = flow.expect("it is served to the end") {
            raw.send(Message::Have(index));
        }
        for piece in told.drain(..).filter_map(|index| geometry.piece(index)) {
            for block in (0..geometry.block_count(piece)).map(|nth| geometry.block(piece, nth)) {
                awaited.insert((piece.index(), block.begin()));
                raw.send(Message::Request(block.into()));
            }
        }
    }
}

#[test]
fn two_hundred_connections_to_one_seed_are_all_served() {
    let _turn = TURN.lock();
    let bytes = content(1, 300_000);
    let (seed, torrent, _dir) = seed_of(&bytes);
    let peers = join_all(&seed, &torrent);
    let leech = |mut raw: Raw| {
        raw.send(Message::Interested);
        fetch_all(&mut raw, &torrent, &bytes);
    };
    thread::scope(|scope| {
        for raw in peers {
            thread::Builder::new().stack_size(256 * 1024).spawn_scoped(scope, || leech(raw)).unwrap();
        }
    });
    let swarm = seed.swarms.get(torrent.info_hash()).unwrap();
    wait_until("all have left", || swarm.progress().peers == 0);
    assert_eq!(swarm.progress().uploaded, (CONNECTIONS * bytes.len()) as u64);
    drop(seed);
    assert_no_threads_left();
}

#[test]
fn stopping_with_two_hundred_busy_connections_joins_every_thread_in_no_time() {
    let _turn = TURN.lock();
    let (seed, torrent, _dir) = seed_of(&content(2, 300_000));
    let mut peers = join_all(&seed, &torrent);
    for raw in &mut peers {
        raw.send(Message::Interested);
        for _ in 0..100 {
            raw.send(Message::Request(BlockRequest { index: 0, begin: 0, len: BLOCK_LEN })); // and never read
        }
    }
    let names = threads_of_peers();
    assert!(names.iter().filter(|name| name.starts_with("conn-")).count() >= CONNECTIONS);
    assert!(
        ["accept", "choke", "fetch-0", "fetch-1"].iter().all(|name| names.iter().any(|other| other == name))
    );
    let start = Instant::now();
    seed.stop();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "stopping took {took:?}");
    assert_no_threads_left();
    for raw in &mut peers {
        raw.assert_closed();
    }
    seed.stop(); // once more does nothing
}

#[test]
fn a_leecher_stops_in_the_middle_as_fast() {
    let _turn = TURN.lock();
    let (seed, torrent, _dir) = seed_of(&content(3, 20_000_000));
    let to = tempfile::tempdir().unwrap();
    let leecher = Engine::start(&config(None)).unwrap();
    let swarm = leecher.add(AddTorrent::download(torrent, to.path())).unwrap();
    swarm.add_addresses([seed.addr()], true);
    leecher.look_for_peers();
    wait_until("some of it is here", || swarm.progress().have > 10);
    let start = Instant::now();
    leecher.stop();
    seed.stop();
    assert!(start.elapsed() < Duration::from_secs(4));
    assert_no_threads_left();
    let shared = Arc::clone(&leecher.shared);
    drop((swarm, leecher));
    assert_eq!(shared.budget.used(), 0, "nothing keeps a piece, or the torrent, alive");
}

#[test]
fn a_hundred_torrents_at_once() {
    let _turn = TURN.lock();
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (seed, leecher) = (peer(), peer());
    let swarms: Vec<_> = (0..100)
        .map(|n| {
            let path = from.path().join(format!("file-{n}"));
            std::fs::write(&path, content(n, 100_000 + n as usize)).unwrap();
            let torrent = torrent_of(&path, Format::Hybrid, Some(1 << 15));
            seed.add(AddTorrent::verified(torrent.clone(), from.path())).unwrap();
            let swarm = leecher.add(AddTorrent::download(torrent, to.path())).unwrap();
            swarm.add_addresses([seed.addr()], true);
            swarm
        })
        .collect();
    leecher.look_for_peers();
    for swarm in &swarms {
        wait_until("each is complete", || swarm.is_complete());
    }
    assert_same(from.path(), to.path());
    let start = Instant::now();
    seed.stop();
    leecher.stop();
    assert!(start.elapsed() < Duration::from_secs(4));
    assert_no_threads_left();
}

/// More come than there is room for: the rest is turned away, and there is room again once somebody leaves.
#[test]
fn connections_have_a_limit() {
    let _turn = TURN.lock();
    let bytes = content(4, 100_000);
    let (unlimited, torrent, dir) = seed_of(&bytes);
    drop(unlimited);
    let seed = Engine::start(&shoal::peer::engine::Config { max_connections: 10, ..config(None) }).unwrap();
    let swarm = seed.add(AddTorrent::verified(torrent.clone(), dir.path())).unwrap();
    let mut inside: Vec<Raw> = (0..10).map(|n| Raw::join(seed.addr(), &torrent, n, true)).collect();
    wait_until("it is full", || swarm.progress().peers == 10);
    assert_eq!(last_words(seed.addr(), b""), b"", "there is no room for an eleventh");
    assert_eq!(swarm.progress().peers, 10, "those inside stay");
    inside.pop();
    wait_until("there is room", || swarm.progress().peers == 9);
    wait_until("somebody gets in", || {
        let mut raw = Raw::connect(seed.addr());
        raw.send_bytes(&raw::hello(torrent.info_hash(), 99, true).encode());
        wait_until("it is in or out", || raw.is_closed() || swarm.progress().peers == 10);
        swarm.progress().peers == 10
    });
    drop(seed);
    assert_no_threads_left();
}
