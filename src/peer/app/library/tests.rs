//! Tests of the library, on folders of their own.

use super::*;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

#[test]
fn a_restart_reads_nothing_again_and_changes_are_found() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    write("a.txt", "one");
    write("sub/b.bin", "two");
    for left_out in ["empty", ".hidden", "film.part"] {
        write(left_out, if left_out == "empty" { "" } else { "x" });
    }
    let open = || Library::open(dir.path(), Arc::new(StateDir::open(state.path()).unwrap()));
    let mut hashed = Vec::new();
    let first = open().scan(Duration::ZERO, |path, _| hashed.push(path.to_owned())).unwrap();
    assert_eq!((first.added.len(), hashed.len()), (2, 2));

    let mut library = open();
    let read_again = |path: &Path, _| panic!("{} was read again", path.display());
    let second = library.scan(Duration::ZERO, read_again).unwrap();
    assert_eq!((second.added.len(), second.removed.len()), (2, 0));

    write("a.txt", "changed");
    fs::remove_file(dir.path().join("sub/b.bin")).unwrap();
    write("c", "three");
    let third = library.scan(Duration::ZERO, |_, _| ()).unwrap();
    assert_eq!((third.added.len(), third.removed.len()), (2, 2));
}

/// Bug: the hashes of all files were read from the disk at each scan, every minute.
#[test]
fn what_is_shared_and_unchanged_is_not_read_again() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(dir.path().join("film"), "film").unwrap();
    let mut library = Library::open(dir.path(), Arc::new(StateDir::open(state.path()).unwrap()));
    assert_eq!(library.scan(Duration::ZERO, |_, _| ()).unwrap().added.len(), 1);
    fs::remove_dir_all(state.path().join("torrents")).unwrap();
    let read_again = |path: &Path, _| panic!("{} was read again", path.display());
    let again = library.scan(Duration::ZERO, read_again).unwrap();
    assert_eq!((again.added.len(), again.removed.len()), (0, 0));
}

#[test]
fn what_is_left_out_is_told_once() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    [".a", ".b", "x.part"].into_iter().for_each(|name| write(name, "x"));
    write("empty", "");
    std::os::unix::fs::symlink("x.part", dir.path().join("link")).unwrap();
    let mut library = Library::open(dir.path(), Arc::new(StateDir::open(state.path()).unwrap()));
    let told = library.scan(Duration::ZERO, |_, _| ()).unwrap().left_out.unwrap();
    assert!(
        told.ends_with("not shared: 1 empty file, 2 hidden files, 1 link, 1 unfinished file (.part)"),
        "{told}"
    );
    assert_eq!(library.scan(Duration::ZERO, |_, _| ()).unwrap().left_out, None);
    write(".c", "x");
    let told = library.scan(Duration::ZERO, |_, _| ()).unwrap().left_out.unwrap();
    assert!(told.ends_with("not shared: 1 hidden file"), "{told}");
}

/// Bug: a warning about a file was said again every minute.
#[test]
fn a_trouble_lasts_until_it_is_over() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut library = Library::open(dir.path(), Arc::new(StateDir::open(state.path()).unwrap()));
    let (film, gone) = (dir.path().join("film"), dir.path().join("gone"));
    fs::write(&film, "film").unwrap();
    let mut news = |troubles: &[(&PathBuf, &str)]| {
        let troubles = troubles.iter().map(|(path, why)| ((*path).clone(), (*why).to_owned()));
        library.news(troubles.collect())
    };
    assert_eq!(news(&[(&film, "denied"), (&gone, "denied")]).len(), 2);
    assert!(news(&[(&film, "denied"), (&gone, "denied")]).is_empty(), "it was told");
    assert_eq!(news(&[(&film, "broken"), (&gone, "denied")]), [format!("{}: broken", film.display())]);
    assert_eq!(news(&[]), [format!("{}: all is well again", film.display())]);
}

#[test]
fn a_file_that_is_being_written_is_left_for_later() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("film");
    fs::write(&path, "half").unwrap();
    let mut library = Library::open(dir.path(), Arc::new(StateDir::open(state.path()).unwrap()));
    let an_hour = Duration::from_secs(3600);
    let early = library.scan(an_hour, |_, _| panic!("it was read")).unwrap();
    assert!(early.unsettled && early.added.is_empty());

    let set_modified = |time| File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    set_modified(SystemTime::now() - 2 * an_hour);
    let later = library.scan(an_hour, |_, _| ()).unwrap();
    assert_eq!((later.unsettled, later.added.len()), (false, 1));

    fs::write(&path, "half and half").unwrap();
    let changed = library.scan(an_hour, |_, _| panic!("it was read")).unwrap();
    assert_eq!((changed.unsettled, changed.removed.len()), (true, 1), "what it was is gone");
    set_modified(SystemTime::now() + an_hour);
    let odd = library.scan(an_hour, |_, _| ()).unwrap();
    assert_eq!((odd.unsettled, odd.added.len()), (false, 1), "a clock that is wrong");
}

#[test]
fn a_scan_that_is_stopped_changes_nothing() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(dir.path().join("a"), "one").unwrap();
    let mut library = Library::open(dir.path(), Arc::new(StateDir::open(state.path()).unwrap()));
    assert_eq!(library.scan(Duration::ZERO, |_, _| ()).unwrap().added.len(), 1);
    fs::write(dir.path().join("b"), "two").unwrap();
    library.stopper().store(true, Ordering::Relaxed);
    let stopped = library.scan(Duration::ZERO, |_, _| ()).unwrap();
    assert!(stopped.added.is_empty() && stopped.removed.is_empty());
}

/// Bug: such a file was not shared. Where it was, no hash of the whole folder could be kept.
#[test]
fn a_name_that_is_not_utf8_is_shared_and_costs_only_its_own_hashes() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let odd = dir.path().join(OsStr::from_bytes(b"\xcf\\\xf0"));
    fs::write(&odd, "odd").unwrap();
    fs::write(dir.path().join("plain"), "plain").unwrap();
    for hashed in [2, 1] {
        let mut library = Library::open(dir.path(), Arc::new(StateDir::open(state.path()).unwrap()));
        let mut paths = Vec::new();
        let found = library.scan(Duration::ZERO, |path, _| paths.push(path.to_owned())).unwrap();
        assert_eq!((found.added.len(), paths.len()), (2, hashed), "{paths:?}");
        assert!(paths.contains(&odd));
    }
}

#[test]
fn the_same_file_twice_is_one_torrent_until_both_are_gone() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for sub in ["x", "y"] {
        fs::create_dir(dir.path().join(sub)).unwrap();
        fs::write(dir.path().join(sub).join("same"), "same").unwrap();
    }
    let mut library = Library::open(dir.path(), Arc::new(StateDir::open(state.path()).unwrap()));
    assert_eq!(library.scan(Duration::ZERO, |_, _| ()).unwrap().added.len(), 1);
    fs::remove_file(dir.path().join("x/same")).unwrap();
    let moved = library.scan(Duration::ZERO, |_, _| ()).unwrap();
    assert_eq!((moved.added.len(), moved.removed.len()), (1, 1));
    assert!(moved.added[0].dir.ends_with("y"));
}

/// Bug: a share that was not mounted for a while was withdrawn, and hashed again when it was back.
#[test]
fn a_folder_that_is_away_for_a_while_is_neither_withdrawn_nor_hashed_again() {
    let (place, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (dir, away) = (place.path().join("uploads"), place.path().join("away"));
    fs::create_dir_all(dir.join("sub")).unwrap();
    fs::write(dir.join("a"), "one").unwrap();
    fs::write(dir.join("sub/b"), "two").unwrap();
    let open = || Library::open(&dir, Arc::new(StateDir::open(state.path()).unwrap()));
    let read_again = |path: &Path, _| panic!("{} was read again", path.display());
    let counts = |changes: Changes| (changes.added.len(), changes.removed.len(), changes.absent);
    let mut library = open();
    assert_eq!(counts(library.scan(Duration::ZERO, |_, _| ()).unwrap()), (2, 0, false));
    fs::rename(&dir, &away).unwrap();
    assert_eq!(counts(library.scan(Duration::ZERO, read_again).unwrap()), (0, 0, true));
    assert!(!dir.exists(), "it is not made anew");
    fs::rename(&away, &dir).unwrap();
    assert_eq!(counts(library.scan(Duration::ZERO, read_again).unwrap()), (0, 0, false));
    drop(library);

    // It is away at the start.
    fs::rename(&dir, &away).unwrap();
    let mut library = open();
    assert_eq!(counts(library.scan(Duration::ZERO, read_again).unwrap()), (0, 0, true));
    fs::rename(&away, &dir).unwrap();
    assert_eq!(counts(library.scan(Duration::ZERO, read_again).unwrap()), (2, 0, false));

    // What is really gone, is.
    fs::remove_file(dir.join("a")).unwrap();
    assert_eq!(counts(library.scan(Duration::ZERO, read_again).unwrap()), (0, 1, false));
    fs::remove_dir_all(dir.join("sub")).unwrap();
    assert_eq!(counts(library.scan(Duration::ZERO, read_again).unwrap()), (0, 1, false));
}

/// Where a share is mounted there is an empty folder when it is not, on another device.
#[test]
fn a_file_whose_folder_is_on_another_device_now_is_out_of_reach() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(dir.path().join("share")).unwrap();
    fs::write(dir.path().join("here"), "one").unwrap();
    let mut library = Library::open(dir.path(), Arc::new(StateDir::open(state.path()).unwrap()));
    library.scan(Duration::ZERO, |_, _| ()).unwrap();
    let (path, device) = (dir.path().join("share/film"), device(dir.path()).unwrap() + 1);
    let known = library.known[&dir.path().join("here")].clone();
    library.known.insert(path.clone(), Known { device: Some(device), ..known });
    let changes = library.scan(Duration::ZERO, |_, _| ()).unwrap();
    assert!(!changes.absent && library.known.contains_key(&path));
    library.known.get_mut(&path).unwrap().device = Some(device - 1);
    library.scan(Duration::ZERO, |_, _| ()).unwrap();
    assert!(!library.known.contains_key(&path), "it was removed");
}
