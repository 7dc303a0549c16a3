//! What all torrents of an engine share: our peer id, memory, upload slots, ledger, rate limits and bans. Any
//! thread. Every lock in here is a leaf: a thread that holds one takes no other, and writes to no socket or
//! mailbox.

use crate::net::Families;
use crate::peer::bandwidth::limit::Limit;
use crate::peer::bandwidth::traffic::SocketTraffic;
use crate::peer::bans::Bans;
use crate::peer::download::memory::Budget;
use crate::peer::identity::ConnId;
use crate::peer::upload::ledger::Ledger;
use crate::peer::upload::newcomers::Newcomers;
use crate::peer::upload::slots::Uploads;
use crate::protocol::handshake::PeerId;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

/// Memory for pieces in flight, in bytes: four windows of the fastest connection, or one of each of many slow
/// ones.
const MEMORY: usize = 32 << 20;

/// Settings that only tests of the extremes change.
#[derive(Copy, Clone, Default, Debug)]
pub struct Tuning {
    /// Length of the send and receive buffers of each socket, in bytes; by default the system's choice.
    pub socket_buffer: Option<usize>,
    /// Number of blocks requested at a time before anything is measured.
    pub first_window: Option<u32>,
    /// Memory for pieces in flight, in bytes.
    pub memory: Option<usize>,
    /// How long a connection that found nothing to fetch waits before it looks again by itself.
    pub look_again: Option<Duration>,
    /// How long a peer may owe us blocks without sending one.
    pub patience: Option<Duration>,
    /// How long the other side may take to connect and shake hands.
    pub handshake_time: Option<Duration>,
    /// How long a connection must be silent before another one from the same peer replaces it.
    pub twin_silence: Option<Duration>,
    /// Whether one address may connect as often as it likes. A measurement connects again for each
    /// repetition.
    pub no_reconnect_limit: bool,
}

/// What all torrents and connections of an engine share.
pub struct Shared {
    /// Our peer id.
    pub peer_id: PeerId,
    /// Memory for pieces in flight.
    pub budget: Arc<Budget>,
    /// Who is served.
    pub uploads: Uploads,
    /// Who is served a little although it has no slot.
    pub newcomers: Arc<Newcomers>,
    /// Who sent how much, in this run and in earlier ones.
    pub ledger: Ledger,
    /// Who is refused.
    pub bans: Bans,
    /// How fast content may go out.
    pub up: Limit,
    /// How fast content may come in.
    pub down: Limit,
    /// What the sockets carried.
    pub traffic: SocketTraffic,
    /// Settings for tests.
    pub tuning: Tuning,
    /// The address families in which peers are connected to.
    pub families: Families,
    /// Folders that are not there, and were told as such.
    absent: Mutex<BTreeSet<PathBuf>>,
    port: AtomicU16,
    next_conn: AtomicU64,
    /// How often a torrent got something to do that it had not: a peer, an address, a folder that is not
    /// there.
    stirs: AtomicU64,
    /// Whether the engine has stopped, so that no torrent goes on.
    stopped: AtomicBool,
}

impl Shared {
    /// The limits up and down are in bytes per second; `None` is no limit.
    pub(crate) fn new(
        peer_id: PeerId,
        uploads: Uploads,
        ledger: Ledger,
        bans: Bans,
        (up, down): (Option<u64>, Option<u64>),
        tuning: Tuning,
        families: Families,
    ) -> Self {
        Shared {
            peer_id,
            budget: Budget::new(tuning.memory.unwrap_or(MEMORY)),
            uploads,
            newcomers: Arc::default(),
            ledger,
            bans,
            up: Limit::new(up),
            down: Limit::new(down),
            traffic: SocketTraffic::default(),
            tuning,
            families,
            absent: Mutex::default(),
            port: AtomicU16::new(0),
            next_conn: AtomicU64::new(1),
            stirs: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// A folder is not there. That is told once, however many torrents wait for it.
    pub fn is_not_there(&self, folder: &Path) {
        if self.absent.lock().insert(folder.to_owned()) {
            log::warn!("{} is not there: it is looked for again and again", folder.display());
        }
    }

    /// The folder is there again.
    pub fn is_there_again(&self, folder: &Path) {
        if self.absent.lock().remove(folder) {
            log::warn!("{} is there again", folder.display());
        }
    }

    /// The port on which we listen; 0 before we do.
    pub fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// Sets the port, once we listen.
    pub(crate) fn set_port(&self, port: u16) {
        self.port.store(port, Ordering::Relaxed);
    }

    /// Whether the engine has stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// The engine has stopped.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// A torrent got something to do. The threads that look after all torrents look through them anew.
    pub(crate) fn stir(&self) {
        self.stirs.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn stirs(&self) -> u64 {
        self.stirs.load(Ordering::Acquire)
    }

    /// A name for a new connection.
    pub fn next_conn(&self) -> ConnId {
        ConnId(self.next_conn.fetch_add(1, Ordering::Relaxed))
    }
}
