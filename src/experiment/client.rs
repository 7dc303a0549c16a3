//! The client under test, which serves and fetches torrents. The experiment uses it only through the trait
//! [`Client`]. Runs on `main`; no lock.
//!
//! Time is measured in the same way for all clients: from the order to fetch until the file is complete, with
//! every hash checked and every byte written. Each repetition uses a new instance that is running when it
//! gets the order. It has a peer id and a port of its own, and knows only the torrent and the addresses of
//! the others. The cost of a repetition is the number of bytes on its sockets until all of them are closed.

mod libtorrent;
mod shoal;

use super::Failure;
use super::stop::Stop;
use crate::torrent::Torrent;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Maximum duration of a fetch; a longer one has failed.
const LIMIT: Duration = Duration::from_secs(600);

/// Time and bytes of one repetition.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Measured {
    /// From the order to fetch until the file was complete and verified.
    pub time: Duration,
    /// Bytes received on the sockets to other peers: content, messages, handshakes; without the headers of
    /// TCP and IP, and without traffic with trackers.
    pub received: u64,
    /// Bytes sent on the same sockets.
    pub sent: u64,
}

/// A client under test.
pub trait Client {
    /// The TCP port on which it serves.
    fn port(&self) -> u16;

    /// Serves a torrent whose content is complete in `dir`.
    fn serve(&mut self, torrent: &Arc<Torrent>, dir: &Path, stop: &Stop) -> Result<(), Failure>;

    /// Fetches a torrent from these peers into `dir`, which is empty. Afterwards the instance is gone and its
    /// connections are closed.
    fn fetch(
        &mut self,
        torrent: &Arc<Torrent>,
        dir: &Path,
        from: &[SocketAddr],
        stop: &Stop,
    ) -> Result<Measured, Failure>;
}

/// The clients that can be tested.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// This program.
    Shoal,
    /// libtorrent, through its Python bindings.
    Libtorrent,
}

impl Kind {
    /// All clients.
    pub const ALL: [Kind; 2] = [Kind::Shoal, Kind::Libtorrent];

    /// Starts it.
    ///
    /// # Errors
    /// If it cannot listen, or is not installed.
    pub fn start(self, settings: &Settings, stop: &Stop) -> Result<Box<dyn Client>, Failure> {
        Ok(match self {
            Kind::Shoal => Box::new(shoal::Shoal::start(settings)?),
            Kind::Libtorrent => Box::new(libtorrent::Libtorrent::start(settings, stop)?),
        })
    }

    /// The folder of its results within the folder `all`.
    pub fn results(self, all: &Path) -> PathBuf {
        match self {
            Kind::Shoal => all.to_owned(),
            Kind::Libtorrent => all.join("libtorrent"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Shoal => "shoal",
            Kind::Libtorrent => "libtorrent",
        })
    }
}

impl FromStr for Kind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |kind: &Kind| kind.to_string() == text;
        Kind::ALL.into_iter().find(named).ok_or("the clients are shoal and libtorrent")
    }
}

/// How a client is started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address on which it serves; port 0 for any free port.
    pub listen: SocketAddr,
    /// The Python interpreter that has libtorrent installed.
    pub python: PathBuf,
}
