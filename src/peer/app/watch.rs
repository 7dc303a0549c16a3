//! The `watch` thread: notices files that are new, changed or removed under the upload folder while the
//! engine runs, and shares or withdraws them. It owns the [`Library`]; one lock guards the thread's handle.
//!
//! A file that is being written changes all the time, so it is scanned once it has not changed for `QUIET`.
//! The folder is scanned once nothing in it has changed for that time, but at the latest `PATIENCE` after a
//! change, so that one file that grows all day does not hide the others.
//!
//! If the system cannot watch all of it, since some folder below may not be read, each is watched by itself.
//!
//! If the folder is not there, it is looked for again, at first after a second, and it is watched anew when
//! it is back.

use super::library::{Changes, Library};
use super::notices::Notice;
use super::progress::plural;
use super::room::Room;
use crate::backoff::Backoff;
use crate::peer::storage::stamp::Stamp;
use crate::threads;
use crate::torrent::InfoHash;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the folder, or a file, must not have changed before it is scanned.
const QUIET: Duration = Duration::from_millis(700);
/// How long after a change the folder is scanned at the latest, even if it still changes.
const PATIENCE: Duration = Duration::from_secs(5);
/// Length in bytes from which a file takes a while to hash.
const LARGE: u64 = 256 << 20;
/// How often the folder is scanned in any case, since some file systems report no changes.
const LOOK: Duration = Duration::from_secs(60);
/// How many times as long as a scan takes it is at least until the next one, so that a large folder at rest
/// costs no more than a small one.
const REST: u32 = 2000;
/// How long that is at most.
const LOOK_LAST: Duration = Duration::from_secs(600);

/// How soon a folder that is not there is looked for again, at first.
const LOOK_FIRST: Duration = Duration::from_secs(1);

enum Nudge {
    Changed,
    Stop,
}

/// The watcher of one folder. Dropping it ends the thread.
pub struct Watch {
    nudge: Sender<Nudge>,
    /// Makes the library stop hashing.
    give_up: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread owns.
struct Watched {
    library: Library,
    room: Arc<Room>,
    /// Has the system tell of changes; `None` if it cannot.
    watcher: Option<RecommendedWatcher>,
    /// The folders that are watched each by itself; `None` if the watcher watches all at once.
    watched: Option<BTreeSet<PathBuf>>,
    /// The waits between two looks at a folder that is not there.
    absent: Option<Backoff>,
}

impl Watch {
    /// Shares what is in the folder now, and watches it. Returns at once if `in_background`, since hashing
    /// may take long; otherwise when everything is shared.
    pub fn start(library: Library, room: Arc<Room>, in_background: bool) -> io::Result<Self> {
        // One message is enough: a scan finds all changes.
        let (nudge, nudges) = crossbeam_channel::bounded(1);
        let for_watcher = nudge.clone();
        let told = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = for_watcher.try_send(Nudge::Changed);
            }
        };
        let watcher = notify::recommended_watcher(told);
        if let Err(why) = &watcher {
            log::warn!("{} is looked at every {} s only: {why}", library.dir().display(), LOOK.as_secs());
        }
        let give_up = library.stopper();
        let mut watched = Watched { library, room, watcher: watcher.ok(), watched: None, absent: None };
        watched.watch();
        if !in_background {
            watched.scan(Duration::ZERO);
        }
        let thread = threads::spawn("watch", move || {
            let wait = if in_background { watched.scan(Duration::ZERO) } else { watched.next_look(LOOK) };
            watched.run(&nudges, wait);
        })?;
        Ok(Watch { nudge, give_up, thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread.
    pub fn stop(&self) {
        let Some(thread) = self.thread.lock().take() else { return };
        self.give_up.store(true, Ordering::Relaxed);
        let _ = self.nudge.send(Nudge::Stop); // the thread receives it, or has ended
        let _ = thread.join();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Watched {
    fn run(mut self, nudges: &Receiver<Nudge>, mut wait: Duration) {
        loop {
            match nudges.recv_timeout(wait) {
                Ok(Nudge::Changed) => {
                    let until = Instant::now() + PATIENCE;
                    while Instant::now() < until {
                        match nudges.recv_timeout(QUIET) {
                            Ok(Nudge::Changed) => {}
                            Err(RecvTimeoutError::Timeout) => break,
                            Ok(Nudge::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Nudge::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            wait = self.scan(QUIET);
        }
    }

    /// Has the system tell of changes in the folder. What it told of before may have been another folder with
    /// the same path.
    fn watch(&mut self) {
        let dir = self.library.dir();
        if let Some(watcher) = self.watcher.as_mut().filter(|_| dir.is_dir()) {
            let _ = watcher.unwatch(dir); // it may not be watched
            let all = watcher.watch(dir, RecursiveMode::Recursive);
            self.watched = all.err().map(|_| BTreeSet::new());
        }
    }

    /// Has the system tell of changes in the folders that it does not watch yet, if it watches each by
    /// itself.
    fn watch_new_folders(&mut self) {
        let (Some(watcher), Some(watched)) = (self.watcher.as_mut(), self.watched.as_mut()) else { return };
        let folders: BTreeSet<PathBuf> = self.library.folders().iter().cloned().collect();
        watched.retain(|folder| folders.contains(folder));
        for folder in folders.difference(&watched.clone()).cloned() {
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(watched.insert(folder)),
                Err(why) => log::debug!("{} is not watched: {why}", folder.display()),
            }
        }
    }

    /// Scans once, and shares what is new. Returns when to scan again.
    fn scan(&mut self, settled: Duration) -> Duration {
        let room = &self.room;
        let hashing = |path: &Path, stamp: Stamp| {
            log::debug!("hashing {}", path.display());
            if stamp.size >= LARGE {
                log::info!("hashing {}", path.display());
                room.tell(Notice::Hashing(path.to_owned()));
            }
        };
        let begin = Instant::now();
        match self.library.scan(settled, hashing) {
            Ok(mut changes) => {
                let rest = LOOK.max((begin.elapsed() * REST).min(LOOK_LAST));
                if let Some(what) = changes.left_out.take() {
                    log::info!("{what}");
                    self.room.tell(Notice::LeftOut(what));
                }
                self.watch_new_folders();
                let (unsettled, absent) = (changes.unsettled, changes.absent);
                self.is_absent(absent);
                apply(changes, &self.room);
                if unsettled { QUIET } else { self.next_look(rest) }
            }
            Err(why) => {
                log::warn!("cannot look into {}: {why}", self.library.dir().display());
                LOOK
            }
        }
    }

    fn is_absent(&mut self, absent: bool) {
        let (dir, shared) = (self.library.dir().to_owned(), &self.room.peer().shared);
        match (absent, self.absent.is_some()) {
            (true, false) => {
                shared.is_not_there(&dir);
                self.absent = Some(Backoff::new(LOOK_FIRST, LOOK));
            }
            (false, true) => {
                shared.is_there_again(&dir);
                self.absent = None;
                self.watch();
            }
            _ => {}
        }
    }

    fn next_look(&mut self, rest: Duration) -> Duration {
        self.absent.as_mut().map_or(rest, Backoff::failed)
    }
}

fn apply(changes: Changes, room: &Room) {
    if !changes.removed.is_empty() {
        let files = plural(changes.removed.len() as u64, "file");
        log::info!("withdrawn: {files} gone from the upload folder, or changed");
    }
    for hash in changes.removed.iter().filter_map(|key| key.parse::<InfoHash>().ok()) {
        room.remove(hash);
    }
    for (name, why) in room.share(changes.added) {
        log::warn!("{name} is not published: {why}");
    }
}
