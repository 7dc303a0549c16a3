//! Notices in words, for a person. Many of a kind that come together become one line. Pure.

use crate::peer::app::notices::Notice;
use crate::peer::app::progress::plural;
use crate::peer::app::report::short;
use crate::printable::line;
use crate::protocol::catalogue::Event;
use crate::torrent::InfoHash;
use std::collections::BTreeMap;

/// Of one kind, this many notices get a line each.
const MOST_LINES: usize = 3;

/// A torrent that is here.
pub struct Known {
    /// Its name.
    pub name: String,
    /// Whether all of it is here.
    pub is_complete: bool,
}

/// The lines for notices that came together. `here` finds a torrent.
pub fn words(notices: &[Notice], here: impl Fn(InfoHash) -> Option<Known>) -> Vec<String> {
    let said: Vec<Said> = notices.iter().filter_map(|notice| Said::of(notice, &here)).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    said.iter().filter_map(|one| one.what).for_each(|what| *counts.entry(what).or_default() += 1);
    let mut lines = Vec::new();
    for one in &said {
        let Some(what) = one.what else {
            lines.push(one.text.clone());
            continue;
        };
        match counts.get_mut(what) {
            Some(count) if *count > MOST_LINES => {
                let torrents = plural(*count as u64, "torrent");
                lines.push(format!("{what} {torrents}, such as {}", one.example));
                *count = 0; // the others of its kind are told with it
            }
            Some(0) => {}
            _ => lines.push(format!("{what} {}", one.text)),
        }
    }
    lines
}

/// A notice in words.
struct Said {
    /// What a line of this kind begins with, if there may be many.
    what: Option<&'static str>,
    text: String,
    /// What is named when many become one line.
    example: String,
}

impl Said {
    fn of(notice: &Notice, here: &impl Fn(InfoHash) -> Option<Known>) -> Option<Said> {
        let alone = |text: String| Some(Said { what: None, text, example: String::new() });
        let many = |what, text: String, example: &str| {
            Some(Said { what: Some(what), text, example: line(example).into_owned() })
        };
        match notice {
            Notice::Completed(hash) => alone(format!("{} is complete", line(&here(*hash)?.name))),
            Notice::Paused(hash, why) => {
                alone(format!("{} is paused: {}", line(&here(*hash)?.name), line(why)))
            }
            Notice::Catalogue(Event::Added { entry }) => {
                let hash = entry.key.parse().ok();
                let is_ours = hash.and_then(here).is_some_and(|here| here.is_complete);
                let what = if is_ours { "published:" } else { "added:" };
                many(what, format!("{}  {}", short(&entry.key), line(entry.label())), entry.label())
            }
            Notice::Catalogue(Event::Removed { key, name, reason }) => {
                let text = format!("{}  {} ({})", short(key), line(name), line(reason));
                many("removed:", text, name)
            }
            Notice::Catalogue(Event::Offered { entry, .. }) => {
                many("offered:", format!("{}  {}", short(&entry.key), line(&entry.name)), &entry.name)
            }
            Notice::Hashing(path) => {
                let path = path.display().to_string();
                many("hashing", line(&path).into_owned(), &path)
            }
            Notice::LeftOut(what) => alone(line(what).into_owned()),
            Notice::Tracker { up: true, .. } => alone("connected to the tracker".to_owned()),
            Notice::Tracker { up: false, why } => {
                alone(format!("the tracker is gone ({}); trying again", line(why)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::catalogue::Entry;

    fn added(name: &str, digit: char) -> Notice {
        let entry = Entry {
            key: digit.to_string().repeat(40),
            name: name.to_owned(),
            path: None,
            kind: "mp4".to_owned(),
            size: 1,
            n_parts: 1,
            format: "v1".to_owned(),
            seeds: 1,
            peers: 0,
            available: true,
        };
        Notice::Catalogue(Event::Added { entry })
    }

    fn nothing_is_here(_: InfoHash) -> Option<Known> {
        None
    }

    /// Bug: what one had published oneself was told as if others had.
    #[test]
    fn what_is_ours_is_published_and_what_is_not_is_added() {
        let ours = |hash: InfoHash| {
            let is_complete = hash == InfoHash([0xaa; 20]);
            Some(Known { name: "x".to_owned(), is_complete })
        };
        let told = words(&[added("mine", 'a'), added("being fetched", 'b')], ours);
        assert_eq!(told, ["published: aaaaaaaaaaaa  mine", "added: bbbbbbbbbbbb  being fetched"]);
        assert_eq!(words(&[added("theirs", 'a')], nothing_is_here), ["added: aaaaaaaaaaaa  theirs"]);
    }

    /// Bug: 300 new files were 300 lines.
    #[test]
    fn many_of_a_kind_are_one_line_with_their_number() {
        let mut notices: Vec<Notice> = (0..300).map(|nth| added(&format!("file {nth}"), 'c')).collect();
        notices.insert(7, Notice::Tracker { up: true, why: String::new() });
        let told = words(&notices, nothing_is_here);
        assert_eq!(told, ["added: 300 torrents, such as file 0", "connected to the tracker"]);
        assert_eq!(words(&notices[..3], nothing_is_here).len(), 3);
    }

    #[test]
    fn names_of_others_are_escaped() {
        let told = words(&[added("a\nb\x1b[2J", 'd')], nothing_is_here);
        assert_eq!(told, [r"added: dddddddddddd  a\u000ab\u001b[2J"]);
    }
}
