//! What only a swarm of the catalogue has: the facts of its torrent, and the sessions that are members. Pure.
//!
//! Invariant: the tables of sessions have all sessions that are members; `coverage` and `memory` are
//! sums over them.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::protocol::catalogue::{Giver, PeerId};
use crate::torrent::Torrent;

use super::SessionId;
use super::coverage::Coverage;
use super::member::{Contact, Have};

/// The properties of a torrent in the catalogue. They never change. Its metainfo is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub key: String,
    pub name: String,
    pub kind: String,
    pub size: u64,
    pub n_parts: u32,
    pub format: String,
    /// Bytes of the metainfo file.
    pub metainfo_len: usize,
}

impl Facts {
    pub fn of(torrent: &Torrent) -> Facts {
        Facts {
            key: torrent.key(),
            name: torrent.name().to_owned(),
            kind: kind(torrent.name(), torrent.is_single_file()).to_owned(),
            size: torrent.geometry().total_len(),
            n_parts: torrent.geometry().piece_count(),
            format: torrent.format().to_string(),
            metainfo_len: torrent.bytes().len(),
        }
    }

    /// The name without its extension.
    pub fn stem(&self) -> &str {
        match self.name.strip_suffix(self.kind.as_str()).and_then(|rest| rest.strip_suffix('.')) {
            Some(stem) if !stem.is_empty() => stem,
            _ => &self.name,
        }
    }
}

fn kind(name: &str, is_file: bool) -> &str {
    match name.rsplit_once('.') {
        _ if !is_file => "folder",
        Some((stem, extension)) if !stem.is_empty() && !extension.is_empty() => extension,
        _ => "file",
    }
}

/// What only a swarm of the catalogue has.
#[derive(Debug)]
pub struct Listing {
    pub facts: Facts,
    pub coverage: Coverage,
    /// Bytes of the members' bitfields, and of the reasons in `blocked`.
    pub memory: usize,
    /// The sessions that are members, by peer id and address, which identify a peer.
    pub sessions: HashMap<(PeerId, IpAddr), SessionId>,
    /// Those of them that hold a part of the torrent.
    pub partial: HashSet<SessionId>,
    /// Those on the tracker's machine that can be reached from elsewhere.
    pub local: HashSet<SessionId>,
    /// The path of the file where it is shared, if that is not only its name, and the session that told it.
    pub path: Option<String>,
    pub placed_by: Option<SessionId>,
    /// The sessions that have it as their own, and did not download it.
    pub owners: HashSet<SessionId>,
    /// Who offers it to all others.
    pub offer: Option<Giver>,
    /// The last one that offered it, even if it does not any more: nobody else may replace it.
    pub was_offered_by: Option<Giver>,
    /// The keys that the offer replaces. At most `MAX_REPLACED`.
    pub replaces: Vec<String>,
    /// Whose newer version replaces it: then it is not found by its name any more.
    pub replaced_by: Option<Giver>,
    /// Why sessions that are members cannot download it.
    pub blocked: HashMap<SessionId, String>,
    /// Why it is not available any more; `None` if it is available or never was.
    pub gone: Option<String>,
    /// Its number in the registry's log of changes; 0 if it is not there.
    pub changed_at: u64,
    /// Its number in the registry's log of offers; 0 if it is not there.
    pub offered_at: u64,
}

impl Listing {
    /// The listing of a torrent that is added to the catalogue; no session is a member yet.
    pub fn new(facts: Facts) -> Listing {
        Listing {
            coverage: Coverage::new(facts.n_parts),
            facts,
            memory: 0,
            sessions: HashMap::new(),
            partial: HashSet::new(),
            local: HashSet::new(),
            path: None,
            placed_by: None,
            owners: HashSet::new(),
            offer: None,
            was_offered_by: None,
            replaces: Vec::new(),
            replaced_by: None,
            blocked: HashMap::new(),
            gone: None,
            changed_at: 0,
            offered_at: 0,
        }
    }

    /// Whether a newer version replaces it.
    pub fn is_replaced(&self) -> bool {
        self.replaced_by.is_some()
    }

    /// Forgets why a session could not download it.
    pub fn unblock(&mut self, id: SessionId) {
        self.memory -= self.blocked.remove(&id).map_or(0, |why| why.len());
    }

    /// What it stands under among the names: its path, or its name.
    pub fn label(&self) -> &str {
        self.path.as_deref().unwrap_or(&self.facts.name)
    }

    /// Number of pieces that no member holds, not counting seeds, and the first of them.
    pub fn lacks(&self) -> (u32, u32) {
        self.coverage.lacks()
    }

    /// Adds a session that became a member.
    pub fn enter(&mut self, id: SessionId, contact: &Contact, have: &Have) {
        self.sessions.insert((contact.peer_id, contact.addresses.observed()), id);
        if contact.addresses.has_told() {
            self.local.insert(id);
        }
        if let Have::Some(bits) = have {
            self.partial.insert(id);
            self.coverage.add(bits);
            self.memory += have.memory();
        }
    }

    /// Removes a session that is not a member any more.
    pub fn exit(&mut self, id: SessionId, contact: &Contact, have: &Have) {
        let left = self.sessions.remove(&(contact.peer_id, contact.addresses.observed()));
        debug_assert_eq!(left, Some(id), "a peer has one session in a swarm");
        self.local.remove(&id);
        self.owners.remove(&id);
        self.unblock(id);
        if let Have::Some(bits) = have {
            self.partial.remove(&id);
            self.coverage.remove(bits);
            self.memory -= have.memory();
        }
    }
}
