//! The UDP tracker over real sockets, packet by packet; and the real programs that meet there.

mod cli_support;
mod common;
mod tracker_support;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use cli_support::{Process, Swarm, program, run};
use common::{assert_same, content};
use shoal::protocol::announce::{AnnounceEvent, AnnounceReply};
use shoal::protocol::announce_udp::{Counts, Family, Options, Reply, Request, UdpAnnounce};
use shoal::protocol::catalogue::PeerId;
use shoal::torrent::InfoHash;
use shoal::tracker::{Config, Limits, RegistryLimits, Tracker};
use tracker_support::{GENEROUS, get, start, until};

const HASH: InfoHash = InfoHash([7; 20]);

/// A client in plain packets.
struct Client {
    socket: UdpSocket,
    family: Family,
}

impl Client {
    fn new(tracker: SocketAddr) -> Client {
        let own = if tracker.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(own).unwrap();
        socket.connect(tracker).unwrap();
        socket.set_read_timeout(Some(GENEROUS)).unwrap();
        Client { socket, family: Family::of(tracker.ip()) }
    }

    fn send(&self, transaction: u32, request: Request) {
        let mut packet = Vec::new();
        request.encode(transaction, &mut packet);
        self.socket.send(&packet).unwrap();
    }

    fn next(&self) -> (u32, Reply) {
        let mut packet = [0; 4096];
        let len = self.socket.recv(&mut packet).unwrap();
        Reply::decode(&packet[..len], self.family).unwrap()
    }

    fn ask(&self, request: Request) -> Reply {
        let transaction = fastrand::u32(..);
        self.send(transaction, request);
        let (answered, reply) = self.next();
        assert_eq!(answered, transaction);
        reply
    }

    fn connect(&self) -> u64 {
        match self.ask(Request::Connect) {
            Reply::Connected(connection) => connection,
            other => panic!("{other:?}"),
        }
    }

    fn announce(&self, announce: UdpAnnounce) -> AnnounceReply {
        let (connection, options) = (self.connect(), Options(b"\x02\x09/announce"));
        match self.ask(Request::Announce { connection, announce, options }) {
            Reply::Announced(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn scrape(&self, hashes: &[[u8; 20]]) -> Vec<Counts> {
        match self.ask(Request::Scrape { connection: self.connect(), hashes }) {
            Reply::Scraped(counts) => counts,
            other => panic!("{other:?}"),
        }
    }
}

fn peer(number: u8, left: u64, event: AnnounceEvent) -> UdpAnnounce {
    UdpAnnounce {
        info_hash: HASH,
        peer_id: PeerId([number; 20]),
        downloaded: 0,
        left,
        uploaded: 0,
        event,
        key: number.into(),
        want: None,
        port: 7000 + u16::from(number),
    }
}

fn addresses(reply: &AnnounceReply) -> Vec<String> {
    reply.peers.iter().map(|peer| peer.address.to_string()).collect()
}

#[test]
fn peers_find_each_other_are_counted_and_say_goodbye() {
    let tracker = start(Limits::default());
    let client = Client::new(tracker.addr());
    let first = client.announce(peer(1, 0, AnnounceEvent::Started));
    assert_eq!((first.complete, first.incomplete, first.interval), (1, 0, 120));
    assert!(first.peers.is_empty());
    let second = client.announce(peer(2, 10, AnnounceEvent::Started));
    assert_eq!((second.complete, second.incomplete), (1, 1));
    assert_eq!(addresses(&second), ["127.0.0.1:7001"]);
    client.announce(peer(2, 0, AnnounceEvent::Completed));
    let counts = Counts { seeds: 2, downloaded: 1, peers: 0 };
    assert_eq!(client.scrape(&[[9; 20], HASH.0]), [Counts::default(), counts]);
    client.announce(peer(1, 0, AnnounceEvent::Stopped));
    client.announce(peer(2, 0, AnnounceEvent::Stopped));
    assert_eq!(client.scrape(&[HASH.0]), [Counts::default()]);
}

#[test]
fn http_and_udp_are_one_swarm_and_one_client_is_one_member() {
    let tracker = start(Limits::default());
    let client = Client::new(tracker.addr());
    client.announce(peer(1, 0, AnnounceEvent::Started));
    let announce = |number: u8, key: &str| {
        let (hash, id) = ("%07".repeat(20), format!("%{number:02x}").repeat(20));
        let port = 7000 + u16::from(number);
        let query = format!("info_hash={hash}&peer_id={id}&port={port}&left=5&key={key}");
        let (_, body) = get(tracker.addr(), &format!("/announce?{query}"));
        AnnounceReply::parse(&body).unwrap()
    };
    assert_eq!(addresses(&announce(2, "x")), ["127.0.0.1:7001"]);
    assert_eq!(client.announce(peer(3, 5, AnnounceEvent::Started)).peers.len(), 2);
    let again = announce(1, "00000001");
    assert_eq!((again.complete, again.incomplete), (0, 3), "the same client, by the other way");
}

/// The bytes that come back for a packet, among those of a connect that follows it: packets on loopback
/// keep their order.
fn answers(client: &Client, packet: &[u8]) -> Vec<Reply> {
    client.socket.send(packet).unwrap();
    client.send(0xfeed, Request::Connect);
    let mut answers = Vec::new();
    loop {
        match client.next() {
            (0xfeed, Reply::Connected(_)) => return answers,
            (_, other) => answers.push(other),
        }
    }
}

#[test]
fn without_a_connection_id_of_its_own_nobody_is_answered() {
    let tracker = start(Limits::default());
    let client = Client::new(tracker.addr());
    let good = client.connect();
    let encoded = |request: Request| {
        let mut packet = Vec::new();
        request.encode(1, &mut packet);
        packet
    };
    for connection in [0, good ^ 1, good.swap_bytes()] {
        let (announce, options) = (peer(1, 0, AnnounceEvent::Started), Options::default());
        let announce = encoded(Request::Announce { connection, announce, options });
        assert_eq!(answers(&client, &announce), []);
        assert_eq!(answers(&client, &encoded(Request::Scrape { connection, hashes: &[HASH.0] })), []);
    }
    let mut short = encoded(Request::Connect);
    short.truncate(15);
    for packet in [&b""[..], b"x", b"GET / HTTP/1.1\r\n\r\n", &short, &[0xff; 1400]] {
        assert_eq!(answers(&client, packet), []);
    }
    let (_, metrics) = get(tracker.addr(), "/metrics");
    let metrics = String::from_utf8(metrics).unwrap();
    assert!(metrics.contains("shoal_tracker_udp_ignored_total 11\n"), "{metrics}");
    assert!(metrics.contains("shoal_tracker_announcers 0\n"), "{metrics}");
}

#[test]
fn over_ipv6_peers_are_of_ipv6_and_over_ipv4_of_ipv4() {
    let listen = "[::]:0".parse().unwrap();
    let Ok(tracker) = Tracker::start(Config { listen, ..Config::default() }) else {
        return eprintln!("skipped: this machine has no IPv6");
    };
    let v4 = Client::new(SocketAddr::new("127.0.0.1".parse().unwrap(), tracker.addr().port()));
    let v6 = Client::new(SocketAddr::new("::1".parse().unwrap(), tracker.addr().port()));
    v4.announce(peer(1, 5, AnnounceEvent::Started));
    v6.announce(peer(2, 5, AnnounceEvent::Started));
    assert_eq!(addresses(&v4.announce(peer(3, 5, AnnounceEvent::Started))), ["127.0.0.1:7001"]);
    assert_eq!(addresses(&v6.announce(peer(4, 5, AnnounceEvent::Started))), ["[::1]:7002"]);
}

#[test]
fn a_full_tracker_refuses_in_words() {
    let limits =
        Limits { registry: RegistryLimits { torrents: 0, ..RegistryLimits::default() }, ..Limits::default() };
    let tracker = start(limits);
    let client = Client::new(tracker.addr());
    let (connection, announce) = (client.connect(), peer(1, 0, AnnounceEvent::Started));
    let reply = client.ask(Request::Announce { connection, announce, options: Options::default() });
    assert!(matches!(&reply, Reply::Refused(why) if why.contains("as many swarms as it can")), "{reply:?}");
}

#[test]
fn a_flood_of_nonsense_keeps_nobody_from_the_tracker() {
    let tracker = start(Limits::default());
    let flood = Client::new(tracker.addr());
    for number in 0..20_000u32 {
        // A full buffer is the flooder's own trouble.
        let _ = flood.socket.send(&number.to_be_bytes().repeat(30));
    }
    let client = Client::new(tracker.addr());
    client.socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut packet = Vec::new();
    Request::Connect.encode(1, &mut packet);
    let (mut answer, mut len) = ([0; 100], 0);
    until("the tracker answers", || {
        client.socket.send(&packet).unwrap(); // it may be lost in the flood
        len = client.socket.recv(&mut answer).unwrap_or(0);
        len > 0
    });
    let reply = Reply::decode(&answer[..len], client.family);
    assert!(matches!(reply, Some((1, Reply::Connected(_)))), "{reply:?}");
}

/// `torrent seed` and `torrent download` know nothing of each other but a tracker that is
/// reached by UDP alone.
#[test]
fn a_seed_and_a_downloader_meet_at_the_udp_tracker() {
    let swarm = Swarm::new();
    let (alice, bob) = (swarm.home("alice"), swarm.home("bob"));
    std::fs::write(alice.join("film.mkv"), content(1, 300_000)).unwrap();
    let url = format!("udp://{}/announce", swarm.addr);
    run("torrent", &alice, &["create", "film.mkv", "--tracker", &url]).good();
    let torrent = alice.join("film.mkv.torrent");
    let torrent = torrent.to_str().unwrap();
    let mut seed = program("torrent", &alice);
    seed.args(["seed", torrent, ".", "--listen", "127.0.0.1:0"]);
    let _seed = Process::start(seed);
    let hash = shoal::torrent::Torrent::read(torrent.as_ref()).unwrap().info_hash();
    let client = Client::new(swarm.addr);
    until("the seed is known", || matches!(&client.scrape(&[hash.0])[..], [Counts { seeds: 1, .. }]));
    run("torrent", &bob, &["download", torrent, "-d", ".", "--listen", "127.0.0.1:0"]).good();
    assert_same(&alice.join("film.mkv"), &bob.join("film.mkv"));
    assert_eq!(client.scrape(&[hash.0]), [Counts { seeds: 1, downloaded: 1, peers: 0 }], "it said goodbye");
}
