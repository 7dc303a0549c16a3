//! One tracker of a torrent: what it knows of us, when it may be asked again, and the ways to it, one for
//! each address family in which it has an address (BEP 7). Runs on the announcer's thread; no lock.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ureq::Agent;

use crate::net::Families;
use crate::protocol::announce::{Announce, AnnounceReply};
use crate::protocol::announce_udp::Family;

use super::{Failure, http, udp};

/// Longest time for which a tracker is not asked again because it refused us. "Never" is a time, too.
const LONGEST_REST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// One tracker.
pub(super) struct Tracker {
    pub url: String,
    /// The families in which it has received `started`, so it counts us.
    pub started: Vec<Family>,
    /// It answered the last announce.
    pub answers: bool,
    /// What it wants to be sent back (BEP 3).
    pub id: Option<Vec<u8>>,
    /// Until then it does not want to be asked (BEP 31).
    pub rests_until: Option<Instant>,
    /// What the user was told of it, since it answered last.
    pub told: Option<String>,
}

/// The HTTP and UDP trackers by tier, each tier shuffled. Others, such as `wss:`, are left out.
pub(super) fn tiers(urls: &[Vec<String>]) -> Vec<Vec<Tracker>> {
    let is_known = |url: &&String| {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        matches!(scheme.as_deref(), Some("http" | "https" | "udp"))
    };
    let tiers = urls.iter().map(|tier| {
        let mut trackers: Vec<Tracker> = tier.iter().filter(is_known).map(|url| Tracker::new(url)).collect();
        fastrand::shuffle(&mut trackers);
        trackers
    });
    tiers.filter(|tier| !tier.is_empty()).collect()
}

impl Tracker {
    fn new(url: &str) -> Tracker {
        Tracker {
            url: url.to_owned(),
            started: Vec::new(),
            answers: false,
            id: None,
            rests_until: None,
            told: None,
        }
    }

    /// Whether it may be asked now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.rests_until.is_none_or(|until| until <= now)
    }

    /// It refused, and is not to be asked for so long.
    pub fn rest(&mut self, how_long: Option<Duration>, now: Instant) {
        self.rests_until = how_long.map(|how_long| now + how_long.min(LONGEST_REST));
    }

    /// The ways to it in these families, IPv4 first. Its name is looked up anew each time.
    pub fn routes(&self, families: Families, patience: Duration) -> Result<Vec<Route>, Failure> {
        let routes = if udp::is_udp(&self.url) { self.udp(patience)? } else { self.http() };
        let is_usable = |route: &Route| match route.family {
            Family::V4 => families != Families::V6,
            Family::V6 => families != Families::V4,
        };
        let usable: Vec<Route> = routes.into_iter().filter(is_usable).collect();
        match usable.is_empty() {
            true => Err(Failure::NoWay("it has no address of the family that is to be used".into())),
            false => Ok(usable),
        }
    }

    fn udp(&self, patience: Duration) -> Result<Vec<Route>, Failure> {
        let addresses = udp::addresses(&self.url, patience).map_err(Failure::NoWay)?;
        let (v4, v6): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv4);
        let routes =
            [(Family::V4, v4), (Family::V6, v6)].map(|(family, addresses)| Route { family, addresses });
        Ok(routes.into_iter().filter(|route| !route.addresses.is_empty()).collect())
    }

    fn http(&self) -> Vec<Route> {
        let literal = http::host(&self.url).parse::<IpAddr>().ok().map(Family::of);
        let families = literal.map_or(vec![Family::V4, Family::V6], |family| vec![family]);
        families.into_iter().map(|family| Route { family, addresses: Vec::new() }).collect()
    }

    /// One announce on this route, with this time for it.
    pub fn ask(
        &self,
        route: &mut Route,
        agent: &Agent,
        announce: &Announce,
        patience: Duration,
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<AnnounceReply, Failure> {
        match udp::is_udp(&self.url) {
            true => udp::announce(&mut route.addresses, &self.url, announce, patience, is_stopping),
            false => http::announce(agent, &self.url, route.family, announce, patience),
        }
    }
}

/// A way to a tracker.
pub(super) struct Route {
    pub family: Family,
    /// For UDP: the addresses, of which the next is tried if one does not answer. Over HTTP, the agent looks
    /// them up.
    addresses: Vec<SocketAddr>,
}

/// Merges the replies of a tracker: for both swarms of a hybrid torrent, and in both families.
pub(super) fn merge(first: Option<AnnounceReply>, second: AnnounceReply) -> AnnounceReply {
    let Some(mut first) = first else { return second };
    for peer in second.peers {
        if !first.peers.iter().any(|known| known.address == peer.address) {
            first.peers.push(peer);
        }
    }
    first.named_peers.extend(second.named_peers);
    first.complete = first.complete.max(second.complete);
    first.incomplete = first.incomplete.max(second.incomplete);
    first.interval = first.interval.max(second.interval);
    first.min_interval = first.min_interval.max(second.min_interval);
    first.tracker_id = second.tracker_id.or(first.tracker_id);
    first.warning = first.warning.or(second.warning);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let merged = merge(Some(reply(10, 1, &["10.0.0.1:1"])), reply(20, 2, &["10.0.0.1:1", "10.0.0.2:1"]));
        assert_eq!(merged, reply(20, 2, &["10.0.0.1:1", "10.0.0.2:1"]));
    }

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
    fn both_families_are_told_where_there_are_both_and_one_may_be_forbidden() {
        let families = |url: &str, families| {
            let routes = Tracker::new(url).routes(families, Duration::from_secs(60));
            routes
                .map(|routes| routes.iter().map(|route| route.family).collect::<Vec<_>>())
                .unwrap_or_default()
        };
        let (v4, v6) = (Family::V4, Family::V6);
        // Where a name has addresses is found out when it is asked.
        for name in ["http://name.invalid/announce", "https://user:word@name.invalid:80/a?b=[::1]#c"] {
            assert_eq!(families(name, Families::Both), [v4, v6], "{name}");
            assert_eq!(families(name, Families::V4), [v4], "{name}");
            assert_eq!(families(name, Families::V6), [v6], "{name}");
        }
        for scheme in ["http", "udp"] {
            let (one, other) = (format!("{scheme}://127.0.0.1:1/a"), format!("{scheme}://[::1]:1/a"));
            assert_eq!(
                (families(&one, Families::Both), families(&other, Families::Both)),
                (vec![v4], vec![v6])
            );
            assert_eq!((families(&one, Families::V6), families(&other, Families::V4)), (vec![], vec![]));
        }
    }

    #[test]
    fn a_tracker_rests_as_long_as_it_says() {
        let (mut tracker, now) = (Tracker::new("http://a/"), Instant::now());
        assert!(tracker.is_due(now));
        tracker.rest(Some(Duration::from_secs(60)), now);
        assert!(!tracker.is_due(now) && tracker.is_due(now + Duration::from_secs(60)));
        tracker.rest(Some(Duration::MAX), now);
        assert!(!tracker.is_due(now + Duration::from_secs(86_400 * 365)));
        tracker.rest(None, now);
        assert!(tracker.is_due(now));
    }
}
