//! How long to wait before another attempt: twice as long each time, within bounds, and never quite as long as others
//! do, so that a room full of peers does not come back to a restarted tracker in one instant. Pure but for chance.

use std::time::Duration;

/// The waits between attempts that fail.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new(first: Duration, last: Duration) -> Backoff {
        Backoff { first, last, next: first }
    }

    /// The wait after one more failure: between a half and three halves of the nominal one. A narrower range would leave
    /// those who lost the tracker in one instant close together, since the first waits are short.
    pub fn failed(&mut self) -> Duration {
        let wait = self.next.mul_f64(0.5 + fastrand::f64());
        self.next = (self.next * 2).min(self.last);
        wait
    }

    /// After a success the next wait is a short one again.
    pub fn succeeded(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let nominal = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000];
        for millis in nominal {
            let wait = backoff.failed().as_millis();
            assert!(wait >= millis / 2 && wait <= millis * 3 / 2, "{wait} for {millis}");
        }
        backoff.succeeded();
        assert!(backoff.failed() <= Duration::from_millis(750));
    }

    /// When each of a hundred peers that lost the tracker at once first finds it again, after an absence of so long.
    fn returns(absence: Duration) -> Vec<Duration> {
        let first_after = |_| {
            let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
            let mut now = Duration::ZERO;
            while now < absence {
                now += backoff.failed();
            }
            now
        };
        (0..100).map(first_after).collect()
    }

    #[test]
    fn a_room_of_a_hundred_does_not_come_back_in_lockstep() {
        fastrand::seed(7);
        for (absence, most_in_100_ms) in [(1, 25), (10, 10), (60, 10)] {
            let mut times = returns(Duration::from_secs(absence));
            times.sort();
            let within = |from: Duration| {
                times.iter().filter(|at| **at >= from && **at < from + Duration::from_millis(100)).count()
            };
            let crowd = times.iter().map(|from| within(*from)).max().unwrap();
            assert!(crowd <= most_in_100_ms, "{crowd} within 100 ms after {absence} s");
        }
    }
}
