//! One running peer: starting and stopping its threads, and its torrents.
//!
//! [`Engine`] is what the command line and the shell hold. It starts the pool (`fetch-N`), `choke` and
//! `accept`, which starts a thread for each connection. It stops them in the reverse order, and joins each of
//! them. How torrents are added is in `adding`. One lock, held while the threads are taken out to be joined.

mod adding;

pub use adding::{AddTorrent, Content};

use super::bans::Bans;
use super::connection::accept::{self, AcceptMail, Acceptor, ConnectionLimits, ReconnectLimit};
use super::storage::StorageError;
use super::storage::state_dir::{StateDir, StateError};
use super::swarm::Job;
use super::swarm::busy::Busy;
use super::swarm::shared::{Shared, Tuning};
use super::swarm::table::Swarms;
use super::upload::choker::Choker;
use super::upload::ledger::Ledger;
use super::upload::slots::Uploads;
use super::workers::{self, stats::WorkerStats};
use crate::disk::Disk;
use crate::mailbox::{Mailbox, mailbox};
use crate::net::{self, Families};
use crate::pool::{self, Pool, Workers};
use crate::protocol::handshake::PeerId;
use crate::threads;
use parking_lot::Mutex;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use thiserror::Error;

/// The ports that are tried in turn if the user names none.
const PORTS: std::ops::RangeInclusive<u16> = 6881..=6889;

/// The settings of an [`Engine`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; by default at all addresses of both families, on the first free port of 6881 to 6889,
    /// then on any.
    pub listen: Option<SocketAddr>,
    /// The address families to use: to listen, to connect and to announce.
    pub families: Families,
    /// The folder for resume states, the ledger and our peer id. Without it nothing is kept for the next
    /// start.
    pub state: Option<PathBuf>,
    /// Number of peers that are served at once.
    pub slots: usize,
    /// Number of workers in the pool; by default one for each core, at least two.
    pub workers: Option<usize>,
    /// Maximum number of connections, over all torrents.
    pub max_connections: usize,
    /// Maximum bytes per second of content that go out; `None` is no limit.
    pub up: Option<u64>,
    /// Maximum bytes per second of content that come in; `None` is no limit.
    pub down: Option<u64>,
    /// Settings for tests of the extremes.
    #[doc(hidden)]
    pub tuning: Tuning,
    /// The disk that holds downloads and states; a test stands between it and the real one.
    #[doc(hidden)]
    pub disk: Disk,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: None,
            families: Families::default(),
            state: None,
            slots: 8,
            workers: None,
            max_connections: 500,
            up: None,
            down: None,
            tuning: Tuning::default(),
            disk: Disk::default(),
        }
    }
}

/// Why an engine does not start, or does not take a torrent.
#[derive(Debug, Error)]
pub enum StartError {
    /// Nobody can connect to us at this address.
    #[error("cannot listen on {addr}: {why}")]
    Listen {
        /// Where the engine was to listen.
        addr: SocketAddr,
        /// What the system reported.
        why: io::Error,
    },
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The system has no thread left, or not what a thread needs.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
    /// The files of the torrent cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The engine has a torrent of this name and hash, or one that is downloaded to the same place.
    #[error("{0} is here already")]
    Known(String),
}

/// A running peer of our own. Dropping it stops it.
pub struct Engine {
    /// What all torrents share.
    #[doc(hidden)]
    pub shared: Arc<Shared>,
    /// The torrents that were added and not removed.
    pub swarms: Arc<Swarms>,
    /// Which worker did what.
    pub(crate) worker_stats: Arc<WorkerStats>,
    pool: Pool<Job>,
    state: Option<Arc<StateDir>>,
    disk: Disk,
    addr: SocketAddr,
    to_accept: Mailbox<AcceptMail>,
    stopping: Arc<AtomicBool>,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    accept: JoinHandle<()>,
    choke: JoinHandle<()>,
    workers: Workers<Job>,
}

impl Engine {
    /// Starts all threads. From now on connections are taken.
    ///
    /// # Errors
    /// The address or the state folder cannot be used, or a thread cannot be started.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        net::raise_descriptor_limit();
        let listener = listen(config.listen, config.families)?;
        let addr = listener.local_addr()?;
        let state = config.state.as_deref().map(|path| StateDir::open_on(config.disk.clone(), path));
        let state = state.transpose()?.map(Arc::new);
        let peer_id = state.as_ref().map_or_else(|| Ok(PeerId::random()), |state| state.peer_id())?;
        let ledger =
            Ledger::open(state.as_ref().map(|state| state.ledger()).as_deref()).on(config.disk.clone());
        let bans = Bans::open(state.as_ref().map(|state| state.bans()).as_deref());
        let (uploads, nudges) = Uploads::new();
        let rates = (config.up, config.down);
        let shared =
            Arc::new(Shared::new(peer_id, uploads, ledger, bans, rates, config.tuning, config.families));
        shared.set_port(addr.port());
        let count = config.workers.unwrap_or(cores().max(2)).max(1);
        let worker_stats = Arc::new(WorkerStats::new(count));
        let for_workers = Arc::clone(&worker_stats);
        let (pool, workers) =
            pool::start("fetch", count, move |turn, job| workers::run(&for_workers, turn, job))?;
        let swarms = Arc::new(Swarms::default());
        let stopping = Arc::new(AtomicBool::new(false));

        let choker = Choker::new(config.slots, fastrand::u64(..));
        let (for_choke, stop) = (Arc::clone(&shared), Arc::clone(&stopping));
        let choke = move || {
            let stopped = || stop.load(Ordering::Acquire);
            for_choke.uploads.run(&nudges, choker, &for_choke.ledger, &for_choke.bans, stopped);
        };
        let choke = threads::spawn("choke", choke)?;

        let (to_accept, inbox) = mailbox(accept::MAILBOX)?;
        let acceptor = Acceptor {
            listener,
            inbox,
            mailbox: to_accept.clone(),
            swarms: Arc::clone(&swarms),
            busy: Busy::default(),
            shared: Arc::clone(&shared),
            connections: ConnectionLimits::new(config.max_connections),
            reconnects: ReconnectLimit::default(),
            banned: 0,
        };
        let accept = threads::spawn("accept", move || acceptor.run())?;
        let threads = Mutex::new(Some(Threads { accept, choke, workers }));
        let disk = config.disk.clone();
        Ok(Engine { shared, swarms, worker_stats, pool, state, disk, addr, to_accept, stopping, threads })
    }

    /// The state folder, if there is one.
    #[doc(hidden)]
    pub fn state(&self) -> Option<&Arc<StateDir>> {
        self.state.as_ref()
    }

    /// The address on which the engine listens. At `[::]` it takes IPv4 as well.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Has the engine connect to the addresses that were given to its torrents, without delay. To be called
    /// after [`Swarm::add_addresses`](super::swarm::Swarm::add_addresses).
    pub fn look_for_peers(&self) {
        let _ = self.to_accept.post(AcceptMail::Look); // in vain if the engine stops
    }

    /// Ends all connections, joins every thread, and saves what is kept for the next start. A second call
    /// does nothing.
    pub fn stop(&self) {
        let Some(threads) = self.threads.lock().take() else { return };
        self.stopping.store(true, Ordering::Release);
        while let Err(crate::mailbox::Undelivered::Full(_)) = self.to_accept.post(AcceptMail::Stop) {
            thread::yield_now(); // it reads its mail at each turn
        }
        let _ = threads.accept.join();
        self.shared.uploads.nudge();
        let _ = threads.choke.join();
        drop(threads.workers);
        let mut is_full = false;
        for swarm in self.swarms.all().iter() {
            let saved = swarm.save();
            is_full |= saved.as_ref().is_err_and(StorageError::is_for_space);
            match saved {
                Err(why) if swarm.is_paused() => log::debug!("{why}"), // the user was told why
                Err(why) => log::error!("{why}"),
                Ok(()) => {}
            }
        }
        self.shared.stop();
        self.swarms.all().iter().for_each(|swarm| swarm.engine_stopped());
        match self.shared.ledger.save() {
            Err(why) if is_full => log::debug!("cannot save the ledger: {why}"), // as was told
            Err(why) => log::error!("cannot save the ledger: {why}"),
            Ok(()) => {}
        }
        if let Err(why) = self.shared.bans.save() {
            log::error!("cannot save the bans: {why}");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(2, usize::from)
}

/// Listens at `addr`, or where we do by default. A system without IPv6 has IPv4 alone.
fn listen(addr: Option<SocketAddr>, families: Families) -> Result<TcpListener, StartError> {
    let any = SocketAddr::from((families.any(), 0));
    let choices = match addr {
        Some(addr) => vec![addr],
        None => PORTS.map(|port| SocketAddr::new(any.ip(), port)).chain([any]).collect(),
    };
    let mut failed = StartError::Listen { addr: any, why: io::ErrorKind::AddrInUse.into() };
    for choice in choices {
        match net::listen(choice, families) {
            Ok(listener) => return Ok(listener),
            // A port that is taken in one family is left to whoever has it.
            Err(why) if why.kind() == io::ErrorKind::AddrInUse => {
                failed = StartError::Listen { addr: choice, why }
            }
            Err(_) if addr.is_none() && families == Families::Both => return listen(None, Families::V4),
            Err(why) => failed = StartError::Listen { addr: choice, why },
        }
    }
    Err(failed)
}
