//! How long a sender pauses again and again while it owes us blocks. Pure.
//!
//! A *round* lasts until a block arrives that was asked for after the round began. So it holds at least one
//! pause of a sender that answers in pulses: whatever was asked for after a pulse is answered by a later one.
//! A pause counts once it has come back: of the longest pauses of three rounds the middle one is taken. A
//! single stall on the way is no pulse.

use std::time::Duration;

/// The shortest pause that counts as a pulse. A sender behind a rate limit pauses for shorter times, and the
/// limit is what holds it up, not our requests.
const SHORTEST: Duration = Duration::from_millis(300);
/// The longest pause that counts as a pulse. Some senders' clocks tick every second or two. Who is quiet for
/// longer is late.
const LONGEST: Duration = Duration::from_millis(2500);

/// The pauses of one sender.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Number of blocks that arrived, and how many of them before this round.
    came: u64,
    before: u64,
    /// The longest pause of this round, of the last one, and of the one before that; `None` if there were not
    /// as many rounds yet.
    pauses: [Option<Duration>; 3],
    /// Number of blocks of this pulse so far, and of the last one.
    burst: u64,
    last: u64,
}

impl Pulse {
    /// A block arrived after a pause. Since it was asked for, `meanwhile` blocks have come, including this
    /// one.
    pub fn arrived(&mut self, meanwhile: u64, pause: Duration) {
        self.came += 1;
        if !pause.is_zero() && pause >= self.came_back() / 2 {
            self.last = std::mem::take(&mut self.burst);
        }
        self.burst += 1;
        self.pauses[0] = self.pauses[0].max(Some(pause.min(LONGEST)));
        if self.came.saturating_sub(meanwhile) >= self.before {
            self.before = self.came;
            self.pauses.rotate_right(1);
            self.pauses[0] = None;
        }
    }

    /// The time from pulse to pulse: the longest pause that came back, and before there were three rounds,
    /// the longest one. `None` for a sender that is steady.
    pub fn length(&self) -> Option<Duration> {
        Some(self.came_back()).filter(|pause| *pause >= SHORTEST)
    }

    fn came_back(&self) -> Duration {
        let mut pauses = self.pauses;
        pauses.sort_unstable(); // `None` is the least
        let came_back = if self.pauses[2].is_some() { pauses[1] } else { pauses[2] };
        came_back.unwrap_or_default()
    }

    /// How many more blocks this pulse should bring, if it is like the last one.
    pub fn expected(&self) -> u64 {
        self.last.saturating_sub(self.burst)
    }
}
