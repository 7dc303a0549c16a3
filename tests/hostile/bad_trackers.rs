//! Our clients at a tracker that lies, drips, talks without end, or is none; and the downloads, which go on
//! by other means.

use crate::common::stage::*;
use crate::common::*;
use parking_lot::Mutex;
use shoal::peer::app::standalone::{Order, download};
use shoal::peer::catalogue::{Host, Publication, SessionClient};
use shoal::peer::swarm::options::DownloadOptions;
use shoal::protocol::catalogue::{Event, Hello, PeerId};
use shoal::torrent::create::{Options, create};
use shoal::torrent::{Format, InfoHash, Torrent};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A server that does as a test says with each connection, on a thread of its own.
struct Bad {
    addr: SocketAddr,
    stopping: Arc<AtomicBool>,
    seen: Arc<Seen>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicU64,
    /// Bytes that the client took, or its system did for it, over the one connection on which they were most.
    taken: AtomicU64,
}

impl Seen {
    fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    /// Sends `bytes` again and again until the client has enough of it.
    fn pour(&self, mut socket: &TcpStream, bytes: &[u8], most: u64, until: &AtomicBool) {
        let mut sent = 0;
        while sent < most && !until.load(Ordering::SeqCst) {
            match socket.write(bytes) {
                Ok(more) => sent += more as u64,
                Err(_) => break,
            }
            self.taken.fetch_max(sent, Ordering::SeqCst);
        }
    }
}

impl Bad {
    fn start(serve: impl Fn(&TcpStream, &Seen, &AtomicBool) + Send + Sync + 'static) -> Bad {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (stopping, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
        let (until, counts) = (Arc::clone(&stopping), Arc::clone(&seen));
        let thread = thread::spawn(move || {
            thread::scope(|scope| {
                for socket in listener.incoming().map(Result::unwrap) {
                    if until.load(Ordering::SeqCst) {
                        return;
                    }
                    counts.connections.fetch_add(1, Ordering::SeqCst);
                    let (serve, counts, until) = (&serve, &counts, &until);
                    scope.spawn(move || {
                        socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
                        socket.set_read_timeout(Some(LIMIT)).unwrap();
                        serve(&socket, counts, until);
                    });
                }
            });
        });
        Bad { addr, stopping, seen, thread: Some(thread) }
    }

    /// The same for HTTP: once a request has come.
    fn http(answer: impl Fn(&TcpStream, &Seen, &AtomicBool) + Send + Sync + 'static) -> Bad {
        Bad::start(move |socket, seen, until| {
            let head =
                BufReader::new(socket).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            if head.count() > 0 {
                answer(socket, seen, until);
            }
        })
    }

    fn body(body: Vec<u8>) -> Bad {
        Bad::http(move |mut socket, _, _| {
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = socket.write_all(&[head.as_bytes(), &body].concat());
        })
    }

    fn url(&self) -> String {
        format!("http://{}/announce", self.addr)
    }
}

impl Drop for Bad {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Until the client goes, or the test ends.
fn wait_for_the_end(mut socket: &TcpStream) {
    let _ = socket.read(&mut [0; 64]);
}

/// Downloads by a torrent that names these trackers, from a seed that the user names or the
/// last tracker does.
fn downloads(trackers: &[&Bad], given: bool) {
    let stage = Stage::new(500_000, PIECE_LEN, Format::V1);
    let tiers: Vec<Vec<String>> = trackers.iter().map(|tracker| vec![tracker.url()]).collect();
    let options =
        Options { format: Format::V1, piece_length: Some(PIECE_LEN), trackers: tiers, ..Options::default() };
    let torrent = Arc::new(Torrent::parse(&create(&stage.path, &options, &|_| ()).unwrap()).unwrap());
    assert_eq!(torrent.info_hash(), stage.torrent.info_hash());
    let (seed, _) = stage.seed(&config(None));
    let peers = if given { vec![seed.addr()] } else { Vec::new() };
    let dir = stage.to.path().to_owned();
    let order = Order {
        torrents: vec![torrent],
        options: DownloadOptions::default(),
        dir,
        peers,
        config: config(None),
        stay: false,
    };
    download(&order, &crossbeam_channel::never(), |_| ()).unwrap();
    assert_same(&stage.path, &stage.to.path().join("file"));
}

fn compact(peers: &[SocketAddr]) -> Vec<u8> {
    let pack = |peer: &SocketAddr| match peer {
        SocketAddr::V4(v4) => [&v4.ip().octets()[..], &v4.port().to_be_bytes()].concat(),
        SocketAddr::V6(_) => Vec::new(),
    };
    peers.iter().flat_map(pack).collect()
}

fn reply(interval: &str, peers: &[u8]) -> Vec<u8> {
    [format!("d8:intervali{interval}e5:peers{}:", peers.len()).as_bytes(), peers, b"e"].concat()
}

/// The beginning of a gzip stream that becomes so many zeros, 158 times as long: one zero, and then again and
/// again "the last byte, 258 times more" (RFC 1951, fixed codes).
fn compressed_zeros(len: usize) -> Vec<u8> {
    let mut bits: Vec<bool> = vec![true, true, false]; // the last block, with fixed codes
    let code = |bits: &mut Vec<bool>, code: u16, len: u16| {
        bits.extend((0..len).rev().map(|nth| code >> nth & 1 == 1));
    };
    code(&mut bits, 0b0011_0000, 8);
    for _ in 0..len / 258 {
        code(&mut bits, 0b1100_0101, 8);
        code(&mut bits, 0, 5);
    }
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let byte =
        |bits: &[bool]| bits.iter().enumerate().fold(0, |byte, (nth, bit)| byte | u8::from(*bit) << nth);
    gzip.extend(bits.chunks(8).map(byte));
    gzip
}

/// Ten thousand that do not exist, port 0, nobody's addresses, and intervals of all kinds.
#[test]
fn a_tracker_that_makes_up_peers_and_intervals_is_not_asked_more_often_and_holds_nothing_up() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut made_up: Vec<SocketAddr> =
        (0..10_000u32).map(|n| ([127, 1, (n >> 8) as u8, n as u8], closed).into()).collect();
    made_up.extend::<[SocketAddr; 3]>([
        ([127, 0, 0, 1], 0).into(),
        ([0, 0, 0, 0], 80).into(),
        ([255; 4], 80).into(),
    ]);
    for interval in ["-5", "0", "9223372036854775807"] {
        let tracker = Bad::body(reply(interval, &compact(&made_up)));
        downloads(&[&tracker], true);
        let asked = tracker.seen.connections();
        assert!((1..=4).contains(&asked), "asked {asked} times for an interval of {interval}");
    }
}

/// It names the peer itself, over and over.
#[test]
fn a_tracker_that_names_ourselves_holds_nothing_up() {
    let tracker = Bad::start(|mut socket, _, _| {
        let mut head = String::new();
        BufReader::new(socket).read_line(&mut head).unwrap();
        let port = head.split_once("&port=").and_then(|(_, rest)| rest.split_once('&')).map(|(port, _)| port);
        // No port comes at the end of the test.
        let Some(port) = port.and_then(|port| port.parse::<u16>().ok()) else { return };
        let body = reply("1800", &compact(&[([127, 0, 0, 1], port).into()]));
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = socket.write_all(&[head.as_bytes(), &body].concat());
    });
    downloads(&[&tracker], true);
    assert!((1..=4).contains(&tracker.seen.connections()));
}

#[test]
fn whatever_else_a_tracker_does_the_download_goes_on() {
    let bomb = compressed_zeros(100_000_000);
    let bad: Vec<(&str, Bad)> = vec![
        ("it never answers", Bad::http(|socket, _, _| wait_for_the_end(socket))),
        ("it closes at once", Bad::start(|_, _, _| ())),
        (
            "it redirects in a circle",
            Bad::http(|mut socket, _, _| {
                let _ = socket.write_all(
                b"HTTP/1.1 302 Found\r\nLocation: /announce?again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
            }),
        ),
        (
            "it drips",
            Bad::http(|mut socket, _, until| {
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
                while !until.load(Ordering::SeqCst) && socket.write_all(b"d").is_ok() {
                    thread::sleep(Duration::from_millis(50));
                }
            }),
        ),
        (
            "it drips its head",
            Bad::http(|mut socket, _, until| {
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nA: ");
                while !until.load(Ordering::SeqCst) && socket.write_all(b"x").is_ok() {
                    thread::sleep(Duration::from_millis(50));
                }
            }),
        ),
        (
            "it sends 100 MB",
            Bad::http(|mut socket, seen, until| {
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
                seen.pour(socket, &[b'5'; 65536], 100_000_000, until);
            }),
        ),
        (
            "it sends a head of 100 MB",
            Bad::http(|mut socket, seen, until| {
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nA: ");
                seen.pour(socket, &[b'5'; 65536], 100_000_000, until);
            }),
        ),
        ("it sends garbage", Bad::body(content(1, 50_000))),
        ("it sends lists in lists", Bad::body(vec![b'l'; 900_000])),
        (
            "it sends a compressed bomb",
            Bad::http(move |mut socket, _, _| {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    bomb.len()
                );
                let _ = socket.write_all(&[head.as_bytes(), &bomb].concat());
            }),
        ),
    ];
    for (what, tracker) in &bad {
        let begun = Instant::now();
        downloads(&[tracker], true);
        let (asked, taken) = (tracker.seen.connections(), tracker.seen.taken.load(Ordering::SeqCst));
        // At the start, at the end, and 2.5 s after a failure at the earliest; with five redirects each.
        let announces = 2 + begun.elapsed().as_millis() as u64 / 2500;
        assert!(asked <= 6 * announces, "{what}: asked {asked} times");
        // A megabyte is read; the rest is what the system's buffers hold.
        assert!(taken < 20_000_000, "{what}: {taken} bytes were taken");
        log::info!("{what}: {:?}", begun.elapsed());
    }
}

/// Nobody but the second tracker knows where the seed is.
#[test]
fn behind_a_tracker_that_lies_another_is_asked() {
    let stage = Stage::new(500_000, PIECE_LEN, Format::V1);
    let (seed, _) = stage.seed(&config(None));
    let liar = Bad::body(b"d14:failure reason7:go awaye".to_vec());
    let honest = Bad::body(reply("1800", &compact(&[seed.addr()])));
    downloads(&[&liar, &honest], false);
    assert!(liar.seen.connections() > 0);
}

// ---- the session ------------------------------------------------------------------------------------------

/// A peer that has nothing.
#[derive(Default)]
struct Nothing {
    whys: Mutex<Vec<String>>,
    events: AtomicU64,
}

impl Host for Nothing {
    fn hello(&self) -> Hello {
        Hello {
            peer_id: PeerId([1; 20]),
            port: 1,
            addresses: vec![],
            client: "test".into(),
            mirror: false,
            secret: None,
        }
    }

    fn published(&self) -> Vec<InfoHash> {
        Vec::new()
    }

    fn publication(&self, _: InfoHash) -> Option<Publication> {
        None
    }

    fn on_event(&self, _: Event) {
        self.events.fetch_add(1, Ordering::SeqCst);
    }

    fn on_connection(&self, up: bool, why: &str) {
        if !up {
            self.whys.lock().push(why.to_owned());
        }
    }
}

const GRANTED: &[u8] =
    b"{\"id\":1,\"status\":\"success\",\"to\":\"hello\",\"address\":\"127.0.0.1\",\"keep_alive_ms\":60000}\n";

/// What the client says of a tracker that greets it and then pours this out without end.
fn poured(greeting: &'static [u8], bytes: Vec<u8>) -> (String, u64) {
    let host = Arc::new(Nothing::default());
    let tracker = Bad::start(move |mut socket, seen, until| {
        let _ = socket.write_all(greeting);
        seen.pour(socket, &bytes, 1 << 40, until);
    });
    let client = SessionClient::start(tracker.addr, host.clone()).unwrap();
    wait_until("the client has enough of it", || !host.whys.lock().is_empty());
    client.stop();
    let why = host.whys.lock()[0].clone();
    (why, tracker.seen.taken.load(Ordering::SeqCst))
}

#[test]
fn a_line_without_end_is_not_kept() {
    let (why, taken) = poured(b"", vec![b'x'; 65536]);
    assert_eq!(why, "the tracker sent a line without end");
    assert!(taken < 60_000_000, "{taken} bytes");
}

#[test]
fn lines_of_nonsense_end_the_session() {
    for greeting in [GRANTED, b""] {
        let (why, _) = poured(greeting, b"{\"id\":true}\nnonsense\n[]\n".repeat(1000));
        assert_eq!(why, "the tracker talks nonsense");
    }
}

/// It read as long as something was there, and so never came to its mail, nor to an end.
#[test]
fn a_tracker_that_never_stops_talking_does_not_keep_the_client_from_stopping() {
    let host = Arc::new(Nothing::default());
    let removed = br#"{"event":"removed","key":"00","name":"x","reason":"y"}"#;
    let lines = [&removed[..], b"\n"].concat().repeat(1000);
    let tracker = Bad::start(move |mut socket, seen, until| {
        let _ = socket.write_all(GRANTED);
        seen.pour(socket, &lines, 1 << 40, until);
    });
    let client = SessionClient::start(tracker.addr, host.clone()).unwrap();
    client.wait_connected(LIMIT).unwrap();
    wait_until("it talks", || host.events.load(Ordering::SeqCst) > 10_000);
    client.stop();
    assert!(host.whys.lock().is_empty(), "it was the client that ended it");
}
