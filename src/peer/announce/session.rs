//! The session client as the peer sees it. The work is done in [`super::link`], on the thread `tracker`.
//!
//! One lock, `state`, tells those who wait whether there is a connection; it is held for one look or one change. Requests
//! go to the thread by its mailbox, which is bounded; answers come back through a channel of one place for each request.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender};
use parking_lot::{Condvar, Mutex};

use crate::mailbox::{Mailbox, Undelivered, mailbox};
use crate::threads;
use crate::torrent::{InfoHash, Torrent};
use crate::tracker::protocol::{Event, Held, Hello, Refusal, Reply, Request};

use super::link;

/// Requests that wait to be sent. When more come than the tracker takes, questions are refused, and what was to be told
/// is made good by publishing everything again.
const MAILBOX: usize = 1024;

/// How long a question waits for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a question waits for a connection that is being made.
const CONNECTION: Duration = Duration::from_secs(2);

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
    #[error("there is no connection to the tracker: {0}")]
    NotConnected(String),
    #[error("the connection to the tracker was lost before it answered")]
    Lost,
    #[error("the tracker did not answer within {} seconds", ANSWER.as_secs())]
    TimedOut,
    #[error("too many requests wait for the tracker already")]
    Busy,
    #[error("the torrent is too large to be sent to the tracker")]
    TooLarge,
    /// With the torrents to choose from, where a name is ambiguous.
    #[error("{0}")]
    Refused(Refusal),
}

/// What the thread is asked to do.
pub(super) struct Mail {
    pub request: Request,
    /// Where the answer goes; nobody waits for that to what was merely told.
    pub answer: Option<Sender<Result<Reply, AskError>>>,
}

/// Whether there is a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Connecting,
    Up,
    Down(String),
}

/// What the client and its thread share.
pub(super) struct Shared {
    pub host: Arc<dyn Host>,
    stopping: AtomicBool,
    /// Something that was told did not fit into the mailbox.
    lost_word: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
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
            State::Connecting | State::Up => "it is being made".to_owned(),
        }
    }
}

/// A session with a tracker, which is made again whenever it breaks. Stops when dropped.
pub struct SessionClient {
    shared: Arc<Shared>,
    mailbox: Mailbox<Mail>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SessionClient {
    /// Starts the thread, which connects to the tracker at `addr`; see [`SessionClient::wait_connected`].
    ///
    /// # Errors
    /// When `addr` is a name that is not known, or the system has no room for another thread.
    pub fn start(addr: impl ToSocketAddrs, host: Arc<dyn Host>) -> io::Result<SessionClient> {
        let addresses: Vec<SocketAddr> = addr.to_socket_addrs()?.collect();
        let (mailbox, inbox) = mailbox(MAILBOX)?;
        let shared = Arc::new(Shared {
            host,
            stopping: AtomicBool::new(false),
            lost_word: AtomicBool::new(false),
            state: Mutex::new(State::Connecting),
            changed: Condvar::new(),
        });
        let thread_shared = shared.clone();
        let thread = threads::spawn("tracker", move || link::run(&addresses, &thread_shared, inbox))?;
        Ok(SessionClient { shared, mailbox, thread: Mutex::new(Some(thread)) })
    }

    /// Asks the tracker and waits for the answer, some ten seconds at most. Not for the thread `tracker` itself.
    ///
    /// # Errors
    /// When there is no connection, no answer, or a refusal.
    pub fn ask(&self, request: Request) -> Result<Reply, AskError> {
        self.wait_connected(CONNECTION).map_err(AskError::NotConnected)?;
        let (answer, answered) = crossbeam_channel::bounded(1);
        match self.mailbox.post(Mail { request, answer: Some(answer) }) {
            Ok(()) => {}
            Err(Undelivered::Full(_)) => return Err(AskError::Busy),
            Err(Undelivered::Closed(_)) => return Err(AskError::Lost),
        }
        match answered.recv_timeout(ANSWER) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(AskError::TimedOut),
            Err(RecvTimeoutError::Disconnected) => Err(AskError::Lost),
        }
    }

    /// Tells the tracker and does not wait. What does not arrive is made good at the next connection, or as soon as there
    /// is room again, for then the host is asked for everything; a refusal is logged.
    pub fn tell(&self, request: Request) {
        if let Err(Undelivered::Full(_)) = self.mailbox.post(Mail { request, answer: None }) {
            self.shared.lose_word();
            self.mailbox.wake();
        }
    }

    /// Waits until there is a connection and the tracker has answered `hello`.
    ///
    /// # Errors
    /// Why there is none: at once if the last attempt has failed (another one will follow by itself), or because `timeout`
    /// is over.
    pub fn wait_connected(&self, timeout: Duration) -> Result<(), String> {
        let until = Instant::now() + timeout;
        let mut state = self.shared.state.lock();
        loop {
            match &*state {
                State::Up => return Ok(()),
                State::Down(why) => return Err(why.clone()),
                State::Connecting => {}
            }
            if self.shared.changed.wait_until(&mut state, until).timed_out() && *state == State::Connecting {
                return Err(format!("the tracker did not answer within {timeout:?}"));
            }
        }
    }

    /// Takes leave of the tracker, half a second at most, and ends the thread.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.mailbox.wake();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join(); // its panic has ended the process
        }
    }
}

impl Drop for SessionClient {
    fn drop(&mut self) {
        self.stop();
    }
}
