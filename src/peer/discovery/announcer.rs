//! Announcing one torrent to the trackers that its metainfo names (BEP 3, 7, 12, 15, 23), on a thread of its own,
//! `tracker-` and the beginning of the info-hash. It sleeps until the tracker's interval is over, or for mail.
//!
//! Tiers are tried in order, the trackers of a tier in an order that chance decides once; the one that answers comes first
//! in its tier from then on, and the rest is not asked (BEP 12). A hybrid torrent is announced by both of its hashes,
//! since a tracker that does not know the torrent keeps two swarms. Whatever a tracker sends, it is
//! bounded in size and time.
//!
//! There is no lock: mail goes in, callbacks come out.

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

use super::{http, udp};

/// How long an announce may take in all.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long saying goodbye to all trackers may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Within what a tracker's interval is believed.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));

/// The shortest interval for peers that are wanted sooner, if the tracker names none.
const MIN_INTERVAL: Duration = Duration::from_secs(60);

/// How many peers to ask for.
const WANT: usize = 50;

/// So many of the peers in a reply are believed, any of them: one tracker that makes them up is not to fill the torrent's
/// memory of addresses, which the others need as well.
const MOST_PEERS: usize = 4 * WANT;

/// What a torrent has come to, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AnnounceProgress {
    /// Sent to and received from other peers since the torrent was started.
    pub uploaded: u64,
    pub downloaded: u64,
    /// Still missing.
    pub left: u64,
}

/// The torrent's swarm, as the announcer knows it. Called on the announcer's thread, on which nothing should block.
pub trait AnnounceHost: Send + Sync + 'static {
    fn progress(&self) -> AnnounceProgress;

    /// Whether it has all that it wants, though not everything (BEP 21).
    fn is_partial_seed(&self) -> bool {
        false
    }

    /// Peers that a tracker named, this peer itself perhaps among them.
    fn found(&self, peers: &[SocketAddr]);

    /// A tracker answered, with its numbers of seeds and of others; or no tracker did, and why the last one did not.
    fn announced(&self, _outcome: Result<(u32, u32), &str>) {}
}

/// What an announcer is started with.
pub struct AnnounceConfig {
    pub torrent: Arc<Torrent>,
    pub peer_id: [u8; 20],
    /// The TCP port on which the peer takes connections.
    pub port: u16,
    pub host: Arc<dyn AnnounceHost>,
}

/// Why to announce before the interval is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nudge {
    /// The download is complete, or all that is wanted of it.
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
    /// When the system has no room for another thread.
    pub fn start(config: AnnounceConfig) -> io::Result<Option<Announcer>> {
        let tiers = tiers(config.torrent.trackers());
        if tiers.is_empty() {
            return Ok(None);
        }
        let (mailbox, inbox) = mailbox(4)?; // there is nothing to say that two pieces of mail do not say
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

    /// Has it announce before the interval is over.
    pub fn nudge(&self, why: Nudge) {
        let _ = self.mailbox.post(why); // when it is full there is more to do than this already
    }

    /// Interrupts what is going on, says goodbye to the trackers for a second at most, and ends the thread.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.mailbox.wake();
        self.agent.clone().shutdown();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join(); // its panic has ended the process
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
    /// It knows of us: `started` has arrived.
    started: bool,
    /// It answered when it was last asked.
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

/// The announcer's thread.
struct Worker {
    tiers: Vec<Vec<Tracker>>,
    agent: Agent,
    stopping: Arc<AtomicBool>,
    inbox: Inbox<Nudge>,
    announce_key: String,
    backoff: Backoff,
    /// `completed` is to be told.
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

    /// When to announce again, and when at the earliest.
    fn on_reply(&mut self, reply: &AnnounceReply, now: Instant) -> (Instant, Instant) {
        self.backoff.succeeded();
        if let Some(warning) = &reply.warning {
            log::warn!("the tracker says: {warning}");
        }
        let seconds = |n: u32| Duration::from_secs(n.into());
        let interval = seconds(reply.interval).clamp(INTERVAL.0, INTERVAL.1);
        let min = reply.min_interval.map_or(MIN_INTERVAL, seconds).clamp(INTERVAL.0, interval);
        self.config.host.announced(Ok((reply.complete, reply.incomplete)));
        if !reply.peers.is_empty() {
            let mut peers: Vec<SocketAddr> = reply.peers.iter().map(|peer| peer.address).collect();
            fastrand::shuffle(&mut peers);
            peers.truncate(MOST_PEERS);
            self.config.host.found(&peers);
        }
        // `completed` is still to be told if this was the first that the tracker heard of us.
        let next = if self.completed { now } else { now + interval };
        (next, now + min)
    }

    /// Sleeps until `next`; whoever wants peers ends it, at `soonest`, and completion ends it at once.
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
        tracker.started |= self.is_stopping(); // it may have arrived: better a goodbye too many
        if reply.is_ok() {
            tracker.started = true;
            // One that has just heard that we started is told next that we completed, or it would not count us.
            self.completed &= event == AnnounceEvent::Started;
        }
        reply
    }

    /// Announces every hash of the torrent. It is enough if the tracker takes one; the replies become one. If it is to stop in
    /// the middle that is an error: nobody knows then which of them arrived, and the goodbye says it again.
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

    /// Asks in the tracker's own language. A goodbye by UDP is said once and has half of its time, as over HTTP.
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

    /// Tells every tracker that knows of us that we go, as far as time allows: first those that answer, for one that has
    /// died since may take all of it.
    ///
    /// A download that stops once it is complete is complete and stops at the same moment: both are told.
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
            // Half of it, since a hybrid is announced twice. The other agent was shut down.
            let agent = http::agent(left / 2);
            if let Err(why) =
                events.clone().try_for_each(|event| self.announce(&agent, &tracker.url, event).map(drop))
            {
                log::debug!("{why}");
            }
        }
    }
}

/// Both swarms of a hybrid torrent as one.
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
            min_interval: None,
            complete,
            incomplete: 0,
            downloaded: 0,
            peers: addresses
                .iter()
                .map(|text| crate::protocol::announce::AnnouncedPeer {
                    peer_id: None,
                    address: text.parse().unwrap(),
                })
                .collect(),
            external_ip: None,
            warning: None,
        };
        let merged = merge(reply(10, 1, &["10.0.0.1:1"]), reply(20, 2, &["10.0.0.1:1", "10.0.0.2:1"]));
        assert_eq!(merged, reply(20, 2, &["10.0.0.1:1", "10.0.0.2:1"]));
    }
}
