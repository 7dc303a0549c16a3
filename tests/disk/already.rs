//! What is on the disk already when a download begins: left half done by another client, or whole but for a
//! file that was deleted.

use super::*;
use shoal::bitfield::Bitfield;
use std::os::unix::fs::MetadataExt;

/// A torrent of several files that share pieces in v1, in pieces of 16 KiB.
fn several(format: Format) -> Source {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("several");
    fs::create_dir_all(path.join("sub")).unwrap();
    for (seed, (name, len)) in FILES.into_iter().enumerate() {
        fs::write(path.join(name), content(seed as u64, len)).unwrap();
    }
    let torrent = torrent_of(&path, format, Some(1 << 14));
    fs::write(dir.path().join("it.torrent"), torrent.bytes()).unwrap();
    Source { dir, path, torrent }
}

const FILES: [(&str, usize); 5] =
    [("a", 100_000), ("b", 50_000), ("sub/c", 1_000), ("sub/d", 200_001), ("e", 70_000)];

/// A real `torrent download` from this seed, to its end.
fn download(source: &Source, seed: &Engine, to: &Path) -> Output {
    let metainfo = source.dir.path().join("it.torrent");
    let (metainfo, to, addr) = (metainfo.to_str().unwrap(), to.to_str().unwrap(), seed.addr().to_string());
    torrent(&["download", metainfo, "-d", to, "--peer", &addr, "--listen", "127.0.0.1:0"])
}

fn assert_good(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// Bug: the half that another client had was in the way.
#[test]
fn what_another_client_left_half_done_is_gone_on_from() {
    let source = Source::file("file", 100 * (1 << 15));
    let (seed, to) = (peer(), tempfile::tempdir().unwrap());
    let serves = source.share(&seed);
    let mut left = fs::read(&source.path).unwrap();
    left[42 << 15..].fill(0); // preallocated, and 42 pieces are there
    fs::write(to.path().join("file"), &left).unwrap();
    let said = assert_good(&download(&source, &seed, to.path()));
    assert!(said.contains("42 of 100 pieces of file were already here"), "{said}");
    assert_same(&source.path, &to.path().join("file"));
    assert!(!to.path().join("file.part").exists());
    assert_eq!(serves.progress().uploaded, 58 << 15, "only what was missing was fetched");
}

#[test]
fn a_file_that_is_not_the_torrents_is_in_the_way_and_stays_as_it_is() {
    let source = Source::file("file", 300_000);
    let (seed, to) = (peer(), tempfile::tempdir().unwrap());
    source.share(&seed);
    let mine = content(99, 300_000);
    fs::write(to.path().join("file"), &mine).unwrap();
    assert_fails_with(&download(&source, &seed, to.path()), &["file is in the way"]);
    assert!(fs::read(to.path().join("file")).unwrap() == mine);
    assert!(!to.path().join("file.part").exists());
}

/// Two versions of one name: the first is being served, and is not taken from under its torrent.
#[test]
fn a_file_that_another_torrent_serves_is_not_taken_from_it() {
    let (first, second) = (Source::file("file", 300_000), tempfile::tempdir().unwrap());
    let mut newer = fs::read(&first.path).unwrap();
    newer[200_000] ^= 1;
    fs::write(second.path().join("file"), &newer).unwrap();
    let second = torrent_of(&second.path().join("file"), Format::Hybrid, Some(1 << 15));
    let seed = peer();
    let serves = first.share(&seed);
    let refused = seed.add(AddTorrent::download(second, first.dir.path())).err().unwrap().to_string();
    assert!(refused.contains("file is in the way"), "{refused}");
    assert!(first.path.exists() && serves.is_running());
}

/// A folder in the middle of a download by a client that reserves space: whole files, begun ones, reserved
/// ones, and one of the client's own.
#[test]
fn a_folder_that_another_client_left_half_done_is_gone_on_from() {
    for format in [Format::V1, Format::V2, Format::Hybrid] {
        let source = several(format);
        let (seed, to) = (peer(), tempfile::tempdir().unwrap());
        let serves = source.share(&seed);
        let there = to.path().join("several");
        fs::create_dir_all(there.join("sub")).unwrap();
        for (name, len) in FILES {
            fs::copy(source.path.join(name), there.join(name)).unwrap();
            let file = fs::File::options().write(true).open(there.join(name)).unwrap();
            match name {
                "b" => file.set_len(20_000).unwrap(),
                "sub/d" | "e" => {
                    file.set_len(if name == "e" { 0 } else { 40_000 }).unwrap();
                    file.set_len(len as u64).unwrap(); // a hole
                }
                _ => {}
            }
        }
        fs::write(there.join("sub/client.state"), b"not of the torrent").unwrap();
        let said = assert_good(&download(&source, &seed, to.path()));
        assert!(said.contains("pieces of several were already here"), "{format}: {said}");
        for (name, _) in FILES {
            assert_same(&source.path.join(name), &there.join(name));
        }
        assert_eq!(fs::read(there.join("sub/client.state")).unwrap(), b"not of the torrent");
        assert!(!to.path().join("several.part").exists() && !to.path().join(".several.part").exists());
        assert!(serves.progress().uploaded < 330_000, "{format}: {}", serves.progress().uploaded);
    }
}

/// Bug: in v1 the neighbours of a deleted file were in the way. With the state of an earlier run, all was
/// hashed again.
#[test]
fn a_deleted_file_of_a_finished_torrent_is_fetched_back() {
    for format in [Format::V1, Format::V2, Format::Hybrid] {
        let source = several(format);
        let (seed, place) = (peer(), tempfile::tempdir().unwrap());
        source.share(&seed);
        let (to, state) = (place.path().join("to"), place.path().join("state"));
        for keeps_state in [true, false] {
            let _ = fs::remove_dir_all(&to);
            let leecher = Engine::start(&config(Some(&state))).unwrap();
            let swarm = source.download(&leecher, &seed, &to);
            wait_until("it is complete", || swarm.is_complete());
            drop((swarm, leecher));
            let there = to.join("several");
            fs::remove_file(there.join("b")).unwrap();
            fs::remove_file(there.join("sub/d")).unwrap();
            fs::File::options().write(true).open(there.join("e")).unwrap().set_len(40_000).unwrap();
            let inode = |name: &str| fs::metadata(there.join(name)).unwrap().ino();
            let before = [inode("a"), inode("sub/c")];
            if !keeps_state {
                fs::remove_dir_all(&state).unwrap();
            }
            let leecher = Engine::start(&config(Some(&state))).unwrap();
            let swarm = leecher.add(AddTorrent::download(source.torrent.clone(), &to)).unwrap();
            let checked = swarm.progress().checking as u32;
            wait_until("it is looked at", || swarm.progress().checking == 0);
            let of = |name: &str| {
                let index = source.torrent.files().iter().position(|file| file.path.join("/") == name);
                source.torrent.geometry().pieces_of(index.unwrap())
            };
            if keeps_state {
                let mut doubted = Bitfield::new(source.torrent.geometry().piece_count());
                ["b", "sub/d", "e"].into_iter().flat_map(of).for_each(|piece| {
                    doubted.set(piece);
                });
                assert!(checked <= doubted.count(), "{format}: what is unchanged is not hashed again");
            }
            assert_eq!([inode("a"), inode("sub/c")], before, "the neighbours stay where they are");
            swarm.add_addresses([seed.addr()], true);
            leecher.look_for_peers();
            wait_until("it is complete again", || swarm.is_complete());
            assert_same(&source.path, &there);
            assert_eq!([inode("a"), inode("sub/c")], before);
            drop((swarm, leecher));
            fs::remove_dir_all(&state).unwrap();
        }
    }
}

/// Bug: without what was kept of its neighbours, a file that was right was in the way of its own download.
#[test]
fn a_file_that_cannot_be_proved_without_its_neighbours_is_unproven_and_not_wrong() {
    let source = several(Format::V1);
    let (seed, to) = (peer(), tempfile::tempdir().unwrap());
    source.share(&seed);
    let metainfo = source.dir.path().join("it.torrent");
    let (metainfo, dir) = (metainfo.to_str().unwrap(), to.path().to_str().unwrap());
    let addr = seed.addr().to_string();
    let fetch = ["download", metainfo, "-d", dir, "--files", "b", "--listen", "127.0.0.1:0", "--peer", &addr];
    assert_good(&torrent(&fetch));
    let verify = |args: &[&str]| {
        let output = torrent(&[&["verify", metainfo, dir][..], args].concat());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (status, said) = verify(&["--files", "b"]);
    assert_eq!((status, said.as_str()), (Some(0), "several: 1 of 1 files good, 4 of 4 pieces\n"));

    fs::remove_dir_all(to.path().join(".several.part")).unwrap();
    let (status, said) = verify(&["--files", "b"]);
    let line = "several/b: unproven, 2 of its pieces lie partly in a file that is missing or wrong\n";
    assert!(
        said.contains(line) && said.ends_with("0 of 1 files good, 1 unproven, 2 of 4 pieces\n"),
        "{said}"
    );
    assert_eq!(status, Some(1));
    let (status, said) = verify(&["--files", "b", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&json["good"], &json["have"], &json["n_parts"]), (&false.into(), &2.into(), &4.into()));
    let file = &json["files"][0];
    assert_eq!(
        (&file["state"], &file["n_parts"], &file["number"]),
        (&"unproven".into(), &2.into(), &2.into())
    );
    assert_eq!((status, json["files"].as_array().unwrap().len()), (Some(1), 1));
    assert_eq!(verify(&["--files", "nowhere"]).0, Some(2));

    // It is not in the way, neither of itself nor of the others, and stays where it is.
    fs::remove_dir_all(to.path().join(".shoal")).unwrap();
    let inode = || fs::metadata(to.path().join("several/b")).unwrap().ino();
    let before = inode();
    assert_good(&torrent(&fetch));
    fs::remove_dir_all(to.path().join(".several.part")).unwrap();
    fs::remove_dir_all(to.path().join(".shoal")).unwrap();
    assert_good(&download(&source, &seed, to.path()));
    assert_same(&source.path, &to.path().join("several"));
    assert_eq!(inode(), before);
    let (status, said) = verify(&["--json"]);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((status, &json["good"]), (Some(0), &true.into()));
}
