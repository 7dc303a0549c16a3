//! Folders keep their shape: what lies in a subfolder of `uploads` is found, listed and downloaded as that
//! path. Of a folder that is one torrent some files may be chosen.

mod cli_support;
mod common;

use cli_support::Swarm;
use common::{assert_same, content, wait_until};
use serde_json::Value;
use std::fs;

/// A peer that shares two files of one name, and one without a folder.
fn shared() -> (Swarm, cli_support::Process) {
    let swarm = Swarm::new();
    swarm.shares("giver", "course/week 1/slides.txt", b"of the first week");
    swarm.shares("giver", "course/week 2/slides.txt", b"of the second week");
    swarm.shares("giver", "got5.mp4", &content(1, 100_000));
    let giver = swarm.peer("giver", &[]);
    wait_until("all three are published", || swarm.names().len() == 3);
    (swarm, giver)
}

fn list(swarm: &Swarm, words: &str) -> Vec<String> {
    let list: Vec<Value> =
        serde_json::from_str(&swarm.once("somebody", &["search", words, "--json"]).good()).unwrap();
    let label = |entry: &Value| entry["path"].as_str().or(entry["name"].as_str()).unwrap().to_owned();
    list.iter().map(label).collect()
}

#[test]
fn a_file_in_a_folder_is_found_and_fetched_as_its_path() {
    let (swarm, _giver) = shared();
    assert_eq!(list(&swarm, "course slides"), ["course/week 1/slides.txt", "course/week 2/slides.txt"]);
    assert_eq!(list(&swarm, "week 2"), ["course/week 2/slides.txt"]);
    assert_eq!(list(&swarm, "got5"), ["got5.mp4"]);
    // The assignment's list is as it always was.
    let list = fs::read_to_string(swarm.place.path().join("catalogue/search_content.txt")).unwrap();
    let names = list.lines().map(|line| line.split(" tor : ").next().unwrap());
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["Name : got5 type: mp4", "Name : slides type: txt", "Name : slides type: txt"]
    );

    let why = swarm.once("taker", &["download", "slides.txt"]);
    assert_eq!(why.status, 1);
    assert!(why.err.contains("2 torrents are called `slides.txt`, choose by key"), "{}", why.err);
    assert!(why.err.contains("course/week 1/slides.txt") && why.err.contains("course/week 2/slides.txt"));
    swarm.once("taker", &["download", "course/week 2/slides.txt"]).good();
    let taken = swarm.download("taker", "course/week 2/slides.txt");
    assert_eq!(fs::read(taken).unwrap(), b"of the second week");

    // Who has fetched it shares it under that path, too.
    let mut taker = swarm.peer("taker", &[]);
    let status = taker.ask("status");
    assert!(status[0].contains("100%") && status[0].contains(" course/week 2/slides.txt "), "{status:#?}");
    taker.ask("pause course/week 2/slides.txt");
    assert!(taker.ask("status")[0].contains("paused"));
}

#[test]
fn a_folder_or_a_pattern_fetches_all_that_is_in_it() {
    let (swarm, _giver) = shared();
    swarm.once("taker", &["download", "course"]).good();
    for week in 1..=2 {
        let path = format!("course/week {week}/slides.txt");
        assert_same(&swarm.download("taker", &path), &swarm.home("giver").join("uploads").join(path));
    }
    assert!(!swarm.download("taker", "got5.mp4").exists());

    let mut other = swarm.peer("other", &[]);
    let said = other.ask("download 'course/*1/*' *.mp4 --to 'elsewhere here'");
    let there = swarm.home("other").join("elsewhere here");
    assert_eq!(fs::read(there.join("course/week 1/slides.txt")).unwrap(), b"of the first week", "{said:#?}");
    assert_eq!(fs::read(there.join("got5.mp4")).unwrap(), content(1, 100_000));
    assert!(!there.join("course/week 2").exists());
    let said = other.ask("download got5.mp4 --to third");
    assert!(
        said[0].contains("it is here already, as ") && said[0].contains("`remove` it first"),
        "{said:#?}"
    );
    let said = other.ask("download no*thing");
    assert!(said[0].contains("no torrent is known by the name or key `no*thing`"), "{said:#?}");
}

/// Bug: a file that is called like a folder, but for its extension, was fetched in its place; and one file in
/// the way kept all others of a folder from being fetched.
#[test]
fn a_folder_goes_before_a_file_without_its_extension_and_each_of_its_files_is_tried() {
    let (swarm, _giver) = shared();
    swarm.shares("giver", "course.pdf", b"not the folder");
    wait_until("it is published", || swarm.names().len() == 4);
    let in_the_way = swarm.download("taker", "course/week 1/slides.txt");
    fs::create_dir_all(in_the_way.parent().unwrap()).unwrap();
    fs::write(&in_the_way, "mine").unwrap();
    let said = swarm.once("taker", &["download", "course"]);
    assert_eq!(said.status, 1);
    assert!(said.err.contains("week 1/slides.txt is in the way"), "{}", said.err);
    assert_eq!(fs::read(swarm.download("taker", "course/week 2/slides.txt")).unwrap(), b"of the second week");
    assert_eq!(fs::read(in_the_way).unwrap(), b"mine");
    assert!(!swarm.download("taker", "course.pdf").exists());
    swarm.once("taker", &["download", "got5"]).good();
}

#[test]
fn of_a_folder_that_is_one_torrent_some_files_are_fetched_and_stay_chosen() {
    let swarm = Swarm::new();
    let lab = swarm.home("giver").join("lab");
    for (nth, name) in ["one.txt", "two.txt", "films/three.mp4"].into_iter().enumerate() {
        fs::create_dir_all(lab.join("films")).unwrap();
        fs::write(lab.join(name), content(nth as u64, 50_000)).unwrap();
    }
    let mut giver = swarm.peer("giver", &[]);
    giver.ask("upload lab");
    swarm.once("taker", &["download", "lab", "--files", "two.txt,films", "--to", "chosen"]).good();
    let chosen = swarm.home("taker").join("chosen/lab");
    let is_chosen = || {
        assert_same(&chosen.join("two.txt"), &lab.join("two.txt"));
        assert_same(&chosen.join("films/three.mp4"), &lab.join("films/three.mp4"));
        assert!(!chosen.join("one.txt").exists());
    };
    is_chosen();
    // The next start does not fetch the rest.
    let mut taker = swarm.peer("taker", &["--json"]);
    let status = taker.ask_json("status");
    assert_eq!(status["torrents"][0]["complete"], true, "{status:#}");
    is_chosen();
    let said = swarm.once("third", &["download", "lab", "--files", "nothing.txt"]).bad(1);
    assert!(said.contains("no file of lab is called `nothing.txt`"), "{said}");
    let said = swarm.once("third", &["list", "--to", "x"]).bad(2);
    assert!(said.contains("`--to` goes with `download` alone"), "{said}");
}

/// What another peer tells of its folders leads nowhere but down.
#[test]
fn a_path_of_others_stays_below_the_downloads() {
    use shoal::peer::catalogue::SessionClient;
    use shoal::protocol::catalogue::{Held, Publish, Request};
    struct Nobody;
    impl shoal::peer::catalogue::Host for Nobody {
        fn hello(&self) -> shoal::protocol::catalogue::Hello {
            shoal::protocol::catalogue::Hello {
                peer_id: shoal::protocol::catalogue::PeerId([9; 20]),
                port: 9,
                addresses: Vec::new(),
                client: String::new(),
                mirror: false,
                secret: None,
            }
        }
        fn published(&self) -> Vec<shoal::torrent::InfoHash> {
            Vec::new()
        }
        fn publication(&self, _: shoal::torrent::InfoHash) -> Option<shoal::peer::catalogue::Publication> {
            None
        }
        fn on_event(&self, _: shoal::protocol::catalogue::Event) {}
        fn on_connection(&self, _: bool, _: &str) {}
    }
    let swarm = Swarm::new();
    let file = swarm.place.path().join("evil.txt");
    fs::write(&file, "evil").unwrap();
    let torrent = common::torrent_of(&file, shoal::torrent::Format::Hybrid, None);
    let session = SessionClient::start(swarm.addr, std::sync::Arc::new(Nobody)).unwrap();
    for path in ["../../evil.txt", "/etc/evil.txt", "a/../evil.txt", "a/other.txt"] {
        let publish = Publish { path: Some(path.to_owned()), ..Publish::new(torrent.bytes(), Held::All) };
        session.ask(Request::Publish(publish)).unwrap();
        assert_eq!(list(&swarm, "evil"), ["evil.txt"], "{path}");
    }
}
