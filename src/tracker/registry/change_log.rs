//! The change log: which torrents have changed, for sessions that are told. Pure.
//!
//! It is state, not a queue: each torrent is in the list at most once, at its latest change, and each
//! session has its own cursor. So the list is no longer than the catalogue, and a slow session costs
//! nothing and makes no other session wait. A torrent that changes a hundred times between two looks of a
//! session is one change.

use std::collections::BTreeMap;

use crate::torrent::InfoHash;

/// Changed torrents by the number of the change. Numbers only grow.
#[derive(Debug, Default)]
pub struct ChangeLog {
    by_number: BTreeMap<u64, InfoHash>,
    last: u64,
}

/// How far a reader has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor(u64);

impl ChangeLog {
    /// Moves `hash` to the end. `place` is its change number, 0 if it is not in the list, and is updated.
    pub fn add(&mut self, hash: InfoHash, place: &mut u64) {
        self.remove(place);
        self.last += 1;
        *place = self.last;
        self.by_number.insert(self.last, hash);
    }

    /// Removes the change with the number `place` from the list, and sets `place` to 0.
    pub fn remove(&mut self, place: &mut u64) {
        self.by_number.remove(place);
        *place = 0;
    }

    /// The cursor of a reader that is told only later changes.
    pub fn end(&self) -> Cursor {
        Cursor(self.last)
    }

    /// The next change after `cursor`, which is advanced.
    pub fn next(&self, cursor: &mut Cursor) -> Option<InfoHash> {
        let (number, hash) = self.by_number.range(cursor.0 + 1..).next()?;
        *cursor = Cursor(*number);
        Some(*hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_learns_each_torrent_once_however_often_it_changed() {
        let mut news = ChangeLog::default();
        let mut places = [0; 3];
        let mut late = news.end();
        for round in 0..100 {
            for (nth, place) in places.iter_mut().enumerate() {
                if nth != 2 || round == 0 {
                    news.add(InfoHash([nth as u8; 20]), place);
                }
            }
        }
        let read: Vec<u8> = std::iter::from_fn(|| news.next(&mut late)).map(|hash| hash.0[0]).collect();
        assert_eq!(read, [2, 0, 1]);
        assert_eq!(news.by_number.len(), 3);
        assert_eq!(news.next(&mut news.end()), None);
        assert_eq!(news.next(&mut Cursor::default()), Some(InfoHash([2; 20])));
    }
}
