//! Who offers something, as a tracker tells it to everybody. The name follows from what only that peer can
//! say of itself, so a newer version can only come from who offered the older one. Pure.

use super::Hello;
use crate::hash::{Hash256, sha256};
use crate::peer_id::PeerId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// The name of who offers something; 40 hexadecimal digits in JSON.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Giver(PeerId);

impl Giver {
    /// Of a peer with a secret.
    pub fn by_secret(secret: &str) -> Self {
        Giver::of(sha256(format!("shoal secret {secret}").as_bytes()))
    }

    /// Of a peer without one: another peer at the same address can take its name.
    fn by_address(peer_id: PeerId, address: IpAddr) -> Self {
        Giver::of(sha256(format!("shoal peer {peer_id} {address}").as_bytes()))
    }

    fn of(hash: Hash256) -> Self {
        let mut name = [0; 20];
        name.copy_from_slice(&hash[..20]);
        Giver(PeerId(name))
    }
}

impl fmt::Debug for Giver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Hello {
    /// Under which name the offers of this peer go; it connects from `address`.
    pub fn giver(&self, address: IpAddr) -> Giver {
        match self.secret.as_deref() {
            None | Some("") => Giver::by_address(self.peer_id, address),
            Some(secret) => Giver::by_secret(secret),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_name_of_another() {
        let hello = |id: u8, secret: Option<&str>| Hello {
            peer_id: PeerId([id; 20]),
            port: 1,
            addresses: Vec::new(),
            client: String::new(),
            mirror: false,
            secret: secret.map(str::to_owned),
        };
        let (here, there): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let giver = hello(1, Some("mine")).giver(here);
        assert_eq!(giver, hello(2, Some("mine")).giver(there), "it moves with its secret");
        let told = giver.0;
        for other in [
            hello(1, None),
            hello(1, Some("")),
            hello(1, Some("other")),
            hello(1, Some(&told.to_string())),
            Hello { peer_id: told, ..hello(1, None) },
        ] {
            assert_ne!(giver, other.giver(here));
        }
        assert_ne!(hello(1, None).giver(here), hello(1, None).giver(there));
    }
}
