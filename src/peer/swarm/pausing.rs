//! A torrent is paused, by its user or by what the disk did, and goes on. Any thread; the locks `state`,
//! `trouble` and `unverified` are taken one at a time.

use super::{Job, State, Swarm};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Swarm {
    /// Whether the torrent is paused: it does not go on by itself.
    pub fn is_paused(&self) -> bool {
        matches!(*self.state.lock(), State::Paused(_))
    }

    /// Whether it is paused because the user wants it.
    pub(crate) fn is_paused_by_user(&self) -> bool {
        self.is_paused() && self.by_user.load(Ordering::Acquire)
    }

    /// Why what is missing cannot be fetched now, for the others in the room.
    pub(crate) fn blocked(&self) -> Option<String> {
        if self.is_complete() {
            return None;
        }
        match &*self.state.lock() {
            State::Paused(why) if self.by_user.load(Ordering::Acquire) => Some(format!("paused {why}")),
            State::Paused(why) | State::Absent(why) => Some(why.clone()),
            State::Running => None,
        }
    }

    /// Pauses the torrent because of an error of the disk. Connections end; what is durable stays.
    pub(crate) fn fail(&self, why: &str) {
        let first = {
            let mut state = self.state.lock();
            // What fails after that, such as the save, has the same cause.
            let first = !matches!(*state, State::Paused(_));
            if first {
                *state = State::Paused(why.to_owned());
            }
            first
        };
        self.changed.notify_all();
        if first {
            log::debug!("{} paused: {why}", self.torrent.name());
            *self.trouble.lock() = Some(why.to_owned());
            self.close_all("the torrent is paused");
            self.observer.paused(self, why);
        }
    }

    /// Pauses the torrent because the user wants it, for this reason. It stays paused after a restart.
    pub fn pause(self: &Arc<Self>, why: &str) {
        *self.state.lock() = State::Paused(why.to_owned());
        self.changed.notify_all();
        self.by_user.store(true, Ordering::Release);
        self.close_all("the torrent is paused");
        self.pool.push(Job::Save(Arc::clone(self))); // so that a crash does not undo it
    }

    /// Ends a pause. The torrent goes on with its unverified pieces, with the download, or with giving a
    /// complete download its name. If its folder is not there, it is looked for now.
    pub fn unpause(self: &Arc<Self>) {
        if self.is_running() {
            return;
        }
        let away = self.lacks_folder();
        let now = if away { self.without_folder() } else { State::Running };
        let was = std::mem::replace(&mut *self.state.lock(), now);
        if was == State::Running && !away {
            return;
        }
        self.by_user.store(false, Ordering::Release);
        if away {
            return self.look_for_folder_now();
        }
        let troubled = self.trouble.lock().take().is_some() || !self.unverified.lock().is_empty();
        if troubled && let Err(why) = self.storage.begin_again() {
            return self.fail(&why.to_string());
        }
        self.go_on();
    }

    /// Looks for unverified pieces, or gives a complete download its name.
    pub(super) fn go_on(self: &Arc<Self>) {
        let unverified = std::mem::take(&mut *self.unverified.lock());
        self.look_for(unverified);
        if !self.is_complete() && self.picker.lock().is_complete() {
            self.pool.push(Job::Complete(Arc::clone(self)));
        }
    }
}
