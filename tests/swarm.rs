//! Peers in this process that fetch from each other over loopback.

mod common;

use common::raw::Raw;
use common::*;
use shoal::peer::commons::Tuning;
use shoal::peer::extended::say_hello;
use shoal::peer::{Config, Peer};
use shoal::torrent::Format;
use std::path::Path;

/// Has `leecher` download what `path` holds from `seed`, and compares.
fn transfer(path: &Path, format: Format, piece_length: Option<u32>) {
    let to = tempfile::tempdir().unwrap();
    let torrent = torrent_of(path, format, piece_length);
    let (seed, leecher) = (peer(), peer());
    seed.share(torrent.clone(), path.parent().unwrap(), nobody()).unwrap();
    let swarm = leecher.download(torrent.clone(), to.path(), nobody()).unwrap();
    swarm.add_candidates([seed.addr()], true);
    leecher.look_for_peers();
    wait_until("the download is complete", || swarm.is_complete());
    assert_same(path, &to.path().join(torrent.name()));
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
    std::fs::write(&path, content(7, 10_000_001)).unwrap();
    for format in [Format::V1, Format::V2, Format::Hybrid] {
        transfer(&path, format, None);
        transfer(&path, format, Some(1 << 20));
    }
}

#[test]
fn a_folder_in_each_format() {
    let from = tempfile::tempdir().unwrap();
    let path = folder(from.path());
    for format in [Format::V1, Format::V2, Format::Hybrid] {
        transfer(&path, format, Some(65_536));
        transfer(&path, format, Some(16_384));
    }
}

#[test]
fn a_file_of_a_single_byte() {
    let from = tempfile::tempdir().unwrap();
    let path = from.path().join("one");
    std::fs::write(&path, b"1").unwrap();
    transfer(&path, Format::Hybrid, None);
}

/// Two peers that each have half of a file and owe each other more than all buffers hold: if either ever blocked in a
/// write, both would wait for ever.
/// What the tests below rely on: that so many requests really are outstanding.
#[test]
fn a_window_of_500_has_500_requests_outstanding() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path().join("file");
    std::fs::write(&path, content(6, 16 << 20)).unwrap();
    let torrent = torrent_of(&path, Format::Hybrid, Some(8 << 20));
    let tuning = Tuning { first_window: Some(500), ..Tuning::default() };
    let leecher = Peer::start(&Config { tuning, ..config(None) }).unwrap();
    leecher.download(torrent.clone(), to.path(), nobody()).unwrap();
    let mut raw = Raw::seed(leecher.addr(), &torrent, b'S', true);
    let mut keeps_1000 = Vec::new();
    say_hello(None, 1000, &mut keeps_1000);
    raw.send_bytes(&keeps_1000);
    let asked: std::collections::HashSet<_> =
        (0..500).map(|_| raw.request().unwrap()).map(|wanted| (wanted.index, wanted.begin)).collect();
    assert_eq!(asked.len(), 500, "and none has been answered");
}

#[test]
fn two_halves_with_500_requests_outstanding_become_two_wholes() {
    two_halves(Tuning { first_window: Some(500), ..Tuning::default() });
}

#[test]
fn two_halves_become_two_wholes_with_socket_buffers_of_16_kib() {
    two_halves(Tuning { first_window: Some(500), socket_buffer: Some(16 * 1024), ..Tuning::default() });
}

fn two_halves(tuning: Tuning) {
    let from = tempfile::tempdir().unwrap();
    let path = from.path().join("whole");
    std::fs::write(&path, content(5, 64 << 20)).unwrap();
    let torrent = torrent_of(&path, Format::Hybrid, Some(8 << 20)); // more blocks than the window, in each
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let bytes = std::fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    let start = || Peer::start(&Config { tuning, ..config(None) }).unwrap();
    let peers: Vec<Peer> = (0..2).map(|_| start()).collect();
    let mut swarms = Vec::new();
    for (n, peer) in peers.iter().enumerate() {
        let mut part = bytes.clone();
        part[if n == 0 { half..bytes.len() } else { 0..half }].fill(0);
        std::fs::write(dirs[n].path().join("whole.part"), part).unwrap();
        swarms.push(peer.download(torrent.clone(), dirs[n].path(), nobody()).unwrap());
    }
    for swarm in &swarms {
        wait_until("its half is checked", || swarm.progress().checking == 0);
        assert_eq!(swarm.progress().have, torrent.geometry().piece_count() / 2);
    }
    swarms[0].add_candidates([peers[1].addr()], true);
    peers[0].look_for_peers();
    for (n, swarm) in swarms.iter().enumerate() {
        wait_until("the other half is here", || swarm.is_complete());
        assert_same(&path, &dirs[n].path().join("whole"));
    }
}

/// Three seconds into a download, when the tracker named it, a peer that had connected to us was connected to, and the
/// connection that all pieces came over was closed in favour of the new one.
#[test]
fn a_peer_that_connected_to_us_is_not_connected_to() {
    let from = tempfile::tempdir().unwrap();
    let path = from.path().join("film");
    std::fs::write(&path, content(6, 100_000)).unwrap();
    let torrent = torrent_of(&path, Format::Hybrid, None);
    let (peers, dirs) = ([peer(), peer()], [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]);
    let download = |n: usize| peers[n].download(torrent.clone(), dirs[n].path(), nobody()).unwrap();
    let swarms = [download(0), download(1)];
    swarms[0].add_candidates([peers[1].addr()], true);
    peers[0].look_for_peers();
    let knows =
        || swarms[1].members().first().and_then(|member| member.listens_on()) == Some(peers[0].addr());
    wait_until("the one that was connected to knows the other's address", knows);
    swarms[1].add_candidates([peers[0].addr()], true);
    assert_eq!(swarms[1].next_candidate(), None);
}
