//! The tracker: a searchable catalogue of torrents, and who holds which piece of them. It never
//! carries content.
//!
//! One TCP port speaks two protocols, told apart by the first byte of a connection: `{` opens a session of
//! JSON lines, everything else is HTTP/1.1. The UDP port of the same number speaks a third protocol (BEP 15).
//! This file starts and stops the threads; the locks are in `tracker/shared.rs`.
//!
//! | thread | how many | what it does |
//! |---|---|---|
//! | `accept` | 1 | accepts connections, finds or starts a thread for each, and joins them |
//! | `client-N` | 1 per connection | a session or HTTP; owns the socket; then waits for another connection |
//! | `udp-N` | 1 per core | answers packet by packet; owns its UDP socket |
//! | `events` | 1 | wakes the sessions when there are new events |
//! | `sweep` | 1 | removes announcers that are silent |
//! | `store` | 1, with `--data` | keeps `search_content.txt` |
//!
//! The protocols as types and bytes are in [`protocol`](crate::protocol).
//!
//! | file | what it holds |
//! |---|---|
//! | `tracker/registry.rs` | swarms, sessions, catalogue, events; pure |
//! | `tracker/address.rs` | which address of a peer is given to whom; pure |
//! | `tracker/shared.rs` | state shared by the threads, and all locks |
//! | `tracker/clients.rs` | the threads of the connections |
//! | `tracker/connection.rs` | a client's socket |
//! | `tracker/session.rs`, `tracker/http.rs` | the two protocols over TCP |
//! | `tracker/udp.rs` | the third protocol, and its connection ids |
//! | `tracker/store.rs` | the metainfo files on disk |

mod address;
mod budget;
mod clients;
mod connection;
pub mod front;
mod http;
mod metrics;
mod registry;
mod session;
mod shared;
mod store;
mod udp;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::mailbox::{Inbox, Interest, mailbox};
use crate::net;
use crate::threads;

use clients::Clients;
use front::Front;
use registry::Registry;
use shared::TrackerShared;
use store::Store;

pub use registry::RegistryLimits;
pub use store::StoreError;

/// How long `events` pauses after it woke all sessions: a torrent that comes and goes without pause wakes
/// each session at most fifty times a second.
const NEWS_PAUSE: Duration = Duration::from_millis(20);

/// How long `accept` waits before it tries again if the system has no descriptors or threads left.
const BREATHER: Duration = Duration::from_millis(100);

/// Settings of a tracker.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to listen on, TCP and UDP; port 0 for any free port.
    pub listen: SocketAddr,
    /// Folder of the catalogue; without it nothing is kept across restarts.
    pub data: Option<PathBuf>,
    /// Limits on time and memory.
    pub limits: Limits,
    /// How it looks from outside.
    pub front: Front,
}

impl Default for Config {
    /// On any free port, with nothing kept across restarts.
    fn default() -> Self {
        let listen = SocketAddr::from(([0, 0, 0, 0], 0));
        Config { listen, data: None, limits: Limits::default(), front: Front::default() }
    }
}

/// Limits on time and memory. The defaults are for real use; tests shorten them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Maximum number of open connections, one thread each.
    pub connections: usize,
    /// Maximum number of open connections from one address. A whole school may be behind one address.
    pub connections_per_address: usize,
    /// How long a new connection may take to send `hello`, or the head of an HTTP request.
    pub greeting: Duration,
    /// How long a session may be silent.
    pub silence: Duration,
    /// How long a session may take to complete a line that it began, and an HTTP client to read a response.
    pub line: Duration,
    /// How long a client may read none of the bytes that wait for it.
    pub stall: Duration,
    /// How long an idle HTTP connection is kept open for another request.
    pub http_idle: Duration,
    /// Maximum number of bytes of all long lines together, being received or sent.
    pub line_bytes: usize,
    /// Maximum number of threads that answer UDP, of which there is one per core. Far fewer than the default
    /// can fill any link with answers.
    pub udp_threads: usize,
    /// Limits of the catalogue and the swarms, and the announce interval.
    pub registry: RegistryLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 4096,
            connections_per_address: 1000,
            greeting: Duration::from_secs(10),
            silence: Duration::from_secs(120),
            line: Duration::from_secs(300),
            stall: Duration::from_secs(30),
            http_idle: Duration::from_secs(30),
            line_bytes: 256 << 20,
            udp_threads: 16,
            registry: RegistryLimits::default(),
        }
    }
}

/// Why a tracker could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port cannot be used.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The data folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system starts no more threads.
    #[error("cannot start the tracker's threads: {0}")]
    Threads(io::Error),
}

/// A running tracker. Dropping it stops it.
pub struct Tracker {
    addr: SocketAddr,
    shared: Arc<TrackerShared>,
    accept: shared::Waker,
    sweep: shared::Waker,
    udp: Vec<shared::Waker>,
    threads: Vec<JoinHandle<()>>,
}

impl Tracker {
    /// Loads the catalogue, starts the threads and listens.
    ///
    /// # Errors
    /// If the port or the data folder cannot be used, or the system has no more threads.
    pub fn start(config: Config) -> Result<Tracker, StartError> {
        net::raise_descriptor_limit();
        let listen_failed = |source| StartError::Listen { address: config.listen, source };
        let (listener, sockets) =
            udp::bind_both(config.listen, config.limits.udp_threads).map_err(listen_failed)?;
        let addr = listener.local_addr().map_err(listen_failed)?;

        let mut registry = Registry::new(config.limits.registry.clone(), fastrand::u64(..), Instant::now());
        let store = match &config.data {
            None => Store::in_memory(),
            Some(path) => {
                let (store, torrents) = Store::open(path)?;
                torrents.iter().for_each(|torrent| drop(registry.catalogue(torrent)));
                store
            }
        };
        let (herald, news) = mailbox(1).map_err(StartError::Threads)?;
        let (accept, accept_inbox) = mailbox(1).map_err(StartError::Threads)?;
        let (sweep, sweep_inbox) = mailbox(1).map_err(StartError::Threads)?;
        let shared =
            Arc::new(TrackerShared::new((config.limits, config.front), addr.port(), store, registry, herald));
        let mut tracker =
            Tracker { addr, shared: shared.clone(), accept, sweep, udp: Vec::new(), threads: Vec::new() };
        let mut start = |name: &str, body: Box<dyn FnOnce() + Send>| {
            threads::spawn(name, body).map(|thread| tracker.threads.push(thread)).map_err(StartError::Threads)
        };
        let events_shared = shared.clone();
        start("events", Box::new(move || wake_subscribers(&events_shared, news)))?;
        let sweep_shared = shared.clone();
        start("sweep", Box::new(move || sweep_silent(&sweep_shared, sweep_inbox)))?;
        let ids = udp::ConnectionIds::new(Instant::now());
        for (nth, socket) in sockets.into_iter().enumerate() {
            let (waker, inbox) = mailbox(1).map_err(StartError::Threads)?;
            tracker.udp.push(waker);
            let (shared, ids) = (shared.clone(), ids.clone());
            start(&format!("udp-{nth}"), Box::new(move || udp::serve(&shared, &ids, &socket, inbox)))?;
        }
        start("accept", Box::new(move || accept_all(&shared, &listener, accept_inbox)))?;
        Ok(tracker)
    }

    /// The address that it listens on, with the port that the system chose.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Closes all connections, and waits until all threads have ended.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.stop();
        self.accept.wake();
        self.sweep.wake();
        self.udp.iter().for_each(shared::Waker::wake);
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // its panic has ended the process
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread `accept`.
fn accept_all(shared: &Arc<TrackerShared>, listener: &TcpListener, mut inbox: Inbox<()>) {
    let mut clients = Clients::new(shared.clone());
    while !shared.is_stopping() {
        let nap = match listener.accept() {
            Ok((socket, remote)) => {
                shared.metrics.connections.add();
                if let Err(error) = clients.welcome(socket, remote) {
                    shared.metrics.refused.add();
                    log::warn!("turned away {remote}: {error}");
                }
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => {
                log::warn!("cannot accept a connection: {error}");
                Some(BREATHER)
            }
        };
        let slept = match nap {
            None => inbox.wait(listener, Interest::READ, None).map(|_| ()),
            Some(nap) => inbox.wait_for_mail(Some(nap)),
        };
        if let Err(error) = slept {
            log::warn!("cannot wait for connections: {error}");
        }
    }
    shared.stop(); // also the connections that came in during the first stop
    clients.join();
}

/// The thread `events`.
fn wake_subscribers(shared: &TrackerShared, mut inbox: Inbox<()>) {
    while !shared.is_stopping() {
        if let Err(error) = inbox.wait_for_mail(None) {
            log::warn!("cannot wait for news: {error}");
        }
        shared.wake_subscribers();
        std::thread::sleep(NEWS_PAUSE);
    }
}

/// The thread `sweep`.
fn sweep_silent(shared: &TrackerShared, mut inbox: Inbox<()>) {
    let pause = (shared.limits.registry.interval / 4).max(NEWS_PAUSE);
    while !shared.is_stopping() {
        if let Err(error) = inbox.wait_for_mail(Some(pause)) {
            log::warn!("cannot wait for the next sweep: {error}");
        }
        let mut sweep = shared.registry(|registry| registry.begin_sweep());
        while shared.registry(|registry| registry.sweep(&mut sweep, Instant::now())) {}
    }
}
