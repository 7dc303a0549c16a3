//! Which peers are refused: those that sent wrong data, those that broke the protocol again and again, and
//! those that the user named. Kept across restarts. Any thread; one leaf lock, held for one look-up or
//! change, never while the disk works.
//!
//! **What is banned.** A ban names an address or a peer id. For a misbehaving peer both are banned, except a
//! loopback address, which all peers of one machine share. There a liar may come back with a new peer id. It
//! is then found again at once, since a piece that arrived broken is fetched from one peer alone.
//!
//! **How long.** Wrong data is never an accident: banned forever. Breaking the protocol may be a poor
//! implementation: banned for ten minutes, after `OFFENCES` by one peer id, or `OFFENCES_OF_ADDRESS` from one
//! address, which many peers behind one router may share.
//!
//! **On disk.** `bans.json` in the state folder, replaced atomically by the `choke` thread, which is woken
//! for that, and once more at the stop. It holds at most `MOST` bans.

use super::identity::PeerIdentity;
use crate::atomic;
use crate::protocol::handshake::PeerId;
use data_encoding::HEXLOWER_PERMISSIVE;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(test)]
mod tests;

/// Maximum number of bans. To make room for a new one, the oldest ban with the least serious
/// cause is removed.
const MOST: usize = 10_000;
/// Maximum number of peer ids and addresses whose offences are counted. Those without an offence for
/// longest are forgotten.
const MOST_OFFENDERS: usize = 1000;
/// Number of offences by one peer id within [`MEMORY`] that lead to a ban ...
const OFFENCES: u32 = 3;
/// ... and of offences from one address.
const OFFENCES_OF_ADDRESS: u32 = 10;
/// How long an offence counts, and how long the ban for it lasts, in seconds.
const MEMORY: u64 = 600;
/// Maximum length of the file, in bytes. A longer file was not written by us.
const MOST_BYTES: u64 = 8 << 20;

/// What a ban names.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Who {
    /// Every peer at this address.
    Addr(IpAddr),
    /// The peer with this peer id, at any address.
    Id(PeerId),
}

impl Who {
    fn addr(ip: IpAddr) -> Self {
        Who::Addr(ip.to_canonical()) // a dual-stack socket shows IPv4 addresses as IPv6
    }
}

/// An address, or the 40 hexadecimal digits of a peer id.
impl FromStr for Who {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(ip) = text.parse() {
            return Ok(Who::addr(ip));
        }
        let id = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().and_then(|id| id.try_into().ok());
        id.map(|id| Who::Id(PeerId(id))).ok_or(())
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Addr(ip) => ip.fmt(f),
            Who::Id(id) => id.fmt(f),
        }
    }
}

/// Why a peer is banned, from the least to the most serious cause.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It broke the protocol again and again.
    BrokeRules,
    /// It sent wrong data.
    Lied,
    /// The user banned it.
    ByHand,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::BrokeRules => "broke the rules again and again",
            Cause::Lied => "sent wrong data",
            Cause::ByHand => "by hand",
        })
    }
}

/// One ban.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Ban {
    /// What is banned.
    pub who: Who,
    /// Why it is banned.
    pub cause: Cause,
    /// When the ban began, seconds since 1970.
    pub since: u64,
    /// When the ban ends, seconds since 1970; `None`: never.
    pub until: Option<u64>,
}

impl Ban {
    fn holds(&self, now: u64) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// How many more seconds the ban lasts; `None`: forever.
    pub fn left(&self) -> Option<u64> {
        self.until.map(|until| until.saturating_sub(seconds()))
    }
}

/// A ban as it is saved in the file.
#[derive(Serialize, Deserialize)]
struct Kept {
    who: String,
    cause: Cause,
    since: u64,
    until: Option<u64>,
}

/// All bans.
pub struct Bans {
    path: Option<PathBuf>,
    list: Mutex<List>,
    /// Whether something changed since the last save.
    changed: AtomicBool,
    /// Counts the bans, so that a reader notices when there is a new one.
    changes: AtomicU64,
}

impl Bans {
    /// Reads the bans at `path`; none if there is no file or it is broken. Without a path nothing is saved.
    pub fn open(path: Option<&Path>) -> Self {
        let bans = Bans {
            path: path.map(Path::to_owned),
            list: Mutex::default(),
            changed: AtomicBool::new(false),
            changes: AtomicU64::new(0),
        };
        if let Some(path) = path {
            bans.learn(path);
        }
        bans
    }

    /// Adds the bans in the file at `path`, which may belong to a running engine.
    pub fn learn(&self, path: &Path) {
        let kept = read(path).unwrap_or_else(|why| {
            log::warn!("{} is broken ({why}): starting without bans", path.display());
            Vec::new()
        });
        let (now, mut list) = (seconds(), self.list.lock());
        for Kept { who, cause, since, until } in kept {
            if let Ok(who) = who.parse() {
                list.add(Ban { who, cause, since, until }, now);
            }
        }
    }

    /// Bans a peer that sent wrong data.
    pub fn liar(&self, identity: &PeerIdentity) {
        let since = seconds();
        for who in both(identity) {
            self.add(Ban { who, cause: Cause::Lied, since, until: None });
        }
    }

    /// Bans what the user named.
    pub fn by_hand(&self, who: Who) {
        self.add(Ban { who, cause: Cause::ByHand, since: seconds(), until: None });
    }

    /// Records that a peer broke the protocol. True if it is banned for that now.
    pub fn offended(&self, identity: &PeerIdentity) -> bool {
        let now = seconds();
        let too_often: Vec<Who> = {
            let mut list = self.list.lock();
            both(identity).filter(|who| list.offended(*who, now)).collect()
        };
        for who in &too_often {
            let until = Some(now + MEMORY);
            self.add(Ban { who: *who, cause: Cause::BrokeRules, since: now, until });
        }
        !too_often.is_empty()
    }

    fn add(&self, ban: Ban) {
        self.list.lock().add(ban, ban.since);
        self.changed.store(true, Ordering::Release);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Removes a ban. False if there is none.
    pub fn lift(&self, who: Who) -> bool {
        let lifted = self.list.lock().bans.remove(&who).is_some();
        self.changed.fetch_or(lifted, Ordering::AcqRel);
        lifted
    }

    /// Whether a peer is banned, by its address or its peer id.
    pub fn has(&self, identity: &PeerIdentity) -> bool {
        self.has_addr(identity.addr) || self.list.lock().has(Who::Id(identity.peer_id), seconds())
    }

    /// Whether an address is banned.
    pub fn has_addr(&self, ip: IpAddr) -> bool {
        self.list.lock().has(Who::addr(ip), seconds())
    }

    /// A number that changes whenever something is banned.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// All bans in force, the oldest first.
    pub fn all(&self) -> Vec<Ban> {
        let now = seconds();
        let mut bans: Vec<Ban> =
            self.list.lock().bans.values().filter(|ban| ban.holds(now)).copied().collect();
        bans.sort_by_key(|ban| (ban.since, ban.who));
        bans
    }

    /// Writes the bans to their file, atomically, if they changed. Only one thread at a time may call this:
    /// `choke` while the engine runs, and after that the thread that stops the engine.
    pub fn save(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if !self.changed.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let kept: Vec<Kept> = self.all().into_iter().map(Kept::from).collect();
        let json = serde_json::to_vec_pretty(&kept)?;
        atomic::write(path, &json).inspect_err(|_| self.changed.store(true, Ordering::Release))
    }
}

impl From<Ban> for Kept {
    fn from(ban: Ban) -> Self {
        Kept { who: ban.who.to_string(), cause: ban.cause, since: ban.since, until: ban.until }
    }
}

/// What is banned for a misbehaving peer: its peer id, and its address unless it is a loopback address.
fn both(identity: &PeerIdentity) -> impl Iterator<Item = Who> {
    let addr = identity.addr.to_canonical();
    [Who::Id(identity.peer_id)].into_iter().chain((!addr.is_loopback()).then_some(Who::Addr(addr)))
}

fn read(path: &Path) -> io::Result<Vec<Kept>> {
    match std::fs::metadata(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Ok(about) if about.len() > MOST_BYTES => return Err(io::ErrorKind::FileTooLarge.into()),
        _ => {}
    }
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The bans and the offences, with the time as a parameter. Pure.
#[derive(Default)]
struct List {
    bans: HashMap<Who, Ban>,
    offenders: HashMap<Who, Offender>,
}

/// A peer id or address that broke the protocol and is not banned yet.
struct Offender {
    offences: u32,
    /// Time of the last offence, seconds since 1970.
    at: u64,
}

impl List {
    fn has(&self, who: Who, now: u64) -> bool {
        self.bans.get(&who).is_some_and(|ban| ban.holds(now))
    }

    /// Adds a ban, unless a ban for a more serious cause is in force.
    fn add(&mut self, ban: Ban, now: u64) {
        match self.bans.get(&ban.who) {
            Some(known) if known.holds(now) && known.cause > ban.cause => return,
            Some(_) => {}
            None if self.bans.len() >= MOST => self.make_room(now),
            None => {}
        }
        self.bans.insert(ban.who, ban);
    }

    /// Removes the bans that are over; if there are none, the oldest ban with the least serious cause. So a
    /// flood of new peer ids never removes a ban by the user.
    fn make_room(&mut self, now: u64) {
        self.bans.retain(|_, ban| ban.holds(now));
        if self.bans.len() >= MOST {
            let least = self.bans.values().min_by_key(|ban| (ban.cause, ban.since)).map(|ban| ban.who);
            least.and_then(|who| self.bans.remove(&who));
        }
    }

    /// Counts an offence. True if it leads to a ban; then counting starts again.
    fn offended(&mut self, who: Who, now: u64) -> bool {
        if self.offenders.len() >= MOST_OFFENDERS && !self.offenders.contains_key(&who) {
            let oldest = self.offenders.iter().min_by_key(|(_, offender)| offender.at).map(|(who, _)| *who);
            oldest.and_then(|who| self.offenders.remove(&who));
        }
        let offender = self.offenders.entry(who).or_insert(Offender { offences: 0, at: now });
        if now.saturating_sub(offender.at) > MEMORY {
            offender.offences = 0;
        }
        offender.offences += 1;
        offender.at = now;
        let most = if matches!(who, Who::Id(_)) { OFFENCES } else { OFFENCES_OF_ADDRESS };
        let too_often = offender.offences >= most;
        if too_often {
            self.offenders.remove(&who);
        }
        too_often
    }
}
