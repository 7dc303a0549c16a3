//! Which events are new. Several trackers report the same torrents, since peers publish at all of them; a
//! user wants to be told each thing once. Pure; [`super::trackers`] keeps it under a leaf lock.

use crate::protocol::catalogue::{Event, Giver};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of torrents and offers that are remembered: as many as a tracker's catalogue has. Beyond
/// that all are forgotten, and something may be reported twice.
const MOST: usize = 100_000;

/// What each tracker has reported.
#[derive(Default)]
pub(super) struct Dedup {
    /// By key: the trackers that added the torrent and have not removed it since.
    listed: BTreeMap<String, BTreeSet<usize>>,
    /// By key and who offered it: how often each tracker reported the offer.
    offers: BTreeMap<(String, Giver), BTreeMap<usize, u32>>,
}

impl Dedup {
    /// Records an event. True if no other tracker has reported the same before.
    pub fn is_news(&mut self, tracker: usize, event: &Event) -> bool {
        if self.listed.len() + self.offers.len() > MOST {
            *self = Self::default();
        }
        match event {
            Event::Added { entry } => {
                let listed = self.listed.entry(entry.key.clone()).or_default();
                listed.insert(tracker);
                listed.len() == 1
            }
            Event::Removed { key, .. } => self.is_gone(tracker, key),
            Event::Offered { entry, by, .. } => {
                let told = self.offers.entry((entry.key.clone(), *by)).or_default();
                let before = told.values().copied().max().unwrap_or(0);
                let times = told.entry(tracker).or_default();
                *times += 1;
                *times > before // a second offer is new, a second tracker that reports the first offer is not
            }
        }
    }

    /// One tracker removed the torrent: it is gone if no other tracker still has it. For torrents listed
    /// before we connected, of which no tracker told us, the first removal counts.
    fn is_gone(&mut self, tracker: usize, key: &str) -> bool {
        let Some(listed) = self.listed.get_mut(key) else {
            self.listed.insert(key.to_owned(), BTreeSet::new());
            return true;
        };
        listed.remove(&tracker) && listed.is_empty()
    }

    /// The connection to a tracker ended. When it is back it reports everything again.
    pub fn forget(&mut self, tracker: usize) {
        for listed in self.listed.values_mut() {
            listed.remove(&tracker);
        }
        self.offers.retain(|_, told| {
            told.remove(&tracker);
            !told.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::catalogue::Entry;

    fn entry(key: &str) -> Entry {
        Entry {
            key: key.into(),
            name: key.into(),
            path: None,
            kind: "file".into(),
            size: 1,
            n_parts: 1,
            format: "v1".into(),
            seeds: 1,
            peers: 0,
            available: true,
        }
    }

    fn added(key: &str) -> Event {
        Event::Added { entry: entry(key) }
    }

    fn removed(key: &str) -> Event {
        Event::Removed { key: key.into(), name: key.into(), reason: "it left".into() }
    }

    fn offered(key: &str) -> Event {
        Event::Offered { entry: entry(key), by: Giver::by_secret("1"), replaces: Vec::new() }
    }

    #[test]
    fn what_two_trackers_tell_is_news_once() {
        let mut dedup = Dedup::default();
        assert!(dedup.is_news(0, &added("a")));
        assert!(!dedup.is_news(1, &added("a")));
        assert!(!dedup.is_news(0, &removed("a")), "the other still has it");
        assert!(dedup.is_news(1, &removed("a")));
        assert!(dedup.is_news(1, &added("a")), "it is back");

        assert!(dedup.is_news(1, &removed("old")), "it was there before we came");
        assert!(!dedup.is_news(0, &removed("old")));

        assert!(dedup.is_news(0, &offered("a")));
        assert!(!dedup.is_news(1, &offered("a")));
        assert!(dedup.is_news(1, &offered("a")), "offered again");
        assert!(!dedup.is_news(0, &offered("a")));
    }

    #[test]
    fn a_tracker_that_comes_back_repeats_nothing_that_another_told() {
        let mut dedup = Dedup::default();
        for tracker in 0..2 {
            dedup.is_news(tracker, &added("a"));
            dedup.is_news(tracker, &offered("a"));
        }
        dedup.forget(0);
        assert!(!dedup.is_news(0, &added("a")));
        assert!(!dedup.is_news(0, &offered("a")));
        dedup.forget(0);
        assert!(dedup.is_news(1, &removed("a")), "who is gone has nothing");
    }

    #[test]
    fn one_tracker_alone_is_never_doubted() {
        let mut dedup = Dedup::default();
        for _ in 0..2 {
            assert!(dedup.is_news(0, &added("a")));
            assert!(dedup.is_news(0, &offered("a")));
            assert!(dedup.is_news(0, &removed("a")));
        }
    }
}
