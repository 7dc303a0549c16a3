//! The `.torrent` files that the tracker hands out: a client that has nothing else finds the swarm by them.

mod cli_support;
mod common;
mod tracker_support;

use cli_support::{Process, program, run};
use common::content;
use serde_json::json;
use shoal::torrent::Torrent;
use shoal::tracker::front::{Front, proxy};
use shoal::tracker::{Config, Tracker};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use tracker_support::{GENEROUS, Session, announce_query, http, torrent};

fn start(front: Front) -> Tracker {
    let listen = "127.0.0.1:0".parse().unwrap();
    Tracker::start(Config { listen, front, ..Config::default() }).unwrap()
}

/// The head and the body of an answer.
fn ask(addr: SocketAddr, target: &str, host: &str) -> (String, Vec<u8>) {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(GENEROUS)).unwrap();
    write!(socket, "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
}

/// Bug: the torrent named no tracker, so who fetched it by a browser could do nothing with it.
#[test]
fn the_trackers_own_torrent_names_the_tracker_and_keeps_its_identity() {
    let tracker = start(Front::default());
    let film = torrent("Ünder \"the\" sea.mp4", 4);
    Session::hello(tracker.addr(), 1).publish(&film, json!("all"));
    let target = format!("/torrents/{}.torrent", film.key());
    let (head, body) = ask(tracker.addr(), &target, "lab.example:7000");
    let handed_out = Torrent::parse(&body).unwrap();
    assert_eq!(handed_out.hashes(), film.hashes());
    assert_eq!(
        handed_out.trackers(),
        [["http://lab.example:7000/announce"], ["udp://lab.example:7000/announce"]]
    );
    let name = "attachment; filename=\"_nder _the_ sea.mp4.torrent\"; \
                filename*=UTF-8''%C3%9Cnder%20%22the%22%20sea.mp4.torrent";
    assert!(head.contains(&format!("Content-Disposition: {name}")), "{head}");
    let (_, body) = ask(tracker.addr(), &target, "not a host");
    assert_eq!(Torrent::parse(&body).unwrap().trackers(), [[""; 0]; 0]);

    let public_url = Some("https://example.org/bt/".parse().unwrap());
    let tracker = start(Front { public_url, ..Front::default() });
    Session::hello(tracker.addr(), 1).publish(&film, json!("all"));
    let (_, body) = ask(tracker.addr(), &target, "10.0.0.1");
    let udp = format!("udp://example.org:{}/announce", tracker.addr().port());
    assert_eq!(Torrent::parse(&body).unwrap().trackers().concat(), ["https://example.org/bt/announce", &udp]);
}

#[test]
fn behind_a_proxy_that_is_trusted_its_word_counts_on_who_asks() {
    let loopback = proxy("127.0.0.1").unwrap();
    for (trusted_proxies, seen) in [(vec![loopback], true), (vec![], false)] {
        let tracker = start(Front { trusted_proxies, ..Front::default() });
        let hash = torrent("film", 1).info_hash().0;
        let announce = |port: u16, from: &str| {
            let query = announce_query(&hash, port, "&left=1&compact=0");
            let request = format!(
                "GET {query} HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: {from}\r\nConnection: close\r\n\r\n"
            );
            String::from_utf8_lossy(&http(tracker.addr(), &request).1).into_owned()
        };
        announce(1111, "192.0.2.7");
        let reply = announce(2222, "192.0.2.8");
        assert_eq!(reply.contains("9:192.0.2.7"), seen, "{reply}");
    }
}

/// A plain client that has nothing but the URL, and one that has a torrent without a tracker.
#[test]
fn a_download_begins_with_the_url_of_the_torrent_alone() {
    let tracker = start(Front::default());
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("from")).unwrap();
    fs::write(place.path().join("from/film.bin"), content(1, 300_000)).unwrap();
    run("torrent", place.path(), &["create", "from/film.bin"]).good();
    let film = Torrent::read(&place.path().join("film.bin.torrent")).unwrap();
    Session::hello(tracker.addr(), 1).publish(&film, json!([]));
    let addr = tracker.addr();
    let announce = format!("http://{addr}/announce");
    let mut seed = program("torrent", place.path());
    seed.args(["seed", "film.bin.torrent", "from", "--listen", "127.0.0.1:0", "--tracker", &announce]);
    let mut seed = Process::start(seed);
    seed.listening();
    let url = format!("http://{addr}/torrents/{}.torrent", film.key());
    let without_tracker = ["film.bin.torrent", "--tracker", &announce];
    for (dir, what) in [("one", &[url.as_str()][..]), ("two", &without_tracker)] {
        let args = [&["download", "-d", dir, "--listen", "127.0.0.1:0"][..], what].concat();
        run("torrent", place.path(), &args).good();
        assert_eq!(fs::read(place.path().join(dir).join("film.bin")).unwrap(), content(1, 300_000));
    }
}
