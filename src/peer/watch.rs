//! The `watch` thread: notices what is new, changed or gone under the upload folder while the peer runs, and shares
//! or withdraws it. It owns the [`Library`].
//!
//! A file that is being written changes all the time; it is looked at once nothing under the folder has changed
//! for `QUIET`.

use super::library::{Changes, Library};
use super::room::Room;
use crate::threads;
use crate::torrent::InfoHash;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// For so long nothing may change before the folder is looked at.
const QUIET: Duration = Duration::from_millis(700);
/// It is looked at so often in any case: some file systems tell nothing.
const LOOK: Duration = Duration::from_secs(60);

enum Nudge {
    Changed,
    Stop,
}

/// The watcher of one folder. Dropping it ends the thread.
pub struct Watch {
    nudge: Sender<Nudge>,
    thread: Mutex<Option<JoinHandle<()>>>,
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Shares what is under the folder now, and goes on watching it.
    pub fn start(mut library: Library, room: Arc<Room>) -> io::Result<Self> {
        // One nudge says it all: what changed is seen by looking.
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
        scan(&mut library, &room);
        let thread = threads::spawn("watch", move || run(library, &room, &nudges))?;
        Ok(Watch { nudge, thread: Mutex::new(Some(thread)), _watcher: watcher.ok() })
    }

    /// Ends the thread.
    pub fn stop(&self) {
        let Some(thread) = self.thread.lock().take() else { return };
        let _ = self.nudge.send(Nudge::Stop); // it reads, or is gone
        let _ = thread.join();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(mut library: Library, room: &Room, nudges: &Receiver<Nudge>) {
    loop {
        match nudges.recv_timeout(LOOK) {
            Ok(Nudge::Changed) => loop {
                match nudges.recv_timeout(QUIET) {
                    Ok(Nudge::Changed) => {}
                    Err(RecvTimeoutError::Timeout) => break,
                    Ok(Nudge::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                }
            },
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Nudge::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
        scan(&mut library, room);
    }
}

fn scan(library: &mut Library, room: &Room) {
    match library.scan(|path| log::info!("hashing {}", path.display())) {
        Ok(changes) => apply(changes, room),
        Err(why) => log::warn!("cannot look into {}: {why}", library.dir().display()),
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
