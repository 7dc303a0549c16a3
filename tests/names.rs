//! Content with names that a disk elsewhere would not take: it is shared under its own names, where it lies, and
//! downloaded under safe ones, which stay the same.

mod common;

use common::*;
use shoal::peer::engine::{AddTorrent, Engine};
use shoal::torrent::verify::verify;
use shoal::torrent::{Format, Torrent};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Names of files, and of files in folders, with those that a download gives them.
const NAMES: [(&[u8], &str); 12] = [
    (b"plain", "plain"),
    (b"back\\slash", "back_slash.1"),
    (b"back_slash", "back_slash"),
    (b"new\nline.txt", "new_line.txt"),
    (b"CON", "_CON"),
    (b"Case", "Case"),
    (b"case", "case.1"),
    (b"C:", "C_"),
    (b"\xcf\xf0.txt", "\u{fffd}\u{fffd}.1.txt"),
    (b"\xc8\xe2.txt", "\u{fffd}\u{fffd}.txt"),
    (b"fol\\der/\x01/deep", "fol_der/_/deep"),
    (b"fol\\der/plain", "fol_der/plain"),
];

/// A folder `odd\name` in `dir` that holds these files, each with its own name as content, many times.
fn odd_folder(dir: &Path) -> PathBuf {
    let root = dir.join("odd\\name");
    for (name, _) in NAMES {
        let path = root.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name.repeat(3_000)).unwrap();
    }
    root
}

/// Whether all of it is in `dir`, with the names that a download gives.
fn assert_downloaded(torrent: &Torrent, dir: &Path) {
    for (name, safe) in NAMES {
        assert!(fs::read(dir.join("odd_name").join(safe)).unwrap() == name.repeat(3_000), "{safe}");
    }
    assert_eq!(fs::read_dir(dir).unwrap().count(), 1, "and nothing else");
    assert!(verify(torrent, dir, 1, &|_| ()).is_good());
}

#[test]
fn a_folder_with_odd_names_is_shared_where_it_lies_and_fetched_under_safe_names() {
    for format in [Format::V1, Format::V2, Format::Hybrid] {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let torrent = torrent_of(&odd_folder(from.path()), format, Some(1 << 14));
        assert_eq!((torrent.name(), torrent.files().len()), ("odd_name", NAMES.len()));
        assert!(verify(&torrent, from.path(), 2, &|_| ()).is_good(), "{format}: under its own names");

        let (seed, leecher) = (peer(), peer());
        // Once as hashed a moment ago, once as found on the disk, once as known from an earlier run.
        let add = match format {
            Format::V1 => AddTorrent::verified(torrent.clone(), from.path()),
            Format::V2 => AddTorrent::seed(torrent.clone(), from.path()),
            Format::Hybrid => AddTorrent::download(torrent.clone(), from.path()),
        };
        let shared = seed.add(add).unwrap();
        wait_until("the seed has looked at its files", || shared.is_complete());
        let swarm = leecher.add(AddTorrent::download(torrent.clone(), to.path())).unwrap();
        swarm.add_addresses([seed.addr()], true);
        leecher.look_for_peers();
        wait_until("the download is complete", || swarm.is_complete());
        assert_downloaded(&torrent, to.path());
        assert_eq!(fs::read_dir(from.path()).unwrap().count(), 1, "beside the original is nothing new");

        // The names are the same after a restart: nothing is missing, and nothing is made.
        drop(leecher);
        let restarted = peer();
        let again = restarted.add(AddTorrent::download(torrent.clone(), to.path())).unwrap();
        wait_until("it is complete at once", || again.is_complete());
        assert_downloaded(&torrent, to.path());
    }
}

#[test]
fn a_single_file_with_an_odd_name_is_shared_and_fetched() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path().join("odd\\film\n.mp4");
    fs::write(&path, content(1, 100_000)).unwrap();
    // What a download would be called is taken by something else.
    fs::write(from.path().join("odd_film_.mp4"), content(2, 100_000)).unwrap();
    let torrent = torrent_of(&path, Format::Hybrid, None);
    let (seed, leecher) = (peer(), peer());
    seed.add(AddTorrent::verified(torrent.clone(), from.path())).unwrap();
    let swarm = leecher.add(AddTorrent::download(torrent.clone(), to.path())).unwrap();
    swarm.add_addresses([seed.addr()], true);
    leecher.look_for_peers();
    wait_until("the download is complete", || swarm.is_complete());
    assert!(fs::read(to.path().join("odd_film_.mp4")).unwrap() == content(1, 100_000));
}

/// A file under the torrent's own name that is not the right one is no reason to serve it, nor to touch it.
#[test]
fn what_only_has_the_torrents_own_name_is_left_alone() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent_of(&odd_folder(from.path()), Format::Hybrid, Some(1 << 14));
    let other = odd_folder(to.path()).join("back\\slash");
    let wrong = vec![9; fs::metadata(&other).unwrap().len() as usize];
    fs::write(&other, &wrong).unwrap();
    let (seed, leecher): (Engine, Engine) = (peer(), peer());
    seed.add(AddTorrent::seed(torrent.clone(), from.path())).unwrap();
    let swarm = leecher.add(AddTorrent::download(torrent.clone(), to.path())).unwrap();
    swarm.add_addresses([seed.addr()], true);
    leecher.look_for_peers();
    wait_until("the download is complete", || swarm.is_complete());
    assert!(fs::read(&other).unwrap() == wrong);
    assert!(fs::read(to.path().join("odd_name/back_slash.1")).unwrap() == NAMES[1].0.repeat(3_000));
}
