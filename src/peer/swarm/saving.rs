//! What of a torrent survives a crash, and how a complete download gets its name.

use super::{Job, Swarm};
use crate::bitfield::Bitfield;
use crate::peer::storage::StorageError;
use crate::peer::storage::resume::{Resume, ResumeFile};
use crate::torrent::Piece;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// So often at most the resume state is saved while pieces come in.
const SAVE_EVERY: Duration = Duration::from_secs(3);

impl Swarm {
    /// Gives the complete download its name and says so. It is complete when all that is wanted is here.
    pub(crate) fn complete(self: &Arc<Self>) -> Result<(), StorageError> {
        self.save()
    }

    /// Vouches for what is on the disk, and gives a complete download its name. One thread at a time: a second one would
    /// take for synced what the first is still syncing, and both would write the same file. Whoever comes second has the
    /// first do it once more.
    #[doc(hidden)]
    pub fn save(self: &Arc<Self>) -> Result<(), StorageError> {
        if self.saves.fetch_add(1, Ordering::AcqRel) > 0 {
            return Ok(());
        }
        let mut saved = Ok(());
        loop {
            let asked = self.saves.load(Ordering::Acquire);
            saved = saved.and(self.save_now()); // a later success does not make up for a failure
            let nobody_asked_since =
                self.saves.compare_exchange(asked, 0, Ordering::AcqRel, Ordering::Acquire).is_ok();
            if nobody_asked_since {
                return saved;
            }
        }
    }

    /// Takes the set of pieces first, syncs the data, gives it its name if it is complete, then saves the set.
    fn save_now(self: &Arc<Self>) -> Result<(), StorageError> {
        if self.forgotten.load(Ordering::Acquire) {
            self.resume.iter().for_each(ResumeFile::remove);
            return Ok(());
        }
        let (have, is_here) = {
            let picker = self.picker.lock();
            (picker.have().clone(), picker.is_complete())
        };
        let whole = || if self.is_complete() { Ok(()) } else { self.storage.check_lengths() };
        let durable = self.storage.sync().and_then(|()| whole());
        if let Err(why) = durable {
            self.distrust(&why);
            let _ = self.save_durable(); // for less than before, and with the reason; the first error is the one to tell
            return Err(why);
        }
        *self.saved_at.lock() = Some(Instant::now());
        let finishes = is_here && !self.is_complete() && self.is_running();
        *self.durable.lock() = have;
        if !finishes {
            return self.save_durable();
        }
        if let Err(why) = self.storage.finish() {
            if !matches!(why, StorageError::InTheWay(_)) {
                self.distrust(&why);
            }
            let _ = self.save_durable();
            return Err(why);
        }
        self.now_complete();
        let durable = self.save_durable();
        self.wake_all();
        self.observer.completed(self);
        durable
    }

    /// Saves which pieces are durable.
    fn save_durable(&self) -> Result<(), StorageError> {
        let Some(file) = &self.resume else { return Ok(()) };
        let stamps = if self.is_complete() { self.storage.stamps() } else { Vec::new() };
        // As long as something may be shown that is not there, a next start has to know.
        let lost = self.rewrite.load(Ordering::Acquire) && !self.is_complete();
        let lost = lost.then(|| "the disk lost what was written to it".to_owned());
        let trouble = self.trouble.lock().clone().or(lost);
        let paused = self.by_user.load(Ordering::Acquire);
        let durable = self.durable.lock().clone();
        let mut resume = Resume::new(self.storage.dir(), &durable, stamps, paused).troubled(trouble);
        resume.settled = self.storage.settled();
        file.save(&resume).map_err(|why| {
            let path = self.storage.dir().to_owned();
            StorageError::Io { what: "save the resume state of the downloads in", path, why }
        })
    }

    /// The disk did not do as asked in the middle of a download: stops, and has the reason saved.
    pub(crate) fn disk_failed(self: &Arc<Self>, why: &StorageError) {
        if matches!(why, StorageError::Vanished(_) | StorageError::Truncated(_)) {
            self.distrust(why);
        }
        self.fail(&why.to_string());
        self.pool.push(Job::Save(Arc::clone(self)));
    }

    /// The disk lost what was written since the last save, or nobody knows what it lost: that has to be read and hashed
    /// before anybody gets it or anything calls it durable.
    fn distrust(&self, why: &StorageError) {
        if self.is_complete() || self.storage.is_shared() {
            return; // nothing is written any more
        }
        self.distrust_the_disk();
        *self.trouble.lock() = Some(why.to_string());
        let durable = {
            let mut durable = self.durable.lock();
            if matches!(why, StorageError::Vanished(_) | StorageError::Truncated(_)) {
                *durable = Bitfield::new(durable.len()); // it was durable, and is gone all the same
            }
            durable.clone()
        };
        let geometry = self.torrent.geometry();
        let (unverified, wanted) = {
            let mut picker = self.picker.lock();
            self.write_generation.fetch_add(1, Ordering::AcqRel);
            let had = picker.have().iter().filter(|piece| !durable.has(*piece));
            let unverified: Vec<Piece> = had.filter_map(|piece| geometry.piece(piece)).collect();
            unverified.iter().for_each(|piece| picker.distrust(*piece));
            (unverified, picker.wanted().clone())
        };
        for piece in &unverified {
            self.counts.lost(geometry.piece_len(*piece), wanted.has(piece.index()));
        }
        self.unverified.lock().extend(unverified);
    }

    /// After a failed sync the kernel may show what is not on the disk, and never write it by itself: what is found is
    /// written anew from now on.
    pub(crate) fn distrust_the_disk(&self) {
        self.rewrite.store(true, Ordering::Release);
    }

    /// A piece was looked for and found. It becomes durable with the next save.
    pub(crate) fn found(&self, piece: Piece, data: &[u8]) -> Result<(), StorageError> {
        if self.rewrite.load(Ordering::Acquire) && !self.storage.is_shared() {
            return self.storage.write(piece, data);
        }
        self.storage.found(piece);
        Ok(())
    }

    /// Forgets what was saved, for good: somebody may be about to save more.
    pub(crate) fn forget_resume(self: &Arc<Self>) {
        self.forgotten.store(true, Ordering::Release);
        let _ = self.save(); // which removes it, and cannot fail
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
