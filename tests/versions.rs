//! A folder is offered again and again, with something changed each time: the room gets each version, what is
//! equal is not fetched again, and nothing that a user changed is lost.

mod cli_support;
mod common;

use cli_support::{Process, Swarm};
use common::{content, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Number of bytes of the larger files.
const LARGE: usize = 6 << 20;

/// A folder to offer. Its files are known from the number of the version.
struct Course {
    dir: PathBuf,
}

impl Course {
    fn new(swarm: &Swarm) -> Self {
        let course = Course { dir: swarm.home("giver").join("course") };
        fs::create_dir_all(course.dir.join("week 1")).unwrap();
        for (nth, name) in ["disk.img", "week 1/lecture.mp4"].into_iter().enumerate() {
            fs::write(course.dir.join(name), content(nth as u64, LARGE)).unwrap();
        }
        course.write(1);
        course
    }

    /// Makes this version of it: some bytes in the middle differ, one file is new, one is gone, one has
    /// moved.
    fn write(&self, version: u8) {
        let disk = self.dir.join("disk.img");
        let mut bytes = fs::read(&disk).unwrap();
        bytes[LARGE / 2..LARGE / 2 + 60_000].fill(version);
        fs::write(&disk, bytes).unwrap();
        let notes = |version: u8| self.dir.join(format!("notes {version}.txt"));
        fs::write(notes(version), format!("of version {version}")).unwrap();
        let _ = fs::remove_file(notes(version - 1));
        let place = |version: u8| self.dir.join(if version % 2 == 1 { "tool.bin" } else { "bin/tool.bin" });
        fs::create_dir_all(self.dir.join("bin")).unwrap();
        match fs::rename(place(version - 1), place(version)) {
            Ok(()) => {}
            Err(_) => fs::write(place(version), content(9, 1 << 20)).unwrap(),
        }
    }
}

/// All files below a folder, with their content.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let bytes = fs::read(entry.path()).unwrap_or_default(); // it may be renamed just now
                found.insert(entry.path().strip_prefix(dir).unwrap().to_owned(), bytes);
            }
        }
    }
    found
}

/// Makes these files below a folder.
fn put(dir: &Path, files: BTreeMap<PathBuf, Vec<u8>>) {
    for (name, bytes) in files {
        fs::create_dir_all(dir.join(&name).parent().unwrap()).unwrap();
        fs::write(dir.join(name), bytes).unwrap();
    }
}

fn is_here(swarm: &Swarm, mirror: &str, course: &Course) -> bool {
    let downloads = swarm.home(mirror).join("downloads");
    !downloads.join("course.part").exists() && files(&downloads.join("course")) == files(&course.dir)
}

fn wait_for(swarm: &Swarm, mirror: &str, course: &Course) {
    wait_until(&format!("{mirror} has the newest version"), || is_here(swarm, mirror, course));
}

/// What `status` says of the course.
fn status(peer: &mut Process) -> Value {
    let status = peer.ask_json("status");
    let torrents = status["torrents"].as_array().unwrap().iter();
    let courses: Vec<&Value> = torrents.filter(|torrent| torrent["name"] == "course").collect();
    assert_eq!(courses.len(), 1, "{status:#}");
    courses[0].clone()
}

/// Why the only other peer in the room cannot have it, according to the one that offers it.
fn blocked(giver: &mut Process) -> Option<String> {
    let status = status(giver);
    let others = status["room"].as_array().unwrap().iter();
    others.filter_map(|other| other["blocked"].as_str()).map(str::to_owned).next()
}

fn wait_for_block(giver: &mut Process, words: &str) {
    wait_until(&format!("`{words}` is told to who offers"), || {
        blocked(giver).is_some_and(|why| why.contains(words))
    });
}

#[test]
fn a_newer_version_replaces_the_older_one_and_only_what_differs_is_fetched() {
    let swarm = Swarm::new();
    let course = Course::new(&swarm);
    let mut giver = swarm.peer("giver", &["--json"]);
    let mut mirror = swarm.peer("mirror", &["--mirror", "--json"]);
    giver.ask("upload course");
    wait_for(&swarm, "mirror", &course);
    let first = status(&mut mirror)["downloaded"].as_u64().unwrap();
    assert!(first > 2 * LARGE as u64);
    let mut keys = vec![swarm.key("course").unwrap()];
    for version in [2, 3] {
        course.write(version);
        giver.ask("upload course");
        wait_for(&swarm, "mirror", &course);
        let status = status(&mut mirror);
        let came = status["downloaded"].as_u64().unwrap();
        assert!(came < first / 20, "{came} of {first} bytes came again");
        wait_until("the older version is gone from the catalogue", || swarm.names() == ["course"]);
        keys.push(swarm.key("course").unwrap());
    }
    keys.dedup();
    assert_eq!(keys.len(), 3);
    // Only the newest is kept by the tracker, and told to others.
    let catalogue = swarm.place.path().join("catalogue");
    let list = || fs::read_to_string(catalogue.join("search_content.txt")).unwrap();
    wait_until("the list has one line", || list().lines().count() == 1);
    assert!(list().contains(&keys[2]));
    assert!(!catalogue.join(format!("{}.torrent", keys[0])).exists());

    // One that was not there for two versions, and a new one.
    mirror.kill();
    course.write(4);
    giver.ask("upload course");
    course.write(5);
    giver.ask("upload course");
    let mut mirror = swarm.peer("mirror", &["--mirror", "--json"]);
    let mut late = swarm.peer("late", &["--mirror", "--json"]);
    wait_for(&swarm, "mirror", &course);
    wait_for(&swarm, "late", &course);
    assert!(status(&mut mirror)["downloaded"].as_u64().unwrap() < first / 20);
    assert_eq!(late.ask_json("status")["torrents"].as_array().unwrap().len(), 1, "it began with the newest");

    // And back: the same bytes as before are the same torrent as before.
    let names = files(&course.dir);
    course.write(6);
    giver.ask("upload course");
    wait_for(&swarm, "mirror", &course);
    fs::remove_dir_all(&course.dir).unwrap();
    put(&course.dir, names);
    giver.ask("upload course");
    wait_for(&swarm, "mirror", &course);
    wait_for(&swarm, "late", &course);
}

#[test]
fn what_a_user_changed_in_a_mirrored_copy_is_never_replaced() {
    let swarm = Swarm::new();
    let course = Course::new(&swarm);
    let mut giver = swarm.peer("giver", &["--json"]);
    let mut mirror = swarm.peer("mirror", &["--mirror", "--json"]);
    giver.ask("upload course");
    wait_for(&swarm, "mirror", &course);

    let copy = swarm.download("mirror", "course");
    fs::write(copy.join("notes 1.txt"), "my own words").unwrap();
    fs::write(copy.join("week 1/solution.txt"), "mine").unwrap();
    course.write(2);
    giver.ask("upload course");
    wait_for_block(&mut giver, "notes 1.txt was changed here");
    assert_eq!(fs::read_to_string(copy.join("notes 1.txt")).unwrap(), "my own words");

    // Once it is out of the way, the newer version comes; a file that was added stays.
    fs::rename(copy.join("notes 1.txt"), swarm.home("mirror").join("kept")).unwrap();
    wait_until("the newer version is here", || copy.join("notes 2.txt").exists());
    wait_until("nothing is blocked", || blocked(&mut giver).is_none());
    let mut there = files(&copy);
    assert_eq!(there.remove(Path::new("week 1/solution.txt")).as_deref(), Some(&b"mine"[..]));
    assert_eq!(there, files(&course.dir));
    status(&mut mirror);
}

#[test]
fn a_mirror_that_cannot_says_why_and_goes_on_when_it_can() {
    let swarm = Swarm::new();
    let course = Course::new(&swarm);
    let in_the_way = swarm.download("mirror", "course");
    fs::create_dir_all(in_the_way.parent().unwrap()).unwrap();
    fs::write(&in_the_way, "a file of that name").unwrap();
    let mut giver = swarm.peer("giver", &["--json"]);
    let mut mirror = swarm.peer("mirror", &["--mirror", "--json"]);
    giver.ask("upload course");
    wait_for_block(&mut giver, "is in the way");
    fs::remove_file(&in_the_way).unwrap();
    wait_for(&swarm, "mirror", &course);
    wait_until("nothing is blocked", || blocked(&mut giver).is_none());

    // What its user has paused is left alone, and the newer version waits.
    mirror.ask("pause course");
    course.write(2);
    giver.ask("upload course");
    wait_for_block(&mut giver, "is paused");
    mirror.ask("resume course");
    wait_for(&swarm, "mirror", &course);
}

/// One that is still fetching the older version goes over to the newer one, with what it has.
#[test]
fn a_newer_version_comes_while_the_older_one_is_being_fetched() {
    let swarm = Swarm::new();
    let course = Course::new(&swarm);
    let mut giver = swarm.peer("giver", &["--json", "--up", "8MB"]);
    let mut mirror = swarm.peer("mirror", &["--mirror", "--json"]);
    giver.ask("upload course");
    let part = swarm.download("mirror", "course.part");
    wait_until("some of it is here", || part.exists() && status(&mut mirror)["have"].as_u64() > Some(20));
    course.write(2);
    giver.ask("upload course");
    wait_for(&swarm, "mirror", &course);
    let status = status(&mut mirror);
    let (came, size) = (status["downloaded"].as_u64().unwrap(), status["size"].as_u64().unwrap());
    assert!(came < size, "what was here already came again: {came} of {size} bytes");
}

/// Bug: a folder that was offered, and changed while its peer was down, was taken for a download that had
/// been damaged: it was renamed to `.part`, and what others had of it was written over the new files.
#[test]
fn what_was_offered_and_changed_while_its_peer_was_down_is_only_read() {
    let swarm = Swarm::new();
    let course = Course::new(&swarm);
    let mut giver = swarm.peer("giver", &["--json"]);
    let _mirror = swarm.peer("mirror", &["--mirror"]);
    giver.ask("upload course");
    wait_for(&swarm, "mirror", &course);
    giver.kill();
    course.write(2);
    let changed = files(&course.dir);
    let mut giver = swarm.peer("giver", &["--json"]);
    wait_until("what is left of it is known", || status(&mut giver)["state"] != "sharing");
    assert_eq!(files(&course.dir), changed);
    giver.ask("upload course");
    wait_for(&swarm, "mirror", &course);
    assert_eq!(files(&course.dir), changed);
}

/// Bug: at its next start a mirror took what its user had changed for a damaged download, and fetched it
/// anew.
#[test]
fn what_a_user_changed_while_the_mirror_was_down_is_not_overwritten() {
    let swarm = Swarm::new();
    let course = Course::new(&swarm);
    let mut giver = swarm.peer("giver", &["--json"]);
    let mut mirror = swarm.peer("mirror", &["--mirror", "--json"]);
    giver.ask("upload course");
    wait_for(&swarm, "mirror", &course);
    mirror.kill();
    let copy = swarm.download("mirror", "course");
    let change = |version: u8| {
        let mut bytes = fs::read(copy.join("disk.img")).unwrap();
        bytes[1000..1004].fill(version);
        fs::write(copy.join("disk.img"), bytes).unwrap();
    };
    change(7);
    let mine = files(&copy);
    let mut mirror = swarm.peer("mirror", &["--mirror", "--json"]);
    wait_for_block(&mut giver, "disk.img was changed here");
    assert!(files(&copy) == mine);

    // Nor by a newer version, nor at the start after that.
    course.write(2);
    giver.ask("upload course");
    wait_for_block(&mut giver, "disk.img was changed here");
    mirror.kill();
    let _mirror = swarm.peer("mirror", &["--mirror", "--json"]);
    wait_for_block(&mut giver, "disk.img was changed here");
    assert!(files(&copy) == mine);

    fs::rename(copy.join("disk.img"), swarm.home("mirror").join("kept")).unwrap();
    wait_for(&swarm, "mirror", &course);
}

/// The same with nothing newer: once the change is out of the way, what is missing is fetched.
#[test]
fn a_changed_copy_goes_on_by_itself_when_the_change_is_out_of_the_way() {
    let swarm = Swarm::new();
    swarm.shares("giver", "lab.img", &content(1, LARGE));
    let _giver = swarm.peer("giver", &[]);
    wait_until("it is published", || !swarm.names().is_empty());
    swarm.once("taker", &["download", "lab.img"]).good();
    let path = swarm.download("taker", "lab.img");
    let mut mine = content(1, LARGE);
    mine.extend(b"and some words of mine");
    fs::write(&path, &mine).unwrap();
    let mut taker = swarm.peer("taker", &["--json"]);
    let state = |taker: &mut Process| {
        let status = taker.ask_json("status");
        (
            status["torrents"].as_array().unwrap().len(),
            status["torrents"][0]["state"].as_str().unwrap().to_owned(),
        )
    };
    let (count, why) = state(&mut taker);
    assert!(count == 1 && why.contains("was changed here"), "{why}");
    taker.ask("resume lab.img");
    assert!(state(&mut taker).1.contains("was changed here"), "it still is");
    assert!(fs::read(&path).unwrap() == mine);
    fs::rename(&path, swarm.home("taker").join("kept")).unwrap();
    wait_until("it was fetched again", || fs::read(&path).is_ok_and(|bytes| bytes == content(1, LARGE)));
}

/// Bug: the older version was gone already when it turned out that a file of the user has a name of the newer
/// one, which then never got its place.
#[test]
fn a_file_that_was_added_and_has_a_name_of_the_newer_version_is_in_its_way() {
    let swarm = Swarm::new();
    let course = Course::new(&swarm);
    let mut giver = swarm.peer("giver", &["--json"]);
    let _mirror = swarm.peer("mirror", &["--mirror", "--json"]);
    giver.ask("upload course");
    wait_for(&swarm, "mirror", &course);
    let copy = swarm.download("mirror", "course");
    fs::write(copy.join("notes 2.txt"), "my own notes").unwrap();
    let before = files(&copy);
    course.write(2);
    giver.ask("upload course");
    wait_for_block(&mut giver, "notes 2.txt is in the way");
    assert!(files(&copy) == before, "the older version is whole");
    fs::rename(copy.join("notes 2.txt"), swarm.home("mirror").join("kept")).unwrap();
    wait_for(&swarm, "mirror", &course);
    wait_until("nothing is blocked", || blocked(&mut giver).is_none());
}

/// Bug: whoever took the peer id of another, which everybody is told, could replace what that one had
/// offered.
#[test]
fn a_newer_version_by_somebody_else_is_not_taken() {
    let swarm = Swarm::new();
    let course = Course::new(&swarm);
    let mut giver = swarm.peer("giver", &["--json"]);
    let mut mirror = swarm.peer("mirror", &["--mirror", "--json"]);
    giver.ask("upload course");
    wait_for(&swarm, "mirror", &course);
    let theirs = swarm.home("thief").join("course");
    put(&theirs, files(&course.dir));
    let state = |name: &str| swarm.home(name).join(".shoal");
    fs::create_dir_all(state("thief")).unwrap();
    fs::copy(state("giver").join("peer_id"), state("thief").join("peer_id")).unwrap();
    let mut thief = swarm.peer("thief", &["--json"]);
    thief.ask("upload course");
    fs::write(theirs.join("disk.img"), b"evil").unwrap();
    thief.ask("upload course");
    wait_until("the mirror has heard of it", || {
        mirror.ask_json("status");
        blocked(&mut thief).is_some_and(|why| why.contains("is in the way"))
    });
    assert!(is_here(&swarm, "mirror", &course));
    assert_eq!(swarm.names(), ["course", "course"], "nor is it hidden");
}

/// Bug: a newer version made the folder anew that was only not mounted.
#[test]
fn a_newer_version_waits_for_the_folder_of_the_older_one() {
    let swarm = Swarm::new();
    let course = Course::new(&swarm);
    let mut giver = swarm.peer("giver", &["--json", "--up", "2MB"]);
    let mut mirror = swarm.peer("mirror", &["--mirror", "--json"]);
    giver.ask("upload course");
    wait_until("some of it is saved", || {
        let resumes =
            fs::read_dir(swarm.home("mirror").join(".shoal/resume")).into_iter().flatten().flatten();
        resumes.into_iter().any(|entry| entry.path().extension().is_some_and(|end| end == "json"))
            && status(&mut mirror)["have"].as_u64() > Some(20)
    });
    let downloads = swarm.home("mirror").join("downloads");
    fs::rename(&downloads, swarm.home("mirror").join("unmounted")).unwrap();
    wait_until("it is missed", || status(&mut mirror)["state"].as_str().unwrap().contains("is not there"));
    course.write(2);
    giver.ask("upload course");
    wait_for_block(&mut giver, "is not there");
    assert!(!downloads.exists());
    fs::rename(swarm.home("mirror").join("unmounted"), &downloads).unwrap();
    wait_for(&swarm, "mirror", &course);
}

/// Bug: whether a folder is the user's own stood in another file than what is known of it, so a crash between
/// the two made a download of it.
#[test]
fn a_folder_stays_its_user_s_when_it_is_not_known_any_more_that_it_was_offered() {
    let swarm = Swarm::new();
    let course = Course::new(&swarm);
    let mut giver = swarm.peer("giver", &["--json"]);
    let _mirror = swarm.peer("mirror", &["--mirror"]);
    giver.ask("upload course");
    wait_for(&swarm, "mirror", &course);
    giver.kill();
    fs::remove_file(swarm.home("giver").join(".shoal/offered.json")).unwrap();
    course.write(2);
    let changed = files(&course.dir);
    let mut giver = swarm.peer("giver", &["--json"]);
    wait_until("what is left of it is known", || status(&mut giver)["state"] != "sharing");
    assert!(files(&course.dir) == changed);
}
