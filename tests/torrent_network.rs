//! `torrent download` and `torrent seed` with the real program: where they listen, what trackers hear of them,
//! and what the user hears of a peer that insists on encryption.

mod cli_support;
mod common;

use cli_support::*;
use common::*;
use rustix::process::Signal;
use shoal::protocol::handshake::{HANDSHAKE_LEN, Hello, PeerId};
use shoal::torrent::Torrent;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A file `from/it` with its torrent, at this tracker if there is one.
fn stage(tracker: Option<&str>) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("from")).unwrap();
    fs::write(place.path().join("from/it"), content(1, 300_000)).unwrap();
    let create = ["create", "from/it", "-o", "it.torrent", "--format", "v1"];
    let tracker = tracker.map(|url| ["--tracker", url]);
    run("torrent", place.path(), &[&create[..], tracker.as_ref().map_or(&[], |args| &args[..])].concat())
        .good();
    place
}

fn start(folder: &Path, args: &[&str]) -> (Process, SocketAddr) {
    let mut command = program("torrent", folder);
    command.args(args).env("SHOAL_LOG", "debug");
    let mut process = Process::start(command);
    let addr = process.listening();
    (process, addr)
}

/// Whether this machine has IPv6.
fn has_ipv6() -> bool {
    let there = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !there {
        eprintln!("this machine has no IPv6: skipped");
    }
    there
}

/// Bug: the programs listened in IPv4 alone.
#[test]
fn peers_connect_in_both_families_unless_one_is_forbidden() {
    if !has_ipv6() {
        return;
    }
    let place = stage(None);
    let torrent = Torrent::read(&place.path().join("it.torrent")).unwrap();
    let hello = Hello {
        info_hash: torrent.info_hash(),
        peer_id: PeerId([1; 20]),
        extended: false,
        fast: false,
        v2: false,
    };
    let answers = |ip: IpAddr, port| {
        let Ok(mut socket) = TcpStream::connect((ip, port)) else { return false };
        socket.write_all(&hello.encode()).unwrap();
        socket.read_exact(&mut [0; HANDSHAKE_LEN]).is_ok()
    };
    for (args, listens, expected) in [
        (&[][..], "[::]:", (true, true)),
        (&["-4"][..], "0.0.0.0:", (true, false)),
        (&["-6"], "[::]:", (false, true)),
    ] {
        let (mut seed, addr) = start(place.path(), &[&["seed", "it.torrent", "from"][..], args].concat());
        assert!(addr.to_string().starts_with(listens), "{addr} with {args:?}");
        let found = (
            answers(Ipv4Addr::LOCALHOST.into(), addr.port()),
            answers(Ipv6Addr::LOCALHOST.into(), addr.port()),
        );
        assert_eq!(found, expected, "{args:?}");
        if expected.0 {
            seed.expect(" 127.0.0.1:"); // and not as an address of IPv6
        }
        seed.kill();
    }
    let wrong = run("torrent", place.path(), &["seed", "it.torrent", "from", "-4", "--listen", "[::1]:0"]);
    assert!(wrong.bad(1).contains("this address family is not to be used"));
}

/// Bug: such a peer was said not to speak BitTorrent, and to the user nothing was said at all.
#[test]
fn a_peer_that_insists_on_encryption_is_named_so() {
    let place = stage(None);
    let listen = ["--listen", "127.0.0.1:0"];
    // It calls, and begins with the 96 bytes of its key and padding.
    let (mut seed, addr) = start(place.path(), &[&["seed", "it.torrent", "from"][..], &listen].concat());
    let mut caller = TcpStream::connect(addr).unwrap();
    let key: Vec<u8> = content(7, 96 + 40);
    caller.write_all(&key[..50]).unwrap(); // it may come in parts
    caller.write_all(&key[50..]).unwrap();
    seed.expect("by its first bytes it asks for encryption (MSE), which we do not speak");
    assert_eq!(caller.read(&mut [0; 100]).unwrap_or(0), 0, "it is shown out");
    // It is called, and hangs up when it reads a plain handshake.
    let strict = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = strict.local_addr().unwrap().to_string();
    let mut command = program("torrent", place.path());
    command.args(["download", "it.torrent", "-d", "to", "--peer", &peer]).args(listen);
    let mut download = Process::start(command);
    let (mut socket, _) = strict.accept().unwrap();
    socket.read_exact(&mut [0; HANDSHAKE_LEN]).unwrap();
    drop(socket);
    let line = download.expect("it insists on encryption (MSE)");
    assert!(line.contains(&peer), "{line}");
    download.kill();
}

/// Who announced what: port and event.
type Heard = Arc<Mutex<Vec<(String, String)>>>;

/// An HTTP tracker that names this peer to everybody; and what it heard.
fn tracker(peer: Arc<Mutex<Option<SocketAddr>>>) -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/announce", listener.local_addr().unwrap());
    let heard = Heard::default();
    let notes = heard.clone();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&socket).lines().map_while(Result::ok);
            let Some(first) = lines.next() else { continue };
            lines.find(String::is_empty);
            let field = |name: &str| {
                let at =
                    first.split(['?', '&', ' ']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
                at.unwrap_or("none").to_owned()
            };
            notes.lock().unwrap().push((field("port"), field("event")));
            let mut body = b"d8:intervali1800e5:peers".to_vec();
            let peers = match *peer.lock().unwrap() {
                Some(SocketAddr::V4(addr)) => [&addr.ip().octets()[..], &addr.port().to_be_bytes()].concat(),
                _ => Vec::new(),
            };
            write!(body, "{}:", peers.len()).unwrap();
            body.extend([&peers[..], b"e"].concat());
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = socket.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    (url, heard)
}

/// Bug: `completed` was also said of a download that was complete at the start, at each start again.
#[test]
fn a_download_is_said_to_be_completed_once_and_not_after_a_restart() {
    let peer = Arc::new(Mutex::new(None));
    let (url, heard) = tracker(peer.clone());
    let place = stage(Some(&url));
    let listen = ["--listen", "127.0.0.1:0"];
    let (_seed, addr) = start(place.path(), &[&["seed", "it.torrent", "from"][..], &listen].concat());
    *peer.lock().unwrap() = Some(addr);
    // What one run says after the other, each with a port of its own.
    let said = |port: u16| -> Vec<String> {
        let heard = heard.lock().unwrap();
        heard.iter().filter(|(from, _)| *from == port.to_string()).map(|(_, event)| event.clone()).collect()
    };
    let download = [&["download", "it.torrent", "-d", "to", "--seed"][..], &listen].concat();
    for (run, expected) in
        [("it downloads", &["started", "completed", "stopped"][..]), ("it is there", &["started", "stopped"])]
    {
        let (mut process, addr) = start(place.path(), &download);
        process.expect(": complete");
        wait_until("it is announced", || said(addr.port()).len() + 1 >= expected.len());
        process.signal(Signal::INT);
        process.end();
        assert_eq!(said(addr.port()), expected, "{run}");
    }
}

/// A seed that is ended says who came, and how much each of them got.
#[test]
fn a_seed_that_ends_says_who_came_and_how_much_went() {
    let place = stage(None);
    let listen = ["--listen", "127.0.0.1:0"];
    let (mut seed, addr) = start(place.path(), &[&["seed", "it.torrent", "from"][..], &listen].concat());
    let peer = addr.to_string();
    let download = ["download", "it.torrent", "-d", "to", "--peer", &peer];
    run("torrent", place.path(), &[&download[..], &listen].concat()).good();
    seed.signal(Signal::INT);
    seed.expect("sent 300.0 kB to 1 peer");
    let visitor = seed.expect("127.0.0.1");
    assert!(visitor.contains("300.0 kB") && visitor.contains("shoal"), "{visitor}");
    assert!(seed.end().success());

    let (mut alone, _) = start(place.path(), &[&["seed", "it.torrent", "from"][..], &listen].concat());
    alone.signal(Signal::INT);
    alone.expect("nobody fetched anything");
}
