//! All torrents of an engine. Any thread; the one lock is held for a look or a change.

use super::Swarm;
use crate::torrent::InfoHash;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All torrents of an engine.
#[derive(Default)]
pub struct Swarms {
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    /// By each of their info-hashes.
    by_hash: BTreeMap<InfoHash, Arc<Swarm>>,
    /// Each once, ordered by name; `None` if that is to be made anew. Several threads walk over it each
    /// second.
    all: Option<Arc<[Arc<Swarm>]>>,
}

impl Swarms {
    /// Adds a torrent. False if it is there already, or another one that is downloaded to the same file or
    /// folder.
    pub(crate) fn insert(&self, swarm: &Arc<Swarm>) -> bool {
        let mut table = self.table.write();
        let collides =
            |other: &Arc<Swarm>| !other.storage.is_shared() && other.storage.root() == swarm.storage.root();
        let is_download = !swarm.storage.is_shared();
        if table.by_hash.contains_key(&swarm.torrent.info_hash())
            || (is_download && table.by_hash.values().any(collides))
        {
            return false;
        }
        table.by_hash.extend(swarm.torrent.wire_hashes().map(|hash| (hash, Arc::clone(swarm))));
        table.all = None;
        true
    }

    /// The torrent of this info-hash: v1, or v2 cut to 20 bytes.
    pub fn get(&self, hash: InfoHash) -> Option<Arc<Swarm>> {
        self.table.read().by_hash.get(&hash).cloned()
    }

    /// Removes a torrent and ends its connections. Its files stay.
    pub fn remove(&self, hash: InfoHash) -> Option<Arc<Swarm>> {
        let swarm = {
            let mut table = self.table.write();
            let swarm = table.by_hash.get(&hash).cloned()?;
            for hash in swarm.torrent.wire_hashes() {
                if table.by_hash.get(&hash).is_some_and(|other| Arc::ptr_eq(other, &swarm)) {
                    table.by_hash.remove(&hash);
                }
            }
            table.all = None;
            swarm
        };
        swarm.pause("removed");
        swarm.storage.release();
        Some(swarm)
    }

    /// All torrents, each once, ordered by name.
    pub fn all(&self) -> Arc<[Arc<Swarm>]> {
        if let Some(all) = &self.table.read().all {
            return Arc::clone(all);
        }
        let mut table = self.table.write();
        let primary = table.by_hash.iter().filter(|(hash, swarm)| **hash == swarm.torrent.info_hash());
        let mut all: Vec<Arc<Swarm>> = primary.map(|(_, swarm)| Arc::clone(swarm)).collect();
        all.sort_by(|a, b| a.torrent.name().cmp(b.torrent.name()));
        let all: Arc<[Arc<Swarm>]> = all.into();
        table.all = Some(Arc::clone(&all));
        all
    }
}
