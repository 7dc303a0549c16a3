//! What earlier runs left: it goes on when the room is joined, or when its user resumes it. Runs on the
//! thread that asks; no lock of its own.

use super::RoomError;
use super::host::RoomHost;
use crate::peer::catalogue::Trackers;
use crate::peer::engine::{AddTorrent, StartError};
use crate::peer::storage::recovery::Recovery;
use crate::peer::swarm::Swarm;
use crate::peer::swarm::options::DownloadOptions;
use crate::torrent::{InfoHash, Torrent};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

impl RoomHost {
    /// Continues everything that earlier runs downloaded or offered.
    pub fn resume(self: &Arc<Self>, trackers: &Trackers) {
        let offered = self.offered.lock().clone();
        let keys = offered.values().flatten();
        let replaced: BTreeSet<InfoHash> = keys.filter_map(|key| key.parse().ok()).collect();
        let mut resumed = Vec::new();
        for (torrent, recovery) in self.peer.resumable() {
            let (key, hash, was_paused) = (torrent.key(), torrent.info_hash(), recovery.is_paused());
            if recovery.is_own() && replaced.contains(&hash) && !offered.contains_key(&hash) {
                self.remove(trackers, hash); // the last run ended just before it would have done so
                continue;
            }
            let Some(dir) = recovery.dir().map(Path::to_owned) else { continue };
            match self.take_up(torrent, &dir, recovery) {
                Ok(swarm) => {
                    if was_paused {
                        swarm.pause("as it was before the restart");
                    }
                    resumed.push(hash);
                }
                Err(why) => log::warn!("{key} does not go on: {why}"),
            }
        }
        trackers.refresh(&resumed);
    }

    /// Ends a pause. A copy that its user has changed is taken up again if what was changed is out of the
    /// way.
    pub fn go_on(self: &Arc<Self>, trackers: &Trackers, swarm: &Arc<Swarm>) -> Result<Arc<Swarm>, RoomError> {
        if !swarm.storage.was_changed() {
            swarm.unpause();
            return Ok(Arc::clone(swarm));
        }
        self.peer.swarms.remove(swarm.torrent.info_hash());
        let swarm = self.take_up_again(swarm)?;
        trackers.refresh(&[swarm.torrent.info_hash()]);
        Ok(swarm)
    }

    /// Adds a torrent anew that was removed from the engine, as it was last saved.
    pub fn take_up_again(self: &Arc<Self>, swarm: &Swarm) -> Result<Arc<Swarm>, StartError> {
        let recovery = self.peer.recovery(&swarm.torrent, true);
        self.take_up(Arc::clone(&swarm.torrent), swarm.storage.dir(), recovery)
    }

    /// What is our user's, such as what we offered, is only read: it may have been changed meanwhile.
    fn take_up(
        self: &Arc<Self>,
        torrent: Arc<Torrent>,
        dir: &Path,
        recovery: Recovery,
    ) -> Result<Arc<Swarm>, StartError> {
        let is_own = recovery.is_own() || self.offered.lock().contains_key(&torrent.info_hash());
        let add = if is_own {
            AddTorrent::seed(torrent, dir)
        } else {
            let files = recovery.wanted(&torrent);
            let options = DownloadOptions { files, ..DownloadOptions::default() };
            AddTorrent::download(torrent, dir).with(options).keeping_changes()
        };
        self.add(add.recovered(recovery))
    }
}
