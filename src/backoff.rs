//! How long to wait before the next attempt: twice as long each time, within bounds, and randomised, so that
//! a hundred peers do not return to a restarted tracker at the same moment. Pure, except for randomness.

use std::time::Duration;

/// The waits between failed attempts.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits from `first` to at most `last`, before randomisation.
    pub fn new(first: Duration, last: Duration) -> Backoff {
        Backoff { first, last, next: first }
    }

    /// The wait after another failure: between half and three halves of the nominal wait. A smaller
    /// range would keep peers that lost the tracker at the same moment close together, because the
    /// first waits are short.
    pub fn failed(&mut self) -> Duration {
        let wait = self.next.mul_f64(0.5 + fastrand::f64());
        self.next = (self.next * 2).min(self.last);
        wait
    }

    /// After a success the next wait is the first one again.
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

    /// When each of a hundred peers that lost the tracker at the same moment first finds it again,
    /// after it was away for `absence`.
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
