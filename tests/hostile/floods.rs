//! Who keeps a thread busy with messages that carry nothing.

use crate::common::raw::Raw;
use crate::common::stage::*;
use crate::common::*;
use shoal::bitfield::Bitfield;
use shoal::peer::bans::Cause;
use shoal::protocol::handshake::PeerId;
use shoal::protocol::wire::Message;
use shoal::torrent::{BLOCK_LEN, Format};
use std::io::Write;

const FLOODED: &str = "it floods us with messages that carry nothing";

/// Each kind of message for nothing, a few of them.
pub fn floods(pieces: u32) -> Vec<(&'static str, Vec<u8>)> {
    let block = wanted(0, 0, BLOCK_LEN);
    let request = encoded(Message::Request(block));
    let bits = Bitfield::new(pieces);
    vec![
        ("keep-alives", encoded(Message::KeepAlive)),
        ("interest", [encoded(Message::Interested), encoded(Message::NotInterested)].concat()),
        ("haves", encoded(Message::Have(0))),
        ("bitfields", encoded(Message::Bitfield(bits.as_bytes()))),
        ("nothing", encoded(Message::HaveNone)),
        ("chokes", [encoded(Message::Unchoke), encoded(Message::Choke)].concat()),
        ("refused requests", request.clone()),
        ("cancels", encoded(Message::Cancel(block))),
        ("requests and cancels", [request, encoded(Message::Cancel(block))].concat()),
        ("tiny requests", encoded(Message::Request(wanted(0, 5, 1)))),
        ("rejects", encoded(Message::Reject(block))),
        ("hints", [encoded(Message::Suggest(0)), encoded(Message::AllowedFast(0))].concat()),
        ("introductions", encoded(Message::Extended { id: 0, payload: b"d1:v4:evile" })),
        ("extensions", encoded(Message::Extended { id: 77, payload: &[0; 1000] })),
        ("unknown messages", framed(&[99])),
    ]
}

#[test]
fn who_floods_is_shown_out_and_others_are_served_meanwhile() {
    let stage = Stage::new(1_000_000, PIECE_LEN, Format::V1);
    let (seed, swarm) = stage.seed(&config(None));
    let (leecher, leecher_swarm) = stage.leecher(&config(None));
    let mut most = 0;
    for (name, (what, messages)) in (1..).zip(floods(stage.torrent.geometry().piece_count())) {
        let mut raw = if what.contains("requests") && what != "refused requests" {
            Raw::leech(seed.addr(), &stage.torrent, name, true)
        } else {
            Raw::join(seed.addr(), &stage.torrent, name, true)
        };
        raw.socket.set_nonblocking(true).unwrap();
        let many = messages.repeat(1000);
        // It reads what comes, so that it is not shown out for that.
        let mut sent = 0;
        wait_until(&format!("{what} are cut off"), || {
            sent += raw.socket.write(&many).unwrap_or(0);
            raw.is_closed()
        });
        most = most.max(sent);
        stage.assert_ended_times(FLOODED, usize::from(name));
        wait_until("it has left", || swarm.progress().peers == 0);
    }
    assert!(most < 100_000_000, "it took {most} bytes of one flood");
    connect(&leecher, &leecher_swarm, &seed);
    stage.assert_downloaded(&leecher_swarm);
}

#[test]
fn who_floods_again_and_again_is_banned_for_a_while() {
    let stage = Stage::new(1_000_000, PIECE_LEN, Format::V1);
    let (seed, _) = stage.seed(&config(None));
    for times in 1..=3 {
        assert!(!is_banned(&seed, PeerId([1; 20])));
        let mut raw = Raw::join(seed.addr(), &stage.torrent, 1, true);
        raw.send_bytes(&encoded(Message::KeepAlive).repeat(10_000));
        raw.assert_closed();
        stage.assert_ended_times(FLOODED, times);
    }
    wait_until("it is banned", || is_banned(&seed, PeerId([1; 20])));
    let bans = seed.shared.bans.all();
    assert!(bans.len() == 1 && bans[0].cause == Cause::BrokeRules, "{bans:?}");
    assert!(bans[0].until.is_some_and(|until| until > bans[0].since), "for a while");
    Raw::join(seed.addr(), &stage.torrent, 1, true).assert_closed();
    let (leecher, swarm) = stage.leecher(&config(None));
    connect(&leecher, &swarm, &seed);
    stage.assert_downloaded(&swarm);
}

/// A seed of many pieces that tells each of them by itself, says it all twice, and then serves.
#[test]
fn an_honest_burst_of_haves_is_no_flood() {
    let stage = Stage::new(5000 * BLOCK_LEN as usize, BLOCK_LEN, Format::V1);
    let pieces = stage.torrent.geometry().piece_count();
    assert_eq!(pieces, 5000);
    let (leecher, swarm) = stage.leecher(&config(None));
    let mut raw = Raw::join(leecher.addr(), &stage.torrent, 1, true);
    raw.send(Message::Bitfield(Bitfield::full(pieces).as_bytes()));
    let haves: Vec<u8> = (0..pieces).flat_map(|piece| encoded(Message::Have(piece))).collect();
    raw.send_bytes(&haves);
    raw.send(Message::Unchoke);
    raw.serve(|wanted| stage.data(wanted));
    stage.assert_downloaded(&swarm);
}

/// A leecher that is choked in the middle of a full window, again and again, is not taken for a flood.
#[test]
fn a_full_window_of_requests_that_are_refused_is_no_flood() {
    let stage = Stage::new(4_000_000, PIECE_LEN, Format::V1);
    let (seed, _) = stage.seed(&config(None));
    let mut raw = Raw::join(seed.addr(), &stage.torrent, 1, true);
    raw.send_bytes(&encoded(Message::Request(wanted(0, 0, BLOCK_LEN))).repeat(1000));
    raw.send(Message::Interested);
    raw.wait_for("it is unchoked", |message| matches!(message, Message::Unchoke));
    raw.send(Message::Request(wanted(1, 0, BLOCK_LEN)));
    assert_eq!(raw.block().map(|(block, _)| block), Some(wanted(1, 0, BLOCK_LEN)));
}

/// It has caught up with us: it wants each piece as it comes, and then nothing, two changes of mind a piece.
#[test]
fn changes_of_mind_that_go_with_progress_are_no_flood() {
    let stage = Stage::new(5000 * BLOCK_LEN as usize, BLOCK_LEN, Format::V1);
    let (seed, swarm) = stage.seed(&config(None));
    let mut raw = Raw::join(seed.addr(), &stage.torrent, 1, true);
    for piece in 0..4999 {
        let script = [Message::Interested, Message::NotInterested, Message::Have(piece)];
        raw.send_bytes(&script.map(encoded).concat());
    }
    raw.send(Message::Interested);
    raw.wait_for("it is unchoked", |message| matches!(message, Message::Unchoke));
    raw.send(Message::Request(wanted(4999, 0, BLOCK_LEN)));
    wait_until("it is served", || swarm.progress().uploaded >= u64::from(BLOCK_LEN));
    assert!(stage.ends.0.lock().is_empty());
}
