//! The UDP tracker (BEP 15) on the UDP port of the same number. Runs on the threads `udp-N`, one per core;
//! each is the only one that touches its socket. The sockets share the port, and the system spreads the
//! clients over them by their addresses, so the threads do not depend on each other. They take the lock
//! `registry` for one query at a time; the swarms are the same as for HTTP and sessions.
//!
//! A packet may carry a false sender address. So a request for more than 16 bytes must carry a connection id,
//! which only a client at its true address receives (`connection_ids.rs`). Everything else gets no answer:
//! the tracker cannot be used to send a third party more bytes than the sender sent.
//!
//! For each packet received at most one is sent, from two buffers that are allocated once; there is no queue
//! but the system's own. A packet that cannot be sent at once is dropped: with UDP the client asks again.

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

/// Maximum length of a packet that is read, in bytes. A scrape of 74 swarms has 1496, an announce with a
/// long URL less.
const MAX_PACKET: usize = 2048;

/// Size of the system's receive buffer, in bytes, for packets that come while the registry is busy. The
/// system may give less.
const BACKLOG: usize = 4 << 20;

/// Maximum number of attempts to find a port that is free for both TCP and UDP.
const ATTEMPTS: usize = 20;

/// Listens on `address`: one socket for TCP, and one per core for UDP, up to `threads`. With port 0, a port
/// is chosen that is free for both.
pub fn bind_both(address: SocketAddr, threads: usize) -> io::Result<(TcpListener, Vec<UdpSocket>)> {
    let mut attempts = 1;
    loop {
        let listener = TcpListener::bind(address)?;
        match bind_sockets(listener.local_addr()?, threads) {
            Ok(sockets) => {
                listener.set_nonblocking(true)?;
                return Ok((listener, sockets));
            }
            Err(_) if address.port() == 0 && attempts < ATTEMPTS => attempts += 1,
            Err(error) => return Err(io::Error::new(error.kind(), format!("for UDP: {error}"))),
        }
    }
}

fn bind_sockets(address: SocketAddr, threads: usize) -> io::Result<Vec<UdpSocket>> {
    // Sockets that share the address share its packets, so no other process may have bound it.
    drop(UdpSocket::bind(address)?);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = if net::SPREADS_PACKETS { cores.min(threads.max(1)) } else { 1 };
    let sockets: Vec<UdpSocket> = (0..count).map(|_| net::bind_udp(address)).collect::<io::Result<_>>()?;
    for socket in &sockets {
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(socket, BACKLOG);
    }
    Ok(sockets)
}

/// Runs a thread `udp-N`.
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

/// Appends to `out` the answer to a packet from `from`, if it gets one.
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
    Reply::Scraped(
        shared.registry(|registry| {
            hashes.iter().map(|hash| counts(registry.scrape(InfoHash(*hash)))).collect()
        }),
    )
}
