//! What others offer, as a mirror takes it: fetched at once or, if that is not possible now, later. A newer
//! version takes the place of the one that the same peer offered before. Runs on the `room` thread; it takes
//! leaf locks of the host, one at a time.
//!
//! Of an older version that is complete the new one takes what is equal, and its place once it is whole. The
//! files of one that is not complete become those of the new one: what is equal is found in them.

use super::RoomError;
use super::host::RoomHost;
use super::task::Offer;
use crate::peer::catalogue::Trackers;
use crate::peer::engine::AddTorrent;
use crate::peer::storage::StorageError;
use crate::peer::storage::older::{self, Older};
use crate::peer::swarm::Swarm;
use crate::torrent::{InfoHash, Torrent};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long after a failure an offer is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long to wait for the threads that still work for a torrent that was given up.
const GIVE_UP: Duration = Duration::from_secs(10);

/// The offers that could not be fetched yet, by their keys.
#[derive(Default)]
pub(super) struct Offers {
    waiting: BTreeMap<String, Waiting>,
}

struct Waiting {
    offer: Offer,
    why: String,
    again_at: Instant,
}

impl Offers {
    /// Fetches what is offered. What it replaces is not waited for any more.
    pub fn take(&mut self, host: &Arc<RoomHost>, trackers: &Trackers, offer: Offer) {
        for key in &offer.replaces {
            self.waiting.remove(key);
            key.parse().into_iter().for_each(|hash| host.unblock(trackers, hash));
        }
        self.fetch(host, trackers, offer, None);
    }

    /// Whether some could not be fetched yet.
    pub fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Nobody has this any more. If it comes back, it is offered again.
    pub fn gone(&mut self, host: &RoomHost, trackers: &Trackers, key: &str) {
        if self.waiting.remove(key).is_some() {
            key.parse().into_iter().for_each(|hash| host.unblock(trackers, hash));
        }
    }

    /// Tries again what is due.
    pub fn retry(&mut self, host: &Arc<RoomHost>, trackers: &Trackers) {
        let now = Instant::now();
        let due = self.waiting.iter().filter(|(_, waiting)| waiting.again_at <= now);
        let due: Vec<String> = due.map(|(key, _)| key.clone()).collect();
        for key in due {
            if let Some(Waiting { offer, why, .. }) = self.waiting.remove(&key) {
                self.fetch(host, trackers, offer, Some(why));
            }
        }
    }

    /// Tries to fetch it; `before` says why it could not be fetched before.
    fn fetch(&mut self, host: &Arc<RoomHost>, trackers: &Trackers, offer: Offer, before: Option<String>) {
        let name = &offer.entry.name;
        match host.fetch(trackers, &offer) {
            Ok(true) => log::info!("fetching {name}, which was offered"),
            Ok(false) => {}
            Err(why) => {
                let why = why.to_string();
                if before.as_ref() != Some(&why) {
                    log::warn!("cannot fetch {name}, which was offered: {why}");
                }
                let (key, again_at) = (offer.entry.key.clone(), Instant::now() + AGAIN);
                self.waiting.insert(key, Waiting { offer, why, again_at });
            }
        }
    }
}

impl RoomHost {
    /// Begins to fetch what is offered; if that is not possible now, the trackers are told why. False if it
    /// is here already.
    fn fetch(self: &Arc<Self>, trackers: &Trackers, offer: &Offer) -> Result<bool, RoomError> {
        let key = &offer.entry.key;
        let hash: InfoHash = key.parse().map_err(|_| RoomError::WrongTorrent(key.clone()))?;
        if self.peer.swarms.get(hash).is_some() {
            return Ok(false);
        }
        let torrent = match self.blocked_torrent(hash) {
            Some(torrent) => torrent,
            None => Arc::new(self.metainfo(trackers, key)?.0),
        };
        let begun = self.begin(trackers, offer, &torrent);
        match begun {
            Ok(swarm) => {
                self.unblock(trackers, hash);
                trackers.publish(self.publish_of(&swarm))?;
                self.find_peers(trackers, &swarm)?;
                Ok(true)
            }
            Err(why) => {
                self.block(trackers, torrent, &why.to_string());
                Err(why)
            }
        }
    }

    fn begin(
        self: &Arc<Self>,
        trackers: &Trackers,
        offer: &Offer,
        torrent: &Arc<Torrent>,
    ) -> Result<Arc<Swarm>, RoomError> {
        let (dir, older) = self.place_for(trackers, offer, torrent)?;
        self.keep(torrent)?;
        let swarm = self.add(AddTorrent::download(Arc::clone(torrent), dir).replacing(older))?;
        let hash = torrent.info_hash();
        self.change_mirrored(|mirrored| mirrored.insert(hash, offer.by) != Some(offer.by));
        Ok(swarm)
    }

    /// The folder for a new version, and the older one that is complete in it. One that is not complete is
    /// given up.
    fn place_for(
        self: &Arc<Self>,
        trackers: &Trackers,
        offer: &Offer,
        torrent: &Torrent,
    ) -> Result<(PathBuf, Option<Older>), RoomError> {
        let (mut dir, mut older) = (self.downloads.clone(), None);
        let mut unfinished = Vec::new();
        for old in self.replaced_by(offer, torrent) {
            if old.is_paused_by_user() {
                let name = old.torrent.name();
                return Err(RoomError::Content(format!("the older version of {name} is paused: resume it")));
            }
            dir = old.storage.dir().to_owned();
            if old.is_complete() {
                older = Some(Older::new(&old.storage, torrent));
            } else {
                unfinished.push(old);
            }
        }
        if let Some(path) = older.as_ref().and_then(Older::changed) {
            return Err(RoomError::Content(StorageError::ChangedByUser(path.to_owned()).to_string()));
        }
        for old in unfinished {
            older = older.or_else(|| old.storage.older());
            self.remove(trackers, old.torrent.info_hash());
            older::drop_leftovers(&old.storage, torrent);
            wait_until_idle(&old)?;
        }
        Ok((dir, older))
    }

    /// The torrents here that an offer is a newer version of. Only what the same peer has offered before.
    fn replaced_by(&self, offer: &Offer, torrent: &Torrent) -> Vec<Arc<Swarm>> {
        let mirrored = self.mirrored.lock().clone();
        let hashes = offer.replaces.iter().filter_map(|key| key.parse::<InfoHash>().ok());
        let ours = hashes.filter(|hash| mirrored.get(hash) == Some(&offer.by));
        let here = ours.filter_map(|hash| self.peer.swarms.get(hash));
        here.filter(|old| old.torrent.name() == torrent.name()).collect()
    }

    /// All of a new version is here: gives up the older one that has its name, unless its user has changed
    /// it.
    pub fn make_way(&self, trackers: &Trackers, swarm: &Arc<Swarm>) {
        let Some(older) = swarm.storage.older() else { return };
        if let Some(path) = older.changed() {
            return swarm.fail(&StorageError::ChangedByUser(path.to_owned()).to_string());
        }
        let mirrored = self.mirrored.lock().clone();
        for other in self.peer.swarms.all().iter().filter(|other| other.storage.root() == older.root()) {
            if !mirrored.contains_key(&other.torrent.info_hash()) {
                return swarm.fail(&StorageError::InTheWay(older.root().to_owned()).to_string());
            }
            self.remove(trackers, other.torrent.info_hash());
        }
        swarm.take_place();
    }
}

/// Waits until no thread works for a torrent that was removed: until then it may be written to.
fn wait_until_idle(swarm: &Arc<Swarm>) -> Result<(), RoomError> {
    let until = Instant::now() + GIVE_UP;
    while Arc::strong_count(swarm) > 1 {
        if Instant::now() >= until {
            let name = swarm.torrent.name();
            return Err(RoomError::Content(format!("the older version of {name} is still being given up")));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
