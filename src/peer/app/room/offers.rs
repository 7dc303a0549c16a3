//! What others offer, as a mirror takes it: fetched at once or, if that is not possible now, later. Runs on
//! the `room` thread; it takes leaf locks of the host, one at a time.

use super::RoomError;
use super::host::RoomHost;
use super::task::Offer;
use crate::peer::catalogue::Trackers;
use crate::peer::engine::StartError;
use crate::peer::storage::stamp::Stamp;
use crate::torrent::InfoHash;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long after a failure an offer is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// How often it is looked whether the user has done something about what is in the way.
pub(super) const LOOK: Duration = Duration::from_secs(2);

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
