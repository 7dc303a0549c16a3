//! An engine with scripted peers that lie, break the rules, or send nothing. The connection to each of them
//! ends with one clear sentence, and all others go on.

use crate::common::raw::{Raw, hello, last_words};
use crate::common::stage::*;
use crate::common::*;
use shoal::peer::engine::Config;
use shoal::peer::swarm::shared::Tuning;
use shoal::protocol::handshake::{GREETING_LEN, HANDSHAKE_LEN, Hello, PeerId};
use shoal::protocol::wire::Message;
use shoal::torrent::{BLOCK_LEN, Format, InfoHash};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

// ---- before the session -----------------------------------------------------------------------------------

#[test]
fn whoever_does_not_shake_hands_is_shown_out() {
    let stage = Stage::new(500_000, PIECE_LEN, Format::Hybrid);
    let tuning = Tuning { handshake_time: Some(Duration::from_millis(300)), ..Tuning::default() };
    let (seed, seed_swarm) = stage.seed(&Config { tuning, ..config(None) });
    let right = hello(stage.torrent.info_hash(), 1, true).encode();
    let unknown = hello(InfoHash([9; 20]), 1, true).encode();
    for bytes in
        [b"GET / HTTP/1.1\r\n\r\n", &[0; 68][..], &[0xff; 5000][..], &unknown[..], &right[..47], &b""[..]]
    {
        assert_eq!(last_words(seed.addr(), bytes), b"", "no handshake of its own in answer to {bytes:?}");
    }
    for bytes in [&right[..48], &right[..67]] {
        assert_eq!(last_words(seed.addr(), bytes).len(), right.len(), "its handshake, and no more");
    }
    assert_eq!(seed_swarm.progress().peers, 0);
    let (leecher, swarm) = stage.leecher(&config(None));
    connect(&leecher, &swarm, &seed);
    stage.assert_downloaded(&swarm);
}

/// Bug: the peer id was waited for, so a tracker that looks whether a peer can be reached took it for
/// unreachable: such a tracker sends a handshake without a peer id, and waits for the answer.
#[test]
fn a_handshake_is_answered_as_soon_as_it_names_the_torrent() {
    let stage = Stage::new(500_000, PIECE_LEN, Format::Hybrid);
    let (seed, _) = stage.seed(&config(None));
    let hello = hello(stage.torrent.info_hash(), 1, true);
    let mut raw = Raw::connect(seed.addr());
    raw.send_bytes(&hello.encode()[..GREETING_LEN]);
    let mut reply = [0; HANDSHAKE_LEN];
    std::io::Read::read_exact(&mut raw.socket, &mut reply).unwrap();
    assert_eq!(Hello::decode(&reply).unwrap().info_hash, hello.info_hash);
    raw.send_bytes(&hello.encode()[GREETING_LEN..]);
    raw.send(Message::Interested);
    raw.wait_for("the session goes on from there", |message| matches!(message, Message::Unchoke));
}

#[test]
fn a_seed_that_answers_the_handshake_with_garbage_or_nothing_is_given_up() {
    let stage = Stage::new(500_000, PIECE_LEN, Format::V1);
    let tuning = Tuning { handshake_time: Some(Duration::from_millis(300)), ..Tuning::default() };
    let (leecher, swarm) = stage.leecher(&Config { tuning, ..config(None) });
    let other = hello(InfoHash([9; 20]), 1, true).encode();
    for reply in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &other[..], &other[..30], b""] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        swarm.add_addresses([listener.local_addr().unwrap()], false);
        leecher.look_for_peers();
        let (mut socket, _) = listener.accept().unwrap();
        socket.write_all(reply).unwrap();
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut socket, &mut rest); // until the leecher closes
        assert_eq!(rest.len(), 68, "its own handshake, and no more");
    }
    let (seed, _) = stage.seed(&config(None));
    connect(&leecher, &swarm, &seed);
    stage.assert_downloaded(&swarm);
}

#[test]
fn a_peer_does_not_stay_connected_to_itself() {
    let stage = Stage::new(100_000, PIECE_LEN, Format::Hybrid);
    let (peer, swarm) = stage.leecher(&config(None));
    let connections = || peer.shared.next_conn().0;
    let (before, mut looks) = (connections(), 0);
    connect(&peer, &swarm, &peer);
    wait_until("it has tried", || {
        looks += 1;
        connections() - before - looks >= 2
    });
    wait_until("it knows better", || swarm.next_address_at().is_none());
    assert_eq!(swarm.progress().peers, 0);
    let (seed, _) = stage.seed(&config(None));
    connect(&peer, &swarm, &seed);
    stage.assert_downloaded(&swarm);
}

// ---- breaking the rules -----------------------------------------------------------------------------------

#[test]
fn whoever_breaks_the_rules_is_shown_out_with_one_sentence() {
    let stage = Stage::new(550_000, PIECE_LEN, Format::V1);
    let (seed, swarm) = stage.seed(&config(None));
    let bits = stage.torrent.geometry().piece_count().div_ceil(8) as usize;
    let bitfield = |len: usize, byte: u8| encoded(Message::Bitfield(&vec![byte; len]));
    let unasked = encoded(Message::Piece { index: 0, begin: 0, data: &[0; BLOCK_LEN as usize] });
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![0xff; 100], "it announced a message of 4294967295 bytes"),
        (framed(&[0; 70_000]), "it announced a message of 70000 bytes"),
        (framed(&[0, 1]), "its message 0 has 2 bytes"),
        (framed(&[4, 0, 0]), "its message 4 has 3 bytes"),
        (framed(&[6; 20]), "its message 6 has 20 bytes"),
        (framed(&[7, 0, 0, 0]), "its message 7 has 4 bytes"),
        (framed(&[21; 10]), "its message 21 has 10 bytes"),
        (bitfield(bits + 1, 0), "its bitfield is not of this torrent"),
        (bitfield(bits - 1, 0), "its bitfield is not of this torrent"),
        (bitfield(bits, 0xff), "its bitfield is not of this torrent"),
        (encoded(Message::Have(9)), "it spoke of piece 9"),
        (encoded(Message::Have(u32::MAX)), "it spoke of piece 4294967295"),
        (unasked, "it sent a block nobody asked for (piece 0, offset 0, 16384 bytes)"),
        (encoded(Message::Piece { index: 99, begin: 0, data: b"" }), "it spoke of piece 99"),
    ];
    assert_eq!(stage.torrent.geometry().piece_count(), 9);
    // Each is somebody else: one who breaks the rules again and again is banned.
    for (name, (bytes, expected)) in (1..).zip(cases) {
        let mut raw = Raw::join(seed.addr(), &stage.torrent, name, true);
        raw.send_bytes(&bytes);
        raw.assert_closed();
        wait_until("it has left", || swarm.progress().peers == 0);
        let ends = std::mem::take(&mut *stage.ends.0.lock());
        assert!(
            matches!(&ends[..], [end] if end.contains(expected) && !end.contains('\n')),
            "{ends:?} {expected}"
        );
    }
    for (name, bytes, expected) in [
        (101, encoded(Message::HaveAll), "it used message have all without having agreed to it"),
        (102, encoded(Message::Reject(wanted(0, 0, 1))), "it used message reject without"),
        (103, encoded(Message::Extended { id: 0, payload: b"de" }), "it used message extended without"),
    ] {
        let mut raw = Raw::join(seed.addr(), &stage.torrent, name, false);
        raw.send_bytes(&bytes);
        raw.assert_closed();
        stage.assert_ended(expected);
    }
    let (leecher, leecher_swarm) = stage.leecher(&config(None));
    connect(&leecher, &leecher_swarm, &seed);
    stage.assert_downloaded(&leecher_swarm);
}

/// Bug: a request, a cancel, a reject or a hint out of range ended the connection, and three of them were a ban
/// for a while. Other clients count differently what is at the end of a file, and BEP 6 has an answer for it.
#[test]
fn what_is_out_of_range_is_rejected_or_ignored() {
    let stage = Stage::new(550_000, PIECE_LEN, Format::V1);
    let (seed, _) = stage.seed(&config(None));
    let outside = [
        wanted(0, 0, u32::MAX),
        wanted(0, PIECE_LEN, BLOCK_LEN),
        wanted(0, 0, 0),
        wanted(77, 0, 1),
        wanted(0, 1, u32::MAX),
        wanted(8, 25_712 - 1, 2), // over the end of the torrent
    ];
    for modern in [true, false] {
        let mut raw = Raw::leech(seed.addr(), &stage.torrent, 1 + u8::from(modern), modern);
        for bad in outside {
            raw.send(Message::Cancel(bad));
            raw.send(Message::Request(bad));
            if modern {
                for message in [Message::Reject(bad), Message::Suggest(u32::MAX), Message::AllowedFast(77)] {
                    raw.send(message);
                }
            }
        }
        let right = wanted(8, 25_712 - 1, 1);
        raw.send(Message::Request(right));
        let mut rejected = Vec::new();
        let served = raw.listen(|_, message| match message {
            Message::Reject(wanted) => {
                rejected.push(wanted);
                ControlFlow::Continue(())
            }
            Message::Piece { index, begin, data } => {
                ControlFlow::Break((wanted(index, begin, data.len() as u32), data.to_vec()))
            }
            _ => ControlFlow::Continue(()),
        });
        assert_eq!(served, Some((right, stage.data(right))));
        assert_eq!(rejected, if modern { &outside[..] } else { &[] });
    }
    assert!(stage.ends.0.lock().iter().all(|end| end.contains("closed the connection")));
}

#[test]
fn what_we_do_not_know_is_skipped() {
    let stage = Stage::new(100_000, PIECE_LEN, Format::V1);
    let (seed, _) = stage.seed(&config(None));
    let mut raw = Raw::leech(seed.addr(), &stage.torrent, 1, true);
    let broken = [20, 0, b'i', b'5', b'e'];
    for body in [&[99][..], &[99, 1, 2, 3], &[9, 0x1a, 0xe1], &[], &[20, 7, 1, 2], &broken] {
        raw.send_bytes(&framed(body));
    }
    raw.send(Message::Suggest(0));
    raw.send(Message::AllowedFast(1));
    raw.send(Message::Request(wanted(0, 0, BLOCK_LEN)));
    assert_eq!(raw.block(), Some((wanted(0, 0, BLOCK_LEN), stage.data(wanted(0, 0, BLOCK_LEN)))));
}

// ---- requests ---------------------------------------------------------------------------------------------

#[test]
fn up_to_128_kib_are_served_at_once_and_not_a_byte_more() {
    const LARGEST: u32 = 128 * 1024;
    let stage = Stage::new(1_000_000, 256 * 1024, Format::Hybrid);
    let (seed, _) = stage.seed(&config(None));
    let mut raw = Raw::leech(seed.addr(), &stage.torrent, 1, true);
    for request in
        [wanted(0, 7, LARGEST), wanted(3, 0, 1_000_000 - 3 * 262_144 - 90_000), wanted(1, 262_143, 1)]
    {
        raw.send(Message::Request(request));
        assert_eq!(raw.block(), Some((request, stage.data(request))));
    }
    let too_large = wanted(0, 0, LARGEST + 1);
    raw.send(Message::Request(too_large));
    raw.wait_for("it is refused", |message| message == Message::Reject(too_large));
}

#[test]
fn cancelled_blocks_are_not_sent() {
    let stage = Stage::new(500_000, PIECE_LEN, Format::V1);
    let (seed, _) = stage.seed(&config(None));
    for modern in [true, false] {
        let mut raw = Raw::leech(seed.addr(), &stage.torrent, 1 + u8::from(modern), modern);
        let block = |nth: u32| wanted(1, nth * BLOCK_LEN, BLOCK_LEN);
        let script = [
            Message::Request(block(0)),
            Message::Request(block(1)),
            Message::Request(block(2)),
            Message::Cancel(block(1)),
            Message::Cancel(block(3)),
        ];
        raw.send_bytes(&script.map(encoded).concat());
        assert_eq!(raw.block().map(|(block, _)| block), Some(block(0)));
        assert_eq!(raw.block().map(|(block, _)| block), Some(block(2)));
    }
}

#[test]
fn whoever_asks_and_asks_and_never_reads_is_shown_out() {
    let stage = Stage::new(4_000_000, PIECE_LEN, Format::V1);
    let (seed, swarm) = stage.seed(&config(None));
    for (modern, expected) in [(true, "it floods us"), (false, "more requests than the 1000")] {
        let mut raw = Raw::leech(seed.addr(), &stage.torrent, 1, modern);
        let flood = encoded(Message::Request(wanted(0, 0, BLOCK_LEN))).repeat(1000);
        let mut sent = 0u64;
        while raw.socket.write_all(&flood).is_ok() {
            sent += 1000;
            assert!(sent < 100_000_000, "it takes them all");
        }
        stage.assert_ended(expected);
        wait_until("it has left", || swarm.progress().peers == 0);
    }
    let (leecher, leecher_swarm) = stage.leecher(&config(None));
    connect(&leecher, &leecher_swarm, &seed);
    stage.assert_downloaded(&leecher_swarm);
}

// ---- two of the same --------------------------------------------------------------------------------------

#[test]
fn a_second_connection_of_the_same_peer_is_closed_and_the_first_goes_on() {
    let stage = Stage::new(500_000, PIECE_LEN, Format::V1);
    let (seed, _) = stage.seed(&config(None));
    let mut first = Raw::leech(seed.addr(), &stage.torrent, 1, true);
    let mut second = Raw::join(seed.addr(), &stage.torrent, 1, true);
    second.assert_closed();
    first.send(Message::Request(wanted(0, 0, BLOCK_LEN)));
    assert!(first.block().is_some());
}

#[test]
fn two_peers_that_connect_to_each_other_at_once_keep_one_connection() {
    let stage = Stage::new(3_000_000, PIECE_LEN, Format::Hybrid);
    let (seed, seed_swarm) = stage.seed(&Config { up: Some(2_000_000), ..config(None) });
    let (leecher, swarm) = stage.leecher(&config(None));
    connect(&leecher, &swarm, &seed);
    connect(&seed, &seed_swarm, &leecher);
    stage.assert_downloaded(&swarm);
    assert!(swarm.progress().downloaded < 2 * 3_000_000, "neither threw away what the other kept");
}

// ---- lies -------------------------------------------------------------------------------------------------

#[test]
fn a_liar_is_banned_and_the_download_goes_on_without_it() {
    for format in [Format::V1, Format::V2, Format::Hybrid] {
        let stage = Stage::new(1_000_000, PIECE_LEN, format);
        let (leecher, swarm) = stage.leecher(&config(None));
        let mut liar = Raw::seed(leecher.addr(), &stage.torrent, LIAR, true);
        liar.serve(|wanted| vec![0; wanted.len as usize]);
        stage.assert_ended("it sent wrong data");
        let mut again = Raw::join(leecher.addr(), &stage.torrent, LIAR, true);
        again.assert_closed();
        assert_eq!(swarm.progress().have, 0);

        let (seed, _) = stage.seed(&config(None));
        connect(&leecher, &swarm, &seed);
        stage.assert_downloaded(&swarm);
        assert!(!is_banned(&leecher, seed.shared.peer_id));
    }
}

/// One wrong block among those of an honest seed that helped: nobody can tell at first whose fault it is.
#[test]
fn a_liar_among_several_sources_of_a_piece_is_found_and_the_honest_ones_stay() {
    let stage = Stage::new(1 << 20, 1 << 20, Format::V1);
    assert_eq!(stage.torrent.geometry().piece_count(), 1);
    let tuning = Tuning { patience: Some(Duration::from_millis(500)), ..Tuning::default() };
    let (leecher, swarm) = stage.leecher(&Config { tuning, ..config(None) });
    let mut liar = Raw::seed(leecher.addr(), &stage.torrent, LIAR, true);
    let first = liar.request().unwrap();
    liar.send(Message::Piece { index: first.index, begin: first.begin, data: &vec![0; first.len as usize] });
    let liar = thread::spawn(move || {
        liar.assert_closed(); // it sends nothing more
    });
    let (seed, _) = stage.seed(&config(None));
    connect(&leecher, &swarm, &seed);
    stage.assert_downloaded(&swarm);
    liar.join().unwrap();
    stage.assert_ended("it sent wrong data");
    assert!(is_banned(&leecher, PeerId([LIAR; 20])));
    assert!(!is_banned(&leecher, seed.shared.peer_id));
}

// ---- silence ----------------------------------------------------------------------------------------------

/// Endgame: with a patience beyond the end of the test, nothing but help brings the pieces that the
/// silent one has.
#[test]
fn pieces_that_a_silent_peer_sits_on_are_brought_by_others() {
    let stage = Stage::new(2_000_000, PIECE_LEN, Format::V1);
    let tuning = Tuning { patience: Some(Duration::from_secs(100_000)), ..Tuning::default() };
    let (leecher, swarm) = stage.leecher(&Config { tuning, ..config(None) });
    let mut silent = Raw::seed(leecher.addr(), &stage.torrent, 1, true);
    silent.request().expect("it is asked");
    let (seed, seed_swarm) = stage.seed(&config(None));
    connect(&leecher, &swarm, &seed);
    stage.assert_downloaded(&swarm);
    assert!(seed_swarm.progress().uploaded >= 2_000_000, "all of it came from the other");
}

#[test]
fn a_peer_that_is_late_loses_its_pieces() {
    let stage = Stage::new(2_000_000, PIECE_LEN, Format::V1);
    let tuning = Tuning { patience: Some(Duration::from_millis(200)), ..Tuning::default() };
    let (leecher, swarm) = stage.leecher(&Config { tuning, ..config(None) });
    let mut silent = Raw::seed(leecher.addr(), &stage.torrent, 1, true);
    let first = silent.request().expect("it is asked");
    assert!(leecher.shared.budget.used() > 0);
    wait_until("nothing is in flight any more", || leecher.shared.budget.used() == 0);
    assert!(!silent.is_closed(), "it is not shown out for that");

    // It sends after all, and is asked again.
    silent.send(Message::Piece { index: first.index, begin: first.begin, data: &stage.data(first) });
    let bytes = stage.bytes.clone();
    let server = thread::spawn(move || {
        silent.serve(|wanted| {
            let at = (wanted.index * PIECE_LEN + wanted.begin) as usize;
            bytes[at..at + wanted.len as usize].to_vec()
        });
    });
    stage.assert_downloaded(&swarm);
    leecher.stop();
    server.join().unwrap();
}

// ---- peers of the first hour ------------------------------------------------------------------------------

/// No reserved bit: no extensions, no fast messages, nothing but BEP 3.
#[test]
fn a_peer_that_knows_only_bep_3_downloads_from_us() {
    for format in [Format::V1, Format::Hybrid] {
        let stage = Stage::new(1_234_567, PIECE_LEN, format);
        let (seed, _) = stage.seed(&config(None));
        let mut raw = Raw::leech(seed.addr(), &stage.torrent, 1, false);
        let geometry = stage.torrent.geometry();
        let mut got = vec![0; stage.bytes.len()];
        for piece in geometry.pieces() {
            for nth in 0..geometry.block_count(piece) {
                raw.send(Message::Request(geometry.block(piece, nth).into()));
            }
            for _ in 0..geometry.block_count(piece) {
                let (block, data) = raw.block().unwrap();
                let at = (block.index * PIECE_LEN + block.begin) as usize;
                got[at..at + data.len()].copy_from_slice(&data);
            }
            raw.send(Message::Have(piece.index()));
        }
        assert!(got == stage.bytes);
        raw.assert_closed(); // both have everything
        stage.assert_ended("both sides have everything");
    }
}

#[test]
fn a_peer_that_knows_only_bep_3_seeds_to_us() {
    for format in [Format::V1, Format::Hybrid] {
        let stage = Stage::new(1_234_567, PIECE_LEN, format);
        let (leecher, swarm) = stage.leecher(&config(None));
        let mut raw = Raw::join(leecher.addr(), &stage.torrent, 1, false);
        // Piece by piece, as somebody does who has just got them.
        for piece in 0..stage.torrent.geometry().piece_count() {
            raw.send(Message::Have(piece));
        }
        raw.send(Message::Unchoke);
        let served = RefCell::new(BTreeMap::new());
        raw.serve(|wanted| {
            served.borrow_mut().insert((wanted.index, wanted.begin), wanted.len);
            stage.data(wanted)
        });
        stage.assert_downloaded(&swarm);
        assert_eq!(served.into_inner().into_values().sum::<u32>(), 1_234_567, "all of it came from there");
    }
}

/// It chokes in the middle of everything, again and again, and refuses some of what it is asked for.
#[test]
fn a_moody_seed_is_worn_down() {
    let stage = Stage::new(1_000_000, PIECE_LEN, Format::V1);
    let (leecher, swarm) = stage.leecher(&config(None));
    let mut raw = Raw::seed(leecher.addr(), &stage.torrent, 1, true);
    let mut asked = 0;
    let _ = raw.listen(|socket, message| {
        let mut answer = Vec::new();
        if let Message::Request(wanted) = message {
            asked += 1;
            match asked % 10 {
                0 => Message::Reject(wanted).encode(&mut answer),
                5 => {
                    Message::Choke.encode(&mut answer);
                    Message::Reject(wanted).encode(&mut answer);
                    Message::Unchoke.encode(&mut answer);
                }
                _ => {
                    let data = stage.data(wanted);
                    Message::Piece { index: wanted.index, begin: wanted.begin, data: &data }
                        .encode(&mut answer);
                }
            }
        }
        let _ = socket.write_all(&answer);
        std::ops::ControlFlow::<()>::Continue(())
    });
    stage.assert_downloaded(&swarm);
    wait_until("its connection has ended", || !stage.ends.0.lock().is_empty());
    let ends = std::mem::take(&mut *stage.ends.0.lock());
    assert_eq!(ends, ["both sides have everything that they want of each other"]);
}
