//! Announces one torrent to the trackers that its metainfo names (BEP 3, 7, 12, 15, 23), on a thread of its
//! own with the name `tracker-` and the beginning of the info-hash. It sleeps until the tracker's interval is
//! over, or until mail comes.
//!
//! Tiers are tried in order, and the trackers of a tier in an order that is shuffled once. A tracker that
//! answers becomes the first in its tier, and the rest are not asked (BEP 12). A hybrid torrent is announced
//! with both of its info-hashes, since a tracker that does not know that they belong together keeps two
//! swarms. Every reply is bounded in size and time.
//!
//! The thread takes no lock: mail goes in, callbacks come out. One lock guards the thread's handle until
//! it is joined.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ureq::Agent;

use crate::backoff::Backoff;
use crate::mailbox::{Inbox, Mailbox, mailbox};
use crate::protocol::announce::{Announce, AnnounceEvent, AnnounceReply};
use crate::protocol::catalogue::PeerId;
use crate::threads;
use crate::torrent::{InfoHash, Torrent};

use super::{http, resolve, udp};

/// How long an announce may take in all.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long announcing `stopped` to all trackers may take in all.
const GOODBYE: Duration = Duration::from_secs(1);

/// Minimum and maximum interval that is accepted from a tracker.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));

/// Minimum interval when more peers are wanted, if the tracker names none.
const MIN_INTERVAL: Duration = Duration::from_secs(60);

/// Number of peers to ask for.
const WANT: usize = 50;

/// Maximum number of peers that are taken from a reply, at random. One tracker that invents peers must not
/// fill the torrent's table of addresses, which other trackers need as well.
const MOST_PEERS: usize = 4 * WANT;

/// What a torrent has transferred and still lacks, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AnnounceProgress {
    /// Bytes sent to peers since the torrent was started.
    pub uploaded: u64,
    /// Bytes received from peers since the torrent was started.
    pub downloaded: u64,
    /// Bytes still missing.
    pub left: u64,
}

/// The torrent's swarm, as the announcer sees it. It is called on the announcer's thread, and
/// should not block.
pub trait AnnounceHost: Send + Sync + 'static {
    /// The byte counts for the next announce.
    fn progress(&self) -> AnnounceProgress;

    /// Whether we have all that we want, but not the whole torrent (BEP 21).
    fn is_partial_seed(&self) -> bool {
        false
    }

    /// Peers that a tracker returned; we may be among them.
    fn found(&self, peers: &[SocketAddr]);

    /// A tracker answered, with its numbers of seeds and leechers; or none did, with the error of
    /// the last one.
    fn announced(&self, _outcome: Result<(u32, u32), &str>) {}
}

/// What an announcer needs to start.
pub struct AnnounceConfig {
    /// The torrent to announce.
    pub torrent: Arc<Torrent>,
    /// Our peer id.
    pub peer_id: [u8; 20],
    /// The TCP port on which we accept connections.
    pub port: u16,
    /// Reports the progress and receives the peers.
    pub host: Arc<dyn AnnounceHost>,
}

/// Why to announce before the interval is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nudge {
    /// The download is complete, or all that is wanted is.
    Completed,
    /// More peers are wanted, as soon as the tracker allows.
    WantPeers,
}

/// Announces until it is stopped or dropped.
pub struct Announcer {
    mailbox: Mailbox<Nudge>,
    stopping: Arc<AtomicBool>,
    agent: Agent,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Announcer {
    /// Starts announcing. `None` if the torrent names no HTTP or UDP tracker.
    ///
    /// # Errors
    /// If the thread or its mailbox cannot be made.
    pub fn start(config: AnnounceConfig) -> io::Result<Option<Announcer>> {
        let tiers = tiers(config.torrent.trackers());
        if tiers.is_empty() {
            return Ok(None);
        }
        let (mailbox, inbox) = mailbox(4)?; // there are two kinds of mail, so a few places are enough
        let stopping = Arc::new(AtomicBool::new(false));
        let agent = http::agent(PATIENCE);
        let name = format!("tracker-{:.6}", config.torrent.key());
        let worker = Worker {
            tiers,
            agent: agent.clone(),
            stopping: stopping.clone(),
            inbox,
            announce_key: format!("{:08x}", fastrand::u32(..)),
            backoff: Backoff::new(INTERVAL.0, Duration::from_secs(1800)),
            completed: false,
            config,
        };
        let thread = threads::spawn(name, move || worker.run())?;
        Ok(Some(Announcer { mailbox, stopping, agent, thread: Mutex::new(Some(thread)) }))
    }

    /// Makes it announce before the interval is over.
    pub fn nudge(&self, why: Nudge) {
        let _ = self.mailbox.post(why); // if the mailbox is full, an announce is due anyway
    }

    /// Interrupts an announce, announces `stopped` for at most one second, and ends the thread.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.mailbox.wake();
        self.agent.clone().shutdown();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join(); // a panic of the thread has already ended the process
        }
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One tracker.
struct Tracker {
    url: String,
    /// It has received `started`, so it counts us.
    started: bool,
    /// It answered the last announce.
    answers: bool,
}

/// The HTTP and UDP trackers by tier, each tier shuffled. Others, such as `wss:`, are left out.
fn tiers(urls: &[Vec<String>]) -> Vec<Vec<Tracker>> {
    let is_known = |url: &&String| {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        matches!(scheme.as_deref(), Some("http" | "https" | "udp"))
    };
    let tiers = urls.iter().map(|tier| {
        let mut trackers: Vec<Tracker> = tier
            .iter()
            .filter(is_known)
            .map(|url| Tracker { url: url.clone(), started: false, answers: false })
            .collect();
        fastrand::shuffle(&mut trackers);
        trackers
    });
    tiers.filter(|tier| !tier.is_empty()).collect()
}

/// What the announcer's thread works with.
struct Worker {
    tiers: Vec<Vec<Tracker>>,
    agent: Agent,
    stopping: Arc<AtomicBool>,
    inbox: Inbox<Nudge>,
    announce_key: String,
    backoff: Backoff,
    /// Whether `completed` must still be announced.
    completed: bool,
    config: AnnounceConfig,
}

impl Worker {
    fn run(mut self) {
        while !self.is_stopping() {
            let outcome = self.round();
            if self.is_stopping() {
                break;
            }
            let now = Instant::now();
            let (next, soonest) = match outcome {
                Ok(reply) => self.on_reply(&reply, now),
                Err(why) => {
                    log::debug!("{}: {why}", self.config.torrent.key());
                    self.config.host.announced(Err(&why));
                    let next = now + self.backoff.failed();
                    (next, next)
                }
            };
            self.sleep(next, soonest);
        }
        self.say_goodbye();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Passes a reply on. Returns when to announce again, and when at the earliest.
    fn on_reply(&mut self, reply: &AnnounceReply, now: Instant) -> (Instant, Instant) {
        self.backoff.succeeded();
        if let Some(warning) = &reply.warning {
            log::warn!("the tracker says: {warning}");
        }
        let seconds = |n: u32| Duration::from_secs(n.into());
        let interval = seconds(reply.interval).clamp(INTERVAL.0, INTERVAL.1);
        let min = reply.min_interval.map_or(MIN_INTERVAL, seconds).clamp(INTERVAL.0, interval);
        self.config.host.announced(Ok((reply.complete, reply.incomplete)));
        let mut peers: Vec<SocketAddr> = reply.peers.iter().map(|peer| peer.address).collect();
        peers.extend(resolve::peers(&reply.named_peers, &|| self.is_stopping()));
        if !peers.is_empty() {
            fastrand::shuffle(&mut peers);
            peers.truncate(MOST_PEERS);
            self.config.host.found(&peers);
        }
        // `completed` must still be announced if the tracker has only now received `started`.
        let next = if self.completed { now } else { now + interval };
        (next, now + min)
    }

    /// Sleeps until `next`. If peers are wanted, it wakes at `soonest`; on completion, at once.
    fn sleep(&mut self, mut next: Instant, soonest: Instant) {
        loop {
            while let Some(nudge) = self.inbox.take() {
                self.completed |= nudge == Nudge::Completed;
                next = next.min(if self.completed { Instant::now() } else { soonest });
            }
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_stopping() || self.inbox.wait_for_mail(Some(left)).is_err() {
                return;
            }
        }
    }

    /// Announces to the first tracker that answers.
    fn round(&mut self) -> Result<AnnounceReply, String> {
        let mut tiers = std::mem::take(&mut self.tiers);
        let outcome = self.try_tiers(&mut tiers);
        self.tiers = tiers;
        outcome
    }

    fn try_tiers(&mut self, tiers: &mut [Vec<Tracker>]) -> Result<AnnounceReply, String> {
        let mut why = "no tracker is left to ask".to_owned();
        for tier in tiers {
            for at in 0..tier.len() {
                if self.is_stopping() {
                    return Err(why);
                }
                match self.try_tracker(&mut tier[at]) {
                    Ok(reply) => {
                        tier[..=at].rotate_right(1);
                        return Ok(reply);
                    }
                    Err(error) => why = error,
                }
            }
        }
        Err(why)
    }

    fn try_tracker(&mut self, tracker: &mut Tracker) -> Result<AnnounceReply, String> {
        let event = match (tracker.started, self.completed) {
            _ if self.config.host.is_partial_seed() => AnnounceEvent::Paused,
            (false, _) => AnnounceEvent::Started,
            (true, true) => AnnounceEvent::Completed,
            (true, false) => AnnounceEvent::None,
        };
        let reply = self.announce(&self.agent, &tracker.url, event);
        tracker.answers = reply.is_ok();
        tracker.started |= self.is_stopping(); // `started` may have arrived: better one `stopped` too many
        if reply.is_ok() {
            tracker.started = true;
            // A tracker that has just received `started` gets `completed` next; otherwise it would
            // not count us.
            self.completed &= event == AnnounceEvent::Started;
        }
        reply
    }

    /// Announces every info-hash of the torrent. It is enough if the tracker accepts one; the replies are
    /// merged. Being stopped in between is an error: it is unknown which announces arrived, so `stopped` is
    /// announced for all.
    fn announce(&self, agent: &Agent, url: &str, event: AnnounceEvent) -> Result<AnnounceReply, String> {
        let (mut merged, mut why) = (None, "the announcer stops".to_owned());
        let was_stopping = self.is_stopping();
        for hash in self.config.torrent.wire_hashes() {
            if self.is_stopping() && !was_stopping {
                break;
            }
            match self.ask(agent, url, &self.query(hash, event)) {
                Ok(reply) => {
                    merged = Some(match merged {
                        Some(first) => merge(first, reply),
                        None => reply,
                    });
                }
                Err(error) => why = format!("cannot announce to {url}: {error}"),
            }
        }
        if self.is_stopping() && !was_stopping {
            return Err(why);
        }
        merged.ok_or(why)
    }

    /// Asks by UDP or HTTP. By UDP `stopped` is sent only once and may take half of its time, as over HTTP.
    fn ask(&self, agent: &Agent, url: &str, announce: &Announce) -> Result<AnnounceReply, String> {
        if !udp::is_udp(url) {
            return http::announce(agent, url, announce);
        }
        if self.is_stopping() {
            let patience = udp::Patience { first: GOODBYE / 2, all: GOODBYE / 2 };
            return udp::announce(url, announce, patience, &|| false);
        }
        udp::announce(url, announce, udp::Patience::USUAL, &|| self.is_stopping())
    }

    fn query(&self, info_hash: InfoHash, event: AnnounceEvent) -> Announce {
        let AnnounceProgress { uploaded, downloaded, left } = self.config.host.progress();
        Announce {
            info_hash,
            peer_id: PeerId(self.config.peer_id),
            port: self.config.port,
            uploaded,
            downloaded,
            left,
            event,
            want: Some(if event == AnnounceEvent::Stopped { 0 } else { WANT }),
            key: Some(self.announce_key.clone()),
            compact: true,
            no_peer_id: true,
        }
    }

    /// Announces `stopped` to every tracker that knows us, within the time limit. Those that answered last
    /// time come first, since one that is down may take all of the time.
    ///
    /// A download that is stopped when it is complete completes and stops at the same moment, so
    /// both are announced.
    fn say_goodbye(&mut self) {
        let until = Instant::now() + GOODBYE;
        while let Some(nudge) = self.inbox.take() {
            self.completed |= nudge == Nudge::Completed;
        }
        let completed = self.completed && !self.config.host.is_partial_seed();
        let events =
            completed.then_some(AnnounceEvent::Completed).into_iter().chain([AnnounceEvent::Stopped]);
        let mut known: Vec<&Tracker> =
            self.tiers.iter().flatten().filter(|tracker| tracker.started).collect();
        known.sort_by_key(|tracker| !tracker.answers);
        for tracker in known {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // Half of the time, since a hybrid is announced twice. The other agent was shut down.
            let agent = http::agent(left / 2);
            if let Err(why) =
                events.clone().try_for_each(|event| self.announce(&agent, &tracker.url, event).map(drop))
            {
                log::debug!("{why}");
            }
        }
    }
}

/// Merges the replies for both swarms of a hybrid torrent.
fn merge(mut first: AnnounceReply, second: AnnounceReply) -> AnnounceReply {
    for peer in second.peers {
        if !first.peers.iter().any(|known| known.address == peer.address) {
            first.peers.push(peer);
        }
    }
    first.complete = first.complete.max(second.complete);
    first.incomplete = first.incomplete.max(second.incomplete);
    first.interval = first.interval.max(second.interval);
    first.min_interval = first.min_interval.max(second.min_interval);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_and_udp_trackers_are_asked() {
        let urls = [
            vec!["ftp://a/announce".to_owned(), "HTTP://b/announce".to_owned()],
            vec!["wss://c".to_owned(), "nonsense".to_owned()],
            vec!["https://d/announce?passkey=1".to_owned()],
            vec!["UDP://e:1".to_owned()],
        ];
        let found = tiers(&urls);
        let urls: Vec<&str> = found.iter().flatten().map(|tracker| tracker.url.as_str()).collect();
        assert_eq!(urls, ["HTTP://b/announce", "https://d/announce?passkey=1", "UDP://e:1"]);
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn both_swarms_of_a_hybrid_become_one() {
        let reply = |interval, complete, addresses: &[&str]| AnnounceReply {
            interval,
            complete,
            peers: addresses
                .iter()
                .map(|text| crate::protocol::announce::AnnouncedPeer {
                    peer_id: None,
                    address: text.parse().unwrap(),
                })
                .collect(),
            ..AnnounceReply::default()
        };
        let merged = merge(reply(10, 1, &["10.0.0.1:1"]), reply(20, 2, &["10.0.0.1:1", "10.0.0.2:1"]));
        assert_eq!(merged, reply(20, 2, &["10.0.0.1:1", "10.0.0.2:1"]));
    }
}
