//! Who came for what is seeded, and how much each of them got, for the user who ends a seed. Any thread; the
//! one lock is a leaf.

use super::notices::Reporter;
use super::progress::{plural, show_bytes};
use crate::peer::handle::Handle;
use crate::peer::swarm::{Observer, Swarm};
use crate::printable::line;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Maximum number of visitors that are told apart; others count as one.
const MOST: usize = 1000;
/// Maximum number of visitors that get a line.
const MOST_LINES: usize = 20;

/// Remembers who came. It passes on what else happens.
pub struct Visitors {
    reporter: Reporter,
    met: Mutex<BTreeMap<(IpAddr, String), u64>>,
    /// Bytes that went to those beyond `MOST`.
    more: Mutex<u64>,
}

impl Visitors {
    /// Nobody came yet.
    pub fn new(reporter: Reporter) -> Self {
        Visitors { reporter, met: Mutex::default(), more: Mutex::default() }
    }

    /// What went out, in lines: the sum, and what each visitor got, most first.
    pub fn summary(&self) -> Vec<String> {
        let mut met: Vec<_> = self.met.lock().clone().into_iter().collect();
        met.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let sum = met.iter().map(|(_, bytes)| bytes).sum::<u64>() + *self.more.lock();
        if met.is_empty() {
            return vec!["nobody fetched anything".to_owned()];
        }
        let mut lines = vec![format!("sent {} to {}", show_bytes(sum), plural(met.len() as u64, "peer"))];
        let told = met.iter().take(MOST_LINES);
        lines.extend(told.map(|((ip, client), bytes)| {
            format!("  {:<16}  {:>9}  {}", ip.to_string(), show_bytes(*bytes), line(client))
        }));
        if met.len() > MOST_LINES {
            lines.push(format!("  and {} more", met.len() - MOST_LINES));
        }
        lines
    }

    /// A visitor has gone, and got so many bytes.
    fn gone(&self, ip: IpAddr, client: &str, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut met = self.met.lock();
        let who = (ip, client.to_owned());
        if met.len() < MOST || met.contains_key(&who) {
            *met.entry(who).or_default() += bytes;
        } else {
            *self.more.lock() += bytes;
        }
    }
}

impl Observer for Visitors {
    fn completed(&self, swarm: &Swarm) {
        self.reporter.completed(swarm);
    }

    fn paused(&self, swarm: &Swarm, why: &str) {
        self.reporter.paused(swarm, why);
    }

    fn parted(&self, _swarm: &Swarm, peer: &Handle, _why: &str) {
        self.gone(peer.known_as().ip(), &peer.client(), peer.sent());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_and_how_much_went_is_told_most_first() {
        let visitors = Visitors::new(super::super::notices::channel().0);
        assert_eq!(visitors.summary(), ["nobody fetched anything"]);
        let ip = |last| IpAddr::from([10, 0, 0, last]);
        visitors.gone(ip(9), "idle", 0);
        visitors.gone(ip(1), "shoal 0.1", 1_000_000);
        visitors.gone(ip(2), "evil\x1b[2J", 3_000_000);
        visitors.gone(ip(1), "shoal 0.1", 500_000);
        assert_eq!(
            visitors.summary(),
            [
                "sent 4.5 MB to 2 peers",
                "  10.0.0.2             3.0 MB  evil\\u001b[2J",
                "  10.0.0.1             1.5 MB  shoal 0.1"
            ]
        );
        (0..2000u32).for_each(|nth| visitors.gone(ip(3), &nth.to_string(), 1));
        let told = visitors.summary();
        assert_eq!((told[0].as_str(), told.len()), ("sent 4.5 MB to 1000 peers", MOST_LINES + 2));
    }
}
