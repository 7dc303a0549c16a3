//! What of a torrent survives a crash, and how a complete download gets its name.

use super::Swarm;
use crate::peer::resume::{Resume, ResumeFile, Stamp};
use crate::peer::storage::StorageError;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// So often at most the resume state is saved while pieces come in.
const SAVE_EVERY: Duration = Duration::from_secs(3);

impl Swarm {
    /// Gives the complete download its name and says so. It is complete when all that is wanted is here.
    pub fn complete(self: &Arc<Self>) -> Result<(), StorageError> {
        self.storage.finish()?;
        self.complete.store(true, Ordering::Release);
        self.save()?;
        self.wake_all();
        self.observer.completed(self);
        Ok(())
    }

    /// Vouches for what is on the disk. One thread at a time: a second one would take for synced what the first is
    /// still syncing, and both would write the same file. Whoever comes second has the first do it once more.
    pub fn save(&self) -> Result<(), StorageError> {
        if self.saves.fetch_add(1, Ordering::AcqRel) > 0 {
            return Ok(());
        }
        loop {
            let asked = self.saves.load(Ordering::Acquire);
            let saved = self.save_now();
            let nobody_asked_since =
                self.saves.compare_exchange(asked, 0, Ordering::AcqRel, Ordering::Acquire).is_ok();
            if nobody_asked_since {
                return saved;
            }
        }
    }

    /// Takes the set of pieces first, syncs the data, then saves the set.
    fn save_now(&self) -> Result<(), StorageError> {
        let have = self.picker.lock().have().clone();
        self.storage.sync()?;
        *self.saved_at.lock() = Some(Instant::now());
        let Some(file) = &self.resume else { return Ok(()) };
        let stamps = if self.is_complete() && have.is_full() { self.stamps() } else { Vec::new() };
        let paused = !self.is_running();
        let mut resume = Resume::new(self.storage.dir(), &have, stamps, paused);
        resume.settled = self.storage.settled();
        file.save(&resume).map_err(|why| {
            let path = self.storage.dir().to_owned();
            StorageError::Io { what: "save the resume state of the downloads in", path, why }
        })
    }

    fn stamps(&self) -> Vec<Stamp> {
        let files = 0..self.torrent.files().len();
        files.map_while(|index| Stamp::of(&self.storage.path(index)).ok()).collect()
    }

    /// Forgets what was saved.
    pub fn forget_resume(&self) {
        self.resume.iter().for_each(ResumeFile::remove);
    }

    /// Whether a worker should save now; it is taken as told.
    pub(super) fn is_time_to_save(&self) -> bool {
        let mut saved_at = self.saved_at.lock();
        let due = saved_at.is_none_or(|saved_at| saved_at.elapsed() >= SAVE_EVERY);
        if due {
            *saved_at = Some(Instant::now());
        }
        due
    }
}
