//! Several trackers that look like one. Announcements go to all of them, questions to all that are connected,
//! and the answers are merged. While one tracker is left, the loss of another goes unnoticed; when that one
//! is back, its client publishes everything there again.
//!
//! Any thread may ask. Each tracker has a client with a thread of its own (`tracker`, or `tracker-N`), on
//! which its [`Desk`] receives the events. Two locks, both leaves, held for one look-up or change: the state
//! of the connections, and what the trackers have reported.

use super::client::SessionClient;
use super::dedup::Dedup;
use super::shared::{ANSWER, Answered, AskError, CONNECTION, Host, Publication};
use crate::net::Families;
use crate::protocol::catalogue::{
    Entry, Event, Found, Hello, List, Metainfo, PeerInfo, Publish, Refusal, Reply, Request, Search,
};
use crate::torrent::InfoHash;
use crossbeam_channel::{Receiver, Select};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to wait for the other trackers once one has answered: one that hangs must not delay everything.
const GRACE: Duration = Duration::from_secs(1);

/// The state of the connection to one tracker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The first attempt has not ended yet.
    Connecting,
    /// Connected.
    Up,
    /// Not connected, for this reason. It is tried again.
    Down(String),
}

/// A torrent of the catalogue.
#[derive(Debug)]
pub struct FoundTorrent {
    /// Its key, as the tracker says.
    pub key: String,
    /// Its path where it is shared, if it does not only have a name.
    pub path: Option<String>,
    /// The metainfo file.
    pub metainfo: Vec<u8>,
}

/// All trackers of the engine, at least one. They are stopped when this is dropped.
pub struct Trackers {
    addrs: Vec<String>,
    clients: Vec<SessionClient>,
    common: Arc<Common>,
}

/// What all desks share.
struct Common {
    host: Arc<dyn Host>,
    standings: Mutex<Vec<Standing>>,
    changed: Condvar,
    dedup: Mutex<Dedup>,
}

impl Trackers {
    /// Starts a client for each address (`HOST:PORT`); see [`Trackers::wait_connected`].
    ///
    /// # Errors
    /// If a name cannot be resolved, or a thread cannot be made; the address comes with the error.
    pub fn start(addrs: &[String], host: Arc<dyn Host>) -> Result<Trackers, (String, io::Error)> {
        let common = Arc::new(Common {
            host,
            standings: Mutex::new(vec![Standing::Connecting; addrs.len()]),
            changed: Condvar::new(),
            dedup: Mutex::default(),
        });
        let clients = addrs.iter().enumerate().map(|(tracker, addr)| {
            let name = if addrs.len() == 1 { "tracker".to_owned() } else { format!("tracker-{tracker}") };
            let desk = Arc::new(Desk { tracker, addr: addr.clone(), common: Arc::clone(&common) });
            SessionClient::start_as(&name, addr, desk).map_err(|why| (addr.clone(), why))
        });
        let clients = clients.collect::<Result<_, _>>()?;
        Ok(Trackers { addrs: addrs.to_vec(), clients, common })
    }

    /// Waits until one tracker is connected, and a little longer for the others.
    ///
    /// # Errors
    /// Why none is connected: as soon as all attempts have failed, or after `timeout`.
    pub fn wait_connected(&self, timeout: Duration) -> Result<(), String> {
        let mut until = Instant::now() + timeout;
        let mut one_is_up = false;
        let mut standings = self.common.standings.lock();
        while standings.contains(&Standing::Connecting) {
            if !one_is_up && standings.contains(&Standing::Up) {
                one_is_up = true;
                until = until.min(Instant::now() + GRACE);
            }
            if self.common.changed.wait_until(&mut standings, until).timed_out() {
                break;
            }
        }
        if standings.contains(&Standing::Up) {
            return Ok(());
        }
        let whys = standings.iter().map(|standing| match standing {
            Standing::Down(why) => why.clone(),
            _ => format!("the tracker did not answer within {timeout:?}"),
        });
        Err(whys.collect::<Vec<_>>().join("; "))
    }

    /// The addresses of the trackers as they were given, with the state of each connection.
    pub fn standings(&self) -> Vec<(String, Standing)> {
        self.addrs.iter().cloned().zip(self.common.standings.lock().iter().cloned()).collect()
    }

    /// Sends to all trackers and does not wait. Those that are not connected get it when they are back.
    pub fn tell(&self, request: &Request) {
        self.clients.iter().for_each(|client| client.tell(request.clone()));
    }

    /// Has all trackers told, in one go and without waiting, what these torrents are now: published, or no
    /// longer.
    pub fn refresh(&self, hashes: &[InfoHash]) {
        self.clients.iter().for_each(|client| client.refresh(hashes));
    }

    /// Publishes at all trackers. One that accepts is enough. Those that are not connected get it when
    /// they are back.
    ///
    /// # Errors
    /// If none accepts.
    pub fn publish(&self, publish: Publish) -> Result<(), AskError> {
        let answers = self.ask_living(&Request::Publish(publish))?;
        take_good(answers, |reply| matches!(reply, Reply::Publish { .. }).then_some(())).map(drop)
    }

    /// All entries of all catalogues with all of these words in their names, by name; without
    /// words, every entry.
    pub fn search(&self, words: &str) -> Result<Vec<Entry>, AskError> {
        let page = |skip| match words.is_empty() {
            true => Request::List(List { all: false, skip }),
            false => Request::Search(Search { words: words.to_owned(), all: false, skip }),
        };
        let mut entries = Vec::new();
        let mut answers = Vec::new();
        // Each tracker sends its list in pages: the trackers that have more entries, and where the
        // next page begins.
        let mut open: Vec<(usize, usize)> = self.living()?.into_iter().map(|tracker| (tracker, 0)).collect();
        while !open.is_empty() {
            let asked = self.ask(open.iter().map(|(tracker, skip)| (*tracker, page(*skip))));
            let mut next = Vec::new();
            for (tracker, answer) in asked {
                let had = open.iter().find(|(asked, _)| *asked == tracker).map_or(0, |(_, skip)| *skip);
                answers.push(answer.and_then(|reply| match reply {
                    Reply::Search(Found { entries: found, more })
                    | Reply::List(Found { entries: found, more }) => {
                        if more > 0 && !found.is_empty() {
                            next.push((tracker, had + found.len()));
                        }
                        entries.extend(found);
                        Ok(())
                    }
                    _ => Err(AskError::Unexpected),
                }));
            }
            open = next;
        }
        one_is_enough(answers)?;
        Ok(merge_entries(entries))
    }

    /// The torrent with this path, name or key.
    ///
    /// # Errors
    /// If no tracker has it, or trackers have different torrents of that name.
    pub fn torrent(&self, name_or_key: &str) -> Result<FoundTorrent, AskError> {
        let request = Request::Torrent { key: name_or_key.to_owned() };
        let found = take_good(self.ask_living(&request)?, |reply| match reply {
            Reply::Torrent { key, torrent: Metainfo(metainfo), path } => {
                Some((key.clone(), FoundTorrent { key, path, metainfo }))
            }
            _ => None,
        })?;
        let found: BTreeMap<String, FoundTorrent> = found.into_iter().collect();
        let keys: Vec<String> = found.keys().cloned().collect();
        match found.into_values().next() {
            Some(one) if keys.len() == 1 => Ok(one),
            _ => Err(AskError::Refused(Refusal::new(format!(
                "the trackers know {} torrents as `{name_or_key}`; give one of the keys {}",
                keys.len(),
                keys.join(", ")
            )))),
        }
    }

    /// The other peers of a torrent, according to the trackers; without a key, all their peers.
    pub fn peers(&self, key: Option<String>) -> Result<Vec<PeerInfo>, AskError> {
        let answers = self.ask_living(&Request::Peers { key, want: None })?;
        let lists = take_good(answers, |reply| match reply {
            Reply::Peers { peers } => Some(peers),
            _ => None,
        })?;
        Ok(merge_peers(lists.into_iter().flatten()))
    }

    /// Says goodbye to all trackers, and ends the threads.
    pub fn stop(&self) {
        // Half a second at most for each, but all at the same time, so that two that hang do not take
        // twice as long.
        self.clients.iter().for_each(SessionClient::begin_stop);
        self.clients.iter().for_each(SessionClient::stop);
    }

    /// The trackers that are connected. If there is none yet, it waits a little for the first.
    fn living(&self) -> Result<Vec<usize>, AskError> {
        let living = || -> Vec<usize> {
            let standings = self.common.standings.lock();
            (0..standings.len()).filter(|at| standings[*at] == Standing::Up).collect()
        };
        let mut up = living();
        if up.is_empty() {
            self.wait_connected(CONNECTION).map_err(AskError::NotConnected)?;
            up = living();
        }
        if up.is_empty() { Err(AskError::Lost) } else { Ok(up) }
    }

    fn ask_living(&self, request: &Request) -> Result<Vec<Answered>, AskError> {
        let living = self.living()?.into_iter();
        let answers = self.ask(living.map(|tracker| (tracker, request.clone())));
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Asks each tracker its question, all at the same time, and returns an answer for each.
    fn ask(&self, questions: impl Iterator<Item = (usize, Request)>) -> Vec<(usize, Answered)> {
        let (mut asked, mut answers) = (Vec::new(), Vec::new());
        for (tracker, request) in questions {
            match self.clients[tracker].begin(request) {
                Ok(answered) => asked.push((tracker, answered)),
                Err(why) => answers.push((tracker, Err(why))),
            }
        }
        gather(asked, answers)
    }
}

/// Adds the answers in the order in which they come.
fn gather(
    mut asked: Vec<(usize, Receiver<Answered>)>,
    mut answers: Vec<(usize, Answered)>,
) -> Vec<(usize, Answered)> {
    let mut until = Instant::now() + ANSWER;
    while !asked.is_empty() {
        let mut select = Select::new();
        for (_, answered) in &asked {
            select.recv(answered);
        }
        let Ok(ready) = select.select_deadline(until) else { break };
        let at = ready.index();
        let answer = ready.recv(&asked[at].1).unwrap_or(Err(AskError::Lost));
        if answer.is_ok() {
            until = until.min(Instant::now() + GRACE);
        }
        answers.push((asked.swap_remove(at).0, answer));
    }
    answers.extend(asked.into_iter().map(|(tracker, _)| (tracker, Err(AskError::TimedOut))));
    answers
}

/// What `wanted` takes from the answers, at least one thing.
fn take_good<T>(answers: Vec<Answered>, wanted: impl Fn(Reply) -> Option<T>) -> Result<Vec<T>, AskError> {
    let taken = |answer: Answered| answer.and_then(|reply| wanted(reply).ok_or(AskError::Unexpected));
    one_is_enough(answers.into_iter().map(taken).collect())
}

/// The good answers. If there is none, the most useful error: a refusal with many torrents to choose from is
/// better than an error of the connection.
fn one_is_enough<T>(answers: Vec<Result<T, AskError>>) -> Result<Vec<T>, AskError> {
    let (mut good, mut whys) = (Vec::new(), Vec::new());
    for answer in answers {
        match answer {
            Ok(one) => good.push(one),
            Err(why) => whys.push(why),
        }
    }
    if !good.is_empty() {
        whys.iter().for_each(|why| log::debug!("one of the trackers: {why}"));
        return Ok(good);
    }
    let weight = |why: &AskError| match why {
        AskError::Refused(refusal) => 1 + refusal.choices.len(),
        _ => 0,
    };
    Err(whys.into_iter().max_by_key(weight).unwrap_or(AskError::Lost))
}

/// Each torrent once. Its peers are known to all trackers, so the largest of their numbers is closest
/// to the truth.
fn merge_entries(entries: Vec<Entry>) -> Vec<Entry> {
    let mut merged: BTreeMap<(String, String), Entry> = BTreeMap::new();
    for entry in entries {
        match merged.entry((entry.label().to_owned(), entry.key.clone())) {
            Place::Vacant(place) => drop(place.insert(entry)),
            Place::Occupied(mut known) => {
                let known = known.get_mut();
                known.seeds = known.seeds.max(entry.seeds);
                known.peers = known.peers.max(entry.peers);
                known.available |= entry.available;
            }
        }
    }
    merged.into_values().collect()
}

/// Each peer once, in its latest state: the number of pieces only grows. The order is kept, since peers of
/// our own subnet come first.
fn merge_peers(peers: impl Iterator<Item = PeerInfo>) -> Vec<PeerInfo> {
    let mut merged: Vec<PeerInfo> = Vec::new();
    let mut places: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for peer in peers {
        match places.entry(peer.address) {
            Place::Vacant(place) => {
                place.insert(merged.len());
                merged.push(peer);
            }
            Place::Occupied(place) if merged[*place.get()].have < peer.have => merged[*place.get()] = peer,
            Place::Occupied(_) => {}
        }
    }
    merged
}

/// The host of one tracker's client.
struct Desk {
    tracker: usize,
    addr: String,
    common: Arc<Common>,
}

impl Host for Desk {
    fn hello(&self) -> Hello {
        self.common.host.hello()
    }

    fn families(&self) -> Families {
        self.common.host.families()
    }

    fn published(&self) -> Vec<InfoHash> {
        self.common.host.published()
    }

    fn publication(&self, hash: InfoHash) -> Option<Publication> {
        self.common.host.publication(hash)
    }

    fn on_published(&self, hash: InfoHash, taken: bool) {
        self.common.host.on_published(hash, taken);
    }

    fn on_event(&self, event: Event) {
        let is_news = self.common.dedup.lock().is_news(self.tracker, &event);
        if is_news {
            self.common.host.on_event(event);
        }
    }

    /// The host is told when the first tracker is connected, and when the last one is lost.
    fn on_connection(&self, up: bool, why: &str) {
        let standing = if up { Standing::Up } else { Standing::Down(why.to_owned()) };
        let worth_telling = {
            let mut standings = self.common.standings.lock();
            standings[self.tracker] = standing;
            let others_up =
                standings.iter().enumerate().any(|(at, other)| at != self.tracker && *other == Standing::Up);
            !others_up && (up || !standings.contains(&Standing::Connecting))
        };
        self.common.changed.notify_all();
        if !up {
            self.common.dedup.lock().forget(self.tracker);
        }
        if worth_telling {
            self.common.host.on_connection(up, why);
        } else {
            log::info!("{}: {}", self.addr, if up { "connected to this tracker, too" } else { why });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::catalogue::PeerId;

    #[test]
    fn peers_and_entries_of_several_trackers_are_told_once() {
        let peer = |address: &str, have| PeerInfo {
            peer_id: PeerId([1; 20]),
            address: address.parse().unwrap(),
            client: "test".into(),
            have,
            n_parts: 9,
            blocked: None,
        };
        let both =
            [peer("10.0.0.2:1", 1), peer("10.0.0.1:1", 5), peer("10.0.0.1:1", 3), peer("10.0.0.2:1", 4)];
        assert_eq!(merge_peers(both.into_iter()), [peer("10.0.0.2:1", 4), peer("10.0.0.1:1", 5)]);

        let entry = |name: &str, seeds, peers, available| Entry {
            key: format!("key of {name}"),
            name: name.into(),
            path: None,
            kind: "file".into(),
            size: 1,
            n_parts: 1,
            format: "v1".into(),
            seeds,
            peers,
            available,
        };
        let both = vec![entry("b", 1, 0, false), entry("a", 1, 1, true), entry("b", 0, 2, true)];
        assert_eq!(merge_entries(both), [entry("a", 1, 1, true), entry("b", 1, 2, true)]);
    }

    #[test]
    fn a_refusal_with_a_choice_outweighs_a_lost_connection() {
        let none: Vec<Result<(), _>> =
            vec![Err(AskError::Refused(Refusal::new("unknown"))), Err(AskError::Lost)];
        assert_eq!(one_is_enough(none).unwrap_err(), AskError::Refused(Refusal::new("unknown")));
        assert_eq!(one_is_enough(vec![Err(AskError::Lost), Ok(1)]), Ok(vec![1]));
    }

    #[test]
    fn one_tracker_that_hangs_does_not_hold_up_the_answer_of_another() {
        let (answers, answered) = crossbeam_channel::bounded(1);
        let (_hangs, never) = crossbeam_channel::bounded(1);
        answers.send(Ok(Reply::Leave {})).unwrap();
        let begun = Instant::now();
        let mut gathered = gather(vec![(0, never), (1, answered)], Vec::new());
        gathered.sort_by_key(|(tracker, _)| *tracker);
        assert_eq!(gathered, [(0, Err(AskError::TimedOut)), (1, Ok(Reply::Leave {}))]);
        assert!(begun.elapsed() < ANSWER, "{:?}", begun.elapsed());
    }
}
