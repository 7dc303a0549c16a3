//! What all threads of the room share: the engine, where downloads go, what is offered. The trackers' threads
//! call it as their host, the workers as the torrents' observer. Its locks are leaves.

use super::RoomError;
use super::publishing::{MOST_NAMED, Publishing};
use super::task::{Offer, Task};
use crate::net::Families;
use crate::peer::app::notices::{Notice, Reporter};
use crate::peer::app::pace::Rates;
use crate::peer::app::progress::plural;
use crate::peer::catalogue::{Host, Publication, Trackers};
use crate::peer::engine::{AddTorrent, Engine, StartError};
use crate::peer::swarm::{Observer, Swarm};
use crate::protocol::catalogue::{Event, Giver, Held, Hello, MAX_REPLACED, Publish, is_path};
use crate::protocol::extension;
use crate::torrent::{InfoHash, Torrent};
use crossbeam_channel::Sender;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Something that was offered to us and cannot be fetched now.
struct Blocked {
    torrent: Arc<Torrent>,
    why: String,
}

/// What the trackers' threads, the workers, the room's thread and the shell share. Each lock is a leaf.
pub(super) struct RoomHost {
    pub peer: Arc<Engine>,
    uploads: PathBuf,
    pub downloads: PathBuf,
    mirror: bool,
    /// What proves to the trackers that an offer is ours.
    secret: Option<String>,
    pub reporter: Reporter,
    pub to_thread: Sender<Task>,
    /// The torrents that we offered to everybody, in this run or an earlier one, each with the keys of the
    /// older versions that it replaces.
    pub offered: Mutex<BTreeMap<InfoHash, Vec<String>>>,
    /// The torrents that we fetched as a mirror, and who offered them.
    pub mirrored: Mutex<BTreeMap<InfoHash, Giver>>,
    /// What was offered to us and cannot be fetched now, and why. At most the offers that wait.
    blocked: Mutex<BTreeMap<InfoHash, Blocked>>,
    pub rates: Mutex<BTreeMap<InfoHash, Rates>>,
    /// The files of the upload folder that are on their way to the trackers.
    pub publishing: Mutex<Publishing>,
}

impl RoomHost {
    pub fn new(
        peer: Arc<Engine>,
        (uploads, downloads): (&Path, &Path),
        mirror: bool,
        reporter: Reporter,
        to_thread: Sender<Task>,
    ) -> Result<Self, StartError> {
        let secret = peer.state().map(|state| state.secret()).transpose()?;
        let offered = Mutex::new(peer.state().map_or_else(BTreeMap::new, |state| state.offered()));
        let mirrored = Mutex::new(peer.state().map_or_else(BTreeMap::new, |state| state.mirrored()));
        let (uploads, downloads) = (uploads.to_owned(), downloads.to_owned());
        Ok(RoomHost {
            peer,
            uploads,
            downloads,
            mirror,
            secret,
            reporter,
            to_thread,
            offered,
            mirrored,
            blocked: Mutex::default(),
            rates: Mutex::default(),
            publishing: Mutex::default(),
        })
    }

    /// Stops sharing or downloading a torrent. Its files stay.
    pub fn remove(&self, trackers: &Trackers, hash: InfoHash) {
        let swarm = self.peer.swarms.remove(hash);
        // One that we offered may not be here: its folder is gone.
        let hash = swarm.as_ref().map_or(hash, |swarm| swarm.torrent.info_hash());
        let key = swarm.as_ref().map_or(hash.to_string(), |swarm| swarm.torrent.key());
        swarm.iter().for_each(Swarm::forget_resume);
        if let Some(state) = self.peer.state() {
            state.resume(&key).remove();
            state.forget(&key);
        }
        self.change_offers(|offered| offered.remove(&hash).is_some());
        self.change_mirrored(|mirrored| mirrored.remove(&hash).is_some());
        self.on_published(hash, false); // it may have been on its way
        trackers.refresh(&[hash]);
    }

    /// Adds a torrent, with this room as its observer.
    pub fn add(self: &Arc<Self>, add: AddTorrent) -> Result<Arc<Swarm>, StartError> {
        self.peer.add(add.observed_by(self.observer()))
    }

    pub fn keep(&self, torrent: &Torrent) -> Result<(), RoomError> {
        match self.peer.state() {
            Some(state) => state.keep(torrent).map_err(|why| RoomError::Start(why.into())),
            None => Ok(()),
        }
    }

    /// Notes that we offer this, in place of what we offered before under its name. Returns that, each with
    /// the keys that it replaced.
    pub fn offered_before(&self, swarm: &Swarm) -> BTreeMap<InfoHash, Vec<String>> {
        let new = swarm.torrent.info_hash();
        let offered = self.offered.lock().clone();
        // An older one may not be here, if its folder is gone; its metainfo is kept all the same.
        let torrent_of = |hash: &InfoHash| match self.peer.swarms.get(*hash) {
            Some(here) => Some(Arc::clone(&here.torrent)),
            None => self.peer.state()?.kept(&hash.to_string()).map(Arc::new),
        };
        let is_older = |hash: &InfoHash| {
            *hash != new && torrent_of(hash).is_some_and(|old| old.name() == swarm.torrent.name())
        };
        let (older, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
            offered.into_iter().partition(|(hash, _)| is_older(hash));
        let keys = older.keys().filter_map(torrent_of).map(|old| old.key());
        let before = older.values().chain(rest.get(&new)).flatten().cloned();
        let mut replaces: Vec<String> = Vec::new();
        for key in keys.chain(before) {
            if key != swarm.torrent.key() && !replaces.contains(&key) && replaces.len() < MAX_REPLACED {
                replaces.push(key);
            }
        }
        // At once, so that no crash leaves two of one name.
        self.change_offers(|offered| {
            offered.retain(|hash, _| !older.contains_key(hash));
            offered.insert(new, replaces.clone()).as_ref() != Some(&replaces)
        });
        older
    }

    /// The trackers refused an offer: what was offered before stays offered.
    pub fn offer_again(&self, refused: InfoHash, older: BTreeMap<InfoHash, Vec<String>>) {
        self.change_offers(|offered| {
            offered.remove(&refused);
            offered.extend(older);
            true
        });
    }

    /// Changes what we offer, and saves it for the next run if it has changed.
    pub fn change_offers(&self, change: impl FnOnce(&mut BTreeMap<InfoHash, Vec<String>>) -> bool) {
        change_and_keep(&self.offered, change, |offered| self.peer.state()?.keep_offered(offered).err());
    }

    /// The same for what we mirror.
    pub fn change_mirrored(&self, change: impl FnOnce(&mut BTreeMap<InfoHash, Giver>) -> bool) {
        change_and_keep(&self.mirrored, change, |mirrored| self.peer.state()?.keep_mirrored(mirrored).err());
    }

    /// What the trackers are told of a torrent that is here.
    pub fn publish_of(&self, swarm: &Swarm) -> Publish {
        self.publication_of(swarm).request()
    }

    /// The path of a torrent's file below the upload folder, or the one for downloads, if it lies deeper.
    pub fn path_of(&self, swarm: &Swarm) -> Option<String> {
        let (dir, name) = (swarm.storage.dir(), swarm.torrent.name());
        let folders =
            [&self.uploads, &self.downloads].into_iter().find_map(|above| dir.strip_prefix(above).ok())?;
        let path = folders.join(name).to_str()?.to_owned();
        (path != name && is_path(&path, name)).then_some(path)
    }

    fn publication_of(&self, swarm: &Swarm) -> Publication {
        let offer = self.offered.lock().get(&swarm.torrent.info_hash()).cloned();
        Publication {
            path: self.path_of(swarm),
            offer: offer.is_some(),
            own: swarm.storage.is_own(),
            replaces: offer.unwrap_or_default(),
            blocked: swarm.blocked(),
            ..Publication::new(Arc::clone(&swarm.torrent), Held::from(&swarm.have().0))
        }
    }

    // ---- what cannot be fetched now -----------------------------------------------------------------------

    /// What is offered cannot be fetched, and the trackers are told why.
    pub fn block(&self, trackers: &Trackers, torrent: Arc<Torrent>, why: &str) {
        let (hash, why) = (torrent.info_hash(), why.to_owned());
        let before = self.blocked.lock().insert(hash, Blocked { torrent, why: why.clone() });
        if before.is_none_or(|before| before.why != why) {
            trackers.refresh(&[hash]);
        }
    }

    /// It is fetched, or not offered any more.
    pub fn unblock(&self, trackers: &Trackers, hash: InfoHash) {
        if self.blocked.lock().remove(&hash).is_some() {
            trackers.refresh(&[hash]);
        }
    }

    /// The metainfo of what could not be fetched before.
    pub fn blocked_torrent(&self, hash: InfoHash) -> Option<Arc<Torrent>> {
        self.blocked.lock().get(&hash).map(|blocked| Arc::clone(&blocked.torrent))
    }

    pub fn observer(self: &Arc<Self>) -> Arc<dyn Observer> {
        Arc::clone(self) as Arc<dyn Observer>
    }
}

/// Changes a table, and keeps it for the next run if it has changed; `keep` gives the error. The disk is not
/// waited for under the lock, so two threads may keep it in the wrong order: each looks whether it kept the
/// newest.
fn change_and_keep<T: Clone + PartialEq, E: Display>(
    table: &Mutex<T>,
    change: impl FnOnce(&mut T) -> bool,
    keep: impl Fn(&T) -> Option<E>,
) {
    if !change(&mut table.lock()) {
        return;
    }
    loop {
        let now = table.lock().clone();
        if let Some(why) = keep(&now) {
            log::warn!("{why}");
        }
        if *table.lock() == now {
            return;
        }
    }
}

impl Observer for RoomHost {
    fn completed(&self, swarm: &Swarm) {
        self.reporter.completed(swarm);
        let _ = self.to_thread.try_send(Task::Look); // if the channel is full, the thread looks soon anyway
    }

    fn paused(&self, swarm: &Swarm, why: &str) {
        self.reporter.paused(swarm, why);
    }
}

impl Host for RoomHost {
    fn hello(&self) -> Hello {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let addresses =
            interfaces.iter().filter(|interface| !interface.is_loopback()).map(|interface| interface.ip());
        let addresses = addresses.filter(|ip| self.families().has(*ip));
        Hello {
            peer_id: self.peer.shared.peer_id,
            port: self.peer.addr().port(),
            addresses: addresses.collect(),
            client: extension::CLIENT.to_owned(),
            mirror: self.mirror,
            secret: self.secret.clone(),
        }
    }

    fn families(&self) -> Families {
        self.peer.shared.families
    }

    fn published(&self) -> Vec<InfoHash> {
        let here = self.peer.swarms.all();
        let here = here.iter().map(|swarm| swarm.torrent.info_hash());
        here.chain(self.blocked.lock().keys().copied()).collect()
    }

    fn publication(&self, hash: InfoHash) -> Option<Publication> {
        if let Some(swarm) = self.peer.swarms.get(hash) {
            return Some(self.publication_of(&swarm));
        }
        let blocked = self.blocked.lock();
        let Blocked { torrent, why } = blocked.get(&hash)?;
        let nothing = Held::Ranges(Vec::new());
        Some(Publication { blocked: Some(why.clone()), ..Publication::new(Arc::clone(torrent), nothing) })
    }

    fn on_published(&self, hash: InfoHash, taken: bool) {
        let Some(published) = self.publishing.lock().answered(hash, taken) else { return };
        let swarms = published.first.iter().filter_map(|hash| self.peer.swarms.get(*hash));
        let names: Vec<String> = swarms.map(|swarm| swarm.torrent.name().to_owned()).collect();
        if published.count <= MOST_NAMED {
            names.iter().for_each(|name| log::info!("published {name}"));
        } else if let Some(name) = names.first() {
            let files = plural(published.count as u64, "file");
            log::info!("published {files} of the upload folder, such as {name}");
        }
    }

    fn on_event(&self, event: Event) {
        if let Event::Offered { entry, by, replaces } = &event
            && self.mirror
            && self.secret.as_ref().is_none_or(|secret| *by != Giver::by_secret(secret))
        {
            let offer = Offer { entry: entry.clone(), by: *by, replaces: replaces.clone() };
            let _ = self.to_thread.try_send(Task::Fetch(offer)); // for a full channel see `ROOM`
        }
        if let Event::Removed { key, .. } = &event
            && key.parse().is_ok_and(|hash| self.blocked.lock().contains_key(&hash))
        {
            let _ = self.to_thread.try_send(Task::Gone(key.clone())); // likewise
        }
        match &event {
            Event::Added { entry } => log::debug!("added: {}", entry.name),
            Event::Removed { name, reason, .. } => log::debug!("removed: {name} ({reason})"),
            Event::Offered { entry, .. } => log::debug!("offered: {}", entry.name),
        }
        self.reporter.tell(Notice::Catalogue(event));
    }

    fn on_connection(&self, up: bool, why: &str) {
        self.reporter.tell(Notice::Tracker { up, why: why.to_owned() });
    }
}
