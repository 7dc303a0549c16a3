//! UDP packets at the tracker, both ends: what is read is written back as it was, but for what is not read.

use shoal::protocol::announce::Announce;
use shoal::protocol::announce_udp::{Family, MAX_REPLY, Options, Reply, Request, UdpAnnounce};

pub fn check(data: &[u8]) {
    request(data);
    for family in [Family::V4, Family::V6] {
        reply(data, family);
    }
    options(data);
}

fn request(data: &[u8]) {
    let Some((transaction, request)) = Request::decode(data) else { return };
    let mut again = Vec::new();
    request.encode(transaction, &mut again);
    assert_eq!(Request::decode(&again), Some((transaction, request)));
    assert!(data.len() >= again.len(), "a request has at least what is read of it");
    assert_eq!(again[..16], data[..16]);
    match request {
        Request::Connect => {}
        Request::Announce { announce, options, .. } => {
            // Neither an event of another number nor the client's own address is read.
            assert_eq!((&again[16..80], &again[96..]), (&data[16..80], &data[96..]));
            assert!(options.url_data().map(<[u8]>::len).sum::<usize>() <= options.0.len());
            assert_eq!(UdpAnnounce::new(&Announce::from(announce)), announce);
        }
        Request::Scrape { .. } => assert_eq!(again, data[..again.len()]),
    }
}

fn reply(data: &[u8], family: Family) {
    let Some((transaction, reply)) = Reply::decode(data, family) else { return };
    let mut again = Vec::new();
    reply.encode(transaction, family, &mut again);
    assert!(again.len() <= MAX_REPLY);
    let Some((same, twice)) = Reply::decode(&again, family) else { panic!("our own packet is none") };
    assert_eq!(same, transaction);
    match (reply, twice) {
        (Reply::Announced(mut reply), Reply::Announced(twice)) => {
            // IPv4 in IPv6 is IPv4, which does not travel in packets of the other family; and a
            // packet has an end.
            reply.peers.retain(|peer| Family::of(peer.address.ip()) == family);
            reply.peers.truncate(twice.peers.len().max(60));
            assert_eq!(reply, twice);
        }
        (Reply::Scraped(counts), Reply::Scraped(twice)) => assert_eq!(counts[..twice.len()], twice),
        // What was not UTF-8 takes more room, so the end may be cut.
        (Reply::Refused(reason), Reply::Refused(twice)) => assert!(reason.starts_with(&twice)),
        (reply, twice) => assert_eq!(reply, twice),
    }
}

/// Any text survives as a path.
fn options(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    let mut out = Vec::new();
    Options::put_url_data(path, &mut out);
    assert_eq!(Options(&out).url_data().collect::<Vec<_>>().concat(), data);
}
