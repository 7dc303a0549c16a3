//! The sorted names of the catalogue, with the folders that they stand in, searched for words. Pure.
//!
//! A search asks which names contain a word anywhere, so sorting does not help. Instead, the names stand one
//! after the other in pages of text, which a vector unit searches at some gigabytes per second. A page is
//! small, so that inserting a name costs little.
//!
//! Invariant: names are in lower case and ascending order, equal ones in the order of their keys. A name is
//! `text[start..]` up to the end of the line.

use memchr::memmem;

use crate::torrent::InfoHash;

/// Maximum number of names in a page; a longer one is split.
const FULL: usize = 256;

/// The names of all torrents.
#[derive(Debug, Default)]
pub struct Names {
    pages: Vec<Page>,
    len: usize,
}

/// Some neighbouring names, at least one.
#[derive(Debug, Default)]
struct Page {
    /// One name a line.
    text: String,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    start: usize,
    key: String,
    hash: InfoHash,
}

impl Names {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds a torrent that is not there.
    pub fn insert(&mut self, name: &str, key: &str, hash: InfoHash) {
        let name = name.to_lowercase().replace('\n', " "); // words contain neither
        let after = self.pages.partition_point(|page| page.order(0) <= (name.as_str(), key));
        let at = after.saturating_sub(1);
        if self.pages.is_empty() {
            self.pages.push(Page::default());
        }
        let page = &mut self.pages[at];
        page.insert(&name, key, hash);
        self.len += 1;
        if page.lines.len() > FULL {
            let rest = page.split();
            self.pages.insert(at + 1, rest);
        }
    }

    /// Removes a torrent, if it is there.
    pub fn remove(&mut self, name: &str, key: &str) {
        let name = name.to_lowercase().replace('\n', " ");
        let after = self.pages.partition_point(|page| page.order(0) <= (name.as_str(), key));
        let Some(at) = after.checked_sub(1) else { return };
        if self.pages[at].remove(&name, key) {
            self.len -= 1;
            if self.pages[at].lines.is_empty() {
                self.pages.remove(at);
            }
        }
    }

    /// The torrents whose names contain every word of `words`, in the order of names.
    pub fn search<'a>(&'a self, words: &'a str) -> impl Iterator<Item = InfoHash> + 'a {
        let mut words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
        words.sort_by_key(String::len);
        // The longest word is probably the rarest. Only it is searched for in the text.
        let rarest = words.pop().unwrap_or_default();
        self.pages.iter().flat_map(move |page| page.search(&rarest, &words))
    }
}

impl Page {
    fn name(&self, nth: usize) -> &str {
        let rest = self.lines.get(nth).map_or("", |line| &self.text[line.start..]);
        rest.split('\n').next().unwrap_or_default()
    }

    fn order(&self, nth: usize) -> (&str, &str) {
        (self.name(nth), self.lines.get(nth).map_or("", |line| &line.key))
    }

    /// The place of the first name that is not before this one.
    fn place(&self, name: &str, key: &str) -> usize {
        let (mut nth, mut end) = (0, self.lines.len());
        while nth < end {
            let middle = nth.midpoint(end);
            if self.order(middle) < (name, key) { nth = middle + 1 } else { end = middle }
        }
        nth
    }

    /// False if it is not there.
    fn remove(&mut self, name: &str, key: &str) -> bool {
        let nth = self.place(name, key);
        if self.order(nth) != (name, key) || nth >= self.lines.len() {
            return false;
        }
        let Line { start, .. } = self.lines.remove(nth);
        self.text.replace_range(start..=start + name.len(), "");
        self.lines[nth..].iter_mut().for_each(|line| line.start -= name.len() + 1);
        true
    }

    fn insert(&mut self, name: &str, key: &str, hash: InfoHash) {
        let nth = self.place(name, key);
        let start = self.lines.get(nth).map_or(self.text.len(), |line| line.start);
        self.text.insert_str(start, &format!("{name}\n"));
        self.lines[nth..].iter_mut().for_each(|line| line.start += name.len() + 1);
        self.lines.insert(nth, Line { start, key: key.to_owned(), hash });
    }

    /// Removes the second half, and gives it.
    fn split(&mut self) -> Page {
        let mut lines = self.lines.split_off(self.lines.len() / 2);
        let start = lines.first().map_or(self.text.len(), |line| line.start);
        lines.iter_mut().for_each(|line| line.start -= start);
        Page { text: self.text.split_off(start), lines }
    }

    /// The torrents whose names contain `word` and all of `others`.
    fn search(&self, word: &str, others: &[String]) -> Vec<InfoHash> {
        let finder = memmem::Finder::new(word);
        let (mut found, mut nth) = (Vec::new(), 0);
        while let Some(line) = self.lines.get(nth) {
            let Some(hit) = finder.find(&self.text.as_bytes()[line.start..]) else { break };
            let hit = line.start + hit;
            nth += self.lines[nth..].partition_point(|line| line.start <= hit);
            let name = self.name(nth - 1);
            if others.iter().all(|other| name.contains(other.as_str())) {
                found.push(self.lines[nth - 1].hash);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn hash(number: u32) -> InfoHash {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        InfoHash(hash)
    }

    #[test]
    fn it_finds_what_a_look_at_every_name_would_find() {
        let mut rng = fastrand::Rng::with_seed(4);
        let (mut names, mut model) = (Names::default(), BTreeSet::new());
        for number in 0..3000 {
            let mut name: String =
                (0..rng.usize(..6)).map(|_| rng.choice(['a', 'B', 'ß', '\n']).unwrap()).collect();
            name.push_str(["", " film", " Film9"][rng.usize(..3)]);
            let key = format!("{:08x}", rng.u32(..));
            names.insert(&name, &key, hash(number));
            model.insert((name.to_lowercase().replace('\n', " "), key, number));
        }
        assert_eq!(names.len(), 3000);
        names.remove("never there", "0");
        for (name, key, number) in model.clone().into_iter().filter(|(.., number)| number % 3 == 0) {
            names.remove(&name, &key);
            model.remove(&(name, key, number));
        }
        assert_eq!(names.len(), 2000);
        for words in ["", "film", "FILM9 a", "ss", "ß b", "b aab", "aaaaaa", "film9 zzz", "m9 f"] {
            let words_lower: Vec<String> = words.split(' ').map(str::to_lowercase).collect();
            let fitting =
                model.iter().filter(|(name, ..)| words_lower.iter().all(|word| name.contains(word)));
            let expected: Vec<InfoHash> = fitting.map(|(.., number)| hash(*number)).collect();
            assert_eq!(names.search(words).collect::<Vec<_>>(), expected, "{words}");
        }
    }
}
