//! Who shares what: the swarms, the sessions and the catalogue. Pure: no socket, no disk, no clock, no lock of its
//! own. The tracker keeps it under its one mutex, and every call here is short.
//!
//! A *swarm* has one primary info-hash; the truncated v2 hash of a hybrid torrent is an alias, so that clients that
//! announce either find each other. A swarm is in the *catalogue* once its metainfo was published; else it is known
//! from announces alone and lasts as long as it has members.
//!
//! Invariants: every session's `torrents` are the swarms that it is a member of; `names` has every catalogued swarm;
//! `sums` are over all swarms.

mod announcers;
mod catalogue;
mod change_log;
mod coverage;
mod crowd;
mod draw;
mod listing;
mod member;
mod names;
mod swarm;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::torrent::{InfoHash, Torrent};

use change_log::ChangeLog;
pub use change_log::Cursor;
pub use listing::Facts;
use member::{Caller, Contact, Have, Member, Peer, Tick, Who};
use names::Names;
use swarm::{Sums, Swarm};

use super::address::Place;
use crate::protocol::catalogue::{
    DEFAULT_WANT, Event, Held, Hello, Holder, MAX_LISTED, PeerId, PeerInfo, Pieces, Refusal,
};

/// A session's number, never used twice.
pub type SessionId = u64;

/// How much the registry takes in.
#[derive(Debug, Clone)]
pub struct RegistryLimits {
    /// Torrents in the catalogue, and as many swarms again that are not.
    pub torrents: usize,
    /// Bytes of all metainfo files together. They are on disk, or in memory without `--data`.
    pub metainfo_bytes: usize,
    /// Members of one swarm. One more is answered but not added.
    pub swarm_size: usize,
    /// Members of one swarm that share an address: ports cost nothing, and one host could fill a swarm.
    pub swarm_size_per_address: usize,
    /// Members of all swarms that are known from announces.
    pub announcers: usize,
    /// Torrents that one session may be a member of.
    pub torrents_per_session: usize,
    /// Bytes of all the sets of pieces that sessions told.
    pub set_bytes: usize,
    /// How often announcers are asked to call. One that was not heard of for twice as long is gone.
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

/// How a peer ceased to hold a torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// It said goodbye.
    Left,
    /// It was not heard of for too long.
    Silent,
    /// Its connection broke.
    Dropped,
    /// It unpublished the torrent.
    Withdrew,
    /// It says that it does not hold any more what it held.
    Lost,
}

impl Departure {
    /// What is missing: `lacks` of `n_parts` pieces, from `first` on.
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

/// How far a session has read the news.
#[derive(Debug, Clone, Copy)]
pub struct Read {
    changes: Cursor,
    offers: Cursor,
}

struct Session {
    contact: Arc<Contact>,
    torrents: HashSet<InfoHash>,
}

/// Totals, for the metrics.
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

/// All that the tracker knows.
pub struct Registry {
    limits: RegistryLimits,
    swarms: HashMap<InfoHash, Swarm>,
    aliases: HashMap<InfoHash, InfoHash>,
    /// The catalogue.
    names: Names,
    sessions: HashMap<SessionId, Session>,
    next_session: SessionId,
    changes: ChangeLog,
    offers: ChangeLog,
    has_news: bool,
    /// Bytes of the metainfo files in the catalogue.
    metainfo_bytes: usize,
    sums: Sums,
    /// When time began to be counted.
    start: Instant,
    rng: fastrand::Rng,
}

impl Registry {
    /// An empty registry. `seed` decides which peers are picked where there are too many.
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
            has_news: false,
            metainfo_bytes: 0,
            sums: Sums::default(),
            start,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    fn tick(&self, now: Instant) -> Tick {
        Tick(now.saturating_duration_since(self.start).as_millis() as u32) // comes round, as it is meant to
    }

    /// Swarms that are in no catalogue.
    fn loose_swarms(&self) -> usize {
        self.swarms.len() - self.names.len()
    }

    /// Whether there has been news since this was last asked.
    pub fn take_has_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// The hash under which the swarm of `hash` is kept.
    fn primary(&self, hash: InfoHash) -> InfoHash {
        self.aliases.get(&hash).copied().unwrap_or(hash)
    }

    /// Whether the torrent is in the catalogue.
    pub fn knows(&self, hash: InfoHash) -> bool {
        self.swarms.get(&self.primary(hash)).is_some_and(|swarm| swarm.facts().is_some())
    }

    /// The key of a torrent in the catalogue.
    pub fn key(&self, hash: InfoHash) -> Option<String> {
        Some(self.swarms.get(&hash)?.facts()?.key.clone())
    }

    /// Whether the catalogue takes another metainfo file of `len` bytes. Asked before the file is stored, outside of
    /// the lock, so as many files as there are sessions may slip in beyond the limit.
    ///
    /// # Errors
    /// When it is full.
    pub fn has_room(&self, len: usize) -> Result<(), Refusal> {
        let fits = self.names.len() < self.limits.torrents
            && self.metainfo_bytes.saturating_add(len) <= self.limits.metainfo_bytes;
        fits.then_some(())
            .ok_or_else(|| Refusal::new("the catalogue is full: the tracker takes no more torrents"))
    }

    /// Puts a torrent into the catalogue whose metainfo is in the store. Swarms that announces made for its hashes
    /// become one. Nothing happens if it is known.
    pub fn catalogue(&mut self, torrent: &Torrent) {
        let hash = torrent.info_hash();
        if self.knows(hash) {
            return;
        }
        let facts = Facts::of(torrent);
        self.metainfo_bytes += facts.metainfo_len;
        self.names.insert(&facts.name, &facts.key, hash);
        let mut swarm = self.take_out(hash);
        for alias in torrent.wire_hashes().filter(|alias| *alias != hash) {
            self.aliases.insert(alias, hash);
            let mut other = self.take_out(alias);
            swarm.downloaded = swarm.downloaded.saturating_add(other.downloaded);
            while let Some(who) = other.nth(0).map(|peer| *peer.who) {
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
    }

    /// Takes a swarm out of the table and the sums; an empty one if it is not known.
    fn take_out(&mut self, hash: InfoHash) -> Swarm {
        let swarm = self.swarms.remove(&hash).unwrap_or_default();
        self.sums -= swarm.sums();
        swarm
    }

    /// Takes in a session. Its news begin now; a mirror also hears of all offers that stand.
    pub fn hello(&mut self, hello: &Hello, observed: IpAddr) -> (SessionId, Read) {
        let id = self.next_session;
        self.next_session += 1;
        let contact = Arc::new(Contact {
            peer_id: hello.peer_id,
            place: Place::new(observed, &hello.addresses),
            port: hello.port,
            client: hello.client.chars().filter(|c| !c.is_control()).take(64).collect(),
        });
        self.sessions.insert(id, Session { contact, torrents: HashSet::new() });
        let offers = if hello.mirror { Cursor::default() } else { self.offers.end() };
        (id, Read { changes: self.changes.end(), offers })
    }

    /// Makes a session a member of a swarm of the catalogue.
    ///
    /// # Errors
    /// When what it says it holds cannot be, or there are too many of something.
    pub fn publish(
        &mut self,
        id: SessionId,
        hash: InfoHash,
        have: &Held,
        offer: bool,
    ) -> Result<(), Refusal> {
        let hash = self.primary(hash);
        let swarm = self.swarms.get(&hash).ok_or_else(|| unknown(&hash.to_string()))?;
        let n_parts = swarm.facts().map_or(0, |facts| facts.n_parts);
        let bits = have.bitfield(n_parts).ok_or_else(|| bad_ranges(n_parts))?;
        let session = self.sessions.get(&id).ok_or_else(gone)?;
        let is_new = !session.torrents.contains(&hash);
        if is_new && session.torrents.len() >= self.limits.torrents_per_session {
            return Err(Refusal::new("this session shares as many torrents as the tracker allows"));
        }
        if is_new && swarm.len() >= self.limits.swarm_size {
            return Err(Refusal::new("the swarm of this torrent is full"));
        }
        if !bits.is_full() && self.sums.memory + bits.as_bytes().len() > self.limits.set_bytes {
            return Err(Refusal::new("the tracker follows as many unfinished downloads as it can"));
        }
        let contact = session.contact.clone();
        // The same peer from before it lost its connection, or as an announcer, would count twice.
        let (peer_id, ip) = (contact.peer_id, contact.place.observed());
        let former = swarm.session_of(peer_id, ip).filter(|former| *former != id);
        let announcer = Who::Announcer(ip, contact.port);
        self.change(hash, Departure::Lost, |swarm| {
            former.map(|former| swarm.part(&Who::Session(former)));
            if swarm.find(&announcer).is_some_and(|peer| peer.peer_id() == peer_id) {
                swarm.part(&announcer);
            }
            let member = Member { caller: Caller::Session(contact), have: Have::from_bits(bits) };
            swarm.join(Who::Session(id), member);
        });
        if let Some(session) = former.and_then(|former| self.sessions.get_mut(&former)) {
            session.torrents.remove(&hash);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.torrents.insert(hash);
        }
        if offer {
            self.offer(hash, peer_id);
        }
        Ok(())
    }

    /// An offer stands until its maker withdraws it. To say it again is no news.
    fn offer(&mut self, hash: InfoHash, by: PeerId) {
        let Some(listing) = self.swarms.get_mut(&hash).and_then(|swarm| swarm.listing.as_mut()) else {
            return;
        };
        if listing.offer.replace(by) != Some(by) {
            self.offers.add(hash, &mut listing.offered_at);
            self.has_news = true;
        }
    }

    /// Notes that a session has finished pieces.
    ///
    /// # Errors
    /// When it never published the torrent, or the pieces are not the torrent's.
    pub fn finished(&mut self, id: SessionId, hash: InfoHash, ranges: &[Pieces]) -> Result<(), Refusal> {
        let n_parts = self.facts(hash)?.n_parts;
        if ranges.iter().any(|&(first, end)| first >= end || end > n_parts) {
            return Err(bad_ranges(n_parts));
        }
        self.change(hash, Departure::Lost, |swarm| swarm.finished(id, ranges))
            .unwrap_or(false)
            .then_some(())
            .ok_or_else(|| Refusal::new("this session has not published the torrent"))
    }

    /// Takes a session out of a swarm.
    ///
    /// # Errors
    /// When it is no member.
    pub fn unpublish(&mut self, id: SessionId, hash: InfoHash) -> Result<(), Refusal> {
        let session = self.sessions.get_mut(&id).ok_or_else(gone)?;
        if !session.torrents.remove(&hash) {
            return Err(Refusal::new("this session has not published the torrent"));
        }
        let by = session.contact.peer_id;
        if let Some(listing) = self.swarms.get_mut(&hash).and_then(|swarm| swarm.listing.as_mut())
            && listing.offer == Some(by)
        {
            listing.offer = None;
            self.offers.remove(&mut listing.offered_at);
        }
        self.change(hash, Departure::Withdrew, |swarm| swarm.part(&Who::Session(id)));
        Ok(())
    }

    /// Ends a session.
    pub fn leave(&mut self, id: SessionId, how: Departure) {
        let Some(session) = self.sessions.remove(&id) else { return };
        for hash in session.torrents {
            self.change(hash, how, |swarm| swarm.part(&Who::Session(id)));
        }
    }

    /// Changes a swarm, and sees to what follows from it: news if it became available or ceased to be, and its end if
    /// nobody is left in a swarm that is in no catalogue. `how` tells what became of a member that is not there any more.
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
        if was_available != is_available {
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

    /// An offer is heard of only while it can be followed.
    fn offered(&self, hash: InfoHash) -> Option<Event> {
        let swarm = self.swarms.get(&hash).filter(|swarm| swarm.is_available())?;
        Some(Event::Offered { entry: swarm.entry()?, by: swarm.listing.as_ref()?.offer? })
    }

    fn facts(&self, hash: InfoHash) -> Result<&Facts, Refusal> {
        self.swarms.get(&hash).and_then(Swarm::facts).ok_or_else(|| unknown(&hash.to_string()))
    }

    /// The other members of a swarm.
    ///
    /// # Errors
    /// When the torrent is not in the catalogue.
    pub fn peers(
        &mut self,
        id: SessionId,
        hash: InfoHash,
        want: Option<usize>,
    ) -> Result<Vec<PeerInfo>, Refusal> {
        self.facts(hash)?;
        let (Some(swarm), Some(asker)) = (self.swarms.get(&hash), self.sessions.get(&id)) else {
            return Err(gone());
        };
        let want = want.unwrap_or(DEFAULT_WANT).min(MAX_LISTED);
        let me = &asker.contact;
        let picked = swarm.pick(&me.place, want, &mut self.rng, false, |peer, _| !is_peer(peer, me));
        Ok(picked
            .into_iter()
            .map(|(peer, address)| peer.info(address, swarm.progress(peer.member)))
            .collect())
    }

    /// The other sessions.
    pub fn all_peers(&self, id: SessionId, want: Option<usize>) -> Vec<PeerInfo> {
        let Some(asker) = self.sessions.get(&id) else { return Vec::new() };
        let others = self.sessions.values().filter(|other| !is_same_peer(&other.contact, &asker.contact));
        others
            .filter_map(|other| {
                let address = other.contact.address_for(&asker.contact.place)?;
                Some(other.contact.info(address, 0, 0))
            })
            .take(want.unwrap_or(MAX_LISTED).min(MAX_LISTED))
            .collect()
    }

    /// Who holds any of `pieces`, and which of them.
    ///
    /// # Errors
    /// When the torrent is not in the catalogue, or the pieces are not the torrent's.
    pub fn locate(&mut self, id: SessionId, hash: InfoHash, pieces: Pieces) -> Result<Vec<Holder>, Refusal> {
        let n_parts = self.facts(hash)?.n_parts;
        if pieces.0 >= pieces.1 || pieces.1 > n_parts {
            return Err(bad_ranges(n_parts));
        }
        let (Some(swarm), Some(asker)) = (self.swarms.get(&hash), self.sessions.get(&id)) else {
            return Err(gone());
        };
        let me = &asker.contact;
        let picked =
            swarm.holders(&me.place, DEFAULT_WANT, &mut self.rng, pieces, |peer, _| !is_peer(peer, me));
        Ok(picked
            .into_iter()
            .map(|(peer, address)| Holder {
                peer: peer.info(address, swarm.progress(peer.member)),
                ranges: peer.member.have.within(pieces),
            })
            .collect())
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

/// Whether two contacts are one peer: it calls itself the same and calls from the same address. The address keeps a
/// stranger from taking somebody's place.
fn is_same_peer(a: &Contact, b: &Contact) -> bool {
    a.peer_id == b.peer_id && a.place.observed() == b.place.observed()
}

/// Whether a member is that peer, in the same sense.
fn is_peer(member: Peer, contact: &Contact) -> bool {
    member.peer_id() == contact.peer_id && member.observed() == contact.place.observed()
}

fn unknown(text: &str) -> Refusal {
    Refusal::new(format!("no torrent is known by the name or key `{text}`"))
}

fn bad_ranges(n_parts: u32) -> Refusal {
    Refusal::new(format!("pieces must be ranges [first, end] with first < end, and end at most {n_parts}"))
}

fn gone() -> Refusal {
    Refusal::new("this session has ended")
}

#[cfg(test)]
mod tests;
