//! Offers, and the newer versions that replace them. Pure.
//!
//! A replaced torrent is not found by its name any more, and its metainfo file is removed. Who still has it
//! stays a member of its swarm, until it has the newer one. Only the peer that offered a torrent can replace
//! it, and it is back as soon as it is offered again.

use crate::protocol::catalogue::{MAX_BLOCKED, MAX_REPLACED, PeerId};
use crate::torrent::InfoHash;

use super::{Registry, SessionId};

impl Registry {
    /// Notes an offer. It is open until its peer withdraws it. To repeat it is no event.
    pub(super) fn offer(&mut self, hash: InfoHash, by: PeerId) {
        let Some(swarm) = self.swarms.get_mut(&hash) else { return };
        let (before, is_available) = (swarm.sums(), swarm.is_available());
        let Some(listing) = swarm.listing.as_mut() else { return };
        listing.was_offered_by = Some(by);
        if listing.offer.replace(by) != Some(by) {
            self.offers.add(hash, &mut listing.offered_at);
            self.has_news = true;
        }
        if std::mem::take(&mut listing.is_replaced) {
            listing.gone = None;
            if is_available {
                self.changes.add(hash, &mut listing.changed_at);
            }
        }
        self.sums -= before;
        self.sums += swarm.sums();
    }

    /// The offer of `hash` by a session replaces what that peer offered before, by their keys. Returns those
    /// whose metainfo is not needed any more.
    pub fn replace(&mut self, id: SessionId, hash: InfoHash, older: &[String]) -> Vec<String> {
        let Some(by) = self.sessions.get(&id).map(|session| session.contact.peer_id) else {
            return Vec::new();
        };
        let new = self.primary(hash);
        let is_key = |key: &&String| key.parse::<InfoHash>().is_ok();
        let older: Vec<&String> = older.iter().filter(is_key).take(MAX_REPLACED).collect();
        let hashes = older.iter().filter_map(|key| key.parse().ok()).map(|hash| self.primary(hash));
        let hashes: Vec<InfoHash> = hashes.filter(|older| *older != new).collect();
        if let Some(listing) = self.swarms.get_mut(&new).and_then(|swarm| swarm.listing.as_mut()) {
            listing.replaces = older.into_iter().cloned().collect();
        }
        hashes.into_iter().filter_map(|older| self.replaced(older, by)).collect()
    }

    fn replaced(&mut self, hash: InfoHash, by: PeerId) -> Option<String> {
        let swarm = self.swarms.get_mut(&hash)?;
        let (before, was_available) = (swarm.sums(), swarm.is_available());
        let listing = swarm.listing.as_mut().filter(|listing| listing.was_offered_by == Some(by))?;
        listing.offer = None;
        self.offers.remove(&mut listing.offered_at);
        if std::mem::replace(&mut listing.is_replaced, true) {
            return None;
        }
        if was_available {
            listing.gone = Some("a newer version replaces it".to_owned());
            self.changes.add(hash, &mut listing.changed_at);
            self.has_news = true;
        }
        let key = listing.facts.key.clone();
        self.sums -= before;
        self.sums += swarm.sums();
        Some(key)
    }

    /// Whether a newer version replaces the torrent.
    pub fn is_replaced(&self, hash: InfoHash) -> bool {
        self.swarms.get(&self.primary(hash)).is_some_and(super::Swarm::is_replaced)
    }

    /// Notes why a session cannot download a torrent that it is a member of; `None` if it can.
    pub fn blocked(&mut self, id: SessionId, hash: InfoHash, why: Option<&String>) {
        let hash = self.primary(hash);
        let Some(swarm) = self.swarms.get_mut(&hash) else { return };
        let before = swarm.sums();
        let Some(listing) = swarm.listing.as_mut() else { return };
        listing.unblock(id);
        let why = why.map(|why| why.chars().take(MAX_BLOCKED).collect::<String>());
        // Without room it is not told, as nothing else is that members keep here.
        let has_room = |why: &String| self.sums.memory + why.len() <= self.limits.set_bytes;
        if let Some(why) = why.filter(has_room) {
            listing.memory += why.len();
            listing.blocked.insert(id, why);
        }
        self.sums -= before;
        self.sums += swarm.sums();
    }
}
