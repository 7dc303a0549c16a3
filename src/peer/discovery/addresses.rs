//! The known addresses of a torrent's peers, and when to try each of them again. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Maximum number of addresses remembered for one torrent. A tracker returns 50 to 200 at a time.
const MOST: usize = 1000;
/// How long to wait after a useful connection has ended. The wait doubles with each failure in a row.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Maximum wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// After this many failures an address from a tracker is given up, until a tracker returns it again.
const MOST_FAILURES: u32 = 6;

/// One address, and how the attempts to connect to it went.
struct Address {
    /// The user named it, so it is never given up.
    given: bool,
    busy: bool,
    /// Never to be tried. It stays in the table so that it is not learnt again.
    useless: bool,
    failures: u32,
    try_at: Instant,
}

/// The known addresses of one torrent's peers.
#[derive(Default)]
pub struct Addresses {
    addresses: BTreeMap<SocketAddr, Address>,
}

impl Addresses {
    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Adds an address; `given` if the user named it.
    pub fn add(&mut self, addr: SocketAddr, given: bool, now: Instant) {
        if addr.port() == 0 || !may_be_somebody(addr.ip()) {
            return;
        }
        if self.addresses.len() >= MOST && !given && !self.addresses.contains_key(&addr) {
            self.drop_the_least();
        }
        if self.addresses.len() >= MOST && !given {
            return;
        }
        let new = Address { given, busy: false, useless: false, failures: 0, try_at: now };
        self.addresses.entry(addr).or_insert(new).given |= given;
    }

    /// Makes room for a new address: removes the address that failed most, among those that failed and
    /// were not named by the user. So a tracker that invents a thousand addresses delays the others for
    /// only one attempt each.
    fn drop_the_least(&mut self) {
        let failed = |a: &Address| !a.busy && !a.given && !a.useless && a.failures > 0;
        let least = self.addresses.iter().filter(|(_, a)| failed(a)).max_by_key(|(_, a)| a.failures);
        if let Some(addr) = least.map(|(addr, _)| *addr) {
            self.addresses.remove(&addr);
        }
    }

    /// An address to connect to now. It is busy until [`ended`](Self::ended). Only addresses that the user
    /// named if `only_given`.
    pub fn next(&mut self, only_given: bool, now: Instant) -> Option<SocketAddr> {
        let due = |a: &Address| !a.busy && !a.useless && a.try_at <= now && (a.given || !only_given);
        let (addr, address) =
            self.addresses.iter_mut().filter(|(_, a)| due(a)).min_by_key(|(_, a)| a.try_at)?;
        address.busy = true;
        Some(*addr)
    }

    /// The connection to `addr` ended. `worked` if it was useful. Gives true if the user named the address,
    /// and this is its first failure in a row.
    pub fn ended(&mut self, addr: SocketAddr, worked: bool, now: Instant) -> bool {
        let Some(address) = self.addresses.get_mut(&addr) else { return false };
        address.busy = false;
        address.failures = if worked { 0 } else { address.failures + 1 };
        let wait = FIRST_WAIT.saturating_mul(1 << address.failures.min(6)).min(LONGEST_WAIT);
        address.try_at = now + wait;
        let is_news = address.given && address.failures == 1;
        if !address.given && address.failures >= MOST_FAILURES {
            self.addresses.remove(&addr);
        }
        is_news
    }

    /// Never tries this address again: it is our own, or banned.
    pub fn forget(&mut self, addr: SocketAddr) {
        if let Some(address) = self.addresses.get_mut(&addr) {
            address.useless = true;
        }
    }

    /// Number of addresses that we are connected to or connecting to.
    pub fn busy(&self) -> usize {
        self.addresses.values().filter(|a| a.busy && !a.useless).count()
    }

    /// Number of addresses, connected or not.
    pub fn known(&self) -> usize {
        self.addresses.values().filter(|a| !a.useless).count()
    }

    /// When the next address may be tried, if there is one.
    pub fn due_at(&self, only_given: bool) -> Option<Instant> {
        let free = self.addresses.values().filter(|a| !a.busy && !a.useless && (a.given || !only_given));
        free.map(|a| a.try_at).min()
    }
}

/// Whether a peer can have this address: false for unspecified addresses and for those that stand
/// for several hosts.
fn may_be_somebody(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_were_made_up_make_room_once_they_have_failed() {
        let now = Instant::now();
        let mut addresses = Addresses::default();
        for number in 0..MOST as u32 {
            let ip = std::net::Ipv4Addr::from(0x0a00_0000 + number);
            addresses.add((ip, 1).into(), false, now);
        }
        let honest = "192.168.0.1:1".parse().unwrap();
        addresses.add(honest, false, now);
        assert_eq!(addresses.addresses.len(), MOST, "nobody has failed yet");
        let failed = addresses.next(false, now).unwrap();
        addresses.ended(failed, false, now);
        addresses.add(honest, false, now);
        assert!(addresses.addresses.contains_key(&honest) && !addresses.addresses.contains_key(&failed));
        assert_eq!(addresses.addresses.len(), MOST);
    }

    #[test]
    fn where_nobody_can_be_nobody_is_looked_for() {
        let mut addresses = Addresses::default();
        for addr in ["10.0.0.1:0", "0.0.0.0:1", "255.255.255.255:1", "224.0.0.1:1", "[::]:1", "[ff02::1]:1"] {
            addresses.add(addr.parse().unwrap(), false, Instant::now());
        }
        assert!(addresses.addresses.is_empty());
    }

    #[test]
    fn failures_wait_longer_and_are_given_up_unless_named_by_the_user() {
        let start = Instant::now();
        let (found, given) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
        let mut addresses = Addresses::default();
        addresses.add(found, false, start);
        addresses.add(given, true, start);
        let mut now = start;
        for _ in 0..50 {
            for _ in 0..2 {
                if let Some(addr) = addresses.next(false, now) {
                    addresses.ended(addr, false, now);
                }
            }
            now += LONGEST_WAIT;
        }
        assert_eq!(addresses.next(false, now), Some(given));
        assert_eq!(addresses.next(false, now), None, "busy, and the other given up");
        assert!(!addresses.ended(given, true, now), "it is not a failure");
        assert_eq!(addresses.next(false, now), None, "not at once");
        assert_eq!(addresses.due_at(true), Some(now + FIRST_WAIT));
    }
}
