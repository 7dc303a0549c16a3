//! What changed, for sessions that want to hear of it. Pure.
//!
//! News are state, not mail: each torrent stands in the list at most once, at its latest change, and every session
//! has a cursor of its own. So the list is bounded by the catalogue, a slow session costs nothing and makes nobody wait, and a
//! torrent that comes and goes a hundred times while a session does not look is one piece of news.

use std::collections::BTreeMap;

use crate::torrent::InfoHash;

/// A list of changes by their number, which only grows.
#[derive(Debug, Default)]
pub struct ChangeLog {
    by_number: BTreeMap<u64, InfoHash>,
    last: u64,
}

/// How far somebody has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor(u64);

impl ChangeLog {
    /// Puts `hash` at the end. `place` is where it stood, 0 if nowhere, and becomes where it stands.
    pub fn add(&mut self, hash: InfoHash, place: &mut u64) {
        self.remove(place);
        self.last += 1;
        *place = self.last;
        self.by_number.insert(self.last, hash);
    }

    /// Takes what stands at `place` out of the list.
    pub fn remove(&mut self, place: &mut u64) {
        self.by_number.remove(place);
        *place = 0;
    }

    /// The cursor of somebody who wants only what comes from now on.
    pub fn end(&self) -> Cursor {
        Cursor(self.last)
    }

    /// The next change behind `cursor`, which moves.
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
