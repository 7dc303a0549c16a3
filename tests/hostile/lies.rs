//! Who sends wrong data or promises what it lacks; and the list of bans, which is kept, shown and edited.

use crate::cli_support::Swarm as Room;
use crate::common::raw::Raw;
use crate::common::stage::*;
use crate::common::*;
use shoal::peer::app::banning;
use shoal::peer::engine::{Config, Engine};
use shoal::peer::swarm::shared::Tuning;
use shoal::protocol::handshake::PeerId;
use shoal::protocol::wire::Message;
use shoal::torrent::{BLOCK_LEN, Format};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

fn all_wrong(liar: &mut Raw) {
    liar.serve(|wanted| vec![0; wanted.len as usize]);
}

/// The ban of a liar was forgotten when the peer was started again.
#[test]
fn the_ban_of_a_liar_outlives_a_restart_and_a_crash() {
    let stage = Stage::new(1_000_000, PIECE_LEN, Format::Hybrid);
    let state = tempfile::tempdir().unwrap();
    let bans_file = state.path().join("bans.json");
    let (leecher, swarm) = stage.leecher(&config(Some(state.path())));
    all_wrong(&mut Raw::seed(leecher.addr(), &stage.torrent, LIAR, true));
    stage.assert_ended("it sent wrong data");
    // It is on disk while the peer runs: a crash would not lose it.
    let id = PeerId([LIAR; 20]).to_string();
    wait_until("the ban is written down", || {
        std::fs::read_to_string(&bans_file).is_ok_and(|json| json.contains(&id))
    });
    drop(swarm);
    drop(leecher);

    let (leecher, swarm) = stage.leecher(&config(Some(state.path())));
    assert!(is_banned(&leecher, PeerId([LIAR; 20])));
    Raw::join(leecher.addr(), &stage.torrent, LIAR, true).assert_closed();
    assert_eq!(swarm.progress().peers, 0);

    // It can be forgiven, and then it may come again.
    banning::unban(&leecher.shared.bans, &id).unwrap();
    let mut forgiven = Raw::seed(leecher.addr(), &stage.torrent, LIAR, true);
    assert!(forgiven.request().is_some());
    leecher.stop();
    assert!(!std::fs::read_to_string(&bans_file).unwrap().contains(&id));
}

/// Four honest seeds at once and a liar that sends one wrong block in ten.
#[test]
fn a_liar_among_five_sources_is_found_and_the_four_honest_ones_stay() {
    let stage = Stage::new(12_000_000, 16 * BLOCK_LEN, Format::V1);
    let (leecher, swarm) = stage.leecher(&config(None));
    let seeds: Vec<Engine> =
        (0..4).map(|_| stage.seed(&Config { up: Some(1_000_000), ..config(None) }).0).collect();
    seeds.iter().for_each(|seed| connect(&leecher, &swarm, seed));
    wait_until("all four are there", || swarm.progress().peers == 4);
    let mut sent = 0;
    let mut liar = Raw::seed(leecher.addr(), &stage.torrent, LIAR, true);
    let _ = liar.listen(|socket, message| {
        if let Message::Request(wanted) = message {
            sent += 1;
            let mut data = stage.data(wanted);
            data[0] ^= u8::from(sent % 10 == 5);
            let piece = encoded(Message::Piece { index: wanted.index, begin: wanted.begin, data: &data });
            let _ = std::io::Write::write_all(socket, &piece);
        }
        ControlFlow::<()>::Continue(())
    });
    stage.assert_ended("it sent wrong data");
    stage.assert_downloaded(&swarm);
    assert!(is_banned(&leecher, PeerId([LIAR; 20])));
    for seed in &seeds {
        assert!(!is_banned(&leecher, seed.shared.peer_id));
    }
}

/// On loopback an address cannot be banned. What is left is to find the liar each time, and to
/// get on meanwhile.
#[test]
fn a_liar_with_a_new_name_each_time_does_not_keep_a_download_from_its_end() {
    let stage = Stage::new(4_000_000, PIECE_LEN, Format::V1);
    let (leecher, swarm) = stage.leecher(&config(None));
    let (done, names) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU8::new(0)));
    let (addr, torrent) = (leecher.addr(), Arc::clone(&stage.torrent));
    let (until, counted) = (Arc::clone(&done), Arc::clone(&names));
    let liars = thread::spawn(move || {
        while !until.load(Ordering::SeqCst) && counted.load(Ordering::SeqCst) < 200 {
            let name = counted.fetch_add(1, Ordering::SeqCst);
            let Ok(mut raw) = Raw::try_join(addr, &torrent, name, true) else { continue }; // it may be stopped
            raw.offer_all(&torrent);
            all_wrong(&mut raw);
        }
    });
    wait_until("some are found", || leecher.shared.bans.all().len() >= 3);
    let (seed, _) = stage.seed(&Config { up: Some(2_000_000), ..config(None) });
    connect(&leecher, &swarm, &seed);
    stage.assert_downloaded(&swarm);
    done.store(true, Ordering::SeqCst);
    leecher.stop();
    liars.join().unwrap();
    assert!(leecher.shared.bans.all().len() > 3);
    assert!(!is_banned(&leecher, seed.shared.peer_id));
}

/// Says that it has everything, and refuses whatever it is asked for, in four ways.
#[test]
fn a_peer_that_announces_what_it_lacks_holds_nothing_up() {
    let tuning = Tuning { patience: Some(Duration::from_millis(300)), ..Tuning::default() };
    for (name, answer) in (1..).zip(["reject", "silence", "choke", "have"]) {
        let stage = Stage::new(2_000_000, PIECE_LEN, Format::V1);
        let (leecher, swarm) = stage.leecher(&Config { tuning, ..config(None) });
        let mut raw = match answer {
            "have" => Raw::join(leecher.addr(), &stage.torrent, name, true),
            _ => Raw::seed(leecher.addr(), &stage.torrent, name, true),
        };
        raw.send(Message::Have(0));
        raw.send(Message::Unchoke);
        let empty_handed = thread::spawn(move || {
            let (mut asked, mut have) = (false, 0);
            let _ = raw.listen(|socket, message| {
                if let Message::Request(wanted) = message {
                    asked = true;
                    have += 1;
                    let refused = encoded(Message::Reject(wanted));
                    let bytes = match answer {
                        "reject" => refused,
                        "silence" => Vec::new(),
                        "choke" => [encoded(Message::Choke), refused, encoded(Message::Unchoke)].concat(),
                        // A new promise with each refusal.
                        _ => [refused, encoded(Message::Have(have % 30))].concat(),
                    };
                    let _ = std::io::Write::write_all(socket, &bytes);
                }
                ControlFlow::<()>::Continue(())
            });
            asked
        });
        let (seed, _) = stage.seed(&Config { up: Some(4_000_000), ..config(None) });
        connect(&leecher, &swarm, &seed);
        stage.assert_downloaded(&swarm);
        leecher.stop();
        assert!(empty_handed.join().unwrap(), "{answer}: it was believed at first");
    }
}

#[test]
fn a_ban_by_hand_ends_the_connection_and_keeps_the_peer_out() {
    let stage = Stage::new(500_000, PIECE_LEN, Format::V1);
    let (seed, swarm) = stage.seed(&config(None));
    let mut raw = Raw::leech(seed.addr(), &stage.torrent, 1, true);
    let mut other = Raw::leech(seed.addr(), &stage.torrent, 2, true);
    let at = raw.socket.local_addr().unwrap().to_string();
    let bans = &seed.shared.bans;
    let banned = banning::ban(bans, seed.shared.peer_id, &swarm.members(), &at).unwrap();
    assert_eq!(banned.len(), 1, "its name, and not the address that all here share");
    seed.look_for_peers();
    raw.assert_closed();
    stage.assert_ended("it is banned");
    Raw::join(seed.addr(), &stage.torrent, 1, true).assert_closed();
    other.send(Message::Request(wanted(0, 0, BLOCK_LEN)));
    assert!(other.block().is_some());
}

#[test]
fn the_list_of_bans_is_shown_and_edited_with_and_without_a_running_peer() {
    let room = Room::new();
    let once = |args: &[&str]| room.once("alice", args);
    assert_eq!(once(&["bans"]).good(), "nobody is banned\n");
    assert_eq!(once(&["ban", "10.1.2.3"]).good(), "10.1.2.3 is banned\n");
    assert!(once(&["ban", "somebody"]).bad(1).contains("neither an address"));
    assert!(once(&["unban", "10.9.9.9"]).bad(1).contains("no ban is called `10.9.9.9`"));

    let mut alice = room.peer("alice", &["--json"]);
    let id = "ab".repeat(20);
    assert_eq!(alice.ask_json(&format!("BAN: {id}"))["banned"][0], id.as_str());
    for question in ["bans", "peers", "status"] {
        let answer = alice.ask_json(question);
        let bans = &answer["banned"];
        let named: Vec<&str> =
            bans.as_array().unwrap().iter().map(|ban| ban["who"].as_str().unwrap()).collect();
        assert_eq!(named, ["10.1.2.3", id.as_str()], "{question}");
        assert_eq!(bans[0]["cause"], "by-hand");
    }
    // While she runs, she tells others, and changes the list for them.
    assert_eq!(once(&["bans"]).good().lines().count(), 2);
    assert!(once(&["peers"]).good().contains("banned:\n10.1.2.3"));
    assert_eq!(once(&["unban", "10.1.2.3"]).good(), "10.1.2.3 is unbanned\n");
    assert_eq!(alice.ask_json("bans")["banned"].as_array().unwrap().len(), 1);
    assert_eq!(once(&["ban", "10.1.2.3"]).good(), "10.1.2.3 is banned\n");
    assert_eq!(alice.ask_json("unban ABABAB")["unbanned"][0], id.as_str());
    alice.say("exit");
    alice.end();
    let mut alice = room.peer("alice", &[]);
    assert!(alice.ask("status").contains(&"1 name or address banned: `bans` lists them".to_owned()));
    assert_eq!(alice.ask("bans").len(), 1);
}
