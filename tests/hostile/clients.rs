//! Clients of our tracker that drip, flood, or come in great numbers, and the honest ones beside them.

use crate::common::content;
use crate::tracker_support::*;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::json;
use shoal::torrent::Torrent;
use shoal::tracker::{Limits, Tracker};
use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// How many of so many honest clients, one after the other, get what they want: a page, an answer to an
/// announce, and a session in which the torrent is found.
fn served(tracker: &Tracker, torrent: &Torrent, clients: u8) -> usize {
    let is_served = |id: &u8| {
        let page = get(tracker.addr(), "/torrents").0;
        let announce = get(tracker.addr(), &announce_query(&torrent.info_hash().0, 9000, "&left=0")).0;
        let mut session = Session::hello(tracker.addr(), *id);
        session.publish(torrent, json!("all"));
        let found = session.ask(json!({"request": "search", "words": torrent.name()}));
        (page, announce) == (200, 200) && found["entries"][0]["name"] == torrent.name()
    };
    (1..=clients).filter(is_served).count()
}

/// A connection from another address of this machine, so that it does not count as one of the
/// honest clients'.
fn connect_from_elsewhere(to: SocketAddr) -> TcpStream {
    let SocketAddr::V4(to) = to else { panic!("the tests use IPv4") };
    let elsewhere = SocketAddrV4::new([127, 0, 0, 2].into(), 0);
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &elsewhere).unwrap();
    connect(&socket, &to).unwrap();
    socket.into()
}

#[test]
fn three_hundred_that_drip_are_cut_off_and_others_are_answered_meanwhile() {
    let tracker = start(impatient());
    let beginnings = [&b"GET /announce?info_hash="[..], b"{\"id\":1,\"request\":\"", b"GET / HTTP/1.1\r\nA:"];
    let mut slow: Vec<TcpStream> = (0..300)
        .map(|nth| {
            let mut socket = TcpStream::connect(tracker.addr()).unwrap();
            socket.write_all(beginnings[nth % 3]).unwrap();
            socket
        })
        .collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut open: Vec<&TcpStream> = slow.iter().collect();
            while !open.is_empty() && !done.load(Ordering::SeqCst) {
                open.retain(|socket| (&mut &**socket).write_all(b"x").is_ok());
                thread::sleep(Duration::from_millis(100));
            }
        });
        assert_eq!(served(&tracker, &torrent("x", 10), 20), 20);
        done.store(true, Ordering::SeqCst);
    });
    for socket in &mut slow {
        socket.set_read_timeout(Some(GENEROUS)).unwrap();
        let mut answer = Vec::new();
        let ended = socket.read_to_end(&mut answer);
        let in_vain = |why: &std::io::Error| why.kind() == std::io::ErrorKind::WouldBlock;
        assert!(!ended.as_ref().is_err_and(in_vain), "it was never cut off");
    }
}

/// They send requests as fast as they can, and half of them never read an answer.
#[test]
fn floods_of_requests_are_answered_or_dropped_and_others_are_answered_meanwhile() {
    let tracker = start(Limits { stall: Duration::from_millis(500), ..Limits::default() });
    let list = "{\"id\":7,\"request\":\"list\"}\n".repeat(200);
    let hello = json!({"id": 1, "request": "hello", "peer_id": "0a".repeat(20), "port": 1}).to_string();
    let page = "GET /torrents HTTP/1.1\r\n\r\n".repeat(200);
    let noise = String::from_utf8_lossy(&content(1, 4000)).replace('\n', " ");
    let kinds = [
        (format!("{hello}\n"), list.clone(), true),
        (format!("{hello}\n"), list, false),
        (String::new(), page.clone(), true),
        (String::new(), page, false),
        (format!("{hello}\n"), "{}\n\n{\"id\":[]}\n".repeat(200), true),
        ("{".to_owned(), noise, true),
    ];
    let (done, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let floods: Vec<_> = kinds
        .into_iter()
        .map(|(greeting, flood, reads)| {
            let (until, counted, addr) = (Arc::clone(&done), Arc::clone(&sent), tracker.addr());
            thread::spawn(move || {
                while !until.load(Ordering::SeqCst) {
                    let mut socket = TcpStream::connect(addr).unwrap();
                    socket.write_all(greeting.as_bytes()).unwrap();
                    let mut reader = socket.try_clone().unwrap();
                    // Ends with the connection.
                    let reading = thread::spawn(move || {
                        reads.then(|| std::io::copy(&mut reader, &mut std::io::sink()))
                    });
                    socket.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
                    loop {
                        match socket.write(flood.as_bytes()) {
                            Ok(n) => drop(counted.fetch_add(n as u64, Ordering::SeqCst)),
                            Err(why) if why.kind() != std::io::ErrorKind::WouldBlock => break,
                            Err(_) => {}
                        }
                        if until.load(Ordering::SeqCst) {
                            break;
                        }
                    }
                    let _ = socket.shutdown(std::net::Shutdown::Both);
                    let _ = reading.join().unwrap();
                }
            })
        })
        .collect();
    until("they are at it", || sent.load(Ordering::SeqCst) > 1_000_000);
    assert_eq!(served(&tracker, &torrent("x", 10), 30), 30);
    until("one that never reads is dropped", || {
        let metrics = String::from_utf8(get(tracker.addr(), "/metrics").1).unwrap();
        !metrics.contains("shoal_tracker_sessions_behind_total 0\n")
    });
    done.store(true, Ordering::SeqCst);
    floods.into_iter().for_each(|flood| flood.join().unwrap());
}

/// They take all places that one address may have; at other addresses nobody notices.
#[test]
fn a_thousand_connections_from_one_address_leave_room_for_others() {
    let tracker = start(Limits { connections_per_address: 600, ..Limits::default() });
    let mut crowd: Vec<TcpStream> = (0..1000).map(|_| connect_from_elsewhere(tracker.addr())).collect();
    assert_eq!(served(&tracker, &torrent("x", 10), 20), 20);
    // Those beyond the limit were turned away at once.
    let turned_away = |crowd: &mut Vec<TcpStream>| {
        let is_closed = |socket: &mut TcpStream| {
            socket.set_nonblocking(true).unwrap();
            !matches!(socket.read(&mut [0]), Err(why) if why.kind() == std::io::ErrorKind::WouldBlock)
        };
        crowd.iter_mut().filter_map(|socket| is_closed(socket).then_some(())).count()
    };
    until("400 of them are turned away", || turned_away(&mut crowd) >= 400);
}
