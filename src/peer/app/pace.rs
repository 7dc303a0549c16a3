//! How fast a torrent comes and goes, as people are shown. Owned by the thread that asks; no lock.

use crate::peer::bandwidth::limit::Limit;
use crate::peer::bandwidth::rate::Meter;
use crate::peer::swarm::Swarm;
use std::time::Instant;

/// Number of seconds over which the rates shown are measured.
const SPAN: usize = 5;

/// The current speeds of a torrent.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct Rates {
    /// Bytes received per second.
    pub down: u64,
    /// Bytes sent per second.
    pub up: u64,
}

/// Measures the speeds of one torrent.
pub struct Pace {
    down: Meter,
    up: Meter,
    /// The bytes received and sent when it was last asked.
    counted: (u64, u64),
    /// The speeds that were given then.
    given: Rates,
    /// The limits. What was let through early, as a late wake-up makes up for, is not shown as more.
    most: Rates,
}

impl Pace {
    /// Measures a torrent from now on.
    pub fn of(swarm: &Swarm, now: Instant) -> Self {
        let limit = |limit: &Limit| limit.rate().unwrap_or(u64::MAX);
        let most = Rates { down: limit(&swarm.shared.down), up: limit(&swarm.shared.up) };
        Pace::new(swarm.counts.totals(), most, now)
    }

    /// Measures from now on; so many bytes were received and sent before.
    fn new(before: (u64, u64), most: Rates, now: Instant) -> Self {
        Pace { down: Meter::new(now), up: Meter::new(now), counted: before, given: Rates::default(), most }
    }

    /// The speeds, now that so many bytes in all were received and sent.
    pub fn rates(&mut self, totals: (u64, u64), now: Instant) -> Rates {
        self.down.add(totals.0.saturating_sub(self.counted.0), now);
        self.up.add(totals.1.saturating_sub(self.counted.1), now);
        self.counted = totals;
        let (down, up) = (self.down.rate(SPAN, now), self.up.rate(SPAN, now));
        self.given = Rates { down: down.min(self.most.down), up: up.min(self.most.up) };
        self.given
    }

    /// The same; `None` if nothing moves and nothing did, so that what rests costs nothing.
    pub fn rates_if_moving(&mut self, totals: (u64, u64), now: Instant) -> Option<Rates> {
        let rests = totals == self.counted && self.given == Rates::default();
        (!rests).then(|| self.rates(totals, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Bug: the first look counted all that had come before it, as if it had come within a quarter of a
    /// second: with `--down 5MB` the bar showed 12 MB/s.
    #[test]
    fn what_came_before_the_first_look_is_no_speed() {
        let start = Instant::now();
        let no_limit = Rates { down: u64::MAX, up: u64::MAX };
        let mut pace = Pace::new((3_000_000, 50), no_limit, start);
        assert_eq!(pace.rates((3_000_000, 50), start), Rates::default());
        let rates = pace.rates((8_000_000, 1050), start + Duration::from_secs(1));
        assert_eq!(rates, Rates { down: 5_000_000, up: 1000 });
        let mut limited = Pace::new((0, 0), Rates { down: 4_000_000, up: 900 }, start);
        let rates = limited.rates((5_000_000, 1000), start + Duration::from_secs(1));
        assert_eq!(rates, Rates { down: 4_000_000, up: 900 });
        let a_minute_later = start + Duration::from_secs(61);
        assert_eq!(pace.rates_if_moving((8_000_000, 1050), a_minute_later), Some(Rates::default()));
        assert_eq!(pace.rates_if_moving((8_000_000, 1050), a_minute_later), None, "it rests");
    }
}
