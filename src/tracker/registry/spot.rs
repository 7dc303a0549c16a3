//! Who a member is, and where. Who is told of fifty members of a swarm gets them from a row of these, which
//! takes a few cache lines; the members themselves would take hundreds. Pure.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::tracker::address::{PeerAddresses, is_within_reach};

use super::SessionId;
use super::member::{Caller, Contact, Member, Who};

/// Who a member is, and where.
#[derive(Debug)]
pub enum Spot {
    Session(SessionId, Arc<Contact>),
    /// The address that it announces from, and the port on which it accepts connections.
    Announcer(IpAddr, u16),
}

impl Spot {
    pub fn of(who: Who, member: &Member) -> Spot {
        match (who, &member.caller) {
            (Who::Session(id), Caller::Session(contact)) => Spot::Session(id, Arc::clone(contact)),
            (Who::Announcer(ip, port), _) => Spot::Announcer(ip, port),
            (Who::Session(_), Caller::Announcer { .. }) => unreachable!("a session has a contact"),
        }
    }

    pub fn who(&self) -> Who {
        match self {
            Spot::Session(id, _) => Who::Session(*id),
            Spot::Announcer(ip, port) => Who::Announcer(*ip, *port),
        }
    }

    pub fn is(&self, who: &Who) -> bool {
        match (self, who) {
            (Spot::Announcer(ip, port), Who::Announcer(other, at)) => port == at && ip == other,
            (Spot::Session(id, _), Who::Session(other)) => id == other,
            _ => false,
        }
    }

    /// The address that it connects from.
    pub fn observed(&self) -> IpAddr {
        match self {
            Spot::Session(_, contact) => contact.addresses.observed(),
            Spot::Announcer(ip, ..) => *ip,
        }
    }

    /// Whether it is the announcer at this address.
    pub fn is_at(&self, at: SocketAddr) -> bool {
        matches!(self, Spot::Announcer(ip, port) if *port == at.port() && *ip == at.ip())
    }

    /// Whether `asker` reaches it.
    pub fn is_reached_by(&self, asker: &PeerAddresses) -> bool {
        match self {
            Spot::Session(_, contact) => contact.address_for(asker).is_some(),
            Spot::Announcer(ip, ..) => is_within_reach(*ip, asker),
        }
    }

    /// Whether `asker` reaches it on one of its own subnets.
    pub fn is_near(&self, asker: &PeerAddresses) -> bool {
        match self {
            Spot::Session(_, contact) => {
                contact.address_for(asker).is_some_and(|address| asker.is_near(address.ip()))
            }
            Spot::Announcer(ip, ..) => is_within_reach(*ip, asker) && asker.is_near(*ip),
        }
    }

    /// Whether the address at which `asker` reaches it is of IPv4.
    pub fn is_v4_for(&self, asker: &PeerAddresses) -> bool {
        match self {
            Spot::Session(_, contact) => contact.address_for(asker).is_some_and(|address| address.is_ipv4()),
            Spot::Announcer(ip, ..) => ip.is_ipv4(),
        }
    }

    /// The address at which `asker` reaches it; `None` if it cannot.
    pub fn address_for(&self, asker: &PeerAddresses) -> Option<SocketAddr> {
        match self {
            Spot::Session(_, contact) => contact.address_for(asker),
            Spot::Announcer(ip, port) => is_within_reach(*ip, asker).then(|| SocketAddr::new(*ip, *port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_few_bytes() {
        assert_eq!(size_of::<Spot>(), 24);
    }
}
