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
    /// The first of them.
    first: Vec<InfoHash>,
}

/// Of so many files that are published together, each is named.
pub(super) const MOST_NAMED: usize = 3;

/// Files that were published together.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Published {
    pub count: usize,
    /// The first of them, up to `MOST_NAMED`.
    pub first: Vec<InfoHash>,
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
            if self.first.len() < MOST_NAMED {
                self.first.push(hash);
            }
        }
        if !self.waiting.is_empty() {
            return None;
        }
        let (count, first) = (std::mem::take(&mut self.taken), std::mem::take(&mut self.first));
        (count > 0).then_some(Published { count, first })
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
        assert_eq!(
            publishing.answered(hash(1), true),
            Some(Published { count: 2, first: vec![hash(2), hash(1)] })
        );
        assert_eq!(publishing.answered(hash(1), true), None, "again, after a connection was lost");
        publishing.begin(&[hash(4)]);
        assert_eq!(publishing.answered(hash(4), false), None, "nothing was published");
        publishing.begin(&[hash(5)]);
        assert_eq!(publishing.answered(hash(5), true), Some(Published { count: 1, first: vec![hash(5)] }));
        let many: Vec<InfoHash> = (10..90).map(hash).collect();
        publishing.begin(&many);
        let told: Vec<Published> = many.iter().filter_map(|one| publishing.answered(*one, true)).collect();
        assert_eq!(told, [Published { count: 80, first: many[..MOST_NAMED].to_vec() }]);
    }
}
