//! What a user wants from the catalogue: finding it by name, path, key, pattern or folder, and beginning to
//! download it. Runs on the thread that asks; no lock of its own.

use super::RoomError;
use super::host::RoomHost;
use crate::peer::catalogue::{AskError, FoundTorrent, Trackers};
use crate::peer::engine::AddTorrent;
use crate::peer::swarm::Swarm;
use crate::peer::swarm::options::DownloadOptions;
use crate::protocol::catalogue::Entry;
use crate::torrent::names::folders_on_disk;
use crate::torrent::{Selection, Torrent};
use glob::Pattern;
use std::path::Path;
use std::sync::Arc;

/// How to download something.
#[derive(Copy, Clone, Default)]
pub struct Wish<'a> {
    /// The folder to download to; `None` for the usual one.
    pub to: Option<&'a Path>,
    /// The wanted files of a torrent that has several, as on a command line; all if empty.
    pub files: &'a [String],
}

/// A torrent of the catalogue, and the path of its file where it is shared.
pub struct FoundHere {
    pub torrent: Torrent,
    path: Option<String>,
}

impl FoundHere {
    /// Whether this is its path, its name, or the beginning of its key: not only its name without the
    /// extension.
    fn is_called(&self, name: &str) -> bool {
        let key = name.to_ascii_lowercase();
        let is_key = key.len() >= 6 && self.torrent.key().starts_with(&key);
        self.torrent.name() == name || self.path.as_deref() == Some(name) || is_key
    }
}

/// What came of a wish to download.
#[derive(Default)]
pub struct Begun {
    /// The downloads, with those that are here already.
    pub swarms: Vec<Arc<Swarm>>,
    /// What of a folder or pattern cannot be downloaded, and why.
    pub failed: Vec<(String, RoomError)>,
}

impl RoomHost {
    /// Begins to download all that this names: a path, name or key, or else a folder of the catalogue, or a
    /// pattern, or else a name without its extension. What is here already is among it.
    pub fn download(
        self: &Arc<Self>,
        trackers: &Trackers,
        name: &str,
        wish: Wish,
    ) -> Result<Begun, RoomError> {
        let found = self.metainfo(trackers, name);
        let is_it = match &found {
            Ok(found) => found.is_called(name),
            Err(why) => !matches!(why, RoomError::Refused(_)),
        };
        if !is_it {
            let listed = trackers.search("")?;
            let matching = matching(&listed, name);
            if !matching.is_empty() {
                return Ok(self.download_all(trackers, &matching, wish));
            }
        }
        let swarm = self.download_one(trackers, found?, wish)?;
        Ok(Begun { swarms: vec![swarm], failed: Vec::new() })
    }

    fn download_all(self: &Arc<Self>, trackers: &Trackers, entries: &[&Entry], wish: Wish) -> Begun {
        let mut begun = Begun::default();
        for entry in entries {
            let found = self.metainfo(trackers, &entry.key);
            match found.and_then(|found| self.download_one(trackers, found, wish)) {
                Ok(swarm) => begun.swarms.push(swarm),
                Err(why) => begun.failed.push((entry.label().to_owned(), why)),
            }
        }
        begun
    }

    fn download_one(
        self: &Arc<Self>,
        trackers: &Trackers,
        FoundHere { torrent, path }: FoundHere,
        wish: Wish,
    ) -> Result<Arc<Swarm>, RoomError> {
        let files = match wish.files {
            [] => None,
            words => {
                Some(Selection::parse(&torrent, words).map_err(|why| RoomError::Content(why.to_string()))?)
            }
        };
        // A file keeps the folders that it lies in where it is shared.
        let mut dir = wish.to.unwrap_or(&self.downloads).to_owned();
        dir.extend(path.as_deref().map(folders_on_disk).iter().flatten());
        if let Some(here) = self.peer.swarms.get(torrent.info_hash()) {
            let is_elsewhere = wish.to.is_some() && here.storage.dir() != dir;
            if is_elsewhere || here.storage.wanted_only() != files.as_ref().and_then(Selection::indexes) {
                return Err(RoomError::HereAlready(here.storage.root()));
            }
            if here.is_complete() || here.is_running() {
                return Ok(here);
            }
            let here = self.go_on(trackers, &here)?;
            self.find_peers(trackers, &here)?;
            return Ok(here);
        }
        self.keep(&torrent)?;
        let options = DownloadOptions { files, ..DownloadOptions::default() };
        let swarm = self.add(AddTorrent::download(Arc::new(torrent), dir).with(options))?;
        trackers.publish(self.publish_of(&swarm))?;
        self.find_peers(trackers, &swarm)?;
        Ok(swarm)
    }

    /// The torrent with this path, name or key, and its path where it is shared.
    pub fn metainfo(&self, trackers: &Trackers, name: &str) -> Result<FoundHere, RoomError> {
        let FoundTorrent { key, path, metainfo } = match trackers.torrent(name) {
            Err(AskError::Refused(refusal)) => match only_available(&refusal.choices) {
                Some(entry) => trackers.torrent(&entry.key)?,
                None => return Err(RoomError::Refused(refusal)),
            },
            answer => answer?,
        };
        let torrent = Torrent::parse(&metainfo).map_err(|why| RoomError::Content(why.to_string()))?;
        if torrent.key() == key { Ok(FoundHere { torrent, path }) } else { Err(RoomError::WrongTorrent(key)) }
    }

    /// Asks the trackers for the peers of this torrent, and connects to them.
    pub fn find_peers(&self, trackers: &Trackers, swarm: &Swarm) -> Result<(), RoomError> {
        let peers = trackers.peers(Some(swarm.torrent.key()))?;
        let peers = peers.into_iter().filter(|peer| peer.blocked.is_none() || peer.have > 0);
        swarm.add_addresses(peers.map(|peer| peer.address), false);
        self.peer.look_for_peers();
        Ok(())
    }
}

/// The entries in a folder of the catalogue, or those that a pattern fits. `*` also matches across folders.
fn matching<'a>(entries: &'a [Entry], name: &str) -> Vec<&'a Entry> {
    let folder = format!("{}/", name.trim_end_matches('/'));
    let below: Vec<&Entry> = entries.iter().filter(|entry| entry.label().starts_with(&folder)).collect();
    let pattern = Pattern::new(name).ok().filter(|_| name.contains(['*', '?', '[']));
    match pattern {
        Some(pattern) if below.is_empty() => {
            entries.iter().filter(|entry| pattern.matches(entry.label())).collect()
        }
        _ => below,
    }
}

/// The torrent that can be downloaded, if it is the only such among several of one name.
fn only_available(choices: &[Entry]) -> Option<&Entry> {
    let mut available = choices.iter().filter(|entry| entry.available);
    available.next().filter(|_| available.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> Entry {
        Entry {
            key: path.to_owned(),
            name: path.rsplit('/').next().unwrap_or_default().to_owned(),
            path: path.contains('/').then(|| path.to_owned()),
            kind: "txt".to_owned(),
            size: 1,
            n_parts: 1,
            format: "hybrid".to_owned(),
            seeds: 1,
            peers: 0,
            available: true,
        }
    }

    #[test]
    fn a_folder_or_a_pattern_names_all_that_is_in_it() {
        let paths = ["course/week 1/slides.txt", "course/week 2/slides.txt", "coursework.txt", "film[1].mp4"];
        let entries = paths.map(entry);
        let found =
            |name: &str| matching(&entries, name).iter().map(|entry| entry.label()).collect::<Vec<_>>();
        assert_eq!(found("course"), paths[..2]);
        assert_eq!(found("course/week 2/"), paths[1..2]);
        assert_eq!(found("*.txt"), paths[..3]);
        assert_eq!(found("course/*/slides.txt"), paths[..2]);
        assert_eq!(found("slides.txt"), [""; 0], "no pattern, and no folder");
        assert_eq!(found("nothing*"), [""; 0]);
    }
}
