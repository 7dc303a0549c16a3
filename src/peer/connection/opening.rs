//! How a connection begins: connecting, and the handshakes of both sides. Runs on the connection's thread.
//! Like all of it, it sleeps only where mail can wake it, so that it can be told to stop at any time.

use super::end::End;
use super::outbox::Outbox;
use super::transport::{Plain, Transport};
use crate::mailbox::{Inbox, Interest};
use crate::net;
use crate::peer::handle::Mail;
use crate::peer::swarm::Swarm;
use crate::peer::swarm::shared::Shared;
use crate::peer::swarm::table::Swarms;
use crate::protocol::handshake::{self, Agreement, HANDSHAKE_LEN, HandshakeError, Hello, Initiator};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum time to connect and to receive the handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// How a connection begins.
pub enum Origin {
    /// A peer connected to us. Its handshake says for which torrent.
    Accepted(TcpStream, SocketAddr, Arc<Swarms>),
    /// We connect to this address, for this torrent.
    Dialled(SocketAddr, Arc<Swarm>),
}

/// A socket after both handshakes.
pub struct Opened {
    /// Carries the bytes from now on.
    pub transport: Box<dyn Transport>,
    /// The torrent that both sides mean.
    pub swarm: Arc<Swarm>,
    /// What the handshakes agreed on.
    pub agreement: Agreement,
}

/// Connects if need be, and exchanges handshakes.
pub fn open(origin: Origin, shared: &Arc<Shared>, inbox: &mut Inbox<Mail>) -> Result<Opened, End> {
    let until = Instant::now() + shared.tuning.handshake_time.unwrap_or(HANDSHAKE_TIME);
    let own = shared.peer_id;
    match origin {
        Origin::Accepted(socket, addr, swarms) => {
            socket.set_nonblocking(true)?;
            let mut transport = Plain::new(socket, addr, shared)?;
            let theirs = Hello::decode(&read_handshake(&mut transport, inbox, until)?)?;
            let swarm = swarms.get(theirs.info_hash).filter(|swarm| swarm.is_running());
            let swarm = swarm.ok_or(HandshakeError::NoSuchTorrent(theirs.info_hash))?;
            let (agreement, reply) = handshake::reply(&theirs, swarm.torrent.hashes(), own);
            write_handshake(&mut transport, &reply)?;
            Ok(Opened { transport: Box::new(transport), swarm, agreement: agreement? })
        }
        Origin::Dialled(addr, swarm) => {
            let socket = net::begin_connect(addr)?;
            wait_for(inbox, &socket, Interest::WRITE, until)?;
            if let Some(why) = socket.take_error()? {
                return Err(why.into());
            }
            let mut transport = Plain::new(socket, addr, shared)?;
            let (initiator, hello) = Initiator::new(swarm.torrent.hashes(), own);
            write_handshake(&mut transport, &hello)?;
            let agreement = initiator.accept(&read_handshake(&mut transport, inbox, until)?)?;
            Ok(Opened { transport: Box::new(transport), swarm, agreement })
        }
    }
}

/// Sends the handshake. Its 68 bytes fit into the empty buffer of a new socket, or something is wrong with
/// it.
fn write_handshake(transport: &mut dyn Transport, bytes: &[u8; HANDSHAKE_LEN]) -> Result<(), End> {
    let mut outbox = Outbox::default();
    outbox.push(bytes, |bytes| transport.seal(bytes));
    outbox.flush(transport)?;
    if outbox.is_empty() { Ok(()) } else { Err(End::Clogged) }
}

fn read_handshake(
    transport: &mut dyn Transport,
    inbox: &mut Inbox<Mail>,
    until: Instant,
) -> Result<[u8; HANDSHAKE_LEN], End> {
    let mut bytes = [0; HANDSHAKE_LEN];
    let mut filled = 0;
    while filled < HANDSHAKE_LEN {
        match transport.read(&mut bytes[filled..]) {
            Ok(0) => return Err(End::Closed),
            Ok(read) => filled += read,
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => {
                wait_for(inbox, transport, Interest::READ, until)?
            }
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why.into()),
        }
        handshake::check_start(&bytes[..filled])?;
    }
    Ok(bytes)
}

/// Waits for the socket. The only mail that counts before the session is the one that ends the connection.
fn wait_for(
    inbox: &mut Inbox<Mail>,
    socket: &(impl AsFd + ?Sized),
    interest: Interest,
    until: Instant,
) -> Result<(), End> {
    loop {
        while let Some(mail) = inbox.take() {
            if let Mail::Close(why) = mail {
                return Err(End::Told(why));
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(End::NoHandshake);
        }
        let ready = inbox.wait(socket, interest, Some(left))?;
        if ready.readable || ready.writable {
            return Ok(());
        }
    }
}
