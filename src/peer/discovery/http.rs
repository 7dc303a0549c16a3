//! One announce over HTTP (BEP 3, 7, 23). The reply is bounded in size and time. Runs on the announcer's
//! thread; no lock. `tidy.rs` is for replies whose head is not quite HTTP.

mod tidy;

use super::Failure;
use crate::protocol::announce::{Announce, AnnounceReply, ReplyError};
use crate::protocol::announce_udp::Family;
use std::io::{self, ErrorKind, Read};
use std::time::Duration;
use ureq::Agent;
use ureq::config::IpFamily;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, DefaultConnector};

/// Maximum length of a reply, in bytes: more than a hundred thousand peers.
const MAX_REPLY: u64 = 1 << 20;

/// How long resolving the tracker's name may take, and connecting likewise: `stop` cannot interrupt these. A
/// lost first packet is sent again after one second.
const CONNECT: Duration = Duration::from_millis(1500);

/// Maximum number of redirects that are followed for one announce, each to its URL as it stands.
const REDIRECTS: u32 = 5;

/// An HTTP client for trackers.
pub(super) fn agent() -> Agent {
    let config = Agent::config_builder()
        .user_agent(concat!("shoal/", env!("CARGO_PKG_VERSION")))
        .max_redirects(REDIRECTS)
        .http_status_as_error(false)
        .max_response_header_size(16 << 10)
        // Announces are minutes apart, and an idle connection would only take a place at the tracker.
        .max_idle_connections(0)
        // With a proxy, the tracker would see its address and give that to other peers.
        .proxy(None)
        .build();
    Agent::with_parts(config, DefaultConnector::new().chain(tidy::Tidying), DefaultResolver::default())
}

/// Announces to the tracker at `url` in one address family, in at most this time.
pub(super) fn announce(
    agent: &Agent,
    url: &str,
    family: Family,
    announce: &Announce,
    patience: Duration,
) -> Result<AnnounceReply, Failure> {
    fetch(agent, &with_query(url, &announce.query()), family, patience)
}

/// The URL with a query behind what it has of one already. A fragment is for the one who reads the URL, and
/// is not sent.
fn with_query(url: &str, query: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let joint = match url.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some((_, begun)) if begun.ends_with('&') => "",
        Some(_) => "&",
    };
    format!("{url}{joint}{query}")
}

/// The host that a URL names, without brackets and without the port.
pub(super) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn fetch(agent: &Agent, url: &str, family: Family, patience: Duration) -> Result<AnnounceReply, Failure> {
    let request = agent.get(url).config();
    let request = request
        .timeout_global(Some(patience))
        .timeout_resolve(Some(CONNECT.min(patience)))
        .timeout_connect(Some(CONNECT.min(patience)))
        .ip_family(match family {
            Family::V4 => IpFamily::Ipv4Only,
            Family::V6 => IpFamily::Ipv6Only,
        })
        .build();
    let mut response = request.call().map_err(|error| match is_no_way(&error) {
        true => Failure::NoWay(error.to_string()),
        false => Failure::Silent(error.to_string()),
    })?;
    let status = response.status();
    let mut body = Vec::new();
    // The limit is on the decompressed body, so that a few compressed bytes cannot become very many.
    let read = response.body_mut().as_reader().take(MAX_REPLY + 1).read_to_end(&mut body);
    if body.len() as u64 > MAX_REPLY {
        return Err(Failure::Silent("the reply is longer than a megabyte".into()));
    }
    match (AnnounceReply::parse(&body), read) {
        // A reply that is all there counts, even if its head promised more.
        (Ok(reply), _) => Ok(reply),
        // Some trackers refuse with an error status; that body is read. An error page of another server
        // is not useful.
        (Err(ReplyError::Refused { reason, retry_in }), _) => {
            Err(Failure::Refused { why: format!("the tracker refused: {reason}"), retry_in })
        }
        (Err(_), Err(error)) => Err(Failure::Silent(format!("reading the reply failed: {error}"))),
        (Err(_), Ok(_)) if !status.is_success() => {
            Err(no_reply(format!("the answer is HTTP status {status}")))
        }
        (Err(why), Ok(_)) => Err(no_reply(why.to_string())),
    }
}

/// It answers, but not as a tracker does.
fn no_reply(why: String) -> Failure {
    Failure::Refused { why, retry_in: None }
}

/// Whether a request failed since there is no way in this address family.
fn is_no_way(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound => true,
        ureq::Error::Io(error) => is_unreachable(error),
        _ => false,
    }
}

/// Whether the system knows that it cannot send anything there.
pub(super) fn is_unreachable(error: &io::Error) -> bool {
    let kinds = [ErrorKind::NetworkUnreachable, ErrorKind::HostUnreachable, ErrorKind::AddrNotAvailable];
    kinds.contains(&error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::announce::AnnouncedPeer;
    use crate::protocol::catalogue::PeerId;
    use crate::torrent::InfoHash;
    use std::io::Write;
    use std::net::TcpListener;

    /// Announces to a server that answers these bytes and hangs up.
    fn announced(reply: Vec<u8>) -> Result<AnnounceReply, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/announce", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            socket.write_all(&reply).unwrap();
        });
        let ours = Announce::new(InfoHash([1; 20]), PeerId([2; 20]), 6881);
        let outcome = announce(&agent(), &url, Family::V4, &ours, Duration::from_secs(60));
        server.join().unwrap();
        outcome
    }

    /// Bug: a space before a header's colon, `x-gzip`, or a length that promised too much cost all the peers
    /// of a reply.
    #[test]
    fn a_reply_is_read_although_its_head_is_untidy() {
        const BODY: &[u8] = b"d8:intervali180e5:peers6:\x0a\0\0\x01\0\x50e";
        const CHUNK: &[u8] = b"20\r\nd8:intervali180e5:peers6:\x0a\0\0\x01\0\x50e";
        const GZIPPED: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\x4b\xb1\xb0\xca\xcc\x2b\x49\x2d\x2a\x4b\xcc\
            \xc9\x34\xb4\x30\x48\x35\xb5\x2a\x48\x4d\x2d\x2a\x36\xb3\xe2\x62\x60\x60\x64\x08\x48\x05\0\xad\
            \xf9\x7f\x90\x20\0\0\0";
        let table: [(&str, &[u8]); 9] = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 32\r\n", BODY),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n", BODY),
            ("HTTP/1.1 200 OK\r\nContent-Length : 32\r\nServer Name: a\r\n", BODY),
            ("HTTP/1.0 200 OK\n", BODY),
            ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n", GZIPPED),
            ("HTTP/1.1 200 OK\r\nContent-Encoding: x-gzip\r\n", GZIPPED),
            ("HTTP/1.1 200 OK\r\nContent-Encoding : X-Gzip\r\nContent-Length: 9000\r\n", GZIPPED),
            // A chunk of which no end comes.
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", CHUNK),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX : y\r\n", BODY),
        ];
        let peers = vec![AnnouncedPeer { peer_id: None, address: "10.0.0.1:80".parse().unwrap() }];
        for (head, body) in table {
            let reply = announced([head.as_bytes(), b"\r\n", body].concat());
            let reply = reply.unwrap_or_else(|failure| panic!("{head}: {}", failure.why()));
            assert_eq!((reply.interval, &reply.peers), (180, &peers), "{head}");
        }
    }

    #[test]
    fn what_is_no_reply_says_why() {
        let table = [
            (
                "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nwhat?",
                "the answer is HTTP status 404 Not Found",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nd5:peers", "reading the reply failed"),
            ("HTTP/1.1 200 OK\r\n\r\n<html>", "the tracker's reply is not valid bencoding"),
            ("HTTP/1.1 403 No\r\n\r\nd1:ai1e14:failure reason4:shooe", "the tracker refused: shoo"),
            ("SSH-2.0-OpenSSH_9.2\r\n", ""),
        ];
        for (reply, why) in table {
            let failure = announced(reply.into()).unwrap_err();
            assert!(failure.why().contains(why), "{reply}: {failure:?}");
        }
    }

    /// Bug: the query was put behind the fragment, so the tracker did not get it.
    #[test]
    fn the_query_stands_before_a_fragment_which_is_not_sent() {
        for (url, whole) in [
            ("http://t/announce", "http://t/announce?q=1"),
            ("http://t/announce#frag?ment", "http://t/announce?q=1"),
            ("http://t/announce?key=a%23b#frag", "http://t/announce?key=a%23b&q=1"),
            ("http://t/announce?", "http://t/announce?q=1"),
            ("http://t/announce?key=a&", "http://t/announce?key=a&q=1"),
            ("http://t#frag", "http://t?q=1"),
        ] {
            assert_eq!(with_query(url, "q=1"), whole);
        }
    }
}
