//! Which address of a peer is given to which asker. Pure.
//!
//! - A loopback address is given only to askers on loopback, that is on the tracker's own machine.
//! - A peer on the tracker's machine may connect over loopback. Others reach it at the addresses that it sent
//!   in `hello`. For every other peer only the address that it connects from counts: it cannot direct traffic
//!   to somebody else.
//! - Near means: on the same subnet, IPv4 /24 or IPv6 /64.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Maximum number of addresses that a peer may send of itself.
const MAX_TOLD: usize = 16;

/// The addresses of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddresses {
    /// The address that it calls from.
    observed: IpAddr,
    /// Further addresses, if the peer is on the tracker's own machine; otherwise empty.
    told: Vec<IpAddr>,
}

impl PeerAddresses {
    /// Of a peer that connects from `observed` and says that `told` reach it as well.
    pub fn new(observed: IpAddr, told: &[IpAddr]) -> PeerAddresses {
        let observed = observed.to_canonical();
        let told = match observed.is_loopback() {
            true => told.iter().map(IpAddr::to_canonical).filter(usable_elsewhere).take(MAX_TOLD).collect(),
            false => Vec::new(),
        };
        PeerAddresses { observed, told }
    }

    /// The address that it calls from.
    pub fn observed(&self) -> IpAddr {
        self.observed
    }

    /// The address at which `asker` reaches this peer; `None` if it cannot.
    pub fn seen_from(&self, asker: &PeerAddresses) -> Option<IpAddr> {
        if is_within_reach(self.observed, asker) {
            return Some(self.observed);
        }
        let same_family = |ip: &&IpAddr| ip.is_ipv4() == asker.observed.is_ipv4();
        let near = self.told.iter().find(|ip| asker.is_near(**ip));
        near.or_else(|| self.told.iter().find(same_family)).or_else(|| self.told.first()).copied()
    }

    /// Whether `ip` is on a subnet of one of these addresses.
    pub fn is_near(&self, ip: IpAddr) -> bool {
        std::iter::once(&self.observed).chain(&self.told).any(|own| same_subnet(*own, ip))
    }

    /// The subnets of these addresses, each once.
    pub fn subnets(&self) -> impl Iterator<Item = Subnet> {
        let own = move |nth: usize| if nth == 0 { self.observed } else { self.told[nth - 1] };
        let is_first = move |nth: usize| (0..nth).all(|before| !same_subnet(own(before), own(nth)));
        (0..=self.told.len()).filter(move |nth| is_first(*nth)).map(move |nth| Subnet::of(own(nth)))
    }

    /// Whether it is on the tracker's machine but can be reached from elsewhere.
    pub fn has_told(&self) -> bool {
        !self.told.is_empty()
    }
}

/// Whether `asker` reaches a peer that connects from `ip` and sent no further addresses.
pub fn is_within_reach(ip: IpAddr, asker: &PeerAddresses) -> bool {
    !ip.is_loopback() || asker.observed.is_loopback()
}

/// A range of neighbouring addresses: IPv4 /24 or IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    pub first: IpAddr,
    pub last: IpAddr,
}

impl Subnet {
    pub fn of(ip: IpAddr) -> Subnet {
        match ip {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Subnet { first: [a, b, c, 0].into(), last: [a, b, c, 255].into() }
            }
            IpAddr::V6(ip) => {
                let first = ip.to_bits() >> 64 << 64;
                let last = first | u128::from(u64::MAX);
                Subnet { first: Ipv6Addr::from(first).into(), last: Ipv6Addr::from(last).into() }
            }
        }
    }

    pub fn has(self, ip: IpAddr) -> bool {
        same_subnet(self.first, ip)
    }

    /// A random address of it.
    pub fn any(self, rng: &mut fastrand::Rng) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => Ipv4Addr::from(first.to_bits() | u32::from(rng.u8(..))).into(),
            IpAddr::V6(first) => Ipv6Addr::from(first.to_bits() | u128::from(rng.u64(..))).into(),
        }
    }
}

/// The canonical form of a socket address: IPv4 in IPv6 becomes IPv4.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn usable_elsewhere(ip: &IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        // A link-local address is useless without the name of an interface.
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(link_local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

fn same_subnet(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..3] == b.octets()[..3],
        (IpAddr::V6(a), IpAddr::V6(b)) => a.segments()[..4] == b.segments()[..4],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn addresses(observed: &str, told: &[&str]) -> PeerAddresses {
        PeerAddresses::new(ip(observed), &told.iter().map(|t| ip(t)).collect::<Vec<_>>())
    }

    #[test]
    fn loopback_is_for_loopback_only() {
        let local = addresses("127.0.0.1", &[]);
        assert_eq!(local.seen_from(&addresses("127.0.0.1", &[])), Some(ip("127.0.0.1")));
        assert_eq!(local.seen_from(&addresses("::1", &[])), Some(ip("127.0.0.1")));
        assert_eq!(local.seen_from(&addresses("192.168.1.7", &[])), None);
    }

    #[test]
    fn a_local_peer_is_handed_out_at_the_asker_s_subnet_first() {
        let local =
            addresses("127.0.0.1", &["10.0.0.5", "192.168.1.5", "2001:db8::5", "127.0.0.1", "fe80::1"]);
        assert_eq!(local.seen_from(&addresses("192.168.1.7", &[])), Some(ip("192.168.1.5")));
        assert_eq!(local.seen_from(&addresses("203.0.113.9", &[])), Some(ip("10.0.0.5")));
        assert_eq!(local.seen_from(&addresses("2001:db8:1::9", &[])), Some(ip("2001:db8::5")));
        let only_v4 = addresses("127.0.0.1", &["10.0.0.5"]);
        assert_eq!(only_v4.seen_from(&addresses("2001:db8:1::9", &[])), Some(ip("10.0.0.5")));
    }

    #[test]
    fn a_remote_peer_cannot_claim_another_address() {
        let remote = addresses("192.168.1.7", &["203.0.113.1", "127.0.0.1"]);
        assert_eq!(remote.seen_from(&addresses("127.0.0.1", &[])), Some(ip("192.168.1.7")));
        assert_eq!(remote.seen_from(&addresses("203.0.113.9", &[])), Some(ip("192.168.1.7")));
    }

    #[test]
    fn subnets() {
        let asker = addresses("192.168.1.7", &[]);
        assert!(asker.is_near(ip("192.168.1.200")) && !asker.is_near(ip("192.168.2.7")));
        let asker = addresses("::ffff:192.168.1.7", &[]);
        assert!(asker.is_near(ip("192.168.1.200")));
        let asker = addresses("2001:db8:0:1::7", &[]);
        assert!(asker.is_near(ip("2001:db8:0:1:ffff::")) && !asker.is_near(ip("2001:db8:0:2::7")));
        assert!(addresses("127.0.0.1", &["10.0.0.5"]).is_near(ip("10.0.0.77")));
    }
}
