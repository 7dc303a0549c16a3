//! The peer's tracker clients against a real tracker, and against servers that are none.

mod tracker_support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shoal::Families;
use shoal::peer::catalogue::{AskError, Host, Publication, SessionClient};
use shoal::peer::discovery::{AnnounceConfig, AnnounceHost, AnnounceProgress, Announcer, Nudge};
use shoal::protocol::catalogue::{Event, Giver, Held, Hello, List, PeerId, Publish, Reply, Request};
use shoal::torrent::{InfoHash, Torrent};
use shoal::tracker::{Config, Limits, Tracker};
use tracker_support::*;

/// A peer as the session client sees it.
#[derive(Default)]
struct Peer {
    id: u8,
    mirror: bool,
    shared: Mutex<HashMap<InfoHash, Publication>>,
    events: Mutex<Vec<Event>>,
    ups: AtomicU64,
    whys: Mutex<Vec<String>>,
}

impl Peer {
    fn new(id: u8) -> Arc<Peer> {
        Arc::new(Peer { id, ..Peer::default() })
    }

    fn share(&self, torrent: Torrent, have: Held) -> InfoHash {
        let hash = torrent.info_hash();
        let publication = Publication::new(Arc::new(torrent), have);
        self.shared.lock().insert(hash, publication);
        hash
    }

    fn has_seen(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.events.lock().iter().any(wanted)
    }
}

impl Host for Peer {
    fn hello(&self) -> Hello {
        Hello {
            peer_id: PeerId([self.id; 20]),
            port: 6881,
            addresses: vec![],
            client: "test".into(),
            mirror: self.mirror,
            secret: Some(self.id.to_string()),
        }
    }

    fn published(&self) -> Vec<InfoHash> {
        self.shared.lock().keys().copied().collect()
    }

    fn publication(&self, hash: InfoHash) -> Option<Publication> {
        self.shared.lock().get(&hash).cloned()
    }

    fn on_event(&self, event: Event) {
        self.events.lock().push(event);
    }

    fn on_connection(&self, up: bool, why: &str) {
        if up {
            self.ups.fetch_add(1, Ordering::SeqCst);
        } else {
            self.whys.lock().push(why.to_owned());
        }
    }
}

fn connect(addr: SocketAddr, peer: &Arc<Peer>) -> SessionClient {
    let client = SessionClient::start(addr, peer.clone()).unwrap();
    client.wait_connected(GENEROUS).unwrap();
    client
}

fn names(client: &SessionClient) -> Vec<String> {
    match client.ask(Request::List(List::default())) {
        Ok(Reply::List(found)) => found.entries.into_iter().map(|entry| entry.name).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_peer_publishes_asks_hears_and_leaves() {
    let tracker = start(Limits::default());
    let (seed, leech) = (Peer::new(1), Peer::new(2));
    let hash = seed.share(torrent("got5.mp4", 10), Held::All);
    let leech_client = connect(tracker.addr(), &leech);
    let seed_client = connect(tracker.addr(), &seed);
    until("the other peer hears of it", || {
        leech.has_seen(|event| matches!(event, Event::Added { entry } if entry.available))
    });
    let reply = leech_client.ask(Request::Torrent { key: "got5".into() }).unwrap();
    let Reply::Torrent { key, torrent: metainfo, .. } = reply else { panic!("{reply:?}") };
    assert_eq!(key, hash.to_string());
    assert_eq!(metainfo.0, torrent("got5.mp4", 10).bytes());
    let refused = leech_client.ask(Request::Torrent { key: "nothing".into() }).unwrap_err();
    assert!(matches!(&refused, AskError::Refused(refusal) if refusal.choices.is_empty()), "{refused}");
    seed_client.stop();
    until("the other peer hears that it left", || {
        leech.has_seen(|event| matches!(event, Event::Removed { reason, .. } if reason.ends_with("left")))
    });
    assert!(matches!(seed_client.ask(Request::List(List::default())), Err(AskError::Lost)));
}

#[test]
fn after_a_restart_of_the_tracker_everything_is_published_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = |listen| Config { listen, data: Some(folder.path().to_owned()), ..Config::default() };
    let tracker = Tracker::start(config("127.0.0.1:0".parse().unwrap())).unwrap();
    let addr = tracker.addr();
    let peer = Peer::new(1);
    for nth in 0..100 {
        peer.share(torrent(&format!("file {nth}"), 4), Held::All);
    }
    let partial = peer.share(torrent("partial", 4), Held::Ranges(vec![(0, 2)]));
    let client = connect(addr, &peer);
    until("all are published", || names(&client).len() == 100);
    tracker.stop();
    until("the loss is noticed", || !peer.whys.lock().is_empty());
    let error = client.ask(Request::List(List::default())).unwrap_err();
    assert!(matches!(error, AskError::NotConnected(_)), "{error}");
    // Meanwhile the download ended; nobody could be told.
    client.tell(Request::Have { key: partial.to_string(), ranges: vec![(2, 4)] });
    peer.share(torrent("partial", 4), Held::All);
    let tracker = Tracker::start(config(addr)).unwrap();
    until("the connection is back", || client.wait_connected(GENEROUS).is_ok());
    until("all are published again", || names(&client).len() == 101);
    assert_eq!(peer.ups.load(Ordering::SeqCst), 2);
    assert_eq!(peer.whys.lock().len(), 1);
    client.stop();
    tracker.stop();
}

#[test]
fn what_is_told_arrives_even_when_it_is_more_than_there_is_room_for() {
    let tracker = start(Limits::default());
    let peer = Peer::new(1);
    let client = connect(tracker.addr(), &peer);
    for nth in 0..5000 {
        let torrent = torrent(&format!("file {nth}"), 1);
        let request = Request::Publish(Publish::new(torrent.bytes(), Held::All));
        peer.share(torrent, Held::All);
        client.tell(request);
    }
    until("all are published", || {
        let census = String::from_utf8(get(tracker.addr(), "/metrics").1).unwrap();
        census.contains("shoal_tracker_torrents_available 5000\n")
    });
    let reply = client.ask(Request::List(List::default())).unwrap();
    let Reply::List(found) = reply else { panic!("{reply:?}") };
    assert_eq!(found.entries.len() + found.more, 5000);
}

#[test]
fn a_mirror_that_comes_late_hears_of_what_is_offered() {
    let tracker = start(Limits::default());
    let seed = Peer::new(1);
    let torrent = torrent("lesson", 4);
    let publication = Publication { offer: true, ..Publication::new(Arc::new(torrent), Held::All) };
    seed.shared.lock().insert(publication.torrent.info_hash(), publication);
    let _seed_client = connect(tracker.addr(), &seed);
    until("it is known", || get(tracker.addr(), "/torrents?search=lesson").1.len() > 100);
    let mirror = Arc::new(Peer { id: 2, mirror: true, ..Peer::default() });
    let _mirror_client = connect(tracker.addr(), &mirror);
    let offers = || -> Vec<(String, Giver)> {
        let events = mirror.events.lock();
        let offers = events.iter().filter_map(|event| match event {
            Event::Offered { entry, by, .. } => Some((entry.name.clone(), *by)),
            _ => None,
        });
        offers.collect()
    };
    until("the mirror hears of something", || !offers().is_empty());
    assert_eq!(offers(), [("lesson".to_owned(), Giver::by_secret("1"))]);
}

#[test]
fn a_quiet_client_keeps_its_session_alive() {
    let tracker = start(impatient());
    let peer = Peer::new(1);
    let client = connect(tracker.addr(), &peer);
    let begun = Instant::now();
    until("the tracker's patience would be over", || begun.elapsed() > Duration::from_millis(4500));
    assert_eq!(names(&client), [""; 0]);
    assert_eq!(peer.ups.load(Ordering::SeqCst), 1);
}

#[test]
fn a_tracker_that_is_not_there_is_one_clear_sentence() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let peer = Peer::new(1);
    let client = SessionClient::start(addr, peer.clone()).unwrap();
    let why = client.wait_connected(GENEROUS).unwrap_err();
    assert!(why.starts_with(&format!("cannot reach the tracker at {addr}: ")), "{why}");
    let error = client.ask(Request::List(List::default())).unwrap_err();
    assert!(error.to_string().contains("cannot reach"), "{error}");
    let begun = Instant::now();
    client.stop();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(peer.whys.lock().len(), 1);
}

/// Answers each connection with `serve` on a thread of its own, until dropped.
struct FakeServer {
    addr: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl FakeServer {
    fn start(serve: impl Fn(TcpStream) + Send + 'static) -> FakeServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = stopping.clone();
        let thread = thread::spawn(move || {
            for socket in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                serve(socket.unwrap());
            }
        });
        FakeServer { addr, stopping, thread: Some(thread) }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_server_that_is_no_tracker_is_noticed() {
    let peer = Peer::new(1);
    // Not what a tracker says.
    let server = FakeServer::start(|mut socket| {
        let _ = socket.write_all(b"{\"id\":1,\"status\":\"error\",\"message\":\"go away\"}\n");
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let client = SessionClient::start(server.addr, peer.clone()).unwrap();
    assert_eq!(client.wait_connected(GENEROUS), Err("the tracker refused: go away".into()));
    drop(client);
    drop(server);
    // It closes at once.
    let server = FakeServer::start(drop);
    let client = SessionClient::start(server.addr, peer.clone()).unwrap();
    assert!(client.wait_connected(GENEROUS).unwrap_err().contains("connection"));
    drop(client);
    drop(server);
    // It says nothing; stopping does not wait for it.
    let held = Arc::new(Mutex::new(Vec::new()));
    let hold = held.clone();
    let server = FakeServer::start(move |socket| hold.lock().push(socket));
    let client = SessionClient::start(server.addr, peer).unwrap();
    assert!(client.wait_connected(Duration::from_millis(200)).unwrap_err().contains("did not answer"));
    let begun = Instant::now();
    client.stop();
    assert!(begun.elapsed() < Duration::from_secs(2));
}

/// A torrent as the announcer sees it.
#[derive(Default)]
struct Swarm {
    left: AtomicU64,
    peers: Mutex<Vec<SocketAddr>>,
    outcomes: Mutex<Vec<Result<(u32, u32), String>>>,
    failures: Mutex<Vec<String>>,
}

impl AnnounceHost for Swarm {
    fn progress(&self) -> AnnounceProgress {
        AnnounceProgress { uploaded: 1, downloaded: 2, left: self.left.load(Ordering::SeqCst) }
    }

    fn found(&self, peers: &[SocketAddr]) {
        self.peers.lock().extend_from_slice(peers);
    }

    fn announced(&self, outcome: Result<(u32, u32), &str>) {
        self.outcomes.lock().push(outcome.map_err(str::to_owned));
    }

    fn failed(&self, why: &str) {
        self.failures.lock().push(why.to_owned());
    }
}

fn announcer(torrent: Torrent, port: u16, left: u64) -> (Announcer, Arc<Swarm>) {
    let swarm = Arc::new(Swarm { left: left.into(), ..Swarm::default() });
    let config = AnnounceConfig {
        torrent: Arc::new(torrent),
        peer_id: [port as u8; 20],
        port,
        families: Families::Both,
        host: swarm.clone(),
    };
    (Announcer::start(config).unwrap().unwrap(), swarm)
}

fn scrape(addr: SocketAddr, hash: InfoHash) -> Option<(i64, i64, i64)> {
    let escaped: String = hash.0.iter().map(|byte| format!("%{byte:02x}")).collect();
    let (_, body) = get(addr, &format!("/scrape?info_hash={escaped}"));
    let files = shoal::bencode::parse(&body).unwrap().as_dict()?.get("files")?.as_dict()?;
    let swarm = files.iter().next()?.1.as_dict()?;
    Some((swarm.int("complete")?, swarm.int("incomplete")?, swarm.int("downloaded")?))
}

#[test]
fn announcers_find_each_other_complete_and_say_goodbye() {
    let tracker = start(Limits::default());
    let url = format!("http://{}/announce", tracker.addr());
    let make = || torrent_at("x", 4, Some(&url));
    let hash = make().info_hash();
    let (seed, _) = announcer(make(), 7001, 0);
    until("the seed is known", || scrape(tracker.addr(), hash) == Some((1, 0, 0)));
    let (leech, swarm) = announcer(make(), 7002, 100);
    until("the seed is found", || *swarm.peers.lock() == ["127.0.0.1:7001".parse().unwrap()]);
    until("the outcome is told", || *swarm.outcomes.lock() == [Ok((1, 1))]);
    swarm.left.store(0, Ordering::SeqCst);
    leech.nudge(Nudge::Completed);
    until("the download is counted", || scrape(tracker.addr(), hash) == Some((2, 0, 1)));
    leech.stop();
    assert_eq!(scrape(tracker.addr(), hash), Some((1, 0, 1)));
    drop(seed);
    assert_eq!(scrape(tracker.addr(), hash), Some((0, 0, 0)));
}

#[test]
fn a_hybrid_is_announced_by_both_hashes() {
    let tracker = start(Limits::default());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("both.bin");
    std::fs::write(&path, vec![1; 100_000]).unwrap();
    let options = shoal::torrent::create::Options {
        trackers: vec![
            vec!["udp://127.0.0.1:1/announce".into()],
            // Nothing listens on the discard port: the next tier is asked.
            vec!["http://127.0.0.1:9/announce".into()],
            vec![format!("http://{}/announce", tracker.addr())],
        ],
        ..Default::default()
    };
    let bytes = shoal::torrent::create::create(&path, &options, &|_| {}).unwrap();
    let torrent = Torrent::parse(&bytes).unwrap();
    let hashes: Vec<InfoHash> = torrent.wire_hashes().collect();
    let (announcer, _) = announcer(torrent, 7001, 0);
    for hash in &hashes {
        until("both swarms know it", || scrape(tracker.addr(), *hash) == Some((1, 0, 0)));
    }
    announcer.stop();
    for hash in hashes {
        assert_eq!(scrape(tracker.addr(), hash), Some((0, 0, 0)));
    }
}

#[test]
fn when_a_tracker_dies_the_next_of_its_tier_hears_of_start_completion_and_end() {
    let (heard, dead) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(None)));
    let tracker = |which: usize| {
        let (heard, dead) = (heard.clone(), dead.clone());
        FakeServer::start(move |mut socket| {
            let head = read_head(&socket);
            let event = ["started", "completed", "stopped"].into_iter().find(|event| head.contains(event));
            heard.lock().push((which, event.unwrap_or("none")));
            if *dead.lock() != Some(which) {
                let body = "d8:completei1e10:incompletei0e8:intervali1800e5:peers0:e";
                let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}", body.len());
                let _ = socket.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
            }
        })
    };
    let trackers = [tracker(0), tracker(1)];
    let urls = trackers.iter().map(|tracker| format!("http://{}/announce", tracker.addr));
    let tier: String = urls.map(|url| format!("{}:{url}", url.len())).collect();
    let bytes = format!("d13:announce-listll{tier}ee").into_bytes();
    let torrent = Torrent::parse(&[&bytes, &torrent("x", 4).bytes()[1..]].concat()).unwrap();
    let (leech, swarm) = announcer(torrent, 7001, 100);
    until("it is announced", || swarm.outcomes.lock().len() == 1);
    let first = heard.lock()[0].0;
    assert_eq!(*heard.lock(), [(first, "started")], "one of a tier is enough");

    *dead.lock() = Some(first);
    swarm.left.store(0, Ordering::SeqCst);
    leech.nudge(Nudge::Completed);
    let other = 1 - first;
    let taken_over = [(first, "completed"), (other, "started"), (other, "completed")];
    until("the other takes over", || swarm.outcomes.lock().len() == 3);
    assert_eq!(heard.lock()[1..], taken_over);
    assert!(swarm.outcomes.lock().iter().all(Result::is_ok), "nobody noticed");
    leech.stop();
    assert_eq!(heard.lock()[4..], [(other, "stopped"), (first, "stopped")], "first who is sure to answer");
}

#[test]
fn a_torrent_without_http_or_udp_trackers_has_no_announcer() {
    let torrent = torrent_at("x", 4, Some("wss://127.0.0.1:1/announce"));
    let host = Arc::new(Swarm::default());
    let families = Families::Both;
    let config = AnnounceConfig { torrent: Arc::new(torrent), peer_id: [1; 20], port: 1, families, host };
    assert!(Announcer::start(config).unwrap().is_none());
}

/// Reads a request's head, and gives its first line.
fn read_head(socket: &TcpStream) -> String {
    let mut lines = BufReader::new(socket).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    lines.find(String::is_empty);
    first
}

#[test]
fn stop_does_not_wait_for_a_tracker_that_hangs() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let hold = held.clone();
    let server = FakeServer::start(move |socket| hold.lock().push(socket));
    let (announcer, _) = announcer(torrent_at("x", 4, Some(&format!("http://{}/", server.addr))), 7001, 0);
    until("it hangs", || !held.lock().is_empty());
    let begun = Instant::now();
    announcer.stop();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn bad_replies_are_reported_and_survived() {
    let long = "x".repeat(2 << 20);
    for (head, body, why) in [
        ("HTTP/1.1 200 OK", "d14:failure reason9:not knowne", "the tracker refused: not known"),
        ("HTTP/1.1 403 Forbidden", "d14:failure reason9:not knowne", "the tracker refused: not known"),
        ("HTTP/1.1 503 Busy", "<html>", "503"),
        ("HTTP/1.1 200 OK", "<html>", "not valid bencoding"),
        ("HTTP/1.1 200 OK", long.as_str(), "longer than a megabyte"),
        ("HTTP/1.1 302 Found\r\nLocation: /again", "", "redirect"),
        ("this is not HTTP", "", ""),
    ] {
        let answer = format!("{head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let server = FakeServer::start(move |mut socket| {
            read_head(&socket);
            let _ = socket.write_all(answer.as_bytes());
        });
        let url = format!("http://{}/announce?passkey=1", server.addr);
        let (announcer, swarm) = announcer(torrent_at("x", 4, Some(&url)), 7001, 5);
        until("the failure is told", || !swarm.outcomes.lock().is_empty());
        let outcome = swarm.outcomes.lock()[0].clone().unwrap_err();
        assert!(outcome.contains(why), "{outcome} for {head}");
        assert!(outcome.starts_with(&format!("cannot announce to {url}: ")), "{outcome}");
        announcer.stop();
        assert!(swarm.peers.lock().is_empty());
    }
}
