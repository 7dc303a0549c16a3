//! A real tracker on loopback, spoken to in plain bytes.

mod tracker_support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;
use shoal::bencode;
use shoal::protocol::catalogue::Giver;
use shoal::tracker::{Config, Limits, StartError, Tracker};
use tracker_support::*;

#[test]
fn every_request_of_a_session() {
    let tracker = start(Limits::default());
    let mut seed = Session::connect(tracker.addr());
    let hello = seed.ask(json!({
        "request": "hello", "peer_id": "01".repeat(20), "port": 7001, "client": "shoal 0.1",
        "secret": "of one",
        "addresses": ["192.168.7.7", "fe80::1"], "mirror": false,
    }));
    assert_eq!((&hello["address"], &hello["keep_alive_ms"]), (&json!("127.0.0.1"), &json!(40_000)));
    let mut leech = Session::hello(tracker.addr(), 2);

    let torrent = torrent("got5.mp4", 10);
    let key = seed.publish(&torrent, json!("all"));
    assert_eq!(key, torrent.key());
    let added = leech.event();
    assert_eq!(added["event"], "added");
    let entry = json!({
        "key": key, "name": "got5.mp4", "type": "mp4", "size": 163_840, "n_parts": 10, "format": "v1",
        "seeds": 1, "peers": 0, "available": true,
    });
    assert_eq!(added["entry"], entry);
    assert_eq!(leech.ask(json!({"request": "search", "words": "GOT mp4"}))["entries"], json!([entry]));
    assert_eq!(leech.ask(json!({"request": "list"}))["entries"], json!([entry]));
    assert_eq!(leech.ask(json!({"request": "search", "words": "nothing"}))["entries"], json!([]));

    let answer = leech.ask(json!({"request": "torrent", "key": "got5"}));
    assert_eq!(answer["torrent"], base64(torrent.bytes()));
    assert_eq!(leech.publish(&torrent, json!([])), key);
    leech.ask(json!({"request": "have", "key": key, "ranges": [[2, 4], [7, 8]]}));
    let peers = seed.ask(json!({"request": "peers", "key": key}))["peers"].clone();
    assert_eq!(
        peers,
        json!([{"peer_id": "02".repeat(20), "address": "127.0.0.1:6881", "client": "test", "have": 3, "n_parts": 10}])
    );
    let located = seed.ask(json!({"request": "locate", "key": key, "first": 3, "end": 10}));
    assert_eq!(located["holders"][0]["ranges"], json!([[3, 4], [7, 8]]));
    assert_eq!(located["holders"][0]["address"], "127.0.0.1:6881");
    let all = seed.ask(json!({"request": "peers"}))["peers"].clone();
    assert_eq!(all.as_array().unwrap().len(), 1);

    let offer =
        json!({"request": "publish", "torrent": base64(torrent.bytes()), "have": "all", "offer": true});
    seed.ask(offer);
    let offered = leech.event_named("offered");
    assert_eq!((&offered["entry"]["key"], &offered["by"]), (&json!(key), &json!(Giver::by_secret("of one"))));

    seed.send("");
    while !seed.line().unwrap().is_empty() {} // events, and then: alive
    seed.ask(json!({"request": "unpublish", "key": key}));
    let removed = leech.event_named("removed");
    assert_eq!(removed["key"], json!(key));
    assert_eq!(removed["reason"], "the last holder of piece 0 and 6 more withdrew it");
    assert_eq!(leech.ask(json!({"request": "list"}))["entries"], json!([]));
    assert_eq!(leech.ask(json!({"request": "list", "all": true}))["entries"][0]["available"], false);
    seed.ask(json!({"request": "leave"}));
    assert_eq!(seed.line(), None);
    until("the session is gone", || {
        leech.ask(json!({"request": "peers"}))["peers"].as_array().unwrap().is_empty()
    });
}

#[test]
fn wrong_input_gets_one_clear_line_and_the_session_goes_on() {
    let tracker = start(Limits::default());
    let mut session = Session::connect(tracker.addr());
    assert_eq!(session.refused(json!({"request": "list"})), "say hello first");
    session.send("{garbage");
    assert_eq!(session.answer(json!(null))["message"], "a line must be a JSON object with an `id`");
    session.ask(json!({"request": "hello", "peer_id": "01".repeat(20), "port": 1}));
    let hello = json!({"request": "hello", "peer_id": "01".repeat(20), "port": 1});
    assert!(session.refused(hello).contains("already"));
    assert!(session.refused(json!({"request": "dance"})).contains("dance"));
    assert!(session.refused(json!({"request": "torrent", "key": "nothing"})).contains("`nothing`"));
    assert!(
        session.refused(json!({"request": "have", "key": "00".repeat(20), "ranges": []})).contains("known")
    );
    let broken = json!({"request": "publish", "torrent": base64(b"d4:infod"), "have": []});
    assert!(session.refused(broken).contains("torrent"));
    let torrent = torrent("x", 4);
    for have in [json!([[0, 5]]), json!([[2, 2]]), json!([[3, 1]])] {
        let publish = json!({"request": "publish", "torrent": base64(torrent.bytes()), "have": have});
        assert!(session.refused(publish).contains("have"));
    }
    assert_eq!(session.ask(json!({"request": "list", "all": true}))["entries"], json!([]));
    session.publish(&torrent, json!("all"));
    let beyond = json!({"request": "locate", "key": torrent.key(), "first": 0, "end": 5});
    assert!(session.refused(beyond).contains("at most 4"));
    session.ask(json!({"request": "list"}));
}

#[test]
fn a_name_that_two_torrents_share_is_answered_with_the_choice() {
    let tracker = start(Limits::default());
    let mut session = Session::hello(tracker.addr(), 1);
    let keys = [4, 5].map(|n_parts| session.publish(&torrent("same.iso", n_parts), json!("all")));
    let answer = session.try_ask(json!({"request": "torrent", "key": "same.iso"}));
    assert_eq!(answer["status"], "error");
    assert_eq!(answer["choices"].as_array().unwrap().len(), 2);
    assert!(keys.iter().all(|key| answer["message"].as_str().unwrap().contains(key)));
    session.ask(json!({"request": "torrent", "key": keys[0][..10]}));
}

#[test]
fn a_line_without_end_is_cut_off() {
    let tracker = start(Limits::default());
    let mut session = Session::connect(tracker.addr());
    session.send(&format!(r#"{{"id":1,"request":"{}"#, "x".repeat(200_000)));
    assert!(session.line().unwrap().contains("too long"));
    assert_eq!(session.line(), None);
    // Nor is a long one taken for which there is no memory.
    let tracker = start(Limits { line_bytes: 100_000, ..Limits::default() });
    let mut session = Session::hello(tracker.addr(), 1);
    session.send(&format!(r#"{{"id":1,"request":"{}"#, "x".repeat(400_000)));
    assert!(session.line().unwrap().contains("short of memory"));
    assert_eq!(session.line(), None);
}

#[test]
fn whoever_leaves_drops_or_goes_silent_is_noticed_with_that_reason() {
    let tracker = start(Limits { silence: Duration::from_secs(2), ..Limits::default() });
    let mut watcher = Session::hello(tracker.addr(), 9);
    let _alive = watcher.keep_alive();
    let mut reasons = Vec::new();
    for (id, name) in [(1, "left"), (2, "dropped"), (3, "silent")] {
        let mut holder = Session::hello(tracker.addr(), id);
        holder.publish(&torrent(name, 20), json!("all"));
        watcher.event_named("added");
        match name {
            "left" => drop(holder.ask(json!({"request": "leave"}))),
            "dropped" => holder.socket.shutdown(Shutdown::Both).unwrap(),
            _ => {} // it says nothing more, and stays connected
        }
        let removed = watcher.event_named("removed");
        assert_eq!(removed["name"], name);
        reasons.push(removed["reason"].as_str().unwrap().to_owned());
        if name == "silent" {
            until("it is cut off", || holder.line().is_none());
        }
    }
    assert_eq!(
        reasons,
        [
            "the last holder of all 20 pieces left",
            "the last holder of all 20 pieces dropped its connection",
            "the last holder of all 20 pieces went silent",
        ]
    );
}

#[test]
fn three_hundred_sessions_are_served_and_stop_is_quick() {
    let tracker = start(Limits::default());
    let mut sessions: Vec<Session> = (0..300)
        .map(|nth| {
            let mut session = Session::connect(tracker.addr());
            let peer_id = format!("{nth:040x}");
            session.ask(json!({"request": "hello", "peer_id": peer_id, "port": 7000}));
            session
        })
        .collect();
    let torrent = torrent("for all", 50);
    sessions[0].publish(&torrent, json!("all"));
    for session in &mut sessions {
        assert_eq!(session.event()["entry"]["name"], "for all");
        assert_eq!(session.ask(json!({"request": "list"}))["entries"][0]["seeds"], 1);
    }
    let (_, metrics) = get(tracker.addr(), "/metrics");
    assert!(String::from_utf8(metrics).unwrap().contains("shoal_tracker_sessions 300\n"));
    let begun = Instant::now();
    tracker.stop(); // joins every thread
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(sessions.iter_mut().all(|session| session.line().is_none()));
}

#[test]
fn who_does_not_read_is_dropped_and_nobody_waits_for_him() {
    let tracker = start(Limits { stall: Duration::from_millis(500), ..Limits::default() });
    let mut holder = Session::hello(tracker.addr(), 1);
    let big = torrent("big", 100_000); // 2 MB of hashes
    holder.publish(&big, json!("all"));
    let mut lazy = Session::hello(tracker.addr(), 2);
    lazy.publish(&torrent("lazy's", 4), json!("all"));
    for id in 100..140 {
        lazy.send(&json!({"id": id, "request": "torrent", "key": big.key()}).to_string());
    }
    // It never reads. Meanwhile others are served.
    loop {
        let answer = holder.ask(json!({"request": "list"}));
        if answer["entries"].as_array().unwrap().len() == 1 {
            break;
        }
    }
    let removed = holder.event_named("removed");
    assert_eq!(removed["name"], "lazy's");
    assert_eq!(removed["reason"], "the last holder of all 4 pieces dropped its connection");
    let (_, metrics) = get(tracker.addr(), "/metrics");
    assert!(String::from_utf8(metrics).unwrap().contains("shoal_tracker_sessions_behind_total 1\n"));
}

#[test]
fn a_restart_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = || Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        data: Some(folder.path().to_owned()),
        ..Config::default()
    };
    let torrents = ["a.mp4", "b", "c.tar.gz"].map(|name| torrent(name, 5));
    let tracker = Tracker::start(config()).unwrap();
    assert!(matches!(Tracker::start(config()), Err(StartError::Store(_))));
    let mut session = Session::hello(tracker.addr(), 1);
    for torrent in &torrents {
        session.publish(torrent, json!("all"));
        // The reply means that it is on disk.
        let file = std::fs::read(folder.path().join(format!("{}.torrent", torrent.key()))).unwrap();
        assert_eq!(file, torrent.bytes());
    }
    tracker.stop();
    let list = std::fs::read_to_string(folder.path().join("search_content.txt")).unwrap();
    assert!(list.contains(&format!("Name : c.tar type: gz tor : {}.torrent\n", torrents[2].key())), "{list}");
    assert_eq!(list.lines().count(), 3);

    let tracker = Tracker::start(config()).unwrap();
    let mut session = Session::hello(tracker.addr(), 2);
    assert_eq!(session.ask(json!({"request": "list"}))["entries"], json!([]));
    let known = session.ask(json!({"request": "list", "all": true}));
    assert_eq!(known["entries"].as_array().unwrap().len(), 3);
    let answer = session.ask(json!({"request": "torrent", "key": "a.mp4"}));
    assert_eq!(answer["torrent"], base64(torrents[0].bytes()));
    session.publish(&torrents[0], json!("all"));
    assert_eq!(session.event()["entry"]["name"], "a.mp4");
}

#[test]
fn start_says_what_is_wrong() {
    let tracker = start(Limits::default());
    let busy = Config { listen: tracker.addr(), ..Config::default() };
    let error = Tracker::start(busy).err().unwrap().to_string();
    assert!(error.starts_with(&format!("cannot listen on {}", tracker.addr())), "{error}");
}

#[test]
fn announce_and_scrape_over_http() {
    let tracker = start(Limits::default());
    let addr = tracker.addr();
    let torrent = torrent("x", 10);
    let hash = torrent.info_hash().0;
    let mut session = Session::hello(addr, 1);
    session.publish(&torrent, json!([[0, 5]]));
    assert_eq!(session.event()["entry"]["available"], false);

    let (status, body) = get(addr, &announce_query(&hash, 9001, "&left=0&event=started&compact=1"));
    assert_eq!(status, 200);
    let reply = bencode::parse(&body).unwrap().as_dict().unwrap();
    assert_eq!((reply.int("complete"), reply.int("incomplete")), (Some(1), Some(1)));
    assert_eq!(reply.int("interval"), Some(120));
    assert_eq!(reply.bytes("peers"), Some(&[127, 0, 0, 1, 26, 225][..]));
    // A seed that announces holds every piece.
    assert_eq!(session.event()["entry"]["available"], true);
    let peers = session.ask(json!({"request": "peers", "key": torrent.key()}))["peers"].clone();
    assert_eq!((&peers[0]["address"], &peers[0]["have"]), (&json!("127.0.0.1:9001"), &json!(10)));

    let (_, body) = get(addr, &announce_query(&hash, 9002, "&left=5&compact=0&numwant=1"));
    let reply = bencode::parse(&body).unwrap().as_dict().unwrap();
    let peers: Vec<_> = reply.get("peers").unwrap().as_list().unwrap().iter().collect();
    assert_eq!(peers.len(), 1);
    let peer = peers[0].as_dict().unwrap();
    assert_eq!(peer.bytes("ip"), Some(&b"127.0.0.1"[..]));
    assert!(peer.bytes("peer id").is_some_and(|id| id.len() == 20));

    let escaped: String = hash.iter().map(|byte| format!("%{byte:02X}")).collect();
    let (_, body) = get(addr, &format!("/scrape?info_hash={escaped}&info_hash=aaaaaaaaaaaaaaaaaaaa"));
    let files = bencode::parse(&body).unwrap().as_dict().unwrap().get("files").unwrap().as_dict().unwrap();
    let numbers = |hash: &[u8]| {
        let swarm = files.iter().find(|(key, _)| *key == hash).unwrap().1.as_dict().unwrap();
        ["complete", "incomplete", "downloaders", "downloaded"].map(|name| swarm.int(name).unwrap())
    };
    assert_eq!(files.iter().count(), 2);
    assert_eq!(numbers(&hash), [1, 2, 2, 0]);
    assert_eq!(numbers(&[b'a'; 20]), [0; 4], "a hash that it does not know has nobody");

    get(addr, &announce_query(&hash, 9001, "&left=0&event=stopped"));
    assert_eq!(session.event()["reason"], "the last holder of piece 5 and 4 more left");
    let failure = |target: &str| {
        let (status, body) = get(addr, target);
        assert_eq!(status, 200);
        let reason =
            bencode::parse(&body).unwrap().as_dict().unwrap().bytes("failure reason").unwrap().to_vec();
        String::from_utf8(reason).unwrap()
    };
    assert_eq!(failure("/announce"), "info_hash is missing");
    assert_eq!(failure("/announce?info_hash=short&peer_id=x"), "info_hash must be 20 bytes, not 5");
    assert!(failure("/scrape").contains("info_hash"));
}

#[test]
fn an_announcer_that_goes_silent_is_forgotten() {
    let tracker = start(Limits { silence: GENEROUS, ..impatient() });
    let torrent = torrent("x", 10);
    let mut session = Session::hello(tracker.addr(), 1);
    session.publish(&torrent, json!([]));
    get(tracker.addr(), &announce_query(&torrent.info_hash().0, 9001, "&left=0"));
    assert_eq!(session.event_named("removed")["reason"], "the last holder of all 10 pieces went silent");
}

#[test]
fn pages() {
    let tracker = start(Limits::default());
    let addr = tracker.addr();
    let mut session = Session::hello(addr, 1);
    let (there, gone) = (torrent("a <b>.mp4", 4), torrent("other", 4));
    session.publish(&there, json!("all"));
    session.publish(&gone, json!([]));
    let json_at = |target: &str| -> serde_json::Value {
        let (status, body) = get(addr, target);
        assert_eq!(status, 200, "{target}");
        serde_json::from_slice(&body).unwrap()
    };
    assert_eq!(json_at("/torrents")["torrents"].as_array().unwrap().len(), 2);
    let found = json_at("/torrents?search=B%3E+a");
    assert_eq!(found["torrents"][0]["name"], "a <b>.mp4");
    assert_eq!(json_at("/torrents?search=other")["torrents"][0]["available"], false);
    let (status, body) = get(addr, &format!("/torrents/{}.torrent", there.key()));
    let handed_out = shoal::torrent::Torrent::parse(&body).unwrap();
    assert_eq!((status, handed_out.hashes()), (200, there.hashes()));
    let (_, page) = get(addr, "/");
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("a &lt;b&gt;.mp4") && !page.contains("<b>"), "{page}");
    let (_, metrics) = get(addr, "/metrics");
    let metrics = String::from_utf8(metrics).unwrap();
    for line in ["shoal_tracker_sessions 1", "shoal_tracker_torrents 2", "shoal_tracker_torrents_available 1"]
    {
        assert!(metrics.lines().any(|found| found == line), "{metrics}");
    }
    assert_eq!(http(addr, "HEAD / HTTP/1.0\r\n\r\n"), (200, vec![]));
}

#[test]
fn http_that_is_refused() {
    let tracker = start(Limits::default());
    let addr = tracker.addr();
    let one_line = |(status, body): (u16, Vec<u8>)| {
        assert_eq!(body.iter().filter(|byte| **byte == b'\n').count(), 1);
        status
    };
    assert_eq!(one_line(get(addr, "/nothing")), 404);
    assert_eq!(one_line(get(addr, "/torrents/00.torrent")), 404);
    assert_eq!(one_line(get(addr, "/torrents/..%2f..%2fetc.torrent")), 404);
    assert_eq!(one_line(http(addr, "DELETE / HTTP/1.1\r\n\r\n")), 405);
    assert_eq!(one_line(http(addr, "GET / HTTP/1.1\r\nContent-Length: 9\r\n\r\n")), 413);
    assert_eq!(one_line(http(addr, "what is this\r\n\r\n")), 400);
    let huge = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20));
    assert_eq!(one_line(http(addr, &huge)), 431);
}

#[test]
fn http_connections_are_kept_and_requests_may_come_together() {
    let tracker = start(Limits::default());
    let mut socket = TcpStream::connect(tracker.addr()).unwrap();
    let two = "GET /nothing HTTP/1.1\r\n\r\nGET /nothing HTTP/1.1\r\n\r\n";
    socket.write_all(two.as_bytes()).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut answers = String::new();
    socket.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 404").count(), 2);
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 1);
}

/// All that comes until the end of the connection.
fn read_all(mut socket: TcpStream) -> String {
    socket.set_read_timeout(Some(GENEROUS)).unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer); // a reset is an end as well
    String::from_utf8(answer).unwrap()
}

/// Sends a byte now and then until the connection ends.
fn drip(mut socket: TcpStream) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        while socket.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    })
}

#[test]
fn a_client_that_says_nothing_is_cut_off() {
    let tracker = start(impatient());
    assert_eq!(read_all(TcpStream::connect(tracker.addr()).unwrap()), "");
}

#[test]
fn a_head_that_never_ends_is_cut_off() {
    let tracker = start(impatient());
    let mut slow = TcpStream::connect(tracker.addr()).unwrap();
    slow.write_all(b"GET /").unwrap();
    let drip = drip(slow.try_clone().unwrap());
    assert!(read_all(slow).starts_with("HTTP/1.1 408"));
    drip.join().unwrap();
}

#[test]
fn a_session_that_never_says_hello_is_cut_off() {
    let tracker = start(impatient());
    let mut mute = TcpStream::connect(tracker.addr()).unwrap();
    mute.write_all(b"{").unwrap();
    assert!(read_all(mute).contains("hello"));
}

#[test]
fn a_line_that_never_ends_is_cut_off() {
    let tracker = start(impatient());
    let mut session = Session::hello(tracker.addr(), 1);
    let drip = drip(session.socket.try_clone().unwrap());
    assert!(session.line().unwrap().contains("line took too long"));
    assert_eq!(session.line(), None);
    drip.join().unwrap();
}

#[test]
fn there_is_room_for_so_many_connections() {
    let tracker = start(Limits { connections_per_address: 2, ..Limits::default() });
    let mut first = Session::hello(tracker.addr(), 1);
    let _second = Session::hello(tracker.addr(), 2);
    let mut third = Session::connect(tracker.addr());
    assert_eq!(third.line(), None);
    first.ask(json!({"request": "leave"}));
    drop(first);
    until("there is room again", || {
        let mut session = Session::connect(tracker.addr());
        let line = json!({"id": 1, "request": "hello", "peer_id": "05".repeat(20), "port": 1}).to_string();
        session.socket.write_all(format!("{line}\n").as_bytes()).is_ok() && session.line().is_some()
    });
}

#[test]
fn the_command_says_what_is_wrong_and_stops_when_told() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let command = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let mut running = command(&["--listen", "127.0.0.1:0"]).spawn().unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::new(running.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    let addr = first.trim_end().strip_prefix("tracker listening on ").unwrap().to_owned();
    assert_eq!(get(addr.parse().unwrap(), "/").0, 200);

    let busy = command(&["--listen", &addr]).output().unwrap();
    assert_eq!(busy.status.code(), Some(1));
    let message = String::from_utf8(busy.stderr).unwrap();
    assert!(message.contains("cannot listen on") && message.lines().count() == 1, "{message}");
    let data = command(&["--listen", "127.0.0.1:0", "--data", file.to_str().unwrap()]).output().unwrap();
    assert_eq!(data.status.code(), Some(1));
    assert!(String::from_utf8(data.stderr).unwrap().contains("cannot use the data folder"));
    assert_eq!(command(&["--listen", "nonsense"]).output().unwrap().status.code(), Some(2));

    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(running.wait().unwrap().success());
}
