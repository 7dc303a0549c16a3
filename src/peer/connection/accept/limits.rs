//! The connections that exist, and which of them is closed when there is no room for a new one. Owned by the
//! `accept` thread. It looks at the swarms' members, one lock at a time, and only while there is no room.
//!
//! A peer that opens many connections and does nothing with them must not keep others out. So when there is
//! no room, one useless connection is evicted: in this order, and the oldest first.
//!
//! 1. One that has not shaken hands, after [`HALF_OPEN`].
//! 2. One where neither side wants anything and no block has passed, after [`IDLE`].
//! 3. One where a side wants something and no block has passed, after [`IN_VAIN`].
//!
//! A connection that has carried content is never evicted.

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

/// Maximum number of connections from or to one address. Loopback is exempt: all peers of one machine share
/// it.
const PER_ADDRESS: usize = 32;
/// How long a connection may go without a handshake. An honest peer needs one round trip.
const HALF_OPEN: Duration = Duration::from_secs(2);
/// How long neither side may want anything. An honest peer says within one round trip whether it does.
const IDLE: Duration = Duration::from_secs(2);
/// How long no content may pass. As long as a peer keeps the optimistic upload slot: by then other peers have
/// had it.
const IN_VAIN: Duration = Duration::from_secs(30);
/// Maximum number of evicted connections that have not ended yet, beside those that stay. None of them ever
/// blocks, so they end soon.
const LEAVING: usize = 64;
/// How long not to look again, after no useless connection was found.
const REST: Duration = Duration::from_millis(20);

/// The thread of one connection.
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

/// All connections, and how many there may be.
pub struct ConnectionLimits {
    most: usize,
    here: HashMap<ConnId, ConnectionThread>,
    /// Evicted, but not ended yet.
    leaving: HashMap<ConnId, ConnectionThread>,
    look_at: Instant,
}

impl ConnectionLimits {
    /// At most `most` connections.
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

    /// Whether there is room for a connection from or to this address. Evicts another connection if need be.
    pub fn has_room_for(&mut self, ip: IpAddr, swarms: &Swarms) -> bool {
        let same = || self.here.values().filter(|connection| connection.ip == ip).count();
        let one_of_too_many = !ip.is_loopback() && same() >= PER_ADDRESS;
        !one_of_too_many && self.has_room(swarms)
    }

    /// Whether there is room for one more connection. Evicts another one if need be.
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
        // In vain if it ended by itself.
        let _ = connection.mailbox.post(Mail::Close("it is of no use, and others wait for its place"));
        self.leaving.insert(id, connection);
        true
    }
}

/// What a connection was good for after its handshake.
struct Standing {
    age: Duration,
    /// Whether content has passed.
    worked: bool,
    /// Whether one side wants something of the other.
    hopes: bool,
}

impl Standing {
    fn of(member: &Handle, now: Instant) -> Self {
        let numbers = &member.numbers;
        let hopes = numbers.wants_us.load(Ordering::Relaxed) || numbers.serves_us.load(Ordering::Relaxed);
        Standing { age: member.age(now), worked: member.received() + member.sent() > 0, hopes }
    }
}

/// How useless a connection is: the greatest is evicted first. `None` if it stays. `age` is that of its
/// socket.
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
