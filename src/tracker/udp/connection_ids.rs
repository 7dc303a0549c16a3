//! Connection ids, which prove that a client receives packets at its address. There is no table of them: an
//! id is a keyed hash of the client's address and the time, and is checked by computing it again. Pure.
//!
//! Invariant: an id is valid for at least two minutes, as BEP 15 asks, and at most four, and only
//! for its address.
//!
//! The hash is SipHash, as in the standard library's hash tables, with random keys from the system. It has 64
//! bits, so a guessed id is practically never valid.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// In one window of time an address has one id. The id of the window before is accepted as well.
const WINDOW: Duration = Duration::from_secs(120);

/// Issues and checks connection ids (BEP 15).
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
