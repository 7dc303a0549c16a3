//! A room of machines, each a host of its own (a network namespace): one offers a folder, the others mirror it
//! without anybody at their keyboards. Three versions of the folder, with one hundredth changed each time.
//! Without root or iproute2, the test says so and does nothing. `make netns` has 300 MB.

mod cli_support;
mod common;
mod netns_support;

use cli_support::{Process, said};
use common::{content, wait_until};
use netns_support::{Lab, address};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TRACKER: u8 = 1;
const GIVER: u8 = 2;
const PORT: &str = "6969";
/// The mirrors. This one is killed and started again.
const KILLED: u8 = 12;
/// This one has a file in the way.
const BLOCKED: u8 = 13;
/// This one comes late.
const LATE: u8 = 15;
/// With these two nothing happens.
const PLAIN: u8 = 11;
const QUIET: u8 = 14;

/// Bytes of each of the three large files.
fn large() -> usize {
    if std::env::var_os("SHOAL_TEST_LONG").is_some() { 80_000_000 } else { 4_000_000 }
}

/// The folder has three large files, and small ones that make up a fifth of it.
fn make(course: &Path) {
    fs::create_dir_all(course.join("week 1")).unwrap();
    for nth in 0..3 {
        fs::write(course.join(format!("image {nth}.bin")), content(nth, large())).unwrap();
    }
    for nth in 0..60 {
        fs::write(course.join(format!("week 1/slides {nth}.pdf")), content(100 + nth, large() / 80)).unwrap();
    }
}

/// Changes one hundredth of it, in ten places.
fn change(course: &Path, version: u8) {
    let image = course.join(format!("image {}.bin", version % 3));
    let mut bytes = fs::read(&image).unwrap();
    let (len, each) = (bytes.len(), large() * 15 / 4 / 1000);
    for place in 0..10 {
        let start = place * len / 10;
        bytes[start..start + each].fill(version);
    }
    fs::write(&image, bytes).unwrap();
}

fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(
            |entry| if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().unwrap().len() },
        )
        .sum()
}

/// A tracker, a peer that offers, and mirrors, each in a folder of its own under `place`.
struct Room {
    lab: Lab,
    place: tempfile::TempDir,
}

impl Room {
    fn home(&self, host: u8) -> PathBuf {
        let home = self.place.path().join(host.to_string());
        fs::create_dir_all(&home).unwrap();
        home
    }

    fn copy(&self, host: u8) -> PathBuf {
        self.home(host).join("downloads/course")
    }

    /// A mirror that is left alone: under `nohup`, without input.
    fn mirror(&mut self, host: u8) -> Process {
        let home = self.home(host);
        let inner = self.lab.program(host, "peer", &home);
        let mut command = Command::new("nohup");
        command.arg(inner.get_program()).args(inner.get_args()).current_dir(&home);
        command.args(["--mirror", &address(TRACKER), PORT]);
        let mut mirror = Process::start_with(command, Stdio::null());
        mirror.listening();
        mirror
    }

    /// What a command beside the running peer of a host answers.
    fn ask(&self, host: u8, words: &[&str]) -> Value {
        let mut command = self.lab.program(host, "peer", &self.home(host));
        command.args(["--json", &address(TRACKER), PORT]).args(words).stdin(Stdio::null());
        serde_json::from_str(&said(&command.output().unwrap()).good()).unwrap()
    }

    fn course(&self, host: u8) -> Option<Value> {
        let status = self.ask(host, &["status"]);
        let mut torrents = status["torrents"].as_array().unwrap().iter();
        torrents.rfind(|torrent| torrent["name"] == "course").cloned()
    }

    /// The reason why a mirror cannot have the course, as the offering side sees it.
    fn blocked(&self, host: u8) -> Option<String> {
        let course = self.course(GIVER)?;
        let machine = format!("{}:", address(host));
        let mut others = course["room"].as_array()?.iter();
        let other = others.find(|other| other["address"].as_str().unwrap().starts_with(&machine))?;
        other["blocked"].as_str().map(str::to_owned)
    }

    fn wait_for_the_same(&self, host: u8, course: &Path) {
        let copy = self.copy(host);
        let is_complete = || {
            let here = self.course(host);
            here.is_some_and(|here| here["complete"] == true) && !copy.with_extension("part").exists()
        };
        let same = || Command::new("diff").args(["-r", "-q"]).arg(course).arg(&copy).output().unwrap();
        wait_until(&format!("host {host} has it byte by byte"), || is_complete() && same().status.success());
    }
}

#[test]
fn a_room_that_nobody_types_to_gets_each_version_of_a_folder() {
    let Some(lab) = Lab::new() else { return };
    let mut room = Room { lab, place: tempfile::tempdir().unwrap() };
    for host in [TRACKER, GIVER, PLAIN, KILLED, BLOCKED, QUIET, LATE] {
        room.lab.host(host);
    }
    let mut tracker = room.lab.program(TRACKER, "tracker", &room.home(TRACKER));
    tracker.args(["--listen", &format!("0.0.0.0:{PORT}"), "--data", "catalogue"]);
    let mut tracker = Process::start(tracker);
    tracker.listening();
    let course = room.home(GIVER).join("course");
    make(&course);
    let total = size(&course);

    fs::create_dir_all(room.home(BLOCKED).join("downloads")).unwrap();
    fs::write(room.copy(BLOCKED), "somebody's file").unwrap();
    let _plain = room.mirror(PLAIN);
    let mut killed = room.mirror(KILLED);
    let _blocked = room.mirror(BLOCKED);
    let _quiet = room.mirror(QUIET);
    let mut giver = room.lab.program(GIVER, "peer", &room.home(GIVER));
    giver.args([&address(TRACKER), PORT]);
    let mut giver = Process::start_with(giver, Stdio::null());
    giver.listening();

    room.ask(GIVER, &["upload", "course"]);
    let part = room.copy(KILLED).with_extension("part");
    wait_until("it has begun", || part.exists());
    killed.kill();
    let _again = room.mirror(KILLED);
    for host in [PLAIN, KILLED, QUIET] {
        room.wait_for_the_same(host, &course);
    }
    let _late = room.mirror(LATE);
    room.wait_for_the_same(LATE, &course);
    let is_named = || room.blocked(BLOCKED).is_some_and(|why| why.contains("course is in the way"));
    wait_until("the blocked one is named with its reason", is_named);

    for version in [2, 3] {
        change(&course, version);
        room.ask(GIVER, &["upload", "course"]);
        for host in [PLAIN, KILLED, QUIET, LATE] {
            room.wait_for_the_same(host, &course);
            let came = room.course(host).unwrap()["downloaded"].as_u64().unwrap();
            println!(
                "version {version}, host {host}: {:.2} % of {total} bytes",
                came as f64 * 100. / total as f64
            );
            assert!(came * 20 <= total, "{came} of {total} bytes came again");
        }
        wait_until("the blocked one is named with its reason", is_named);
        println!("version {version}, host {BLOCKED}: blocked: {}", room.blocked(BLOCKED).unwrap());
        assert_eq!(fs::read_to_string(room.copy(BLOCKED)).unwrap(), "somebody's file");
    }

    fs::remove_file(room.copy(BLOCKED)).unwrap();
    room.wait_for_the_same(BLOCKED, &course);
    wait_until("nothing is blocked", || room.blocked(BLOCKED).is_none());
    let status = room.ask(BLOCKED, &["status"]);
    assert_eq!(status["torrents"].as_array().unwrap().len(), 1, "it began with the newest version");
}
