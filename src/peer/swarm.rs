//! One torrent's shared state, all its locks, and their order.
//!
//! | order | lock | guards | taken |
//! |---|---|---|---|
//! | 1 | `picker` | the state of each piece, what each peer has | once or twice a piece, by workers and connections |
//! | 2 | `finished` | the list of pieces finished since the start | once a piece; read by a connection with news to tell |
//! | 3 | `members` | the connections | when one begins or ends, and to wake all |
//! | 4 | `blame`, `candidates`, `state` | bad pieces; addresses; running or paused | seldom |
//!
//! Whoever holds one may only take a later one; in fact no two are ever held together, but for `picker` and then
//! `finished`, so that the two agree. None is held over a socket, the disk or a mailbox.
//!
//! ```text
//! good:  let pick = self.picker.lock().pick(..);      the lock ends with the statement
//!        handle.mailbox.post(..)
//! bad:   let mut picker = self.picker.lock();
//!        handle.mailbox.post(..picker.pick(..)..)     held over a mailbox
//! ```
//!
//! **News need no queue.** Finished pieces stand in `finished` in order, and each connection keeps a cursor into it. A
//! worker adds its piece and wakes the connections; each says `Have` for all that it has not told, in one write.

use super::blame::Blame;
use super::candidates::Candidates;
use super::commons::Commons;
use super::handle::{Handle, Mail};
use super::partial::{Partial, Source};
use super::picker::{Pick, Picker};
use super::pool::Pool;
use super::resume::{Resume, ResumeFile, Stamp};
use super::session::ConnId;
use super::storage::{Storage, StorageError};
use crate::bitfield::Bitfield;
use crate::torrent::{InfoHash, Piece, Proof, Torrent};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// So often at most the resume state is saved while pieces come in.
const SAVE_EVERY: Duration = Duration::from_secs(3);
/// A download connects to so many peers by itself; more may connect to it.
const DIAL_MEMBERS: usize = 50;
/// Pieces checked by one job.
const CHECK_BATCH: u32 = 16;

/// What the pool's workers do. [`fetch`](super::fetch) says how.
pub enum Job {
    /// Find the next piece for this connection.
    Fetch(Arc<Swarm>, Arc<Handle>),
    /// All blocks are in: verify by these hashes, write, mark.
    Finish(Arc<Swarm>, Partial, Proof),
    /// These pieces may be on the disk: look.
    Check(Arc<Swarm>, Range<u32>),
    /// Make durable what came since the last time, and vouch for it.
    Save(Arc<Swarm>),
    /// All pieces are here: give the download its name.
    Complete(Arc<Swarm>),
}

/// Who wants to know what becomes of a torrent. Called on workers' and connections' threads; must not block.
pub trait Observer: Send + Sync {
    /// More pieces are here.
    fn progressed(&self, swarm: &Swarm);
    /// All pieces are here, and the files have their names.
    fn completed(&self, swarm: &Swarm);
    /// The torrent stopped because of something the user has to see to.
    fn paused(&self, swarm: &Swarm, why: &str);
    /// The connection to a peer ended.
    fn parted(&self, _swarm: &Swarm, _peer: &Handle, _why: &str) {}
}

/// Whether a torrent is at work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    Running,
    /// With the reason: the user's wish, or what went wrong.
    Paused(String),
}

/// Where a torrent stands.
#[derive(Clone, Debug)]
pub struct Progress {
    pub have: u32,
    pub pieces: u32,
    /// Pieces on the disk that wait to be checked.
    pub checking: usize,
    /// Bytes of the pieces we have.
    pub bytes: u64,
    pub total: u64,
    /// Bytes of content that came in, and went out, since the start.
    pub downloaded: u64,
    pub uploaded: u64,
    pub peers: usize,
    pub state: State,
}

impl Progress {
    pub fn is_complete(&self) -> bool {
        self.have == self.pieces
    }
}

/// One torrent: what its connections, the workers and the threads around them share.
pub struct Swarm {
    pub torrent: Arc<Torrent>,
    pub commons: Arc<Commons>,
    pub pool: Pool<Job>,
    pub storage: Storage,
    pub counts: Counts,
    /// Without it nothing survives the process.
    resume: Option<ResumeFile>,
    observer: Arc<dyn Observer>,
    picker: Mutex<Picker>,
    /// Grows by one a piece, so its bound is the number of pieces.
    finished: RwLock<Vec<Piece>>,
    finished_len: AtomicUsize,
    members: Mutex<BTreeMap<ConnId, Arc<Handle>>>,
    blame: Mutex<Blame>,
    candidates: Mutex<Candidates>,
    state: Mutex<State>,
    complete: AtomicBool,
    /// When the resume state was saved last, or a worker was told to. Never since the start: then with the first piece.
    saved_at: Mutex<Option<Instant>>,
    /// How often saving was asked for while somebody is at it; 0 while nobody is.
    saves: AtomicUsize,
    /// Connections that found nothing to fetch; asked again when a piece or memory becomes free. Bounded by `members`.
    hungry: Mutex<BTreeMap<ConnId, Arc<Handle>>>,
}

/// Bytes, over all connections since the start.
#[derive(Default)]
pub struct Counts {
    pub downloaded: AtomicU64,
    pub uploaded: AtomicU64,
    bytes_have: AtomicU64,
}

impl Counts {
    /// Bytes of content that came in, and that went out.
    pub fn totals(&self) -> (u64, u64) {
        (self.downloaded.load(Ordering::Relaxed), self.uploaded.load(Ordering::Relaxed))
    }
}

impl Swarm {
    /// A torrent of which `have` is on the disk for sure.
    pub fn new(
        torrent: Arc<Torrent>,
        storage: Storage,
        resume: Option<ResumeFile>,
        have: Bitfield,
        commons: Arc<Commons>,
        pool: Pool<Job>,
        observer: Arc<dyn Observer>,
    ) -> Arc<Self> {
        let geometry = torrent.geometry();
        let had = have
            .iter()
            .filter_map(|index| geometry.piece(index))
            .map(|piece| u64::from(geometry.piece_len(piece)));
        let counts = Counts { bytes_have: AtomicU64::new(had.sum()), ..Counts::default() };
        Arc::new(Swarm {
            complete: AtomicBool::new(have.is_full()),
            picker: Mutex::new(Picker::new(geometry.clone(), have, fastrand::u64(..))),
            finished: RwLock::default(),
            finished_len: AtomicUsize::new(0),
            members: Mutex::default(),
            blame: Mutex::default(),
            candidates: Mutex::default(),
            state: Mutex::new(State::Running),
            saved_at: Mutex::default(),
            saves: AtomicUsize::new(0),
            hungry: Mutex::default(),
            torrent,
            commons,
            pool,
            storage,
            counts,
            resume,
            observer,
        })
    }

    /// Has the workers look which of `pieces` are on the disk; until then they are not fetched.
    pub fn check(self: &Arc<Self>, pieces: impl Iterator<Item = Piece>) {
        let mut batch: Option<Range<u32>> = None;
        let push = |batch: Range<u32>| self.pool.push(Job::Check(Arc::clone(self), batch));
        for piece in pieces {
            if !self.picker.lock().doubt(piece) {
                continue;
            }
            let index = piece.index();
            batch = match batch {
                Some(range) if range.end == index && index - range.start < CHECK_BATCH => {
                    Some(range.start..index + 1)
                }
                Some(range) => {
                    push(range);
                    Some(index..index + 1)
                }
                None => Some(index..index + 1),
            };
        }
        batch.into_iter().for_each(push);
    }

    // ---- connections ----------------------------------------------------------------------------------------

    /// A connection begins; false if there is one already to the same peer that should stay.
    pub fn join(&self, handle: &Arc<Handle>) -> bool {
        let twin = {
            let mut members = self.members.lock();
            let twin = members.values().find(|other| other.source.peer_id == handle.source.peer_id).cloned();
            if twin.as_ref().is_some_and(|twin| !self.prefers(handle, twin)) {
                return false;
            }
            members.insert(handle.id, Arc::clone(handle));
            twin
        };
        if let Some(twin) = twin {
            let _ = twin.mailbox.post(Mail::Close("there is another connection to the same peer"));
        }
        self.picker.lock().joined(handle.id);
        self.commons.uploads.joined(Arc::clone(handle), Instant::now());
        true
    }

    /// Two peers that connected to each other at once keep the same one of the two connections: the one that the
    /// peer with the greater id made.
    fn prefers(&self, new: &Handle, old: &Handle) -> bool {
        let we_are_greater = self.commons.peer_id > new.source.peer_id;
        new.outgoing != old.outgoing && new.outgoing == we_are_greater
    }

    /// A connection ended, for this reason.
    pub fn leave(self: &Arc<Self>, handle: &Handle, why: &dyn Display) {
        self.members.lock().remove(&handle.id);
        self.hungry.lock().remove(&handle.id);
        self.picker.lock().left(handle.id);
        self.commons.uploads.left(handle.id, &self.commons.ledger);
        self.feed_hungry();
        self.observer.parted(self, handle, &why.to_string());
    }

    pub fn member(&self, id: ConnId) -> Option<Arc<Handle>> {
        self.members.lock().get(&id).cloned()
    }

    pub fn members(&self) -> Vec<Arc<Handle>> {
        self.members.lock().values().cloned().collect()
    }

    fn wake_all(&self) {
        self.members().iter().for_each(|member| member.mailbox.wake());
    }

    fn close_all(&self, why: &'static str) {
        for member in self.members() {
            let _ = member.mailbox.post(Mail::Close(why)); // it ended by itself
        }
    }

    /// Somebody sent wrong data: never again.
    pub fn ban(&self, source: &Source) {
        log::warn!("{} ({:?}) sent wrong data: banned", source.addr, source.peer_id);
        self.commons.ban(source);
        for member in self.members().iter().filter(|member| *member.source == *source) {
            let _ = member.mailbox.post(Mail::Close("it sent wrong data"));
        }
    }

    // ---- addresses ------------------------------------------------------------------------------------------

    /// Learns where peers are said to be.
    pub fn add_candidates(&self, addrs: impl IntoIterator<Item = SocketAddr>, given: bool) {
        let now = Instant::now();
        let mut candidates = self.candidates.lock();
        addrs.into_iter().for_each(|addr| candidates.add(addr, given, now));
    }

    /// An address to connect to now.
    pub fn next_candidate(&self) -> Option<SocketAddr> {
        if !self.may_dial() {
            return None;
        }
        self.candidates.lock().next(self.is_complete(), Instant::now())
    }

    /// When there will be one.
    pub fn next_candidate_at(&self) -> Option<Instant> {
        self.may_dial().then(|| self.candidates.lock().due_at(self.is_complete()))?
    }

    fn may_dial(&self) -> bool {
        self.is_running()
            && self.members.lock().len() < DIAL_MEMBERS
            && self.candidates.lock().busy() < DIAL_MEMBERS
    }

    /// The connection to `addr` ended; `worked` if it was of use.
    pub fn dialled(&self, addr: SocketAddr, worked: bool) {
        self.candidates.lock().ended(addr, worked, Instant::now());
    }

    /// It is of no use to connect to `addr` ever again.
    pub fn forget(&self, addr: SocketAddr) {
        self.candidates.lock().forget(addr);
    }

    // ---- pieces ---------------------------------------------------------------------------------------------

    /// The peer told what it has: whether that is something we lack.
    pub fn peer_has_pieces(&self, id: ConnId, bits: Bitfield) -> bool {
        self.picker.lock().peer_has_pieces(id, bits) && !self.storage.is_shared()
    }

    pub fn peer_has(&self, id: ConnId, piece: Piece) -> bool {
        self.picker.lock().peer_has(id, piece) && !self.storage.is_shared()
    }

    /// Whether there is something among these pieces that we are to fetch.
    pub fn lacks_any(&self, of: &Bitfield) -> bool {
        !self.storage.is_shared() && self.picker.lock().lacks_any(of)
    }

    /// The next piece for a connection, with the memory for it.
    pub fn pick(&self, handle: &Arc<Handle>) -> Pick {
        if !self.is_running() || self.storage.is_shared() {
            return Pick::Nothing { interesting: false };
        }
        let (budget, len) = (&self.commons.budget, self.torrent.geometry().piece_length());
        let memory = budget.reserve(len).or_else(|| {
            let starving = self.picker.lock().is_idle();
            starving.then(|| budget.overdraw(len))?
        });
        let pick = self.picker.lock().pick(handle.id, memory);
        if let Pick::Nothing { interesting: true } = pick {
            self.hungry.lock().insert(handle.id, Arc::clone(handle));
            if self.member(handle.id).is_none() {
                self.hungry.lock().remove(&handle.id); // it ended while we looked
            }
        }
        pick
    }

    /// All blocks of the piece came over connection `owner`: to the workers with it.
    pub fn arrived(self: &Arc<Self>, partial: Partial, owner: &Handle) {
        if self.picker.lock().checking(partial.piece(), owner.id) {
            self.pool.push(Job::Finish(Arc::clone(self), partial, owner.proof));
        }
    }

    /// A connection will not finish these.
    pub fn gave_back(self: &Arc<Self>, partials: Vec<Partial>, owner: ConnId) {
        let memory_is_short = self.commons.budget.is_half_spent() || !self.is_running();
        {
            let mut picker = self.picker.lock();
            partials.into_iter().for_each(|partial| picker.gave_back(partial, owner));
            if memory_is_short {
                picker.drop_leftovers(); // somebody may need the memory who cannot finish these
            }
        }
        self.feed_hungry();
    }

    /// The piece is verified and on the disk: true if it was the last.
    pub fn good(self: &Arc<Self>, piece: Piece) -> bool {
        let complete = {
            let mut picker = self.picker.lock();
            picker.good(piece);
            let mut finished = self.finished.write();
            finished.push(piece);
            self.finished_len.store(finished.len(), Ordering::Release);
            picker.is_complete()
        };
        let len = self.torrent.geometry().piece_len(piece);
        self.counts.bytes_have.fetch_add(len.into(), Ordering::Relaxed);
        complete
    }

    /// The piece came and failed its hash: it is missing again, and whoever is to blame for that is banned.
    pub fn broken(self: &Arc<Self>, partial: Partial) {
        let piece = partial.piece();
        self.accuse(&partial);
        drop(partial); // its memory is free before anybody looks for some
        self.picker.lock().broken(piece);
        self.feed_hungry();
    }

    /// The piece on the disk is not what it should be, or could not be written: it is missing again.
    pub fn bad(self: &Arc<Self>, piece: Piece) {
        self.picker.lock().bad(piece);
        self.feed_hungry();
    }

    /// Lets every connection, and everybody else, know that pieces were finished.
    pub fn spread_news(self: &Arc<Self>) {
        self.wake_all();
        self.feed_hungry();
        self.observer.progressed(self);
        if self.is_time_to_save() {
            self.pool.push(Job::Save(Arc::clone(self)));
        }
    }

    fn is_time_to_save(&self) -> bool {
        let mut saved_at = self.saved_at.lock();
        let due = saved_at.is_none_or(|saved_at| saved_at.elapsed() >= SAVE_EVERY);
        if due {
            *saved_at = Some(Instant::now());
        }
        due
    }

    fn feed_hungry(self: &Arc<Self>) {
        let hungry = std::mem::take(&mut *self.hungry.lock());
        hungry.into_values().for_each(|handle| self.pool.push(Job::Fetch(Arc::clone(self), handle)));
    }

    /// Blame for a complete piece that failed its hash.
    fn accuse(&self, partial: &Partial) {
        let culprit = self.blame.lock().bad(partial);
        if let Some(culprit) = culprit {
            self.ban(&culprit);
        }
    }

    /// A good copy is here: finds out who sent bad ones.
    pub fn acquit(&self, piece: Piece, data: &[u8]) {
        if self.blame.lock().has_case(piece) {
            let liars = self.blame.lock().good(piece, data);
            liars.iter().for_each(|liar| self.ban(liar));
        }
    }

    /// The pieces we have, and how many of the finished ones that covers.
    pub fn have(&self) -> (Bitfield, usize) {
        let picker = self.picker.lock();
        (picker.have().clone(), self.finished_len.load(Ordering::Acquire))
    }

    /// Pieces finished after the first `cursor`, which moves along.
    pub fn finished_since(&self, cursor: &mut usize) -> Vec<Piece> {
        if self.finished_len.load(Ordering::Acquire) <= *cursor {
            return Vec::new();
        }
        let finished = self.finished.read();
        let news = finished[*cursor..].to_vec();
        *cursor = finished.len();
        news
    }

    // ---- where it stands ------------------------------------------------------------------------------------

    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    pub fn is_running(&self) -> bool {
        *self.state.lock() == State::Running
    }

    pub fn progress(&self) -> Progress {
        let (have, checking) = {
            let picker = self.picker.lock();
            (picker.have().count(), picker.checking_count())
        };
        let geometry = self.torrent.geometry();
        Progress {
            have,
            pieces: geometry.piece_count(),
            checking,
            bytes: self.counts.bytes_have.load(Ordering::Relaxed),
            total: geometry.total_len(),
            downloaded: self.counts.downloaded.load(Ordering::Relaxed),
            uploaded: self.counts.uploaded.load(Ordering::Relaxed),
            peers: self.members.lock().len(),
            state: self.state.lock().clone(),
        }
    }

    /// Stops for a reason that the user has to see to. Connections end; nothing is lost.
    pub fn fail(&self, why: &str) {
        let first = {
            let mut state = self.state.lock();
            let first = *state == State::Running;
            *state = State::Paused(why.to_owned());
            first
        };
        if first {
            log::error!("{} paused: {why}", self.torrent.name());
            self.close_all("the torrent is paused");
            self.observer.paused(self, why);
        }
    }

    /// Stops by the user's wish.
    pub fn pause(&self, why: &str) {
        *self.state.lock() = State::Paused(why.to_owned());
        self.close_all("the torrent is paused");
    }

    /// Goes on after a pause: with the download, or with giving a complete one its name.
    pub fn unpause(self: &Arc<Self>) {
        let was = std::mem::replace(&mut *self.state.lock(), State::Running);
        if was != State::Running && !self.is_complete() && self.picker.lock().is_complete() {
            self.pool.push(Job::Complete(Arc::clone(self)));
        }
    }

    // ---- what survives --------------------------------------------------------------------------------------

    /// Gives the complete download its name and says so.
    pub fn complete(self: &Arc<Self>) -> Result<(), StorageError> {
        self.storage.finish()?;
        self.complete.store(true, Ordering::Release);
        self.save()?;
        self.wake_all();
        self.observer.completed(self);
        Ok(())
    }

    /// Vouches for what is on the disk. One thread at a time: a second one would take for synced what the first is
    /// still syncing, and both would write the same file. Whoever comes second has the first do it once more.
    pub fn save(&self) -> Result<(), StorageError> {
        if self.saves.fetch_add(1, Ordering::AcqRel) > 0 {
            return Ok(());
        }
        loop {
            let asked = self.saves.load(Ordering::Acquire);
            let saved = self.save_now();
            let nobody_asked_since =
                self.saves.compare_exchange(asked, 0, Ordering::AcqRel, Ordering::Acquire).is_ok();
            if nobody_asked_since {
                return saved;
            }
        }
    }

    /// Takes the set of pieces first, syncs the data, then saves the set.
    fn save_now(&self) -> Result<(), StorageError> {
        let have = self.picker.lock().have().clone();
        self.storage.sync()?;
        *self.saved_at.lock() = Some(Instant::now());
        let Some(file) = &self.resume else { return Ok(()) };
        let stamps = if self.is_complete() { self.stamps() } else { Vec::new() };
        let paused = !self.is_running();
        let resume = Resume::new(self.storage.dir(), &have, stamps, paused);
        file.save(&resume).map_err(|why| {
            let path = self.storage.dir().to_owned();
            StorageError::Io { what: "save the resume state of the downloads in", path, why }
        })
    }

    fn stamps(&self) -> Vec<Stamp> {
        let files = 0..self.torrent.files().len();
        files.map_while(|index| Stamp::of(&self.storage.path(index)).ok()).collect()
    }

    /// Forgets what was saved.
    pub fn forget_resume(&self) {
        self.resume.iter().for_each(ResumeFile::remove);
    }
}

/// All torrents of a peer, by every hash they go by on the wire.
#[derive(Default)]
pub struct Swarms {
    by_hash: RwLock<BTreeMap<InfoHash, Arc<Swarm>>>,
}

impl Swarms {
    /// False if the torrent is there already, or another that is being downloaded into the same file or folder.
    pub fn insert(&self, swarm: &Arc<Swarm>) -> bool {
        let mut by_hash = self.by_hash.write();
        let collides = |other: &Arc<Swarm>| {
            !swarm.storage.is_shared()
                && !other.storage.is_shared()
                && other.storage.root() == swarm.storage.root()
        };
        if by_hash.contains_key(&swarm.torrent.info_hash()) || by_hash.values().any(collides) {
            return false;
        }
        by_hash.extend(swarm.torrent.wire_hashes().map(|hash| (hash, Arc::clone(swarm))));
        true
    }

    pub fn get(&self, hash: InfoHash) -> Option<Arc<Swarm>> {
        self.by_hash.read().get(&hash).cloned()
    }

    /// Takes a torrent out and ends its connections.
    pub fn remove(&self, hash: InfoHash) -> Option<Arc<Swarm>> {
        let swarm = self.get(hash)?;
        self.by_hash.write().retain(|_, other| !Arc::ptr_eq(other, &swarm));
        swarm.pause("removed");
        Some(swarm)
    }

    /// Each torrent once, ordered by name.
    pub fn all(&self) -> Vec<Arc<Swarm>> {
        let by_hash = self.by_hash.read();
        let primary = by_hash.iter().filter(|(hash, swarm)| **hash == swarm.torrent.info_hash());
        let mut all: Vec<Arc<Swarm>> = primary.map(|(_, swarm)| Arc::clone(swarm)).collect();
        all.sort_by(|a, b| a.torrent.name().cmp(b.torrent.name()));
        all
    }
}
