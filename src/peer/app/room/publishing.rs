//! Which files of the upload folder are on their way to the trackers, so that thousands that go together are
//! told in one line, once the last of them has arrived. Pure.

use crate::torrent::InfoHash;
use std::collections::BTreeSet;

/// What is being published.
#[derive(Default)]
pub(super) struct Publishing {
    /// No tracker has answered to these yet. At most all files that are shared.
    waiting: BTreeSet<InfoHash>,
    /// Number of those that a tracker has taken since nothing was waiting.
    taken: usize,
    /// The last of them.
    last: Option<InfoHash>,
}

/// Files that were published together.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Published {
    pub count: usize,
    pub last: InfoHash,
}

impl Publishing {
    /// These are sent to the trackers.
    pub fn begin(&mut self, hashes: &[InfoHash]) {
        self.waiting.extend(hashes);
    }

    /// A tracker has answered. With the answer to the last one this gives those that were taken, if any was.
    pub fn answered(&mut self, hash: InfoHash, taken: bool) -> Option<Published> {
        if !self.waiting.remove(&hash) {
            return None; // another tracker has answered before, or it is published again
        }
        if taken {
            self.taken += 1;
            self.last = Some(hash);
        }
        if !self.waiting.is_empty() {
            return None;
        }
        let count = std::mem::take(&mut self.taken);
        self.last.take().map(|last| Published { count, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: of ten thousand files, each was a line in the log.
    #[test]
    fn what_goes_together_is_told_once_when_the_last_has_arrived() {
        let hash = |nth: u8| InfoHash([nth; 20]);
        let mut publishing = Publishing::default();
        publishing.begin(&[hash(1), hash(2), hash(3)]);
        assert_eq!(publishing.answered(hash(2), true), None);
        assert_eq!(publishing.answered(hash(2), true), None, "by a second tracker");
        assert_eq!(publishing.answered(hash(3), false), None);
        assert_eq!(publishing.answered(hash(1), true), Some(Published { count: 2, last: hash(1) }));
        assert_eq!(publishing.answered(hash(1), true), None, "again, after a connection was lost");
        publishing.begin(&[hash(4)]);
        assert_eq!(publishing.answered(hash(4), false), None, "nothing was published");
        publishing.begin(&[hash(5)]);
        assert_eq!(publishing.answered(hash(5), true), Some(Published { count: 1, last: hash(5) }));
    }
}
