//! Puts load on a tracker and prints what it answered, one `NAME NUMBER` a line.
//! `benches/tracker.py` starts it.
//!
//!     tracker_load IP:PORT torrents COUNT   sessions with COUNT torrents in the catalogue, requests/s
//!     tracker_load IP:PORT swarm COUNT      one swarm of COUNT peers: UDP announces, `peers`, `locate`/s
//!
//! One thread; [`WINDOW`] requests are under way at a time. Everything goes to loopback, where a process may
//! call from any address of 127.0.0.0/8, so a swarm can be larger than one address may make it.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use shoal::bencode;
use shoal::protocol::announce::AnnounceEvent;
use shoal::protocol::announce_udp::{Family, Options, Reply, Request as Packet, UdpAnnounce};
use shoal::protocol::catalogue::{Answer, Call, Held, Hello, PeerId, Publish, Request, Search};
use shoal::torrent::{InfoHash, Torrent};

/// Requests that are sent before the answer to the first is awaited.
const WINDOW: usize = 32;

/// How long each kind of request is measured.
const SPAN: Duration = Duration::from_millis(1500);

const PIECES: u32 = 1000;

/// Peers at one address, fewer than the tracker allows.
const PEERS_AT_ADDRESS: usize = 500;

/// How long to wait for an answer before something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

type Done<T> = Result<T, Box<dyn Error>>;

fn main() -> Done<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [tracker, "torrents", count] => torrents(tracker.parse()?, count.parse()?),
        [tracker, "swarm", count] => swarm(tracker.parse()?, count.parse()?),
        _ => Err("usage: tracker_load IP:PORT torrents|swarm COUNT".into()),
    }
}

/// Calls `ask` with 0, 1, 2, … for [`SPAN`]; it does so many requests each time. Prints how many
/// that are a second.
fn measure(name: &str, each: usize, mut ask: impl FnMut(usize) -> Done<()>) -> Done<()> {
    let start = Instant::now();
    let mut turns = 0;
    while start.elapsed() < SPAN {
        ask(turns)?;
        turns += 1;
    }
    println!("{name} {:.0}", (turns * each) as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

/// A session of a peer.
struct Session {
    socket: TcpStream,
    reader: BufReader<TcpStream>,
    next: u64,
    out: String,
}

impl Session {
    fn connect(tracker: SocketAddr, number: u8) -> Done<Session> {
        let socket = TcpStream::connect(tracker)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let reader = BufReader::new(socket.try_clone()?);
        let mut session = Session { socket, reader, next: 1, out: String::new() };
        let hello = Hello {
            peer_id: PeerId([number; 20]),
            port: 6881,
            addresses: Vec::new(),
            client: "load".into(),
            mirror: false,
            secret: None,
        };
        session.ask_all([Request::Hello(hello)])?;
        Ok(session)
    }

    /// Sends requests all at once and waits until each is granted.
    fn ask_all(&mut self, requests: impl IntoIterator<Item = Request>) -> Done<()> {
        self.out.clear();
        let first = self.next;
        for request in requests {
            self.out.push_str(&Call { id: self.next, request }.line());
            self.next += 1;
        }
        self.socket.write_all(self.out.as_bytes())?;
        let mut awaited = self.next - first;
        let mut line = String::new();
        while awaited > 0 {
            line.clear();
            if self.reader.read_line(&mut line)? == 0 {
                return Err("the tracker closed the session".into());
            }
            // To parse all of it would take this end longer than the tracker.
            if line.contains(r#""status":"success""#) {
                awaited -= 1;
            } else if line.contains(r#""status":"error""#) {
                return Err(
                    format!("the tracker refused: {:?}", Answer::parse(line.trim().as_bytes())).into()
                );
            }
        }
        Ok(())
    }
}

fn torrent(number: usize) -> Done<Torrent> {
    let info = bencode::dict(|d| {
        d.int("length", i64::from(PIECES) * 16384);
        d.bytes("name", format!("film{number} part.mkv"));
        d.int("piece length", 16384);
        d.bytes("pieces", vec![7; PIECES as usize * 20]);
    });
    Ok(Torrent::parse(&bencode::dict(|d| d.raw("info", &info)))?)
}

fn publish(torrent: &Torrent, have: Held) -> Request {
    Request::Publish(Publish::new(torrent.bytes(), have))
}

fn torrents(tracker: SocketAddr, count: usize) -> Done<()> {
    let torrents = (0..count).map(torrent).collect::<Done<Vec<Torrent>>>()?;
    let (mut seed, mut leech) = (Session::connect(tracker, 1)?, Session::connect(tracker, 2)?);
    let start = Instant::now();
    for some in torrents.chunks(WINDOW) {
        seed.ask_all(some.iter().map(|torrent| publish(torrent, Held::All)))?;
    }
    if count > 1 {
        println!("publish-new {:.0}", count as f64 / start.elapsed().as_secs_f64());
    }
    let nth = |turn: usize, k: usize| &torrents[(turn * WINDOW + k) * 7919 % count];
    measure("publish", WINDOW, |turn| {
        leech.ask_all((0..WINDOW).map(|k| publish(nth(turn, k), Held::Ranges(Vec::new()))))
    })?;
    let keys: Vec<String> = torrents.iter().map(Torrent::key).collect();
    leech.ask_all(keys.first().map(|_| publish(&torrents[0], Held::Ranges(Vec::new()))))?;
    measure("have", WINDOW, |turn| {
        leech.ask_all((0..WINDOW).map(|k| {
            // The last piece never comes, so that it stays a leecher.
            let piece = ((turn * WINDOW + k) as u32 * 17) % (PIECES - 1);
            Request::Have { key: keys[0].clone(), ranges: vec![(piece, piece + 1)] }
        }))
    })?;
    measure("search", WINDOW, |turn| {
        seed.ask_all((0..WINDOW).map(|k| {
            let words = format!("PART film{} ", (turn * WINDOW + k) * 7919 % count);
            Request::Search(Search { words, ..Search::default() })
        }))
    })?;
    measure("search-by-key", WINDOW, |turn| {
        let keys = (0..WINDOW).map(|k| keys[(turn * WINDOW + k) * 7919 % count].clone());
        seed.ask_all(keys.map(|key| Request::Peers { key: Some(key), want: Some(1) }))
    })
}

/// A client of the UDP tracker at one address, as any number of peers.
struct Announcer {
    socket: UdpSocket,
    info_hash: InfoHash,
    connection: u64,
    packet: Vec<u8>,
}

impl Announcer {
    fn connect(tracker: SocketAddr, info_hash: InfoHash, address: usize) -> Done<Announcer> {
        let [_, _, high, low] = (address as u32).to_be_bytes();
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 1 + high, low, 1), 0))?;
        socket.connect(tracker)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut client = Announcer { socket, info_hash, connection: 0, packet: Vec::new() };
        client.send(Packet::Connect)?;
        match client.next()? {
            Reply::Connected(connection) => client.connection = connection,
            other => return Err(format!("{other:?}").into()),
        }
        Ok(client)
    }

    fn send(&mut self, request: Packet) -> Done<()> {
        self.packet.clear();
        request.encode(1, &mut self.packet);
        self.socket.send(&self.packet)?;
        Ok(())
    }

    fn next(&mut self) -> Done<Reply> {
        let mut packet = [0; 2048];
        let len = self.socket.recv(&mut packet)?;
        Ok(Reply::decode(&packet[..len], Family::V4).ok_or("an answer that is none")?.1)
    }

    /// Announces as the peers of these numbers; one in sixteen is a seed. Gives how many peers the
    /// last one was told.
    fn announce(&mut self, peers: impl IntoIterator<Item = usize>) -> Done<usize> {
        let mut awaited = 0;
        for number in peers {
            let mut peer_id = *b"-LD0001-____________";
            peer_id[12..].copy_from_slice(&(number as u64).to_be_bytes());
            let announce = UdpAnnounce {
                info_hash: self.info_hash,
                peer_id: PeerId(peer_id),
                downloaded: 0,
                left: if number.is_multiple_of(16) { 0 } else { 5 << 20 },
                uploaded: 0,
                event: AnnounceEvent::None,
                key: number as u32 + 1,
                want: None,
                port: 1024 + (number % PEERS_AT_ADDRESS) as u16,
            };
            self.send(Packet::Announce {
                connection: self.connection,
                announce,
                options: Options::default(),
            })?;
            awaited += 1;
        }
        let mut told = 0;
        for _ in 0..awaited {
            match self.next()? {
                Reply::Announced(reply) => told = reply.peers.len(),
                other => return Err(format!("{other:?}").into()),
            }
        }
        Ok(told)
    }
}

fn swarm(tracker: SocketAddr, count: usize) -> Done<()> {
    let torrent = torrent(0)?;
    let (mut seed, mut leech) = (Session::connect(tracker, 1)?, Session::connect(tracker, 2)?);
    let parts = Held::Ranges((0..PIECES / 2).map(|n| (n * 2, n * 2 + 1)).collect());
    seed.ask_all([publish(&torrent, parts)])?;
    leech.ask_all([publish(&torrent, Held::Ranges(Vec::new()))])?;
    let addresses = count.div_ceil(PEERS_AT_ADDRESS);
    let mut clients = (0..addresses)
        .map(|address| Announcer::connect(tracker, torrent.info_hash(), address))
        .collect::<Done<Vec<_>>>()?;
    let numbers = |address: usize| address * PEERS_AT_ADDRESS..((address + 1) * PEERS_AT_ADDRESS).min(count);
    let start = Instant::now();
    for (address, client) in clients.iter_mut().enumerate() {
        let numbers: Vec<usize> = numbers(address).collect();
        for some in numbers.chunks(WINDOW) {
            client.announce(some.iter().copied())?;
        }
    }
    println!("join {:.0}", count as f64 / start.elapsed().as_secs_f64());
    measure("announce", WINDOW, |turn| {
        let address = turn * 31 % addresses;
        let first = address * PEERS_AT_ADDRESS + turn * 7 % (PEERS_AT_ADDRESS / 2);
        match clients[address].announce(first.min(count - 1)..(first + WINDOW).min(count))? {
            0 => Err("nobody was told".into()),
            _ => Ok(()),
        }
    })?;
    let key = torrent.key();
    measure("peers", WINDOW, |_| {
        leech.ask_all((0..WINDOW).map(|_| Request::Peers { key: Some(key.clone()), want: None }))
    })?;
    measure("locate", WINDOW, |turn| {
        leech.ask_all((0..WINDOW).map(|k| {
            let first = ((turn * WINDOW + k) as u32 * 17) % PIECES;
            Request::Locate { key: key.clone(), first, end: first + 1 }
        }))
    })?;
    let connection = clients[0].connection;
    clients[0].send(Packet::Scrape { connection, hashes: &[torrent.info_hash().0] })?;
    if let Reply::Scraped(counts) = clients[0].next()? {
        println!("members {}", counts.iter().map(|swarm| swarm.seeds + swarm.peers).sum::<u32>());
    }
    Ok(())
}
