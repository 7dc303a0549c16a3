//! Peers that claim another version of the protocol than the torrent has (BEP 52). In libtorrent the v2 bit of a
//! handshake alone made a torrent without any v2 part look for its merkle trees, and crash.

use crate::common::raw::{Raw, hello};
use crate::common::stage::*;
use crate::common::*;
use shoal::bitfield::Bitfield;
use shoal::protocol::handshake::{HANDSHAKE_LEN, Hello};
use shoal::protocol::wire::{HashRange, Message};
use shoal::torrent::{BLOCK_LEN, Format, InfoHash, Torrent};
use std::io::Read;

const FORMATS: [Format; 3] = [Format::V1, Format::V2, Format::Hybrid];

/// Each way to open a connection for the torrent: a hash that it has, with the v2 bit or without.
fn openings(torrent: &Torrent) -> Vec<(InfoHash, bool)> {
    torrent.hashes().on_the_wire().flat_map(|hash| [false, true].map(|v2| (hash, v2))).collect()
}

/// Messages about merkle trees, for trees that there are and for some that there are not.
fn about_trees(torrent: &Torrent) -> Vec<u8> {
    let root = torrent.files()[0].pieces_root.unwrap_or([9; 32]);
    let numbers = [0, 1, 2, 16, 31, 32, 512, 1 << 31, u32::MAX];
    let mut ranges = Vec::new();
    for pieces_root in [root, [0; 32], [9; 32]] {
        for (at, number) in numbers.into_iter().enumerate() {
            let [base_layer, index, length, proof_layers] = [0, 1, 2, 3].map(|nth| numbers[(at + nth) % 9]);
            ranges.push(HashRange { pieces_root, base_layer, index, length, proof_layers });
            let [base_layer, index, length, proof_layers] = [number; 4];
            ranges.push(HashRange { pieces_root, base_layer, index, length, proof_layers });
        }
    }
    let mut bytes = Vec::new();
    for range in ranges {
        Message::HashRequest(range).encode(&mut bytes);
        Message::HashReject(range).encode(&mut bytes);
        for hashes in [&[][..], &[1; 31], &[1; 64]] {
            Message::Hashes { range, hashes }.encode(&mut bytes);
        }
    }
    bytes
}

fn read_hello(raw: &mut Raw) -> Hello {
    let mut bytes = [0; HANDSHAKE_LEN];
    raw.socket.read_exact(&mut bytes).unwrap();
    Hello::decode(&bytes).unwrap()
}

#[test]
fn a_peer_that_claims_v2_where_there_is_none_is_served_as_any_other() {
    for format in FORMATS {
        let stage = Stage::new(150_000, PIECE_LEN, format);
        let (seed, _) = stage.seed(&config(None));
        for (name, (info_hash, v2)) in (1..).zip(openings(&stage.torrent)) {
            let mut raw = Raw::connect(seed.addr());
            raw.send_bytes(&Hello { v2, ..hello(info_hash, name, true) }.encode());
            let reply = read_hello(&mut raw);
            let upgraded = stage.torrent.hashes().v2_short().filter(|_| v2);
            assert_eq!(reply.info_hash, upgraded.unwrap_or(info_hash));
            assert_eq!(reply.v2, format != Format::V1, "{format:?} has no v2 to offer");
            raw.send_bytes(&about_trees(&stage.torrent));
            raw.send(Message::Interested);
            raw.wait_for("it is unchoked", |message| matches!(message, Message::Unchoke));
            raw.send_bytes(&about_trees(&stage.torrent));
            let block = wanted(1, BLOCK_LEN, BLOCK_LEN);
            raw.send(Message::Request(block));
            assert_eq!(raw.block(), Some((block, stage.data(block))), "{format:?} {v2}");
        }
    }
}

#[test]
fn a_seed_that_claims_v2_where_there_is_none_is_downloaded_from() {
    for format in FORMATS {
        for (info_hash, v2) in openings(&Stage::new(150_000, PIECE_LEN, format).torrent) {
            let stage = Stage::new(150_000, PIECE_LEN, format);
            let (leecher, swarm) = stage.leecher(&config(None));
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            swarm.add_addresses([listener.local_addr().unwrap()], false);
            leecher.look_for_peers();
            let mut raw = Raw::accept(&listener);
            let theirs = read_hello(&mut raw);
            assert_eq!((theirs.info_hash, theirs.v2), (stage.torrent.info_hash(), format != Format::V1));
            raw.send_bytes(&Hello { v2, ..hello(info_hash, 1, true) }.encode());
            raw.send_bytes(&about_trees(&stage.torrent));
            raw.send(Message::Bitfield(Bitfield::full(3).as_bytes()));
            raw.send(Message::Unchoke);
            let first = raw.request().expect("it is asked");
            raw.send_bytes(&about_trees(&stage.torrent));
            raw.send(Message::Piece { index: first.index, begin: first.begin, data: &stage.data(first) });
            raw.serve(|wanted| stage.data(wanted)); // until the leecher is a seed too
            stage.assert_downloaded(&swarm);
        }
    }
}

/// The v2 hash of a hybrid torrent, said of its v1 part alone: it is another torrent.
#[test]
fn a_torrent_of_v1_alone_does_not_answer_to_a_v2_hash() {
    let stage = Stage::new(150_000, PIECE_LEN, Format::V1);
    let hybrid = torrent_of(&stage.path, Format::Hybrid, Some(PIECE_LEN));
    let (seed, _) = stage.seed(&config(None));
    let mut raw = Raw::connect(seed.addr());
    let info_hash = hybrid.hashes().v2_short().unwrap();
    raw.send_bytes(&Hello { v2: true, ..hello(info_hash, 1, true) }.encode());
    raw.assert_closed();
}
