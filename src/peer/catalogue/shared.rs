//! What the session client and its thread share: the host that they serve, the requests between them, and
//! whether there is a connection.
//!
//! Two locks, `state` and `stale`, each held for one look-up or change, never both. Threads that wait
//! for a connection wait on `changed`.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex};

use crate::net::Families;
use crate::protocol::catalogue::{Event, Held, Hello, Publish, Refusal, Reply, Request};
use crate::torrent::{InfoHash, Torrent};

/// How long a question waits for an answer.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// How long a question waits for a connection that is being made.
pub(super) const CONNECTION: Duration = Duration::from_secs(2);

/// The outcome of a question.
pub(super) type Answered = Result<Reply, AskError>;

/// The engine, as the session client sees it. It is called on the thread `tracker`, and must not block.
pub trait Host: Send + Sync + 'static {
    /// How we introduce ourselves. Called at each connection.
    fn hello(&self) -> Hello;

    /// The address families in which a tracker may be connected to.
    fn families(&self) -> Families {
        Families::default()
    }

    /// All torrents to publish. Called at each connection, and when a publication may have been lost.
    fn published(&self) -> Vec<InfoHash>;

    /// The current state of one of them; `None` if it is no longer to be published. Called when it
    /// is its turn.
    fn publication(&self, hash: InfoHash) -> Option<Publication>;

    /// The tracker has taken a torrent of `published`, or refused it.
    fn on_published(&self, _hash: InfoHash, _taken: bool) {}

    /// The tracker sent an event.
    fn on_event(&self, event: Event);

    /// The connection was made (`up`), or it was lost or could not be made, because of `why`. Of several
    /// attempts that fail in a row only the first is reported.
    fn on_connection(&self, up: bool, why: &str);
}

/// A torrent to be published.
#[derive(Clone)]
pub struct Publication {
    /// The torrent.
    pub torrent: Arc<Torrent>,
    /// Which of its pieces we have.
    pub have: Held,
    /// Whether all peers of the tracker are invited to fetch it.
    pub offer: bool,
    /// Whether it is our own, and was not downloaded.
    pub own: bool,
    /// The path of its file below the folder that it is shared from, if it lies deeper.
    pub path: Option<String>,
    /// Of an offer: the keys of the older versions that it replaces.
    pub replaces: Vec<String>,
    /// Why we cannot fetch it now.
    pub blocked: Option<String>,
}

impl Publication {
    /// We have these pieces of the torrent.
    pub fn new(torrent: Arc<Torrent>, have: Held) -> Self {
        Publication {
            torrent,
            have,
            offer: false,
            own: false,
            path: None,
            replaces: Vec::new(),
            blocked: None,
        }
    }

    /// The request that publishes it.
    pub fn request(self) -> Publish {
        let Publication { torrent, have, offer, own, path, replaces, blocked } = self;
        Publish { offer, own, path, replaces, blocked, ..Publish::new(torrent.bytes(), have) }
    }
}

/// Why a question got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// There is no connection, for this reason.
    #[error("{0}")]
    NotConnected(String),
    /// The connection ended before the answer.
    #[error("the connection to the tracker was lost before it answered")]
    Lost,
    /// No answer came in time.
    #[error("the tracker did not answer within {} seconds", ANSWER.as_secs())]
    TimedOut,
    /// Too many requests are waiting.
    #[error("too many requests wait for the tracker already")]
    Busy,
    /// The request is longer than a line may be.
    #[error("the torrent is too large to be sent to the tracker")]
    TooLarge,
    /// The answer does not fit the question.
    #[error("the tracker answered something else than it was asked")]
    Unexpected,
    /// The tracker refused. For an ambiguous name the refusal holds the torrents to choose from.
    #[error("{0}")]
    Refused(Refusal),
}

/// A request for the thread.
pub(super) struct LinkMail {
    pub request: Request,
    /// Where the answer goes; `None` if nothing waits for it.
    pub answer: Option<Sender<Answered>>,
}

/// Whether there is a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Connecting,
    Up,
    Down(String),
}

/// Of which torrents the thread has to tell the tracker what they are now: published, or no longer.
#[derive(Default)]
struct Stale {
    /// Of all: something was lost because there was no room for it.
    all: bool,
    /// Of these. At most all that there are, and were.
    some: BTreeSet<InfoHash>,
}

/// What the client and its thread share.
pub(super) struct ClientShared {
    pub host: Arc<dyn Host>,
    stopping: AtomicBool,
    stale: Mutex<Stale>,
    state: Mutex<State>,
    changed: Condvar,
}

impl ClientShared {
    pub fn new(host: Arc<dyn Host>) -> Arc<Self> {
        Arc::new(ClientShared {
            host,
            stopping: AtomicBool::new(false),
            stale: Mutex::default(),
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

    /// A request will not be sent. Without what it would have told the tracker, everything must be published
    /// again; who asks a question asks again.
    pub fn has_no_room(&self, mail: LinkMail) {
        if mail.answer.is_none() || matches!(mail.request, Request::Publish(_)) {
            self.stale.lock().all = true;
        }
        if let Some(answer) = mail.answer {
            let _ = answer.try_send(Err(AskError::Busy)); // the caller may have given up
        }
    }

    /// The tracker is to be told of these torrents.
    pub fn refresh(&self, hashes: &[InfoHash]) {
        self.stale.lock().some.extend(hashes);
    }

    /// The torrents of which the tracker is to be told since the last call.
    pub fn take_stale(&self) -> VecDeque<InfoHash> {
        let Stale { all, some } = std::mem::take(&mut *self.stale.lock());
        let gone = |hash: &InfoHash| !all || self.host.publication(*hash).is_none();
        let published = if all { self.host.published() } else { Vec::new() };
        some.into_iter().filter(gone).chain(published).collect()
    }

    /// The same, at the begin of a connection: the tracker knows nothing of us.
    pub fn take_all(&self) -> VecDeque<InfoHash> {
        *self.stale.lock() = Stale::default();
        self.host.published().into()
    }

    /// Wakes all threads that wait for the connection, and tells the host if something changed.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::catalogue::List;

    /// Has one torrent.
    struct Sharer;

    const SHARED: InfoHash = InfoHash([1; 20]);

    impl Host for Sharer {
        fn hello(&self) -> Hello {
            unreachable!("nothing is connected")
        }

        fn published(&self) -> Vec<InfoHash> {
            vec![SHARED]
        }

        fn publication(&self, _hash: InfoHash) -> Option<Publication> {
            None
        }

        fn on_event(&self, _event: Event) {}

        fn on_connection(&self, _up: bool, _why: &str) {}
    }

    /// Bug: an offer for which there was no room was not made again while the connection lasted, although its
    /// user was told that it would be.
    #[test]
    fn what_was_to_be_published_and_had_no_room_is_published_again() {
        let shared = ClientShared::new(Arc::new(Sharer));
        let publish = || Request::Publish(Publish::new(b"", Held::All));
        let mail = |request| {
            let (answer, answered) = crossbeam_channel::bounded(1);
            (LinkMail { request, answer: Some(answer) }, answered)
        };
        let (question, answered) = mail(Request::List(List::default()));
        shared.has_no_room(question);
        assert!(matches!(answered.try_recv(), Ok(Err(AskError::Busy))));
        assert!(shared.take_stale().is_empty(), "who asked asks again");
        let (offer, answered) = mail(publish());
        shared.has_no_room(offer);
        assert!(matches!(answered.try_recv(), Ok(Err(AskError::Busy))));
        assert_eq!(shared.take_stale(), [SHARED]);
        shared.has_no_room(LinkMail { request: publish(), answer: None });
        assert_eq!(shared.take_stale(), [SHARED]);
    }
}
