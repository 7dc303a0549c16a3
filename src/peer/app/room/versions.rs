//! Newer versions of what a mirror has: each takes the place of the one that the same peer offered before, if
//! its user has not changed that. Runs on the `room` thread; it takes leaf locks of the host, one at a time.
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
use crate::peer::storage::{Storage, StorageError};
use crate::peer::swarm::Swarm;
use crate::torrent::{InfoHash, Torrent};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait for the threads that still work for a torrent that was given up.
const GIVE_UP: Duration = Duration::from_secs(10);

impl RoomHost {
    /// Begins a download in the place of the older versions that are here. Those that are not complete are
    /// given up for it; if it cannot begin, they go on.
    pub fn begin(
        self: &Arc<Self>,
        trackers: &Trackers,
        offer: &Offer,
        torrent: &Arc<Torrent>,
    ) -> Result<Arc<Swarm>, RoomError> {
        let (complete, unfinished): (Vec<_>, Vec<_>) =
            self.replaced_by(offer, torrent).into_iter().partition(|old| old.is_complete());
        for old in complete.iter().chain(&unfinished) {
            if old.is_paused_by_user() {
                let name = old.torrent.name();
                return Err(RoomError::Content(format!("the older version of {name} is paused: resume it")));
            }
        }
        if !unfinished.is_empty() {
            self.place_for(complete.iter().chain(&unfinished), torrent)?; // nothing is given up in vain
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
                if let Err(why) = self.take_up_again(&old) {
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
