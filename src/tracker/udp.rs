//! The UDP tracker (BEP 15) on the port of the same number: the threads `udp-N`, one a core, each the only one that touches
//! its socket. The sockets share the port, and the system spreads the clients over them by their addresses, so the
//! threads need nothing of each other. Takes the registry's lock for one question at a time; feeds the same swarms as HTTP
//! and the sessions do.
//!
//! Anybody can write any sender on a packet, so what asks for more than 16 bytes must come with a connection id, which
//! only reaches a client that is where it says (`connection_ids.rs`). Everything else gets no answer at all: the
//! tracker cannot be used to flood a stranger with more than was sent to it.
//!
//! One packet in, at most one packet out, into two buffers that are made once; nothing waits in a queue but in the
//! system's own. A packet that cannot be sent at once is dropped, as UDP has it: the client asks again.

mod connection_ids;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Instant;

use crate::mailbox::{Inbox, Interest};
use crate::net;
use crate::torrent::InfoHash;

use super::BREATHER;
use super::shared::TrackerShared;
use crate::protocol::announce::Scraped;
use crate::protocol::announce_udp::{Counts, Family, MAX_REPLY, Reply, Request, UdpAnnounce};
pub use connection_ids::ConnectionIds;

/// The longest packet that is read, in bytes: a scrape of 74 swarms has 1496, an announce with a long URL less.
const MAX_PACKET: usize = 2048;

/// How many packets the system should keep for us while the registry is busy, in bytes; it may give less.
const BACKLOG: usize = 4 << 20;

/// The most threads. Far fewer fill any link with answers.
const MAX_THREADS: usize = 16;

/// How often to look for a port that is free for both TCP and UDP.
const ATTEMPTS: usize = 20;

/// Listens on `address` for TCP, and for UDP with a socket for each core. With port 0 the system chooses one that is
/// free for both.
pub fn bind_both(address: SocketAddr) -> io::Result<(TcpListener, Vec<UdpSocket>)> {
    let mut attempts = 1;
    loop {
        let listener = TcpListener::bind(address)?;
        match bind_sockets(listener.local_addr()?) {
            Ok(sockets) => {
                listener.set_nonblocking(true)?;
                return Ok((listener, sockets));
            }
            Err(_) if address.port() == 0 && attempts < ATTEMPTS => attempts += 1,
            Err(error) => return Err(io::Error::new(error.kind(), format!("for UDP: {error}"))),
        }
    }
}

fn bind_sockets(address: SocketAddr) -> io::Result<Vec<UdpSocket>> {
    // Whoever shares the address gets some of the packets, so nobody may who is not of this tracker.
    drop(UdpSocket::bind(address)?);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = if net::SPREADS_PACKETS { cores.min(MAX_THREADS) } else { 1 };
    let sockets: Vec<UdpSocket> = (0..count).map(|_| net::bind_udp(address)).collect::<io::Result<_>>()?;
    for socket in &sockets {
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(socket, BACKLOG);
    }
    Ok(sockets)
}

/// A thread `udp-N`.
pub fn serve(shared: &TrackerShared, ids: &ConnectionIds, socket: &UdpSocket, mut inbox: Inbox<()>) {
    let mut packet = [0; MAX_PACKET];
    let mut answer = Vec::with_capacity(MAX_REPLY);
    while !shared.is_stopping() {
        let slept = match socket.recv_from(&mut packet) {
            Ok((len, from)) => {
                answer.clear();
                respond(shared, ids, &packet[..len], from.ip(), &mut answer);
                if !answer.is_empty() {
                    let _ = socket.send_to(&answer, from); // the client asks again
                }
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                inbox.wait(socket, Interest::READ, None).map(drop)
            }
            Err(error) => {
                log::warn!("cannot receive packets: {error}");
                inbox.wait_for_mail(Some(BREATHER))
            }
        };
        if let Err(error) = slept {
            log::warn!("cannot wait for packets: {error}");
        }
    }
}

/// Appends the answer to a packet from `from`, if it gets one.
fn respond(shared: &TrackerShared, ids: &ConnectionIds, packet: &[u8], from: IpAddr, out: &mut Vec<u8>) {
    shared.metrics.udp_packets.add();
    let (from, now) = (from.to_canonical(), Instant::now());
    let reply = Request::decode(packet).and_then(|(transaction, request)| {
        let reply = match request {
            Request::Connect => Reply::Connected(ids.issue(from, now)),
            Request::Announce { connection, announce, .. } if ids.accepts(connection, from, now) => {
                announced(shared, &announce, from, now)
            }
            Request::Scrape { connection, hashes } if ids.accepts(connection, from, now) => {
                scraped(shared, hashes)
            }
            Request::Announce { .. } | Request::Scrape { .. } => return None,
        };
        Some((transaction, reply))
    });
    match reply {
        Some((transaction, reply)) => reply.encode(transaction, Family::of(from), out),
        None => shared.metrics.udp_ignored.add(),
    }
}

fn announced(shared: &TrackerShared, announce: &UdpAnnounce, from: IpAddr, now: Instant) -> Reply {
    shared.metrics.announces.add();
    match shared.registry(|registry| registry.announce_in_family(announce, from, now)) {
        Ok(reply) => Reply::Announced(reply),
        Err(refusal) => {
            shared.metrics.announce_errors.add();
            Reply::Refused(refusal.message)
        }
    }
}

fn scraped(shared: &TrackerShared, hashes: &[[u8; 20]]) -> Reply {
    shared.metrics.scrapes.add();
    let counts = |swarm: Scraped| Counts {
        seeds: swarm.complete,
        downloaded: swarm.downloaded,
        peers: swarm.incomplete,
    };
    Reply::Scraped(shared.registry(|registry| {
        let swarms = hashes.iter().map(|hash| registry.scrape_one(InfoHash(*hash)));
        swarms.map(|swarm| swarm.map_or_else(Counts::default, counts)).collect()
    }))
}
