//! One swarm: its members, and which pieces are held by somebody. Pure.
//!
//! Invariant: `coverage` is the sum over `members`, and `memory` is what their sets of pieces take.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::bitfield::Bitfield;
use crate::torrent::Torrent;
use crate::tracker::address::Place;
use crate::tracker::protocol::{Entry, PeerId, PeerInfo, Pieces};

use super::SessionId;

/// What the catalogue says of a torrent for as long as the tracker knows it. Its metainfo is in the store.
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

/// What tells the members of a swarm apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    Session(SessionId),
    Announcer(SocketAddr),
}

/// How to know and to reach a peer. All swarms of a session share one.
#[derive(Debug)]
pub struct Contact {
    pub peer_id: PeerId,
    pub place: Place,
    pub port: u16,
    pub client: String,
}

impl Contact {
    pub fn address_for(&self, asker: &Place) -> Option<SocketAddr> {
        self.place.seen_from(asker).map(|ip| SocketAddr::new(ip, self.port))
    }

    pub fn info(&self, address: SocketAddr, have: u32, n_parts: u32) -> PeerInfo {
        let client = match self.client.as_str() {
            "" => client_of(self.peer_id),
            said => said.to_owned(),
        };
        PeerInfo { peer_id: self.peer_id, address, client, have, n_parts }
    }
}

/// The program that a peer id names, after BEP 20: `-LT2110-` and twelve bytes more.
fn client_of(id: PeerId) -> String {
    id.0.iter().take(8).take_while(|byte| byte.is_ascii_graphic()).map(|byte| char::from(*byte)).collect()
}

/// What a member holds.
#[derive(Debug)]
pub enum Have {
    All,
    Some(Bitfield),
    /// An announcer that lacks this many bytes. Which ones, announces do not say.
    Left(u64),
}

impl Have {
    pub fn from_bits(bits: Bitfield) -> Have {
        if bits.is_full() { Have::All } else { Have::Some(bits) }
    }

    fn memory(&self) -> usize {
        if let Have::Some(bits) = self { bits.as_bytes().len() } else { 0 }
    }

    pub fn is_all(&self) -> bool {
        matches!(self, Have::All)
    }

    /// What it holds of the pieces `first..end`.
    pub fn within(&self, (first, end): Pieces) -> Vec<Pieces> {
        match self {
            Have::All => vec![(first, end)],
            Have::Left(_) => Vec::new(),
            Have::Some(bits) => {
                let clipped = bits.ranges().into_iter().map(|r| (r.start.max(first), r.end.min(end)));
                clipped.filter(|(first, end)| first < end).collect()
            }
        }
    }
}

/// A peer in a swarm.
#[derive(Debug)]
pub struct Member {
    pub contact: Arc<Contact>,
    pub have: Have,
    /// Announcers: when it was last heard of. Sessions are silent or not as a whole, so they have none.
    pub heard: Option<Instant>,
    /// Announcers: the word that tells them from others at a new address.
    pub key: Option<String>,
}

/// How often each piece is held, as far as it is known.
#[derive(Debug, Default)]
struct Coverage {
    n_parts: u32,
    /// Members that hold everything; `counts` leaves them out.
    seeds: usize,
    /// Members that hold a known part.
    partial: usize,
    /// Holders of each piece among those; empty when there are none, which is the common case by far.
    counts: Vec<u32>,
    /// How many of `counts` are zero.
    bare: u32,
}

impl Coverage {
    fn add(&mut self, have: &Have) {
        match have {
            Have::All => self.seeds += 1,
            Have::Left(_) => {}
            Have::Some(bits) => {
                if self.partial == 0 {
                    self.counts = vec![0; self.n_parts as usize];
                    self.bare = self.n_parts;
                }
                self.partial += 1;
                bits.iter().for_each(|piece| self.gain(piece));
            }
        }
    }

    fn gain(&mut self, piece: u32) {
        if let Some(count) = self.counts.get_mut(piece as usize) {
            self.bare -= u32::from(*count == 0);
            *count += 1;
        }
    }

    fn remove(&mut self, have: &Have) {
        match have {
            Have::All => self.seeds -= 1,
            Have::Left(_) => {}
            Have::Some(bits) => {
                self.partial -= 1;
                if self.partial == 0 {
                    self.counts = Vec::new();
                    return;
                }
                for piece in bits.iter() {
                    if let Some(count) = self.counts.get_mut(piece as usize) {
                        *count -= 1;
                        self.bare += u32::from(*count == 0);
                    }
                }
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.seeds > 0 || (self.partial > 0 && self.bare == 0)
    }

    /// How many pieces nobody holds, and the first of them.
    fn lacks(&self) -> (u32, u32) {
        match self.counts.iter().position(|count| *count == 0) {
            _ if self.seeds > 0 => (0, 0),
            _ if self.partial == 0 => (self.n_parts, 0),
            Some(first) => (self.bare, first as u32),
            None => (0, 0),
        }
    }
}

/// One swarm.
#[derive(Debug, Default)]
pub struct Swarm {
    /// `None` for a swarm that is known from announces alone. It lasts as long as it has members.
    facts: Option<Facts>,
    members: HashMap<Who, Member>,
    coverage: Coverage,
    memory: usize,
    /// How often an announcer said that it has completed the download.
    pub downloaded: u32,
    /// Who invites all others to fetch it.
    pub offer: Option<PeerId>,
    /// Why it is not available any more; `None` while it is, and if it never was.
    pub gone: Option<String>,
    /// Where it stands in the registry's news; 0 if nowhere.
    pub changed_at: u64,
    pub offered_at: u64,
}

impl Swarm {
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    pub fn members(&self) -> &HashMap<Who, Member> {
        &self.members
    }

    /// Gives the swarm its place in the catalogue.
    pub fn catalogue(&mut self, facts: Facts) {
        debug_assert_eq!(self.coverage.partial, 0, "only members of a catalogued swarm hold known parts");
        self.coverage.n_parts = facts.n_parts;
        self.facts = Some(facts);
    }

    pub fn seeds(&self) -> usize {
        self.coverage.seeds
    }

    /// Bytes that the members' sets of pieces take.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Whether every piece is held by a member.
    pub fn is_available(&self) -> bool {
        self.coverage.is_complete()
    }

    /// How many pieces nobody holds, and the first of them.
    pub fn lacks(&self) -> (u32, u32) {
        self.coverage.lacks()
    }

    /// Adds a member, in place of the one that was known under `who`.
    pub fn join(&mut self, who: Who, member: Member) {
        self.part(who);
        self.coverage.add(&member.have);
        self.memory += member.have.memory();
        self.members.insert(who, member);
    }

    /// Removes a member. `None` if it was none.
    pub fn part(&mut self, who: Who) -> Option<Member> {
        let member = self.members.remove(&who)?;
        self.coverage.remove(&member.have);
        self.memory -= member.have.memory();
        Some(member)
    }

    /// Notes that a member finished the pieces of `ranges`. False if it is none that tells its pieces.
    pub fn finished(&mut self, who: Who, ranges: &[Pieces]) -> bool {
        let Some(member) = self.members.get_mut(&who) else { return false };
        let bits = match &mut member.have {
            Have::All => return true,
            Have::Left(_) => return false,
            Have::Some(bits) => bits,
        };
        let n_parts = self.coverage.n_parts;
        for piece in ranges.iter().flat_map(|&(first, end)| first..end.min(n_parts)) {
            if bits.set(piece) {
                self.coverage.gain(piece);
            }
        }
        if bits.is_full()
            && let Some(mut member) = self.part(who)
        {
            member.have = Have::All;
            self.join(who, member);
        }
        true
    }

    /// The catalogue's entry; `None` for a swarm that is not in it.
    pub fn entry(&self) -> Option<Entry> {
        let facts = self.facts.as_ref()?;
        Some(Entry {
            key: facts.key.clone(),
            name: facts.name.clone(),
            kind: facts.kind.clone(),
            size: facts.size,
            n_parts: facts.n_parts,
            format: facts.format.clone(),
            seeds: self.coverage.seeds,
            peers: self.members.len() - self.coverage.seeds,
            available: self.is_available(),
        })
    }

    /// How many pieces a member holds, and how many there are.
    pub fn progress(&self, member: &Member) -> (u32, u32) {
        let n_parts = self.coverage.n_parts;
        let have = match (&member.have, &self.facts) {
            (Have::All, _) => n_parts,
            (Have::Some(bits), _) => bits.count(),
            (Have::Left(left), Some(facts)) if facts.size > 0 => {
                let there = u128::from(facts.size.saturating_sub(*left));
                (u128::from(n_parts) * there / u128::from(facts.size)) as u32
            }
            (Have::Left(_), _) => 0,
        };
        (have, n_parts)
    }

    /// Up to `want` of the members that `wanted` lets pass, and where `asker` reaches them: those on the asker's
    /// subnet first, else at random, no address twice. Looks at every member once, some microseconds for a hundred.
    pub fn pick(
        &self,
        asker: &Place,
        want: usize,
        rng: &mut fastrand::Rng,
        wanted: impl Fn(Who, &Member) -> bool,
    ) -> Vec<(&Member, SocketAddr)> {
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for (who, member) in &self.members {
            if !wanted(*who, member) {
                continue;
            }
            if let Some(address) = member.contact.address_for(asker) {
                let side = if asker.is_near(address.ip()) { &mut near } else { &mut far };
                side.push((member, address));
            }
        }
        rng.shuffle(&mut near);
        rng.shuffle(&mut far);
        let mut picked: Vec<(&Member, SocketAddr)> = Vec::with_capacity(want.min(near.len() + far.len()));
        let mut seen = std::collections::HashSet::new();
        for candidate in near.into_iter().chain(far) {
            if picked.len() == want {
                break;
            }
            if seen.insert(candidate.1) {
                picked.push(candidate);
            }
        }
        picked
    }
}
