//! The pieces that a peer may request from us although it has no upload slot: the allowed-fast set of BEP 6.
//!
//! It follows from the peer's address and the torrent, so that all peers allow one newcomer the same few
//! pieces. It could not fetch a whole torrent without a slot, however many peers it asks.

use crate::hash;
use crate::torrent::InfoHash;
use std::net::IpAddr;

/// Number of pieces in a set: what BEP 6 suggests.
pub const SET_SIZE: usize = 10;

/// The set of at most `size` pieces for the peer at `addr`, in the order of BEP 6; `pieces` is the number of
/// pieces of the torrent.
///
/// Who has many addresses must not get many sets, so only the network counts: the first three bytes of an
/// IPv4 address. For IPv6, where BEP 6 says nothing, it is the first eight: a household has all addresses
/// below those.
pub fn set(addr: IpAddr, info_hash: InfoHash, pieces: u32, size: usize) -> Vec<u32> {
    if pieces as usize <= size {
        return (0..pieces).collect();
    }
    let mut network = match addr.to_canonical() {
        IpAddr::V4(addr) => addr.octets()[..3].to_vec(),
        IpAddr::V6(addr) => addr.octets()[..8].to_vec(),
    };
    network.resize(if addr.to_canonical().is_ipv4() { 4 } else { 16 }, 0);
    let mut set = Vec::with_capacity(size);
    let mut digest = hash::sha1(&[&network[..], &info_hash.0].concat());
    loop {
        for word in digest.as_chunks::<4>().0 {
            let piece = u32::from_be_bytes(*word) % pieces;
            if !set.contains(&piece) {
                set.push(piece);
            }
            if set.len() == size {
                return set;
            }
        }
        digest = hash::sha1(&digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_of(addr: &str, pieces: u32, size: usize) -> Vec<u32> {
        set(addr.parse().unwrap(), InfoHash([0xaa; 20]), pieces, size)
    }

    #[test]
    fn it_is_that_of_the_example_in_bep_6() {
        assert_eq!(set_of("80.4.4.200", 1313, 7), [1059, 431, 808, 1217, 287, 376, 1188]);
        assert_eq!(set_of("80.4.4.200", 1313, 9), [1059, 431, 808, 1217, 287, 376, 1188, 353, 508]);
    }

    #[test]
    fn a_network_has_one_set_and_a_small_torrent_is_allowed_whole() {
        assert_eq!(set_of("80.4.4.200", 1313, 10), set_of("80.4.4.7", 1313, 10));
        assert_eq!(set_of("80.4.4.200", 1313, 10), set_of("::ffff:80.4.4.7", 1313, 10));
        assert_ne!(set_of("80.4.4.200", 1313, 10), set_of("80.4.5.200", 1313, 10));
        assert_eq!(set_of("2001:db8::1", 1313, 10), set_of("2001:db8::2:3:4:5", 1313, 10));
        assert_ne!(set_of("2001:db8::1", 1313, 10), set_of("2001:db8:0:1::1", 1313, 10));
        assert_eq!(set_of("80.4.4.200", 3, 10), [0, 1, 2]);
        assert_eq!(set_of("80.4.4.200", 11, 10).len(), 10);
    }
}
