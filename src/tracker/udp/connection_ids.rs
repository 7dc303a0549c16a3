//! Connection ids that prove where a client is, without a table of them: each is a keyed hash of the client's address and
//! the time, so that it is enough to work it out again. Pure.
//!
//! Invariant: an id is good for two minutes at the least, as BEP 15 asks, and for four at the most; and for no other address.
//!
//! The hash is the one that keeps the standard library's tables safe from strangers (SipHash), with keys from the system's
//! randomness. It has 64 bits, so guessing one is as good as never right.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// In one window of time an address has one id. The id of the window before is taken as well.
const WINDOW: Duration = Duration::from_secs(120);

#[derive(Clone)]
pub struct ConnectionIds {
    key: RandomState,
    start: Instant,
}

impl ConnectionIds {
    pub fn new(start: Instant) -> ConnectionIds {
        ConnectionIds { key: RandomState::new(), start }
    }

    /// The id for a client at `ip`.
    pub fn issue(&self, ip: IpAddr, now: Instant) -> u64 {
        self.id(ip, self.window(now))
    }

    /// Whether `id` was issued to `ip`, and not too long ago.
    pub fn accepts(&self, id: u64, ip: IpAddr, now: Instant) -> bool {
        let window = self.window(now);
        id == self.id(ip, window) || (window > 0 && id == self.id(ip, window - 1))
    }

    fn window(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / WINDOW.as_secs()
    }

    fn id(&self, ip: IpAddr, window: u64) -> u64 {
        self.key.hash_one((ip, window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_good_for_its_address_and_its_time() {
        let start = Instant::now();
        let ids = ConnectionIds::new(start);
        let here: IpAddr = "10.0.0.1".parse().unwrap();
        let there: IpAddr = "10.0.0.2".parse().unwrap();
        for begin in [0, 1, 60, 119, 120, 500] {
            let issued = start + Duration::from_secs(begin);
            let id = ids.issue(here, issued);
            let after = |seconds| issued + Duration::from_secs(seconds);
            assert!((0..=120).all(|seconds| ids.accepts(id, here, after(seconds))), "from {begin} on");
            assert!(!ids.accepts(id, here, after(240)));
            assert!(!ids.accepts(id, there, issued));
            assert!(!ids.accepts(id ^ 1, here, issued));
        }
    }

    #[test]
    fn another_tracker_s_ids_are_no_good() {
        let now = Instant::now();
        let here: IpAddr = "2001:db8::1".parse().unwrap();
        let (ours, theirs) = (ConnectionIds::new(now), ConnectionIds::new(now));
        assert!(!ours.accepts(theirs.issue(here, now), here, now));
    }
}
