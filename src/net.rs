//! Operations on sockets that the standard library lacks, and the families of their addresses. Layer 0; any
//! thread; no lock.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};

/// Which address families an engine uses to listen, to connect and to announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Families {
    /// Both, as far as the system has them.
    #[default]
    Both,
    /// Only IPv4.
    V4,
    /// Only IPv6.
    V6,
}

impl Families {
    /// Whether an address is of these families. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn has(self, ip: IpAddr) -> bool {
        match self {
            Families::Both => true,
            Families::V4 => ip.to_canonical().is_ipv4(),
            Families::V6 => ip.to_canonical().is_ipv6(),
        }
    }

    /// The address that stands for all of our own, to listen at.
    pub fn any(self) -> IpAddr {
        match self {
            Families::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Families::Both | Families::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

/// The same address, with IPv4 that is mapped into IPv6 as plain IPv4. A socket that listens in both families
/// tells of IPv4 in this way.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        IpAddr::V6(_) => address,
    }
}

/// Number of connections that the system keeps for us until they are accepted; it may keep fewer.
const BACKLOG: i32 = 128;

/// A non-blocking listener at `address`. At `[::]` it also takes IPv4, on the same port, unless `families`
/// forbids that.
///
/// # Errors
/// The address cannot be used, or is not of these families.
pub fn listen(address: SocketAddr, families: Families) -> io::Result<TcpListener> {
    if !families.has(address.ip()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this address family is not to be used"));
    }
    let listener = match address {
        SocketAddr::V4(_) => TcpListener::bind(address)?,
        SocketAddr::V6(_) => {
            let socket = rustix::net::socket(AddressFamily::INET6, SocketType::STREAM, None)?;
            rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
            rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
            rustix::net::sockopt::set_ipv6_v6only(&socket, families == Families::V6)?;
            rustix::net::bind(&socket, &address)?;
            rustix::net::listen(&socket, BACKLOG)?;
            TcpListener::from(socket)
        }
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Begins a TCP connection without waiting for it. The socket is non-blocking. Once it is writable,
/// [`TcpStream::take_error`] tells whether the connection is established.
///
/// # Errors
/// The system knows at once that the connection is impossible.
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

/// Whether several UDP sockets may share an address so that the system distributes the senders among them.
/// Other systems allow sharing too, but give all packets to one socket.
pub const SPREADS_PACKETS: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// A non-blocking UDP socket at `address`. If the system [`SPREADS_PACKETS`], the socket shares the address
/// with all others that the same user has bound in this way. All packets of one sender reach the same socket.
///
/// # Errors
/// The address cannot be used.
pub fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::DGRAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    if SPREADS_PACKETS {
        rustix::net::sockopt::set_socket_reuseport(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(UdpSocket::from(socket))
}

/// Makes the system probe the remote side of a silent connection, which may have vanished: unplugged, asleep,
/// or without power. The connection ends half a minute after the last sign of life; earlier if the remote
/// side has restarted and no longer knows the connection.
pub fn keep_alive(socket: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl};
    set_socket_keepalive(socket, true)?;
    set_tcp_keepidle(socket, Duration::from_secs(15))?;
    set_tcp_keepintvl(socket, Duration::from_secs(5))?;
    set_tcp_keepcnt(socket, 3)?;
    Ok(())
}

/// Turns off pacing for a connection within one machine. A congestion control that measures the line
/// and paces its packets (BBR) uses timers, which took a sixth of the processor there. On loopback
/// nothing is lost and no line is shared, so the simplest one is enough; every Linux has it. Other
/// connections keep the system's choice.
pub fn do_not_pace_loopback(socket: &TcpStream, peer: SocketAddr) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if peer.ip().to_canonical().is_loopback() {
        // If it is not available, the connection is slower, but not wrong.
        let _ = rustix::net::sockopt::set_tcp_congestion(socket, "reno");
    }
}

/// Raises the number of files and sockets that the process may open to the system's maximum. A connection
/// takes two descriptors, and many systems start a process with 1024 although it may have more.
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
    use super::*;
    use crate::mailbox::{Interest, mailbox};

    #[test]
    fn packets_reach_one_of_the_sockets_that_share_an_address() {
        let mut sockets = vec![bind_udp("127.0.0.1:0".parse().unwrap()).unwrap()];
        let address = sockets[0].local_addr().unwrap();
        if SPREADS_PACKETS {
            sockets.extend((0..3).map(|_| bind_udp(address).unwrap()));
        }
        let mut senders_of = vec![0; sockets.len()];
        for _ in 0..64 {
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            for _ in 0..2 {
                sender.send_to(b"x", address).unwrap();
            }
            for (socket, senders) in sockets.iter().zip(&mut senders_of) {
                let here = std::iter::from_fn(|| socket.recv_from(&mut [0; 9]).ok()).count();
                assert!(here == 0 || here == 2, "one sender's packets go one way");
                *senders += here / 2;
            }
        }
        assert_eq!(senders_of.iter().sum::<usize>(), 64);
        assert!(senders_of.iter().all(|senders| *senders > 0), "{senders_of:?}");
    }

    /// The address of `[::1]`, if this machine has IPv6.
    fn with_ipv6(port: u16) -> Option<SocketAddr> {
        let address = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let there = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
        if !there {
            eprintln!("this machine has no IPv6: skipped");
        }
        there.then_some(address)
    }

    #[test]
    fn one_listener_takes_both_families_or_the_one_that_is_allowed() {
        let Some(v6) = with_ipv6(0) else { return };
        let reached = |listener: &TcpListener, ip: IpAddr| {
            let port = listener.local_addr().unwrap().port();
            TcpStream::connect((ip, port)).is_ok()
        };
        let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), v6.ip());
        for (families, takes) in
            [(Families::Both, (true, true)), (Families::V4, (true, false)), (Families::V6, (false, true))]
        {
            let listener = listen((families.any(), 0).into(), families).unwrap();
            assert_eq!((reached(&listener, v4), reached(&listener, v6)), takes, "{families:?}");
            assert_eq!((families.has(v4), families.has(v6)), takes);
        }
        assert!(
            listen((v4, 0).into(), Families::V6).is_err() && listen((v6, 0).into(), Families::V4).is_err()
        );
    }

    #[test]
    fn a_mapped_address_is_the_address_that_is_mapped() {
        let canonical = |text: &str| super::canonical(text.parse().unwrap()).to_string();
        assert_eq!(canonical("[::ffff:10.0.0.1]:7"), "10.0.0.1:7");
        assert_eq!(canonical("10.0.0.1:7"), "10.0.0.1:7");
        assert_eq!(canonical("[fe80::1%3]:7"), "[fe80::1%3]:7");
        assert!(Families::V4.has("::ffff:10.0.0.1".parse().unwrap()));
    }

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
