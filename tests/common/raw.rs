//! A scripted peer on a bare socket, which does exactly what a test has it do.

use super::{LIMIT, wait_until};
use shoal::protocol::handshake::{HANDSHAKE_LEN, Hello, PeerId};
use shoal::protocol::wire::{BlockRequest, Message, decode};
use shoal::torrent::{InfoHash, Torrent};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;

/// Longer than any message of a test.
const MOST: u32 = 1 << 20;

pub struct Raw {
    pub socket: TcpStream,
    input: Vec<u8>,
}

/// How a scripted peer introduces itself: `modern` with BEP 6 and BEP 10, else with no reserved bit at all.
pub fn hello(info_hash: InfoHash, name: u8, modern: bool) -> Hello {
    let peer_id = PeerId([name; 20]);
    Hello { info_hash, peer_id, extended: modern, fast: modern, v2: false }
}

impl Raw {
    /// Connects, and says nothing yet.
    pub fn connect(addr: SocketAddr) -> Self {
        Raw::over(TcpStream::connect(addr).unwrap())
    }

    /// Is connected to, and says nothing yet.
    pub fn accept(listener: &TcpListener) -> Self {
        Raw::over(listener.accept().unwrap().0)
    }

    fn over(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.set_write_timeout(Some(LIMIT)).unwrap();
        Raw { socket, input: Vec::new() }
    }

    /// Connects and shakes hands.
    pub fn join(addr: SocketAddr, torrent: &Torrent, name: u8, modern: bool) -> Self {
        Raw::try_join(addr, torrent, name, modern).unwrap()
    }

    /// The same with an error if the other side is not there, or hangs up.
    pub fn try_join(addr: SocketAddr, torrent: &Torrent, name: u8, modern: bool) -> io::Result<Self> {
        let mut raw = Raw::over(TcpStream::connect(addr)?);
        raw.send_bytes(&hello(torrent.info_hash(), name, modern).encode());
        let mut reply = [0; HANDSHAKE_LEN];
        raw.socket.read_exact(&mut reply)?;
        assert_eq!(Hello::decode(&reply).unwrap().info_hash, torrent.info_hash());
        Ok(raw)
    }

    /// The same as a seed that serves at once.
    pub fn seed(addr: SocketAddr, torrent: &Torrent, name: u8, modern: bool) -> Self {
        let mut raw = Raw::join(addr, torrent, name, modern);
        raw.offer_all(torrent);
        raw
    }

    /// Says that it has everything and serves it.
    pub fn offer_all(&mut self, torrent: &Torrent) {
        let pieces = torrent.geometry().piece_count();
        self.send(Message::Bitfield(shoal::bitfield::Bitfield::full(pieces).as_bytes()));
        self.send(Message::Unchoke);
    }

    /// The same as a leecher that is served already.
    pub fn leech(addr: SocketAddr, torrent: &Torrent, name: u8, modern: bool) -> Self {
        let mut raw = Raw::join(addr, torrent, name, modern);
        raw.send(Message::Interested);
        raw.wait_for("it is unchoked", |message| matches!(message, Message::Unchoke));
        raw
    }

    /// Sends, whether anybody takes it or not.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    pub fn send(&mut self, message: Message<'_>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.send_bytes(&bytes);
    }

    /// Passes on all that comes until `take` breaks off, and its value; `None` if the other side
    /// closed before.
    pub fn listen<T>(
        &mut self,
        mut take: impl FnMut(&mut TcpStream, Message<'_>) -> ControlFlow<T>,
    ) -> Option<T> {
        loop {
            while let Some((message, len)) = decode(&self.input, MOST).expect("our own messages are right") {
                let flow = take(&mut self.socket, message);
                self.input.drain(..len);
                if let ControlFlow::Break(value) = flow {
                    return Some(value);
                }
            }
            let mut bytes = [0; 64 * 1024];
            match self.socket.read(&mut bytes) {
                Ok(0) => return None,
                Ok(read) => self.input.extend_from_slice(&bytes[..read]),
                Err(why) if why.kind() == ErrorKind::ConnectionReset => return None,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => panic!("nothing came for {LIMIT:?}: {why}"),
            }
        }
    }

    /// Waits for a message of that kind.
    pub fn wait_for(&mut self, what: &str, is_it: impl Fn(Message<'_>) -> bool) {
        let came =
            self.listen(
                |_, message| if is_it(message) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) },
            );
        assert!(came.is_some(), "the connection was closed before {what}");
    }

    /// The next request.
    pub fn request(&mut self) -> Option<BlockRequest> {
        self.listen(|_, message| match message {
            Message::Request(wanted) => ControlFlow::Break(wanted),
            _ => ControlFlow::Continue(()),
        })
    }

    /// The next block.
    pub fn block(&mut self) -> Option<(BlockRequest, Vec<u8>)> {
        self.listen(|_, message| match message {
            Message::Piece { index, begin, data } => {
                let wanted = BlockRequest { index, begin, len: data.len() as u32 };
                ControlFlow::Break((wanted, data.to_vec()))
            }
            _ => ControlFlow::Continue(()),
        })
    }

    /// Waits until the other side closes the connection, whatever it says before.
    pub fn assert_closed(&mut self) {
        let _ = self.listen(|_, _| ControlFlow::<()>::Continue(()));
    }

    /// Answers requests with `data` until the other side closes the connection.
    pub fn serve(&mut self, data: impl Fn(BlockRequest) -> Vec<u8>) {
        let _ = self.listen(|socket, message| {
            if let Message::Request(wanted) = message {
                let mut bytes = Vec::new();
                Message::Piece { index: wanted.index, begin: wanted.begin, data: &data(wanted) }
                    .encode(&mut bytes);
                let _ = socket.write_all(&bytes);
            }
            ControlFlow::<()>::Continue(())
        });
    }

    /// Whether the other side has closed the connection; reads what is there.
    pub fn is_closed(&mut self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let mut bytes = [0; 64 * 1024];
        let closed = loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => break true,
                Ok(read) => self.input.extend_from_slice(&bytes[..read]),
                Err(why) => break why.kind() != ErrorKind::WouldBlock,
            }
        };
        self.socket.set_nonblocking(false).unwrap();
        closed
    }
}

/// Waits until the peer at `addr` closes a connection that sends `bytes` first. What it said before.
pub fn last_words(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut raw = Raw::connect(addr);
    raw.send_bytes(bytes);
    wait_until("the connection is closed", || raw.is_closed());
    raw.input
}
