//! Who comes in great numbers, or again and again.

use crate::common::raw::{Raw, hello};
use crate::common::stage::*;
use crate::common::*;
use shoal::peer::engine::Config;
use shoal::torrent::Format;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Two thousand connections that never shake hands: those that were let in are shown out for those who do.
#[test]
fn two_thousand_half_open_connections_do_not_keep_an_honest_peer_out() {
    let stage = Stage::new(1_000_000, PIECE_LEN, Format::V1);
    let (seed, swarm) = stage.seed(&Config { max_connections: 60, ..config(None) });
    let crowd: Vec<TcpStream> = (0..2000).map(|_| TcpStream::connect(seed.addr()).unwrap()).collect();
    let (leecher, leecher_swarm) = stage.leecher(&config(None));
    connect(&leecher, &leecher_swarm, &seed);
    stage.assert_downloaded(&leecher_swarm);
    assert!(swarm.progress().uploaded >= 1_000_000);
    drop(crowd);
}

/// A thousand that shake hands and then want nothing, send nothing, and come again when they are shown out.
#[test]
fn a_thousand_idle_peers_make_room_for_one_that_wants_something() {
    const SEATS: usize = 40;
    let stage = Stage::new(1_000_000, PIECE_LEN, Format::V1);
    let (seed, swarm) = stage.seed(&Config { max_connections: SEATS, ..config(None) });
    let mut crowd = Vec::new();
    let mut join = |number: u32| {
        let mut greeting = hello(stage.torrent.info_hash(), 1, true);
        greeting.peer_id.0[..4].copy_from_slice(&number.to_be_bytes());
        let mut socket = TcpStream::connect(seed.addr()).unwrap();
        let _ = socket.write_all(&greeting.encode());
        crowd.push(socket);
    };
    (0..1000).for_each(&mut join);
    wait_until("all seats are taken", || swarm.progress().peers == SEATS);
    let (leecher, leecher_swarm) = stage.leecher(&config(None));
    connect(&leecher, &leecher_swarm, &seed);
    let mut number = 1000;
    wait_until("the download is complete", || {
        number += 1;
        if number % 10 == 0 {
            join(number); // for those that were shown out
        }
        leecher_swarm.is_complete()
    });
    stage.assert_ended("it is of no use, and others wait for its place");
    stage.assert_downloaded(&leecher_swarm);
    assert!(swarm.progress().uploaded >= 1_000_000, "it came from the seed that was full");
}

#[test]
fn who_connects_again_and_again_in_a_loop_holds_nobody_up() {
    let stage = Stage::new(3_000_000, PIECE_LEN, Format::V1);
    let (seed, swarm) = stage.seed(&Config { up: Some(3_000_000), ..config(None) });
    let done = Arc::new(AtomicBool::new(false));
    let looping: Vec<_> = (1..4)
        .map(|name| {
            let (addr, torrent, until) = (seed.addr(), Arc::clone(&stage.torrent), Arc::clone(&done));
            thread::spawn(move || {
                let mut times = 0;
                while !until.load(Ordering::SeqCst) {
                    match name {
                        1 => drop(TcpStream::connect(addr).unwrap()),
                        // A new name each time, so that it does not meet itself.
                        _ => drop(Raw::join(addr, &torrent, 100 + (times % 100) as u8, true)),
                    }
                    times += 1;
                    thread::sleep(Duration::from_micros(500));
                }
                times
            })
        })
        .collect();
    let (leecher, leecher_swarm) = stage.leecher(&config(None));
    connect(&leecher, &leecher_swarm, &seed);
    stage.assert_downloaded(&leecher_swarm);
    done.store(true, Ordering::SeqCst);
    let times: Vec<u32> = looping.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(times.iter().all(|times| *times > 10), "{times:?}");
    drop(leecher);
    wait_until("all have gone", || swarm.progress().peers == 0);
}
