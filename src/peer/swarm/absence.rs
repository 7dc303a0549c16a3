//! The folder of a torrent's files is not there, and comes back: a share that is not mounted for a while. The
//! thread `accept` sees that it is time to look, and a worker looks, since the disk may take long. The locks
//! `state`, `absence`, `picker`, `durable` and `unverified` are taken one at a time.
//!
//! Meanwhile the torrent has no connections, and nothing that is known of it is given up. What was not
//! durable is looked for when the folder is back.

use super::{Job, State, Swarm};
use crate::backoff::Backoff;
use crate::torrent::Piece;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to wait until the folder is looked for, at first and at most.
const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(60);

/// When the folder is looked for next.
pub(super) struct Absence {
    backoff: Backoff,
    /// `None` while a worker looks, or the user has paused the torrent.
    due: Option<Instant>,
    /// Whether a worker looks, or is to. Two at a time would lock the same file.
    looking: bool,
}

impl Absence {
    fn new() -> Self {
        let mut absence = Absence { backoff: Backoff::new(FIRST, LAST), due: None, looking: false };
        absence.again();
        absence
    }

    fn again(&mut self) {
        self.due = Some(Instant::now() + self.backoff.failed());
        self.looking = false;
    }

    /// Whether the caller has to have a worker look.
    fn begin(&mut self) -> bool {
        self.due = None;
        !std::mem::replace(&mut self.looking, true)
    }
}

impl Swarm {
    /// The disk failed: whether that is because the folder is not there. If so, the torrent waits for it.
    pub(crate) fn is_away(self: &Arc<Self>) -> bool {
        let away = self.is_absent() || self.storage.is_absent();
        if away {
            self.went_away();
        }
        away
    }

    /// Whether the torrent waits for its folder.
    pub fn is_absent(&self) -> bool {
        matches!(*self.state.lock(), State::Absent(_))
    }

    /// The torrent was added, and its folder was absent. The pieces `unverified` may be in it.
    pub(crate) fn await_folder(self: &Arc<Self>, mut unverified: Vec<Piece>) {
        unverified.retain(|piece| self.picker.lock().mark_unverified(*piece));
        *self.unverified.lock() = unverified;
        self.went_away();
    }

    fn went_away(self: &Arc<Self>) {
        let first = {
            let mut state = self.state.lock();
            let first = *state == State::Running;
            if first {
                *state = self.without_folder();
            }
            first
        };
        if first {
            self.shared.is_not_there(self.storage.dir());
            self.storage.close_files();
            self.doubt_unsaved();
            *self.absence.lock() = Some(Absence::new());
            self.concern_accept();
            self.close_all("its folder is not there");
        }
    }

    /// Whether the folder is not there, or was not when it was last looked for.
    pub(super) fn lacks_folder(&self) -> bool {
        self.absence.lock().is_some() || self.storage.is_awaited() || self.storage.is_absent()
    }

    pub(super) fn without_folder(&self) -> State {
        State::Absent(format!("{} is not there", self.storage.dir().display()))
    }

    /// These pieces could not be looked for, since the folder is not there: they are when it is back.
    pub(crate) fn look_later(self: &Arc<Self>, pieces: impl Iterator<Item = Piece>) {
        self.unverified.lock().extend(pieces);
        if self.is_running() {
            self.go_on(); // it is back already, and these came too late
        }
    }

    /// Has a worker look for the folder, if it is absent and it is time.
    pub(crate) fn look_for_folder_if_due(self: &Arc<Self>, now: Instant) {
        let due = {
            let mut absence = self.absence.lock();
            let due = absence.as_mut().filter(|absence| absence.due.is_some_and(|due| due <= now));
            due.is_some_and(Absence::begin)
        };
        if due {
            self.pool.push(Job::LookForFolder(Arc::clone(self)));
        }
    }

    /// Has a worker look for the folder now.
    pub(super) fn look_for_folder_now(self: &Arc<Self>) {
        let begins = self.absence.lock().get_or_insert_with(Absence::new).begin();
        self.concern_accept();
        if begins {
            self.pool.push(Job::LookForFolder(Arc::clone(self)));
        }
    }

    /// Looks whether the folder is back. If so, the torrent goes on as if it had never been away, unless its
    /// files have changed.
    pub(crate) fn look_for_folder(self: &Arc<Self>) {
        if !self.is_absent() {
            // The user paused it meanwhile. When that is over, it is looked for.
            self.absence.lock().iter_mut().for_each(|absence| absence.looking = false);
            return;
        }
        let back = if self.storage.is_absent() { None } else { Some(self.storage.come_back()) };
        let back = back.filter(|back| back.is_ok() || !self.storage.is_absent()); // it went away again
        let Some(back) = back else {
            self.absence.lock().iter_mut().for_each(Absence::again);
            return;
        };
        *self.absence.lock() = None;
        self.shared.is_there_again(self.storage.dir());
        if let Err(why) = back {
            return self.pause_for(&why);
        }
        self.lose_what_is_gone();
        let goes_on = {
            let mut state = self.state.lock();
            let goes_on = matches!(*state, State::Absent(_));
            if goes_on {
                *state = State::Running;
            }
            goes_on
        };
        if goes_on {
            self.go_on();
        }
    }

    /// Pieces of an unfinished download that were durable, and whose files are gone or shorter, are missing.
    fn lose_what_is_gone(&self) {
        if self.is_complete() {
            return;
        }
        let durable = self.durable.lock().clone();
        let lost = self.storage.lost(&durable);
        if lost.count() > 0 {
            let mut durable = self.durable.lock();
            for piece in lost.iter() {
                durable.clear(piece);
            }
            drop(durable);
            self.doubt_unsaved();
        }
    }
}
