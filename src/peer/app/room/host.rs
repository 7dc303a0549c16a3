//! What all threads of the room share: the engine, where downloads go, what is offered. The trackers' threads
//! call it as their host, the workers as the torrents' observer. Its locks are leaves.

use super::RoomError;
use super::publishing::Publishing;
use crate::net::Families;
use crate::peer::app::notices::{Notice, Reporter};
use crate::peer::app::pace::Rates;
use crate::peer::app::progress::plural;
use crate::peer::catalogue::{AskError, Host, Publication, Trackers};
use crate::peer::engine::{AddTorrent, Engine, StartError};
use crate::peer::swarm::{Observer, Swarm};
use crate::protocol::catalogue::{Entry, Event, Held, Hello, Metainfo, Publish};
use crate::protocol::extension;
use crate::torrent::{InfoHash, Torrent};
use crossbeam_channel::Sender;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the room's thread is asked to do.
pub(super) enum Task {
    /// Look at the torrents now, not only when the second is over.
    Look,
    /// Fetch a torrent that was offered.
    Fetch(Entry),
    /// End.
    Stop,
}

/// What the trackers' threads, the workers, the room's thread and the shell share. Each lock is a leaf.
pub(super) struct RoomHost {
    pub peer: Arc<Engine>,
    downloads: PathBuf,
    mirror: bool,
    pub reporter: Reporter,
    pub to_thread: Sender<Task>,
    /// The torrents that we offered to everybody, in this run or an earlier one.
    pub offered: Mutex<BTreeSet<InfoHash>>,
    pub rates: Mutex<BTreeMap<InfoHash, Rates>>,
    /// The files of the upload folder that are on their way to the trackers.
    pub publishing: Mutex<Publishing>,
}

impl RoomHost {
    pub fn new(
        peer: Arc<Engine>,
        downloads: &Path,
        mirror: bool,
        reporter: Reporter,
        to_thread: Sender<Task>,
    ) -> Self {
        let offered = Mutex::new(peer.state().map_or_else(BTreeSet::new, |state| state.offered()));
        let (downloads, rates) = (downloads.to_owned(), Mutex::default());
        RoomHost {
            peer,
            downloads,
            mirror,
            reporter,
            to_thread,
            offered,
            rates,
            publishing: Mutex::default(),
        }
    }

    /// Begins to download the torrent with this name or key; returns it if it is here already.
    pub fn download(
        self: &Arc<Self>,
        trackers: &Trackers,
        name_or_key: &str,
    ) -> Result<Arc<Swarm>, RoomError> {
        let (key, metainfo) = match trackers.torrent(name_or_key) {
            Err(AskError::Refused(refusal)) => match only_available(&refusal.choices) {
                Some(entry) => trackers.torrent(&entry.key)?,
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
                self.find_peers(trackers, &here)?;
            }
            return Ok(here);
        }
        self.keep(&torrent)?;
        let swarm = self.add(AddTorrent::download(Arc::new(torrent), &self.downloads))?;
        trackers.publish(self.to_publish(&swarm))?;
        self.find_peers(trackers, &swarm)?;
        Ok(swarm)
    }

    /// Adds a torrent, with this room as its observer.
    pub fn add(self: &Arc<Self>, add: AddTorrent) -> Result<Arc<Swarm>, StartError> {
        self.peer.add(add.observed_by(self.observer()))
    }

    pub fn keep(&self, torrent: &Torrent) -> Result<(), RoomError> {
        match self.peer.state() {
            Some(state) => state.keep(torrent).map_err(|why| RoomError::Start(why.into())),
            None => Ok(()),
        }
    }

    /// Asks the trackers for the peers of this torrent, and connects to them.
    pub fn find_peers(&self, trackers: &Trackers, swarm: &Swarm) -> Result<(), RoomError> {
        let peers = trackers.peers(Some(swarm.torrent.key()))?;
        swarm.add_addresses(peers.into_iter().map(|peer| peer.address), false);
        self.peer.look_for_peers();
        Ok(())
    }

    /// Changes what we offer, and saves it for the next run if it has changed.
    pub fn change_offers(&self, change: impl FnOnce(&mut BTreeSet<InfoHash>) -> bool) {
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

    pub fn to_publish(&self, swarm: &Swarm) -> Publish {
        let (have, _) = swarm.have();
        let offer = self.offered.lock().contains(&swarm.torrent.info_hash());
        Publish { torrent: Metainfo(swarm.torrent.bytes().to_vec()), have: Held::from(&have), offer }
    }

    pub fn observer(self: &Arc<Self>) -> Arc<dyn Observer> {
        Arc::clone(self) as Arc<dyn Observer>
    }
}

/// The torrent that can be downloaded, if it is the only such among several of one name.
fn only_available(choices: &[Entry]) -> Option<&Entry> {
    let mut available = choices.iter().filter(|entry| entry.available);
    available.next().filter(|_| available.next().is_none())
}

impl Observer for RoomHost {
    fn completed(&self, swarm: &Swarm) {
        self.reporter.completed(swarm);
        let _ = self.to_thread.try_send(Task::Look); // if the channel is full, the thread looks soon anyway
    }

    fn paused(&self, swarm: &Swarm, why: &str) {
        self.reporter.paused(swarm, why);
    }
}

impl Host for RoomHost {
    fn hello(&self) -> Hello {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let addresses =
            interfaces.iter().filter(|interface| !interface.is_loopback()).map(|interface| interface.ip());
        let addresses = addresses.filter(|ip| self.families().has(*ip));
        Hello {
            peer_id: self.peer.shared.peer_id,
            port: self.peer.addr().port(),
            addresses: addresses.collect(),
            client: extension::CLIENT.to_owned(),
            mirror: self.mirror,
        }
    }

    fn families(&self) -> Families {
        self.peer.shared.families
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

    fn on_published(&self, hash: InfoHash, taken: bool) {
        let Some(published) = self.publishing.lock().answered(hash, taken) else { return };
        let swarm = self.peer.swarms.get(published.last);
        let name = swarm.map(|swarm| swarm.torrent.name().to_owned()).unwrap_or_default();
        match published.count {
            1 => log::info!("published {name}"),
            count => {
                let files = plural(count as u64, "file");
                log::info!("published {files} of the upload folder, such as {name}");
            }
        }
    }

    fn on_event(&self, event: Event) {
        if let Event::Offered { entry, by } = &event
            && self.mirror
            && *by != self.peer.shared.peer_id
        {
            let _ = self.to_thread.try_send(Task::Fetch(entry.clone())); // for a full channel see `ROOM`
        }
        match &event {
            Event::Added { entry } => log::debug!("added: {}", entry.name),
            Event::Removed { name, reason, .. } => log::debug!("removed: {name} ({reason})"),
            Event::Offered { entry, .. } => log::debug!("offered: {}", entry.name),
        }
        self.reporter.tell(Notice::Catalogue(event));
    }

    fn on_connection(&self, up: bool, why: &str) {
        self.reporter.tell(Notice::Tracker { up, why: why.to_owned() });
    }
}
