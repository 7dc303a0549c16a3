//! HTTP at the tracker: the head of a request, the query of an announce, and the bencoded reply that
//! the peer reads.

use std::collections::HashSet;

use shoal::http::request;
use shoal::protocol::announce::{
    Announce, AnnounceReply, MAX_NAMES_READ, MAX_PEERS_READ, PeersAs, escape, pairs, scrape_hashes, unescape,
};

pub fn check(data: &[u8]) {
    request(data);
    reply(data);
    assert_eq!(unescape(&escape(data)), data);
    if let Ok(text) = std::str::from_utf8(data) {
        query(text);
    }
}

fn request(data: &[u8]) {
    let Ok(Some((request, length))) = request::parse(data) else { return };
    assert!(length <= data.len());
    assert_eq!(
        request::parse(&data[..length]),
        Ok(Some((request.clone(), length))),
        "what follows it counts not"
    );
    assert!(!matches!(request::parse(&data[..length - 1]), Ok(Some((_, shorter))) if shorter >= length));
    assert!(request.path.starts_with('/') && !request.path.contains('?'));
    query(&request.query);
}

fn query(query: &str) {
    assert!(pairs(query).all(|(name, value)| name.len() + value.len() <= query.len()));
    assert!(scrape_hashes(query).len() <= query.len() / 10);
    let Ok(announce) = Announce::parse(query) else { return };
    assert_ne!(announce.port, 0);
    assert_eq!(Announce::parse(&announce.query()), Ok(announce));
}

fn reply(data: &[u8]) {
    let Ok(first) = AnnounceReply::parse(data) else { return };
    assert!(first.peers.len() <= MAX_PEERS_READ);
    assert!(first.peers.iter().all(|peer| peer.address.port() != 0));
    assert!(first.named_peers.len() <= MAX_NAMES_READ);
    assert!(first.named_peers.iter().all(|(name, port)| !name.is_empty() && *port != 0));
    let addresses =
        |reply: &AnnounceReply| reply.peers.iter().map(|peer| peer.address).collect::<HashSet<_>>();
    for compact in [true, false] {
        let bytes = first.bytes(PeersAs { compact, no_peer_id: false });
        let mut again = AnnounceReply::parse(&bytes).unwrap();
        assert_eq!(addresses(&again), addresses(&first));
        if !compact {
            assert_eq!(again.peers, first.peers);
        }
        // Packed peers come in the order of their families, and a warning is cut where it is too long.
        again.peers.clone_from(&first.peers);
        again.warning.clone_from(&first.warning);
        again.named_peers.clone_from(&first.named_peers);
        assert_eq!(again, first);
    }
}
