//! Cuts the power after every step of a download, and looks at what is left.
//!
//! A real download is recorded between the peer and the disk, with two deaths of the process in the middle.
//! Then, for every prefix of the record, the file system of [`model`] says what may be there after a power
//! cut: all that was not synced lost, all of it kept, and many mixtures. Each is examined in memory, and some
//! are laid on the disk for a real peer to start with. That the examination can fail is shown by records in
//! which a sync is left out or comes too late.

#[path = "../common/mod.rs"]
mod common;
mod model;

use common::truth::{Truth, durable_in, file_under, piece_of};
use common::*;
use model::{Event, Fate, Model, Tree};
use shoal::disk::{Between, Disk, Op};
use shoal::peer::engine::{AddTorrent, Config, Engine};
use shoal::peer::storage::resume::Resume;
use shoal::torrent::{Format, InfoHash, Torrent};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

const PIECE_LENGTH: u32 = 1 << 14;
/// Mixtures tried at each step, beside the four pure ones.
const MIXTURES: u64 = 60;
/// One state of so many is given to a real peer.
const STARTED: usize = 199;

/// Writes down what passes. One operation at a time passes, so what is written is the order in
/// which it happened.
#[derive(Default)]
struct Recorder {
    events: Mutex<Vec<Event>>,
    dead: AtomicBool,
}

impl Between for Recorder {
    fn pass(&self, op: &Op<'_>, go: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        let mut events = self.events.lock().unwrap();
        if self.dead.load(Ordering::Acquire) {
            return Err(io::Error::other("the process is dead"));
        }
        go()?;
        events.push(Event::of(op));
        Ok(())
    }
}

impl Recorder {
    /// The process dies: whatever it still tries, nothing happens any more.
    fn die(&self) {
        let _between_two_operations = self.events.lock().unwrap();
        self.dead.store(true, Ordering::Release);
    }

    fn live(&self) {
        self.dead.store(false, Ordering::Release);
    }
}

/// A download as it was recorded.
struct Record {
    truth: Truth,
    /// The folder that everything happened in; it is gone.
    root: PathBuf,
    events: Vec<Event>,
}

impl Record {
    /// Records the download of what `fill` puts under the path it gets.
    fn of(fill: impl Fn(&Path)) -> Self {
        let (from, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = from.path().join("content");
        fill(&path);
        let torrent = torrent_of(&path, Format::Hybrid, Some(PIECE_LENGTH));
        let seed = peer();
        seed.add(AddTorrent::verified(Arc::clone(&torrent), from.path())).unwrap();
        let recorder = Arc::new(Recorder::default());
        let pieces = torrent.geometry().piece_count();
        for until in [pieces / 3, pieces * 2 / 3, pieces] {
            recorder.live();
            let config = Config {
                down: Some(2_000_000), // slow enough for many saves in between
                disk: Disk::with(Arc::clone(&recorder) as Arc<dyn Between>),
                ..config(Some(&place.path().join("state")))
            };
            run(&recorder, &config, &torrent, &place.path().join("to"), &seed, until);
        }
        assert_same(&path, &place.path().join("to/content"));
        let events = std::mem::take(&mut *recorder.events.lock().unwrap());
        let (truth, root) = (Truth::new(torrent, from.path()), place.path().to_owned());
        Record { truth, root, events }
    }

    /// The same record, but for what `change` does to it.
    fn with(&self, change: impl FnOnce(&mut Vec<Event>)) -> Record {
        let mut events = self.events.clone();
        change(&mut events);
        Record { truth: self.truth.clone(), root: self.root.clone(), events }
    }

    /// Cuts the power after every step. How many states that gave, or the first that was wrong.
    fn examine(&self, mut also: impl FnMut(&Tree)) -> Result<usize, String> {
        let mut model = Model::new(&self.root);
        let mut states = 0;
        for step in 0..=self.events.len() {
            for mut fate in fates(step as u64) {
                let tree = model.cut(&mut fate);
                self.check(&tree).map_err(|why| format!("after step {step}: {why}"))?;
                states += 1;
                also(&tree);
            }
            if let Some(event) = self.events.get(step) {
                model.apply(event);
            }
        }
        let after = model.cut(&mut Fate::Lost);
        if self.vouched(&after).is_none_or(|vouched| !vouched.is_full()) || !has_name(&after) {
            return Err("a power cut after the end undoes the download".to_owned());
        }
        Ok(states)
    }

    /// What must hold of whatever a power cut leaves.
    fn check(&self, tree: &Tree) -> Result<(), String> {
        let torrent = &self.truth.torrent;
        let geometry = torrent.geometry();
        let state = |name: &str| tree.get(&Path::new("state").join(name));
        if state("ledger.json").is_some_and(|json| serde_json::from_slice::<serde_json::Value>(json).is_err())
        {
            return Err("the ledger is torn".to_owned());
        }
        if state("offered.json")
            .is_some_and(|json| serde_json::from_slice::<BTreeMap<String, Vec<String>>>(json).is_err())
        {
            return Err("the list of offers is torn".to_owned());
        }
        if state("peer_id").is_some_and(|id| id.len() != 20 || !id.starts_with(b"-SH")) {
            return Err("the peer's name is torn".to_owned());
        }
        let named = has_name(tree);
        let root = Path::new("to").join(if named { "content" } else { "content.part" });
        let read = |index: usize, offset: u64, into: &mut [u8]| {
            let file = tree.get(&file_under(torrent, &root, index))?;
            into.copy_from_slice(file.get(offset as usize..offset as usize + into.len())?);
            Some(())
        };
        let is_right = |index: u32| {
            let piece = geometry.piece(index).unwrap();
            piece_of(torrent, piece, read).is_some_and(|bytes| self.truth.is(piece, &bytes))
        };
        if let Some(json) = self.resume(tree)
            && serde_json::from_slice::<Resume>(json).is_err()
        {
            return Err("the resume state is torn".to_owned());
        }
        let vouched = self.vouched(tree);
        if let Some(wrong) = vouched.and_then(|vouched| vouched.iter().find(|piece| !is_right(*piece))) {
            return Err(format!("piece {wrong} is vouched for, and not there"));
        }
        let lens = || {
            torrent.files().iter().enumerate().all(|(index, file)| {
                tree.get(&file_under(torrent, &root, index))
                    .is_some_and(|bytes| bytes.len() as u64 == file.len)
            })
        };
        if named && !(lens() && (0..geometry.piece_count()).all(is_right)) {
            return Err("it has its name, and is not whole".to_owned());
        }
        Ok(())
    }

    fn resume<'a>(&self, tree: &'a Tree) -> Option<&'a Vec<u8>> {
        tree.get(&Path::new("state/resume").join(format!("{}.json", self.truth.torrent.key())))
    }

    fn vouched(&self, tree: &Tree) -> Option<shoal::bitfield::Bitfield> {
        let pieces = self.truth.torrent.geometry().piece_count();
        self.resume(tree).map(|json| durable_in(json, pieces))
    }

    /// Lays a state on the disk and starts a real peer with it: it must believe no piece that is not there,
    /// and it must believe all that are.
    fn start_with(&self, tree: &Tree) {
        let place = tempfile::tempdir().unwrap();
        let (before, now) = (self.root.to_str().unwrap(), place.path().to_str().unwrap());
        for (path, bytes) in tree {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let json = path.extension().is_some_and(|extension| extension == "json");
            match std::str::from_utf8(bytes) {
                Ok(text) if json => std::fs::write(&path, text.replace(before, now)).unwrap(),
                _ => std::fs::write(&path, bytes).unwrap(),
            }
        }
        self.as_stamped(tree, place.path());
        let peer = Engine::start(&config(Some(&place.path().join("state")))).unwrap();
        let swarm =
            peer.add(AddTorrent::download(Arc::clone(&self.truth.torrent), place.path().join("to"))).unwrap();
        wait_until("all is checked", || swarm.progress().checking == 0);
        let (have, _) = swarm.have();
        if have.is_full() {
            wait_until("it has its name", || swarm.is_complete()); // it moves no more while we look
        }
        assert_eq!(self.truth.first_wrong(&have, &swarm.storage.root()), None);
        let vouched = self.vouched(tree);
        assert!(vouched.is_none_or(|vouched| vouched.iter().all(|piece| have.has(piece))));
    }

    /// Gives the files the times that the resume state knows them by: so it believes as much as it ever may.
    fn as_stamped(&self, tree: &Tree, place: &Path) {
        let torrent = &self.truth.torrent;
        let resume = self.resume(tree).map(|json| serde_json::from_slice::<Resume>(json).unwrap());
        for (index, stamp) in resume.iter().flat_map(|resume| resume.files.iter().enumerate()) {
            let path = file_under(torrent, &place.join("to/content"), index);
            if let Ok(file) = std::fs::File::options().write(true).open(path) {
                file.set_modified(UNIX_EPOCH + Duration::from_nanos(stamp.modified as u64)).unwrap();
            }
        }
    }
}

/// One life of the process that downloads: it dies when it has so many pieces, or stops when it has all.
fn run(recorder: &Recorder, config: &Config, torrent: &Arc<Torrent>, to: &Path, seed: &Engine, until: u32) {
    let peer = Engine::start(config).unwrap();
    let offers = BTreeMap::from([(InfoHash([until as u8; 20]), Vec::new())]);
    peer.state().unwrap().keep_offered(&offers).unwrap();
    let swarm = peer.add(AddTorrent::download(Arc::clone(torrent), to)).unwrap();
    swarm.add_addresses([seed.addr()], true);
    peer.look_for_peers();
    if until == torrent.geometry().piece_count() {
        wait_until("it is complete", || {
            swarm.save().unwrap();
            swarm.is_complete()
        });
        peer.stop();
    } else {
        let mut saved = 0;
        wait_until("it is time to die", || {
            let have = swarm.progress().have;
            if have >= saved + 3 {
                saved = have; // not at every piece: what nobody vouches for yet matters most
                swarm.save().unwrap();
            }
            have >= until
        });
        recorder.die();
    }
}

fn has_name(tree: &Tree) -> bool {
    tree.keys().any(|path| path.starts_with("to/content"))
}

fn fates(seed: u64) -> Vec<Fate> {
    let mut random = fastrand::Rng::with_seed(seed);
    let chance = |_| {
        let chances = [0.05, 0.3, 0.7, 0.95];
        let (name, page) = (chances[random.usize(..4)], chances[random.usize(..4)]);
        Fate::Chance { random: random.fork(), name, page }
    };
    let mixtures: Vec<Fate> = (0..MIXTURES).map(chance).collect();
    [Fate::Lost, Fate::Kept, Fate::NamesAndLengths, Fate::Data].into_iter().chain(mixtures).collect()
}

fn single_file(path: &Path) {
    std::fs::write(path, content(1, 40 * PIECE_LENGTH as usize + 1234)).unwrap();
}

fn folder(path: &Path) {
    std::fs::create_dir_all(path.join("sub/deep")).unwrap();
    for (n, name) in ["a", "sub/b", "sub/c", "sub/deep/d", "sub/deep/e", "z"].iter().enumerate() {
        std::fs::write(path.join(name), content(n as u64, 30_000 * (n + 1))).unwrap();
    }
    std::fs::write(path.join("sub/empty"), b"").unwrap();
}

/// Cuts the power after every step, and has a real peer start after some of the cuts. How many cuts there
/// were, or what the first one did that left something wrong.
fn survived(what: &str, record: &Record) -> Result<usize, String> {
    let (mut seen, mut started) = (0, 0);
    let states = record.examine(|tree| {
        seen += 1;
        if seen % STARTED == 0 {
            record.start_with(tree);
            started += 1;
        }
    })?;
    let steps = record.events.len();
    println!(
        "{what}: {steps} operations, {states} power cuts, a peer started after {started} of them: none wrong"
    );
    Ok(states)
}

/// One before the first step and one after each, and each in every way.
fn cuts(record: &Record) -> usize {
    (record.events.len() + 1) * fates(0).len()
}

#[test]
fn a_single_file_survives_every_power_cut() {
    let record = Record::of(single_file);
    assert_eq!(survived("a single file", &record), Ok(cuts(&record)));
}

#[test]
fn a_folder_survives_every_power_cut() {
    let record = Record::of(folder);
    assert_eq!(survived("a folder", &record), Ok(cuts(&record)));
}

/// What a process wrote that was killed, the next one found and vouched for; nobody had ever synced it.
#[test]
fn what_a_check_finds_is_synced_before_it_is_vouched_for() {
    let (from, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let part = place.path().join("to/content.part");
    std::fs::create_dir(place.path().join("to")).unwrap();
    [from.path().join("content"), part.clone()].iter().for_each(|path| folder(path));
    let torrent = torrent_of(&from.path().join("content"), Format::Hybrid, Some(PIECE_LENGTH));
    let recorder = Arc::new(Recorder::default());
    let disk = Disk::with(Arc::clone(&recorder) as Arc<dyn Between>);
    let peer = Engine::start(&Config { disk, ..config(Some(&place.path().join("state"))) }).unwrap();
    let swarm = peer.add(AddTorrent::download(Arc::clone(&torrent), place.path().join("to"))).unwrap();
    wait_until("all is found", || swarm.is_complete());
    peer.stop();
    let events = recorder.events.lock().unwrap();
    let resume = place.path().join("state/resume").join(format!("{}.json", torrent.key()));
    let vouches = |event: &Event| matches!(event, Event::Rename { to, .. } if *to == resume);
    let last = events.iter().rposition(vouches).unwrap();
    for index in 0..torrent.files().len() {
        let path = file_under(&torrent, &part, index);
        let synced = |event: &Event| matches!(event, Event::Sync(synced) if *synced == path);
        let named =
            |event: &Event| matches!(event, Event::SyncFolder(folder) if Some(&**folder) == path.parent());
        if torrent.files()[index].len > 0 {
            assert!(events[..last].iter().any(synced), "{}", path.display());
            assert!(events[..last].iter().any(named), "{}", path.display());
        }
    }
}

/// Without this, the tests above might as well examine nothing.
#[test]
fn wrong_orders_are_caught() {
    let record = Record::of(folder);
    let is_part = |path: &Path| path.iter().any(|name| name == "content.part");
    let is_temporary = |path: &Path| path.extension().is_some_and(|extension| extension == "tmp");
    let caught = |what: &str, words: &str, change: &dyn Fn(&mut Vec<Event>)| {
        let why = record.with(change).examine(|_| ()).expect_err(what);
        assert!(why.contains(words), "{what}: {why}");
        println!("{what}: {why}");
    };
    caught("no sync of the data before the bitmap", "is vouched for, and not there", &|events| {
        events.retain(|event| !matches!(event, Event::Sync(path) if is_part(path)));
    });
    caught("no sync of the temporary file before its rename", "is torn", &|events| {
        events.retain(|event| !matches!(event, Event::Sync(path) if is_temporary(path)));
    });
    caught("no sync of the folders of new files", "is vouched for, and not there", &|events| {
        events.retain(|event| !matches!(event, Event::SyncFolder(path) if is_part(path)));
    });
    caught("no sync of the folder after the last rename", "undoes the download", &|events| {
        let last = |event: &Event| matches!(event, Event::SyncFolder(path) if path.ends_with("to"));
        events.remove(events.iter().rposition(last).unwrap());
    });
    caught("the bitmap in place instead of by a rename", "is torn", &|events| {
        for event in events.iter_mut() {
            in_place(event);
        }
        events.retain(|event| !matches!(event, Event::Rename { from, to } if from == to));
    });
    caught("the name before the last sync of the data", "is not whole", &|events| {
        let renamed =
            |event: &Event| matches!(event, Event::Rename { from, .. } if from.ends_with("content.part"));
        let written = |event: &Event| matches!(event, Event::Write { path, .. } if is_part(path));
        let last = events.iter().rposition(written).unwrap();
        let name = events.iter().position(renamed).unwrap();
        let late: Vec<Event> = events
            .splice(last + 1..name, [])
            .filter(|event| !matches!(event, Event::Sync(path) if is_part(path)))
            .collect();
        events.splice(last + 2..last + 2, late); // after the rename; and the sync never
    });
}

fn in_place(event: &mut Event) {
    let path = match event {
        Event::Create(path) | Event::Sync(path) => path,
        Event::Write { path, .. } | Event::SetLen { path, .. } | Event::Rename { from: path, .. } => path,
        _ => return,
    };
    if path.extension().is_some_and(|extension| extension == "tmp") {
        *path = path.with_extension("");
    }
}
