//! The registry: swarms, sessions and the catalogue. Pure: no socket, no disk, no clock, no lock of its own.
//! The tracker keeps it under the lock `registry`; every call is short.
//!
//! A *swarm* has one primary info-hash. The truncated v2 hash of a hybrid torrent is an alias for it, so that
//! clients that announce either hash find each other. A swarm is in the *catalogue* once its metainfo was
//! published. Otherwise it is known from announces alone, and is removed with its last member.
//!
//! Invariants: a session's `torrents` are the swarms that it is a member of; `names` has every swarm of the
//! catalogue; `sums` are the sums over all swarms.

mod announcers;
mod catalogue;
mod change_log;
mod coverage;
mod crowd;
mod draw;
mod listing;
mod member;
mod names;
mod sessions;
mod spot;
mod swarm;
mod versions;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::torrent::{InfoHash, Torrent};

use change_log::ChangeLog;
pub use listing::Facts;
use member::Tick;
use names::Names;
use sessions::SessionRecord;
pub use sessions::{Read, SessionId};
use swarm::{Sums, Swarm};

use crate::protocol::catalogue::{Event, Refusal};

/// Limits of the registry.
#[derive(Debug, Clone)]
pub struct RegistryLimits {
    /// Maximum number of torrents in the catalogue, and of swarms that are not in it.
    pub torrents: usize,
    /// Maximum number of bytes of all metainfo files together. They are on disk, or in memory
    /// without `--data`.
    pub metainfo_bytes: usize,
    /// Maximum number of members of one swarm. Further announcers are answered, but not added.
    pub swarm_size: usize,
    /// Maximum number of members of one swarm at one address. Ports cost nothing, so one host
    /// could fill a swarm.
    pub swarm_size_per_address: usize,
    /// Maximum number of members of all swarms together that are known from announces.
    pub announcers: usize,
    /// Maximum number of torrents that one session may publish.
    pub torrents_per_session: usize,
    /// Maximum number of bytes of all the bitfields of sessions together.
    pub set_bytes: usize,
    /// Announce interval. An announcer that was silent for twice this time is removed.
    pub interval: Duration,
}

impl Default for RegistryLimits {
    fn default() -> Self {
        RegistryLimits {
            torrents: 100_000,
            metainfo_bytes: 512 << 20,
            swarm_size: 200_000,
            swarm_size_per_address: 1000,
            announcers: 1_000_000,
            torrents_per_session: 50_000,
            set_bytes: 256 << 20,
            interval: Duration::from_secs(120),
        }
    }
}

/// Why a peer does not hold a torrent any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// It sent `leave` or `stopped`.
    Left,
    /// It was silent for too long.
    Silent,
    /// Its connection broke.
    Dropped,
    /// It unpublished the torrent.
    Withdrew,
    /// It reports fewer pieces than before.
    Lost,
}

impl Departure {
    /// The reason for people, where `lacks` of `n_parts` pieces have no holder, the first of them `first`.
    fn reason(self, (lacks, first): (u32, u32), n_parts: u32) -> String {
        let what = match lacks {
            1 => format!("the last holder of piece {first}"),
            n if n == n_parts => format!("the last holder of all {n_parts} pieces"),
            n => format!("the last holder of piece {first} and {} more", n - 1),
        };
        let verb = match self {
            Departure::Left => "left",
            Departure::Silent => "went silent",
            Departure::Dropped => "dropped its connection",
            Departure::Withdrew => "withdrew it",
            Departure::Lost => "lost it",
        };
        format!("{what} {verb}")
    }
}

/// Totals for the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    pub sessions: usize,
    pub torrents: usize,
    pub available: usize,
    pub swarms: usize,
    pub seeds: usize,
    pub peers: usize,
    pub announcers: usize,
}

/// All that the tracker knows: swarms, sessions and the catalogue.
pub struct Registry {
    limits: RegistryLimits,
    swarms: HashMap<InfoHash, Swarm>,
    aliases: HashMap<InfoHash, InfoHash>,
    /// The catalogue.
    names: Names,
    sessions: HashMap<SessionId, SessionRecord>,
    next_session: SessionId,
    changes: ChangeLog,
    offers: ChangeLog,
    /// Of each name the offer that replaces older ones, if there is one.
    replacing: HashMap<String, InfoHash>,
    has_news: bool,
    /// Bytes of all metainfo files in the catalogue.
    metainfo_bytes: usize,
    sums: Sums,
    /// The zero of every [`Tick`].
    start: Instant,
    rng: fastrand::Rng,
}

impl Registry {
    /// An empty registry. `seed` is the seed of the random choice of peers.
    pub fn new(limits: RegistryLimits, seed: u64, start: Instant) -> Registry {
        Registry {
            limits,
            swarms: HashMap::new(),
            aliases: HashMap::new(),
            names: Names::default(),
            sessions: HashMap::new(),
            next_session: 1,
            changes: ChangeLog::default(),
            offers: ChangeLog::default(),
            replacing: HashMap::new(),
            has_news: false,
            metainfo_bytes: 0,
            sums: Sums::default(),
            start,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    fn tick(&self, now: Instant) -> Tick {
        Tick(now.saturating_duration_since(self.start).as_millis() as u32) // wraps around, as intended
    }

    /// Number of swarms that are not in the catalogue.
    fn loose_swarms(&self) -> usize {
        self.swarms.len() - self.names.len()
    }

    /// Whether there have been new events since the last call.
    pub fn take_has_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// The primary hash of the swarm of `hash`.
    fn primary(&self, hash: InfoHash) -> InfoHash {
        self.aliases.get(&hash).copied().unwrap_or(hash)
    }

    /// Whether the torrent is in the catalogue.
    pub fn knows(&self, hash: InfoHash) -> bool {
        self.swarms.get(&self.primary(hash)).is_some_and(|swarm| swarm.facts().is_some())
    }

    /// The key of a torrent in the catalogue, and its path.
    pub fn key(&self, hash: InfoHash) -> Option<(String, Option<String>)> {
        let listing = self.swarms.get(&hash)?.listing.as_ref()?;
        Some((listing.facts.key.clone(), listing.path.clone()))
    }

    /// The key of a torrent in the catalogue, and its name.
    pub fn name(&self, hash: InfoHash) -> Option<(String, String)> {
        let facts = self.swarms.get(&hash)?.facts()?;
        Some((facts.key.clone(), facts.name.clone()))
    }

    /// Whether the catalogue has room for another metainfo file of `len` bytes. It is asked before the file
    /// is stored, which happens without the lock, so the limit may be exceeded by one file for each session.
    ///
    /// # Errors
    /// If the catalogue is full.
    pub fn has_room(&self, len: usize) -> Result<(), Refusal> {
        let fits = self.names.len() < self.limits.torrents
            && self.metainfo_bytes.saturating_add(len) <= self.limits.metainfo_bytes;
        fits.then_some(())
            .ok_or_else(|| Refusal::new("the catalogue is full: the tracker takes no more torrents"))
    }

    /// Adds a torrent to the catalogue; its metainfo is already in the store. Swarms that were created by
    /// announces for its hashes are merged. Nothing happens if it is in the catalogue already. Returns its
    /// key if a newer version is there already, so that the metainfo is not needed.
    pub fn catalogue(&mut self, torrent: &Torrent) -> Option<String> {
        let hash = torrent.info_hash();
        if self.knows(hash) {
            return None;
        }
        let facts = Facts::of(torrent);
        self.metainfo_bytes += facts.metainfo_len;
        self.names.insert(&facts.name, &facts.key, hash);
        let mut swarm = self.take_out(hash);
        for alias in torrent.wire_hashes().filter(|alias| *alias != hash) {
            self.aliases.insert(alias, hash);
            let mut other = self.take_out(alias);
            swarm.downloaded = swarm.downloaded.saturating_add(other.downloaded);
            while let Some(who) = other.nth(0).map(|peer| peer.who()) {
                let member = other.part(&who);
                if let Some(member) = member.filter(|_| swarm.get(&who).is_none()) {
                    swarm.join(who, member);
                }
            }
        }
        swarm.catalogue(facts);
        self.sums += swarm.sums();
        if let Some(listing) = &mut swarm.listing {
            self.changes.add(hash, &mut listing.changed_at);
        }
        self.has_news = true;
        self.swarms.insert(hash, swarm);
        self.replaced_before(hash)
    }

    /// Removes a swarm from the table and the sums; gives an empty one if it is not known.
    fn take_out(&mut self, hash: InfoHash) -> Swarm {
        let swarm = self.swarms.remove(&hash).unwrap_or_default();
        self.sums -= swarm.sums();
        swarm
    }

    /// Changes a swarm, and does what follows: records an event if it became available or unavailable, and
    /// removes it if it has no members and is not in the catalogue. `how` says why a member is gone.
    fn change<T>(
        &mut self,
        hash: InfoHash,
        how: Departure,
        change: impl FnOnce(&mut Swarm) -> T,
    ) -> Option<T> {
        let swarm = self.swarms.get_mut(&hash)?;
        let (was_available, before) = (swarm.is_available(), swarm.sums());
        let result = change(swarm);
        self.sums -= before;
        self.sums += swarm.sums();
        let is_available = swarm.is_available();
        let Some(listing) = &mut swarm.listing else {
            if swarm.is_empty() {
                self.swarms.remove(&hash);
            }
            return Some(result);
        };
        if was_available != is_available && !listing.is_replaced() {
            listing.gone = was_available.then(|| how.reason(listing.lacks(), listing.facts.n_parts));
            self.changes.add(hash, &mut listing.changed_at);
            if is_available && listing.offer.is_some() {
                self.offers.add(hash, &mut listing.offered_at);
            }
            self.has_news = true;
        }
        Some(result)
    }

    /// The next events for a session, up to `limit`.
    pub fn events(&self, read: &mut Read, limit: usize) -> Vec<Event> {
        let changes = std::iter::from_fn(|| self.changes.next(&mut read.changes));
        let mut events: Vec<Event> = changes.filter_map(|hash| self.changed(hash)).take(limit).collect();
        let offers = std::iter::from_fn(|| self.offers.next(&mut read.offers));
        events.extend(offers.filter_map(|hash| self.offered(hash)).take(limit - events.len()));
        events
    }

    fn changed(&self, hash: InfoHash) -> Option<Event> {
        let swarm = self.swarms.get(&hash)?;
        let entry = swarm.entry()?;
        Some(match &swarm.listing.as_ref()?.gone {
            None => Event::Added { entry },
            Some(reason) => Event::Removed { key: entry.key, name: entry.name, reason: reason.clone() },
        })
    }

    /// An offer is told only while the torrent is available.
    fn offered(&self, hash: InfoHash) -> Option<Event> {
        let swarm = self.swarms.get(&hash).filter(|swarm| swarm.is_available())?;
        let listing = swarm.listing.as_ref()?;
        let (by, replaces) = (listing.offer?, listing.replaces.clone());
        Some(Event::Offered { entry: swarm.entry()?, by, replaces })
    }

    fn facts(&self, hash: InfoHash) -> Result<&Facts, Refusal> {
        self.swarms.get(&hash).and_then(Swarm::facts).ok_or_else(|| unknown(&hash.to_string()))
    }

    /// Totals over everything.
    pub fn census(&self) -> Census {
        Census {
            sessions: self.sessions.len(),
            torrents: self.names.len(),
            available: self.sums.available,
            swarms: self.swarms.len(),
            seeds: self.sums.seeds,
            peers: self.sums.leeches,
            announcers: self.sums.announcers,
        }
    }
}

fn unknown(text: &str) -> Refusal {
    Refusal::new(format!("no torrent is known by the name or key `{text}`"))
}

#[cfg(test)]
mod tests;
