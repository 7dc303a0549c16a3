//! Our place at the tracker, or at several: what we publish there, fetch from there, and offer to everybody. [`Room`]
//! is what the shell holds; any thread may call it, and takes no lock here but the leaves in `room/host.rs`.
//!
//! The `room` thread (`room/keeper.rs`) keeps the trackers and the torrents together.

mod host;
mod keeper;

use super::library::make_torrent;
use super::notices::{Notice, Reporter};
use crate::peer::catalogue::{AskError, Host, Standing, Trackers};
use crate::peer::engine::{AddTorrent, Engine, StartError};
use crate::peer::swarm::Swarm;
use crate::protocol::catalogue::{Entry, PeerInfo, Refusal, Request};
use crate::threads;
use crate::torrent::{InfoHash, Torrent};
use host::{RoomHost, Task};
use keeper::Keeper;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;
use thiserror::Error;

/// How long to wait for the tracker at the start.
const PATIENCE: Duration = Duration::from_secs(5);
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

/// A peer's room: its trackers, and what it does there. Dropping it leaves politely.
pub struct Room {
    host: Arc<RoomHost>,
    trackers: Arc<Trackers>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Room {
    /// Joins the trackers at `addrs` (`HOST:PORT` each), of which one must be there now. Downloads go to `downloads`; a
    /// mirror fetches all that is offered.
    pub fn join(
        peer: Arc<Engine>,
        addrs: &[String],
        downloads: &Path,
        mirror: bool,
        reporter: Reporter,
    ) -> Result<Self, RoomError> {
        let (to_thread, tasks) = crossbeam_channel::bounded(ROOM);
        let host = Arc::new(RoomHost::new(peer, downloads, mirror, reporter, to_thread));
        let trackers = Trackers::start(addrs, Arc::clone(&host) as Arc<dyn Host>);
        let trackers = trackers.map_err(|(addr, why)| RoomError::NoAddress(addr, why))?;
        trackers.wait_connected(PATIENCE).map_err(RoomError::Tracker)?;
        let trackers = Arc::new(trackers);
        let keeper = Keeper::new(Arc::clone(&host), Arc::clone(&trackers));
        let thread = threads::spawn("room", move || keeper.run(&tasks)).map_err(RoomError::Thread)?;
        Ok(Room { host, trackers, thread: Mutex::new(Some(thread)) })
    }

    pub fn peer(&self) -> &Arc<Engine> {
        &self.host.peer
    }

    /// What is in the catalogue and has all of these words in its name; all of it without words.
    pub fn search(&self, words: &str) -> Result<Vec<Entry>, RoomError> {
        Ok(self.trackers.search(words)?)
    }

    /// Other peers of a torrent, as the trackers know them; all their peers without a key.
    pub fn peers(&self, key: Option<String>) -> Result<Vec<PeerInfo>, RoomError> {
        Ok(self.trackers.peers(key)?)
    }

    /// The trackers' addresses, and how it stands with each.
    pub fn trackers(&self) -> Vec<(String, Standing)> {
        self.trackers.standings()
    }

    /// Begins to download what goes by this name or key, or gives what is here already.
    pub fn download(&self, name_or_key: &str) -> Result<Arc<Swarm>, RoomError> {
        self.host.download(&self.trackers, name_or_key)
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
        let peer = &self.host.peer;
        let swarm = match peer.swarms.get(torrent.info_hash()) {
            Some(swarm) => swarm,
            None => {
                self.host.keep(&torrent)?;
                let dir = path.parent().unwrap_or(Path::new("/"));
                peer.add(AddTorrent::verified(torrent, dir).observed_by(self.host.observer()))?
            }
        };
        self.host.change_offers(|offered| offered.insert(swarm.torrent.info_hash()));
        match self.trackers.publish(self.host.to_publish(&swarm)) {
            Ok(_) => Ok(swarm),
            Err(AskError::Refused(refusal)) => Err(RoomError::Refused(refusal)),
            Err(why) => Err(RoomError::Later(swarm.torrent.name().to_owned(), why)),
        }
    }

    /// Publishes a torrent that this peer has.
    pub fn publish(&self, swarm: &Swarm) -> Result<(), RoomError> {
        self.trackers.publish(self.host.to_publish(swarm))?;
        Ok(())
    }

    /// Shares a file of the upload folder, and publishes it.
    pub fn share(&self, torrent: Arc<Torrent>, dir: &Path) -> Result<(), RoomError> {
        let add = AddTorrent::verified(torrent, dir).for_this_run().observed_by(self.host.observer());
        match self.host.peer.add(add) {
            Ok(swarm) => self.publish(&swarm),
            Err(StartError::Known(_)) => Ok(()), // downloaded or offered before: it is shared already
            Err(why) => Err(why.into()),
        }
    }

    /// Goes on with everything that earlier runs downloaded or offered. Gives those that are not complete.
    pub fn resume(&self) -> Vec<Arc<Swarm>> {
        let resumed = self.host.peer.resumable().into_iter().filter_map(|(torrent, recovery)| {
            let (key, was_paused, dir) = (torrent.key(), recovery.is_paused(), recovery.dir()?.to_owned());
            let added = self.host.add(AddTorrent::download(torrent, dir).recovered(recovery));
            let swarm = added.inspect_err(|why| log::warn!("{key} does not go on: {why}")).ok()?;
            if was_paused {
                swarm.pause("as it was before the restart");
            }
            // Told, not asked: a slow tracker is not to keep the prompt away once for each torrent.
            self.trackers.tell(&Request::Publish(self.host.to_publish(&swarm)));
            Some(swarm)
        });
        resumed.filter(|swarm| !swarm.is_complete()).collect()
    }

    /// No longer shares or fetches a torrent; its files stay.
    pub fn remove(&self, hash: InfoHash) {
        let Some(swarm) = self.host.peer.swarms.remove(hash) else { return };
        swarm.forget_resume();
        let key = swarm.torrent.key();
        if let Some(state) = self.host.peer.state() {
            state.forget(&key);
        }
        self.host.change_offers(|offered| offered.remove(&hash));
        self.trackers.tell(&Request::Unpublish { key });
    }

    /// Whether we offered this torrent to everybody.
    pub fn is_offered(&self, hash: InfoHash) -> bool {
        self.host.offered.lock().contains(&hash)
    }

    /// Tells whoever is looking.
    pub fn tell(&self, notice: Notice) {
        self.host.reporter.tell(notice);
    }

    pub fn rates(&self, hash: InfoHash) -> Rates {
        self.host.rates.lock().get(&hash).copied().unwrap_or_default()
    }

    /// Leaves the trackers politely, and joins the threads. The peer goes on.
    pub fn leave(&self) {
        let Some(thread) = self.thread.lock().take() else { return };
        self.trackers.stop(); // fails what the thread may be waiting for
        let _ = self.host.to_thread.send(Task::Stop); // it is reading, or gone
        let _ = thread.join();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.leave();
    }
}
