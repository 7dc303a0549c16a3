//! Kills at random moments: anywhere in a download, while what an earlier life left is looked through, and
//! while a download that is all there gets its name. After each, what is vouched for is on the disk, bit by
//! bit; what has its name is whole; and nothing that was vouched for is ever downloaded again.
//!
//! `make crash KILLS=200` does more of it, `SEED=... KILLS=...` the same once more (but for the
//! machine's own moods).

use crate::common::truth::{Truth, copy_without, durable_in};
use crate::common::*;
use shoal::bitfield::Bitfield;
use shoal::peer::engine::{AddTorrent, Engine};
use shoal::peer::swarm::Swarm;
use shoal::torrent::Format;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// When a download is killed, before it may end. Every second one is not brought to its end that way, but by
/// a seed that lacks what is vouched for.
const LIVES: [&[Moment]; 2] = {
    use Moment::*;
    [
        &[Any, Any, Checking, Late, Any, Checking, Any],
        &[Any, Checking, Late, Any, Finishing, Finishing, Finishing],
    ]
};
/// How much each of them is, bytes.
const SIZE: usize = 8_000_000;

/// Something to download, and a seed of it in this process, which counts what it sends.
struct Target {
    what: &'static str,
    truth: Truth,
    from: tempfile::TempDir,
    seed: Engine,
    swarm: Arc<Swarm>,
}

/// A download of it.
struct Download<'a> {
    target: &'a Target,
    to: tempfile::TempDir,
}

#[derive(Debug)]
enum Moment {
    /// At any time of its first second.
    Any,
    /// About when it saves for the second time, and afterwards.
    Late,
    /// While it looks for what is on the disk, without a resume state to tell.
    Checking,
    /// When all has come, or is about to.
    Finishing,
}

#[derive(Default, Debug)]
struct Tally {
    kills: usize,
    any: usize,
    late: usize,
    checking: usize,
    finishing: usize,
    /// Ended before they could be killed, with everything right.
    ended: usize,
    /// Kills after which the download had its name.
    named: usize,
    finished: usize,
    vouched_bytes: u64,
    sent_bytes: u64,
}

impl Target {
    fn new(what: &'static str, format: Format, fill: impl Fn(&Path)) -> Self {
        let from = tempfile::tempdir().unwrap();
        let path = from.path().join("content");
        fill(&path);
        let torrent = torrent_of(&path, format, Some(1 << 16));
        std::fs::write(from.path().join("it.torrent"), torrent.bytes()).unwrap();
        let seed = peer();
        let swarm = seed.add(AddTorrent::verified(Arc::clone(&torrent), from.path())).unwrap();
        Target { what, truth: Truth::new(torrent, from.path()), from, seed, swarm }
    }

    fn sent(&self) -> u64 {
        self.swarm.progress().uploaded
    }

    fn bytes(&self, of: &Bitfield) -> u64 {
        let geometry = self.truth.torrent.geometry();
        of.iter().map(|index| u64::from(geometry.piece_len(geometry.piece(index).unwrap()))).sum()
    }

    fn total(&self) -> u64 {
        self.truth.torrent.geometry().total_len()
    }

    /// A seed that lacks these pieces.
    fn seed_without(&self, pieces: &Bitfield) -> (Engine, Arc<Swarm>, tempfile::TempDir) {
        let (torrent, dir) = (&self.truth.torrent, tempfile::tempdir().unwrap());
        copy_without(torrent, &self.from.path().join("content"), pieces, &dir.path().join("content"));
        let seed = peer();
        let swarm = seed.add(AddTorrent::seed(Arc::clone(torrent), dir.path())).unwrap();
        wait_until("it is checked", || swarm.progress().checking == 0);
        assert_eq!(swarm.progress().have + pieces.count(), pieces.len());
        (seed, swarm, dir)
    }
}

impl Download<'_> {
    fn new(target: &Target) -> Download<'_> {
        Download { target, to: tempfile::tempdir().unwrap() }
    }

    fn start(&self, seed: &Engine, rate: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_torrent"));
        command.arg("download").arg(self.target.from.path().join("it.torrent")).arg("-d").arg(self.to.path());
        command.args(["--peer", &seed.addr().to_string(), "--listen", "127.0.0.1:0", "--down", rate]);
        command.env_remove("RUST_LOG").env_remove("SHOAL_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn resume_path(&self) -> PathBuf {
        let key = self.target.truth.torrent.key();
        self.to.path().join(".shoal").join(&key).join("resume").join(format!("{key}.json"))
    }

    fn vouched(&self) -> Bitfield {
        let pieces = self.target.truth.torrent.geometry().piece_count();
        std::fs::read(self.resume_path())
            .map_or_else(|_| Bitfield::new(pieces), |bytes| durable_in(&bytes, pieces))
    }

    /// What hangs under its name, or under that of an unfinished download.
    fn root(&self) -> PathBuf {
        let (named, part) = (self.to.path().join("content"), self.to.path().join("content.part"));
        assert!(!(named.exists() && part.exists()), "it has both names");
        if named.exists() { named } else { part }
    }

    /// Starts it, and kills it at a moment of that kind. False if it had ended by then.
    fn live_and_die(&self, moment: &Moment, random: &mut fastrand::Rng) -> bool {
        let (target, before) = (self.target, self.target.sent());
        let missing = target.total() - target.bytes(&self.on_the_disk());
        let rate = match moment {
            Moment::Any | Moment::Checking => "3MB",
            Moment::Late => "1200KB",
            Moment::Finishing => "1GB",
        };
        let mut child = self.start(&target.seed, rate);
        let (least, most) = match moment {
            Moment::Any => (0, 700_000),
            Moment::Late => (2_900_000, 3_400_000),
            Moment::Checking => (0, 120_000),
            Moment::Finishing => {
                wait_until("all has come", || {
                    target.sent() - before >= missing || child.try_wait().unwrap().is_some()
                });
                (0, 60_000)
            }
        };
        std::thread::sleep(Duration::from_micros(random.u64(least..most)));
        let ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap(); // SIGKILL; to one that has ended it is nothing
        let output = child.wait_with_output().unwrap();
        wait_until("the seed has noticed", || target.swarm.progress().peers == 0); // and sends it no more
        let ended = ended || output.status.success(); // between the look and the kill
        assert!(!ended || output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        !ended
    }

    /// The pieces that are on the disk, whoever knows it.
    fn on_the_disk(&self) -> Bitfield {
        let (torrent, root) = (&self.target.truth.torrent, self.root());
        let mut there = Bitfield::new(torrent.geometry().piece_count());
        for piece in torrent.geometry().pieces() {
            let mut one = Bitfield::new(there.len());
            one.set(piece.index());
            if self.target.truth.first_wrong(&one, &root).is_none() {
                there.set(piece.index());
            }
        }
        there
    }

    /// What must hold after every death.
    fn assert_right(&self, vouched_before: &Bitfield, sent: u64, why: &str) {
        let (target, root, vouched) = (self.target, self.root(), self.vouched());
        assert_eq!(target.truth.first_wrong(&vouched, &root), None, "{why}: it is vouched for and not there");
        if root.ends_with("content") {
            assert_same(&target.from.path().join("content"), &root);
        }
        // With its final name it needs no resume state.
        let keeps = |piece| vouched.has(piece) || root.ends_with("content");
        assert!(vouched_before.iter().all(keeps), "{why}: it vouches for less than before");
        let needed = target.total() - target.bytes(vouched_before);
        assert!(sent <= needed, "{why}: {sent} bytes were downloaded, and only {needed} were needed");
    }

    /// Ends it with a seed that has nothing of what is vouched for: so none of that can be downloaded again.
    fn finish(&self) -> u64 {
        let vouched = self.vouched();
        let (seed, swarm, _dir) = self.target.seed_without(&vouched);
        let output = self.start(&seed, "1GB").wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_same(&self.target.from.path().join("content"), &self.to.path().join("content"));
        assert!(swarm.progress().uploaded <= self.target.total() - self.target.bytes(&vouched));
        self.target.bytes(&vouched)
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

fn many_small_files(path: &Path) {
    for n in 0..60 {
        let folder = path.join(format!("{}", n % 7));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{n}.bin")), content(n, SIZE / 60)).unwrap();
    }
    std::fs::write(path.join("empty"), b"").unwrap();
}

#[test]
fn killed_at_random_moments_nothing_vouched_for_is_lost() {
    let (kills, seed) = (number("KILLS", 20) as usize, number("SEED", fastrand::u64(..1 << 32)));
    println!("{kills} kills; the same moments again: make crash KILLS={kills} SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let file = |path: &Path| std::fs::write(path, content(7, SIZE)).unwrap();
    let targets = [
        Target::new("a file, hybrid", Format::Hybrid, file),
        Target::new("many small files, hybrid", Format::Hybrid, many_small_files),
        Target::new("a file, v1", Format::V1, file),
        Target::new("many small files, v2", Format::V2, many_small_files),
    ];
    let mut tally = Tally::default();
    for (nth, target) in targets.iter().chain(targets.iter().rev()).cycle().enumerate() {
        let download = Download::new(target);
        for moment in LIVES[nth % 2] {
            one_life(&download, moment, &mut random, &mut tally);
        }
        if download.root().ends_with("content.part") {
            tally.vouched_bytes += download.finish();
            tally.finished += 1;
        }
        if tally.kills >= kills {
            break;
        }
    }
    tally.sent_bytes = targets.iter().map(Target::sent).sum();
    println!("{tally:?}");
    assert!(tally.any > 0 && tally.checking > 0);
}

fn one_life(download: &Download<'_>, moment: &Moment, random: &mut fastrand::Rng, tally: &mut Tally) {
    if matches!(moment, Moment::Checking) {
        let _ = std::fs::remove_file(download.resume_path()); // there may be none yet
    }
    let (vouched, sent) = (download.vouched(), download.target.sent());
    let died = download.live_and_die(moment, random);
    let why = format!("{}, {moment:?}, kill {}", download.target.what, tally.kills + 1);
    if !died {
        tally.ended += 1;
        assert_same(&download.target.from.path().join("content"), &download.to.path().join("content"));
        assert!(!download.to.path().join(".shoal").exists(), "{why}");
        return;
    }
    tally.kills += 1;
    match moment {
        Moment::Any => tally.any += 1,
        Moment::Late => tally.late += 1,
        Moment::Checking => tally.checking += 1,
        Moment::Finishing => tally.finishing += 1,
    }
    tally.named += usize::from(download.root().ends_with("content"));
    download.assert_right(&vouched, download.target.sent() - sent, &why);
}
