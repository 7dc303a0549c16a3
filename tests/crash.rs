//! The real `torrent` command, killed with SIGKILL again and again: in the middle of downloads, at moments
//! that a test chooses, and at random ones ([`random`]).

mod common;
#[path = "crash/random.rs"]
mod random;

use common::truth::durable_in;
use common::*;
use shoal::bitfield::Bitfield;
use shoal::peer::engine::{AddTorrent, Engine};
use shoal::torrent::{Format, Torrent};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

/// A seed and the folder of a download from it.
struct Stage {
    from: tempfile::TempDir,
    to: tempfile::TempDir,
    torrent: Arc<Torrent>,
    seed: Child,
    addr: String,
}

impl Stage {
    /// A torrent of what `fill` puts under the path it gets.
    fn new(fill: impl Fn(&Path)) -> Self {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = from.path().join("content");
        fill(&path);
        let torrent = torrent_of(&path, Format::Hybrid, Some(1 << 16));
        std::fs::write(from.path().join("it.torrent"), torrent.bytes()).unwrap();
        let mut seed =
            command(&["seed", "it.torrent", ".", "--listen", "127.0.0.1:0"], from.path()).spawn().unwrap();
        let addr = listens_on(&mut seed);
        Stage { from, to, torrent, seed, addr }
    }

    fn download(&self, rate: &str) -> Command {
        let (metainfo, to) = (self.from.path().join("it.torrent"), self.to.path());
        let [metainfo, to] = [&metainfo, to].map(|path| path.to_str().unwrap().to_owned());
        let args = [
            "download",
            &metainfo,
            "-d",
            &to,
            "--peer",
            &self.addr,
            "--listen",
            "127.0.0.1:0",
            "--down",
            rate,
        ];
        command(&args, self.to.path())
    }

    /// Runs the download to its end, after which nothing lies there but the content.
    fn finish(&self) -> Output {
        let output = self.download("1GB").spawn().unwrap().wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_same(&self.from.path().join("content"), &self.to.path().join("content"));
        let names = std::fs::read_dir(self.to.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["content"], "its state is left behind");
        output
    }

    /// Where `torrent download` keeps its state: beside the download, each torrent's apart.
    fn state(&self) -> PathBuf {
        self.to.path().join(".shoal").join(self.torrent.key())
    }

    fn resume_path(&self) -> PathBuf {
        self.state().join("resume").join(format!("{}.json", self.torrent.key()))
    }

    /// The pieces that are vouched for now.
    fn vouched(&self) -> Bitfield {
        let pieces = self.torrent.geometry().piece_count();
        let Ok(bytes) = std::fs::read(self.resume_path()) else { return Bitfield::new(pieces) };
        durable_in(&bytes, pieces)
    }

    /// Runs a download until it vouches for more than it did, kills it that moment, and gives what
    /// it vouched for.
    fn run_and_kill(&self) -> Bitfield {
        let before = self.vouched();
        let mut child = self.download("10MB").spawn().unwrap();
        wait_until("there is progress on the disk", || {
            assert!(child.try_wait().unwrap().is_none(), "it has ended by itself");
            self.vouched().count() > before.count()
        });
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        let after = self.vouched();
        assert!(
            before.iter().all(|piece| after.has(piece)),
            "{before:?} were vouched for, and now {after:?}"
        );
        after
    }

    /// Compares the vouched-for pieces of a single file with what is really on the disk.
    fn assert_really_there(&self, vouched: &Bitfield) {
        let truth = std::fs::read(self.from.path().join("content")).unwrap();
        let part = std::fs::read(self.to.path().join("content.part")).unwrap();
        for piece in vouched.iter() {
            let start = piece as usize * self.torrent.geometry().piece_length() as usize;
            let len =
                self.torrent.geometry().piece_len(self.torrent.geometry().piece(piece).unwrap()) as usize;
            assert!(
                part.get(start..start + len) == truth.get(start..start + len),
                "piece {piece} is not there"
            );
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.seed.kill();
        let _ = self.seed.wait();
    }
}

fn command(args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_torrent"));
    command.args(args).current_dir(dir).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The address that a seed names, once it has looked at its files.
fn listens_on(seed: &mut Child) -> String {
    let mut lines = BufReader::new(seed.stderr.take().unwrap()).lines().map(Result::unwrap);
    let addr = lines.find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
    // Otherwise the pipe would fill up.
    std::thread::spawn(move || lines.for_each(drop));
    addr.expect("it listens")
}

#[test]
fn killed_ten_times_it_keeps_what_it_vouched_for_and_ends_with_the_right_bytes() {
    let stage = Stage::new(|path| std::fs::write(path, content(1, 40_000_000)).unwrap());
    for kill in 0..10 {
        let vouched = stage.run_and_kill();
        assert!(vouched.count() > kill && !vouched.is_full());
        stage.assert_really_there(&vouched);
    }
    stage.finish();
}

#[test]
fn a_broken_resume_state_has_everything_checked_again() {
    let stage = Stage::new(|path| std::fs::write(path, content(2, 20_000_000)).unwrap());
    for garbage in [&b"{\"dir\":"[..], b"", &[0xff; 1000], b"[1,2,3]"] {
        let vouched = stage.run_and_kill();
        std::fs::write(stage.resume_path(), garbage).unwrap();
        let peer = Engine::start(&config(Some(&stage.state()))).unwrap();
        let swarm = peer.add(AddTorrent::download(stage.torrent.clone(), stage.to.path())).unwrap();
        wait_until("all is checked", || swarm.progress().checking == 0);
        let (have, _) = swarm.have();
        assert!(vouched.iter().all(|piece| have.has(piece)), "{vouched:?} were there, and now {have:?}");
        peer.stop();
        assert_eq!(stage.vouched(), have);
    }
    stage.finish();
}

/// The pieces were believed to be there, and the files ended with holes.
#[test]
fn a_part_that_was_deleted_is_fetched_anew() {
    let single = Stage::new(|path| std::fs::write(path, content(3, 20_000_000)).unwrap());
    assert!(single.run_and_kill().count() > 0, "pieces are believed to be there");
    std::fs::remove_file(single.to.path().join("content.part")).unwrap();
    single.finish();
    assert!(std::fs::read(single.to.path().join("content")).unwrap() == content(3, 20_000_000));

    let folder = Stage::new(|path| {
        std::fs::create_dir(path).unwrap();
        (0..5).for_each(|n| std::fs::write(path.join(n.to_string()), content(n, 4_000_000)).unwrap());
    });
    assert!(folder.run_and_kill().count() > 0, "pieces are believed to be there");
    std::fs::remove_dir_all(folder.to.path().join("content.part")).unwrap();
    folder.finish();
    for n in 0..5 {
        let path = folder.to.path().join("content").join(n.to_string());
        assert!(std::fs::read(path).unwrap() == content(n, 4_000_000), "file {n} has holes");
    }
}

/// Killed after the last piece came, before the download got its name or its state was saved: it goes
/// on from there.
#[test]
fn a_download_that_is_complete_but_for_its_name_gets_it() {
    let stage = Stage::new(|path| std::fs::write(path, content(4, 2_000_000)).unwrap());
    let (part, whole) = (stage.to.path().join("content.part"), stage.to.path().join("content"));
    std::fs::copy(stage.from.path().join("content"), &part).unwrap();
    let file = |path: &Path| std::fs::metadata(path).unwrap().ino();
    let before = file(&part);
    stage.finish();
    assert_eq!(file(&whole), before, "it is the same file, and not fetched anew");
    stage.finish(); // it is there already
    assert_eq!(file(&whole), before);
}

/// What lay in the state folder beside what is ours went with it, or all of it stayed for ever.
#[test]
fn of_the_state_of_a_finished_download_only_what_is_ours_is_removed() {
    let stage = Stage::new(|path| std::fs::write(path, content(5, 2_000_000)).unwrap());
    std::fs::create_dir_all(stage.state()).unwrap();
    let note = stage.state().join("note");
    std::fs::write(&note, "to myself").unwrap();
    let output = stage.download("1GB").spawn().unwrap().wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let left: Vec<_> =
        std::fs::read_dir(stage.state()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["note"]);
}
