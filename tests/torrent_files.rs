//! `torrent download --files` and `--sequential` with the real program: which files exist in the end, how a
//! second run continues, and what other peers see of a partial seed.

mod cli_support;
mod common;

use cli_support::*;
use common::raw::Raw;
use common::*;
use shoal::bitfield::Bitfield;
use shoal::peer::engine::AddTorrent;
use shoal::peer::swarm::Swarm as Torrenting;
use shoal::peer::swarm::options::DownloadOptions;
use shoal::protocol::extension::Extended;
use shoal::protocol::wire::Message;
use shoal::torrent::{Format, Selection};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

const FORMATS: [&str; 3] = ["v1", "v2", "hybrid"];
/// In the order of the torrent. Only `big` is longer than a few pieces of 32 KiB, and in v1 no file but the
/// first begins on one.
const FILES: [(&str, usize); 6] = [
    ("a.mp4", 100_000),
    ("b.txt", 150_001),
    ("big", 1_000_003),
    ("empty", 0),
    ("extras/c.mp4", 70_000),
    ("extras/d.txt", 10),
];

/// A folder `show` with its torrent, and a seed of it.
struct Stage {
    place: tempfile::TempDir,
    seed: Process,
    addr: SocketAddr,
}

impl Stage {
    fn new(format: &str, options: &[&str]) -> Self {
        let place = tempfile::tempdir().unwrap();
        for (seed, (name, len)) in FILES.into_iter().enumerate() {
            let path = place.path().join("from/show").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content(seed as u64, len)).unwrap();
        }
        let create =
            ["create", "from/show", "-o", "it.torrent", "--piece-length", "32KiB", "--format", format];
        run("torrent", place.path(), &[&create[..], options].concat()).good();
        let (seed, addr) = start(place.path(), &["seed", "it.torrent", "from"]);
        Stage { place, seed, addr }
    }

    /// Runs a download into `to` to its end, from these peers.
    fn download(&self, to: &str, peers: &[SocketAddr], args: &[&str]) -> Said {
        let peers: Vec<String> =
            peers.iter().flat_map(|peer| ["--peer".to_owned(), peer.to_string()]).collect();
        let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
        let start = ["download", "it.torrent", "-d", to, "--listen", "127.0.0.1:0"];
        run("torrent", self.place.path(), &[&start[..], &peers, args].concat())
    }

    /// A download that stays, once it has all that it wants.
    fn partial_seed(&self, to: &str, files: &str) -> (Process, SocketAddr) {
        let peer = self.addr.to_string();
        let args = ["download", "it.torrent", "-d", to, "--seed", "--peer", &peer, "--files", files];
        let (mut process, addr) = start(self.place.path(), &args);
        process.expect("complete");
        (process, addr)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.place.path().join(path)
    }

    /// These files of the torrent, and no others, are under `to`, as they should be.
    fn assert_has(&self, to: &str, files: &[&str]) {
        let show = self.at(to).join("show");
        for (name, _) in FILES {
            assert_eq!(show.join(name).exists(), files.contains(&name), "{name}");
            if files.contains(&name) {
                assert_same(&self.at("from/show").join(name), &show.join(name));
            }
        }
        assert!(!self.at(to).join("show.part").exists(), "what is complete has its name");
    }
}

fn start(folder: &Path, args: &[&str]) -> (Process, SocketAddr) {
    let mut command = program("torrent", folder);
    command.args(args).args(["--listen", "127.0.0.1:0"]);
    let mut process = Process::start(command);
    let addr = process.listening();
    (process, addr)
}

#[test]
fn wanted_files_are_there_the_others_are_not_and_the_next_run_goes_on_from_there() {
    for format in FORMATS {
        let mut stage = Stage::new(format, &[]);
        let said = stage.download("to", &[stage.addr], &["--files", "2", "--files", "extras/*.mp4,empty"]);
        assert!(said.err.contains("show: 3 of 6 files are wanted, 220,001 bytes"), "{}", said.err);
        assert_eq!(said.good(), "to/show: 3 of 6 files complete\n");
        stage.assert_has("to", &["b.txt", "empty", "extras/c.mp4"]);
        assert_eq!(
            stage.at("to/.show.part").exists(),
            format == "v1",
            "of neighbours only in v1 something comes along"
        );

        // Nobody is there to give it anything again.
        assert_eq!(
            stage.download("to", &[], &["--files", "b.txt"]).good(),
            "to/show: 1 of 6 files complete\n"
        );
        stage.assert_has("to", &["b.txt", "empty", "extras/c.mp4"]);

        // The rest comes from one who has only the rest.
        let (_rest, addr) = stage.partial_seed("rest", "1,3,6");
        stage.seed.kill();
        stage.download("to", &[addr], &["--files", "1"]).good();
        stage.assert_has("to", &["a.mp4", "b.txt", "empty", "extras/c.mp4"]);
        assert_eq!(stage.download("to", &[addr], &[]).good(), "to/show: complete\n");
        assert_same(&stage.at("from/show"), &stage.at("to/show"));
        assert!(
            !stage.at("to/.show.part").exists() && !stage.at("to/show.part").exists(),
            "nothing is left over"
        );
        run("torrent", stage.place.path(), &["verify", "it.torrent", "to"]).good();
        assert_eq!(stage.download("to", &[], &["--files", "1"]).good(), "to/show: complete\n");
    }
}

#[test]
fn killed_in_the_middle_it_goes_on_with_fewer_files_and_with_more() {
    for format in ["v1", "hybrid"] {
        let stage = Stage::new(format, &[]);
        let peer = stage.addr.to_string();
        let slow = |files: &[&str]| {
            let args = ["download", "it.torrent", "-d", "to", "--down", "1MB", "--peer", &peer];
            start(stage.place.path(), &[&args[..], files].concat()).0
        };
        let some_of = |path: &str| fs::metadata(stage.at(path)).is_ok_and(|meta| meta.len() > 0);
        let mut all = slow(&[]);
        wait_until("there is some of the big file", || some_of("to/show.part/big"));
        all.kill();
        stage.download("to", &[stage.addr], &["--files", "*.mp4"]).good();
        stage.assert_has("to", &["a.mp4", "extras/c.mp4"]);
        assert!(some_of("to/.show.part/big"), "it is kept for a run that wants it");
        let mut more = slow(&["--files", "big"]);
        wait_until("it is there again", || some_of("to/show.part/big"));
        more.kill();
        assert_eq!(stage.download("to", &[stage.addr], &["--sequential"]).good(), "to/show: complete\n");
        assert_same(&stage.at("from/show"), &stage.at("to/show"));
        assert!(!stage.at("to/.show.part").exists() && !stage.at("to/show.part").exists());
    }
}

#[test]
fn a_file_that_was_changed_since_is_in_the_way_and_stays_as_it_is() {
    let stage = Stage::new("v1", &[]);
    stage.download("to", &[stage.addr], &["--files", "a.mp4"]).good();
    fs::write(stage.at("to/show/a.mp4"), b"mine").unwrap();
    let why = stage.download("to", &[stage.addr], &[]).bad(1);
    assert!(why.contains("to/show/a.mp4 is in the way"), "{why}");
    assert_eq!(fs::read(stage.at("to/show/a.mp4")).unwrap(), b"mine");
    fs::remove_file(stage.at("to/show/a.mp4")).unwrap();
    stage.download("to", &[stage.addr], &[]).good();
    assert_same(&stage.at("from/show"), &stage.at("to/show"));
}

#[test]
fn a_folder_of_the_same_name_is_in_the_way() {
    let stage = Stage::new("v1", &[]);
    fs::create_dir_all(stage.at("to/show")).unwrap();
    fs::write(stage.at("to/show/other"), b"mine").unwrap();
    let why = stage.download("to", &[stage.addr], &["--files", "1"]).bad(1);
    assert!(why.contains("to/show is in the way"), "{why}");
}

#[test]
fn a_wrong_choice_is_wrong_usage() {
    let stage = Stage::new("v1", &[]);
    for (files, why) in
        [("7", "there is no file 7"), ("*.mkv", "no file of show is called"), ("[", "is no pattern")]
    {
        let said = stage.download("to", &[], &["--files", files]).bad(2);
        assert!(said.starts_with("torrent: ") && said.contains(why), "{said}");
    }
    let shown = run("torrent", stage.place.path(), &["show", "it.torrent"]).good();
    assert!(shown.contains("    5           70,000  extras/c.mp4\n"), "{shown}");
    assert!(!stage.at("to").exists());
}

/// A tracker of one line: says what it is asked.
fn announces() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/announce", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = BufReader::new(socket.unwrap());
            let mut line = String::new();
            let _ = socket.read_line(&mut line); // whoever closed at once has said nothing
            let mut header = String::new();
            while socket.read_line(&mut header).is_ok_and(|read| read > 2) {
                header.clear();
            }
            let body = "d8:intervali3600e5:peers0:e";
            let _ =
                write!(socket.get_mut(), "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    (url, told)
}

#[test]
fn a_partial_seed_tells_the_tracker_that_it_is_paused() {
    let (url, told) = announces();
    let stage = Stage::new("v1", &["--tracker", &url]);
    let (mut partial, _) = stage.partial_seed("to", "a.mp4");
    let limit = LIMIT;
    let paused = loop {
        let line = told.recv_timeout(limit).expect("it announces itself as paused");
        if line.contains("event=paused") {
            break line;
        }
    };
    assert!(!paused.contains("left=0&"), "it does not have everything: {paused}");
    partial.signal(rustix::process::Signal::INT);
    assert!(partial.end().success());
    let rest: Vec<String> = told.try_iter().collect();
    assert!(rest.iter().all(|line| !line.contains("event=completed")), "{rest:?}");
}

// ---- what others see: peers in this process ---------------------------------------------------------------

/// A download of some files of a torrent in this process, with the scripted peers that a test needs.
struct Inside {
    place: tempfile::TempDir,
    peer: shoal::peer::engine::Engine,
    torrent: Arc<shoal::torrent::Torrent>,
    swarm: Arc<Torrenting>,
    bytes: Vec<u8>,
}

impl Inside {
    fn new(files: &str, in_order: bool) -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut bytes = Vec::new();
        for (seed, name) in ["a", "b", "c"].into_iter().enumerate() {
            let path = place.path().join("from/show").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content(seed as u64, 500_000)).unwrap();
            bytes.extend(content(seed as u64, 500_000));
        }
        let torrent = torrent_of(&place.path().join("from/show"), Format::V1, Some(1 << 15));
        let peer = peer();
        let files = Selection::parse(&torrent, &[files.to_owned()]).unwrap();
        let options = DownloadOptions { files: Some(files), in_order };
        let swarm = peer
            .add(AddTorrent::download(Arc::clone(&torrent), place.path().join("to")).with(options))
            .unwrap();
        wait_until("the disk is looked at", || swarm.progress().checking == 0);
        Inside { place, peer, torrent, swarm, bytes }
    }

    /// A seed serves it until all that it wants is there: the pieces that it asked for, in that order.
    fn served(&self) -> Vec<u32> {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut seed = Raw::seed(self.peer.addr(), &self.torrent, 1, true);
        let (bytes, wanted_by) = (self.bytes.clone(), Arc::clone(&asked));
        let server = std::thread::spawn(move || {
            seed.serve(|wanted| {
                wanted_by.lock().unwrap().push(wanted.index);
                let at = (wanted.index << 15) as usize + wanted.begin as usize;
                bytes[at..at + wanted.len as usize].to_vec()
            });
        });
        wait_until("all that is wanted is here", || self.swarm.is_complete());
        server.join().unwrap(); // it is shown out: it has everything, and we want nothing
        let mut asked = asked.lock().unwrap().clone();
        asked.dedup();
        asked
    }
}

#[test]
fn pieces_come_in_order_if_that_is_wanted_and_only_those_that_are() {
    let inside = Inside::new("b", true);
    let asked = inside.served();
    assert_eq!(asked, (15..31).collect::<Vec<u32>>(), "the file begins and ends within a piece");
    let progress = inside.swarm.progress();
    assert_eq!((progress.have, progress.pieces, progress.bytes), (16, 16, 16 << 15));
    assert_eq!((progress.total, progress.left), (16 << 15, 1_500_000 - (16 << 15)));
    assert!(!inside.place.path().join("to/show/a").exists());
    assert_same(&inside.place.path().join("from/show/b"), &inside.place.path().join("to/show/b"));
}

#[test]
fn a_partial_seed_serves_what_it_has_of_its_neighbours_too() {
    let inside = Inside::new("b", false);
    inside.served();
    let mut leecher = Raw::leech(inside.peer.addr(), &inside.torrent, 2, true);
    // The first 8,480 bytes of piece 15 are of a file that is not wanted.
    leecher.send(Message::Request(shoal::protocol::wire::BlockRequest { index: 15, begin: 0, len: 1 << 14 }));
    let data = leecher.listen(|_, message| match message {
        Message::Piece { data, .. } => std::ops::ControlFlow::Break(data.to_vec()),
        _ => std::ops::ControlFlow::Continue(()),
    });
    assert_eq!(data.unwrap(), inside.bytes[15 << 15..(15 << 15) + (1 << 14)]);
}

#[test]
fn two_partial_seeds_part_and_so_does_who_has_nothing_for_us() {
    let inside = Inside::new("b", false);
    let hello = Extended { upload_only: Some(true), ..Extended::default() }.encode();
    let first = Bitfield::from_bytes(&[0x80, 0, 0, 0, 0, 0], 46).unwrap();
    let join = |name| {
        let mut other = Raw::join(inside.peer.addr(), &inside.torrent, name, true);
        other.send(Message::Bitfield(first.as_bytes()));
        other
    };
    let mut useless = join(3);
    useless.send(Message::Extended { id: 0, payload: &hello });
    useless.assert_closed(); // it wants nothing, and has only what we do not want
    let waiting = join(4);
    inside.served();
    let mut done = join(5);
    done.send(Message::Extended { id: 0, payload: &hello });
    done.assert_closed();
    assert!(
        inside
            .swarm
            .members()
            .iter()
            .any(|member| member.identity.peer_id().is_some_and(|id| id.0 == [4; 20])),
        "it may want something"
    );
    drop(waiting);
}
