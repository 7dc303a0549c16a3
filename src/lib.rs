//! shoal is a library for BitTorrent, and the programs made with it: a peer, a tracker with a searchable
//! catalogue, and a tool for torrent files. Everything is synchronous: plain `std::net` sockets, and one
//! thread for each connection.
//!
//! An [`Engine`] is one running peer. It downloads and seeds the torrents that are added to it:
//!
//! ```
//! use shoal::{AddTorrent, Config, Engine, Torrent};
//! # use std::{fs, path::Path, sync::Arc};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (theirs, ours) = (tempfile::tempdir()?, tempfile::tempdir()?);
//! # let (content, folder) = (theirs.path().join("film"), ours.path());
//! # let file = theirs.path().join("film.torrent");
//! # fs::write(&content, vec![7; 100_000])?;
//! # fs::write(&file, shoal::torrent::create::create(&content, &Default::default(), &|_| ())?)?;
//! # let loopback = Config { listen: Some(([127, 0, 0, 1], 0).into()), ..Config::default() };
//! # let seed = Engine::start(&loopback)?;
//! # seed.add(AddTorrent::seed(Arc::new(Torrent::read(&file)?), theirs.path()))?;
//! # let peer = seed.addr();
//! let torrent = Arc::new(Torrent::read(&file)?);
//! let engine = Engine::start(&Config { listen: Some("127.0.0.1:0".parse()?), ..Config::default() })?;
//! let swarm = engine.add(AddTorrent::download(torrent, folder))?;
//! swarm.add_addresses([peer], true);
//! engine.look_for_peers();
//! swarm.wait()?;
//! println!("{} is complete in {}", swarm.torrent.name(), folder.display());
//! engine.stop();
//! # assert_eq!(fs::read(content)?, fs::read(folder.join("film"))?);
//! # Ok(())
//! # }
//! ```
//!
//! An [`Observer`] hears what becomes of a torrent. `examples/download.rs` and `examples/seed.rs` are whole
//! programs. [`torrent`] reads, creates and verifies torrent files; [`tracker`] is the tracker. How it is all
//! built is in `docs/ARCHITECTURE.md`, and what runs on which thread in `docs/THREADS.md`.

#![warn(missing_docs)]

pub mod bitfield;
pub mod peer;
pub mod torrent;
pub mod tracker;

pub use net::Families;
pub use peer::engine::{AddTorrent, Config, Content, Engine, StartError};
pub use peer::swarm::options::DownloadOptions;
pub use peer::swarm::{Observer, Progress, State, Swarm, WaitError};
pub use torrent::{InfoHash, Selection, Torrent, TorrentError};

// Open to shoal's own programs, tests, benchmarks and fuzzers. No promise is made about these modules: they
// may change at any time. The same holds for everything else that is `doc(hidden)`.
#[doc(hidden)]
pub mod bencode;
#[doc(hidden)]
pub mod disk;
#[doc(hidden)]
pub mod experiment;
#[doc(hidden)]
pub mod hash;
#[doc(hidden)]
pub mod http;
#[doc(hidden)]
pub mod interrupt;
#[doc(hidden)]
pub mod logging;
#[doc(hidden)]
pub mod mailbox;
#[doc(hidden)]
pub mod printable;
#[doc(hidden)]
pub mod protocol;
#[doc(hidden)]
pub mod threads;

mod atomic;
mod backoff;
mod lock;
mod net;
mod peer_id;
mod pool;
#[cfg(test)]
mod testing;
