//! What carries a connection's bytes: today the socket itself, later a cipher over it (MSE, TLS). Runs on the
//! connection's thread, the only one that uses the socket.
//!
//! Reads and writes are vectored and never wait; the thread sleeps elsewhere, on the descriptor and its mail.
//! Two things follow for a cipher. The descriptor does not show what the transport has received and decrypted
//! already, so the transport reports it with [`holds_input`](Transport::holds_input); otherwise the thread
//! would sleep on it. And what is offered to [`write_vectored`](Write::write_vectored) may be taken in part
//! and offered again, so a stream cipher encrypts each byte once, with [`seal`](Transport::seal), as it
//! enters the outbox.

use crate::net;
use crate::peer::swarm::shared::Shared;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// A two-way stream of bytes that never waits.
pub trait Transport: Read + Write + AsFd + Send {
    /// Whether it holds bytes that a read would return at once, whatever the descriptor shows.
    fn holds_input(&self) -> bool;

    /// Encrypts bytes that enter the outbox, in the order of the stream, each byte once.
    fn seal(&mut self, bytes: &mut [u8]);
}

/// A socket as it is, of which every byte is counted.
pub struct Plain {
    socket: TcpStream,
    shared: Arc<Shared>,
}

impl Plain {
    /// A socket that does not block, connected to `addr`. Sets its options.
    ///
    /// # Errors
    /// If the system does not take an option.
    pub fn new(socket: TcpStream, addr: SocketAddr, shared: &Arc<Shared>) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        net::do_not_pace_loopback(&socket, addr);
        // A peer that comes back is a twin of the connection that died, until that is noticed.
        net::keep_alive(&socket)?;
        if let Some(bytes) = shared.tuning.socket_buffer {
            set_socket_recv_buffer_size(&socket, bytes)?;
            set_socket_send_buffer_size(&socket, bytes)?;
        }
        Ok(Plain { socket, shared: Arc::clone(shared) })
    }
}

impl Transport for Plain {
    fn holds_input(&self) -> bool {
        false
    }

    fn seal(&mut self, _bytes: &mut [u8]) {}
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Read for Plain {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.read(into).inspect(|read| self.shared.traffic.received(*read))
    }

    fn read_vectored(&mut self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.socket.read_vectored(into).inspect(|read| self.shared.traffic.received(*read))
    }
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes).inspect(|written| self.shared.traffic.sent(*written))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.write_vectored(slices).inspect(|written| self.shared.traffic.sent(*written))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
