//! The connections there are, and which of them has to go when somebody new finds no room. Owned by the `accept` thread;
//! it looks at the swarms' members, one lock at a time, and only while it is full.
//!
//! Whoever fills a peer with connections and does nothing over them must not keep others out. So a full peer shows out
//! one that is of no use, in this order, those who have been there longest first: who has not shaken hands for
//! [`HALF_OPEN`]; who wants nothing, offers nothing and never sent or got a block, after [`IDLE`]; who does want or
//! offer something, and has never sent or got a block, after [`IN_VAIN`]. Over whose connection content has
//! passed is never shown out.

use crate::mailbox::Mailbox;
use crate::peer::handle::{Handle, Mail};
use crate::peer::identity::ConnId;
use crate::peer::swarm::table::Swarms;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections from or to one address. Loopback is exempt: all peers of one machine share it.
const PER_ADDRESS: usize = 32;
/// A handshake takes an honest peer one round trip.
const HALF_OPEN: Duration = Duration::from_secs(2);
/// An honest peer says within a round trip whether it wants something.
const IDLE: Duration = Duration::from_secs(2);
/// As long as somebody keeps the optimistic upload slot: then others have had their turn.
const IN_VAIN: Duration = Duration::from_secs(30);
/// So many may be on their way out beside those that stay. None of them ever blocks, so they are gone soon.
const LEAVING: usize = 64;
/// Nobody useless was found: so long nobody looks again.
const REST: Duration = Duration::from_millis(20);

/// One connection's thread.
pub struct ConnectionThread {
    /// To be joined.
    pub thread: JoinHandle<()>,
    /// Where it takes its mail.
    pub mailbox: Mailbox<Mail>,
    /// The address of its peer.
    pub ip: IpAddr,
    /// When it was started.
    pub since: Instant,
}

/// All of them.
pub struct ConnectionLimits {
    most: usize,
    here: HashMap<ConnId, ConnectionThread>,
    /// Shown out, and not gone yet.
    leaving: HashMap<ConnId, ConnectionThread>,
    look_at: Instant,
}

impl ConnectionLimits {
    /// Room for `most`.
    pub fn new(most: usize) -> Self {
        ConnectionLimits { most, here: HashMap::new(), leaving: HashMap::new(), look_at: Instant::now() }
    }

    /// Adds a connection that was started.
    pub fn insert(&mut self, id: ConnId, connection: ConnectionThread) {
        self.here.insert(id, connection);
    }

    /// Removes a connection that ended.
    pub fn remove(&mut self, id: ConnId) -> Option<ConnectionThread> {
        self.here.remove(&id).or_else(|| self.leaving.remove(&id))
    }

    /// Removes all connections.
    pub fn drain(&mut self) -> impl Iterator<Item = ConnectionThread> + '_ {
        self.here.drain().chain(self.leaving.drain()).map(|(_, connection)| connection)
    }

    /// Whether somebody from or at this address may come, after showing out somebody else if need be.
    pub fn has_room_for(&mut self, ip: IpAddr, swarms: &Swarms) -> bool {
        let same = || self.here.values().filter(|connection| connection.ip == ip).count();
        let one_of_too_many = !ip.is_loopback() && same() >= PER_ADDRESS;
        !one_of_too_many && self.has_room(swarms)
    }

    /// Whether anybody may.
    pub fn has_room(&mut self, swarms: &Swarms) -> bool {
        self.here.len() < self.most || self.make_room(swarms, Instant::now())
    }

    fn make_room(&mut self, swarms: &Swarms, now: Instant) -> bool {
        if self.leaving.len() >= LEAVING || now < self.look_at {
            return false;
        }
        let swarms = swarms.all();
        let members = swarms.iter().flat_map(|swarm| swarm.members());
        let members: HashMap<ConnId, Arc<Handle>> = members.map(|member| (member.id, member)).collect();
        let use_of = |(id, connection): (&ConnId, &ConnectionThread)| {
            let standing = members.get(id).map(|member| Standing::of(member, now));
            Some((uselessness(standing, now.saturating_duration_since(connection.since))?, *id))
        };
        let useless = self.here.iter().filter_map(use_of).max();
        let connection = useless.and_then(|(_, id)| Some((id, self.here.remove(&id)?)));
        let Some((id, connection)) = connection else {
            self.look_at = now + REST;
            return false;
        };
        let _ = connection.mailbox.post(Mail::Close("it is of no use, and others wait for its place")); // it ended
        self.leaving.insert(id, connection);
        true
    }
}

/// What has become of a connection after its handshake.
struct Standing {
    age: Duration,
    /// Content has passed.
    worked: bool,
    /// Somebody wants something of the other.
    hopes: bool,
}

impl Standing {
    fn of(member: &Handle, now: Instant) -> Self {
        let numbers = &member.numbers;
        let hopes = numbers.wants_us.load(Ordering::Relaxed) || numbers.serves_us.load(Ordering::Relaxed);
        Standing { age: member.age(now), worked: member.received() + member.sent() > 0, hopes }
    }
}

/// How little a connection is worth, the least first to go; `None` if it stays. `age` is that of its socket.
fn uselessness(standing: Option<Standing>, age: Duration) -> Option<(Reverse<u8>, Duration)> {
    match standing {
        None if age >= HALF_OPEN => Some((Reverse(0), age)),
        None => None,
        Some(Standing { worked: true, .. }) => None,
        Some(Standing { hopes: false, age, .. }) if age >= IDLE => Some((Reverse(1), age)),
        Some(Standing { hopes: true, age, .. }) if age >= IN_VAIN => Some((Reverse(2), age)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1000);

    #[test]
    fn the_useless_go_in_order_and_whoever_gave_or_got_something_stays() {
        let of = |age, worked, hopes| uselessness(Some(Standing { age, worked, hopes }), LONG);
        let half_open = uselessness(None, HALF_OPEN);
        let (idle, in_vain) = (of(IDLE, false, false), of(IN_VAIN, false, true));
        assert!(half_open > idle && idle > in_vain && in_vain > None);
        assert!(of(LONG, false, false) > idle, "who has been there longest first");
        assert_eq!(uselessness(None, HALF_OPEN / 2), None);
        assert_eq!(of(IDLE / 2, false, false), None);
        assert_eq!(of(IN_VAIN / 2, false, true), None);
        assert_eq!(of(LONG, true, false), None);
    }
}
