//! Many at once: two hundred connections to one seed, and its end; a hundred torrents.

mod common;

use common::raw::Raw;
use common::*;
use shoal::peer::wire::Message;
use shoal::torrent::{BLOCK_LEN, Format};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

const LEECHERS: usize = 200;

/// The names of this process's threads that belong to a peer.
#[cfg(target_os = "linux")]
fn peer_threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    let ours = ["conn-", "fetch-", "accept", "choke"];
    names.filter(|name| ours.iter().any(|prefix| name.starts_with(prefix))).collect()
}

/// All are connected at once, more than there are upload slots, and each gets its block; those who have theirs
/// make room for the others. Then the seed stops, with all of them still connected, and joins every thread.
#[test]
fn two_hundred_connections_to_one_seed_are_served_and_end() {
    let from = tempfile::tempdir().unwrap();
    let path = from.path().join("file");
    let bytes = Arc::new(content(3, LEECHERS * BLOCK_LEN as usize));
    std::fs::write(&path, &*bytes).unwrap();
    let torrent = torrent_of(&path, Format::Hybrid, Some(BLOCK_LEN));
    let seed = peer();
    let swarm = seed.share(torrent.clone(), from.path(), nobody()).unwrap();
    let (together, served) = (Arc::new(Barrier::new(LEECHERS)), Arc::new(Barrier::new(LEECHERS + 1)));
    let leech = |number: usize| {
        let (addr, torrent, bytes) = (seed.addr(), torrent.clone(), bytes.clone());
        let (together, served) = (together.clone(), served.clone());
        move || {
            let mut raw = Raw::join(addr, &torrent, number as u8, true);
            together.wait();
            raw.send(Message::Interested);
            raw.wait_for("an upload slot", |message| message == Message::Unchoke);
            let block = torrent.geometry().block(torrent.geometry().piece(number as u32).unwrap(), 0);
            raw.send(Message::Request(block.into()));
            let (wanted, data) = raw.block().unwrap();
            assert_eq!(wanted, block.into());
            assert_eq!(data, bytes[number * BLOCK_LEN as usize..][..BLOCK_LEN as usize]);
            raw.send(Message::NotInterested);
            served.wait();
            raw.assert_closed();
        }
    };
    let leechers: Vec<_> = (0..LEECHERS).map(|number| thread::spawn(leech(number))).collect();
    served.wait();
    assert_eq!(swarm.members().len(), LEECHERS);
    assert_eq!(swarm.progress().uploaded, bytes.len() as u64);

    let start = Instant::now();
    seed.stop();
    println!("stopping with {LEECHERS} connections took {:?}", start.elapsed());
    assert!(start.elapsed() < LIMIT / 10, "stopping took {:?}", start.elapsed());
    leechers.into_iter().for_each(|leecher| leecher.join().unwrap());
    #[cfg(target_os = "linux")]
    assert_eq!(peer_threads(), Vec::<String>::new(), "every thread is joined");
}
