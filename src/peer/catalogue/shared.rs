//! What the session client and its thread have in common: the host they serve, the requests between them, and whether
//! there is a connection.
//!
//! One lock, `state`; it is held for one look or one change. Whoever waits for a connection waits on `changed`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex};

use crate::protocol::catalogue::{Event, Held, Hello, Refusal, Reply, Request};
use crate::torrent::{InfoHash, Torrent};

/// How long a question waits for an answer.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// How long a question waits for a connection that is being made.
pub(super) const CONNECTION: Duration = Duration::from_secs(2);

/// What comes of a question.
pub(super) type Answered = Result<Reply, AskError>;

/// The peer, as the session client knows it. Called on the thread `tracker`, on which nothing may block.
pub trait Host: Send + Sync + 'static {
    /// How the peer presents itself. Asked at each connection.
    fn hello(&self) -> Hello;

    /// All torrents to publish. Asked at each connection, and when word may have been lost.
    fn published(&self) -> Vec<InfoHash>;

    /// How one of them stands now; `None` if it is not to be published any more. Asked when its turn comes.
    fn publication(&self, hash: InfoHash) -> Option<Publication>;

    /// News from the tracker.
    fn on_event(&self, event: Event);

    /// The connection was made (`up`), or lost, or could not be made, and then `why`. Of attempts that fail in a row
    /// only the first is told.
    fn on_connection(&self, up: bool, why: &str);
}

/// A torrent as it is to be published.
#[derive(Clone)]
pub struct Publication {
    pub torrent: Arc<Torrent>,
    pub have: Held,
    /// Whether all peers of the tracker are invited to fetch it.
    pub offer: bool,
}

/// Why a question got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("{0}")]
    NotConnected(String),
    #[error("the connection to the tracker was lost before it answered")]
    Lost,
    #[error("the tracker did not answer within {} seconds", ANSWER.as_secs())]
    TimedOut,
    #[error("too many requests wait for the tracker already")]
    Busy,
    #[error("the torrent is too large to be sent to the tracker")]
    TooLarge,
    #[error("the tracker answered something else than it was asked")]
    Unexpected,
    /// With the torrents to choose from, where a name is ambiguous.
    #[error("{0}")]
    Refused(Refusal),
}

/// What the thread is asked to do.
pub(super) struct LinkMail {
    pub request: Request,
    /// Where the answer goes; nobody waits for that to what was merely told.
    pub answer: Option<Sender<Answered>>,
}

/// Whether there is a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Connecting,
    Up,
    Down(String),
}

/// What the client and its thread share.
pub(super) struct ClientShared {
    pub host: Arc<dyn Host>,
    stopping: AtomicBool,
    /// Something that was told did not fit into the mailbox.
    lost_word: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

impl ClientShared {
    pub fn new(host: Arc<dyn Host>) -> Arc<Self> {
        Arc::new(ClientShared {
            host,
            stopping: AtomicBool::new(false),
            lost_word: AtomicBool::new(false),
            state: Mutex::new(State::Connecting),
            changed: Condvar::new(),
        })
    }

    pub fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Waits until there is a connection; the error says why there is none.
    pub fn wait_connected(&self, timeout: Duration) -> Result<(), String> {
        let until = Instant::now() + timeout;
        let mut state = self.state.lock();
        loop {
            match &*state {
                State::Up => return Ok(()),
                State::Down(why) => return Err(why.clone()),
                State::Connecting => {}
            }
            if self.changed.wait_until(&mut state, until).timed_out() && *state == State::Connecting {
                return Err(format!("the tracker did not answer within {timeout:?}"));
            }
        }
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Something that was told will not be sent: everything is to be published again.
    pub fn lose_word(&self) {
        self.lost_word.store(true, Ordering::Release);
    }

    /// Whether word was lost since this was last asked.
    pub fn take_lost_word(&self) -> bool {
        self.lost_word.swap(false, Ordering::AcqRel)
    }

    /// Tells all who wait, and the host if this is news.
    pub fn set_connection(&self, up: bool, why: &str) {
        let new = if up { State::Up } else { State::Down(why.to_owned()) };
        let old = std::mem::replace(&mut *self.state.lock(), new);
        self.changed.notify_all();
        if up || !matches!(old, State::Down(_)) {
            self.host.on_connection(up, why);
        }
    }

    pub fn down_reason(&self) -> String {
        match &*self.state.lock() {
            State::Down(why) => why.clone(),
            State::Connecting | State::Up => "the tracker has not answered yet".to_owned(),
        }
    }
}
