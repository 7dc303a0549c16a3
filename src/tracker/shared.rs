//! What the tracker's threads share, and all its locks:
//!
//! | lock | what it guards | held for |
//! |---|---|---|
//! | `registry` | swarms, sessions, catalogue | one question or one change, in memory, whose cost does not grow with the swarms |
//! | `doors` | how to wake each connection's thread, connections per address | one look |
//! | the store's | metainfo files, only without a folder | one copy |
//!
//! No thread holds two of them, and none is held over a socket, the disk or a channel.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::mailbox::Mailbox;
use crate::torrent::Torrent;

use super::Limits;
use super::budget::Budget;
use super::metrics::Metrics;
use super::registry::Registry;
use super::store::Store;
use crate::protocol::catalogue::Refusal;

/// Wakes a thread that waits; nothing is ever put into it.
pub type Waker = Mailbox<()>;

/// A connection's number, never used twice.
pub type ConnectionId = u64;

/// The tracker as its threads see it.
pub struct Shared {
    pub limits: Limits,
    pub store: Store,
    pub metrics: Metrics,
    pub budget: Arc<Budget>,
    pub started: Instant,
    registry: Mutex<Registry>,
    doors: Mutex<Doors>,
    /// The thread `events`, to be woken when there is news.
    herald: Waker,
    stopping: AtomicBool,
}

/// The connections that there are.
#[derive(Default)]
struct Doors {
    by_id: HashMap<ConnectionId, Door>,
    at_address: HashMap<IpAddr, usize>,
}

/// Where to knock for a connection's thread.
struct Door {
    /// `None` until a thread serves it.
    mailbox: Option<Waker>,
    remote: IpAddr,
    wants_news: bool,
}

impl Shared {
    pub fn new(limits: Limits, store: Store, registry: Registry, herald: Waker) -> Shared {
        Shared {
            store,
            metrics: Metrics::default(),
            budget: Budget::new(limits.line_bytes),
            started: Instant::now(),
            registry: Mutex::new(registry),
            doors: Mutex::default(),
            herald,
            stopping: AtomicBool::new(false),
            limits,
        }
    }

    /// Asks or changes the registry, and has the sessions told if there is news.
    pub fn registry<T>(&self, work: impl FnOnce(&mut Registry) -> T) -> T {
        let mut registry = self.registry.lock();
        let result = work(&mut registry);
        let has_news = registry.take_has_news();
        drop(registry);
        if has_news {
            self.herald.wake();
        }
        result
    }

    /// Stores a torrent that is not in the catalogue. When this returns it is on disk.
    ///
    /// # Errors
    /// When the catalogue is full or the disk fails.
    pub fn keep(&self, torrent: &Torrent) -> Result<(), Refusal> {
        let hash = torrent.info_hash();
        let is_known = self.registry(|registry| match registry.knows(hash) {
            true => Ok(true),
            false => registry.has_room(torrent.bytes().len()).map(|()| false),
        })?;
        if is_known {
            return Ok(());
        }
        self.store.put(torrent).map_err(|error| {
            log::error!("cannot keep {}: {error}", torrent.key());
            Refusal::new(format!("the tracker cannot keep the torrent: {error}"))
        })
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Tells every thread to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.herald.wake();
        self.wake_if(|_| true);
    }

    /// Lets a connection in, if there is room for it.
    pub fn enter(&self, id: ConnectionId, remote: IpAddr) -> bool {
        let mut doors = self.doors.lock();
        let same_address = doors.at_address.get(&remote).copied().unwrap_or(0);
        let fits =
            doors.by_id.len() < self.limits.connections && same_address < self.limits.connections_per_address;
        if fits {
            doors.by_id.insert(id, Door { mailbox: None, remote, wants_news: false });
            doors.at_address.insert(remote, same_address + 1);
        }
        fits
    }

    /// A thread serves the connection now, and can be woken in this way.
    pub fn open(&self, id: ConnectionId, mailbox: Waker) {
        if let Some(door) = self.doors.lock().by_id.get_mut(&id) {
            door.mailbox = Some(mailbox);
        }
    }

    pub fn exit(&self, id: ConnectionId) {
        let mut doors = self.doors.lock();
        let Some(door) = doors.by_id.remove(&id) else { return };
        if let Entry::Occupied(mut count) = doors.at_address.entry(door.remote) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// From now on this connection is woken when there is news.
    pub fn subscribe(&self, id: ConnectionId) {
        if let Some(door) = self.doors.lock().by_id.get_mut(&id) {
            door.wants_news = true;
        }
    }

    /// Wakes all that subscribed.
    pub fn spread_news(&self) {
        self.wake_if(|door| door.wants_news);
    }

    pub fn connections(&self) -> usize {
        self.doors.lock().by_id.len()
    }

    fn wake_if(&self, wanted: impl Fn(&Door) -> bool) {
        let doors: Vec<Waker> = {
            let doors = self.doors.lock();
            doors.by_id.values().filter(|door| wanted(door)).filter_map(|door| door.mailbox.clone()).collect()
        };
        doors.iter().for_each(Waker::wake);
    }
}
