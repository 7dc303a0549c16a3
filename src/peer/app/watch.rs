//! The `watch` thread: notices files that are new, changed or removed under the upload folder while the
//! engine runs, and shares or withdraws them. It owns the [`Library`]; one lock guards the thread's handle.
//!
//! A file that is being written changes all the time, so it is scanned once it has not changed for `QUIET`.
//! The folder is scanned once nothing in it has changed for that time, but at the latest `PATIENCE` after a
//! change, so that one file that grows all day does not hide the others.

use super::library::{Changes, Library};
use super::notices::Notice;
use super::room::Room;
use crate::peer::storage::resume::Stamp;
use crate::threads;
use crate::torrent::InfoHash;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use std::io;
use std::path::Path;
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
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Shares what is in the folder now, and watches it. Returns at once if `in_background`, since hashing
    /// may take long; otherwise when everything is shared.
    pub fn start(mut library: Library, room: Arc<Room>, in_background: bool) -> io::Result<Self> {
        // One message is enough: a scan finds all changes.
        let (nudge, nudges) = crossbeam_channel::bounded(1);
        let for_watcher = nudge.clone();
        let told = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = for_watcher.try_send(Nudge::Changed);
            }
        };
        let watcher = notify::recommended_watcher(told).and_then(|mut watcher| {
            watcher.watch(library.dir(), RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        if let Err(why) = &watcher {
            log::warn!("{} is looked at every {} s only: {why}", library.dir().display(), LOOK.as_secs());
        }
        let give_up = library.stopper();
        if !in_background {
            scan(&mut library, Duration::ZERO, &room);
        }
        let thread = threads::spawn("watch", move || {
            if in_background {
                scan(&mut library, Duration::ZERO, &room);
            }
            run(library, &room, &nudges);
        })?;
        Ok(Watch { nudge, give_up, thread: Mutex::new(Some(thread)), _watcher: watcher.ok() })
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

fn run(mut library: Library, room: &Room, nudges: &Receiver<Nudge>) {
    let mut wait = LOOK;
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
        wait = if scan(&mut library, QUIET, room) { QUIET } else { LOOK };
    }
}

/// Scans once, and shares what is new. True if files are left for later because they are being written.
fn scan(library: &mut Library, settled: Duration, room: &Room) -> bool {
    let hashing = |path: &Path, stamp: Stamp| {
        log::info!("hashing {}", path.display());
        if stamp.size >= LARGE {
            room.tell(Notice::Hashing(path.to_owned()));
        }
    };
    match library.scan(settled, hashing) {
        Ok(changes) => {
            let unsettled = changes.unsettled;
            apply(changes, room);
            unsettled
        }
        Err(why) => {
            log::warn!("cannot look into {}: {why}", library.dir().display());
            false
        }
    }
}

fn apply(changes: Changes, room: &Room) {
    for key in changes.removed {
        if let Ok(hash) = key.parse::<InfoHash>() {
            log::info!("{key} is gone from the upload folder: withdrawn");
            room.remove(hash);
        }
    }
    for found in changes.added {
        let name = found.torrent.name().to_owned();
        match room.share(found.torrent, &found.dir) {
            Ok(()) => log::info!("published {name}"),
            Err(why) => log::warn!("{name} is not published: {why}"),
        }
    }
}
