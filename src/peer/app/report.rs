//! What the shell prints, as text or JSON. Runs on the shell's thread. What it shows comes as values; locks
//! are taken only inside these.

use super::pace::Rates;
use super::progress::{plural, show_bytes, show_left, show_rate};
use super::room::Room;
use crate::peer::bans::Ban;
use crate::peer::catalogue;
use crate::peer::swarm::{Progress, State, Swarm};
use crate::peer::upload::ledger::Account;
use crate::peer::workers::stats::Work;
use crate::printable::line;
use crate::protocol::catalogue::{Entry, PeerInfo};
use crate::torrent::units::thousands;
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Arc;

/// Number of digits of a key that are shown: enough to type, and unique in any room.
const KEY_DIGITS: usize = 12;

/// The beginning of a key, which is enough to name a torrent.
pub fn short(key: &str) -> &str {
    key.get(..KEY_DIGITS).unwrap_or(key)
}

/// Entries of the catalogue, one on each line.
pub fn entries(entries: &[Entry]) -> String {
    let mut text = String::new();
    for entry in entries {
        let Entry { key, size, n_parts, seeds, peers, .. } = entry;
        let (key, size, parts) = (short(key), thousands(*size), plural((*n_parts).into(), "part"));
        let (seeds, peers) = (plural(*seeds as u64, "seed"), plural(*peers as u64, "peer"));
        let name = line(entry.label());
        let _ = writeln!(text, "{key}  {size:>15}  {parts:>11}  {seeds:<8}  {peers:<8}  {name}");
    }
    text
}

/// The state of one torrent, as [`status`] shows it.
pub struct Standing {
    /// The torrent's swarm.
    pub swarm: Arc<Swarm>,
    /// What people call it.
    pub label: String,
    /// How far it is.
    pub progress: Progress,
    /// Its current speeds.
    pub rates: Rates,
    /// For a torrent that we offered: its other peers, according to the tracker.
    pub room: Option<Vec<PeerInfo>>,
}

impl Standing {
    /// Collects the state of a torrent.
    pub fn new(swarm: Arc<Swarm>, room: &Room) -> Self {
        let hash = swarm.torrent.info_hash();
        let mut others = room.is_offered(hash).then(|| room.peers(Some(swarm.torrent.key())).ok()).flatten();
        others.iter_mut().for_each(|others| others.sort_by_key(|other| other.address));
        let (label, progress) = (room.label(&swarm), swarm.progress());
        Standing { label, progress, rates: room.rates(hash), room: others, swarm }
    }

    fn percent(&self) -> u64 {
        percent(self.progress.have, self.progress.pieces)
    }

    fn state(&self) -> String {
        let Progress { total, bytes, peers, .. } = self.progress;
        match &self.progress.state {
            State::Paused(why) => format!("paused: {why}"),
            State::Absent(why) => format!("waiting: {why}"),
            State::Running if self.progress.is_complete() && !self.swarm.is_complete() => "saving".to_owned(),
            State::Running if self.progress.is_complete() => match &self.room {
                None => "sharing".to_owned(),
                Some(room) if room.is_empty() => "offered: nobody fetches it yet".to_owned(),
                Some(room) => {
                    let done = room.iter().filter(|other| other.have == other.n_parts).count();
                    let of = plural(room.len() as u64, "peer");
                    match room.iter().filter(|other| other.blocked.is_some()).count() {
                        0 => format!("offered: {done} of {of} have it all"),
                        blocked => format!("offered: {done} of {of} have it all, {blocked} blocked"),
                    }
                }
            },
            State::Running if self.progress.checking > 0 => {
                format!("checking {}", plural(self.progress.checking as u64, "part"))
            }
            State::Running => {
                format!("fetching, {}", show_left(total.saturating_sub(bytes), self.rates.down, peers))
            }
        }
    }

    fn json(&self) -> Value {
        let Progress { have, pieces, bytes, total, downloaded, uploaded, peers, .. } = &self.progress;
        json!({
            "name": self.swarm.torrent.name(), "key": self.swarm.torrent.key(),
            "path": self.swarm.storage.root(),
            "have": have, "n_parts": pieces, "bytes": bytes, "size": total, "downloaded": downloaded,
            "uploaded": uploaded, "down": self.rates.down, "up": self.rates.up, "peers": peers,
            "state": self.state(),
            "complete": self.swarm.is_complete(),
            "room": self.room.as_ref().map(|room| room.iter().map(peer_json).collect::<Vec<_>>()),
        })
    }
}

fn percent(have: u32, pieces: u32) -> u64 {
    if pieces == 0 { 100 } else { u64::from(have) * 100 / u64::from(pieces) }
}

/// All torrents that are here, and what each worker did.
pub fn status(standings: &[Standing], work: &[Work]) -> String {
    let mut text = String::new();
    for standing in standings {
        let Progress { have, pieces, total, peers, .. } = standing.progress;
        let _ = writeln!(
            text,
            "{}  {:>3}%  {have}/{pieces} parts of {}  down {}  up {}  {}  {}  ({})",
            short(&standing.swarm.torrent.key()),
            standing.percent(),
            show_bytes(total),
            show_rate(standing.rates.down),
            show_rate(standing.rates.up),
            plural(peers as u64, "peer"),
            line(&standing.label),
            standing.state(),
        );
        for other in standing.room.iter().flatten() {
            let PeerInfo { address, client, have, n_parts, blocked, .. } = other;
            let blocked = blocked.as_ref().map(|why| format!("  blocked: {}", line(why))).unwrap_or_default();
            let _ = writeln!(
                text,
                "    {:>3}%  {have}/{n_parts} parts  {address}  {}{blocked}",
                percent(*have, *n_parts),
                line(client)
            );
        }
    }
    if work.iter().any(|work| work.taken > 0) {
        for (number, Work { taken, stolen, finished }) in work.iter().enumerate() {
            let _ =
                writeln!(text, "fetch-{number}: took {taken} parts ({stolen} stolen), finished {finished}");
        }
    }
    text
}

/// The trackers, one on each line, if there are several; the state of a single one is reported elsewhere.
pub fn trackers(trackers: &[(String, catalogue::Standing)]) -> String {
    let line = |(addr, standing): &(String, catalogue::Standing)| match standing {
        catalogue::Standing::Up => format!("tracker {addr}: connected\n"),
        catalogue::Standing::Connecting => format!("tracker {addr}: connecting\n"),
        catalogue::Standing::Down(why) => format!("tracker {addr}: trying again ({why})\n"),
    };
    if trackers.len() > 1 { trackers.iter().map(line).collect() } else { String::new() }
}

/// The trackers, as JSON.
pub fn trackers_json(trackers: &[(String, catalogue::Standing)]) -> Value {
    let tracker = |(addr, standing): &(String, catalogue::Standing)| {
        let why = if let catalogue::Standing::Down(why) = standing { Some(why) } else { None };
        json!({ "address": addr, "connected": *standing == catalogue::Standing::Up, "why": why })
    };
    trackers.iter().map(tracker).collect()
}

/// Adds the bans to an answer.
pub fn with_banned(mut answer: Value, banned: &[Ban]) -> Value {
    answer["banned"] = bans_json(banned);
    answer
}

/// The bans, one on each line.
pub fn bans(bans: &[Ban]) -> String {
    let mut text = String::new();
    for ban in bans {
        let how_long = match ban.left() {
            None => "for good".to_owned(),
            Some(seconds) => format!("for {}", plural(seconds.div_ceil(60), "more minute")),
        };
        let _ = writeln!(text, "{:<40}  {}, {how_long}", ban.who.to_string(), ban.cause);
    }
    if text.is_empty() { "nobody is banned\n".to_owned() } else { text }
}

fn bans_json(bans: &[Ban]) -> Value {
    let bans = bans.iter().map(|ban| {
        json!({ "who": ban.who.to_string(), "cause": ban.cause, "since": ban.since, "until": ban.until })
    });
    bans.collect()
}

/// All torrents that are here, and what each worker did, as JSON.
pub fn status_json(standings: &[Standing], work: &[Work]) -> Value {
    let torrents: Value = standings.iter().map(Standing::json).collect();
    let workers = work.iter().map(
        |Work { taken, stolen, finished }| json!({ "taken": taken, "stolen": stolen, "finished": finished }),
    );
    json!({ "torrents": torrents, "workers": workers.collect::<Vec<_>>() })
}

/// The peers that the tracker knows.
pub fn peers(peers: &[PeerInfo]) -> String {
    let mut text = String::new();
    for peer in peers {
        let _ = writeln!(text, "{:<22}  {}", peer.address.to_string(), line(&peer.client));
    }
    text
}

/// A peer that the tracker knows, as JSON.
pub fn peer_json(peer: &PeerInfo) -> Value {
    json!({
        "address": peer.address, "peer_id": peer.peer_id, "client": peer.client, "have": peer.have,
        "n_parts": peer.n_parts, "blocked": peer.blocked,
    })
}

/// The connections of one torrent.
pub fn connections(swarm: &Swarm) -> String {
    let mut text = String::new();
    for member in swarm.members() {
        let _ = writeln!(
            text,
            "{:<22}  {}  {}: got {}, gave {}{}",
            member.known_as().to_string(),
            line(&member.client()),
            line(swarm.torrent.name()),
            show_bytes(member.received()),
            show_bytes(member.sent()),
            if member.is_admitted() { ", in an upload slot" } else { "" },
        );
    }
    text
}

/// The connections of one torrent, as JSON.
pub fn connections_json(swarm: &Swarm) -> Vec<Value> {
    let members = swarm.members();
    let members = members.iter().map(|member| {
        json!({
            "address": member.known_as(), "peer_id": member.identity.peer_id(), "client": member.client(),
            "key": swarm.torrent.key(), "received": member.received(),
            "sent": member.sent(), "admitted": member.is_admitted(),
        })
    });
    members.collect()
}

/// The peers that sent us most, with the bytes exchanged with each.
pub fn preferred(accounts: &[(String, Account)]) -> String {
    let mut text = String::new();
    for (name, account) in accounts {
        let (received, sent) = (show_bytes(account.received), show_bytes(account.sent));
        let _ = writeln!(text, "{name:<22}  sent us {received}, got {sent} from us");
    }
    text
}

/// The peers that sent us most, as JSON.
pub fn preferred_json(accounts: &[(String, Account)]) -> Value {
    let accounts = accounts.iter();
    accounts
        .map(|(name, account)| json!({ "peer": name, "received": account.received, "sent": account.sent }))
        .collect()
}
