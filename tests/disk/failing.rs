//! A disk that fails in the middle of a download, and files that are taken away or changed underneath: by
//! somebody who stands between the peer and the disk, or behind its back.

use super::*;
use crate::common::truth::{Truth, copy_without, durable_in};
use shoal::bitfield::Bitfield;
use shoal::disk::{Between, Disk, Op};
use shoal::peer::engine::AddTorrent;
use shoal::peer::engine::Config;
use shoal::peer::swarm::Job;
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

/// Stands between a peer and the disk, and has operations fail.
#[derive(Default)]
struct Faults {
    inner: Mutex<FaultsInner>,
}

#[derive(Default)]
struct FaultsInner {
    /// The next sync of a file whose path has this word fails, and the kernel forgets what it
    /// should have written.
    sync: Option<&'static str>,
    /// Whether the file shows what was forgotten, as the page cache may.
    shows: bool,
    /// Operations on paths with this word fail: the file system has become read-only.
    read_only: Option<&'static str>,
    /// What was written to each file since its last sync.
    unsynced: HashMap<PathBuf, Vec<(u64, usize)>>,
    /// What a failed sync has forgotten and nobody has written since.
    forgotten: Vec<(u64, usize)>,
}

impl Between for Faults {
    fn pass(&self, op: &Op<'_>, go: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap();
        let path = match *op {
            Op::MakeFolder(path) | Op::Create(path) | Op::Sync(path) | Op::SyncFolder(path) => path,
            Op::Write { path, .. } | Op::SetLen { path, .. } | Op::Rename { from: path, .. } => path,
            Op::Remove(path) => path,
        };
        let concerns = |word: Option<&str>| word.is_some_and(|word| path.to_str().unwrap().contains(word));
        if concerns(inner.read_only) {
            return Err(rustix::io::Errno::ROFS.into());
        }
        match *op {
            Op::Write { path, offset, data } => {
                inner.unsynced.entry(path.to_owned()).or_default().push((offset, data.len()));
                inner.forgotten.retain(|lost| *lost != (offset, data.len()));
            }
            Op::Sync(path) if concerns(inner.sync) => {
                inner.sync = None;
                let lost = inner.unsynced.remove(path).unwrap_or_default();
                if !inner.shows {
                    let file = fs::File::options().write(true).open(path)?;
                    lost.iter().try_for_each(|(offset, len)| file.write_all_at(&vec![0; *len], *offset))?;
                }
                inner.forgotten = lost;
                return Err(rustix::io::Errno::IO.into());
            }
            Op::Sync(path) => drop(inner.unsynced.remove(path)),
            _ => {}
        }
        go()
    }
}

/// How many pieces a partial seed has.
const SOME: u32 = 30;

/// A seed of the first [`SOME`] pieces: a download from it comes so far, and waits.
struct PartialSeed {
    seed: Engine,
    _dir: tempfile::TempDir,
}

impl PartialSeed {
    fn of(source: &Source) -> Self {
        let (torrent, dir) = (&source.torrent, tempfile::tempdir().unwrap());
        let mut lacks = Bitfield::new(torrent.geometry().piece_count());
        (SOME..lacks.len()).for_each(|piece| assert!(lacks.set(piece)));
        copy_without(torrent, &source.path, &lacks, &dir.path().join(torrent.name()));
        let seed = peer();
        let swarm = seed.add(AddTorrent::seed(Arc::clone(torrent), dir.path())).unwrap();
        wait_until("it is checked", || swarm.progress().checking == 0);
        assert_eq!(swarm.progress().have, SOME);
        PartialSeed { seed, _dir: dir }
    }
}

/// A download from a seed in this process, on a disk that may fail.
struct Shaky {
    source: Source,
    truth: Truth,
    some: PartialSeed,
    seed: Engine,
    faults: Arc<Faults>,
    place: tempfile::TempDir,
}

impl Shaky {
    fn new() -> Self {
        let source = Source::file("file", 3_000_000);
        let seed = peer();
        source.share(&seed);
        let truth = Truth::new(source.torrent.clone(), source.dir.path());
        let some = PartialSeed::of(&source);
        Shaky { source, truth, some, seed, faults: Arc::default(), place: tempfile::tempdir().unwrap() }
    }

    fn to(&self) -> PathBuf {
        self.place.path().join("to")
    }

    fn leecher(&self) -> Engine {
        let disk = Disk::with(Arc::clone(&self.faults) as Arc<dyn Between>);
        let state = self.place.path().join("state");
        Engine::start(&Config { disk, ..config(Some(&state)) }).unwrap()
    }

    fn download(&self, leecher: &Engine) -> Arc<Swarm> {
        self.source.download(leecher, &self.seed, &self.to())
    }

    /// Some pieces come and are vouched for, and no more of them are to be had.
    fn download_some(&self, leecher: &Engine) -> Arc<Swarm> {
        let swarm = self.source.download(leecher, &self.some.seed, &self.to());
        wait_until("some has come", || swarm.progress().have == SOME);
        self.save(&swarm);
        wait_until("it is vouched for", || self.vouched() == SOME);
        swarm
    }

    fn save(&self, swarm: &Arc<Swarm>) {
        swarm.pool.push(Job::Save(Arc::clone(swarm)));
    }

    /// The rest is to be had.
    fn download_more(&self, leecher: &Engine, swarm: &Swarm) {
        swarm.add_addresses([self.seed.addr()], true);
        leecher.look_for_peers();
    }

    fn resume(&self) -> Option<Vec<u8>> {
        let name = format!("{}.json", self.source.torrent.key());
        fs::read(self.place.path().join("state/resume").join(name)).ok()
    }

    fn vouched(&self) -> u32 {
        let pieces = self.source.torrent.geometry().piece_count();
        self.resume().map_or(0, |json| durable_in(&json, pieces).count())
    }

    fn trouble(&self) -> Option<String> {
        let json: serde_json::Value = serde_json::from_slice(&self.resume()?).unwrap();
        assert_eq!(json["paused"], false, "that is for the user's options");
        json["trouble"].as_str().map(str::to_owned)
    }

    fn assert_vouched_is_there(&self) {
        let pieces = self.source.torrent.geometry().piece_count();
        let vouched = durable_in(&self.resume().unwrap(), pieces);
        assert_eq!(self.truth.first_wrong(&vouched, &self.to().join("file.part")), None);
        let forgotten = &self.faults.inner.lock().unwrap().forgotten;
        let start = |piece: u32| u64::from(piece) * u64::from(self.source.torrent.geometry().piece_length());
        let lost = vouched.iter().find(|piece| forgotten.iter().any(|(offset, _)| *offset == start(*piece)));
        assert_eq!(lost, None, "the disk has forgotten it");
    }

    fn assert_finished(&self, swarm: &Swarm) {
        wait_until("it is complete", || swarm.is_complete());
        assert_same(&self.source.path, &self.to().join("file"));
        assert_eq!(self.faults.inner.lock().unwrap().forgotten, [], "it is shown, and not on the disk");
    }
}

/// The kernel forgets what it could not write, and the next sync succeeds: it was believed, and pieces were
/// vouched for that were not there. Nor is it enough to look, since the page cache may show what the disk
/// does not have.
#[test]
fn after_a_failed_sync_the_next_one_is_not_believed() {
    for (shows, restart) in [(false, false), (true, false), (false, true), (true, true)] {
        let shaky = Shaky::new();
        let leecher = shaky.leecher();
        let swarm = shaky.download_some(&leecher);
        {
            let mut faults = shaky.faults.inner.lock().unwrap();
            (faults.sync, faults.shows) = (Some("file.part"), shows);
        }
        shaky.download_more(&leecher, &swarm);
        wait_until("more has come, or was saved", || !swarm.is_running() || swarm.progress().have > SOME);
        shaky.save(&swarm);
        let why = reason(&swarm);
        assert!(why.starts_with("cannot sync ") && why.contains("file.part"), "{why}");
        wait_until("the reason is kept", || shaky.trouble().is_some());
        assert!(shaky.trouble().unwrap().starts_with("cannot sync "));
        assert_eq!(shaky.vouched(), SOME, "what was durable before stays so");
        shaky.assert_vouched_is_there();
        assert!(!shaky.faults.inner.lock().unwrap().forgotten.is_empty());
        if restart {
            drop((swarm, leecher));
            shaky.assert_vouched_is_there();
            let leecher = shaky.leecher();
            let swarm = shaky.download(&leecher);
            shaky.assert_finished(&swarm);
            leecher.stop();
            assert_eq!(shaky.trouble(), None, "it is over");
        } else {
            swarm.unpause();
            shaky.download_more(&leecher, &swarm);
            shaky.assert_finished(&swarm);
        }
    }
}

#[test]
fn a_disk_that_becomes_read_only_pauses_what_is_on_it_and_nothing_else() {
    let shaky = Shaky::new();
    let leecher = shaky.leecher();
    let swarm = shaky.download_some(&leecher);
    shaky.faults.inner.lock().unwrap().read_only = Some("file.part");
    shaky.download_more(&leecher, &swarm);
    let why = reason(&swarm);
    assert!(why.contains("file.part: Read-only file system"), "{why}");
    let (other, to) = (Source::file("other", 100_000), tempfile::tempdir().unwrap());
    other.share(&shaky.seed);
    let others = other.download(&leecher, &shaky.seed, to.path());
    wait_until("the other is complete", || others.is_complete());
    shaky.assert_vouched_is_there();
    swarm.unpause();
    shaky.download_more(&leecher, &swarm);
    assert!(reason(&swarm).contains("Read-only file system"), "it is still so");
    shaky.faults.inner.lock().unwrap().read_only = None;
    swarm.unpause();
    shaky.download_more(&leecher, &swarm);
    shaky.assert_finished(&swarm);
}

/// The user's pause was forgotten by a crash, and the disk's reason by a restart.
#[test]
fn a_pause_by_the_user_is_kept_at_once() {
    let shaky = Shaky::new();
    let leecher = shaky.leecher();
    let swarm = shaky.download_some(&leecher);
    swarm.pause("by the user");
    let kept = || -> serde_json::Value { serde_json::from_slice(&shaky.resume().unwrap()).unwrap() };
    wait_until("it is kept", || kept()["paused"] == true);
    assert!(kept()["trouble"].is_null(), "the disk is not why");
    shaky.assert_vouched_is_there();
    swarm.unpause();
    shaky.download_more(&leecher, &swarm);
    shaky.assert_finished(&swarm);
    leecher.stop();
    assert_eq!(kept()["paused"], false, "the user has taken it back");
}

/// Nothing was noticed: what came went into a file without a name.
#[test]
fn a_part_that_is_taken_away_in_the_middle_pauses_the_download_and_what_is_left_is_found() {
    type Deed = fn(&Path);
    let remove: Deed = |part| fs::remove_file(part).unwrap();
    let cut: Deed = |part| fs::File::options().write(true).open(part).unwrap().set_len(100_000).unwrap();
    let replace: Deed = |part| {
        fs::write(part.with_extension("other"), vec![0; 3_000_000]).unwrap();
        fs::rename(part.with_extension("other"), part).unwrap();
    };
    for deed in [remove, cut, replace] {
        let shaky = Shaky::new();
        let leecher = shaky.leecher();
        let swarm = shaky.download_some(&leecher);
        deed(&shaky.to().join("file.part"));
        shaky.save(&swarm);
        let why = reason(&swarm);
        assert!(why.contains("file.part was removed or replaced while it was being downloaded"), "{why}");
        wait_until("nothing is vouched for any more", || shaky.vouched() == 0);
        swarm.unpause();
        shaky.download_more(&leecher, &swarm);
        shaky.assert_finished(&swarm);
    }
}

#[test]
fn a_folder_that_is_taken_away_in_the_middle_pauses_the_download() {
    let source = Source::of("folder", |path| {
        fs::create_dir_all(path.join("sub")).unwrap();
        (0..4).for_each(|n| fs::write(path.join(format!("sub/{n}")), content(n, 700_000)).unwrap());
    });
    let (seed, to) = (peer(), tempfile::tempdir().unwrap());
    source.share(&seed);
    let (some, leecher) = (PartialSeed::of(&source), peer());
    for folder in ["folder.part", "folder.part/sub"] {
        let swarm = source.download(&leecher, &some.seed, to.path());
        wait_until("some has come", || swarm.progress().have == SOME);
        fs::remove_dir_all(to.path().join(folder)).unwrap();
        swarm.pool.push(Job::Save(Arc::clone(&swarm)));
        let why = reason(&swarm);
        assert!(why.contains("folder.part") && why.contains("was removed or replaced"), "{why}");
        wait_until("it is complete", || {
            if !swarm.is_running() {
                swarm.unpause(); // a save that was under way, too, may find the folder gone and pause it once more
                swarm.add_addresses([seed.addr()], true);
                leecher.look_for_peers();
            }
            swarm.is_complete()
        });
        assert_same(&source.path, &to.path().join("folder"));
        leecher.swarms.remove(source.torrent.info_hash());
        fs::remove_dir_all(to.path().join("folder")).unwrap();
    }
}

/// A finished download was served as somebody had changed it, and the next start believed it.
#[test]
fn a_finished_download_that_was_changed_is_neither_served_nor_vouched_for() {
    let shaky = Shaky::new();
    let leecher = shaky.leecher();
    let swarm = shaky.download(&leecher);
    shaky.assert_finished(&swarm);
    let file = fs::File::options().write(true).open(shaky.to().join("file")).unwrap();
    file.write_all_at(&[0; 100_000], 1_000_000).unwrap();
    // As if it were written at another time, without waiting.
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let (third, to) = (peer(), tempfile::tempdir().unwrap());
    let thirds = shaky.source.download(&third, &leecher, to.path());
    let why = reason(&swarm);
    assert!(why.contains("file was changed"), "{why}");
    assert_eq!(thirds.progress().have, 0);
    drop(leecher);
    let again = shaky.leecher();
    let swarm = shaky.download(&again);
    assert!(!shaky.to().join("file").exists(), "what of it is right goes on");
    shaky.assert_finished(&swarm);
}

/// Reads the resume state at the moment in which a file gets its final name.
struct AtNaming {
    resume: PathBuf,
    saved: Mutex<Vec<serde_json::Value>>,
}

impl Between for AtNaming {
    fn pass(&self, op: &Op<'_>, go: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        if let Op::Rename { to, .. } = *op
            && to.ends_with("to/file")
        {
            let json = fs::read(&self.resume).unwrap_or_default();
            self.saved.lock().unwrap().push(serde_json::from_slice(&json).unwrap_or_default());
        }
        go()
    }
}

/// Bug: after a kill between the rename and the save, what a user changed in a complete file was taken for
/// damage at the next start, and fetched anew over the user's words.
#[test]
fn what_has_its_final_name_is_known_as_its_user_s_from_that_moment_on() {
    let (source, seed) = (Source::file("file", 3_000_000), peer());
    source.share(&seed);
    let place = tempfile::tempdir().unwrap();
    let (state, to) = (place.path().join("state"), place.path().join("to"));
    let resume = state.join("resume").join(format!("{}.json", source.torrent.key()));
    let between = Arc::new(AtNaming { resume: resume.clone(), saved: Mutex::default() });
    let disk = Disk::with(Arc::clone(&between) as Arc<dyn Between>);
    let leecher = Engine::start(&Config { disk, ..config(Some(&state)) }).unwrap();
    let swarm = source.download(&leecher, &seed, &to);
    wait_until("it is complete", || swarm.is_complete());
    drop((swarm, leecher));
    let saved = between.saved.lock().unwrap();
    assert_eq!(saved.len(), 1);
    assert_eq!(saved[0]["files"][0]["size"], 3_000_000, "{:#}", saved[0]);
    let afterwards: serde_json::Value = serde_json::from_slice(&fs::read(&resume).unwrap()).unwrap();
    assert_eq!(saved[0], afterwards);
}
