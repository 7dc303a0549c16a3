//! Tests of the tracker's formats: round trips, and random bytes.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use std::time::Duration;

use super::*;
use crate::protocol::announce::*;
use crate::torrent::InfoHash;

fn call(line: &str) -> Request {
    Call::parse(line.as_bytes()).unwrap().request
}

#[test]
fn requests_read_as_the_page_shows_them() {
    let hello = call(
        r#"{"id":1,"request":"hello","peer_id":"2d53483030303030303030303030303030303030","port":6881}"#,
    );
    let Request::Hello(hello) = hello else { panic!("{hello:?}") };
    assert_eq!(hello.peer_id, PeerId(*b"-SH00000000000000000"));
    assert!(!hello.mirror && hello.addresses.is_empty());
    let Request::Publish(publish) =
        call(r#"{"id":2,"request":"publish","torrent":"ZGU=","have":[[0,3],[5,6]],"offer":true}"#)
    else {
        panic!()
    };
    assert_eq!(publish.torrent, Metainfo(b"de".to_vec()));
    assert_eq!(publish.have, Held::Ranges(vec![(0, 3), (5, 6)]));
    assert_eq!(
        call(r#"{"id":3,"request":"search","words":"got"}"#),
        Request::Search(Search { words: "got".into(), all: false, skip: 0 })
    );
    assert_eq!(call(r#"{"id":4,"request":"peers"}"#), Request::Peers { key: None, want: None });
    assert_eq!(call(r#"{"request":"leave","id":5}"#), Request::Leave {});
}

#[test]
fn bad_lines_say_what_is_wrong_and_keep_their_number() {
    let bad = |line: &str| Call::parse(line.as_bytes()).unwrap_err();
    assert_eq!(bad("garbage").id, None);
    assert_eq!(bad(r#"{"request":"list"}"#).id, None);
    let unknown = bad(r#"{"id":7,"request":"dance"}"#);
    assert_eq!(unknown.id, Some(7));
    assert!(unknown.message.contains("dance"), "{}", unknown.message);
    assert!(bad(r#"{"id":8,"request":"search"}"#).message.contains("words"));
    assert!(bad(r#"{"id":8,"request":"publish","torrent":"!","have":[]}"#).message.contains("base64"));
    assert!(bad(r#"{"id":8,"request":"publish","torrent":"","have":"most"}"#).message.contains("all"));
    assert!(!bad(r#"{"id":9,"request":"search"}"#).message.contains("line 1"));
}

#[test]
fn held_pieces_are_checked() {
    let held = |ranges: &[Pieces]| Held::Ranges(ranges.to_vec()).bitfield(10);
    assert_eq!(held(&[(0, 10)]).map(|bits| bits.count()), Some(10));
    assert_eq!(held(&[]).map(|bits| bits.count()), Some(0));
    assert_eq!(Held::All.bitfield(10).map(|bits| bits.count()), Some(10));
    for bad in [(3, 3), (4, 3), (9, 11), (0, u32::MAX), (u32::MAX, u32::MAX)] {
        assert_eq!(held(&[bad]), None, "{bad:?}");
    }
    let bits = held(&[(1, 3), (7, 8)]).unwrap();
    assert_eq!(Held::from(&bits), Held::Ranges(vec![(1, 3), (7, 8)]));
    assert_eq!(Held::from(&Bitfield::full(3)), Held::All);
}

fn entry() -> Entry {
    Entry {
        key: "00".repeat(20),
        name: "got5.mp4".into(),
        path: Some("films/got5.mp4".into()),
        kind: "mp4".into(),
        size: 1,
        n_parts: 2,
        format: "hybrid".into(),
        seeds: 1,
        peers: 3,
        available: true,
    }
}

#[test]
fn answers_survive_their_line() {
    let peer = PeerInfo {
        peer_id: PeerId([7; 20]),
        address: "[2001:db8::1]:6881".parse().unwrap(),
        client: "shoal".into(),
        have: 1,
        n_parts: 2,
        blocked: Some("no space left".into()),
    };
    let key = "ab".repeat(32);
    let replies = [
        Reply::Hello { address: "127.0.0.1".parse().unwrap(), keep_alive_ms: 40_000 },
        Reply::Publish { key: key.clone() },
        Reply::Search(Found { entries: vec![entry()], more: 4 }),
        Reply::List(Found::default()),
        Reply::Torrent { key, torrent: Metainfo(vec![0, 255]), path: None },
        Reply::Locate { holders: vec![Holder { peer: peer.clone(), ranges: vec![(0, 2)] }] },
        Reply::Have {},
        Reply::Peers { peers: vec![peer] },
        Reply::Unpublish {},
        Reply::Leave {},
    ];
    let refusals =
        [Refusal::new("no"), Refusal { message: "which?".into(), choices: vec![entry(), entry()] }];
    let events = [
        Event::Added { entry: entry() },
        Event::Removed { key: "k".into(), name: "n".into(), reason: "r".into() },
        Event::Offered { entry: entry(), by: Giver::by_secret("1"), replaces: vec!["0".repeat(40)] },
    ];
    let answers = replies
        .into_iter()
        .map(|reply| Answer::Reply { id: Some(3), result: Ok(reply) })
        .chain(refusals.map(|refusal| Answer::Reply { id: None, result: Err(refusal) }))
        .chain(events.map(Answer::Event));
    for answer in answers {
        let line = answer.clone().line();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(Answer::parse(line.trim_end().as_bytes()), Ok(answer), "{line}");
    }
}

#[test]
fn an_announce_as_clients_send_it() {
    let query = "info_hash=%01%02%03%04%05%06%07%08%09%0a%0B%0c%0d%0e%0f%10%11%12%13+\
                 &peer_id=-LT2110-abcdefghijkl&port=6881&uploaded=1&downloaded=2&left=3&corrupt=0&key=1A2B\
                 &event=started&numwant=200&compact=1&no_peer_id=1&supportcrypto=1&redundant=0";
    let announce = Announce::parse(query).unwrap();
    assert_eq!(announce.info_hash.0[17..], [0x12, 0x13, b'+']);
    assert_eq!(announce.peer_id, PeerId(*b"-LT2110-abcdefghijkl"));
    assert_eq!((announce.port, announce.left, announce.want), (6881, 3, Some(200)));
    assert_eq!(announce.event, AnnounceEvent::Started);
    assert_eq!(announce.key.as_deref(), Some(&b"1A2B"[..]));
    assert!(announce.compact && announce.no_peer_id);
}

/// Bug: bytes of a key that are no UTF-8 all became the same character, so that different keys were equal.
#[test]
fn the_key_of_an_announce_is_any_bytes() {
    let key = |key: &str| {
        let query = format!("info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=1&key={key}");
        Announce::parse(&query).unwrap().key
    };
    assert_eq!(key("%A0%A1").as_deref(), Some(&[0xa0, 0xa1][..]));
    assert_eq!(key(&"%A0".repeat(64)), Some(vec![0xa0; 64]));
    assert_eq!(key(&"%A0".repeat(65)), None, "too long");
}

#[test]
fn announces_that_are_refused() {
    let good = "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=1&left=0";
    assert!(Announce::parse(good).is_ok());
    for (from, to, why) in [
        ("info_hash=", "x=", "info_hash is missing"),
        ("info_hash=a", "info_hash=", "not 19"),
        ("peer_id=b", "peer_id=bb", "not 21"),
        ("port=1", "port=0", "port"),
        ("port=1", "port=65536", "port"),
    ] {
        let error = Announce::parse(&good.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    // A negative `numwant` means "as many as you like".
    assert_eq!(Announce::parse(&format!("{good}&numwant=-1")).unwrap().want, None);
}

/// Bug: a client that does not know yet how much it lacks, as with a magnet link, was refused.
#[test]
fn who_does_not_say_what_it_lacks_is_no_seed() {
    for left in ["", "&left=", "&left=-1", "&left=Infinity", "&left=99999999999999999999"] {
        let query = format!("info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=1{left}");
        assert_eq!(Announce::parse(&query).map(|announce| announce.left), Ok(u64::MAX), "{left}");
    }
}

fn peer(address: &str, id: Option<u8>) -> AnnouncedPeer {
    AnnouncedPeer { peer_id: id.map(|id| PeerId([id; 20])), address: address.parse().unwrap() }
}

fn reply(peers: Vec<AnnouncedPeer>) -> AnnounceReply {
    AnnounceReply {
        interval: 120,
        min_interval: Some(30),
        complete: 1,
        incomplete: 2,
        downloaded: 3,
        peers,
        named_peers: vec![],
        external_ip: Some("203.0.113.9".parse().unwrap()),
        warning: Some("careful".into()),
        tracker_id: Some(b"id \xff".to_vec()),
    }
}

#[test]
fn compact_and_listed_replies_survive_their_bytes() {
    let compact = reply(vec![peer("10.0.0.1:6881", None), peer("[2001:db8::1]:1", None)]);
    let bytes = compact.bytes(PeersAs { compact: true, no_peer_id: false });
    assert_eq!(AnnounceReply::parse(&bytes), Ok(compact));
    let listed = reply(vec![peer("10.0.0.1:6881", Some(1)), peer("[2001:db8::1]:1", Some(2))]);
    let bytes = listed.bytes(PeersAs { compact: false, no_peer_id: false });
    assert_eq!(AnnounceReply::parse(&bytes), Ok(listed));
}

#[test]
fn replies_of_other_trackers() {
    let failed = AnnounceReply::parse(b"d14:failure reason9:not\nknowne").unwrap_err();
    assert_eq!(failed.to_string(), "the tracker refused: not known");
    for bad in [&b""[..], b"<html>", b"i1e", b"le", b"d8:intervali1e"] {
        assert!(AnnounceReply::parse(bad).is_err());
    }
    // Half an address at the end, a port of 0, a negative interval.
    let odd = b"d8:intervali-5e5:peers15:\x0a\0\0\x01\0\x50\x0a\0\0\x02\0\0abce";
    let odd = AnnounceReply::parse(odd).unwrap();
    assert_eq!((odd.interval, odd.peers), (0, vec![peer("10.0.0.1:80", None)]));
    let named = b"d8:intervali1e5:peersld2:ip9:localhost4:porti80eed2:ip3:::14:porti80eeee";
    let named = AnnounceReply::parse(named).unwrap();
    assert_eq!(named.peers, vec![peer("[::1]:80", None)]);
    assert_eq!(named.named_peers, vec![("localhost".to_owned(), 80)]);
}

/// Bug: a newline behind a tracker's reply cost all its peers, and so did a missing interval, a key that came
/// twice, a leading zero, or a number of more than 64 bits.
#[test]
fn the_peers_of_an_untidy_reply_are_used() {
    let table: [(&[u8], u32); 10] = [
        (b"d8:intervali180e5:peers6:\x0a\0\0\x01\0\x50e\r\n", 180),
        (b"d8:intervali180e5:peers6:\x0a\0\0\x01\0\x50e<!-- 3 ms -->", 180),
        (b"d5:peers6:\x0a\0\0\x01\0\x50e", 1800),
        (b"d8:interval3:1805:peers6:\x0a\0\0\x01\0\x50e", 1800),
        (b"d8:intervali180e8:intervali5e5:peers6:\x0a\0\0\x01\0\x505:peers0:e", 180),
        (b"d8:intervali0180e5:peers6:\x0a\0\0\x01\0\x50e", 180),
        (b"d8:intervali99999999999999999999e5:peers6:\x0a\0\0\x01\0\x50e", u32::MAX),
        (b"d8:intervali-0e5:peers06:\x0a\0\0\x01\0\x50e", 0),
        (b"d5:peers6:\x0a\0\0\x01\0\x508:intervali180e14:failure reasoni0ee", 180),
        (b"d8:intervali180e8:completei-1e10:incomplete3:two5:peersld2:ip8:10.0.0.14:porti80eei7edeee", 180),
    ];
    for (bytes, interval) in table {
        let shown = String::from_utf8_lossy(bytes);
        let reply = AnnounceReply::parse(bytes).unwrap_or_else(|why| panic!("{shown}: {why}"));
        assert_eq!((reply.interval, reply.peers), (interval, vec![peer("10.0.0.1:80", None)]), "{shown}");
    }
}

/// Bug: a peer that is told by host name was skipped.
#[test]
fn peers_may_be_given_by_host_name() {
    let listed = |names: &[&str]| {
        let peers = names.iter().map(|name| format!("d2:ip{}:{name}4:porti80ee", name.len()));
        let bytes = format!("d5:peersl{}ee", peers.collect::<String>());
        AnnounceReply::parse(bytes.as_bytes()).unwrap().named_peers
    };
    assert_eq!(listed(&["node-7.cluster"]), [("node-7.cluster".to_owned(), 80)]);
    assert!(listed(&["", "a b", "a/b", "10.0.0.1", "::1", &"a".repeat(254)]).is_empty());
    assert_eq!(listed(&["a"; 50]).len(), MAX_NAMES_READ);
}

#[test]
fn a_refusal_may_say_when_to_ask_again() {
    let retry_in = |text: &str| {
        let refusal = format!("d14:failure reason4:busy{text}e");
        let Err(ReplyError::Refused { reason, retry_in }) = AnnounceReply::parse(refusal.as_bytes()) else {
            panic!("{refusal} is one")
        };
        assert_eq!(reason, "busy");
        retry_in
    };
    assert_eq!(retry_in("8:retry ini30e"), Some(Duration::from_secs(1800)));
    assert_eq!(retry_in("8:retry in5:never"), Some(Duration::MAX));
    assert_eq!(retry_in("8:retry ini9223372036854775807e"), Some(Duration::from_secs(u64::MAX)));
    for nothing in ["8:retry ini-1e", "8:retry in4:soon", "8:retry inle", ""] {
        assert_eq!(retry_in(nothing), None);
    }
}

#[test]
fn a_scrape_tells_each_swarm_once_in_order() {
    let query =
        format!("info_hash={0}&info_hash={1}&info_hash={0}&info_hash=short", "b".repeat(20), "a".repeat(20));
    let hashes = scrape_hashes(&query);
    assert_eq!(hashes.len(), 3);
    let swarms = hashes.iter().map(|hash| Scraped {
        complete: 1,
        downloaded: 2,
        incomplete: 3,
        downloaders: 1,
        ..Scraped::nobody(*hash)
    });
    let bytes = scrape_bytes(swarms.collect());
    let files =
        crate::bencode::parse(&bytes).unwrap().as_dict().unwrap().get("files").unwrap().as_dict().unwrap();
    let keys: Vec<&[u8]> = files.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [&[b'a'; 20], &[b'b'; 20]]);
    let numbers = b"d8:completei1e10:downloadedi2e11:downloadersi1e10:incompletei3ee";
    assert!(bytes.windows(numbers.len()).any(|window| window == numbers));
}

proptest! {
    #[test]
    fn nothing_panics_whatever_comes(bytes: Vec<u8>, text in ".{0,200}") {
        let refusals = [
            Call::parse(&bytes).map_err(|bad| bad.message).err(),
            Answer::parse(&bytes).err(),
            AnnounceReply::parse(&bytes).err().map(|why| why.to_string()),
            Announce::parse(&text).err(),
        ];
        for why in refusals.into_iter().flatten() {
            prop_assert!(!why.is_empty() && !why.contains('\n'), "{}", why);
        }
        prop_assert!(scrape_hashes(&text).len() <= text.matches("info_hash=").count());
        prop_assert!(unescape(&text).len() <= text.len());
    }

    #[test]
    fn almost_calls_do_not_panic(
        word in "[a-z_]{1,9}",
        value in r#"(-?[0-9]{1,25}|"[^"\\]{0,20}"|\[\[[0-9],[0-9]{1,12}\]\]|null|\{\})"#,
    ) {
        for request in ["hello", "publish", "search", "locate", "have", "peers", "torrent"] {
            let fields = format!(r#""{word}":{value},"key":{value},"have":{value}"#);
            let line = format!(r#"{{"id":1,"request":"{request}",{fields}}}"#);
            let is_json = serde_json::from_str::<serde_json::Value>(&line).is_ok();
            match Call::parse(line.as_bytes()) {
                Ok(call) => prop_assert_eq!(Call::parse(call.line().trim_end().as_bytes()), Ok(call)),
                Err(bad) => {
                    prop_assert!(!bad.message.is_empty() && !bad.message.contains('\n'), "{}", bad.message);
                    // With two ids nobody knows which was meant.
                    let has_id = is_json && word != "id";
                    prop_assert!(bad.id == Some(1) || !has_id, "it keeps its number: {}", line);
                }
            }
        }
    }

    #[test]
    fn almost_replies_do_not_panic(interval: i64, peers: Vec<u8>, peers6: Vec<u8>) {
        let bytes = crate::bencode::dict(|d| {
            d.int("interval", interval);
            d.bytes("peers", &peers);
            d.bytes("peers6", &peers6);
        });
        prop_assert!(AnnounceReply::parse(&bytes).is_ok());
    }

    #[test]
    fn escaped_bytes_come_back(bytes: Vec<u8>) {
        prop_assert_eq!(unescape(&escape(&bytes)), bytes);
    }

    #[test]
    fn announces_survive_their_query(
        hash: [u8; 20], id: [u8; 20], port in 1u16.., amounts: (u64, u64, u64), want: Option<u16>,
        key in of(vec(any::<u8>(), 0..=64)), flags: (bool, bool), event in 0usize..5,
        tracker_id: Option<Vec<u8>>,
    ) {
        let events = [
            AnnounceEvent::None,
            AnnounceEvent::Started,
            AnnounceEvent::Completed,
            AnnounceEvent::Stopped,
            AnnounceEvent::Paused,
        ];
        let announce = Announce {
            info_hash: InfoHash(hash),
            peer_id: PeerId(id),
            port,
            uploaded: amounts.0,
            downloaded: amounts.1,
            left: amounts.2,
            event: events[event],
            want: want.map(usize::from),
            key,
            compact: flags.0,
            no_peer_id: flags.1,
            tracker_id,
        };
        prop_assert_eq!(Announce::parse(&announce.query()), Ok(announce));
    }
}

/// Every line in the document is one that is sent or accepted, and every kind of line is in the document.
#[test]
fn the_page_is_true() {
    let page = include_str!("../../../docs/PROTOCOL.md");
    let blocks = page.split("```json\n").skip(1).filter_map(|block| block.split("```").next());
    let mut seen = std::collections::BTreeSet::new();
    for line in blocks.flat_map(str::lines).map(str::trim).filter(|line| !line.is_empty()) {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let again = if value.get("request").is_some() {
            Call::parse(line.as_bytes()).unwrap_or_else(|bad| panic!("{}: {line}", bad.message)).line()
        } else {
            Answer::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}")).line()
        };
        assert_eq!(serde_json::from_str::<serde_json::Value>(&again).unwrap(), value);
        for tag in ["request", "to", "event", "status"] {
            seen.extend(value.get(tag).and_then(|name| name.as_str()).map(|name| format!("{tag} {name}")));
        }
    }
    let requests =
        ["hello", "publish", "search", "list", "torrent", "locate", "have", "peers", "unpublish", "leave"];
    let expected = requests
        .iter()
        .flat_map(|name| [format!("request {name}"), format!("to {name}")])
        .chain(["added", "removed", "offered"].map(|name| format!("event {name}")))
        .chain(["success", "error"].map(|name| format!("status {name}")));
    assert_eq!(seen, expected.collect());
}
