//! What others offer, as a mirror takes it: fetched at once or, if that is not possible now, later. A newer
//! version takes the place of the one that the same peer offered before. Runs on the `room` thread; it takes
//! leaf locks of the host, one at a time.
//!
//! Of an older version that is complete the new one takes what is equal, and its place once it is whole. One
//! that is not complete is given up: of its files, those that are complete are taken as such, and those that
//! are not become files of the new one, which finds in them what is equal.

use super::RoomError;
use super::host::RoomHost;
use super::task::Offer;
use crate::peer::catalogue::Trackers;
use crate::peer::engine::{AddTorrent, StartError};
use crate::peer::storage::older::{self, Older};
use crate::peer::storage::stamp::Stamp;
use crate::peer::storage::{Storage, StorageError};
use crate::peer::swarm::Swarm;
use crate::torrent::{InfoHash, Torrent};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long after a failure an offer is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// How often it is looked whether the user has done something about what is in the way.
pub(super) const LOOK: Duration = Duration::from_secs(2);
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
    /// It is looked at before the offer is tried again, which may read all of it.
    obstacle: Option<Obstacle>,
}

/// A file or folder that the user has to see to.
struct Obstacle {
    path: PathBuf,
    looked: Option<(u64, Stamp)>,
}

impl Obstacle {
    fn at(path: &Path) -> Self {
        Obstacle { path: path.to_owned(), looked: Obstacle::look(path) }
    }

    fn look(path: &Path) -> Option<(u64, Stamp)> {
        let meta = fs::symlink_metadata(path).ok()?;
        Some((meta.ino(), Stamp::of_metadata(&meta).ok()?))
    }

    /// Whether the user has done nothing about it.
    fn is_as_it_was(&self) -> bool {
        self.looked.is_some() && Obstacle::look(&self.path) == self.looked
    }
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
            let Some(waiting) = self.waiting.get_mut(&key) else { continue };
            if waiting.obstacle.as_ref().is_some_and(Obstacle::is_as_it_was) {
                waiting.again_at = now + LOOK;
            } else if let Some(Waiting { offer, why, .. }) = self.waiting.remove(&key) {
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
                let obstacle = match &why {
                    RoomError::Start(StartError::Storage(why)) => why.obstacle().map(Obstacle::at),
                    _ => None,
                };
                let why = why.to_string();
                if before.as_ref() != Some(&why) {
                    log::warn!("cannot fetch {name}, which was offered: {why}");
                }
                let wait = if obstacle.is_some() { LOOK } else { AGAIN };
                let (key, again_at) = (offer.entry.key.clone(), Instant::now() + wait);
                self.waiting.insert(key, Waiting { offer, why, again_at, obstacle });
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
            self.unblock(trackers, hash);
            return Ok(false);
        }
        let torrent = match self.blocked_torrent(hash) {
            Some(torrent) => torrent,
            None => Arc::new(self.metainfo(trackers, key)?.torrent),
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

    /// Begins a download in the place of the older versions that are here. Those that are not complete are
    /// given up for it; if it cannot begin, they go on.
    fn begin(
        self: &Arc<Self>,
        trackers: &Trackers,
        offer: &Offer,
        torrent: &Arc<Torrent>,
    ) -> Result<Arc<Swarm>, RoomError> {
        let (complete, unfinished): (Vec<_>, Vec<_>) =
            self.replaced_by(offer, torrent).into_iter().partition(|old| old.is_complete());
        // Nothing is given up in vain.
        self.place_for(complete.iter().chain(&unfinished), torrent)?;
        for old in complete.iter().chain(&unfinished) {
            if old.is_paused_by_user() {
                let name = old.torrent.name();
                return Err(RoomError::Content(format!("the older version of {name} is paused: resume it")));
            }
        }
        unfinished.iter().for_each(|old| drop(self.peer.swarms.remove(old.torrent.info_hash())));
        let begun = unfinished.iter().try_for_each(wait_until_idle).and_then(|()| {
            let (dir, older) = self.place_for(complete.iter().chain(&unfinished), torrent)?;
            self.keep(torrent)?;
            unfinished.iter().for_each(|old| older::drop_leftovers(&old.storage, torrent));
            Ok(self.add(AddTorrent::download(Arc::clone(torrent), dir).replacing(older))?)
        });
        let Ok(swarm) = begun else {
            for old in unfinished {
                let again = AddTorrent::download(Arc::clone(&old.torrent), old.storage.dir());
                if let Err(why) = self.add(again) {
                    log::warn!("the older version of {} does not go on: {why}", old.torrent.name());
                }
            }
            return begun;
        };
        let hash = torrent.info_hash();
        self.change_mirrored(|mirrored| mirrored.insert(hash, offer.by) != Some(offer.by));
        for old in unfinished {
            old.forget_resume();
            self.remove(trackers, old.torrent.info_hash());
        }
        Ok(swarm)
    }

    /// The folder for a new version, and the files of the older ones there.
    fn place_for<'a>(
        &self,
        olds: impl Iterator<Item = &'a Arc<Swarm>>,
        torrent: &Torrent,
    ) -> Result<(PathBuf, Option<Older>), RoomError> {
        let (mut dir, mut older) = (self.downloads.clone(), None);
        for old in olds {
            dir = old.storage.dir().to_owned();
            if old.is_absent() || old.storage.is_absent() {
                return Err(StartError::from(StorageError::NotThere(dir)).into());
            }
            older = older_files(&old.storage, torrent).or(older);
        }
        if let Some(path) = older.as_ref().and_then(Older::changed) {
            return Err(StartError::from(StorageError::ChangedByUser(path.to_owned())).into());
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

    /// What stood in the way of a torrent may have been moved: then it goes on by itself.
    pub fn look_at_the_way(self: &Arc<Self>, trackers: &Trackers, swarm: &Arc<Swarm>) {
        if swarm.is_paused_by_user() {
            return;
        }
        let is_free = match swarm.storage.was_changed() {
            true => swarm.storage.is_as_known(),
            false => {
                let waits = swarm.waits_for_its_place() && swarm.has_all_wanted();
                waits && swarm.storage.is_way_free().is_ok()
            }
        };
        if is_free && let Err(why) = self.go_on(trackers, swarm) {
            log::warn!("{} does not go on: {why}", swarm.torrent.name());
        }
    }

    /// All of a new version is here: gives up the older one that has its name, unless its user has changed
    /// it.
    pub fn make_way(&self, trackers: &Trackers, swarm: &Arc<Swarm>) {
        let Some(older) = swarm.storage.older() else { return };
        if let Err(why) = swarm.storage.is_way_free() {
            return swarm.fail(&why.to_string());
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

/// What a new version may take from an older one and replace: what that has under its name, or the version
/// before, whose place it has not taken yet.
fn older_files(old: &Storage, torrent: &Torrent) -> Option<Older> {
    let before = old.older();
    if let Some(before) = before.clone().filter(|before| !before.is_cleared()) {
        return Some(before.for_torrent(torrent));
    }
    Some(Older::new(old, torrent)).filter(|files| !files.is_cleared()).or(before)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_looked_at_and_not_read_until_it_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab.img");
        fs::write(&path, "in the way").unwrap();
        let obstacle = Obstacle::at(&path);
        assert!(obstacle.is_as_it_was());
        fs::write(&path, "in the way still").unwrap();
        assert!(!obstacle.is_as_it_was());
        let obstacle = Obstacle::at(&path);
        fs::remove_file(&path).unwrap();
        assert!(!obstacle.is_as_it_was() && !Obstacle::at(&path).is_as_it_was());
    }
}
