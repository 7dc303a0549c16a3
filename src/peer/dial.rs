//! Begins a connection without waiting for it: `std` can only connect blocking, and a thread that blocks cannot
//! be told to stop.

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect as begin, socket_with};
use std::io;
use std::net::{SocketAddr, TcpStream};

/// A non-blocking socket on its way to `addr`. Once it is writable, `take_error` tells whether it got there.
pub fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match begin(&socket, &addr) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(why) => Err(why.into()),
    }
}
