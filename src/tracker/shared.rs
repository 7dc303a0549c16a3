//! State shared by the tracker's threads, and all its locks:
//!
//! | lock | what it guards | held for |
//! |---|---|---|
//! | `registry` | swarms, sessions, catalogue | one query or change in memory, not slower in a large swarm |
//! | `subscribers` | how to wake each connection's thread, connections per address | one lookup |
//! | the store's | metainfo files, only without a folder | one copy |
//!
//! No thread holds two of them. None is held during an operation on a socket, the disk or a channel.

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
use super::front::Front;
use super::metrics::Metrics;
use super::registry::Registry;
use super::store::Store;
use crate::protocol::catalogue::Refusal;

/// Wakes a waiting thread. No mail is ever put into it.
pub type Waker = Mailbox<()>;

/// A connection's number, never used twice.
pub type ConnectionId = u64;

/// State shared by the tracker's threads.
pub struct TrackerShared {
    pub limits: Limits,
    pub front: Front,
    /// The port that it listens on.
    pub port: u16,
    pub store: Store,
    pub metrics: Metrics,
    pub budget: Arc<Budget>,
    pub started: Instant,
    registry: Mutex<Registry>,
    subscribers: Mutex<OpenConnections>,
    /// Wakes the thread `events` when there are new events.
    herald: Waker,
    stopping: AtomicBool,
}

/// The open connections.
#[derive(Default)]
struct OpenConnections {
    by_id: HashMap<ConnectionId, Subscriber>,
    at_address: HashMap<IpAddr, usize>,
}

/// How to wake a connection's thread.
struct Subscriber {
    /// `None` until a thread serves it.
    mailbox: Option<Waker>,
    remote: IpAddr,
    is_subscribed: bool,
}

impl TrackerShared {
    pub fn new(
        (limits, front): (Limits, Front),
        port: u16,
        store: Store,
        registry: Registry,
        herald: Waker,
    ) -> TrackerShared {
        TrackerShared {
            front,
            port,
            store,
            metrics: Metrics::default(),
            budget: Budget::new(limits.line_bytes),
            started: Instant::now(),
            registry: Mutex::new(registry),
            subscribers: Mutex::default(),
            herald,
            stopping: AtomicBool::new(false),
            limits,
        }
    }

    /// Reads or changes the registry, and wakes the sessions if there are new events.
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

    /// Stores a torrent if it is not in the catalogue yet, or if one that was replaced is back, since
    /// somebody offers it or has it as its own. When this returns, it is on disk.
    ///
    /// # Errors
    /// If the catalogue is full or the disk fails.
    pub fn keep(&self, torrent: &Torrent, is_back: bool) -> Result<(), Refusal> {
        let hash = torrent.info_hash();
        let is_known = self.registry(|registry| match registry.knows(hash) {
            true if is_back && registry.is_replaced(hash) => Ok(false),
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

    /// Registers a connection. Gives false if there are as many as the limits allow.
    pub fn enter(&self, id: ConnectionId, remote: IpAddr) -> bool {
        let mut subscribers = self.subscribers.lock();
        let same_address = subscribers.at_address.get(&remote).copied().unwrap_or(0);
        let fits = subscribers.by_id.len() < self.limits.connections
            && (same_address < self.limits.connections_per_address || self.front.is_trusted(remote));
        if fits {
            subscribers.by_id.insert(id, Subscriber { mailbox: None, remote, is_subscribed: false });
            subscribers.at_address.insert(remote, same_address + 1);
        }
        fits
    }

    /// Notes that a thread serves the connection now and can be woken by `mailbox`.
    pub fn open(&self, id: ConnectionId, mailbox: Waker) {
        if let Some(id) = self.subscribers.lock().by_id.get_mut(&id) {
            id.mailbox = Some(mailbox);
        }
    }

    /// Forgets a connection that has ended.
    pub fn exit(&self, id: ConnectionId) {
        let mut subscribers = self.subscribers.lock();
        let Some(id) = subscribers.by_id.remove(&id) else { return };
        if let Entry::Occupied(mut count) = subscribers.at_address.entry(id.remote) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// From now on this connection's thread is woken when there are new events.
    pub fn subscribe(&self, id: ConnectionId) {
        if let Some(id) = self.subscribers.lock().by_id.get_mut(&id) {
            id.is_subscribed = true;
        }
    }

    /// Wakes the threads of all subscribed connections.
    pub fn wake_subscribers(&self) {
        self.wake_if(|id| id.is_subscribed);
    }

    /// Number of open connections.
    pub fn connections(&self) -> usize {
        self.subscribers.lock().by_id.len()
    }

    fn wake_if(&self, wanted: impl Fn(&Subscriber) -> bool) {
        let subscribers: Vec<Waker> = {
            let subscribers = self.subscribers.lock();
            subscribers.by_id.values().filter(|id| wanted(id)).filter_map(|id| id.mailbox.clone()).collect()
        };
        subscribers.iter().for_each(Waker::wake);
    }
}
