//! Who promises and does not send, sends as slowly as it can, or vanishes.

use crate::common::raw::Raw;
use crate::common::stage::*;
use crate::common::*;
use shoal::peer::engine::Config;
use shoal::peer::swarm::shared::Tuning;
use shoal::protocol::wire::Message;
use shoal::torrent::{BLOCK_LEN, Format};
use std::io::Write;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// It is within a message all the time, and never at its end.
#[test]
fn a_block_that_comes_a_byte_at_a_time_holds_nothing_up() {
    let stage = Stage::new(3_000_000, PIECE_LEN, Format::V1);
    let tuning = Tuning { patience: Some(Duration::from_millis(500)), ..Tuning::default() };
    let (leecher, swarm) = stage.leecher(&Config { tuning, ..config(None) });
    let mut slow = Raw::seed(leecher.addr(), &stage.torrent, 1, true);
    let first = slow.request().expect("it is asked");
    let data = stage.data(first);
    let block = encoded(Message::Piece { index: first.index, begin: first.begin, data: &data });
    let dripping = thread::spawn(move || {
        for byte in block {
            if slow.socket.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(leecher.shared.budget.used() > 0);
    wait_until("its pieces are taken from it", || leecher.shared.budget.used() == 0);
    let (seed, _) = stage.seed(&config(None));
    connect(&leecher, &swarm, &seed);
    stage.assert_downloaded(&swarm);
    leecher.stop();
    dripping.join().unwrap();
}

/// One block in a long while, always in time: it keeps its piece, and the last pieces are not left to it.
#[test]
fn a_peer_that_sends_as_little_as_it_may_does_not_delay_the_end() {
    let stage = Stage::new(3_000_000, PIECE_LEN, Format::V1);
    let tuning = Tuning { patience: Some(Duration::from_secs(100_000)), ..Tuning::default() };
    let (leecher, swarm) = stage.leecher(&Config { tuning, ..config(None) });
    let mut slow = Raw::seed(leecher.addr(), &stage.torrent, 1, true);
    let first = slow.request().expect("it is asked");
    slow.send(Message::Piece { index: first.index, begin: first.begin, data: &stage.data(first) });
    let (seed, seed_swarm) = stage.seed(&config(None));
    connect(&leecher, &swarm, &seed);
    stage.assert_downloaded(&swarm);
    let brought = seed_swarm.progress().uploaded;
    assert!(brought >= 3_000_000 - u64::from(BLOCK_LEN), "all but one block came from the other: {brought}");
}

/// It keeps the connection alive by keep-alives alone.
#[test]
fn keep_alives_do_not_excuse_a_peer_that_owes_blocks() {
    let stage = Stage::new(1_000_000, PIECE_LEN, Format::V1);
    let tuning = Tuning { patience: Some(Duration::from_millis(300)), ..Tuning::default() };
    let (leecher, _) = stage.leecher(&Config { tuning, ..config(None) });
    let mut silent = Raw::seed(leecher.addr(), &stage.torrent, 1, true);
    silent.request().expect("it is asked");
    wait_until("its pieces are taken from it", || {
        silent.send(Message::KeepAlive);
        leecher.shared.budget.used() == 0
    });
    assert!(!silent.is_closed(), "it may still come to its senses");
}

/// A peer that lost its network was refused as its own twin until the silence of its old
/// connection was noticed.
#[test]
fn who_vanished_without_a_goodbye_may_come_again() {
    let stage = Stage::new(500_000, PIECE_LEN, Format::V1);
    let tuning = Tuning { twin_silence: Some(Duration::from_millis(300)), ..Tuning::default() };
    let (seed, swarm) = stage.seed(&Config { tuning, ..config(None) });
    let mut vanished = Raw::leech(seed.addr(), &stage.torrent, 1, true); // and says no more
    let old = swarm.members()[0].clone();
    wait_until("it is silent", || old.silence(std::time::Instant::now()) > Duration::from_millis(300));
    let mut again = Raw::leech(seed.addr(), &stage.torrent, 1, true);
    again.send(Message::Request(wanted(0, 0, BLOCK_LEN)));
    assert!(again.block().is_some());
    vanished.assert_closed();
    stage.assert_ended("there is another connection to the same peer");
    wait_until("there is one of it", || swarm.progress().peers == 1);
    assert!(swarm.members()[0].numbers.sent.load(Ordering::Relaxed) > 0);
}
