//! Peers in this process that fetch from each other over loopback.

mod common;

use common::raw::Raw;
use common::*;
use shoal::peer::engine::{AddTorrent, Config, Engine};
use shoal::peer::swarm::shared::Tuning;
use shoal::peer::swarm::{State, Swarm, WaitError};
use shoal::protocol::allowed_fast::{SET_SIZE, set};
use shoal::protocol::extension::say_hello;
use shoal::protocol::wire::{BlockRequest, Message};
use shoal::torrent::{Format, Torrent};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

/// Has a peer download what `path` holds from another, compares, and gives the folder with the download.
fn transfer(path: &Path, format: Format, piece_length: Option<u32>) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let torrent = torrent_of(path, format, piece_length);
    let (seed, leecher) = (peer(), peer());
    seed.add(AddTorrent::verified(torrent.clone(), path.parent().unwrap())).unwrap();
    let swarm = leecher.add(AddTorrent::download(torrent.clone(), to.path())).unwrap();
    swarm.add_addresses([seed.addr()], true);
    leecher.look_for_peers();
    wait_until("the download is complete", || swarm.is_complete());
    assert_same(path, &to.path().join(torrent.name()));
    to
}

/// A folder with everything that is awkward.
fn folder(dir: &Path) -> std::path::PathBuf {
    let root = dir.join("folder");
    std::fs::create_dir_all(root.join("sub/deeper")).unwrap();
    std::fs::write(root.join("empty"), b"").unwrap();
    std::fs::write(root.join("small"), content(1, 100)).unwrap();
    std::fs::write(root.join("sub/größer"), content(2, 1_000_000)).unwrap();
    std::fs::write(root.join("sub/deeper/exact"), content(3, 65_536)).unwrap();
    std::fs::write(root.join("sub/deeper/odd"), content(4, 333_333)).unwrap();
    root
}

#[test]
fn a_single_file_in_each_format() {
    let from = tempfile::tempdir().unwrap();
    let path = from.path().join("film.mp4");
    let bytes = content(7, 10_000_001);
    std::fs::write(&path, &bytes).unwrap();
    for format in [Format::V1, Format::V2, Format::Hybrid] {
        for piece_length in [None, Some(1 << 20)] {
            let to = transfer(&path, format, piece_length);
            assert!(
                std::fs::read(to.path().join("film.mp4")).unwrap() == bytes,
                "{format:?}, {piece_length:?}"
            );
        }
    }
}

#[test]
fn a_folder_in_each_format() {
    let from = tempfile::tempdir().unwrap();
    let path = folder(from.path());
    for format in [Format::V1, Format::V2, Format::Hybrid] {
        for piece_length in [65_536, 16_384] {
            let to = transfer(&path, format, Some(piece_length));
            let read = |name: &str| std::fs::read(to.path().join("folder").join(name)).unwrap();
            assert_eq!(read("empty"), b"", "{format:?}, {piece_length}");
            assert!(read("sub/größer") == content(2, 1_000_000), "{format:?}, {piece_length}");
            assert!(read("sub/deeper/odd") == content(4, 333_333), "{format:?}, {piece_length}");
        }
    }
}

#[test]
fn a_file_of_a_single_byte() {
    let from = tempfile::tempdir().unwrap();
    let path = from.path().join("one");
    std::fs::write(&path, b"1").unwrap();
    let to = transfer(&path, Format::Hybrid, None);
    assert_eq!(std::fs::read(to.path().join("one")).unwrap(), b"1");
}

#[test]
fn two_halves_become_two_wholes() {
    let sent = exchange_halves(Tuning::default());
    assert!(sent.iter().all(|bytes| *bytes >= HALF), "{sent:?}");
}

/// What each of two peers lacks of a file, in bytes.
const HALF: u64 = 32 << 20;

/// Two peers each have half of a file and owe each other more than all buffers hold. If either blocked in a
/// write, both would wait without end. Gives how many bytes each was sent, once both have the whole file.
fn exchange_halves(tuning: Tuning) -> Vec<u64> {
    let from = tempfile::tempdir().unwrap();
    let path = from.path().join("whole");
    std::fs::write(&path, content(5, 2 * HALF as usize)).unwrap();
    let torrent = torrent_of(&path, Format::Hybrid, Some(8 << 20)); // more blocks than the window, in each
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let bytes = std::fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    let peers: Vec<Engine> = (0..2).map(|_| tuned(tuning)).collect();
    let mut swarms = Vec::new();
    for (n, peer) in peers.iter().enumerate() {
        let mut part = bytes.clone();
        part[if n == 0 { half..bytes.len() } else { 0..half }].fill(0);
        std::fs::write(dirs[n].path().join("whole.part"), part).unwrap();
        swarms.push(peer.add(AddTorrent::download(torrent.clone(), dirs[n].path())).unwrap());
    }
    for swarm in &swarms {
        wait_until("its half is checked", || swarm.progress().checking == 0);
        assert_eq!(swarm.progress().have, torrent.geometry().piece_count() / 2);
    }
    swarms[0].add_addresses([peers[1].addr()], true);
    peers[0].look_for_peers();
    for (n, swarm) in swarms.iter().enumerate() {
        wait_until("the other half is here", || swarm.is_complete());
        assert_same(&path, &dirs[n].path().join("whole"));
    }
    swarms.iter().map(|swarm| swarm.progress().downloaded).collect()
}

/// Content, messages and handshakes, on both sides, for every byte that passed.
#[test]
fn all_that_the_sockets_carry_is_counted() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path().join("file");
    std::fs::write(&path, content(8, 1_000_000)).unwrap();
    let torrent = torrent_of(&path, Format::V1, Some(16_384));
    let (seed, leecher) = (peer(), peer());
    let shared = seed.add(AddTorrent::verified(torrent.clone(), from.path())).unwrap();
    let swarm = leecher.add(AddTorrent::download(torrent, to.path())).unwrap();
    swarm.add_addresses([seed.addr()], true);
    leecher.look_for_peers();
    let is_over = || swarm.is_complete() && swarm.members().is_empty() && shared.members().is_empty();
    wait_until("both have what they want, and have parted", is_over);
    leecher.stop();
    seed.stop();
    let ((received, asked), (heard, sent)) = (leecher.shared.traffic.totals(), seed.shared.traffic.totals());
    let blocks = 1_000_000_u64.div_ceil(16_384);
    let (handshake, block_header, request) = (68, 13, 17);
    assert!(received >= handshake + blocks * block_header + 1_000_000, "{received}");
    assert!(asked >= handshake + blocks * request, "{asked}");
    assert!(received < 1_010_000 && asked < 10_000, "{received} and {asked} for one copy");
    // Who parts first may leave unread what was on its way.
    assert!(received <= sent && sent < received + 1_000, "{sent} were sent");
    assert!(heard <= asked && asked < heard + 1_000, "{heard} were heard");
}

// ---- tests of the extremes --------------------------------------------------------------------------------

fn tuned(tuning: Tuning) -> Engine {
    Engine::start(&Config { tuning, ..config(None) }).unwrap()
}

/// What the tests below rely on: that so many requests really are outstanding.
#[test]
fn a_window_of_500_has_500_requests_outstanding() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path().join("file");
    std::fs::write(&path, content(6, 16 << 20)).unwrap();
    let torrent = torrent_of(&path, Format::Hybrid, Some(8 << 20));
    let tuning = Tuning { first_window: Some(500), ..Tuning::default() };
    let leecher = Engine::start(&Config { tuning, ..config(None) }).unwrap();
    leecher.add(AddTorrent::download(torrent.clone(), to.path())).unwrap();
    let mut raw = Raw::seed(leecher.addr(), &torrent, b'S', true);
    let mut keeps_1000 = Vec::new();
    say_hello(None, 1000, false, [], &mut keeps_1000);
    raw.send_bytes(&keeps_1000);
    let asked: std::collections::HashSet<_> =
        (0..500).map(|_| raw.request().unwrap()).map(|wanted| (wanted.index, wanted.begin)).collect();
    assert_eq!(asked.len(), 500, "and none has been answered");
}

/// The deadlock regression: 500 requests outstanding each way, 8 MB, are more than any socket buffer holds.
#[test]
fn two_halves_with_five_hundred_requests_outstanding() {
    let tuning = Tuning { first_window: Some(500), ..Tuning::default() };
    let sent = exchange_halves(tuning);
    assert!(sent.iter().all(|bytes| *bytes >= HALF), "{sent:?}");
}

#[test]
fn two_halves_with_small_socket_buffers() {
    let tuning = Tuning { first_window: Some(500), socket_buffer: Some(16 * 1024), ..Tuning::default() };
    let sent = exchange_halves(tuning);
    assert!(sent.iter().all(|bytes| *bytes >= HALF), "{sent:?}");
}

// ---- more than two ----------------------------------------------------------------------------------------

/// A file, its torrent, and what a seed of it needs.
struct Source {
    dir: tempfile::TempDir,
    torrent: Arc<Torrent>,
}

impl Source {
    fn new(seed: u64, len: usize, piece_length: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("file-{seed}"));
        std::fs::write(&path, content(seed, len)).unwrap();
        let torrent = torrent_of(&path, Format::Hybrid, Some(piece_length));
        Source { dir, torrent }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(self.torrent.name())
    }

    fn share(&self, peer: &Engine) -> Arc<Swarm> {
        peer.add(AddTorrent::verified(self.torrent.clone(), self.dir.path())).unwrap()
    }

    fn assert_in(&self, dir: &Path) {
        assert_same(&self.path(), &dir.join(self.torrent.name()));
    }
}

fn limited(up: u64) -> Engine {
    Engine::start(&Config { up: Some(up), ..config(None) }).unwrap()
}

/// A piece longer than all the memory for pieces goes alone, and the next one comes after it.
#[test]
fn pieces_of_256_mib_are_fetched_with_the_usual_memory() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path().join("sparse");
    let len = (256 << 20) + 20_000;
    std::fs::File::create(&path).unwrap().set_len(len).unwrap();
    let torrent = torrent_of(&path, Format::V1, Some(256 << 20)); // the cheapest hash
    assert_eq!(torrent.geometry().piece_count(), 2);
    let (seed, leecher) = (peer(), peer());
    seed.add(AddTorrent::verified(torrent.clone(), from.path())).unwrap();
    let swarm = leecher.add(AddTorrent::download(torrent, to.path())).unwrap();
    swarm.add_addresses([seed.addr()], true);
    leecher.look_for_peers();
    wait_until("the download is complete", || swarm.is_complete());
    assert_eq!(std::fs::metadata(to.path().join("sparse")).unwrap().len(), len);
}

#[test]
fn leechers_pass_on_to_each_other_what_one_seed_gives() {
    let source = Source::new(11, 8_000_000, 1 << 16);
    let seed = limited(6_000_000);
    let given = source.share(&seed);
    let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let leechers: Vec<Engine> = (0..4).map(|_| peer()).collect();
    let swarms: Vec<_> = leechers
        .iter()
        .zip(&dirs)
        .map(|(leecher, dir)| leecher.add(AddTorrent::download(source.torrent.clone(), dir.path())).unwrap())
        .collect();
    let addrs: Vec<_> = leechers.iter().map(Engine::addr).chain([seed.addr()]).collect();
    for (leecher, swarm) in leechers.iter().zip(&swarms) {
        swarm.add_addresses(addrs.iter().copied().filter(|addr| *addr != leecher.addr()), false);
        leecher.look_for_peers();
    }
    for (swarm, dir) in swarms.iter().zip(&dirs) {
        wait_until("everybody has everything", || swarm.is_complete());
        source.assert_in(dir.path());
    }
    let passed_on: Vec<u64> = swarms.iter().map(|swarm| swarm.progress().uploaded).collect();
    let total = source.torrent.geometry().total_len();
    assert!(passed_on.iter().sum::<u64>() > total, "the leechers sent {passed_on:?}");
    assert!(given.progress().uploaded < 3 * total, "the seed sent {}", given.progress().uploaded);
}

/// The slow seed would take hours for what it was asked; the fast one helps out at the end.
#[test]
fn what_a_slow_peer_owes_is_brought_by_a_fast_one() {
    let source = Source::new(12, 4_000_000, 1 << 18);
    let (slow, fast) = (limited(1), peer());
    let slow_swarm = source.share(&slow);
    source.share(&fast);
    let dir = tempfile::tempdir().unwrap();
    let leecher = tuned(Tuning { patience: Some(Duration::from_secs(100_000)), ..Tuning::default() });
    let swarm = leecher.add(AddTorrent::download(source.torrent.clone(), dir.path())).unwrap();
    swarm.add_addresses([slow.addr()], true);
    leecher.look_for_peers();
    wait_until("the slow one has sent its block", || slow_swarm.progress().uploaded > 0);
    swarm.add_addresses([fast.addr()], true);
    leecher.look_for_peers();
    wait_until("the download is complete", || swarm.is_complete());
    source.assert_in(dir.path());
    let sent = slow_swarm.progress().uploaded;
    assert!(sent < 1 << 18, "the slow one sent {sent} bytes, and owed a piece at least");
}

/// When memory for pieces was short, connections that got none waited for half a second, again and again,
/// although some was free a moment later. In this test they would wait for an hour.
///
/// Bug: they were told in the same order each time, and the same connection got the memory each time. A
/// download from four seeds was as fast as from one of them.
#[test]
fn who_waits_for_memory_is_told_when_some_is_free() {
    let source = Source::new(14, 20_000_000, 1 << 15);
    let seeds: Vec<Engine> = (0..4).map(|_| limited(4_000_000)).collect();
    let dir = tempfile::tempdir().unwrap();
    let hour = Some(Duration::from_secs(3600));
    let leecher =
        tuned(Tuning { memory: Some(6 << 15), look_again: hour, patience: hour, ..Tuning::default() });
    let swarm = leecher.add(AddTorrent::download(source.torrent.clone(), dir.path())).unwrap();
    let shared: Vec<Arc<Swarm>> = seeds.iter().map(|seed| source.share(seed)).collect();
    swarm.add_addresses(seeds.iter().map(Engine::addr), true);
    leecher.look_for_peers();
    wait_until("the download is complete", || swarm.is_complete());
    source.assert_in(dir.path());
    let brought: Vec<u64> = shared.iter().map(|shared| shared.progress().uploaded).collect();
    assert!(!brought.contains(&0), "one was never told: {brought:?}");
    assert!(brought.iter().all(|sent| *sent < 15_000_000), "one got nearly all of the memory: {brought:?}");
}

/// Bug, found by the benchmark of a mesh: a connection that had offered to help with a piece, and was not
/// needed, heard nothing when that piece became free. It found it half a second later; here, an hour.
#[test]
fn a_piece_that_is_given_back_goes_at_once_to_who_had_offered_to_help() {
    let source = Source::new(15, 10_000, 1 << 14);
    let dir = tempfile::tempdir().unwrap();
    let hour = Some(Duration::from_secs(3600));
    let leecher = tuned(Tuning { look_again: hour, patience: hour, ..Tuning::default() });
    let swarm = leecher.add(AddTorrent::download(source.torrent.clone(), dir.path())).unwrap();
    let mut first = Raw::seed(leecher.addr(), &source.torrent, b'A', true);
    first.request().expect("the only piece");
    let mut second = Raw::seed(leecher.addr(), &source.torrent, b'B', true);
    second.wait_for("interest", |message| matches!(message, Message::Interested));
    std::thread::sleep(Duration::from_millis(200)); // for the offer and its refusal; less would test nothing
    drop(first);
    assert_eq!(second.request().map(|wanted| wanted.index), Some(0));
    let bytes = std::fs::read(source.path()).unwrap();
    second.send(Message::Piece { index: 0, begin: 0, data: &bytes });
    wait_until("the download is complete", || swarm.is_complete());
}

#[test]
fn fifty_small_torrents_at_once() {
    let sources: Vec<Source> =
        (0..50).map(|n| Source::new(100 + n, 1 + n as usize * 3_000, 1 << 14)).collect();
    let (seed, leecher) = (peer(), peer());
    let dir = tempfile::tempdir().unwrap();
    let swarms: Vec<_> = sources
        .iter()
        .map(|source| {
            source.share(&seed);
            let swarm = leecher.add(AddTorrent::download(source.torrent.clone(), dir.path())).unwrap();
            swarm.add_addresses([seed.addr()], true);
            swarm
        })
        .collect();
    leecher.look_for_peers();
    for (swarm, source) in swarms.iter().zip(&sources) {
        wait_until("each is complete", || swarm.is_complete());
        source.assert_in(dir.path());
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 50, "and no part is left");
}

// ---- what is there already --------------------------------------------------------------------------------

#[test]
fn a_download_that_is_there_already_is_shared_and_not_written() {
    let source = Source::new(13, 1_000_000, 1 << 16);
    let before = std::fs::metadata(source.path()).unwrap();
    let has_it = peer();
    let swarm = has_it.add(AddTorrent::download(source.torrent.clone(), source.dir.path())).unwrap();
    assert!(swarm.is_complete() && swarm.storage.is_shared());

    let (leecher, dir) = (peer(), tempfile::tempdir().unwrap());
    let leechers = leecher.add(AddTorrent::download(source.torrent.clone(), dir.path())).unwrap();
    leechers.add_addresses([has_it.addr()], true);
    leecher.look_for_peers();
    wait_until("it came from there", || leechers.is_complete());
    let after = std::fs::metadata(source.path()).unwrap();
    assert_eq!(after.modified().unwrap(), before.modified().unwrap());
}

#[test]
fn something_else_in_the_way_is_named_and_left_alone() {
    let source = Source::new(14, 1_000_000, 1 << 16);
    let dir = tempfile::tempdir().unwrap();
    let way = dir.path().join(source.torrent.name());
    std::fs::write(&way, b"precious").unwrap();
    let leecher = peer();
    let refused =
        leecher.add(AddTorrent::download(source.torrent.clone(), dir.path())).err().unwrap().to_string();
    assert!(refused.ends_with("file-14 is in the way: move it, or download to another folder"), "{refused}");
    assert_eq!(std::fs::read(&way).unwrap(), b"precious");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no part is begun");
}

/// Both went to `NAME.part` and wrote over each other.
#[test]
fn two_torrents_of_one_name_do_not_share_a_part() {
    let (one, other) = (Source::new(15, 1_000_000, 1 << 16), Source::new(15, 1_000_000, 1 << 15));
    let (leecher, dir) = (peer(), tempfile::tempdir().unwrap());
    leecher.add(AddTorrent::download(one.torrent.clone(), dir.path())).unwrap();
    assert!(leecher.add(AddTorrent::download(one.torrent.clone(), dir.path())).is_err());
    assert!(leecher.add(AddTorrent::download(other.torrent.clone(), dir.path())).is_err());
    let elsewhere = tempfile::tempdir().unwrap();
    leecher.add(AddTorrent::download(other.torrent.clone(), elsewhere.path())).unwrap();
}

// ---- pauses -----------------------------------------------------------------------------------------------

#[test]
fn a_pause_stops_everything_and_loses_nothing() {
    let source = Source::new(16, 4_000_000, 1 << 16);
    let seed = limited(2_000_000);
    source.share(&seed);
    let (leecher, dir) = (peer(), tempfile::tempdir().unwrap());
    let swarm = leecher.add(AddTorrent::download(source.torrent.clone(), dir.path())).unwrap();
    swarm.add_addresses([seed.addr()], true);
    for wanted in [1, 20, 40] {
        leecher.look_for_peers();
        wait_until("some pieces are here", || swarm.progress().have >= wanted);
        swarm.pause("the test wants it");
        wait_until("nobody is connected", || swarm.progress().peers == 0);
        wait_until("nothing holds memory", || leecher.shared.budget.used() == 0);
        assert!(!swarm.is_complete());
        let have = swarm.progress().have;
        swarm.unpause();
        assert!(swarm.progress().have >= have);
    }
    leecher.look_for_peers();
    wait_until("the download is complete", || swarm.is_complete());
    source.assert_in(dir.path());
}

/// Waits on a thread of its own; the outcome comes through the channel.
fn waiter(swarm: &Arc<Swarm>) -> mpsc::Receiver<Result<(), WaitError>> {
    let (outcome, receiver) = mpsc::channel();
    let swarm = Arc::clone(swarm);
    std::thread::spawn(move || outcome.send(swarm.wait()));
    receiver
}

#[test]
fn a_waiter_is_woken_when_the_download_has_its_name() {
    let source = Source::new(18, 3_000_000, 1 << 16);
    let (seed, leecher, dir) = (peer(), peer(), tempfile::tempdir().unwrap());
    let shared = source.share(&seed);
    assert_eq!(shared.wait(), Ok(()), "it is complete from the start");
    let swarm = leecher.add(AddTorrent::download(source.torrent.clone(), dir.path())).unwrap();
    let waiters = [waiter(&swarm), waiter(&swarm)];
    assert_eq!(swarm.wait_timeout(Duration::from_millis(1)), Ok(false), "it has no peer yet");
    swarm.add_addresses([seed.addr()], true);
    leecher.look_for_peers();
    assert_eq!(swarm.wait_timeout(LIMIT), Ok(true));
    source.assert_in(dir.path());
    for waiter in waiters {
        assert_eq!(waiter.recv_timeout(LIMIT), Ok(Ok(())));
    }
    swarm.pause("the test wants it");
    assert_eq!(swarm.wait(), Ok(()), "what is complete stays complete");
}

#[test]
fn a_waiter_learns_why_there_is_nothing_to_wait_for() {
    let (source, other) = (Source::new(19, 1_000_000, 1 << 16), Source::new(20, 1_000_000, 1 << 16));
    let (leecher, dir) = (peer(), tempfile::tempdir().unwrap());
    let paused = leecher.add(AddTorrent::download(source.torrent.clone(), dir.path())).unwrap();
    let stopped = leecher.add(AddTorrent::download(other.torrent.clone(), dir.path())).unwrap();
    let (of_paused, of_stopped) = (waiter(&paused), waiter(&stopped));
    paused.pause("the test wants it");
    assert_eq!(of_paused.recv_timeout(LIMIT), Ok(Err(WaitError::Paused("the test wants it".to_owned()))));
    leecher.stop();
    assert_eq!(of_stopped.recv_timeout(LIMIT), Ok(Err(WaitError::Stopped)));
    assert_eq!(stopped.wait_timeout(LIMIT), Err(WaitError::Stopped), "at once");
}

/// Nobody tried again, and the torrent was never complete.
#[test]
fn a_download_whose_name_was_taken_gets_it_after_the_pause() {
    let source = Source::new(17, 1_000_000, 1 << 16);
    let (seed, leecher, dir) = (peer(), peer(), tempfile::tempdir().unwrap());
    source.share(&seed);
    let swarm = leecher.add(AddTorrent::download(source.torrent.clone(), dir.path())).unwrap();
    let way = dir.path().join(source.torrent.name());
    std::fs::write(&way, b"precious").unwrap();
    swarm.add_addresses([seed.addr()], true);
    leecher.look_for_peers();
    wait_until("it is paused", || !swarm.is_running());
    match swarm.progress().state {
        State::Paused(why) => assert!(why.contains("is in the way"), "{why}"),
        state => panic!("it is {state:?}"),
    }
    assert_eq!(std::fs::read(&way).unwrap(), b"precious");
    std::fs::remove_file(&way).unwrap();
    swarm.unpause();
    wait_until("it has its name", || swarm.is_complete());
    source.assert_in(dir.path());
}

/// Three seconds into a download the tracker named a peer that had already connected to us. The engine
/// connected to it, and closed the connection that delivered all pieces in favour of the new one.
#[test]
fn a_peer_that_connected_to_us_is_not_connected_to() {
    let from = tempfile::tempdir().unwrap();
    let path = from.path().join("film");
    std::fs::write(&path, content(6, 100_000)).unwrap();
    let torrent = torrent_of(&path, Format::Hybrid, None);
    let (peers, dirs) = ([peer(), peer()], [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]);
    let download = |n: usize| peers[n].add(AddTorrent::download(torrent.clone(), dirs[n].path())).unwrap();
    let swarms = [download(0), download(1)];
    swarms[0].add_addresses([peers[1].addr()], true);
    peers[0].look_for_peers();
    let knows =
        || swarms[1].members().first().and_then(|member| member.listens_on()) == Some(peers[0].addr());
    wait_until("the one that was connected to knows the other's address", knows);
    swarms[1].add_addresses([peers[0].addr()], true);
    assert_eq!(swarms[1].next_address(), None);
}

/// Bug: a newcomer got nothing until it had an upload slot.
#[test]
fn a_newcomer_without_a_slot_is_served_the_pieces_that_it_is_allowed() {
    let from = tempfile::tempdir().unwrap();
    let path = from.path().join("film");
    let bytes = content(9, 40 * 16384);
    std::fs::write(&path, &bytes).unwrap();
    let torrent = torrent_of(&path, Format::Hybrid, Some(16384));
    let seed = peer();
    seed.add(AddTorrent::verified(torrent.clone(), from.path())).unwrap();
    let mut raw = Raw::join(seed.addr(), &torrent, b'N', true);
    raw.send(Message::HaveNone); // and it never says that it is interested, so it never gets a slot
    let set = set(seed.addr().ip(), torrent.info_hash(), torrent.geometry().piece_count(), SET_SIZE);
    for index in &set {
        raw.wait_for("it is allowed", |message| matches!(message, Message::AllowedFast(it) if it == *index));
    }
    for index in set {
        raw.send(Message::Request(BlockRequest { index, begin: 0, len: 16384 }));
        let (wanted, data) = raw.block().unwrap();
        let at = index as usize * 16384;
        assert!(wanted.index == index && data == bytes[at..at + data.len()]);
    }
}

/// Bug: what a peer allowed us was not requested until it unchoked us.
#[test]
fn a_peer_that_never_unchokes_us_is_asked_for_what_it_allows_and_for_nothing_else() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path().join("film");
    let bytes = content(9, 40 * 16384);
    std::fs::write(&path, &bytes).unwrap();
    let torrent = torrent_of(&path, Format::V1, Some(16384));
    let leecher = peer();
    let swarm = leecher.add(AddTorrent::download(torrent.clone(), to.path())).unwrap();
    let mut raw = Raw::join(leecher.addr(), &torrent, b'S', true);
    raw.send(Message::HaveAll);
    [3, 7, 20].into_iter().for_each(|index| raw.send(Message::AllowedFast(index)));
    for _ in 0..3 {
        let wanted = raw.request().unwrap();
        let at = wanted.index as usize * 16384;
        let data = &bytes[at..at + wanted.len as usize];
        raw.send(Message::Piece { index: wanted.index, begin: wanted.begin, data });
    }
    wait_until("the allowed pieces are here", || swarm.have().0.count() == 3);
    assert_eq!(swarm.have().0.iter().collect::<Vec<_>>(), [3, 7, 20]);
}
