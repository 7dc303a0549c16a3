//! Finding torrents in the catalogue: by words, by key, by name. Pure.

use crate::protocol::catalogue::{Entry, Found, MAX_LISTED, Refusal, is_path};
use crate::torrent::InfoHash;

use super::listing::Listing;
use super::member::Who;
use super::swarm::Swarm;
use super::{Registry, SessionId, unknown};

/// One way to match a torrent with the text that names it.
type Reading<'a> = &'a dyn Fn(&Listing) -> bool;

/// Minimum number of digits of a key's prefix that may stand for the key.
const MIN_PREFIX: usize = 6;

impl Registry {
    /// The torrents whose paths contain every word of `words`, in the order of paths.
    pub fn search(&self, words: &str, all: bool, skip: usize) -> Found {
        let matches = self
            .names
            .search(words)
            .filter_map(|hash| self.swarms.get(&hash))
            .filter(|swarm| !swarm.is_replaced() && (all || swarm.is_available()));
        let mut found = Found::default();
        for swarm in matches.skip(skip) {
            if found.entries.len() < MAX_LISTED {
                found.entries.extend(swarm.entry());
            } else {
                found.more += 1;
            }
        }
        found
    }

    /// The torrent that `text` names: its key or the beginning of one, its path, its name, or its name
    /// without the extension.
    ///
    /// # Errors
    /// If there is none, or there are several, which are then the refusal's choices.
    pub fn resolve(&self, text: &str) -> Result<InfoHash, Refusal> {
        if let Some(hash) = text.parse().ok().map(|hash| self.primary(hash)).filter(|hash| self.knows(*hash))
        {
            return Ok(hash);
        }
        let prefix = text.to_ascii_lowercase();
        let is_prefix = prefix.len() >= MIN_PREFIX && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
        let readings: [(&str, Reading); 4] = [
            (text, &|listing| listing.label() == text),
            (text, &|listing| listing.facts.name == text),
            ("", &|listing| is_prefix && listing.facts.key.starts_with(&prefix)),
            (text, &|listing| listing.facts.stem() == text),
        ];
        for (words, reading) in readings {
            if words.is_empty() && !is_prefix {
                continue; // it cannot be a prefix, so the catalogue need not be searched
            }
            let known = self.names.search(words).filter_map(|hash| self.swarms.get_key_value(&hash));
            let known = known.filter(|(_, swarm)| !swarm.is_replaced());
            let mut fitting = known.filter(|(_, swarm)| swarm.listing.as_deref().is_some_and(reading));
            match (fitting.next(), fitting.next()) {
                (None, _) => {}
                (Some((hash, _)), None) => return Ok(*hash),
                (Some(first), Some(second)) => {
                    return Err(choices(text, [first, second].into_iter().chain(fitting)));
                }
            }
        }
        Err(unknown(text))
    }
}

impl Registry {
    /// Notes the path of a file where a session shares it; `None` if it does not lie deeper. The path that a
    /// member told first stays until that one is gone, or tells another.
    pub fn place(&mut self, id: SessionId, hash: InfoHash, path: Option<&String>) {
        let hash = self.primary(hash);
        let Some(swarm) = self.swarms.get_mut(&hash) else { return };
        let is_told = swarm.listing.as_ref().and_then(|listing| listing.placed_by);
        let by_other = is_told.is_some_and(|by| by != id && swarm.find(&Who::Session(by)).is_some());
        let Some(listing) = swarm.listing.as_mut().filter(|_| !by_other) else { return };
        let path = path.filter(|path| is_path(path, &listing.facts.name) && **path != listing.facts.name);
        listing.placed_by = path.is_some().then_some(id);
        if listing.path.as_ref() != path {
            self.names.remove(listing.label(), &listing.facts.key);
            listing.path = path.cloned();
            self.names.insert(listing.label(), &listing.facts.key, hash);
        }
    }
}

fn choices<'a>(text: &str, swarms: impl Iterator<Item = (&'a InfoHash, &'a Swarm)>) -> Refusal {
    let mut choices: Vec<Entry> = swarms.filter_map(|(_, swarm)| swarm.entry()).take(MAX_LISTED).collect();
    choices.sort_by(|a, b| (a.label(), &a.key).cmp(&(b.label(), &b.key)));
    let keys: Vec<&str> = choices.iter().take(10).map(|entry| entry.key.as_str()).collect();
    let message = format!("`{text}` is {} torrents; give one of the keys {}", choices.len(), keys.join(", "));
    Refusal { message, choices }
}
