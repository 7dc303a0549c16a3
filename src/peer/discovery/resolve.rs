//! Finds the addresses of host names: of trackers, and of peers that a tracker gives by name. The system's
//! resolver has no time limit and cannot be interrupted, so it runs on a thread of its own, `resolve`. When
//! the patience is over it is no longer waited for, and ends by itself. No lock.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::threads;

/// How long resolving a tracker's name, or all names of a reply, may take. Whoever stops the announcer waits
/// for it.
pub(super) const PATIENCE: Duration = Duration::from_millis(1500);

/// The addresses of `HOST:PORT`.
///
/// # Errors
/// Why there are none, as a text for the user.
pub(super) fn host(host: &str, patience: Duration) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let (answer, answers) = mpsc::sync_channel(1);
    let name = host.to_owned();
    let look_up = move || {
        let found = name.to_socket_addrs().map(|found| found.collect::<Vec<_>>());
        let _ = answer.send(found.map_err(|error| error.to_string())); // fails if the wait is over
    };
    threads::spawn("resolve", look_up).map_err(|error| error.to_string())?;
    answers.recv_timeout(patience).unwrap_or_else(|_| Err("finding its address took too long".into()))
}

/// The addresses of peers that were given by host name, as far as they are found in [`PATIENCE`].
pub(super) fn peers(named: &[(String, u16)], is_stopping: &dyn Fn() -> bool) -> Vec<SocketAddr> {
    let until = Instant::now() + PATIENCE;
    let mut found = Vec::new();
    for (name, port) in named {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || is_stopping() {
            break;
        }
        match host(&format!("{name}:{port}"), left) {
            Ok(addresses) => found.extend(addresses),
            Err(why) => log::debug!("a peer called {name}: {why}"),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: a peer that a tracker gave by host name was skipped.
    #[test]
    fn peers_are_found_by_name() {
        let named = [(String::new(), 80), ("localhost".to_owned(), 80)];
        let found = peers(&named, &|| false);
        assert!(found.iter().any(|addr| addr.ip().is_loopback() && addr.port() == 80), "{found:?}");
        assert!(peers(&named, &|| true).is_empty());
    }
}
