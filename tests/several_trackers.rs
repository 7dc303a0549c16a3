//! A peer with several trackers: all are told and asked, and the death of one of them changes nothing.

mod cli_support;
mod common;
mod tracker_support;

use cli_support::{Process, Swarm, run};
use common::{assert_same, content, wait_until};
use parking_lot::Mutex;
use shoal::peer::catalogue::{AskError, Host, Publication, Standing, Trackers};
use shoal::protocol::catalogue::{Event, Held, Hello, PeerId, Publish, Request};
use shoal::torrent::{InfoHash, Torrent};
use shoal::tracker::{Config, Limits, Tracker};
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use tracker_support::{GENEROUS, start, torrent, until};

/// A peer as its trackers' clients see it.
#[derive(Default)]
struct Peer {
    id: u8,
    shared: Mutex<Vec<Publication>>,
    events: Mutex<Vec<Event>>,
    connections: Mutex<Vec<bool>>,
}

impl Peer {
    fn new(id: u8, shared: &[&str]) -> Arc<Peer> {
        let publication = |name: &&str| {
            let torrent = Arc::new(torrent(name, 4));
            Publication { offer: true, ..Publication::new(torrent, Held::All) }
        };
        Arc::new(Peer { id, shared: Mutex::new(shared.iter().map(publication).collect()), ..Peer::default() })
    }

    /// How often it heard that something was offered.
    fn offers(&self) -> usize {
        self.events.lock().iter().filter(|event| matches!(event, Event::Offered { .. })).count()
    }
}

impl Host for Peer {
    fn hello(&self) -> Hello {
        let peer_id = PeerId([self.id; 20]);
        let port = 6800 + u16::from(self.id);
        Hello { peer_id, port, addresses: vec![], client: "test".into(), mirror: true, secret: None }
    }

    fn published(&self) -> Vec<InfoHash> {
        self.shared.lock().iter().map(|shared| shared.torrent.info_hash()).collect()
    }

    fn publication(&self, hash: InfoHash) -> Option<Publication> {
        self.shared.lock().iter().find(|shared| shared.torrent.info_hash() == hash).cloned()
    }

    fn on_event(&self, event: Event) {
        self.events.lock().push(event);
    }

    fn on_connection(&self, up: bool, _: &str) {
        self.connections.lock().push(up);
    }
}

fn join(addrs: &[SocketAddr], peer: &Arc<Peer>) -> Trackers {
    let addrs: Vec<String> = addrs.iter().map(SocketAddr::to_string).collect();
    let trackers =
        Trackers::start(&addrs, peer.clone()).map_err(|(addr, why)| format!("{addr}: {why}")).unwrap();
    trackers.wait_connected(GENEROUS).unwrap();
    trackers
}

fn names(trackers: &Trackers) -> Vec<String> {
    trackers.search("").unwrap().into_iter().map(|entry| entry.name).collect()
}

fn up(trackers: &Trackers) -> usize {
    trackers.standings().iter().filter(|(_, standing)| *standing == Standing::Up).count()
}

fn publish(torrent: &Torrent) -> Publish {
    Publish::new(torrent.bytes(), Held::All)
}

#[test]
fn several_trackers_look_like_one() {
    let (one, two) = (start(Limits::default()), start(Limits::default()));
    let (seed, left, looker) = (Peer::new(1, &["both"]), Peer::new(2, &["left"]), Peer::new(3, &[]));
    let looking = join(&[one.addr(), two.addr()], &looker);
    let _at_both = join(&[one.addr(), two.addr()], &seed);
    let _at_one = join(&[one.addr()], &left);
    until("all is known", || names(&looking) == ["both", "left"]);
    until("both trackers know what both were told", || {
        let at_two = join(&[two.addr()], &Peer::new(4, &[]));
        names(&at_two) == ["both"]
    });
    let both = looking.search("both").unwrap();
    assert_eq!((both.len(), both[0].seeds), (1, 1), "the seed is one, wherever it is known");
    assert_eq!(looking.peers(Some(both[0].key.clone())).unwrap().len(), 1);
    assert_eq!(
        looking.torrent("left").unwrap().metainfo,
        torrent("left", 4).bytes(),
        "only one tracker knows it"
    );
    let refused = looking.torrent("nothing").unwrap_err();
    assert!(matches!(refused, AskError::Refused(_)), "{refused}");
    until("the offers were heard", || looker.offers() >= 2);
    // Each tracker answers; their events came before the answers.
    looking.tell(&Request::Unpublish { key: both[0].key.clone() });
    looking.peers(None).unwrap();
    assert_eq!(looker.offers(), 2, "each once");
}

#[test]
fn different_torrents_of_one_name_at_two_trackers_are_a_choice() {
    let (one, two) = (start(Limits::default()), start(Limits::default()));
    let (peer, looker) = (Peer::new(1, &[]), Peer::new(2, &[]));
    let (short, long) = (torrent("got5.mp4", 1), torrent("got5.mp4", 2));
    let (at_one, at_two) = (join(&[one.addr()], &peer), join(&[two.addr()], &peer));
    at_one.publish(publish(&short)).unwrap();
    at_two.publish(publish(&long)).unwrap();
    let looking = join(&[one.addr(), two.addr()], &looker);
    let refused = looking.torrent("got5.mp4").unwrap_err().to_string();
    assert!(refused.contains(&short.key()) && refused.contains(&long.key()), "{refused}");
    assert_eq!(looking.torrent(&long.key()).unwrap().key, long.key());
    assert_eq!(names(&looking), ["got5.mp4", "got5.mp4"]);
}

#[test]
fn one_dies_and_nobody_notices_and_when_it_is_back_it_knows_all_again() {
    let (one, two) = (start(Limits::default()), start(Limits::default()));
    let (first, second) = (one.addr(), two.addr());
    let (seed, looker) = (Peer::new(1, &["a", "b"]), Peer::new(2, &[]));
    let (sharing, looking) = (join(&[first, second], &seed), join(&[first, second], &looker));
    until("all is known", || names(&looking) == ["a", "b"]);
    one.stop();
    until("it is noticed inside", || up(&sharing) == 1 && up(&looking) == 1);
    assert_eq!(names(&looking), ["a", "b"]);
    assert_eq!(looking.peers(None).unwrap().len(), 1);
    let late = torrent("c", 1);
    sharing.publish(publish(&late)).unwrap();
    let publication = Publication { offer: true, ..Publication::new(Arc::new(late), Held::All) };
    seed.shared.lock().push(publication);
    assert_eq!(*looker.connections.lock(), [true], "outside nobody heard of it");

    let listen = first;
    let one = Tracker::start(Config { listen, ..Config::default() }).unwrap();
    until("it is back", || up(&sharing) == 2 && up(&looking) == 2);
    let at_one = join(&[first], &Peer::new(3, &[]));
    until("it knows all again", || names(&at_one) == ["a", "b", "c"]);
    assert_eq!(*looker.connections.lock(), [true]);

    one.stop();
    two.stop();
    until("the last one is told of", || *looker.connections.lock() == [true, false]);
    let why = looking.search("").unwrap_err();
    assert!(matches!(why, AskError::NotConnected(_)), "{why}");
}

#[test]
fn a_tracker_that_takes_connections_and_says_nothing_holds_nobody_up_for_long() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let one = start(Limits::default());
    let (seed, looker) = (Peer::new(1, &["a"]), Peer::new(2, &[]));
    let _sharing = join(&[one.addr()], &seed);
    let looking = join(&[silent.local_addr().unwrap(), one.addr()], &looker);
    assert!(looking.standings().iter().any(|(_, standing)| *standing == Standing::Connecting), "it went on");
    until("the other answers", || names(&looking) == ["a"]);
}

/// A second tracker for a swarm of processes.
fn second_tracker(swarm: &Swarm, listen: &str) -> (Process, SocketAddr) {
    let mut command = cli_support::program("tracker", swarm.place.path());
    command.args(["--listen", listen]); // it keeps nothing: what it knows after a restart, peers told it
    let mut tracker = Process::start(command);
    let addr = tracker.listening();
    (tracker, addr)
}

#[test]
fn commands_go_on_through_the_tracker_that_is_left() {
    let mut swarm = Swarm::new();
    let (mut second, addr) = second_tracker(&swarm, "127.0.0.1:0");
    let addr = addr.to_string();
    let shared = swarm.shares("alice", "got5.mp4", &content(1, 300_000));
    let mut alice = swarm.peer("alice", &["--tracker", &addr]);
    let mut bob = swarm.peer("bob", &["--tracker", &addr]);
    let mut carol = swarm.peer("carol", &["--tracker", &addr, "--mirror"]);
    let tracker_lines = |peer: &mut Process, words: &str| {
        let status = peer.ask("status");
        status.iter().filter(|line| line.starts_with("tracker ") && line.contains(words)).count()
    };
    wait_until("both are there", || tracker_lines(&mut bob, ": connected") == 2);
    wait_until("it is listed", || bob.ask("list").len() == 1);

    swarm.tracker.kill();
    wait_until("status shows it", || tracker_lines(&mut bob, ": trying again (") == 1);
    let found = bob.ask("list");
    assert!(found.len() == 1 && found[0].contains("got5.mp4"), "no complaint: {found:#?}");
    assert!(bob.ask("download got5.mp4")[0].contains("complete"));
    assert_same(&shared, &swarm.download("bob", "got5.mp4"));
    let lesson = swarm.place.path().join("lesson.bin");
    fs::write(&lesson, content(2, 200_000)).unwrap();
    wait_until("alice noticed, too", || tracker_lines(&mut alice, ": trying again (") == 1);
    assert!(alice.ask(&format!("upload {}", lesson.display()))[0].contains("is offered to everybody"));
    let mirrored = swarm.download("carol", "lesson.bin");
    wait_until("it is mirrored", || mirrored.exists());
    assert_same(&lesson, &mirrored);

    swarm.restart_tracker();
    wait_until("the first knows all again", || swarm.names() == ["got5.mp4", "lesson.bin"]);
    for peer in [&mut alice, &mut bob, &mut carol] {
        wait_until("it is back", || tracker_lines(peer, ": connected") == 2);
    }
    second.kill();
    assert_eq!(bob.ask("search lesson").len(), 1);

    // The other way round, from an empty memory.
    let (_second, again) = second_tracker(&swarm, &addr);
    wait_until("the second was told everything", || {
        let (ip, port) = (again.ip().to_string(), again.port().to_string());
        let said =
            run("peer", &swarm.home("somebody"), &[&ip, &port, "--listen", "127.0.0.1:0", "list"]).good();
        said.contains("got5.mp4") && said.contains("lesson.bin")
    });
}

#[test]
fn a_transfer_goes_on_without_any_tracker_and_a_new_one_hears_what_came_meanwhile() {
    for keeps in [true, false] {
        let mut swarm = Swarm::new();
        swarm.shares("alice", "got5.mp4", &content(3, 600_000));
        let _alice = swarm.peer("alice", &["--up", "200kB"]);
        let mut bob = swarm.peer("bob", &[]);
        wait_until("it is listed", || bob.ask("list").len() == 1 && bob.ask("list")[0].contains("got5"));
        bob.say("download got5.mp4");
        let part = swarm.home("bob").join("downloads/got5.mp4.part");
        // Some of it is here: so whom to ask is known. The file itself is made before that.
        wait_until("the download has begun", || part.metadata().is_ok_and(|meta| meta.len() > 0));
        swarm.tracker.kill();
        bob.expect("got5.mp4: complete");
        let got = fs::read(swarm.download("bob", "got5.mp4")).unwrap();
        assert!(got == content(3, 600_000), "it is not what alice shares");
        if keeps {
            swarm.restart_tracker();
        } else {
            swarm.tracker = second_tracker(&swarm, &swarm.addr.to_string()).0;
        }
        wait_until("the tracker knows of both seeds", || {
            let list = swarm.once("somebody", &["list", "--json"]).good();
            let list: serde_json::Value = serde_json::from_str(&list).unwrap();
            list[0]["seeds"] == 2
        });
    }
}

#[test]
fn trackers_come_from_the_environment_and_wrong_ones_are_wrong_usage() {
    let swarm = Swarm::new();
    let (_second, addr) = second_tracker(&swarm, "127.0.0.1:0");
    let status = |env: &str, args: &[&str]| {
        let mut command = swarm.peer_command("alice", args);
        command.env("SHOAL_TRACKER", env).args(["--json", "status"]).stdin(std::process::Stdio::null());
        cli_support::said(&command.output().unwrap())
    };
    let trackers = |said: cli_support::Said| {
        let status: serde_json::Value = serde_json::from_str(&said.good()).unwrap();
        let trackers = status["trackers"].as_array().unwrap().clone();
        trackers.iter().map(|tracker| tracker["connected"].as_bool().unwrap()).collect::<Vec<_>>()
    };
    let dead = "127.0.0.1:1"; // nobody listens there
    assert_eq!(trackers(status(&addr.to_string(), &[])), [true, true]);
    assert_eq!(trackers(status(&format!("{dead},{addr}"), &[])), [true, false, true]);
    assert_eq!(trackers(status(&addr.to_string(), &["--tracker", dead])), [true, false]);
    assert_eq!(status("nonsense", &[]).status, 2);
    let missing = status("no-such-host.invalid:6969", &[]);
    assert!(missing.bad(1).contains("cannot find the tracker no-such-host.invalid:6969"));
}
