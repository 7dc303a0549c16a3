//! The peer: a map of its rooms, from the roof to the ground. Each knows only those below it.
//!
//! | room | what it is for |
//! |---|---|
//! | `app` | what a person does: shell, room of a tracker, upload folder, settings |
//! | `engine` | one running peer: starts and stops the threads, adds torrents |
//! | `connection` | the threads that own a socket, and the `accept` thread that starts them |
//! | `workers` | what the pool's threads do: choose pieces, verify, write |
//! | `swarm` | one torrent's shared state, all its locks, and what is done under them |
//! | `session` | one connection's state machine; pure |
//! | `upload` | who is served: slots, order, ledger, super-seeding |
//! | `handle` | a connection as others see it, and the mail it takes |
//! | `download` | what to fetch next: picker, requests, window, memory, blame |
//! | `catalogue` | the client of a shoal tracker's sessions |
//! | `bans` | who is not let in any more |
//! | `bandwidth` | limits, measured rates, and what the sockets carried |
//! | `storage` | files, resume states, the state folder |
//! | `discovery` | how others are found: trackers, addresses |
//! | `identity` | names of connections and of peers |
//!
//! *Peer* is the other side of a connection; our own process is the *engine*. `docs/THREADS.md` walks through
//! the threads.

pub mod engine;
pub mod handle;
pub mod swarm;

// Open to shoal's own programs, tests, benchmarks and fuzzers; no promise is made about them.
#[doc(hidden)]
pub mod app;
#[doc(hidden)]
pub mod bans;
#[doc(hidden)]
pub mod catalogue;
#[doc(hidden)]
pub mod discovery;
#[doc(hidden)]
pub mod download;
#[doc(hidden)]
pub mod identity;
#[doc(hidden)]
pub mod session;
#[doc(hidden)]
pub mod storage;
#[doc(hidden)]
pub mod upload;

mod bandwidth;
mod connection;
mod workers;
