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

    /// The wait after one more failure: between three and five quarters of the nominal one.
    pub fn failed(&mut self) -> Duration {
        let wait = self.next.mul_f64(0.75 + fastrand::f64() / 2.0);
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
            assert!(wait >= millis * 3 / 4 && wait <= millis * 5 / 4, "{wait} for {millis}");
        }
        backoff.succeeded();
        assert!(backoff.failed() < Duration::from_millis(700));
    }
}
