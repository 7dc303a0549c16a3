//! One torrent's shared state, all its locks, and their order.
//!
//! | order | lock | guards | taken |
//! |---|---|---|---|
//! | 1 | `picker` | the state of each piece, what each peer has | once or twice for each piece |
//! | 2 | `finished` | the list of pieces finished since the start | once for each piece, and to read it |
//! | 3 | `members` | the connections | when one begins or ends, and to wake all |
//! | 4 | `starved` | the connections that wait for work | once for each piece at most |
//! | 4 | `blame` | which pieces came bad, and from whom | once for each piece at most |
//! | 4 | `addresses` | addresses of peers | when a connection is made or ends |
//! | 4 | `state` | running or paused; `changed` waits with it | to look, and for a pause |
//! | 4 | `saved_at`, `durable` | when the last save was, and what it made durable | once for each save |
//! | 4 | `unverified`, `trouble` | which pieces are not trusted any more, and why | when the disk fails |
//! | 4 | `absence` | when the folder is looked for, if it is not there | at each turn of `accept` |
//! | 4 | `arrived`, `to_write` | pieces to be verified, and verified pieces | twice for each piece |
//! | 4 | `first_copy` | which pieces of the first copy are out | by a lone seed's connections, at each turn |
//!
//! A thread that holds a lock may only take a later one. In fact no two are held together, except `picker`
//! and then `finished`, so that the two agree. None is held over a socket, the disk or a mailbox.
//!
//! ```text
//! good:  let pick = self.picker.lock().pick(..);      the lock ends with the statement
//!        handle.mailbox.post(..)
//! bad:   let mut picker = self.picker.lock();
//!        handle.mailbox.post(..picker.pick(..)..)     held over a mailbox
//! ```
//!
//! The condition variable `changed` waits with the lock of `state`; a thread that waits on it holds no other
//! lock. A thread that sets `complete` takes that lock for a moment, so that no wake-up is lost.
//!
//! **Finished pieces need no queue.** They stand in `finished`, in order, and each connection keeps a cursor
//! into it. A worker adds its piece and wakes the connections. Each of them sends `Have` for all that it has
//! not announced, in one write.

mod absence;
pub(crate) mod busy;
mod first_copy;
mod members;
pub mod options;
mod pausing;
#[doc(hidden)]
pub mod pending;
mod pieces;
mod saving;
#[doc(hidden)]
pub mod shared;
pub mod table;
mod verifying;
mod waiting;

use absence::Absence;
use first_copy::FirstCopy;
#[doc(hidden)]
pub use pieces::Look;
pub(crate) use verifying::Arrived;
use verifying::{ToVerify, ToWrite};
pub use waiting::WaitError;

use super::discovery::addresses::Addresses;
use super::download::blame::Blame;
use super::download::picker::Picker;
use super::handle::Handle;
use super::identity::ConnId;
use super::storage::Storage;
use super::storage::resume::ResumeFile;
use crate::bitfield::Bitfield;
use crate::pool::Pool;
use crate::torrent::{Piece, Torrent};
use options::DownloadOptions;
use parking_lot::{Condvar, Mutex, RwLock};
use shared::Shared;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// What the workers of the pool do; `peer/workers.rs` says how.
#[doc(hidden)]
pub enum Job {
    /// Find the next piece for a connection.
    Fetch {
        /// The torrent.
        swarm: Arc<Swarm>,
        /// The connection.
        handle: Arc<Handle>,
        /// It knows that there was nothing to begin: that this is still so is no news to it.
        again: bool,
    },
    /// All blocks of some pieces are here: verify, write, mark.
    Finish(Arc<Swarm>),
    /// Look whether these pieces are on the disk. They are a part of all that are looked for.
    Check(Arc<Swarm>, Range<u32>, Arc<Look>),
    /// Make durable what came since the last save, and save the resume state.
    Save(Arc<Swarm>),
    /// All pieces are here: give the download its name.
    Complete(Arc<Swarm>),
    /// The folder is absent: look whether it is back.
    LookForFolder(Arc<Swarm>),
}

/// Hears what becomes of a torrent. The methods are called by workers and connections, and must not block.
pub trait Observer: Send + Sync {
    /// More pieces are here.
    fn progressed(&self, _swarm: &Swarm) {}

    /// All pieces that are wanted are here, and the files have their names.
    fn completed(&self, _swarm: &Swarm) {}

    /// The torrent was paused because of an error that the user has to see to. Who does not tell the user
    /// leaves it to the log.
    fn paused(&self, swarm: &Swarm, why: &str) {
        log::error!("{} is paused: {why}", swarm.torrent.name());
    }

    /// The connection to a peer ended.
    fn parted(&self, _swarm: &Swarm, _peer: &Handle, _why: &str) {}
}

/// Whether a torrent is at work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Connections are made and taken.
    Running,
    /// It has no connections, for this reason: the user's wish, or what went wrong.
    Paused(String),
    /// It has no connections, since the folder of its files is not there. It goes on once that is back. The
    /// text says which folder.
    Absent(String),
}

/// How far a torrent is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Number of wanted pieces that we have.
    pub have: u32,
    /// Number of wanted pieces.
    pub pieces: u32,
    /// Number of pieces that may be on the disk and wait to be verified.
    pub checking: usize,
    /// Bytes of the wanted pieces that we have.
    pub bytes: u64,
    /// Bytes of all wanted pieces.
    pub total: u64,
    /// Bytes of the whole torrent that we do not have, wanted or not.
    pub left: u64,
    /// Bytes of content that came in since the start.
    pub downloaded: u64,
    /// Bytes of content that went out since the start.
    pub uploaded: u64,
    /// Number of connections.
    pub peers: usize,
    /// Whether the torrent is at work.
    pub state: State,
}

impl Progress {
    /// Whether we have all wanted pieces. The files have their names a moment later: [`Swarm::is_complete`].
    pub fn is_complete(&self) -> bool {
        self.have == self.pieces
    }
}

/// One torrent: what its connections, the workers and the threads around them share.
pub struct Swarm {
    /// What the metainfo says.
    pub torrent: Arc<Torrent>,
    /// What all torrents of the engine share.
    #[doc(hidden)]
    pub shared: Arc<Shared>,
    /// The workers.
    #[doc(hidden)]
    pub pool: Pool<Job>,
    /// The files.
    #[doc(hidden)]
    pub storage: Storage,
    /// Bytes that came in, went out, and are here.
    pub(crate) counts: Counts,
    /// Where the resume state is saved. Without it nothing is kept for the next start.
    resume: Option<ResumeFile>,
    /// The torrent was removed: nothing of it is saved any more.
    forgotten: AtomicBool,
    /// Which pieces are durable, according to the last save.
    durable: Mutex<Bitfield>,
    /// Pieces that we had and do not trust any more. They are looked for when the torrent is resumed. At most
    /// all pieces.
    unverified: Mutex<Vec<Piece>>,
    /// Whether the older version, if there is one, may be replaced.
    may_replace: AtomicBool,
    /// Whether the last pause was the user's.
    by_user: AtomicBool,
    /// What the disk did, if that is why the torrent is paused.
    trouble: Mutex<Option<String>>,
    /// The write generation: how often the disk lost what was written. What was begun in one generation is
    /// not trusted in the next. It changes under the lock of `picker`.
    write_generation: AtomicU32,
    /// Whether the thread `accept` may have something to do for it.
    concerns_accept: AtomicBool,
    /// When the folder is looked for next, if it is not there.
    absence: Mutex<Option<Absence>>,
    /// Whether pieces found on the disk must be written again: the kernel may show what it failed to write.
    rewrite: AtomicBool,
    observer: Arc<dyn Observer>,
    /// Bytes of all pieces, and of those that are wanted.
    lens: (u64, u64),
    picker: Mutex<Picker>,
    /// The pieces finished since the start. At most all pieces.
    finished: RwLock<Vec<Piece>>,
    finished_len: AtomicUsize,
    arrived: Mutex<ToVerify>,
    to_write: Mutex<ToWrite>,
    members: Mutex<BTreeMap<ConnId, Arc<Handle>>>,
    blame: Mutex<Blame>,
    addresses: Mutex<Addresses>,
    state: Mutex<State>,
    /// Waits with the lock of `state`, until `complete` is set or the torrent is paused; see `waiting`.
    changed: Condvar,
    complete: AtomicBool,
    /// When the resume state was saved, or a worker was told to save it. `None` before the first piece.
    saved_at: Mutex<Option<Instant>>,
    /// How many saves were requested while one is under way; 0 if none is.
    saves: AtomicUsize,
    /// Connections that found nothing to fetch. They look again when a piece or memory becomes free. At most
    /// all members.
    starved: Mutex<BTreeMap<ConnId, Arc<Handle>>>,
    /// How many times the starved connections were told to look again.
    starved_retries: AtomicU64,
    first_copy: Mutex<FirstCopy>,
    /// Whether the first copy goes out piece by piece now.
    is_showing: AtomicBool,
}

/// Bytes, over all connections since the start.
#[derive(Default)]
pub(crate) struct Counts {
    /// Content that came in.
    pub(crate) downloaded: AtomicU64,
    /// Content that went out.
    pub(crate) uploaded: AtomicU64,
    /// Bytes of all pieces that we have, and of the wanted ones among them.
    bytes_have: AtomicU64,
    wanted_have: AtomicU64,
}

impl Counts {
    /// Returns the bytes of content that came in, and those that went out.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.downloaded.load(Ordering::Relaxed), self.uploaded.load(Ordering::Relaxed))
    }

    /// We have one more piece, of `len` bytes.
    fn gained(&self, len: u32, wanted: bool) {
        self.bytes_have.fetch_add(len.into(), Ordering::Relaxed);
        self.wanted_have.fetch_add(if wanted { len.into() } else { 0 }, Ordering::Relaxed);
    }

    /// We have one piece less, of `len` bytes.
    fn lost(&self, len: u32, wanted: bool) {
        self.bytes_have.fetch_sub(len.into(), Ordering::Relaxed);
        self.wanted_have.fetch_sub(if wanted { len.into() } else { 0 }, Ordering::Relaxed);
    }
}

impl Swarm {
    /// A torrent of which the pieces `have` are on the disk for sure.
    pub(crate) fn new(
        storage: Storage,
        options: &DownloadOptions,
        have: Bitfield,
        resume: Option<ResumeFile>,
        shared: Arc<Shared>,
        pool: Pool<Job>,
        observer: Arc<dyn Observer>,
    ) -> Arc<Self> {
        let torrent = Arc::clone(storage.torrent());
        let geometry = torrent.geometry();
        let wanted = options.files_of(&torrent).pieces(geometry);
        let len = |is: &dyn Fn(u32) -> bool| {
            let pieces = geometry.pieces().filter(|piece| is(piece.index()));
            pieces.map(|piece| u64::from(geometry.piece_len(piece))).sum::<u64>()
        };
        let counts = Counts {
            bytes_have: AtomicU64::new(len(&|piece| have.has(piece))),
            wanted_have: AtomicU64::new(len(&|piece| have.has(piece) && wanted.has(piece))),
            ..Counts::default()
        };
        let lens = (len(&|_| true), len(&|piece| wanted.has(piece)));
        // A download is complete once it has its name.
        let is_named = storage.is_shared() || (storage.is_awaited() && storage.is_all_settled());
        let complete = AtomicBool::new(is_named && have.is_full());
        let mut picker = Picker::new(geometry.clone(), have.clone(), fastrand::u64(..));
        if options.files.is_some() {
            picker.want_only(wanted);
        }
        if options.in_order {
            picker.in_order();
        }
        Arc::new(Swarm {
            complete,
            lens,
            forgotten: AtomicBool::new(false),
            may_replace: AtomicBool::new(false),
            durable: Mutex::new(have),
            unverified: Mutex::default(),
            by_user: AtomicBool::new(false),
            trouble: Mutex::default(),
            concerns_accept: AtomicBool::new(false),
            absence: Mutex::default(),
            write_generation: AtomicU32::new(0),
            rewrite: AtomicBool::new(false),
            picker: Mutex::new(picker),
            finished: RwLock::default(),
            finished_len: AtomicUsize::new(0),
            arrived: Mutex::default(),
            to_write: Mutex::default(),
            members: Mutex::default(),
            blame: Mutex::default(),
            addresses: Mutex::default(),
            state: Mutex::new(State::Running),
            changed: Condvar::new(),
            saved_at: Mutex::default(),
            saves: AtomicUsize::new(0),
            starved: Mutex::default(),
            starved_retries: AtomicU64::new(0),
            first_copy: Mutex::default(),
            is_showing: AtomicBool::new(false),
            torrent,
            shared,
            pool,
            storage,
            counts,
            resume,
            observer,
        })
    }

    /// Whether everything that is wanted is here, and the files have their names.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Whether it is complete, and was from the start, and nobody is here for it or has asked for any of it.
    pub(crate) fn is_untouched(&self) -> bool {
        self.is_complete()
            && self.counts.totals() == (0, 0)
            && self.finished_len.load(Ordering::Acquire) == 0
            && self.members.lock().is_empty()
    }

    /// Whether all that is wanted is here, but not everything (BEP 21).
    pub fn is_partial_seed(&self) -> bool {
        self.is_complete() && !self.picker.lock().have().is_full()
    }

    /// Whether all that is wanted is on the disk, with its name or not.
    pub(crate) fn has_all_wanted(&self) -> bool {
        self.picker.lock().is_complete()
    }

    /// Whether the torrent is at work: neither paused nor without its folder.
    pub fn is_running(&self) -> bool {
        *self.state.lock() == State::Running
    }

    /// How far the torrent is.
    pub fn progress(&self) -> Progress {
        let (have, pieces, checking) = {
            let picker = self.picker.lock();
            (picker.wanted().common_count(picker.have()), picker.wanted().count(), picker.checking_count())
        };
        let (len, wanted_len) = self.lens;
        let peers = self.members.lock().len();
        let state = self.state.lock().clone();
        Progress {
            have,
            pieces,
            checking,
            bytes: self.counts.wanted_have.load(Ordering::Relaxed),
            total: wanted_len,
            left: len.saturating_sub(self.counts.bytes_have.load(Ordering::Relaxed)),
            downloaded: self.counts.downloaded.load(Ordering::Relaxed),
            uploaded: self.counts.uploaded.load(Ordering::Relaxed),
            peers,
            state,
        }
    }
}
