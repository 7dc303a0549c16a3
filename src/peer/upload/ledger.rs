//! How much each peer has sent us, kept across restarts: the second criterion for who is served first. Any
//! thread; one leaf lock, taken at the end of a connection and once a round, never per block.
//!
//! A shoal peer is recognized by its peer id, which it keeps. Any other peer is recognized by its address,
//! since other clients take a new peer id for every run or even every connection.

use crate::atomic;
use crate::disk::Disk;
use crate::peer::identity::PeerIdentity;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Maximum number of peers that are remembered; those seen longest ago are forgotten first.
const MOST: usize = 10_000;

/// The bytes exchanged with one peer.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Account {
    /// Bytes of content it sent us.
    pub received: u64,
    /// Bytes of content we sent it.
    pub sent: u64,
    /// When the account last changed, seconds since 1970.
    pub seen: u64,
}

/// The accounts of all peers.
pub struct Ledger {
    path: Option<PathBuf>,
    disk: Disk,
    accounts: Mutex<BTreeMap<String, Account>>,
    /// Whether something changed since the last save.
    changed: AtomicBool,
}

impl Ledger {
    /// Reads the ledger at `path`; it is empty if there is no file or it is broken. Without a path
    /// nothing is saved.
    pub fn open(path: Option<&Path>) -> Self {
        let accounts = path.and_then(|path| match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .inspect_err(|why| log::warn!("{} is broken ({why}): starting a new ledger", path.display()))
                .ok(),
            Err(_) => None,
        });
        Ledger {
            path: path.map(Path::to_owned),
            disk: Disk::default(),
            accounts: Mutex::new(accounts.unwrap_or_default()),
            changed: AtomicBool::new(false),
        }
    }

    /// Writes to this disk from now on, which a test may observe.
    pub fn on(self, disk: Disk) -> Self {
        Ledger { disk, ..self }
    }

    /// Adds the bytes exchanged since the last call.
    pub fn add(&self, identity: &PeerIdentity, received: u64, sent: u64) {
        if received == 0 && sent == 0 {
            return;
        }
        self.changed.store(true, Ordering::Release);
        let mut accounts = self.accounts.lock();
        let account = accounts.entry(name(identity)).or_default();
        account.received = account.received.saturating_add(received);
        account.sent = account.sent.saturating_add(sent);
        account.seen = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if accounts.len() > MOST {
            let oldest =
                accounts.iter().min_by_key(|(_, account)| account.seen).map(|(name, _)| name.clone());
            oldest.and_then(|name| accounts.remove(&name));
        }
    }

    /// Bytes of content that the peer has ever sent us.
    pub fn credit(&self, identity: &PeerIdentity) -> u64 {
        self.accounts.lock().get(&name(identity)).map_or(0, |account| account.received)
    }

    /// All accounts, those that sent us most first.
    pub fn accounts(&self) -> Vec<(String, Account)> {
        let mut all: Vec<_> =
            self.accounts.lock().iter().map(|(name, account)| (name.clone(), *account)).collect();
        all.sort_by_key(|(_, account)| std::cmp::Reverse(account.received));
        all
    }

    /// Writes the ledger to its file, atomically, if it changed. Only one thread at a time may call this:
    /// `choke` while the engine runs, and after that the thread that stops the engine.
    pub fn save(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if !self.changed.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let json = serde_json::to_vec_pretty(&*self.accounts.lock())?;
        atomic::write_on(&self.disk, path, &json).inspect_err(|_| self.changed.store(true, Ordering::Release))
    }
}

fn name(identity: &PeerIdentity) -> String {
    if identity.peer_id.is_shoal() {
        identity.peer_id.0.escape_ascii().to_string()
    } else {
        identity.addr.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::handshake::PeerId;

    fn identity(id: &[u8; 20], addr: &str) -> PeerIdentity {
        PeerIdentity { addr: addr.parse().unwrap(), peer_id: PeerId(*id) }
    }

    #[test]
    fn credit_outlives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.json");
        let shoal = identity(b"-SH0100-abcdefghijkl", "10.0.0.1");
        let other = identity(b"-LT2100-abcdefghijkl", "10.0.0.2");
        let ledger = Ledger::open(Some(&path));
        ledger.add(&shoal, 100, 1);
        ledger.add(&other, 200, 0);
        ledger.save().unwrap();
        let again = Ledger::open(Some(&path));
        assert_eq!(again.credit(&identity(b"-SH0100-abcdefghijkl", "10.9.9.9")), 100, "known by its id");
        assert_eq!(again.credit(&identity(b"-LT2100-zzzzzzzzzzzz", "10.0.0.2")), 200, "known by its address");
        assert_eq!(again.accounts()[0].1.received, 200);
    }

    #[test]
    fn it_is_written_only_if_something_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.json");
        let ledger = Ledger::open(Some(&path));
        ledger.save().unwrap();
        assert!(!path.exists());
        ledger.add(&identity(b"-SH0100-abcdefghijkl", "10.0.0.1"), 100, 1);
        ledger.save().unwrap();
        std::fs::remove_file(&path).unwrap();
        ledger.save().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_broken_ledger_is_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.json");
        std::fs::write(&path, b"{ not json").unwrap();
        assert!(Ledger::open(Some(&path)).accounts().is_empty());
    }
}
