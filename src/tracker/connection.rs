//! A client's socket, owned by its thread `client-N`; no lock. It is non-blocking, and the thread sleeps in
//! one place, [`ClientConnection::wait`], so that the tracker can wake it: for new events, or to stop.
//! Sessions and HTTP both use it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::mailbox::{Inbox, Interest, Ready};

use super::address::canonical;
use super::shared::TrackerShared;

/// How long a client may take to read the last message before its connection is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// Maximum number of bytes that it may still send meanwhile. Closing a socket with unread bytes would
/// destroy the message.
const FAREWELL_BYTES: usize = 64 << 20;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ClientEnd {
    #[error("the other side closed the connection")]
    Closed,
    #[error("the other side took too long")]
    TimedOut,
    #[error("the tracker stops")]
    Stopping,
    #[error("{0}")]
    Failed(#[from] io::Error),
}

/// A socket and the mailbox that wakes its thread. No mail is sent to it; the thread looks at shared state.
pub struct ClientConnection<'a> {
    socket: TcpStream,
    inbox: &'a mut Inbox<()>,
    remote: SocketAddr,
    shared: &'a TrackerShared,
}

impl<'a> ClientConnection<'a> {
    pub fn new(
        socket: TcpStream,
        remote: SocketAddr,
        inbox: &'a mut Inbox<()>,
        shared: &'a TrackerShared,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(ClientConnection { socket, inbox, remote: canonical(remote), shared })
    }

    pub fn remote(&self) -> IpAddr {
        self.remote.ip()
    }

    /// Reads the bytes that are there, up to the size of `buffer`; 0 if there are none now. Never waits.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ClientEnd> {
        match self.socket.read(buffer) {
            Ok(0) => Err(ClientEnd::Closed),
            Ok(n) => Ok(n),
            Err(error) => not_now(error),
        }
    }

    /// Writes as much as the socket takes; 0 if it takes nothing now. Never waits.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, ClientEnd> {
        match self.socket.write(bytes) {
            Ok(n) => Ok(n),
            Err(error) => not_now(error),
        }
    }

    /// Sleeps until the socket is ready for something of `interest`, the thread is woken, or `until`.
    pub fn wait(&mut self, interest: Interest, until: Instant) -> Result<Ready, ClientEnd> {
        if self.shared.is_stopping() {
            return Err(ClientEnd::Stopping);
        }
        let timeout = until.saturating_duration_since(Instant::now());
        let ready = self.inbox.wait(&self.socket, interest, Some(timeout))?;
        if self.shared.is_stopping() { Err(ClientEnd::Stopping) } else { Ok(ready) }
    }

    /// Waits for bytes, and appends up to 16 KiB of them to `buffer`.
    pub fn fill(&mut self, buffer: &mut Vec<u8>, until: Instant) -> Result<(), ClientEnd> {
        let mut chunk = [0; 16 << 10];
        loop {
            let n = self.read(&mut chunk)?;
            if n > 0 {
                buffer.extend_from_slice(&chunk[..n]);
                return Ok(());
            }
            self.wait_in_time(Interest::READ, until)?;
        }
    }

    /// Writes everything. Gives up if the other side takes nothing for the time `stall`, or at `until`.
    pub fn write_all(&mut self, mut bytes: &[u8], stall: Duration, until: Instant) -> Result<(), ClientEnd> {
        let mut patience = until.min(Instant::now() + stall);
        while !bytes.is_empty() {
            let n = self.write(bytes)?;
            bytes = &bytes[n..];
            if n > 0 {
                patience = until.min(Instant::now() + stall);
            } else {
                self.wait_in_time(Interest::WRITE, patience)?;
            }
        }
        Ok(())
    }

    /// Ends a connection that the other side wants closed after the response that was sent. Bytes that came
    /// meanwhile are read, because closing a socket with unread bytes would destroy the response.
    pub fn part(&mut self) {
        if !matches!(self.read(&mut [0]), Ok(0)) {
            self.farewell(&[]);
        }
    }

    /// Sends a last message and makes sure, within limits, that it arrives.
    pub fn farewell(&mut self, bytes: &[u8]) {
        let until = Instant::now() + FAREWELL;
        if self.write_all(bytes, FAREWELL, until).is_err() || self.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let mut ignored = Vec::new();
        let mut total = 0;
        while total < FAREWELL_BYTES && self.fill(&mut ignored, until).is_ok() {
            total += ignored.len();
            ignored.clear();
        }
    }

    fn wait_in_time(&mut self, interest: Interest, until: Instant) -> Result<(), ClientEnd> {
        if Instant::now() >= until {
            return Err(ClientEnd::TimedOut);
        }
        self.wait(interest, until).map(|_| ())
    }
}

fn not_now(error: io::Error) -> Result<usize, ClientEnd> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(0),
        _ => Err(ClientEnd::Failed(error)),
    }
}
