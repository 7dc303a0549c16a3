//! A tracker on loopback, and clients that speak to it in plain bytes.

#![allow(dead_code)] // each test file uses its own part of it

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shoal::bencode;
use shoal::torrent::Torrent;
use shoal::tracker::{Config, Limits, RegistryLimits, Tracker};

/// Longer than anything here takes, however slow the machine.
pub const GENEROUS: Duration = Duration::from_secs(60);

pub fn start(limits: Limits) -> Tracker {
    Tracker::start(Config { listen: "127.0.0.1:0".parse().unwrap(), limits, ..Config::default() }).unwrap()
}

/// Limits under which whoever is silent is noticed soon, though not because a machine is slow.
pub fn impatient() -> Limits {
    Limits {
        greeting: Duration::from_secs(2),
        silence: Duration::from_secs(3),
        line: Duration::from_secs(2),
        registry: RegistryLimits { interval: Duration::from_millis(200), ..RegistryLimits::default() },
        ..Limits::default()
    }
}

/// Waits for something that happens on other threads.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + GENEROUS;
    while !condition() {
        assert!(Instant::now() < limit, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A v1 torrent of one file with `n_parts` pieces of 16 KiB, hashes made up.
pub fn torrent(name: &str, n_parts: u32) -> Torrent {
    torrent_at(name, n_parts, None)
}

pub fn torrent_at(name: &str, n_parts: u32, tracker: Option<&str>) -> Torrent {
    let info = bencode::dict(|d| {
        d.int("length", i64::from(n_parts) * 16384);
        d.bytes("name", name);
        d.int("piece length", 16384);
        d.bytes("pieces", vec![7; n_parts as usize * 20]);
    });
    let bytes = bencode::dict(|d| {
        if let Some(url) = tracker {
            d.bytes("announce", url);
        }
        d.raw("info", &info);
    });
    Torrent::parse(&bytes).unwrap()
}

pub fn base64(bytes: &[u8]) -> String {
    data_encoding::BASE64.encode(bytes)
}

/// A session in plain lines.
pub struct Session {
    pub socket: TcpStream,
    reader: BufReader<TcpStream>,
    next_id: u64,
    /// Events that came while an answer was awaited.
    events: Vec<Value>,
}

impl Session {
    pub fn connect(addr: SocketAddr) -> Session {
        let socket = TcpStream::connect(addr).unwrap();
        socket.set_read_timeout(Some(GENEROUS)).unwrap();
        let reader = BufReader::new(socket.try_clone().unwrap());
        Session { socket, reader, next_id: 1, events: Vec::new() }
    }

    /// Connects and says hello as the peer `id`.
    pub fn hello(addr: SocketAddr, id: u8) -> Session {
        let mut session = Session::connect(addr);
        let peer_id = format!("{id:02x}").repeat(20);
        session.ask(json!({"request": "hello", "peer_id": peer_id, "port": 6881, "client": "test"}));
        session
    }

    pub fn send(&mut self, line: &str) {
        self.socket.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The next line; `None` at the end of the connection.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no line came: {error}"),
        }
    }

    fn value(&mut self) -> Value {
        let mut line = String::new();
        while line.is_empty() {
            // An empty line is a keep-alive.
            line = self.line().expect("the tracker closed the connection");
        }
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Sends an empty line now and then, until what this returns is dropped.
    pub fn keep_alive(&self) -> KeepAlive {
        let mut socket = self.socket.try_clone().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) && socket.write_all(b"\n").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        KeepAlive { stop, thread: Some(thread) }
    }

    /// Sends a request and gives its answer, whatever it is.
    pub fn try_ask(&mut self, mut request: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        request["id"] = json!(id);
        self.send(&request.to_string());
        self.answer(json!(id))
    }

    /// Waits for the answer to a call.
    pub fn answer(&mut self, id: Value) -> Value {
        loop {
            let value = self.value();
            if value.get("event").is_some() {
                self.events.push(value);
            } else {
                assert_eq!(value["id"], id, "{value}");
                return value;
            }
        }
    }

    /// Sends a request that is granted.
    pub fn ask(&mut self, request: Value) -> Value {
        let answer = self.try_ask(request);
        assert_eq!(answer["status"], "success", "{answer}");
        answer
    }

    /// Sends a request that is refused, and gives the message.
    pub fn refused(&mut self, request: Value) -> String {
        let answer = self.try_ask(request);
        assert_eq!(answer["status"], "error", "{answer}");
        answer["message"].as_str().unwrap().to_owned()
    }

    pub fn publish(&mut self, torrent: &Torrent, have: Value) -> String {
        let answer =
            self.ask(json!({"request": "publish", "torrent": base64(torrent.bytes()), "have": have}));
        answer["key"].as_str().unwrap().to_owned()
    }

    pub fn event(&mut self) -> Value {
        if !self.events.is_empty() {
            return self.events.remove(0);
        }
        let value = self.value();
        assert!(value.get("event").is_some(), "{value}");
        value
    }

    /// The next event with that name; others are passed over.
    pub fn event_named(&mut self, name: &str) -> Value {
        loop {
            let event = self.event();
            if event["event"] == name {
                return event;
            }
        }
    }
}

pub struct KeepAlive {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Sends one HTTP request on a connection of its own and gives status and body.
pub fn http(addr: SocketAddr, request: &str) -> (u16, Vec<u8>) {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(GENEROUS)).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    split(&answer)
}

pub fn get(addr: SocketAddr, target: &str) -> (u16, Vec<u8>) {
    http(addr, &format!("GET {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"))
}

pub fn split(answer: &[u8]) -> (u16, Vec<u8>) {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer[end + 4..].to_vec())
}

pub fn announce_query(hash: &[u8; 20], port: u16, more: &str) -> String {
    let hash: String = hash.iter().map(|byte| format!("%{byte:02x}")).collect();
    format!(
        "/announce?info_hash={hash}&peer_id=-XX0001-000000{port:06}&port={port}&uploaded=0&downloaded=0{more}"
    )
}
