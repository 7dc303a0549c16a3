//! How the roles find each other and wait for each other: only through the tracker's catalogue. A file is
//! found by its name. A role that is ready to fetch it is a member of its swarm without any piece; a role
//! that has fetched it often enough is a member with all pieces. The client name of a member tells its role.
//!
//! `main` sends the requests; the client of the tracker's session (thread `tracker`) keeps the connection.
//! One leaf lock, `published`.

use super::stop::Stop;
use super::{Failure, Role};
use crate::peer::catalogue::{AskError, Host, Publication, SessionClient};
use crate::peer_id::PeerId;
use crate::protocol::catalogue::{Event, Held, Hello, MAX_LISTED, Reply, Request, Search};
use crate::torrent::{InfoHash, Torrent};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long it may take to connect to the tracker.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the tracker is asked about the others.
const POLL: Duration = Duration::from_millis(50);
/// How long a wait is silent before the user is told what is waited for.
const SILENCE: Duration = Duration::from_secs(5);
/// How long the tracker may be unreachable before the experiment fails.
const AWAY: Duration = Duration::from_secs(30);

/// One role's session with the tracker.
pub struct Meeting {
    name: String,
    session: SessionClient,
    board: Arc<Board>,
}

/// Another role in the experiment.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Member {
    pub role: Role,
    pub addr: SocketAddr,
    /// Whether it has fetched the file as often as it should, or had it from the start.
    pub has_all: bool,
}

/// What this role tells the tracker about itself.
struct Board {
    peer_id: PeerId,
    role: Role,
    port: u16,
    published: Mutex<BTreeMap<InfoHash, Publication>>,
}

impl Meeting {
    /// Joins the tracker as a role whose client serves on `port`. The name appears in log messages.
    pub fn join(tracker: &str, role: Role, name: &str, port: u16) -> Result<Self, Failure> {
        let board = Arc::new(Board { peer_id: PeerId::random(), role, port, published: Mutex::default() });
        let no_tracker =
            |why: &dyn std::fmt::Display| Failure::Tracker(format!("no tracker at {tracker}: {why}"));
        let session = SessionClient::start(tracker, Arc::clone(&board) as Arc<dyn Host>);
        let session = session.map_err(|why| no_tracker(&why))?;
        session.wait_connected(PATIENCE).map_err(|why| no_tracker(&why))?;
        Ok(Meeting { name: name.to_owned(), session, board })
    }

    /// Publishes that this role holds all of a torrent, or is ready to fetch it.
    pub fn publish(&self, torrent: &Arc<Torrent>, has_all: bool) -> Result<(), Failure> {
        let have = if has_all { Held::All } else { Held::Ranges(Vec::new()) };
        let publication = Publication::new(Arc::clone(torrent), have);
        self.board.published.lock().insert(torrent.info_hash(), publication.clone());
        match self.session.ask(Request::Publish(publication.request())) {
            Err(AskError::Refused(refusal)) => Err(Failure::Tracker(refusal.to_string())),
            _ => Ok(()), // a lost answer is no problem: all is published again after a reconnect
        }
    }

    /// Waits until a file of this name is published.
    pub fn find(&self, name: &str, stop: &Stop) -> Result<Arc<Torrent>, Failure> {
        self.wait(&format!("{name} to be published"), stop, || self.look_for(name))
    }

    fn look_for(&self, name: &str) -> Result<Option<Arc<Torrent>>, AskError> {
        let search = Search { words: name.to_owned(), ..Search::default() };
        let Reply::Search(found) = self.session.ask(Request::Search(search))? else {
            return Err(AskError::Unexpected);
        };
        let Some(entry) = found.entries.into_iter().find(|entry| entry.name == name) else { return Ok(None) };
        match self.session.ask(Request::Torrent { key: entry.key }) {
            Ok(Reply::Torrent { torrent, .. }) => Ok(Torrent::parse(&torrent.0).ok().map(Arc::new)),
            Err(AskError::Refused(_)) => Ok(None), // its holder has just left
            Ok(_) => Err(AskError::Unexpected),
            Err(why) => Err(why),
        }
    }

    /// Waits until `enough` gives a value for the other members of a torrent's swarm, and gives that value.
    pub fn wait_for<T>(
        &self,
        what: &str,
        torrent: &Torrent,
        stop: &Stop,
        enough: impl Fn(&[Member]) -> Option<T>,
    ) -> Result<T, Failure> {
        self.wait(what, stop, || Ok(enough(&self.members(torrent)?)))
    }

    fn members(&self, torrent: &Torrent) -> Result<Vec<Member>, AskError> {
        let request = Request::Peers { key: Some(torrent.key()), want: Some(MAX_LISTED) };
        let Reply::Peers { peers } = self.session.ask(request)? else { return Err(AskError::Unexpected) };
        let member = |peer: crate::protocol::catalogue::PeerInfo| {
            let role =
                [Role::Seed, Role::Leech].into_iter().find(|role| client_name(*role) == peer.client)?;
            Some(Member { role, addr: peer.address, has_all: peer.have == peer.n_parts })
        };
        Ok(peers.into_iter().filter_map(member).collect())
    }

    fn wait<T>(
        &self,
        what: &str,
        stop: &Stop,
        look: impl Fn() -> Result<Option<T>, AskError>,
    ) -> Result<T, Failure> {
        let (start, mut answered, mut told) = (Instant::now(), Instant::now(), false);
        loop {
            match look() {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => answered = Instant::now(),
                Err(AskError::Refused(refusal)) => return Err(Failure::Tracker(refusal.to_string())),
                Err(why) if answered.elapsed() > AWAY => return Err(Failure::Tracker(why.to_string())),
                Err(why) => log::debug!("{why}"),
            }
            if !told && start.elapsed() > SILENCE {
                told = true;
                log::info!("{}: waiting for {what}", self.name);
            }
            stop.pause(POLL)?;
        }
    }
}

/// The client name by which a role is known.
fn client_name(role: Role) -> String {
    format!("experiment {role}")
}

impl Host for Board {
    fn hello(&self) -> Hello {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let outside = interfaces.iter().filter(|interface| !interface.is_loopback());
        Hello {
            peer_id: self.peer_id,
            port: self.port,
            addresses: outside.map(|interface| interface.ip()).collect(),
            client: client_name(self.role),
            mirror: false,
            secret: None,
        }
    }

    fn published(&self) -> Vec<InfoHash> {
        self.published.lock().keys().copied().collect()
    }

    fn publication(&self, hash: InfoHash) -> Option<Publication> {
        self.published.lock().get(&hash).cloned()
    }

    fn on_event(&self, _: Event) {}

    fn on_connection(&self, up: bool, why: &str) {
        if !up {
            log::info!("no tracker: {why}");
        }
    }
}
