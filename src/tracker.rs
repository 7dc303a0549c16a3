//! The tracker: a searchable catalogue of torrents, and who holds which piece of them. One TCP port speaks two
//! languages, told apart by the first byte of a connection: `{` opens a session of JSON lines, all else is HTTP/1.1. The
//! UDP port of the same number speaks a third (BEP 15). It never carries content.
//!
//! | thread | how many | what it does |
//! |---|---|---|
//! | `accept` | 1 | accepts connections, starts their threads and joins them |
//! | `client-N` | 1 per connection | the only one that touches that socket; a session or HTTP |
//! | `udp` | 1 | the only one that touches the UDP socket; answers packet by packet |
//! | `events` | 1 | wakes the sessions when there is news |
//! | `sweep` | 1 | forgets announcers that went silent |
//! | `store` | 1, with `--data` | keeps `search_content.txt` |
//!
//! | file | what it holds |
//! |---|---|
//! | `tracker/protocol.rs` | the languages as types and bytes, for the server and for the peer's clients; pure |
//! | `tracker/registry.rs` | swarms, sessions, catalogue, news; pure |
//! | `tracker/address.rs` | which address of a peer to hand to whom; pure |
//! | `tracker/shared.rs` | what the threads share, and all the locks |
//! | `tracker/connection.rs` | a client's socket |
//! | `tracker/session.rs`, `tracker/http.rs` | the two languages over it |
//! | `tracker/udp.rs` | the third, and its connection ids |
//! | `tracker/store.rs` | the metainfo files on disk |

mod address;
mod budget;
mod connection;
mod http;
pub(crate) mod lines;
mod metrics;
pub mod protocol;
mod registry;
mod session;
mod shared;
mod store;
mod udp;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::mailbox::{Inbox, Interest, mailbox};
use crate::net;
use crate::threads;

use connection::Connection;
use registry::Registry;
use shared::{ConnectionId, Shared};
use store::Store;

#[doc(hidden)]
pub use http::request as http_request; // for fuzz/
#[doc(hidden)]
pub use lines::Lines; // for fuzz/
pub use registry::RegistryLimits;
pub use store::StoreError;

/// How long `events` rests after it woke all sessions, so that a torrent that comes and goes without pause costs
/// them fifty wake-ups a second and no more.
const NEWS_PAUSE: Duration = Duration::from_millis(20);

/// How many swarms `sweep` looks at before it lets others have the registry.
const SWEEP_AT_ONCE: usize = 256;

/// How long `accept` waits before it tries again when the system has no descriptors or threads left.
const BREATHER: Duration = Duration::from_millis(100);

/// What a tracker is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 for any.
    pub listen: SocketAddr,
    /// Where to keep the catalogue; without it nothing is kept.
    pub data: Option<PathBuf>,
    pub limits: Limits,
}

/// Bounds on time and room. The defaults are for use, tests shorten them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections, one thread each.
    pub connections: usize,
    /// Open connections from one address; a whole school may be behind one.
    pub connections_per_address: usize,
    /// How long a new connection may take to say what it wants, and an HTTP request to arrive.
    pub greeting: Duration,
    /// How long a session may say nothing.
    pub silence: Duration,
    /// How long a session may take to end a line that it began, and an HTTP client to take an answer.
    pub line: Duration,
    /// How long a client may take none of the bytes that wait for it.
    pub stall: Duration,
    /// How long an HTTP connection is kept for another request.
    pub http_idle: Duration,
    /// Bytes of all long lines together, being received or sent.
    pub line_bytes: usize,
    /// How much the catalogue and the swarms may hold, and how often announcers are asked to call.
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
            registry: RegistryLimits::default(),
        }
    }
}

/// Why a tracker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot start the tracker's threads: {0}")]
    Threads(io::Error),
}

/// A running tracker. It stops when this is dropped.
pub struct Tracker {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accept: shared::Waker,
    sweep: shared::Waker,
    udp: shared::Waker,
    threads: Vec<JoinHandle<()>>,
}

impl Tracker {
    /// Reads the catalogue and listens.
    ///
    /// # Errors
    /// When the port or the data folder cannot be used.
    pub fn start(config: Config) -> Result<Tracker, StartError> {
        net::raise_descriptor_limit();
        let listen_failed = |source| StartError::Listen { address: config.listen, source };
        let (listener, socket) = udp::bind_both(config.listen).map_err(listen_failed)?;
        let addr = listener.local_addr().map_err(listen_failed)?;

        let mut registry = Registry::new(config.limits.registry.clone(), fastrand::u64(..));
        let store = match &config.data {
            None => Store::in_memory(),
            Some(path) => {
                let (store, torrents) = Store::open(path)?;
                torrents.iter().for_each(|torrent| registry.catalogue(torrent));
                store
            }
        };
        let (herald, news) = mailbox(1).map_err(StartError::Threads)?;
        let (accept, accept_inbox) = mailbox(1).map_err(StartError::Threads)?;
        let (sweep, sweep_inbox) = mailbox(1).map_err(StartError::Threads)?;
        let (udp, udp_inbox) = mailbox(1).map_err(StartError::Threads)?;
        let shared = Arc::new(Shared::new(config.limits, store, registry, herald));
        let mut tracker = Tracker { addr, shared: shared.clone(), accept, sweep, udp, threads: Vec::new() };
        let mut start = |name: &str, body: Box<dyn FnOnce() + Send>| {
            threads::spawn(name, body).map(|thread| tracker.threads.push(thread)).map_err(StartError::Threads)
        };
        let events_shared = shared.clone();
        start("events", Box::new(move || spread_news(&events_shared, news)))?;
        let sweep_shared = shared.clone();
        start("sweep", Box::new(move || sweep_silent(&sweep_shared, sweep_inbox)))?;
        let udp_shared = shared.clone();
        start("udp", Box::new(move || udp::serve(&udp_shared, &socket, udp_inbox)))?;
        start("accept", Box::new(move || accept_all(&shared, &listener, accept_inbox)))?;
        Ok(tracker)
    }

    /// Where it listens, with the port that the system chose.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends all connections and threads, and waits for them.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.stop();
        self.accept.wake();
        self.sweep.wake();
        self.udp.wake();
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
fn accept_all(shared: &Arc<Shared>, listener: &TcpListener, mut inbox: Inbox<()>) {
    let mut clients: Vec<JoinHandle<()>> = Vec::new();
    let mut next: ConnectionId = 1;
    while !shared.is_stopping() {
        let nap = match listener.accept() {
            Ok((socket, remote)) => {
                shared.metrics.connections.add();
                match welcome(shared, socket, remote, next) {
                    Ok(client) => clients.push(client),
                    Err(error) => {
                        shared.metrics.refused.add();
                        log::warn!("turned away {remote}: {error}");
                    }
                }
                next += 1;
                clients = join_finished(clients);
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
    shared.stop(); // also those that came in while the others were being told
    for client in clients {
        let _ = client.join(); // its panic has ended the process
    }
}

fn join_finished(clients: Vec<JoinHandle<()>>) -> Vec<JoinHandle<()>> {
    let (finished, running): (Vec<_>, Vec<_>) = clients.into_iter().partition(JoinHandle::is_finished);
    for client in finished {
        let _ = client.join(); // its panic has ended the process
    }
    running
}

/// Starts the thread of a new connection.
fn welcome(
    shared: &Arc<Shared>,
    socket: TcpStream,
    remote: SocketAddr,
    id: ConnectionId,
) -> io::Result<JoinHandle<()>> {
    let (waker, inbox) = mailbox(1)?;
    let mut connection = Connection::new(socket, remote, inbox, shared.clone())?;
    if !shared.enter(id, connection.remote(), waker) {
        return Err(io::Error::other("there are as many connections as the limits allow"));
    }
    let client_shared = shared.clone();
    let started = threads::spawn(format!("client-{id}"), move || {
        serve(&client_shared, &mut connection, id);
        client_shared.exit(id);
    });
    if started.is_err() {
        shared.exit(id);
    }
    started
}

/// The thread `client-N`.
fn serve(shared: &Shared, connection: &mut Connection, id: ConnectionId) {
    match connection.first_byte(Instant::now() + shared.limits.greeting) {
        Ok(b'{') => session::serve(shared, connection, id),
        Ok(_) => http::serve(shared, connection),
        Err(end) => log::debug!("{} asked for nothing: {end}", connection.remote()),
    }
}

/// The thread `events`.
fn spread_news(shared: &Shared, mut inbox: Inbox<()>) {
    while !shared.is_stopping() {
        if let Err(error) = inbox.wait_for_mail(None) {
            log::warn!("cannot wait for news: {error}");
        }
        shared.spread_news();
        std::thread::sleep(NEWS_PAUSE);
    }
}

/// The thread `sweep`.
fn sweep_silent(shared: &Shared, mut inbox: Inbox<()>) {
    let pause = (shared.limits.registry.interval / 4).max(NEWS_PAUSE);
    while !shared.is_stopping() {
        if let Err(error) = inbox.wait_for_mail(Some(pause)) {
            log::warn!("cannot wait for the next sweep: {error}");
        }
        let hashes = shared.registry(|registry| registry.hashes());
        for some in hashes.chunks(SWEEP_AT_ONCE) {
            shared.registry(|registry| registry.sweep(some, Instant::now()));
        }
    }
}
