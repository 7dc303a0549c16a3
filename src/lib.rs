//! shoal: a swarm file-sharing system. A tracker keeps a searchable catalogue and knows who holds which
//! piece; peers publish, find, download and serve files over BitTorrent. Everything is synchronous: plain
//! `std::net` sockets, one thread per connection. `docs/THREADS.md` walks through the threads.
//!
//! The modules in layers, each knowing only those above it in this list:
//!
//! 0. [`atomic`], [`bencode`], [`bitfield`], [`disk`], [`hash`], [`lock`], [`mailbox`], [`net`], [`peer_id`], [`threads`], and for the
//!    binaries [`interrupt`] and [`logging`]
//! 1. [`torrent`]: metainfo and geometry
//! 2. [`peer`]'s and [`tracker`]'s pure parts: messages, sessions, picker, admission
//! 3. [`peer`] and [`tracker`]: the threads
//! 4. [`experiment`]: the measurement that is made with them

pub mod atomic;
pub mod backoff;
pub mod bencode;
pub mod bitfield;
pub mod disk;
pub mod experiment;
pub mod hash;
pub mod http;
pub mod interrupt;
pub mod lock;
pub mod logging;
pub mod mailbox;
pub mod net;
pub mod peer;
pub mod peer_id;
pub mod pool;
pub mod protocol;
#[cfg(test)]
mod testing;
pub mod threads;
pub mod torrent;
pub mod tracker;
