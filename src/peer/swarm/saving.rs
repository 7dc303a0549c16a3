//! What of a torrent survives a crash, and how a complete download gets its name. Runs on the workers, and on
//! the thread that stops the engine; the locks are held for a look or a change, never over the disk.

use super::{Job, Swarm};
use crate::bitfield::Bitfield;
use crate::peer::storage::StorageError;
use crate::peer::storage::resume::{Resume, ResumeFile};
use crate::peer::storage::stamp::Stamp;
use crate::torrent::Piece;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Minimum time between two saves of the resume state while pieces come in.
const SAVE_EVERY: Duration = Duration::from_secs(3);

impl Swarm {
    /// Gives the download its name and reports it, if all that is wanted is here.
    pub(crate) fn complete(self: &Arc<Self>) -> Result<(), StorageError> {
        self.save()
    }

    /// Makes durable what is on the disk, saves the resume state, and gives a complete download its name.
    /// Only one thread does so at a time: a second one would take for synced what the first is still syncing,
    /// and both would write the same file. A thread that comes second has the first do it once more.
    ///
    /// # Errors
    /// The disk failed, or something is in the way of the download's name.
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

    /// Takes the set of pieces, syncs the data, gives it its name if it is complete, then saves the set.
    fn save_now(self: &Arc<Self>) -> Result<(), StorageError> {
        if self.forgotten.load(Ordering::Acquire) {
            self.resume.iter().for_each(ResumeFile::remove);
            return Ok(());
        }
        if self.is_absent() {
            let _ = self.save_durable(); // in vain if the state lies in the folder that is not there
            return Ok(());
        }
        let (have, is_here) = {
            let picker = self.picker.lock();
            (picker.have().clone(), picker.is_complete())
        };
        let whole = || if self.is_complete() { Ok(()) } else { self.storage.check_lengths() };
        let durable = self.storage.sync().and_then(|()| whole());
        if let Err(why) = durable {
            if self.is_away() {
                return self.saved_before(&why);
            }
            self.distrust(&why);
            // For less than before, and with the reason. The first error is the one to report.
            let _ = self.save_durable();
            return Err(why);
        }
        *self.saved_at.lock() = Some(Instant::now());
        let finishes = is_here && !self.is_complete() && self.is_running() && !self.waits_for_its_place();
        *self.durable.lock() = have;
        if !finishes {
            return self.save_durable();
        }
        let mut saved = Ok(());
        let named = self.storage.prepare().and_then(|has_cleared| {
            // From the moment on at which a file has its final name it is its user's to change. So what is
            // saved at the end is saved before that: a change after a crash in the middle is known as one.
            let (stamps, settled) = self.storage.known_next();
            saved = self.save_as(stamps, settled);
            if has_cleared { std::mem::replace(&mut saved, Ok(())) } else { Ok(()) }
        });
        let replaced = self.storage.older().is_some();
        if let Err(why) = named.and_then(|()| self.storage.take_names()) {
            if self.is_away() {
                return self.saved_before(&why);
            }
            if !matches!(why, StorageError::InTheWay(_) | StorageError::ChangedByUser(_)) {
                self.distrust(&why);
            }
            let _ = self.save_durable();
            return Err(why);
        }
        self.now_complete();
        if replaced || saved.is_err() {
            saved = self.save_durable(); // without the older version
        }
        self.wake_all();
        self.observer.completed(self);
        saved
    }

    /// Whether an older version must be given up before this download can have its place:
    /// [`take_place`](Self::take_place).
    pub(crate) fn waits_for_its_place(&self) -> bool {
        !self.may_replace.load(Ordering::Acquire) && self.storage.older().is_some()
    }

    /// The older version is not shared any more: the download may take its place.
    pub(crate) fn take_place(self: &Arc<Self>) {
        self.may_replace.store(true, Ordering::Release);
        self.pool.push(Job::Complete(Arc::clone(self)));
    }

    /// The folder is not there: what was durable when it was last saved stays so.
    fn saved_before(&self, why: &StorageError) -> Result<(), StorageError> {
        if matches!(why, StorageError::Io { .. }) {
            self.distrust_the_disk();
        }
        let _ = self.save_durable(); // in vain if the state lies in that folder
        Ok(())
    }

    /// Saves which pieces are durable.
    fn save_durable(&self) -> Result<(), StorageError> {
        let stamps = if self.is_complete() { self.storage.stamps() } else { Vec::new() };
        self.save_as(stamps, self.storage.settled())
    }

    /// Saves which pieces are durable, and which files have their final names: all of these, or some.
    fn save_as(&self, stamps: Vec<Stamp>, settled: BTreeMap<usize, Stamp>) -> Result<(), StorageError> {
        let Some(file) = &self.resume else { return Ok(()) };
        // The next start has to know that the kernel may show what is not on the disk.
        let lost = self.rewrite.load(Ordering::Acquire) && !self.is_complete();
        let lost = lost.then(|| "the disk lost what was written to it".to_owned());
        let trouble = self.trouble.lock().clone().or(lost);
        let paused = self.by_user.load(Ordering::Acquire);
        let durable = self.durable.lock().clone();
        let mut resume = Resume::new(self.storage.dir(), &durable, stamps, paused).troubled(trouble);
        resume.settled = settled;
        resume.folder = self.storage.folder();
        resume.wanted = self.storage.wanted_only();
        resume.own = self.storage.is_own();
        resume.older = self.storage.older();
        file.save(&resume).map_err(|why| {
            let path = self.storage.dir().to_owned();
            StorageError::Io { what: "save the resume state of the downloads in", path, why }
        })
    }

    /// The disk failed in the middle of a download: pauses it, and has the reason saved. If the folder is not
    /// there, the torrent waits for it.
    pub(crate) fn disk_failed(self: &Arc<Self>, why: &StorageError) {
        if !self.is_away() {
            self.pause_for(why);
        }
    }

    /// Pauses the torrent for what the disk did.
    pub(super) fn pause_for(self: &Arc<Self>, why: &StorageError) {
        if matches!(why, StorageError::Vanished(_) | StorageError::Truncated(_)) {
            self.distrust(why);
        }
        self.fail(&why.to_string());
        self.pool.push(Job::Save(Arc::clone(self)));
    }

    /// The disk lost what was written since the last save, or it is unknown what it lost. That has to be read
    /// and hashed before it is sent to a peer or called durable.
    fn distrust(&self, why: &StorageError) {
        if self.is_complete() || self.storage.is_shared() {
            return; // nothing is written any more
        }
        self.distrust_the_disk();
        *self.trouble.lock() = Some(why.to_string());
        if matches!(why, StorageError::Vanished(_) | StorageError::Truncated(_)) {
            let mut durable = self.durable.lock();
            *durable = Bitfield::new(durable.len()); // it was durable, and is gone all the same
        }
        self.doubt_unsaved();
    }

    /// The pieces that are not durable leave the set of those we have, and are to be looked for.
    pub(super) fn doubt_unsaved(&self) {
        if self.is_complete() || self.storage.is_shared() {
            return; // nothing is written any more
        }
        let (durable, geometry) = (self.durable.lock().clone(), self.torrent.geometry());
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

    /// After a failed sync the kernel may show what is not on the disk, and never write it by itself. From
    /// now on, pieces that are found are written again.
    pub(crate) fn distrust_the_disk(&self) {
        self.rewrite.store(true, Ordering::Release);
    }

    /// A piece was found on the disk. It becomes durable with the next save.
    pub(crate) fn found(&self, piece: Piece, data: &[u8]) -> Result<(), StorageError> {
        if self.rewrite.load(Ordering::Acquire) && !self.storage.is_shared() {
            return self.storage.write(piece, data);
        }
        self.storage.found(piece);
        Ok(())
    }

    /// These pieces were found on the disk before the torrent was added.
    pub(crate) fn found_at_first(&self, pieces: &Bitfield) {
        let geometry = self.torrent.geometry();
        for piece in geometry.pieces_in(pieces) {
            self.storage.found(piece);
            let wanted = {
                let mut picker = self.picker.lock();
                if picker.mark_unverified(piece) {
                    picker.good(piece);
                }
                picker.wanted().has(piece.index())
            };
            self.counts.gained(geometry.piece_len(piece), wanted);
        }
    }

    /// Removes the resume state, and saves none any more. Another thread may be about to save.
    pub(crate) fn forget_resume(self: &Arc<Self>) {
        self.forgotten.store(true, Ordering::Release);
        let _ = self.save(); // which removes it, and cannot fail
    }

    /// Whether it is time to save. If so, the caller has to do it.
    pub(super) fn is_time_to_save(&self) -> bool {
        let mut saved_at = self.saved_at.lock();
        let due = saved_at.is_none_or(|saved_at| saved_at.elapsed() >= SAVE_EVERY);
        if due {
            *saved_at = Some(Instant::now());
        }
        due
    }
}
