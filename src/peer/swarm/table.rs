//! All torrents of an engine. Any thread; the one lock is held for a look or a change.

use super::Swarm;
use crate::torrent::InfoHash;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All torrents of an engine, by each of their info-hashes.
#[derive(Default)]
pub struct Swarms {
    by_hash: RwLock<BTreeMap<InfoHash, Arc<Swarm>>>,
}

impl Swarms {
    /// Adds a torrent. False if it is there already, or another one that is downloaded to the same file or
    /// folder.
    pub(crate) fn insert(&self, swarm: &Arc<Swarm>) -> bool {
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

    /// The torrent of this info-hash: v1, or v2 cut to 20 bytes.
    pub fn get(&self, hash: InfoHash) -> Option<Arc<Swarm>> {
        self.by_hash.read().get(&hash).cloned()
    }

    /// Removes a torrent and ends its connections. Its files stay.
    pub fn remove(&self, hash: InfoHash) -> Option<Arc<Swarm>> {
        let swarm = self.get(hash)?;
        self.by_hash.write().retain(|_, other| !Arc::ptr_eq(other, &swarm));
        swarm.pause("removed");
        swarm.storage.release();
        Some(swarm)
    }

    /// All torrents, each once, ordered by name.
    pub fn all(&self) -> Vec<Arc<Swarm>> {
        let by_hash = self.by_hash.read();
        let primary = by_hash.iter().filter(|(hash, swarm)| **hash == swarm.torrent.info_hash());
        let mut all: Vec<Arc<Swarm>> = primary.map(|(_, swarm)| Arc::clone(swarm)).collect();
        all.sort_by(|a, b| a.torrent.name().cmp(b.torrent.name()));
        all
    }
}
