//! Announces one torrent to the trackers that its metainfo names (BEP 3, 7, 12, 15, 23), on a thread of its
//! own with the name `tracker-` and the beginning of the info-hash. It sleeps until the tracker's interval is
//! over, or until mail comes.
//!
//! Tiers are tried in order, and the trackers of a tier in an order that is shuffled once. A tracker that
//! answers becomes the first in its tier, and the rest are not asked (BEP 12). It is told over IPv4 and over
//! IPv6 if it has both, with the same key, since it learns our address from the packets alone (BEP 7). A
//! hybrid torrent is announced with both of its info-hashes, since a tracker that does not know that they
//! belong together keeps two swarms. Every reply is bounded in size and time.
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
use crate::torrent::InfoHash;

use super::host::{AnnounceConfig, AnnounceProgress};
use super::tracker::{Route, Tracker, merge, tiers};
use super::{Failure, http, resolve, udp};

/// How long announcing to one tracker may take in all.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take in the second address family, once the tracker has answered in the first.
const SECOND_FAMILY: Duration = Duration::from_secs(5);

/// Number of UDP trackers of a list, at most, that share the time of one, so that a user whose first trackers
/// are dead soon has peers of the next. An answer over UDP takes no longer than a round trip.
const SHARED_BY: u32 = 4;

/// How long announcing `stopped` to all trackers may take in all.
const GOODBYE: Duration = Duration::from_secs(1);

/// Minimum and maximum interval, and minimum interval, that are accepted from a tracker. Some trackers ask
/// for a few hours, and refuse who comes earlier. With more than a day, a number that is made up would keep
/// us from ever announcing again.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(86_400));

/// Minimum interval when more peers are wanted, if the tracker names none.
const MIN_INTERVAL: Duration = Duration::from_secs(60);

/// Number of peers to ask for.
const WANT: usize = 50;

/// Maximum number of peers that are taken from a reply, at random. One tracker that invents peers must not
/// fill the torrent's table of addresses, which other trackers need as well.
const MOST_PEERS: usize = 4 * WANT;

/// Why to announce before the interval is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nudge {
    /// A download has just been completed, or all that is wanted of it.
    Completed,
    /// What we have has changed in another way: it was found on the disk. Announced as soon as the tracker
    /// allows.
    Found,
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
        let agent = http::agent();
        let name = format!("tracker-{:.6}", config.torrent.key());
        let worker = Worker {
            trackers: u32::try_from(tiers.iter().map(Vec::len).sum::<usize>()).unwrap_or(u32::MAX),
            tiers,
            agent: agent.clone(),
            stopping: stopping.clone(),
            inbox,
            announce_key: format!("{:08x}", fastrand::u32(..)).into(),
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

/// What the announcer's thread works with.
struct Worker {
    tiers: Vec<Vec<Tracker>>,
    agent: Agent,
    stopping: Arc<AtomicBool>,
    inbox: Inbox<Nudge>,
    announce_key: Vec<u8>,
    backoff: Backoff,
    /// Whether `completed` must still be announced.
    completed: bool,
    /// Number of trackers.
    trackers: u32,
    config: AnnounceConfig,
}

impl Worker {
    fn run(mut self) {
        while !self.is_stopping() {
            if let Some(until) = self.all_rest_until(Instant::now()) {
                self.sleep(until, until);
                continue;
            }
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

    /// Until when no tracker wants to be asked (BEP 31); `None` if one may be asked now.
    fn all_rest_until(&self, now: Instant) -> Option<Instant> {
        let trackers = || self.tiers.iter().flatten();
        if trackers().any(|tracker| tracker.is_due(now)) {
            return None;
        }
        trackers().filter_map(|tracker| tracker.rests_until).min()
    }

    /// Passes a reply on. Returns when to announce again, and when at the earliest.
    fn on_reply(&mut self, reply: &AnnounceReply, now: Instant) -> (Instant, Instant) {
        self.backoff.succeeded();
        if let Some(warning) = &reply.warning {
            log::warn!("the tracker says: {warning}");
        }
        let (interval, min) = intervals(reply);
        self.config.host.announced(Ok((reply.complete, reply.incomplete)));
        // `completed` must still be announced if the tracker has only now received `started`.
        let next = if self.completed { now } else { now + interval };
        (next, now + min)
    }

    fn pass_on_peers(&self, reply: &AnnounceReply) {
        let mut peers: Vec<SocketAddr> = reply.peers.iter().map(|peer| peer.address).collect();
        peers.extend(resolve::peers(&reply.named_peers, &|| self.is_stopping()));
        fastrand::shuffle(&mut peers);
        peers.truncate(MOST_PEERS);
        if !peers.is_empty() {
            self.config.host.found(&peers);
        }
    }

    /// Sleeps until `next`. If something was found, it wakes at `soonest`; on completion, at once.
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
                let tracker = &mut tier[at];
                if !tracker.is_due(Instant::now()) {
                    continue;
                }
                match self.try_tracker(tracker) {
                    Ok(reply) => {
                        tracker.told = None;
                        tier[..=at].rotate_right(1);
                        return Ok(reply);
                    }
                    Err(error) => why = self.tell(tracker, error),
                }
            }
        }
        Err(why)
    }

    /// Tells the user why a tracker failed, unless it is told already.
    fn tell(&self, tracker: &mut Tracker, failure: Failure) -> String {
        let why = format!("cannot announce to {}: {}", tracker.url, failure.why());
        if !self.is_stopping() && tracker.told.as_ref() != Some(&why) {
            self.config.host.failed(&why);
            tracker.told = Some(why.clone());
        }
        if let Failure::Refused { retry_in, .. } = failure {
            tracker.rest(retry_in, Instant::now());
        }
        why
    }

    /// Announces to one tracker in every family in which it has an address. It is enough if it answers in
    /// one.
    fn try_tracker(&mut self, tracker: &mut Tracker) -> Result<AnnounceReply, Failure> {
        tracker.answers = false;
        let mut until = Instant::now() + self.patience(tracker);
        let (mut merged, mut failure): (Option<AnnounceReply>, Option<Failure>) = (None, None);
        let left = until.saturating_duration_since(Instant::now());
        for mut route in tracker.routes(self.config.families, left)? {
            let outcome = self.try_route(tracker, &mut route, until);
            if self.is_stopping() {
                // `started` may have arrived: better one `stopped` too many.
                tracker.started.push(route.family);
                return Err(Failure::Silent("the announcer stops".to_owned()));
            }
            match outcome {
                Ok(reply) => {
                    self.pass_on_peers(&reply);
                    until = until.min(Instant::now() + SECOND_FAMILY);
                    merged = Some(merge(merged, reply));
                }
                // That there is no way in one family is no news if there is one in the other.
                Err(why @ Failure::NoWay(_)) => failure = failure.or(Some(why)),
                Err(why) => {
                    failure = failure.filter(|first| !matches!(first, Failure::NoWay(_))).or(Some(why))
                }
            }
        }
        tracker.answers = merged.is_some();
        merged.ok_or_else(|| failure.unwrap_or(Failure::NoWay("it has no address".to_owned())))
    }

    /// How long a tracker may take.
    fn patience(&self, tracker: &Tracker) -> Duration {
        if udp::is_udp(&tracker.url) { PATIENCE / self.trackers.clamp(1, SHARED_BY) } else { PATIENCE }
    }

    fn try_route(
        &mut self,
        tracker: &mut Tracker,
        route: &mut Route,
        until: Instant,
    ) -> Result<AnnounceReply, Failure> {
        let started = tracker.started.contains(&route.family);
        let event = match (started, self.completed) {
            _ if self.config.host.is_partial_seed() => AnnounceEvent::Paused,
            (false, _) => AnnounceEvent::Started,
            (true, true) => AnnounceEvent::Completed,
            (true, false) => AnnounceEvent::None,
        };
        let reply = self.announce(&self.agent, tracker, route, event, until)?;
        if reply.tracker_id.is_some() {
            tracker.id.clone_from(&reply.tracker_id);
        }
        if !started {
            tracker.started.push(route.family);
        }
        // A tracker that has just received `started` gets `completed` next; otherwise it would
        // not count us. It gets it in one family, so that it counts the download once.
        self.completed &= event == AnnounceEvent::Started;
        Ok(reply)
    }

    /// Announces every info-hash of the torrent on one route. It is enough if the tracker accepts one; the
    /// replies are merged. Being stopped in between is an error: it is unknown which announces arrived, so
    /// `stopped` is announced for all.
    fn announce(
        &self,
        agent: &Agent,
        tracker: &Tracker,
        route: &mut Route,
        event: AnnounceEvent,
        until: Instant,
    ) -> Result<AnnounceReply, Failure> {
        let (mut merged, mut failure) = (None, None);
        let was_stopping = self.is_stopping();
        let is_stopping = || self.is_stopping() && !was_stopping;
        for hash in self.config.torrent.wire_hashes() {
            let left = until.saturating_duration_since(Instant::now());
            if is_stopping() || left.is_zero() {
                break;
            }
            let announce = self.query(hash, event, tracker.id.clone());
            match tracker.ask(route, agent, &announce, left, &is_stopping) {
                Ok(reply) => merged = Some(merge(merged, reply)),
                Err(why @ Failure::Refused { .. }) => failure = Some(why),
                // It will not answer for the other hash either.
                Err(why) => return merged.ok_or(why),
            }
        }
        let stopped = || Failure::Silent("the announcer stops".to_owned());
        if is_stopping() {
            return Err(stopped());
        }
        merged.ok_or_else(|| failure.unwrap_or_else(stopped))
    }

    fn query(&self, info_hash: InfoHash, event: AnnounceEvent, tracker_id: Option<Vec<u8>>) -> Announce {
        let AnnounceProgress { uploaded, downloaded, left } = self.config.host.progress();
        Announce {
            uploaded,
            downloaded,
            left,
            event,
            want: Some(if event == AnnounceEvent::Stopped { 0 } else { WANT }),
            key: Some(self.announce_key.clone()),
            tracker_id,
            ..Announce::new(info_hash, PeerId(self.config.peer_id), self.config.port)
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
        let mut known: Vec<&Tracker> =
            self.tiers.iter().flatten().filter(|tracker| !tracker.started.is_empty()).collect();
        known.sort_by_key(|tracker| !tracker.answers);
        let agent = http::agent(); // the other one was shut down
        for tracker in known {
            let left = || until.saturating_duration_since(Instant::now());
            let routes = tracker.routes(self.config.families, left() / 2).unwrap_or_default();
            let told = routes.into_iter().filter(|route| tracker.started.contains(&route.family));
            let mut completed = completed; // counted in one family, so it is said in one
            for mut route in told {
                let first = std::mem::take(&mut completed).then_some(AnnounceEvent::Completed);
                for event in first.into_iter().chain([AnnounceEvent::Stopped]) {
                    // Half of the time, since a hybrid is announced twice, and for the trackers behind this
                    // one.
                    let outcome =
                        self.announce(&agent, tracker, &mut route, event, Instant::now() + left() / 2);
                    if let Err(failure) = outcome {
                        log::debug!("cannot announce to {}: {}", tracker.url, failure.why());
                        break;
                    }
                }
            }
        }
    }
}

/// When to announce again after this reply, and when at the earliest.
fn intervals(reply: &AnnounceReply) -> (Duration, Duration) {
    let bounded = |seconds: u32| Duration::from_secs(seconds.into()).clamp(INTERVAL.0, INTERVAL.1);
    let interval = bounded(reply.interval);
    let min = reply.min_interval.map_or(MIN_INTERVAL.min(interval), bounded);
    (interval.max(min), min)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: a tracker that asks for more than an hour was asked again after an hour, and refuses who does
    /// that.
    #[test]
    fn intervals_are_kept_up_to_a_day() {
        for (interval, min_interval, expected) in [
            (1800, None, (1800, 60)),
            (1800, Some(900), (1800, 900)),
            (1800, Some(7200), (7200, 7200)),
            (10_800, Some(5400), (10_800, 5400)),
            (30, None, (30, 30)),
            (0, Some(0), (5, 5)),
            (u32::MAX, Some(u32::MAX), (86_400, 86_400)),
        ] {
            let (next, min) =
                intervals(&AnnounceReply { interval, min_interval, ..AnnounceReply::default() });
            assert_eq!((next.as_secs(), min.as_secs()), expected, "{interval}, {min_interval:?}");
        }
    }
}
