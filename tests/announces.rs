//! What trackers hear of a torrent, in which order and how often; and what the user hears of trackers that do not
//! answer. The announcer runs against stand-ins that note every request.

mod tracker_support;

use parking_lot::Mutex;
use shoal::Families;
use shoal::peer::discovery::{AnnounceConfig, AnnounceHost, AnnounceProgress, Announcer, Nudge};
use shoal::torrent::Torrent;
use shoal::tracker::{Config, Tracker};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use tracker_support::*;

/// A reply without peers.
const REPLY: &str = "d8:intervali1800e5:peers0:e";

/// An HTTP tracker that answers each target as a test says, and notes it.
struct StandIn {
    addr: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A request: from where, and the target with its query.
#[derive(Clone, PartialEq, Debug)]
struct Heard {
    from: IpAddr,
    target: String,
}

impl Heard {
    fn field(&self, name: &str) -> Option<&str> {
        let query = self.target.split_once('?')?.1;
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, v)| v)
    }
}

impl StandIn {
    /// `answer` gives further lines of the head, each with its end, and the body.
    fn start(at: &str, answer: impl Fn(&str) -> (String, String) + Send + 'static) -> StandIn {
        let listener = TcpListener::bind(at).unwrap();
        let addr = listener.local_addr().unwrap();
        let (heard, stopping) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (notes, stop) = (heard.clone(), stopping.clone());
        let thread = thread::spawn(move || {
            for socket in listener.incoming().map(Result::unwrap) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                serve(socket, &notes, &answer);
            }
        });
        StandIn { addr, heard, stopping, thread: Some(thread) }
    }

    /// One that answers each announce with the same body.
    fn saying(body: &'static str) -> StandIn {
        StandIn::start("127.0.0.1:0", move |_| (String::new(), body.to_owned()))
    }

    fn url(&self) -> String {
        format!("http://{}/announce", self.addr)
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().clone()
    }

    fn events(&self) -> Vec<String> {
        self.heard().iter().map(|heard| heard.field("event").unwrap_or("none").to_owned()).collect()
    }
}

fn serve(mut socket: TcpStream, heard: &Mutex<Vec<Heard>>, answer: &impl Fn(&str) -> (String, String)) {
    let from = socket.peer_addr().unwrap().ip().to_canonical();
    let mut lines = BufReader::new(&socket).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    lines.find(String::is_empty);
    let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let (head, body) = answer(&target);
    heard.lock().push(Heard { from, target });
    let status = if head.contains("Location") { "302 Found" } else { "200 OK" };
    let len = body.len();
    let _ =
        write!(socket, "HTTP/1.1 {status}\r\n{head}Connection: close\r\nContent-Length: {len}\r\n\r\n{body}");
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("localhost", self.addr.port()));
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A torrent as its announcer sees it.
#[derive(Default)]
struct Host {
    outcomes: Mutex<Vec<Result<(u32, u32), String>>>,
    failures: Mutex<Vec<String>>,
}

impl AnnounceHost for Host {
    fn progress(&self) -> AnnounceProgress {
        AnnounceProgress { uploaded: 0, downloaded: 0, left: 5 }
    }

    fn found(&self, _: &[SocketAddr]) {}

    fn announced(&self, outcome: Result<(u32, u32), &str>) {
        self.outcomes.lock().push(outcome.map_err(str::to_owned));
    }

    fn failed(&self, why: &str) {
        self.failures.lock().push(why.to_owned());
    }
}

/// Announces a torrent to these trackers, a tier each.
fn announce(urls: &[&str], families: Families) -> (Announcer, Arc<Host>) {
    let tiers: String = urls.iter().map(|url| format!("l{}:{url}e", url.len())).collect();
    let bytes = [format!("d13:announce-listl{tiers}e").as_bytes(), &torrent("x", 4).bytes()[1..]].concat();
    let torrent = Arc::new(Torrent::parse(&bytes).unwrap());
    let host = Arc::new(Host::default());
    let config = AnnounceConfig { torrent, peer_id: [1; 20], port: 7001, families, host: host.clone() };
    (Announcer::start(config).unwrap().unwrap(), host)
}

fn announced(host: &Host, times: usize) {
    until("it is announced", || host.outcomes.lock().len() >= times);
}

/// Bug: `tracker id` (BEP 3) was not read, so it was not sent back.
#[test]
fn a_tracker_gets_back_its_own_tracker_id() {
    let tracker = StandIn::start("127.0.0.1:0", |target| match target.contains("trackerid=") {
        false => (String::new(), "d8:intervali9e5:peers0:10:tracker id6:id & \x01e".to_owned()),
        true => (String::new(), REPLY.to_owned()), // one without an id leaves the one that was told
    });
    let (announcer, host) = announce(&[&tracker.url()], Families::Both);
    announced(&host, 1);
    announcer.nudge(Nudge::Completed);
    announced(&host, 2);
    announcer.stop();
    let heard = tracker.heard();
    assert_eq!(tracker.events(), ["started", "completed", "stopped"]);
    let ids: Vec<_> = heard.iter().map(|heard| heard.field("trackerid")).collect();
    assert_eq!(ids, [None, Some("id%20%26%20%01"), Some("id%20%26%20%01")]);
}

/// Bug: `retry in` (BEP 31) was not read, so a tracker that said "never" was asked at every turn.
#[test]
fn a_tracker_that_wants_to_be_left_alone_is_left_alone() {
    let tired = StandIn::saying("d14:failure reason9:not known8:retry in5:nevere");
    let other = StandIn::saying(REPLY);
    let (announcer, host) = announce(&[&tired.url(), &other.url()], Families::Both);
    announced(&host, 1);
    announcer.nudge(Nudge::Completed);
    announced(&host, 2);
    announcer.stop();
    assert_eq!(other.events(), ["started", "completed", "stopped"]);
    assert_eq!(tired.events(), ["started"]);
    let refused = format!("cannot announce to {}: the tracker refused: not known", tired.url());
    assert_eq!(*host.failures.lock(), [refused]);
}

#[test]
fn if_all_want_to_be_left_alone_none_is_asked_and_stopping_does_not_wait() {
    let tired = StandIn::saying("d14:failure reason4:busy8:retry ini1000000ee");
    let (announcer, host) = announce(&[&tired.url()], Families::Both);
    announced(&host, 1);
    announcer.nudge(Nudge::Completed);
    announcer.nudge(Nudge::Found);
    announcer.stop();
    assert_eq!(tired.events(), ["started"], "it does not count us, so it hears of no end either");
}

/// Bug: a UDP tracker that does not answer was named after 45 s, and of a list only the last dead one.
#[test]
fn each_dead_tracker_of_a_list_is_named_before_the_next_one_is_asked() {
    let silent = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let [one, other] =
        silent.each_ref().map(|socket| format!("udp://{}/announce", socket.local_addr().unwrap()));
    let closed = "http://127.0.0.1:9/announce"; // nothing listens on the discard port
    let there = StandIn::saying(REPLY);
    let (announcer, host) = announce(&[&one, closed, &other, &there.url()], Families::Both);
    announced(&host, 1);
    assert_eq!(*host.outcomes.lock(), [Ok((0, 0))]);
    let failures = host.failures.lock().clone();
    assert_eq!(failures.len(), 3, "{failures:?}");
    for (failure, url) in failures.iter().zip([&one, closed, &other]) {
        assert!(failure.starts_with(&format!("cannot announce to {url}: ")), "{failure}");
    }
    announcer.stop();
}

#[test]
fn a_tracker_that_stays_dead_is_named_once() {
    let there = StandIn::saying(REPLY);
    let (announcer, host) = announce(&["http://127.0.0.1:9/announce", &there.url()], Families::Both);
    announced(&host, 1);
    announcer.nudge(Nudge::Completed);
    announced(&host, 2);
    announcer.stop();
    assert_eq!(host.failures.lock().len(), 1, "it was asked twice");
}

/// A redirect is followed to its URL as it stands: the query of the announce is not put there again.
#[test]
fn redirects_are_followed_as_they_stand() {
    for (location, target) in [
        ("http://HOST/other?key=1%2F2", "/other?key=1%2F2"),
        ("http://HOST/other?key=1#part", "/other?key=1"),
        ("//HOST/other", "/other"),
        ("/other?key=1", "/other?key=1"),
        ("other?key=1", "/a/other?key=1"),
        ("../other", "/other"),
    ] {
        let tracker = StandIn::start("127.0.0.1:0", move |target| {
            let (path, host) = target.split_once("&host=").unwrap_or((target, ""));
            let host = host.split('&').next().unwrap_or_default();
            let line = format!("Location: {}\r\n", location.replace("HOST", host));
            if path.starts_with("/a/announce") {
                (line, String::new())
            } else {
                (String::new(), REPLY.to_owned())
            }
        });
        let url = format!("http://{}/a/announce?x&host={}", tracker.addr, tracker.addr);
        let (announcer, host) = announce(&[&url], Families::Both);
        announced(&host, 1);
        assert_eq!(*host.outcomes.lock(), [Ok((0, 0))], "{location}");
        assert_eq!(tracker.heard()[1].target, target, "{location}");
        announcer.stop();
    }
}

/// Whether `localhost` is in both families here.
fn localhost_has_both() -> bool {
    let found: Vec<SocketAddr> =
        ("localhost", 0).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
    let both = found.iter().any(SocketAddr::is_ipv4)
        && found.iter().any(|address| address.is_ipv6() && TcpListener::bind(address).is_ok());
    if !both {
        eprintln!("here `localhost` has no addresses in both families: skipped");
    }
    both
}

/// Bug: a tracker was told in one family only (BEP 7), so peers of the other never heard of us.
#[test]
fn a_tracker_with_both_families_is_told_in_both_with_one_key_and_counts_a_download_once() {
    if !localhost_has_both() {
        return;
    }
    let said = |families| {
        let tracker = StandIn::start("[::]:0", |_| (String::new(), REPLY.to_owned()));
        let url = format!("http://localhost:{}/announce", tracker.addr.port());
        let (announcer, host) = announce(&[&url], families);
        announced(&host, 1);
        announcer.nudge(Nudge::Completed);
        announced(&host, 2);
        announcer.stop();
        assert_eq!(host.outcomes.lock().len(), 2, "both families are one announce");
        let keys: std::collections::HashSet<_> =
            tracker.heard().iter().map(|heard| heard.field("key").unwrap().to_owned()).collect();
        assert_eq!(keys.len(), 1);
        let line = |heard: &Heard| {
            let family = if heard.from.is_ipv4() { 4 } else { 6 };
            (family, heard.field("event").unwrap_or("none").to_owned())
        };
        tracker.heard().iter().map(line).collect::<Vec<_>>()
    };
    let owned =
        |lines: &[(i32, &str)]| lines.iter().map(|(n, word)| (*n, (*word).to_owned())).collect::<Vec<_>>();
    assert_eq!(
        said(Families::Both),
        owned(&[
            (4, "started"),
            (6, "started"),
            (4, "completed"),
            (6, "none"),
            (4, "stopped"),
            (6, "stopped")
        ])
    );
    assert_eq!(said(Families::V4), owned(&[(4, "started"), (4, "completed"), (4, "stopped")]));
    assert_eq!(said(Families::V6), owned(&[(6, "started"), (6, "completed"), (6, "stopped")]));
}

#[test]
fn a_udp_tracker_with_both_families_is_told_in_both() {
    if !localhost_has_both() {
        return;
    }
    let listen = "[::]:0".parse().unwrap();
    let tracker = Tracker::start(Config { listen, ..Config::default() }).unwrap();
    let url = format!("udp://localhost:{}/announce", tracker.addr().port());
    let (announcer, host) = announce(&[&url], Families::Both);
    announced(&host, 1);
    assert_eq!(*host.outcomes.lock(), [Ok((0, 2))], "one in each family");
    announcer.stop();
}

/// A tracker that only one family reaches is no dead tracker.
#[test]
fn a_family_in_which_a_tracker_does_not_answer_is_no_news_if_it_answers_in_the_other() {
    let tracker = StandIn::saying(REPLY);
    let url = format!("http://localhost:{}/announce", tracker.addr.port());
    let (announcer, host) = announce(&[&url], Families::Both);
    announced(&host, 1);
    announcer.stop();
    assert_eq!((host.failures.lock().len(), tracker.events()), (0, vec!["started".into(), "stopped".into()]));
}
