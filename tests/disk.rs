//! A disk that fails or refuses: each torrent on it is paused, or does not start, with one clear sentence.
//! Nothing is written where it should not be, and other torrents go on.

#[path = "disk/absent.rs"]
mod absent;
#[path = "disk/already.rs"]
mod already;
mod cli_support;
mod common;
#[path = "disk/failing.rs"]
mod failing;
#[path = "disk/slow.rs"]
mod slow;

use common::*;
use shoal::peer::engine::{AddTorrent, Engine};
use shoal::peer::swarm::{State, Swarm};
use shoal::torrent::{Format, Torrent};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

/// A file, and its torrent.
struct Source {
    dir: tempfile::TempDir,
    path: PathBuf,
    torrent: Arc<Torrent>,
}

impl Source {
    fn file(name: &str, len: usize) -> Self {
        Source::of(name, |path| fs::write(path, content(len as u64, len)).unwrap())
    }

    fn folder(name: &str) -> Self {
        Source::of(name, |path| {
            fs::create_dir_all(path.join("sub")).unwrap();
            fs::write(path.join("first"), content(1, 300_000)).unwrap();
            fs::write(path.join("sub/second"), content(2, 300_000)).unwrap();
        })
    }

    fn of(name: &str, fill: impl Fn(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fill(&path);
        let torrent = torrent_of(&path, Format::Hybrid, Some(1 << 15));
        fs::write(dir.path().join("it.torrent"), torrent.bytes()).unwrap();
        Source { dir, path, torrent }
    }

    fn share(&self, peer: &Engine) -> Arc<Swarm> {
        peer.add(AddTorrent::verified(self.torrent.clone(), self.dir.path())).unwrap()
    }

    fn download(&self, leecher: &Engine, seed: &Engine, to: &Path) -> Arc<Swarm> {
        let swarm = leecher.add(AddTorrent::download(self.torrent.clone(), to)).unwrap();
        swarm.add_addresses([seed.addr()], true);
        leecher.look_for_peers();
        swarm
    }
}

/// Waits until the torrent is paused, and gives the reason.
fn reason(swarm: &Swarm) -> String {
    wait_until("it is paused", || !swarm.is_running());
    match swarm.progress().state {
        State::Paused(why) => why,
        state => panic!("it is {state:?}"),
    }
}

fn torrent(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_torrent")).args(args).output().unwrap()
}

/// One line on standard error, and status 1.
fn assert_fails_with(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("torrent: ")).collect();
    assert!(matches!(&errors[..], [line] if words.iter().all(|word| line.contains(word))), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_folder_that_cannot_be_written_is_named_at_once() {
    let source = Source::file("file", 100_000);
    let dir = tempfile::tempdir().unwrap();
    let read_only = dir.path().join("read-only");
    fs::create_dir(&read_only).unwrap();
    fs::set_permissions(&read_only, fs::Permissions::from_mode(0o555)).unwrap();
    let leecher = peer();
    if fs::write(read_only.join("probe"), b"").is_ok() {
        println!("skipped: this user may write anywhere");
    } else {
        let refused =
            leecher.add(AddTorrent::download(source.torrent.clone(), &read_only)).err().unwrap().to_string();
        assert!(refused.contains("read-only") && refused.contains("ermission denied"), "{refused}");
    }
    fs::set_permissions(&read_only, fs::Permissions::from_mode(0o755)).unwrap();
    // Nobody may make anything in there, and a file is no folder.
    for impossible in [Path::new("/proc/1/shoal"), &source.path.join("sub")] {
        let refused =
            leecher.add(AddTorrent::download(source.torrent.clone(), impossible)).err().unwrap().to_string();
        assert!(
            refused.starts_with("cannot create ") && refused.contains(impossible.to_str().unwrap()),
            "{refused}"
        );
    }
    let metainfo = source.dir.path().join("it.torrent");
    let output =
        torrent(&["download", metainfo.to_str().unwrap(), "-d", "/proc/1/shoal", "--listen", "127.0.0.1:0"]);
    assert_fails_with(&output, &["/proc/1/shoal"]);
}

#[test]
fn content_that_is_missing_is_not_seeded() {
    let source = Source::file("file", 100_000);
    let metainfo = source.dir.path().join("it.torrent");
    let empty = tempfile::tempdir().unwrap();
    let nowhere = (Path::new("/nowhere/at/all"), "there is no folder /nowhere/at/all");
    for (dir, why) in [(empty.path(), "file is not all there"), nowhere] {
        let output =
            torrent(&["seed", metainfo.to_str().unwrap(), dir.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
        assert_fails_with(&output, &[why]);
    }
    let damaged = empty.path().join("file");
    fs::write(&damaged, vec![0; 100_000]).unwrap();
    let output = torrent(&[
        "seed",
        metainfo.to_str().unwrap(),
        empty.path().to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ]);
    assert_fails_with(&output, &["file is not all there"]);
    assert_eq!(fs::read(&damaged).unwrap(), vec![0; 100_000]);
}

/// What is only shared may be incomplete; what it lacks is not fetched, since there is nowhere to write it.
#[test]
fn damaged_content_that_is_shared_is_left_alone_and_the_rest_served() {
    let source = Source::file("file", 300_000);
    let damaged = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(&source.path).unwrap();
    bytes[200_000] ^= 1;
    fs::write(damaged.path().join("file"), &bytes).unwrap();
    let (whole, partly, leecher) = (peer(), peer(), peer());
    let swarm = partly.add(AddTorrent::seed(source.torrent.clone(), damaged.path())).unwrap();
    wait_until("it is checked", || swarm.progress().checking == 0);
    assert_eq!(swarm.progress().have, source.torrent.geometry().piece_count() - 1);
    let to = tempfile::tempdir().unwrap();
    let downloads = source.download(&leecher, &partly, to.path());
    wait_until("all it has is fetched", || downloads.progress().have == swarm.progress().have);
    source.share(&whole);
    swarm.add_addresses([whole.addr()], true);
    partly.look_for_peers();
    downloads.add_addresses([whole.addr()], true);
    leecher.look_for_peers();
    wait_until("the rest comes from elsewhere", || downloads.is_complete());
    assert_same(&source.path, &to.path().join("file"));
    assert!(swarm.is_running() && !swarm.is_complete());
    assert_eq!(fs::read(damaged.path().join("file")).unwrap(), bytes);
}

#[test]
fn a_file_that_vanishes_under_a_seed_pauses_its_torrent_alone() {
    let (vanishes, shrinks, stays) =
        (Source::file("vanishes", 300_000), Source::file("shrinks", 300_000), Source::file("stays", 300_000));
    let (seed, leecher, to) = (peer(), peer(), tempfile::tempdir().unwrap());
    let seeds = [&vanishes, &shrinks, &stays].map(|source| source.share(&seed));
    fs::remove_file(&vanishes.path).unwrap();
    fs::File::options().write(true).open(&shrinks.path).unwrap().set_len(10).unwrap();
    let downloads = [&vanishes, &shrinks, &stays].map(|source| source.download(&leecher, &seed, to.path()));
    let why = reason(&seeds[0]);
    assert!(why.starts_with("cannot open ") && why.contains("vanishes"), "{why}");
    let why = reason(&seeds[1]);
    assert!(why.contains("shrinks is shorter than it should be"), "{why}");
    wait_until("the other goes on", || downloads[2].is_complete());
    assert!(seeds[2].is_running());
    assert!(!vanishes.path.exists(), "it is not made anew");
    assert!(downloads[0].is_running() && !downloads[0].is_complete());
}

#[test]
fn a_full_disk_pauses_the_download_and_nothing_is_lost() {
    let source = Source::file("file", 3_000_000);
    let seed = peer();
    source.share(&seed);
    let (metainfo, to) = (source.dir.path().join("it.torrent"), tempfile::tempdir().unwrap());
    let (metainfo, dir, addr) =
        (metainfo.to_str().unwrap(), to.path().to_str().unwrap(), seed.addr().to_string());
    let args = ["download", metainfo, "-d", dir, "--peer", &addr, "--listen", "127.0.0.1:0"];
    // Files may not grow beyond a megabyte: the write fails as on a full disk, in the middle of the download.
    let limited = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_torrent")])
        .args(args)
        .output()
        .unwrap();
    assert_fails_with(&limited, &["cannot write ", "file.part: "]);
    let output = torrent(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_same(&source.path, &to.path().join("file"));
}

#[test]
fn a_download_never_leads_outside_its_folder() {
    let source = Source::folder("folder");
    let (seed, leecher, outside) = (peer(), peer(), tempfile::tempdir().unwrap());
    source.share(&seed);
    let to = tempfile::tempdir().unwrap();
    fs::create_dir(to.path().join("folder.part")).unwrap();
    symlink(outside.path(), to.path().join("folder.part/sub")).unwrap();
    let swarm = source.download(&leecher, &seed, to.path());
    let why = reason(&swarm);
    assert!(why.contains("folder.part/sub is a link"), "{why}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);

    fs::remove_file(to.path().join("folder.part/sub")).unwrap();
    swarm.unpause();
    leecher.look_for_peers();
    wait_until("it goes on once the link is gone", || swarm.is_complete());
    assert_same(&source.path, &to.path().join("folder"));
}

#[test]
fn a_part_that_is_a_link_is_refused() {
    for source in [Source::file("it", 100_000), Source::folder("it")] {
        let (leecher, to, outside) = (peer(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = outside.path().join("target");
        symlink(&target, to.path().join("it.part")).unwrap();
        let refused =
            leecher.add(AddTorrent::download(source.torrent.clone(), to.path())).err().unwrap().to_string();
        assert!(refused.contains("it.part is a link"), "{refused}");
        assert!(!target.exists());
    }
}

// ---- two at once ------------------------------------------------------------------------------------------

#[test]
fn two_processes_do_not_download_into_one_file() {
    let (one, other) = (Source::file("same", 100_000), Source::file("same", 200_000));
    let to = tempfile::tempdir().unwrap();
    let args = |source: &Source| {
        let metainfo = source.dir.path().join("it.torrent").to_str().unwrap().to_owned();
        ["download", &metainfo, "-d", to.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]
            .map(str::to_owned)
    };
    let mut first =
        Command::new(env!("CARGO_BIN_EXE_torrent")).args(args(&one)).stderr(Stdio::null()).spawn().unwrap();
    wait_until("it is at it", || {
        to.path().join("same.part").exists() && {
            // Its lock is there with the file, or a moment later.
            fs::File::open(to.path().join("same.part")).is_ok_and(|part| part.try_lock().is_err())
        }
    });
    let refused = torrent(&args(&other).each_ref().map(String::as_str));
    assert_fails_with(&refused, &["same.part is being downloaded already, by another program"]);
    let twice = torrent(&args(&one).each_ref().map(String::as_str));
    assert_fails_with(&twice, &["same is being downloaded to this folder already"]);
    // The same torrent, with its state elsewhere.
    let states = tempfile::tempdir().unwrap();
    let elsewhere = Engine::start(&config(Some(states.path()))).unwrap();
    let refused =
        elsewhere.add(AddTorrent::download(one.torrent.clone(), to.path())).err().unwrap().to_string();
    assert!(refused.contains("same.part is being downloaded already"), "{refused}");
    first.kill().unwrap(); // SIGKILL: the kernel releases the lock
    first.wait().unwrap();
    elsewhere.add(AddTorrent::download(one.torrent.clone(), to.path())).unwrap();
}

// ---- a small disk -----------------------------------------------------------------------------------------

/// A disk of one megabyte, in a mount namespace of its own that ends with the shell: full, then read-only,
/// then large enough.
#[test]
fn a_small_disk_that_is_full_then_read_only_then_large_enough() {
    let may = Command::new("unshare").args(["-m", "sh", "-c", "mount -t tmpfs none /mnt"]).output();
    if !may.is_ok_and(|may| may.status.success()) {
        return println!("skipped: mounting a small disk takes root and unshare");
    }
    let source = Source::file("file", 3_000_000);
    let seed = peer();
    source.share(&seed);
    let place = tempfile::tempdir().unwrap();
    for folder in ["disk", "result"] {
        fs::create_dir(place.path().join(folder)).unwrap();
    }
    let script = r#"
        mount -t tmpfs -o size=1m none disk || exit 9
        "$@" 2>full; echo $? >>status
        mount -o remount,ro disk || exit 9
        "$@" 2>read-only; echo $? >>status
        mount -o remount,rw,size=16m disk || exit 9
        "$@" 2>well; echo $? >>status
        cp disk/file result/file; ls -A disk >left
    "#;
    let metainfo = source.dir.path().join("it.torrent");
    let status = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_torrent"), "download"])
        .arg(metainfo)
        .args(["-d", "disk", "--listen", "127.0.0.1:0", "--peer", &seed.addr().to_string()])
        .current_dir(place.path())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    let said = |name: &str| fs::read_to_string(place.path().join(name)).unwrap();
    assert_eq!(said("status"), "1\n1\n0\n", "{}{}{}", said("full"), said("read-only"), said("well"));
    let full = said("full");
    assert!(
        full.contains("cannot write disk/file.part: no space is left on the disk; make room, and resume"),
        "{full}"
    );
    let complaints = full.lines().filter(|line| !line.starts_with("listening on "));
    assert_eq!(complaints.count(), 1, "one trouble is one line: {full}");
    assert!(said("read-only").contains("Read-only file system"), "{}", said("read-only"));
    assert_same(&source.path, &place.path().join("result/file"));
    assert_eq!(said("left"), "file\n");
}
