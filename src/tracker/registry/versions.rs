//! Offers, and the newer versions that replace them. Pure.
//!
//! A replaced torrent is not found by its name any more, and its metainfo file is removed. Who still has it
//! stays a member of its swarm, until it has the newer one. It is back as soon as it is offered again, or
//! shared by somebody whose own it is.
//!
//! Whoever offers a newer version of a name may replace what it has offered, and what nobody has offered or
//! has as its own: after a restart of the tracker it may be a mirror that comes first.

use crate::protocol::catalogue::{Giver, MAX_BLOCKED, MAX_REPLACED};
use crate::torrent::InfoHash;

use super::{Registry, SessionId};

impl Registry {
    /// Notes an offer. It is open until its peer withdraws it. To repeat it is no event, and what another one
    /// offers who is here stays the other's.
    pub(super) fn offer(&mut self, hash: InfoHash, by: Giver) {
        let Some(swarm) = self.swarms.get_mut(&hash) else { return };
        let Some(listing) = swarm.listing.as_mut() else { return };
        let other = listing.offer.filter(|other| *other != by);
        if other.is_some_and(|other| self.sessions.values().any(|session| session.giver == other)) {
            return;
        }
        listing.was_offered_by = Some(by);
        if listing.offer.replace(by) != Some(by) {
            self.offers.add(hash, &mut listing.offered_at);
            self.has_news = true;
        }
        self.bring_back(hash);
    }

    /// Notes whether a session has a torrent as its own, and did not download it.
    pub fn own(&mut self, id: SessionId, hash: InfoHash, is_own: bool) {
        let hash = self.primary(hash);
        let Some(giver) = self.sessions.get(&id).map(|session| session.giver) else { return };
        let Some(listing) = self.swarms.get_mut(&hash).and_then(|swarm| swarm.listing.as_mut()) else {
            return;
        };
        if !is_own {
            listing.owners.remove(&id);
            return;
        }
        listing.owners.insert(id);
        if listing.replaced_by.is_some_and(|by| by != giver) {
            self.bring_back(hash);
        }
    }

    /// A replaced torrent is found by its name again.
    fn bring_back(&mut self, hash: InfoHash) {
        let Some(swarm) = self.swarms.get_mut(&hash) else { return };
        let (before, is_available) = (swarm.sums(), swarm.is_available());
        let Some(listing) = swarm.listing.as_mut().filter(|listing| listing.is_replaced()) else { return };
        listing.replaced_by = None;
        self.metainfo_bytes += listing.facts.metainfo_len;
        listing.gone = None;
        if is_available {
            self.changes.add(hash, &mut listing.changed_at);
            self.has_news = true;
        }
        self.sums -= before;
        self.sums += swarm.sums();
    }

    /// The offer of `hash` by a session replaces older ones of its name, by their keys. Returns those whose
    /// metainfo is not needed any more.
    pub fn replace(&mut self, id: SessionId, hash: InfoHash, older: &[String]) -> Vec<String> {
        let Some(by) = self.sessions.get(&id).map(|session| session.giver) else { return Vec::new() };
        let new = self.primary(hash);
        let listing = self.swarms.get_mut(&new).and_then(|swarm| swarm.listing.as_mut());
        let Some(listing) = listing.filter(|listing| listing.offer == Some(by)) else { return Vec::new() };
        let is_key = |key: &&String| key.parse::<InfoHash>().is_ok();
        listing.replaces = older.iter().filter(is_key).take(MAX_REPLACED).cloned().collect();
        if !listing.replaces.is_empty() {
            self.replacing.insert(listing.facts.name.clone(), new);
        }
        let hashes: Vec<InfoHash> = listing.replaces.iter().filter_map(|key| key.parse().ok()).collect();
        hashes.into_iter().filter_map(|older| self.replaced(self.primary(older), new, by)).collect()
    }

    /// The torrent was added to the catalogue; a newer version of it may have been there before. Returns its
    /// key if that is so.
    pub(super) fn replaced_before(&mut self, hash: InfoHash) -> Option<String> {
        let facts = self.facts(hash).ok()?;
        let new = *self.replacing.get(&facts.name)?;
        let listing = self.swarms.get(&new)?.listing.as_ref()?;
        let by = listing.offer.filter(|_| listing.replaces.contains(&facts.key))?;
        self.replaced(hash, new, by)
    }

    /// The torrent `new`, which `by` offers, replaces an older one, if it may. Returns the older one's key if
    /// its metainfo is not needed any more.
    fn replaced(&mut self, hash: InfoHash, new: InfoHash, by: Giver) -> Option<String> {
        let name = self.facts(new).ok()?.name.clone();
        let swarm = self.swarms.get_mut(&hash).filter(|_| hash != new)?;
        let (before, was_available) = (swarm.sums(), swarm.is_available());
        let listing = swarm.listing.as_mut().filter(|listing| listing.facts.name == name)?;
        let of_another = listing.was_offered_by.is_some_and(|giver| giver != by);
        let mut owners = listing.owners.iter().filter_map(|id| self.sessions.get(id));
        if of_another || owners.any(|owner| owner.giver != by) {
            return None;
        }
        listing.offer = None;
        self.offers.remove(&mut listing.offered_at);
        if listing.replaced_by.replace(by).is_some() {
            return None;
        }
        self.metainfo_bytes -= listing.facts.metainfo_len;
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
