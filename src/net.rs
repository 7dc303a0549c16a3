//! What the standard library's sockets lack. Layer 0.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};

/// Begins a TCP connection and does not wait for it. The socket is non-blocking; once it is writable,
/// [`TcpStream::take_error`] tells whether the connection came about.
///
/// # Errors
/// When the system knows at once that it cannot be.
pub fn begin_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

/// Has the system ask after the other end of a silent connection, which may be gone without a word: unplugged, asleep, or
/// cut off from the mains. Half a minute after the last sign of life the connection ends; before that if the other end is
/// back and knows nothing of it.
pub fn keep_alive(socket: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl};
    set_socket_keepalive(socket, true)?;
    set_tcp_keepidle(socket, Duration::from_secs(15))?;
    set_tcp_keepintvl(socket, Duration::from_secs(5))?;
    set_tcp_keepcnt(socket, 3)?;
    Ok(())
}

/// Lets the process open as many files and sockets as the system allows: a connection takes two descriptors, and many
/// systems begin with 1024 for a process that may have more.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        log::warn!("cannot raise the limit of open files: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::mailbox::{Interest, mailbox};

    fn connect(address: SocketAddr) -> io::Result<TcpStream> {
        let socket = begin_connect(address)?;
        let (_mailbox, mut inbox) = mailbox::<()>(1)?;
        assert!(inbox.wait(&socket, Interest::WRITE, Some(Duration::from_secs(60)))?.writable);
        socket.take_error()?.map_or(Ok(socket), Err)
    }

    #[test]
    fn a_connection_that_comes_about_and_one_that_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(connect(address).unwrap().peer_addr().unwrap(), address);
        drop(listener);
        assert_eq!(connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
