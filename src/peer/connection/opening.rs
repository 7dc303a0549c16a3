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
use crate::protocol::handshake::{self, Agreement, GREETING_LEN, Greeting, HANDSHAKE_LEN, HandshakeError};
use crate::protocol::handshake::{Initiator, MSE_KEY_LEN};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum time to connect and to receive the handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long to wait for so many bytes of something else than a handshake that they tell what it is.
const STRANGER_TIME: Duration = Duration::from_secs(1);

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
            let mut theirs = Arriving::default();
            theirs.read_to(GREETING_LEN, &mut transport, inbox, until)?;
            let greeting = Greeting::decode(&theirs.bytes)?;
            let swarm = swarms.get(greeting.info_hash).filter(|swarm| swarm.is_running());
            let swarm = swarm.ok_or(HandshakeError::NoSuchTorrent(greeting.info_hash))?;
            let (responder, reply) = handshake::reply(greeting, swarm.torrent.hashes(), own);
            write_handshake(&mut transport, &reply)?;
            theirs.read_to(HANDSHAKE_LEN, &mut transport, inbox, until)?;
            let agreement = responder.accept(handshake::peer_id(&theirs.bytes))?;
            Ok(Opened { transport: Box::new(transport), swarm, agreement })
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
            let mut theirs = Arriving::default();
            let read = theirs.read_to(HANDSHAKE_LEN, &mut transport, inbox, until);
            read.map_err(|end| if theirs.filled == 0 { unanswered(end) } else { end })?;
            let agreement = initiator.accept(&theirs.bytes)?;
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

/// The handshake of the other side, as far as it has come.
struct Arriving {
    bytes: [u8; HANDSHAKE_LEN],
    filled: usize,
}

impl Default for Arriving {
    fn default() -> Self {
        Arriving { bytes: [0; HANDSHAKE_LEN], filled: 0 }
    }
}

impl Arriving {
    /// Reads until the bytes before `end` are here.
    fn read_to(
        &mut self,
        end: usize,
        transport: &mut dyn Transport,
        inbox: &mut Inbox<Mail>,
        until: Instant,
    ) -> Result<(), End> {
        while self.filled < end {
            self.filled += read_some(&mut self.bytes[self.filled..], transport, inbox, until)?;
            if handshake::check_start(&self.bytes[..self.filled]).is_err() {
                return Err(self.stranger(transport, inbox, until).into());
            }
        }
        Ok(())
    }

    /// What it is instead of a handshake. Waits a moment for more of it.
    fn stranger(
        &self,
        transport: &mut dyn Transport,
        inbox: &mut Inbox<Mail>,
        until: Instant,
    ) -> HandshakeError {
        let until = until.min(Instant::now() + STRANGER_TIME);
        let mut bytes = [0; MSE_KEY_LEN];
        bytes[..self.filled].copy_from_slice(&self.bytes[..self.filled]);
        let mut filled = self.filled;
        while filled < MSE_KEY_LEN {
            // However it ends, no more comes.
            let Ok(read) = read_some(&mut bytes[filled..], transport, inbox, until) else { break };
            filled += read;
        }
        handshake::stranger(&bytes[..filled])
    }
}

/// Reads what is there, but waits until something is.
fn read_some(
    into: &mut [u8],
    transport: &mut dyn Transport,
    inbox: &mut Inbox<Mail>,
    until: Instant,
) -> Result<usize, End> {
    loop {
        match transport.read(into) {
            Ok(0) => return Err(End::Closed),
            Ok(read) => return Ok(read),
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => {
                wait_for(inbox, transport, Interest::READ, until)?
            }
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why.into()),
        }
    }
}

/// Why no byte came in answer to our handshake: the end of the connection may be the answer.
fn unanswered(end: End) -> End {
    match end {
        End::Closed => HandshakeError::Unanswered.into(),
        End::Io(why) if why.kind() == io::ErrorKind::ConnectionReset => HandshakeError::Unanswered.into(),
        other => other,
    }
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
