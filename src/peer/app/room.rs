//! Our membership at one or several trackers: what we publish there, download from there, and offer to
//! everybody. The shell holds the [`Room`]. Any thread may call it; it takes only the leaf locks in
//! `room/host.rs`, and one for its thread's handle.
//!
//! The `room` thread (`room/keeper.rs`) keeps the trackers and the torrents together.

mod fetching;
mod host;
mod keeper;
mod offers;
mod publishing;
mod resuming;
mod task;
mod versions;

use super::library::{Found, make_torrent};
use super::notices::{Notice, Reporter};
use super::pace::Rates;
use crate::peer::catalogue::{AskError, Host, Standing, Trackers};
use crate::peer::engine::{AddTorrent, Engine, StartError};
use crate::peer::swarm::Swarm;
use crate::protocol::catalogue::{Entry, PeerInfo, Refusal};
use crate::threads;
use crate::torrent::InfoHash;
pub use fetching::{Begun, Wish};
use host::RoomHost;
use keeper::Keeper;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;
use task::Task;
use thiserror::Error;

/// How long to wait for a tracker at the start.
const PATIENCE: Duration = Duration::from_secs(5);
/// Maximum number of offers and wake-ups that wait for the room's thread. More are dropped; the offers can
/// still be found at the tracker.
const ROOM: usize = 1024;

/// Why something could not be done in the room.
#[derive(Debug, Error)]
pub enum RoomError {
    /// A tracker did not answer, or there is no connection.
    #[error("{0}")]
    Tracker(String),
    /// The trackers refused.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The torrent cannot be added to the engine.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It is here already, in another place or with other files. The path says where.
    #[error("it is here already, as {}: `remove` it first to have it in another way", .0.display())]
    HereAlready(std::path::PathBuf),
    /// A tracker sent a torrent that does not match its key.
    #[error("the tracker's torrent {0} is not what it says it is")]
    WrongTorrent(String),
    /// A file or a torrent cannot be read.
    #[error("{0}")]
    Content(String),
    /// The name of a tracker cannot be resolved: its address, and why.
    #[error("cannot find the tracker {0}: {1}")]
    NoAddress(String, std::io::Error),
    /// No tracker is connected now; the torrent of this name is offered once one is.
    #[error("{0} is offered as soon as the tracker is back: {1}")]
    Later(String, AskError),
    /// The `room` thread cannot be started.
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

/// The trackers of an engine, and what it does there. When it is dropped, it says goodbye to the trackers.
pub struct Room {
    host: Arc<RoomHost>,
    trackers: Arc<Trackers>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Room {
    /// Joins the trackers at `addrs` (`HOST:PORT` each), of which at least one must be reachable now, and
    /// continues everything that earlier runs downloaded or offered.
    /// Uploads are in the first folder, downloads go to the second. A mirror fetches everything that is
    /// offered.
    pub fn join(
        peer: Arc<Engine>,
        addrs: &[String],
        folders: (&Path, &Path),
        mirror: bool,
        reporter: Reporter,
    ) -> Result<Self, RoomError> {
        let (to_thread, tasks) = crossbeam_channel::bounded(ROOM);
        let host = Arc::new(RoomHost::new(peer, folders, mirror, reporter, to_thread)?);
        let trackers = Trackers::start(addrs, Arc::clone(&host) as Arc<dyn Host>);
        let trackers = trackers.map_err(|(addr, why)| RoomError::NoAddress(addr, why))?;
        trackers.wait_connected(PATIENCE).map_err(RoomError::Tracker)?;
        let trackers = Arc::new(trackers);
        // Before anything that is offered is looked at: it may be a newer version of what was here.
        host.resume(&trackers);
        let keeper = Keeper::new(Arc::clone(&host), Arc::clone(&trackers));
        let thread = threads::spawn("room", move || keeper.run(&tasks)).map_err(RoomError::Thread)?;
        Ok(Room { host, trackers, thread: Mutex::new(Some(thread)) })
    }

    /// The engine of this room.
    pub fn peer(&self) -> &Arc<Engine> {
        &self.host.peer
    }

    /// The catalogue entries with all of these words in their names; without words, every entry.
    pub fn search(&self, words: &str) -> Result<Vec<Entry>, RoomError> {
        Ok(self.trackers.search(words)?)
    }

    /// The other peers of a torrent, according to the trackers; without a key, all their peers.
    pub fn peers(&self, key: Option<String>) -> Result<Vec<PeerInfo>, RoomError> {
        Ok(self.trackers.peers(key)?)
    }

    /// The addresses of the trackers, with the state of each connection.
    pub fn trackers(&self) -> Vec<(String, Standing)> {
        self.trackers.standings()
    }

    /// Begins to download all that this names: a path, name or key, or else a folder of the catalogue, or a
    /// pattern, or else a name without its extension. What is here already is among it.
    pub fn download(&self, name: &str, wish: Wish) -> Result<Begun, RoomError> {
        self.host.download(&self.trackers, name, wish)
    }

    /// What people call a torrent that is here: its path below our folders, or its name.
    pub fn label(&self, swarm: &Swarm) -> String {
        self.host.path_of(swarm).unwrap_or_else(|| swarm.torrent.name().to_owned())
    }

    /// Publishes any file or folder, and offers it to everybody, in place of what we offered before under its
    /// name. It is read and hashed by [`make_torrent`].
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
        let older = self.host.offered_before(&swarm);
        match self.trackers.publish(self.host.publish_of(&swarm)) {
            Err(AskError::Refused(refusal)) => {
                self.host.offer_again(swarm.torrent.info_hash(), older);
                Err(RoomError::Refused(refusal))
            }
            offered => {
                older.into_keys().for_each(|hash| self.host.remove(&self.trackers, hash));
                let name = swarm.torrent.name();
                offered.map_err(|why| RoomError::Later(name.to_owned(), why)).map(|_| swarm.clone())
            }
        }
    }

    /// Shares files of the upload folder, and publishes them in one go. Returns the names of those that
    /// cannot be shared, and why.
    pub fn share(&self, files: Vec<Found>) -> Vec<(String, StartError)> {
        let (mut shared, mut failed) = (Vec::new(), Vec::new());
        for Found { torrent, dir } in files {
            let name = torrent.name().to_owned();
            let add = AddTorrent::verified(torrent, dir).for_this_run().observed_by(self.host.observer());
            match self.host.peer.add(add) {
                Ok(swarm) => shared.push(swarm.torrent.info_hash()),
                Err(StartError::Known(_)) => {} // downloaded or offered before, so it is shared already
                Err(why) => failed.push((name, why)),
            }
        }
        self.host.publishing.lock().begin(&shared);
        self.trackers.refresh(&shared);
        failed
    }

    /// Ends a pause. A copy that its user has changed is taken up again if what was changed is out of the
    /// way.
    pub fn go_on(&self, swarm: &Arc<Swarm>) -> Result<(), RoomError> {
        self.host.go_on(&self.trackers, swarm).map(drop)
    }

    /// Stops sharing or downloading a torrent. Its files stay.
    pub fn remove(&self, hash: InfoHash) {
        self.host.remove(&self.trackers, hash);
    }

    /// Whether we offered this torrent to everybody.
    pub fn is_offered(&self, hash: InfoHash) -> bool {
        self.host.offered.lock().contains_key(&hash)
    }

    /// Sends a notice to the thread that shows them.
    pub fn tell(&self, notice: Notice) {
        self.host.reporter.tell(notice);
    }

    /// The current speeds of a torrent.
    pub fn rates(&self, hash: InfoHash) -> Rates {
        self.host.rates.lock().get(&hash).copied().unwrap_or_default()
    }

    /// Says goodbye to the trackers, and joins the threads. The engine keeps running.
    pub fn leave(&self) {
        let Some(thread) = self.thread.lock().take() else { return };
        self.trackers.stop(); // this fails what the thread may be waiting for
        let _ = self.host.to_thread.send(Task::Stop); // the thread receives it, or has ended
        let _ = thread.join();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.leave();
    }
}
