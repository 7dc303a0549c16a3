//! Tests of the codec of BEP 15: its layout byte by byte, round trips, and random bytes.

use proptest::prelude::*;

use super::*;

fn announce() -> UdpAnnounce {
    UdpAnnounce {
        info_hash: InfoHash([0xaa; 20]),
        peer_id: PeerId([0xbb; 20]),
        downloaded: 1,
        left: 2,
        uploaded: 3,
        event: AnnounceEvent::Started,
        key: 0x0102_0304,
        want: None,
        port: 6881,
    }
}

fn encoded(request: Request, transaction: u32) -> Vec<u8> {
    let mut packet = Vec::new();
    request.encode(transaction, &mut packet);
    packet
}

fn reply(peers: &[&str]) -> AnnounceReply {
    AnnounceReply {
        interval: 120,
        complete: 7,
        incomplete: 9,
        peers: peers
            .iter()
            .map(|text| AnnouncedPeer { peer_id: None, address: text.parse().unwrap() })
            .collect(),
        ..AnnounceReply::default()
    }
}

fn packed(reply: &Reply, family: Family) -> Vec<u8> {
    let mut packet = Vec::new();
    reply.encode(5, family, &mut packet);
    packet
}

/// The layout is checked byte by byte against BEP 15, because a round trip does not find a mistake
/// made on both sides.
#[test]
fn requests_are_laid_out_as_bep_15_says() {
    let connect = encoded(Request::Connect, 0x0506_0708);
    assert_eq!(connect, [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 5, 6, 7, 8]);
    let connection = 0x1122_3344_5566_7788;
    let packet =
        encoded(Request::Announce { connection, announce: announce(), options: Options::default() }, 9);
    assert_eq!(packet.len(), 98);
    assert_eq!(packet[..16], [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0, 0, 0, 1, 0, 0, 0, 9]);
    assert_eq!((&packet[16..36], &packet[36..56]), (&[0xaa; 20][..], &[0xbb; 20][..]));
    assert_eq!((packet[63], packet[71], packet[79]), (1, 2, 3), "downloaded, left, uploaded");
    assert_eq!(packet[80..84], [0, 0, 0, 2], "started");
    assert_eq!(packet[84..88], [0; 4], "no address of its own");
    assert_eq!(packet[88..92], [1, 2, 3, 4]);
    assert_eq!(packet[92..96], [0xff; 4], "as many peers as the tracker likes");
    assert_eq!(packet[96..], 6881u16.to_be_bytes());
    let scrape = encoded(Request::Scrape { connection, hashes: &[[1; 20], [2; 20]] }, 9);
    assert_eq!((scrape.len(), scrape[11], scrape[16], scrape[36]), (56, 2, 1, 2));
}

#[test]
fn replies_are_laid_out_as_bep_15_says() {
    let both = Reply::Announced(reply(&["10.0.0.1:256", "[2001:db8::1]:2"]));
    let v4 = [0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 120, 0, 0, 0, 9, 0, 0, 0, 7, 10, 0, 0, 1, 1, 0];
    assert_eq!(packed(&both, Family::V4), v4, "leechers before seeds, and peers of its own family");
    let v6 = packed(&both, Family::V6);
    assert_eq!((v6.len(), &v6[20..24], &v6[36..]), (38, &[0x20, 0x01, 0x0d, 0xb8][..], &[0, 2][..]));
    let counts = Counts { seeds: 1, downloaded: 2, peers: 3 };
    let scraped = packed(&Reply::Scraped(vec![counts]), Family::V4);
    assert_eq!(scraped, [0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
    assert_eq!(packed(&Reply::Refused("no".into()), Family::V4), [0, 0, 0, 3, 0, 0, 0, 5, b'n', b'o']);
    assert_eq!(packed(&Reply::Connected(258), Family::V6), [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 1, 2]);
}

#[test]
fn what_is_no_request_gets_no_answer() {
    let connect = encoded(Request::Connect, 1);
    assert!(Request::decode(&connect[..15]).is_none());
    let mut other = connect.clone();
    other[7] ^= 1;
    assert!(Request::decode(&other).is_none(), "without the magic number it is somebody else's packet");
    let whole = Request::Announce { connection: 1, announce: announce(), options: Options::default() };
    let whole = encoded(whole, 1);
    assert!((0..98).all(|end| Request::decode(&whole[..end]).is_none()));
    let mut portless = whole;
    portless[96..].fill(0);
    assert!(Request::decode(&portless).is_none());
    assert!(Request::decode(&encoded(Request::Scrape { connection: 1, hashes: &[] }, 1)).is_none());
}

#[test]
fn a_long_answer_is_cut_to_one_packet() {
    let many: Vec<String> = (0..300u32).map(|n| format!("{}:1", Ipv4Addr::from(n + 1))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let packet = packed(&Reply::Announced(reply(&many)), Family::V4);
    assert_eq!(packet.len(), 20 + 202 * 6);
    assert!(packet.len() <= MAX_REPLY);
    let many: Vec<String> = (0..300u32).map(|n| format!("[2001:db8::{n}]:1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(packed(&Reply::Announced(reply(&many)), Family::V6).len(), 20 + 67 * 18);
    let long = Reply::Refused("é".repeat(300));
    let Some((5, Reply::Refused(read))) = Reply::decode(&packed(&long, Family::V4), Family::V4) else {
        panic!("a refusal is a refusal");
    };
    assert_eq!(read, "é".repeat(150));
    let hashes = vec![[7; 20]; 100];
    let scrape = encoded(Request::Scrape { connection: 1, hashes: &hashes }, 1);
    let Some((1, Request::Scrape { hashes, .. })) = Request::decode(&scrape) else { panic!("a scrape") };
    assert_eq!(hashes.len(), MAX_SCRAPED);
}

#[test]
fn a_url_travels_in_options() {
    let path = format!("/announce?{}", "x".repeat(600));
    let mut options = vec![option::NOP, 77, 2, 9, 9];
    Options::put_url_data(&path, &mut options);
    options.extend([option::END, option::URL_DATA, 1, b'!']);
    assert_eq!(Options(&options).url_data().collect::<Vec<_>>().concat(), path.as_bytes());
    let cut = [option::URL_DATA, 2, b'/', b'a', option::URL_DATA, 9, b'b'];
    assert_eq!(Options(&cut).url_data().collect::<Vec<_>>(), [b"/a"]);
}

#[test]
fn a_client_is_the_same_over_http_and_over_udp() {
    let over_http = Announce { key: Some("0000beef".into()), ..Announce::from(announce()) };
    assert_eq!(Announce::from(UdpAnnounce::new(&over_http)), over_http);
    assert_eq!(Announce::from(UdpAnnounce { key: 0, ..announce() }).key, None, "0 is no secret");
}

/// Every packet in the document is one that is sent or accepted, and every kind of packet is in the document.
#[test]
fn the_page_s_packets_are_true() {
    let page = include_str!("../../../docs/PROTOCOL.md");
    let blocks = page.split("```udp\n").skip(1).filter_map(|block| block.split("```").next());
    let mut seen = std::collections::BTreeSet::new();
    for line in blocks.flat_map(str::lines) {
        let (way, digits) = line.split_once(' ').unwrap();
        let packet = data_encoding::HEXLOWER.decode(digits.replace(' ', "").as_bytes()).unwrap();
        let mut again = Vec::new();
        if way == ">" {
            let (transaction, request) = Request::decode(&packet).unwrap();
            request.encode(transaction, &mut again);
        } else {
            let (transaction, reply) = Reply::decode(&packet, Family::V4).unwrap();
            reply.encode(transaction, Family::V4, &mut again);
        }
        assert_eq!(again, packet, "{line}");
        seen.insert((way, packet[if way == ">" { 11 } else { 3 }]));
    }
    assert_eq!(seen, [("<", 0), ("<", 1), ("<", 2), ("<", 3), (">", 0), (">", 1), (">", 2)].into());
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        numbers: (u64, u64, u64, u64, u32, u32),
        ids: ([u8; 20], [u8; 20]),
        want in prop::option::of(0..=i32::MAX as u32),
        port in 1u16..,
        event in 0u8..5,
        hashes in prop::collection::vec(any::<[u8; 20]>(), 1..=MAX_SCRAPED),
        options in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let (connection, downloaded, left, uploaded, key, transaction) = numbers;
        let event = match event {
            0 => AnnounceEvent::None,
            1 => AnnounceEvent::Started,
            2 => AnnounceEvent::Completed,
            3 => AnnounceEvent::Paused,
            _ => AnnounceEvent::Stopped,
        };
        let (info_hash, peer_id) = (InfoHash(ids.0), PeerId(ids.1));
        let announce = UdpAnnounce { info_hash, peer_id, downloaded, left, uploaded, event, key, want, port };
        for request in [
            Request::Connect,
            Request::Announce { connection, announce, options: Options(&options) },
            Request::Scrape { connection, hashes: &hashes },
        ] {
            let packet = encoded(request, transaction);
            prop_assert_eq!(Request::decode(&packet), Some((transaction, request)));
        }
    }

    #[test]
    fn any_bytes_give_a_packet_or_nothing(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        action in 0u8..5,
    ) {
        let mut bytes = bytes;
        for at in [11, 3] {
            if bytes.len() > at {
                // So that a body is reached.
                bytes[at - 3..=at].copy_from_slice(&[0, 0, 0, action]);
            }
            if let Some((transaction, request)) = Request::decode(&bytes) {
                let packet = encoded(request, transaction);
                prop_assert_eq!(Request::decode(&packet), Some((transaction, request)));
            }
            for family in [Family::V4, Family::V6] {
                match Reply::decode(&bytes, family) {
                    Some((_, Reply::Refused(why))) => prop_assert!(!why.chars().any(char::is_control)),
                    Some((transaction, reply)) => {
                        let mut packet = Vec::new();
                        reply.encode(transaction, family, &mut packet);
                        prop_assert_eq!(Reply::decode(&packet, family), Some((transaction, reply)));
                    }
                    None => {}
                }
            }
        }
    }
}
