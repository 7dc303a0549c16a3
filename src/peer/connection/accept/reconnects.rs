//! How fast one address may connect again. A peer that connects, is closed and connects again in a loop costs
//! us a thread each time. Pure: the time is a parameter. Owned by the `accept` thread.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Number of connections that an address may make at once: twice as many as it may have, since all may break
/// at once.
const BURST: u32 = 64;
/// After that, time for each further connection. Our own engines wait as long before they try an address
/// again.
const EACH: Duration = Duration::from_millis(500);
/// Maximum number of addresses remembered. The one that connected longest ago is forgotten first.
const MOST: usize = 4096;

/// How often each address connected lately.
#[derive(Default)]
pub struct ReconnectLimit {
    /// When an address may make its full burst of connections again; in the past if it may now.
    full_at: HashMap<IpAddr, Instant>,
}

impl ReconnectLimit {
    /// An address connects. Returns whether it may.
    pub fn admits(&mut self, ip: IpAddr, now: Instant) -> bool {
        if self.full_at.len() >= MOST && !self.full_at.contains_key(&ip) {
            self.make_room(now);
        }
        let full_at = self.full_at.entry(ip).or_insert(now);
        let next = (*full_at).max(now) + EACH;
        let admitted = next.saturating_duration_since(now) <= EACH * BURST;
        if admitted {
            *full_at = next;
        }
        admitted
    }

    fn make_room(&mut self, now: Instant) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() >= MOST {
            let oldest = self.full_at.iter().min_by_key(|(_, full_at)| **full_at).map(|(ip, _)| *ip);
            oldest.and_then(|ip| self.full_at.remove(&ip));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_in_a_loop_is_slowed_down_and_others_are_not() {
        let start = Instant::now();
        let (looping, other) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut reconnects = ReconnectLimit::default();
        // A thousand times a second for a minute.
        let admitted =
            (0..60_000).filter(|ms| reconnects.admits(looping, start + Duration::from_millis(*ms))).count();
        assert_eq!(admitted, 64 + 2 * 60 - 1);
        assert!(reconnects.admits(other, start + Duration::from_secs(60)));
        let later = start + Duration::from_secs(100);
        assert!((0..BURST).all(|_| reconnects.admits(looping, later)), "all is forgiven");
        assert!(!reconnects.admits(looping, later));
    }

    #[test]
    fn the_memory_has_a_bound() {
        let now = Instant::now();
        let mut reconnects = ReconnectLimit::default();
        for number in 0..2 * MOST as u32 {
            assert!(reconnects.admits(IpAddr::from(number.to_be_bytes()), now));
        }
        assert_eq!(reconnects.full_at.len(), MOST);
    }
}
