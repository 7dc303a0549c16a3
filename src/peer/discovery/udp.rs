//! Announces to a UDP tracker (BEP 15; the path of its URL as in BEP 41). Runs on the announcer's thread; no
//! lock. Each announce opens a socket: announces are minutes apart, so a connection id would be too old for
//! the next one anyway.
//!
//! A packet may be lost, so a request without an answer is sent again, each time after twice the wait. Every
//! wait has an end, and regularly checks whether the announcer is to stop.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::net;
use crate::protocol::announce::{Announce, AnnounceEvent, AnnounceReply};
use crate::protocol::announce_udp::{Family, Options, Reply, Request, UdpAnnounce};

use super::{Failure, http, resolve};

/// How long a connection id may be used (BEP 15).
const ID_AGE: Duration = Duration::from_secs(60);

/// How often a wait checks whether the announcer is to stop.
const GLANCE: Duration = Duration::from_millis(100);

/// Maximum length of a packet that is read, in bytes: more than a thousand peers.
const MAX_PACKET: usize = 8 << 10;

/// Maximum length of the path and query that are sent, in bytes, so that an announce fits into one packet.
const MAX_PATH: usize = 1024;

/// How long to wait for the first answer; each further wait is twice as long. BEP 15 would wait for 15 s, and
/// go on for an hour, but then the torrent's next tracker should have been asked long before.
const FIRST_WAIT: Duration = Duration::from_millis(1500);

/// Maximum number of addresses of a tracker that are tried in one announce.
const MOST_ADDRESSES: usize = 8;

/// Whether this is the URL of a UDP tracker.
pub(super) fn is_udp(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("udp"))
}

/// The addresses of the tracker at `url`.
///
/// # Errors
/// Why none is found in time, as a text for the user.
pub(super) fn addresses(url: &str, patience: Duration) -> Result<Vec<SocketAddr>, String> {
    let mut found = resolve::host(host_and_path(url).0, resolve::PATIENCE.min(patience))?;
    found.iter_mut().for_each(|address| *address = net::canonical(*address));
    found.truncate(MOST_ADDRESSES);
    Ok(found)
}

/// Announces to the tracker at these addresses: to the next one if one does not answer, each with its share
/// of the time. The one that answers becomes the first of them.
pub(super) fn announce(
    addresses: &mut [SocketAddr],
    url: &str,
    announce: &Announce,
    patience: Duration,
    is_stopping: &dyn Fn() -> bool,
) -> Result<AnnounceReply, Failure> {
    let until = Instant::now() + patience;
    let path = host_and_path(url).1;
    if path.len() > MAX_PATH {
        return Err(Failure::Silent(format!("its path is longer than {MAX_PATH} bytes")));
    }
    let mut options = Vec::new();
    Options::put_url_data(path, &mut options);
    let mut failure = Failure::NoWay("its name has no address".to_owned());
    for nth in 0..addresses.len() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - nth).unwrap_or(1);
        let exchange = open(addresses[nth], is_stopping);
        let request = (announce, Options(&options));
        match exchange.and_then(|exchange| exchange.announce(request, Instant::now() + share)) {
            Err(Failure::NoWay(why)) => failure = Failure::NoWay(why),
            Err(Failure::Silent(why)) if !is_stopping() => failure = Failure::Silent(why),
            answered => {
                addresses.swap(0, nth);
                return answered;
            }
        }
    }
    Err(failure)
}

/// `HOST:PORT`, and the path and query with their leading slash. A fragment is not sent.
fn host_and_path(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split('#').next().unwrap_or_default();
    rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()))
}

/// A socket to this address. It is connected, so that only packets of this address come in.
fn open(address: SocketAddr, is_stopping: &dyn Fn() -> bool) -> Result<Exchange<'_>, Failure> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let opened = UdpSocket::bind(any).and_then(|socket| socket.connect(address).map(|()| socket));
    let socket = opened.map_err(|error| Failure::NoWay(error.to_string()))?;
    Ok(Exchange { socket, family: Family::of(address.ip()), is_stopping })
}

/// The exchange of packets with one tracker.
struct Exchange<'a> {
    socket: UdpSocket,
    family: Family,
    is_stopping: &'a dyn Fn() -> bool,
}

impl Exchange<'_> {
    /// Announces again and again, until there is an answer or the time is over.
    fn announce(
        &self,
        (announce, options): (&Announce, Options),
        until: Instant,
    ) -> Result<AnnounceReply, Failure> {
        let mut announce = UdpAnnounce::new(announce);
        if announce.event == AnnounceEvent::Paused {
            // BEP 15 has no number for it, and some trackers refuse other numbers.
            announce.event = AnnounceEvent::None;
        }
        let mut wait = FIRST_WAIT;
        let mut known: Option<(u64, Instant)> = None;
        while !(self.is_stopping)() && Instant::now() < until {
            let deadline = until.min(Instant::now() + wait);
            wait *= 2;
            let fresh = known.filter(|(_, since)| since.elapsed() < ID_AGE);
            let connection = match fresh {
                Some((connection, _)) => connection,
                None => match self.ask(Request::Connect, deadline)? {
                    Some(Reply::Connected(connection)) => connection,
                    _ => continue,
                },
            };
            known = fresh.or(Some((connection, Instant::now())));
            let request = Request::Announce { connection, announce, options };
            if let Some(Reply::Announced(reply)) = self.ask(request, deadline)? {
                return Ok(reply);
            }
        }
        let why = if (self.is_stopping)() { "the announcer stops" } else { "it does not answer" };
        Err(Failure::Silent(why.into()))
    }

    /// Sends a request, and waits for the answer until `deadline`; `None` if there is none.
    fn ask(&self, request: Request, deadline: Instant) -> Result<Option<Reply>, Failure> {
        let transaction = fastrand::u32(..);
        let mut packet = Vec::new();
        request.encode(transaction, &mut packet);
        self.socket.send(&packet).map_err(failed)?;
        let mut buffer = [0; MAX_PACKET];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || (self.is_stopping)() {
                return Ok(None);
            }
            let Some(len) = self.receive(&mut buffer, left.min(GLANCE))? else { continue };
            match buffer.get(..len).and_then(|packet| Reply::decode(packet, self.family)) {
                Some((answered, reply)) if answered == transaction => return not_refused(reply).map(Some),
                _ => {} // a late answer, or a forged one
            }
        }
    }

    /// The length of the next packet, if one arrives in time.
    fn receive(&self, buffer: &mut [u8], within: Duration) -> Result<Option<usize>, Failure> {
        let received: io::Result<usize> =
            self.socket.set_read_timeout(Some(within)).and_then(|()| self.socket.recv(buffer));
        match received {
            Ok(len) => Ok(Some(len)),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(None),
                _ => Err(failed(error)),
            },
        }
    }
}

fn failed(error: io::Error) -> Failure {
    let why = error.to_string();
    if http::is_unreachable(&error) { Failure::NoWay(why) } else { Failure::Silent(why) }
}

fn not_refused(reply: Reply) -> Result<Reply, Failure> {
    let Reply::Refused(reason) = reply else { return Ok(reply) };
    Err(Failure::Refused { why: format!("the tracker refused: {reason}"), retry_in: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::catalogue::PeerId;
    use crate::torrent::InfoHash;
    use std::cell::Cell;

    /// More than enough for an answer that comes.
    const LONG: Duration = Duration::from_secs(60);

    fn announce(
        url: &str,
        patience: Duration,
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<AnnounceReply, Failure> {
        let mut addresses = addresses(url, patience).map_err(Failure::NoWay)?;
        super::announce(&mut addresses, url, &ours(), patience, is_stopping)
    }

    fn ours() -> Announce {
        Announce {
            uploaded: 1,
            downloaded: 2,
            left: 3,
            event: AnnounceEvent::Started,
            want: Some(50),
            key: Some("00000007".into()),
            ..Announce::new(InfoHash([1; 20]), PeerId([2; 20]), 6881)
        }
    }

    /// A tracker that answers each packet as `answer` says, until it has announced or refused. Returns what
    /// it was asked.
    fn tracker(
        mut answer: impl FnMut(Request) -> Option<Reply> + Send + 'static,
    ) -> (String, std::thread::JoinHandle<Vec<Vec<u8>>>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let url = format!("udp://{}/announce?k=v", socket.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let mut asked = Vec::new();
            loop {
                let mut packet = [0; 2048];
                let (len, from) = socket.recv_from(&mut packet).unwrap();
                let (transaction, request) = Request::decode(&packet[..len]).unwrap();
                asked.push(packet[..len].to_vec());
                let Some(reply) = answer(request) else { continue };
                // First it sends a forged answer, and something that is not a valid packet.
                let (mut guess, mut answer) = (Vec::new(), Vec::new());
                Reply::Refused("gotcha".into()).encode(transaction ^ 1, Family::V4, &mut guess);
                reply.encode(transaction, Family::V4, &mut answer);
                for packet in [&guess[..], b"?", &answer] {
                    socket.send_to(packet, from).unwrap();
                }
                if !matches!(reply, Reply::Connected(_)) {
                    return asked;
                }
            }
        });
        (url, thread)
    }

    fn announced() -> AnnounceReply {
        let packet = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 120, 0, 0, 0, 9, 0, 0, 0, 7, 10, 0, 0, 1, 1, 0];
        match Reply::decode(&packet, Family::V4) {
            Some((0, Reply::Announced(reply))) => reply,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lost_packets_are_sent_again_and_the_connection_id_is_kept() {
        let answer = announced();
        let (sent, mut connects, mut announces) = (answer.clone(), 0, 0);
        let (url, thread) = tracker(move |request| match request {
            Request::Connect => {
                connects += 1;
                (connects > 1).then_some(Reply::Connected(77))
            }
            _ => {
                announces += 1;
                (announces > 1).then(|| Reply::Announced(sent.clone()))
            }
        });
        assert_eq!(announce(&url, LONG, &|| false), Ok(answer));
        let asked = thread.join().unwrap();
        let requests: Vec<Request> = asked.iter().map(|packet| Request::decode(packet).unwrap().1).collect();
        let first = requests.iter().position(|request| *request != Request::Connect).unwrap();
        assert!(first >= 2, "the first packet was lost");
        assert_eq!(requests.len() - first, 2, "the id was not asked for again: {requests:?}");
        for request in &requests[first..] {
            let Request::Announce { connection: 77, announce, options } = *request else {
                panic!("{request:?}")
            };
            assert_eq!(Announce::from(announce), ours());
            assert_eq!(options.url_data().collect::<Vec<_>>(), [b"/announce?k=v"]);
        }
    }

    #[test]
    fn a_refusal_is_told() {
        let (url, thread) = tracker(|request| match request {
            Request::Connect => Some(Reply::Connected(1)),
            _ => Some(Reply::Refused("go away".into())),
        });
        let refused = announce(&url, LONG, &|| false).unwrap_err();
        assert_eq!(refused, Failure::Refused { why: "the tracker refused: go away".into(), retry_in: None });
        thread.join().unwrap();
    }

    #[test]
    fn who_never_answers_is_given_up_and_stopping_does_not_wait_for_it() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let url = format!("udp://{}", silent.local_addr().unwrap());
        let brief = Duration::from_millis(100);
        assert_eq!(announce(&url, brief, &|| false), Err(Failure::Silent("it does not answer".into())));
        let glances = Cell::new(0);
        let stops_soon = || glances.replace(glances.get() + 1) > 3;
        let begun = Instant::now();
        let stopped = announce(&url, LONG, &stops_soon);
        assert_eq!(stopped, Err(Failure::Silent("the announcer stops".into())));
        assert!(begun.elapsed() < LONG / 4, "{:?}", begun.elapsed());
    }

    /// Bug: of a tracker with several addresses only the first was ever asked.
    #[test]
    fn the_next_address_is_asked_if_one_does_not_answer() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let answer = announced();
        let sent = answer.clone();
        let (url, thread) = tracker(move |request| match request {
            Request::Connect => Some(Reply::Connected(1)),
            _ => Some(Reply::Announced(sent.clone())),
        });
        let there: SocketAddr = host_and_path(&url).0.parse().unwrap();
        let mut addresses = [silent.local_addr().unwrap(), closed, there];
        let patience = Duration::from_secs(12); // a third of it is spent on the silent one
        assert_eq!(super::announce(&mut addresses, &url, &ours(), patience, &|| false), Ok(answer));
        assert_eq!(addresses[0], there, "it is asked first the next time");
        thread.join().unwrap();
    }

    #[test]
    fn what_cannot_be_asked_says_why() {
        for url in ["udp://", "udp://nowhere", "udp://127.0.0.1:99999/", "udp://127.0.0.1/announce"] {
            assert!(announce(url, LONG, &|| false).is_err(), "{url}");
        }
        let long = format!("udp://127.0.0.1:1/{}", "x".repeat(2000));
        assert!(announce(&long, LONG, &|| false).unwrap_err().why().contains("longer than"));
        assert_eq!(host_and_path("udp://t:1/a?b#c/d"), ("t:1", "/a?b"));
        assert_eq!(host_and_path("udp://t:1#c"), ("t:1", ""));
        assert!(is_udp("UDP://t:1") && !is_udp("http://udp://") && !is_udp("udp"));
    }
}
