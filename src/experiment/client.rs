//! The client under test: something that serves a torrent, and fetches one. [`Client`] is all that the harness knows of it.
//!
//! The clock is the same for all: it runs from the order to fetch until the file is complete, every hash checked and every
//! byte written. So is what begins anew for each repetition: the instance that fetches is a fresh one, running already when
//! it gets the order, with a name and a port of its own, and it knows nothing but the torrent and where the others are. What
//! its sockets carried until it has closed them all is what the repetition cost.

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

/// A fetch that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(600);

/// What one repetition took.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Measured {
    pub time: Duration,
    /// Bytes on the sockets to other peers: content, messages, handshakes. Without what TCP and IP add, and without what
    /// is said to trackers.
    pub received: u64,
    pub sent: u64,
}

/// A client under test.
pub trait Client {
    /// The port on which it serves.
    fn port(&self) -> u16;

    /// Serves a torrent whose content is complete in `dir`.
    fn serve(&mut self, torrent: &Arc<Torrent>, dir: &Path, stop: &Stop) -> Result<(), Failure>;

    /// Fetches a torrent from these peers into `dir`, which is empty. Afterwards it has forgotten the torrent, and its
    /// connections are closed.
    fn fetch(
        &mut self,
        torrent: &Arc<Torrent>,
        dir: &Path,
        from: &[SocketAddr],
        stop: &Stop,
    ) -> Result<Measured, Failure>;
}

/// Which clients there are.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    Shoal,
    Libtorrent,
}

impl Kind {
    pub const ALL: [Kind; 2] = [Kind::Shoal, Kind::Libtorrent];

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot listen, or is not installed.
    pub fn start(self, settings: &Settings, stop: &Stop) -> Result<Box<dyn Client>, Failure> {
        Ok(match self {
            Kind::Shoal => Box::new(shoal::Shoal::start(settings)?),
            Kind::Libtorrent => Box::new(libtorrent::Libtorrent::start(settings, stop)?),
        })
    }

    /// Its results, in the folder for all of them.
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
    /// Where it serves; port 0 for any.
    pub listen: SocketAddr,
    /// The interpreter that has libtorrent.
    pub python: PathBuf,
}
