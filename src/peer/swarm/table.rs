//! All torrents of a peer. Any thread; the one lock is held for a look or a change.

use super::Swarm;
use crate::torrent::InfoHash;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All torrents of a peer, by every hash they go by on the wire.
#[derive(Default)]
pub struct Swarms {
    by_hash: RwLock<BTreeMap<InfoHash, Arc<Swarm>>>,
}

impl Swarms {
    /// False if the torrent is there already, or another that is being downloaded into the same file or folder.
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

    /// Takes a torrent out and ends its connections.
    pub fn remove(&self, hash: InfoHash) -> Option<Arc<Swarm>> {
        let swarm = self.get(hash)?;
        self.by_hash.write().retain(|_, other| !Arc::ptr_eq(other, &swarm));
        swarm.pause("removed");
        swarm.storage.release();
        Some(swarm)
    }

    /// Each torrent once, ordered by name.
    pub fn all(&self) -> Vec<Arc<Swarm>> {
        let by_hash = self.by_hash.read();
        let primary = by_hash.iter().filter(|(hash, swarm)| **hash == swarm.torrent.info_hash());
        let mut all: Vec<Arc<Swarm>> = primary.map(|(_, swarm)| Arc::clone(swarm)).collect();
        all.sort_by(|a, b| a.torrent.name().cmp(b.torrent.name()));
        all
    }
}
