//! One running peer: starting and stopping its threads, and the torrents it has.
//!
//! [`Engine`] is what the command line and the shell hold. It starts the pool (`fetch-N`), `choke` and `accept`; the last
//! starts a thread for each connection. Stopping goes the other way round, and joins every one of them.

use super::bans::Bans;
use super::connection::accept::{self, AcceptMail, Acceptor, ConnectionLimits, ReconnectLimit};
use super::storage::resume::{Resume, ResumeFile, Stamp};
use super::storage::state_dir::{StateDir, StateError};
use super::storage::{Storage, StorageError};
use super::swarm::options::DownloadOptions;
use super::swarm::shared::{Shared, Tuning};
use super::swarm::table::Swarms;
use super::swarm::{Job, Observer, Swarm};
use super::upload::choker::Choker;
use super::upload::ledger::Ledger;
use super::upload::slots::Uploads;
use super::workers::{self, stats::WorkerStats};
use crate::bitfield::Bitfield;
use crate::disk::Disk;
use crate::mailbox::{Mailbox, mailbox};
use crate::net;
use crate::pool::{self, Pool, Workers};
use crate::protocol::handshake::PeerId;
use crate::threads;
use crate::torrent::{Piece, Torrent};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use thiserror::Error;

/// The ports tried in turn where the user names none.
const PORTS: std::ops::RangeInclusive<u16> = 6881..=6889;

/// How a peer is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; by default the first free port of 6881 to 6889, then any.
    pub listen: Option<SocketAddr>,
    /// Where resume states, the ledger and the peer's name are kept; nothing is kept without.
    pub state: Option<PathBuf>,
    /// How many peers are served at once.
    pub slots: usize,
    /// Workers of the pool; by default one for each core, at least two.
    pub workers: Option<usize>,
    pub max_connections: usize,
    /// Content out and in, bytes per second; `None` is no limit.
    pub up: Option<u64>,
    pub down: Option<u64>,
    pub tuning: Tuning,
    /// What downloads and states are kept on; a test may look at it.
    pub disk: Disk,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: None,
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

/// Why a peer or a torrent does not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("cannot listen on {addr}: {why}")]
    Listen { addr: SocketAddr, why: io::Error },
    #[error(transparent)]
    State(#[from] StateError),
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("{0} is here already")]
    Known(String),
}

/// A running peer of our own. Dropping it stops it.
pub struct Engine {
    pub shared: Arc<Shared>,
    pub swarms: Arc<Swarms>,
    /// Who of the workers did what.
    pub worker_stats: Arc<WorkerStats>,
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
    /// Starts all threads; connections are taken from now on.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        net::raise_descriptor_limit();
        let listener = listen(config.listen)?;
        let addr = listener.local_addr()?;
        let state = config.state.as_deref().map(|path| StateDir::open_on(config.disk.clone(), path));
        let state = state.transpose()?.map(Arc::new);
        let peer_id = state.as_ref().map_or_else(|| Ok(PeerId::random()), |state| state.peer_id())?;
        let ledger =
            Ledger::open(state.as_ref().map(|state| state.ledger()).as_deref()).on(config.disk.clone());
        let bans = Bans::open(state.as_ref().map(|state| state.bans()).as_deref());
        let (uploads, nudges) = Uploads::new();
        let rates = (config.up, config.down);
        let shared = Arc::new(Shared::new(peer_id, uploads, ledger, bans, rates, config.tuning));
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

    /// What the peer keeps of itself, if it keeps anything.
    pub fn state(&self) -> Option<&Arc<StateDir>> {
        self.state.as_ref()
    }

    /// Where the peer listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Shares content that lies under `dir/NAME`. What its resume state does not call durable is checked first.
    pub fn seed(
        &self,
        torrent: Arc<Torrent>,
        dir: &Path,
        watch: Arc<dyn Observer>,
    ) -> Result<Arc<Swarm>, StartError> {
        let storage = Storage::shared(Arc::clone(&torrent), dir);
        self.add(torrent, &DownloadOptions::default(), storage, watch)
    }

    /// Shares content that was hashed a moment ago, or is known by other means: nothing is read again, and nothing
    /// kept for the next start.
    pub fn share(
        &self,
        torrent: Arc<Torrent>,
        dir: &Path,
        watch: Arc<dyn Observer>,
    ) -> Result<Arc<Swarm>, StartError> {
        self.share_with(None, torrent, dir, watch)
    }

    /// The same, and the next start knows it too.
    pub fn share_and_keep(
        &self,
        torrent: Arc<Torrent>,
        dir: &Path,
        watch: Arc<dyn Observer>,
    ) -> Result<Arc<Swarm>, StartError> {
        let swarm = self.share_with(self.resume_file(&torrent), torrent, dir, watch)?;
        swarm.save()?;
        Ok(swarm)
    }

    fn share_with(
        &self,
        resume: Option<ResumeFile>,
        torrent: Arc<Torrent>,
        dir: &Path,
        watch: Arc<dyn Observer>,
    ) -> Result<Arc<Swarm>, StartError> {
        let all = Bitfield::full(torrent.geometry().piece_count());
        self.add_with(
            resume,
            &DownloadOptions::default(),
            Storage::shared(torrent, dir),
            all,
            (Vec::new(), false),
            watch,
        )
    }

    /// Downloads into `dir`, going on where an earlier run stopped. Content that is complete under `dir/NAME` is
    /// shared; anything else of that name is in the way.
    pub fn download(
        &self,
        torrent: Arc<Torrent>,
        dir: &Path,
        watch: Arc<dyn Observer>,
    ) -> Result<Arc<Swarm>, StartError> {
        self.download_with(torrent, dir, &DownloadOptions::default(), watch)
    }

    /// The same of some files, or in order.
    pub fn download_with(
        &self,
        torrent: Arc<Torrent>,
        dir: &Path,
        options: &DownloadOptions,
        watch: Arc<dyn Observer>,
    ) -> Result<Arc<Swarm>, StartError> {
        if self.swarms.get(torrent.info_hash()).is_some() {
            return Err(StartError::Known(torrent.name().to_owned()));
        }
        let (disk, files, known) =
            (self.disk.clone(), options.files_of(&torrent), self.settled(&torrent, dir));
        let storage = Storage::download_files(disk, Arc::clone(&torrent), dir, &files, &known)?;
        if storage.is_all_settled() {
            log::debug!("{} is complete already", storage.root().display());
            return self.share_and_keep(torrent, dir, watch);
        }
        self.add(torrent, options, storage, watch)
    }

    /// The files that had their names when the resume state was saved, as they were then.
    fn settled(&self, torrent: &Torrent, dir: &Path) -> BTreeMap<usize, Stamp> {
        let resume =
            self.resume_file(torrent).and_then(|file| file.load()).filter(|resume| resume.dir == dir);
        resume.map_or_else(BTreeMap::new, |resume| {
            resume.files.into_iter().enumerate().chain(resume.settled).collect()
        })
    }

    fn add(
        &self,
        torrent: Arc<Torrent>,
        options: &DownloadOptions,
        storage: Storage,
        watch: Arc<dyn Observer>,
    ) -> Result<Arc<Swarm>, StartError> {
        let (have, trouble) = self.durable(&torrent, &storage);
        let unverified = |piece: &Piece| !have.has(piece.index());
        let unverified: Vec<Piece> = torrent.geometry().pieces().filter(unverified).collect();
        if storage.has_content() {
            let (name, durable, unverified) = (torrent.name(), have.count(), unverified.len());
            log::info!("{name}: {durable} pieces are vouched for, {unverified} are looked for on the disk");
        }
        if let Some(why) = &trouble {
            log::warn!("{} was paused: {why}: it is tried again", torrent.name());
        }
        let unverified = (unverified, trouble.is_some());
        self.add_with(self.resume_file(&torrent), options, storage, have, unverified, watch)
    }

    /// Adds a torrent. Of the unverified pieces the disk may show more than it keeps.
    fn add_with(
        &self,
        resume: Option<ResumeFile>,
        options: &DownloadOptions,
        storage: Storage,
        have: Bitfield,
        (unverified, after_trouble): (Vec<Piece>, bool),
        watch: Arc<dyn Observer>,
    ) -> Result<Arc<Swarm>, StartError> {
        let torrent = Arc::clone(storage.torrent());
        let (shared, pool) = (Arc::clone(&self.shared), self.pool.clone());
        let swarm = Swarm::new(Arc::clone(&torrent), options, storage, resume, have, shared, pool, watch);
        if !self.swarms.insert(&swarm) {
            return Err(StartError::Known(torrent.name().to_owned()));
        }
        if after_trouble {
            swarm.distrust_the_disk();
        }
        let lacks_only_its_name = swarm.has_all_wanted() && !swarm.storage.is_shared();
        if swarm.storage.has_content() {
            swarm.check(unverified.into_iter());
        }
        if lacks_only_its_name {
            swarm.complete()?; // nothing but empty files, or a crash came before
        }
        Ok(swarm)
    }

    /// The pieces that an earlier run made durable, as far as the files are still what they were; and what trouble it had
    /// with the disk.
    fn durable(&self, torrent: &Torrent, storage: &Storage) -> (Bitfield, Option<String>) {
        let pieces = torrent.geometry().piece_count();
        let none = Bitfield::new(pieces);
        let Some(resume) = self.resume_file(torrent).and_then(|file| file.load()) else {
            return (none, None);
        };
        let have = match resume.pieces(pieces) {
            Some(have) if resume.dir == storage.dir() && unchanged(&resume, torrent, storage) => {
                storage.within_files(&have)
            }
            _ => none,
        };
        (have, resume.trouble)
    }

    /// Takes away what is kept of these torrents for the next start, because nobody needs it any more.
    pub fn discard(&self, torrents: &[Arc<Torrent>]) {
        if let Some(state) = &self.state {
            state.discard(&torrents.iter().map(|torrent| torrent.key()).collect::<Vec<_>>());
        }
    }

    fn resume_file(&self, torrent: &Torrent) -> Option<ResumeFile> {
        self.state.as_ref().map(|state| state.resume(&torrent.key()))
    }

    /// Tells that there are new addresses to try.
    pub fn look_for_peers(&self) {
        let _ = self.to_accept.post(AcceptMail::Look); // it stops
    }

    /// Ends all connections, joins every thread, and saves what is to survive. A second call does nothing.
    pub fn stop(&self) {
        let Some(threads) = self.threads.lock().take() else { return };
        self.stopping.store(true, Ordering::Release);
        while let Err(crate::mailbox::Undelivered::Full(_)) = self.to_accept.post(AcceptMail::Stop) {
            thread::yield_now(); // it reads its mail all the time
        }
        let _ = threads.accept.join();
        self.shared.uploads.nudge();
        let _ = threads.choke.join();
        drop(threads.workers);
        for swarm in self.swarms.all() {
            if let Err(why) = swarm.save() {
                log::error!("{why}");
            }
        }
        if let Err(why) = self.shared.ledger.save() {
            log::error!("cannot save the ledger: {why}");
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

/// Whether the files are as the resume state knew them. Those of an unfinished download change all the time, but
/// what is durable of them was on the disk before.
fn unchanged(resume: &Resume, torrent: &Torrent, storage: &Storage) -> bool {
    if resume.files.is_empty() {
        return !storage.is_shared();
    }
    let same =
        |(index, stamp): (usize, &Stamp)| Stamp::of(&storage.path(index)).is_ok_and(|now| now == *stamp);
    resume.files.len() == torrent.files().len() && resume.files.iter().enumerate().all(same)
}

fn listen(addr: Option<SocketAddr>) -> Result<TcpListener, StartError> {
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let choices = match addr {
        Some(addr) => vec![addr],
        None => PORTS.map(|port| SocketAddr::from(([0, 0, 0, 0], port))).chain([any]).collect(),
    };
    let mut failed = StartError::Listen { addr: any, why: io::ErrorKind::AddrInUse.into() };
    for addr in choices {
        match TcpListener::bind(addr) {
            Ok(listener) => {
                listener.set_nonblocking(true)?;
                return Ok(listener);
            }
            Err(why) => failed = StartError::Listen { addr, why },
        }
    }
    Err(failed)
}
