//! Our place at the tracker: what we publish there, fetch from there, and offer to everybody. [`Room`] is what the
//! shell holds; any thread may call it.
//!
//! The `room` thread keeps the tracker and the torrents together: each second it tells which pieces came, asks for
//! peers where a download could use some, and, as a mirror, fetches what was offered. It waits for the tracker's
//! answers, which nobody else should have to.

use super::announce::{AskError, Host, Publication, SessionClient};
use super::library::make_torrent;
use super::news::{News, Reporter};
use super::rate::Meter;
use super::swarm::{Observer, Swarm};
use super::{Peer, StartError, extended};
use crate::bitfield::Bitfield;
use crate::threads;
use crate::torrent::{InfoHash, Torrent};
use crate::tracker::protocol::{
    Entry, Event, Found, Held, Hello, List, Metainfo, PeerInfo, Publish, Refusal, Reply, Request, Search,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How often the room's thread looks.
const TICK: Duration = Duration::from_secs(1);
/// How often a download asks for peers.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// How long to wait for the tracker at the start.
const PATIENCE: Duration = Duration::from_secs(5);
/// The rates shown are over so many seconds.
const SPAN: usize = 5;
/// Offers and wake-ups that wait for the room's thread; more are dropped, and the offers stand at the tracker anyway.
const ROOM: usize = 1024;

/// Why something could not be done in the room.
#[derive(Debug, Error)]
pub enum RoomError {
    #[error("{0}")]
    Tracker(String),
    #[error("{}", .0.message)]
    Refused(Refusal),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the tracker's torrent {0} is not what it says it is")]
    WrongTorrent(String),
    #[error("{0}")]
    Content(String),
    #[error("cannot find the tracker {0}: {1}")]
    NoAddress(String, std::io::Error),
    #[error("{0} is offered as soon as the tracker is back: {1}")]
    Later(String, AskError),
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

impl From<AskError> for RoomError {
    fn from(why: AskError) -> Self {
        match why {
            AskError::Refused(refusal) => RoomError::Refused(refusal),
            other => RoomError::Tracker(other.to_string()),
        }
    }
}

/// How fast a torrent moves, bytes per second.
#[derive(Copy, Clone, Default, Debug)]
pub struct Rates {
    pub down: u64,
    pub up: u64,
}

/// A peer's place at its tracker. Dropping it leaves politely.
pub struct Room {
    inner: Arc<Inner>,
    client: Arc<SessionClient>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the tracker's thread, the workers, the room's thread and the shell share. Each lock is a leaf.
struct Inner {
    peer: Arc<Peer>,
    downloads: PathBuf,
    mirror: bool,
    reporter: Reporter,
    to_thread: Sender<Task>,
    /// What we offered to everybody, in this run or an earlier one.
    offered: Mutex<BTreeSet<InfoHash>>,
    rates: Mutex<BTreeMap<InfoHash, Rates>>,
}

enum Task {
    Look,
    Fetch(Entry),
    Stop,
}

impl Room {
    /// Joins the tracker at `addr` (`HOST:PORT`). Downloads go to `downloads`; a mirror fetches all that is offered.
    pub fn join(
        peer: Arc<Peer>,
        addr: &str,
        downloads: &Path,
        mirror: bool,
        reporter: Reporter,
    ) -> Result<Self, RoomError> {
        let (to_thread, tasks) = crossbeam_channel::bounded(ROOM);
        let offered = Mutex::new(peer.state().map_or_else(BTreeSet::new, |state| state.offered()));
        let inner = Arc::new(Inner {
            peer,
            downloads: downloads.to_owned(),
            mirror,
            reporter,
            to_thread,
            offered,
            rates: Mutex::default(),
        });
        let client = SessionClient::start(addr, Arc::clone(&inner) as Arc<dyn Host>);
        let client = client.map_err(|why| RoomError::NoAddress(addr.to_owned(), why))?;
        client.wait_connected(PATIENCE).map_err(RoomError::Tracker)?;
        let client = Arc::new(client);
        let keeper =
            Keeper { inner: Arc::clone(&inner), client: Arc::clone(&client), notes: BTreeMap::new() };
        let thread = threads::spawn("room", move || keeper.run(&tasks)).map_err(RoomError::Thread)?;
        Ok(Room { inner, client, thread: Mutex::new(Some(thread)) })
    }

    pub fn peer(&self) -> &Arc<Peer> {
        &self.inner.peer
    }

    /// What is in the catalogue and has all of these words in its name; all of it without words.
    pub fn search(&self, words: &str) -> Result<Vec<Entry>, RoomError> {
        let mut entries = Vec::new();
        loop {
            let (words, skip) = (words.to_owned(), entries.len());
            let request = match words.is_empty() {
                true => Request::List(List { all: false, skip }),
                false => Request::Search(Search { words, all: false, skip }),
            };
            match self.client.ask(request)? {
                Reply::Search(Found { entries: found, more })
                | Reply::List(Found { entries: found, more }) => {
                    let done = more == 0 || found.is_empty();
                    entries.extend(found);
                    if done {
                        return Ok(entries);
                    }
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Other peers of a torrent, as the tracker knows them; all peers of the tracker without a key.
    pub fn peers(&self, key: Option<String>) -> Result<Vec<PeerInfo>, RoomError> {
        ask_peers(&self.client, key)
    }

    /// Begins to download what goes by this name or key, or gives what is here already.
    pub fn download(&self, name_or_key: &str) -> Result<Arc<Swarm>, RoomError> {
        self.inner.download(&self.client, name_or_key)
    }

    /// Publishes a file or folder from anywhere, and offers it to everybody. Reads it as [`make_torrent`] does.
    pub fn offer(
        &self,
        path: &Path,
        stop: &Arc<AtomicBool>,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Arc<Swarm>, RoomError> {
        let path = std::fs::canonicalize(path)
            .map_err(|why| RoomError::Content(format!("cannot open {}: {why}", path.display())))?;
        let torrent = make_torrent(&path, stop, progress);
        let torrent = Arc::new(torrent.map_err(|why| RoomError::Content(why.to_string()))?);
        let peer = &self.inner.peer;
        let swarm = match peer.swarms.get(torrent.info_hash()) {
            Some(swarm) => swarm,
            None => {
                self.inner.keep(&torrent)?;
                let dir = path.parent().unwrap_or(Path::new("/"));
                peer.share_and_keep(torrent, dir, self.inner.observer())?
            }
        };
        self.inner.change_offers(|offered| offered.insert(swarm.torrent.info_hash()));
        match self.client.ask(Request::Publish(self.inner.to_publish(&swarm))) {
            Ok(_) => Ok(swarm),
            Err(AskError::Refused(refusal)) => Err(RoomError::Refused(refusal)),
            Err(why) => Err(RoomError::Later(swarm.torrent.name().to_owned(), why)),
        }
    }

    /// Publishes a torrent that this peer has.
    pub fn publish(&self, swarm: &Swarm) -> Result<(), RoomError> {
        self.client.ask(Request::Publish(self.inner.to_publish(swarm)))?;
        Ok(())
    }

    /// Shares a file of the upload folder, and publishes it.
    pub fn share(&self, torrent: Arc<Torrent>, dir: &Path) -> Result<(), RoomError> {
        match self.inner.peer.share(torrent, dir, self.inner.observer()) {
            Ok(swarm) => self.publish(&swarm),
            Err(StartError::Known(_)) => Ok(()), // downloaded or offered before: it is shared already
            Err(why) => Err(why.into()),
        }
    }

    /// Goes on with everything that earlier runs downloaded or offered. Gives those that are not complete.
    pub fn resume(&self) -> Vec<Arc<Swarm>> {
        let Some(state) = self.inner.peer.state() else { return Vec::new() };
        let resumed = state.resumable().into_iter().filter_map(|key| {
            let (torrent, resume) = (Arc::new(state.kept(&key)?), state.resume(&key).load()?);
            let added = self.inner.add(torrent, &resume.dir);
            let swarm = added.inspect_err(|why| log::warn!("{key} does not go on: {why}")).ok()?;
            if resume.paused {
                swarm.pause("as it was before the restart");
            }
            // Told, not asked: a slow tracker is not to keep the prompt away once for each torrent.
            self.client.tell(Request::Publish(self.inner.to_publish(&swarm)));
            Some(swarm)
        });
        resumed.filter(|swarm| !swarm.is_complete()).collect()
    }

    /// No longer shares or fetches a torrent; its files stay.
    pub fn remove(&self, hash: InfoHash) {
        let Some(swarm) = self.inner.peer.swarms.remove(hash) else { return };
        swarm.forget_resume();
        let key = swarm.torrent.key();
        if let Some(state) = self.inner.peer.state() {
            state.forget(&key);
        }
        self.inner.change_offers(|offered| offered.remove(&hash));
        self.client.tell(Request::Unpublish { key });
    }

    /// Whether we offered this torrent to everybody.
    pub fn is_offered(&self, hash: InfoHash) -> bool {
        self.inner.offered.lock().contains(&hash)
    }

    /// Tells whoever is looking.
    pub fn tell(&self, news: News) {
        self.inner.reporter.tell(news);
    }

    pub fn rates(&self, hash: InfoHash) -> Rates {
        self.inner.rates.lock().get(&hash).copied().unwrap_or_default()
    }

    /// Leaves the tracker politely, and joins the threads. The peer goes on.
    pub fn leave(&self) {
        let Some(thread) = self.thread.lock().take() else { return };
        self.client.stop(); // fails what the thread may be waiting for
        let _ = self.inner.to_thread.send(Task::Stop); // it is reading, or gone
        let _ = thread.join();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Inner {
    fn download(
        self: &Arc<Self>,
        client: &SessionClient,
        name_or_key: &str,
    ) -> Result<Arc<Swarm>, RoomError> {
        let (key, metainfo) = match ask_torrent(client, name_or_key) {
            Err(RoomError::Refused(refusal)) => match only_available(&refusal.choices) {
                Some(entry) => ask_torrent(client, &entry.key)?,
                None => return Err(RoomError::Refused(refusal)),
            },
            answer => answer?,
        };
        let torrent = Torrent::parse(&metainfo).map_err(|why| RoomError::Content(why.to_string()))?;
        if torrent.key() != key {
            return Err(RoomError::WrongTorrent(key));
        }
        if let Some(here) = self.peer.swarms.get(torrent.info_hash()) {
            if !here.is_complete() && !here.is_running() {
                here.unpause();
                self.find_peers(client, &here)?;
            }
            return Ok(here);
        }
        self.keep(&torrent)?;
        let swarm = self.add(Arc::new(torrent), &self.downloads)?;
        client.ask(Request::Publish(self.to_publish(&swarm)))?;
        self.find_peers(client, &swarm)?;
        Ok(swarm)
    }

    fn add(self: &Arc<Self>, torrent: Arc<Torrent>, dir: &Path) -> Result<Arc<Swarm>, StartError> {
        self.peer.download(torrent, dir, self.observer())
    }

    fn keep(&self, torrent: &Torrent) -> Result<(), RoomError> {
        match self.peer.state() {
            Some(state) => state.keep(torrent).map_err(|why| RoomError::Start(why.into())),
            None => Ok(()),
        }
    }

    fn find_peers(&self, client: &SessionClient, swarm: &Swarm) -> Result<(), RoomError> {
        let peers = ask_peers(client, Some(swarm.torrent.key()))?;
        swarm.add_candidates(peers.into_iter().map(|peer| peer.address), false);
        self.peer.look_for_peers();
        Ok(())
    }

    /// Changes what we offer; if that makes a difference, the next run knows it too.
    fn change_offers(&self, change: impl FnOnce(&mut BTreeSet<InfoHash>) -> bool) {
        let changed = {
            let mut offered = self.offered.lock();
            change(&mut offered).then(|| offered.clone())
        };
        if let (Some(offered), Some(state)) = (changed, self.peer.state())
            && let Err(why) = state.keep_offered(&offered)
        {
            log::warn!("{why}");
        }
    }

    fn to_publish(&self, swarm: &Swarm) -> Publish {
        let (have, _) = swarm.have();
        let offer = self.offered.lock().contains(&swarm.torrent.info_hash());
        Publish { torrent: Metainfo(swarm.torrent.bytes().to_vec()), have: Held::from(&have), offer }
    }

    fn observer(self: &Arc<Self>) -> Arc<dyn Observer> {
        Arc::clone(self) as Arc<dyn Observer>
    }
}

/// The key and the metainfo of what goes by this name or key.
fn ask_torrent(client: &SessionClient, name_or_key: &str) -> Result<(String, Vec<u8>), RoomError> {
    match client.ask(Request::Torrent { key: name_or_key.to_owned() })? {
        Reply::Torrent { key, torrent: Metainfo(metainfo) } => Ok((key, metainfo)),
        other => Err(unexpected(&other)),
    }
}

/// Of several torrents of one name, the one that can be had, if there is but one such.
fn only_available(choices: &[Entry]) -> Option<&Entry> {
    let mut available = choices.iter().filter(|entry| entry.available);
    available.next().filter(|_| available.next().is_none())
}

fn ask_peers(client: &SessionClient, key: Option<String>) -> Result<Vec<PeerInfo>, RoomError> {
    match client.ask(Request::Peers { key, want: None })? {
        Reply::Peers { peers } => Ok(peers),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(reply: &Reply) -> RoomError {
    RoomError::Tracker(format!("the tracker answered something else than it was asked: {reply:?}"))
}

impl Observer for Inner {
    fn progressed(&self, _: &Swarm) {}

    fn completed(&self, swarm: &Swarm) {
        self.reporter.completed(swarm);
        let _ = self.to_thread.try_send(Task::Look); // full: it looks soon anyway
    }

    fn paused(&self, swarm: &Swarm, why: &str) {
        self.reporter.paused(swarm, why);
    }
}

impl Host for Inner {
    fn hello(&self) -> Hello {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let addresses =
            interfaces.iter().filter(|interface| !interface.is_loopback()).map(|interface| interface.ip());
        Hello {
            peer_id: self.peer.commons.peer_id,
            port: self.peer.addr().port(),
            addresses: addresses.collect(),
            client: extended::CLIENT.to_owned(),
            mirror: self.mirror,
        }
    }

    fn published(&self) -> Vec<InfoHash> {
        self.peer.swarms.all().iter().map(|swarm| swarm.torrent.info_hash()).collect()
    }

    fn publication(&self, hash: InfoHash) -> Option<Publication> {
        let swarm = self.peer.swarms.get(hash)?;
        let torrent = Arc::clone(&swarm.torrent);
        Some(Publication {
            torrent,
            have: Held::from(&swarm.have().0),
            offer: self.offered.lock().contains(&hash),
        })
    }

    fn on_event(&self, event: Event) {
        if let Event::Offered { entry, by } = &event
            && self.mirror
            && *by != self.peer.commons.peer_id
        {
            let _ = self.to_thread.try_send(Task::Fetch(entry.clone())); // full: see ROOM
        }
        match &event {
            Event::Added { entry } => log::debug!("added: {}", entry.name),
            Event::Removed { name, reason, .. } => log::debug!("removed: {name} ({reason})"),
            Event::Offered { entry, .. } => log::debug!("offered: {}", entry.name),
        }
        self.reporter.tell(News::Catalogue(event));
    }

    fn on_connection(&self, up: bool, why: &str) {
        self.reporter.tell(News::Tracker { up, why: why.to_owned() });
    }
}

/// The `room` thread.
struct Keeper {
    inner: Arc<Inner>,
    client: Arc<SessionClient>,
    notes: BTreeMap<InfoHash, Note>,
}

/// What the thread remembers of one torrent.
struct Note {
    /// How many of its finished pieces the tracker knows.
    told: usize,
    /// When we last asked for its peers.
    asked_at: Option<Instant>,
    down: Meter,
    up: Meter,
    counted: (u64, u64),
}

impl Keeper {
    fn run(mut self, tasks: &Receiver<Task>) {
        let mut look_at = Instant::now() + TICK;
        loop {
            match tasks.recv_deadline(look_at) {
                Ok(Task::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Task::Fetch(entry)) => self.mirror(&entry),
                Ok(Task::Look) => self.look(),
                Err(RecvTimeoutError::Timeout) => {
                    look_at = Instant::now() + TICK;
                    self.look();
                }
            }
        }
    }

    fn mirror(&self, entry: &Entry) {
        match self.inner.download(&self.client, &entry.key) {
            Ok(_) => log::info!("fetching {}, which was offered", entry.name),
            Err(why) => log::warn!("cannot fetch {}, which was offered: {why}", entry.name),
        }
    }

    fn look(&mut self) {
        let swarms = self.inner.peer.swarms.all();
        let here: BTreeSet<InfoHash> = swarms.iter().map(|swarm| swarm.torrent.info_hash()).collect();
        self.notes.retain(|hash, _| here.contains(hash));
        self.inner.rates.lock().retain(|hash, _| here.contains(hash));
        for swarm in swarms {
            self.look_at(&swarm, Instant::now());
        }
    }

    fn look_at(&mut self, swarm: &Swarm, now: Instant) {
        let note = self.notes.entry(swarm.torrent.info_hash()).or_insert_with(|| Note::new(now));
        self.inner.rates.lock().insert(swarm.torrent.info_hash(), note.rates(swarm, now));
        let news = swarm.finished_since(&mut note.told);
        if !news.is_empty() {
            let mut came = Bitfield::new(swarm.torrent.geometry().piece_count());
            news.iter().for_each(|piece| {
                came.set(piece.index());
            });
            let ranges = came.ranges().into_iter().map(|range| (range.start, range.end)).collect();
            self.client.tell(Request::Have { key: swarm.torrent.key(), ranges });
        }
        let waits = note.asked_at.is_some_and(|asked_at| now < asked_at + ASK_AGAIN);
        if !swarm.is_complete() && swarm.is_running() && !waits {
            note.asked_at = Some(now);
            if let Err(why) = self.inner.find_peers(&self.client, swarm) {
                log::debug!("no peers of {} from the tracker: {why}", swarm.torrent.name());
            }
        }
    }
}

impl Note {
    fn new(now: Instant) -> Self {
        Note { told: 0, asked_at: None, down: Meter::new(now), up: Meter::new(now), counted: (0, 0) }
    }

    fn rates(&mut self, swarm: &Swarm, now: Instant) -> Rates {
        let (down, up) = swarm.counts.totals();
        self.down.add(down - self.counted.0, now);
        self.up.add(up - self.counted.1, now);
        self.counted = (down, up);
        Rates { down: self.down.rate(SPAN, now), up: self.up.rate(SPAN, now) }
    }
}
