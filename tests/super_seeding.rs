//! A lone seed and many empty peers (BEP 16). The peers are scripted, to check what each of them is told.

mod common;

use common::raw::Raw;
use common::*;
use shoal::peer::engine::{AddTorrent, Engine};
use shoal::peer::upload::super_seeding::ENOUGH_PEERS;
use shoal::protocol::wire::Message;
use shoal::torrent::{Format, Torrent};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

const PIECES: u32 = 12;

fn seed(dir: &Path) -> (Engine, Arc<Torrent>) {
    let path = dir.join("content");
    std::fs::write(&path, content(1, (PIECES << 14) as usize)).unwrap();
    let torrent = torrent_of(&path, Format::V1, Some(1 << 14));
    let peer = peer();
    peer.add(AddTorrent::verified(Arc::clone(&torrent), dir)).unwrap();
    (peer, torrent)
}

/// Whether the seed, as far as it told this new peer, has everything.
fn is_told_of_everything(raw: &mut Raw) -> bool {
    let told = raw.listen(|_, message| match message {
        Message::HaveAll => ControlFlow::Break(true),
        Message::HaveNone => ControlFlow::Break(false),
        _ => ControlFlow::Continue(()),
    });
    told.expect("the connection stays")
}

/// The pieces that the next `count` messages of that kind tell of.
fn haves(raw: &mut Raw, count: usize) -> BTreeSet<u32> {
    let mut told = BTreeSet::new();
    let all = raw.listen(|_, message| {
        if let Message::Have(piece) = message {
            told.insert(piece);
        }
        if told.len() < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert!(all.is_some(), "the connection was closed after {told:?}");
    told
}

#[test]
fn empty_peers_are_told_of_different_pieces_until_each_is_somewhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let (seed, torrent) = seed(dir.path());
    let mut join = |name| Raw::join(seed.addr(), &torrent, name, true);
    let mut first: Vec<Raw> = (1..ENOUGH_PEERS as u8).map(&mut join).collect();
    assert!(first.iter_mut().all(is_told_of_everything), "so few are told of everything");

    let mut others: Vec<Raw> = (10..13).map(&mut join).collect();
    let told: Vec<BTreeSet<u32>> = others
        .iter_mut()
        .map(|other| {
            assert!(!is_told_of_everything(other));
            haves(other, 2)
        })
        .collect();
    let mut shown: BTreeSet<u32> = told.iter().flatten().copied().collect();
    assert_eq!(shown.len(), 6, "each is told of others: {told:?}");
    for piece in &told[0] {
        others[0].send(Message::Have(*piece));
        let more = haves(&mut others[0], 1);
        assert!(more.is_disjoint(&shown), "who got what it was told of is told of more, and new ones");
        shown.extend(more);
    }
    // Everything is somewhere else by now: the rest is told at once, and never anything twice.
    (0..PIECES).for_each(|piece| first[0].send(Message::Have(piece)));
    for other in &mut others[1..] {
        assert_eq!(haves(other, PIECES as usize - 2).len(), PIECES as usize - 2);
    }
    assert!(is_told_of_everything(&mut join(20)), "from now on it is a seed like any other");
    seed.stop();
}

#[test]
fn what_was_not_shown_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let (seed, torrent) = seed(dir.path());
    let mut join = |name| {
        let mut raw = Raw::join(seed.addr(), &torrent, name, true);
        let everything = is_told_of_everything(&mut raw); // it has joined
        (raw, everything)
    };
    let _others: Vec<_> = (1..ENOUGH_PEERS as u8).map(&mut join).collect();
    let (mut last, everything) = join(9);
    assert!(!everything);
    let last = &mut last;
    let shown = haves(last, 2);
    last.send(Message::Interested);
    last.wait_for("it is unchoked", |message| matches!(message, Message::Unchoke));
    let hidden = (0..PIECES).find(|piece| !shown.contains(piece)).unwrap();
    let wanted = shoal::protocol::wire::BlockRequest { index: hidden, begin: 0, len: 1 << 14 };
    last.send(Message::Request(wanted));
    last.wait_for(
        "it is refused",
        |message| matches!(message, Message::Reject(refused) if refused == wanted),
    );
    let wanted = shoal::protocol::wire::BlockRequest { index: *shown.first().unwrap(), ..wanted };
    last.send(Message::Request(wanted));
    assert_eq!(last.block().unwrap().0, wanted);
    seed.stop();
}

/// Real leechers, more of them than slots: all get everything, through each other.
#[test]
fn a_room_full_of_leechers_gets_everything() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("content");
    let bytes = content(2, 3_000_000);
    std::fs::write(&path, &bytes).unwrap();
    let torrent = torrent_of(&path, Format::Hybrid, Some(1 << 16));
    let seed = peer();
    let sharing = seed.add(AddTorrent::verified(Arc::clone(&torrent), dir.path())).unwrap();
    let room: Vec<_> = (0..12).map(|_| (tempfile::tempdir().unwrap(), peer())).collect();
    let swarms: Vec<_> = room
        .iter()
        .map(|(dir, peer)| peer.add(AddTorrent::download(Arc::clone(&torrent), dir.path())).unwrap())
        .collect();
    for (number, swarm) in swarms.iter().enumerate() {
        swarm.add_addresses(room[..number].iter().map(|(_, peer)| peer.addr()), true);
    }
    sharing.add_addresses(room.iter().map(|(_, peer)| peer.addr()), true);
    room.iter().for_each(|(_, peer)| peer.look_for_peers());
    seed.look_for_peers();
    wait_until("all have everything", || swarms.iter().all(|swarm| swarm.is_complete()));
    assert!(room.iter().all(|(dir, _)| std::fs::read(dir.path().join("content")).unwrap() == bytes));
    let passed_on: Vec<u64> = swarms.iter().map(|swarm| swarm.progress().uploaded).collect();
    assert!(passed_on.iter().any(|sent| *sent > 0), "all of it came from the seed: {passed_on:?}");
    room.iter().for_each(|(_, peer)| peer.stop());
    seed.stop();
}
