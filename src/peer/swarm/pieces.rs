//! What becomes of a torrent's pieces: picked, arrived, good or bad, and how connections learn of it. Any
//! thread; it takes the locks `picker`, `finished`, `starved`, `members` and `blame`.

use super::{Job, Swarm};
use crate::bitfield::Bitfield;
use crate::peer::download::partial::Partial;
use crate::peer::download::picker::{Late, Pick};
use crate::peer::handle::Handle;
use crate::peer::identity::ConnId;
use crate::torrent::{Block, Piece};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Number of pieces that one job looks for.
const CHECK_BATCH: u32 = 16;

/// The progress of looking for pieces on the disk, shared by the jobs that do it.
#[doc(hidden)]
pub struct Look {
    /// Number of pieces that all jobs look for.
    pub pieces: u32,
    left: AtomicU32,
    found: AtomicU32,
}

impl Look {
    fn new(pieces: u32) -> Self {
        Look { pieces, left: AtomicU32::new(pieces), found: AtomicU32::new(0) }
    }

    /// One job has looked for `pieces` and found this many. The last job gets the number that all of them
    /// found.
    pub(crate) fn add(&self, pieces: Range<u32>, found: u32) -> Option<u32> {
        self.found.fetch_add(found, Ordering::Relaxed);
        let count = pieces.end - pieces.start;
        let last = self.left.fetch_sub(count, Ordering::AcqRel) == count; // the others' `found` came before
        last.then(|| self.found.load(Ordering::Relaxed))
    }
}

impl Swarm {
    /// Has the workers look which of `pieces` are on the disk. Until then these are not fetched.
    pub(crate) fn check(self: &Arc<Self>, pieces: impl Iterator<Item = Piece>) {
        let unverified: Vec<Piece> =
            pieces.filter(|piece| self.picker.lock().mark_unverified(*piece)).collect();
        self.look_for(unverified);
    }

    /// Has the workers look for pieces that the picker knows to be unverified.
    pub(super) fn look_for(self: &Arc<Self>, unverified: Vec<Piece>) {
        let mut batch: Option<Range<u32>> = None;
        let look = Arc::new(Look::new(unverified.len() as u32));
        let push = |batch: Range<u32>| self.pool.push(Job::Check(Arc::clone(self), batch, Arc::clone(&look)));
        for piece in unverified {
            let index = piece.index();
            batch = match batch {
                Some(range) if range.end == index && index - range.start < CHECK_BATCH => {
                    Some(range.start..index + 1)
                }
                Some(range) => {
                    push(range);
                    Some(index..index + 1)
                }
                None => Some(index..index + 1),
            };
        }
        batch.into_iter().for_each(push);
    }

    /// The peer has these pieces. Returns whether we lack any of them.
    #[doc(hidden)]
    pub fn peer_has_pieces(&self, id: ConnId, bits: Bitfield) -> bool {
        self.is_out(id, self.torrent.geometry().pieces_in(&bits));
        self.picker.lock().peer_has_pieces(id, bits) && !self.storage.is_shared()
    }

    /// The peer has one more piece. Returns whether we lack it.
    pub(crate) fn peer_has(&self, id: ConnId, piece: Piece) -> bool {
        self.is_out(id, [piece]);
        self.picker.lock().peer_has(id, piece) && !self.storage.is_shared()
    }

    /// Whether we are to fetch any of these pieces.
    pub(crate) fn lacks_any(&self, of: &Bitfield) -> bool {
        !self.storage.is_shared() && self.picker.lock().lacks_any(of)
    }

    /// Has a worker find the next piece for a connection. `again`: it knows that there was nothing to begin.
    #[doc(hidden)]
    pub fn look_for_work(self: &Arc<Self>, handle: Arc<Handle>, again: bool) {
        self.pool.push(Job::Fetch { swarm: Arc::clone(self), handle, again });
    }

    /// The next piece for a connection, with the memory for it. If none can be begun now, though the peer has
    /// some that we lack, the connection is starved: it looks again as soon as a piece or memory becomes
    /// free. So is one that may help with a piece: its help may not be needed.
    pub(crate) fn pick(&self, handle: &Arc<Handle>) -> Pick {
        loop {
            let fed_before = self.starved_retries.load(Ordering::SeqCst);
            let pick = self.look_for_piece(handle);
            if matches!(pick, Pick::Fetch(_) | Pick::Nothing { interesting: false }) {
                self.starved.lock().remove(&handle.id); // what is said now may not be what was said then
                return pick;
            }
            self.starved.lock().insert(handle.id, Arc::clone(handle));
            if self.member(handle.id).is_none() {
                self.starved.lock().remove(&handle.id); // it ended while we looked
                return pick;
            }
            // What became free before we stood in `starved` was offered to others only.
            if self.starved_retries.load(Ordering::SeqCst) == fed_before
                || self.starved.lock().remove(&handle.id).is_none()
            {
                return pick;
            }
        }
    }

    /// What a connection can fetch.
    fn look_for_piece(&self, handle: &Handle) -> Pick {
        if !self.is_running() || self.storage.is_shared() {
            return Pick::Nothing { interesting: false };
        }
        let (budget, len) = (&self.shared.budget, self.torrent.geometry().longest_piece());
        let memory = budget.reserve(len).or_else(|| {
            let starving = self.picker.lock().is_idle();
            starving.then(|| budget.overdraw(len))?
        });
        let only = handle.only();
        let mut picker = self.picker.lock();
        match only {
            Some(pieces) => picker.pick_among(handle.id, &pieces, memory),
            None => picker.pick(handle.id, memory),
        }
    }

    /// A connection will not finish these.
    #[doc(hidden)]
    pub fn gave_back(self: &Arc<Self>, partials: Vec<Partial>, owner: ConnId) {
        let memory_is_short = self.shared.budget.is_half_spent() || !self.is_running();
        {
            let mut picker = self.picker.lock();
            partials.into_iter().for_each(|partial| picker.gave_back(partial, owner));
            if memory_is_short {
                picker.drop_leftovers(); // others may need their memory, and cannot finish them
            }
        }
        self.retry_starved();
    }

    /// A block came after its connection had given up on it. Returns the owner of its piece, to which it must
    /// be mailed, if there is one. Otherwise the block is kept for the next owner.
    pub(crate) fn late(self: &Arc<Self>, block: Block, data: &[u8], from: &Handle) -> Option<ConnId> {
        let budget = &self.shared.budget;
        let spare = || budget.reserve(self.torrent.geometry().longest_piece());
        let memory = (!budget.is_half_spent()).then(spare).flatten();
        let late = self.picker.lock().late(block, data, &from.identity, memory);
        match late {
            Late::Of(owner) => return Some(owner),
            Late::Complete(partial) => self.finish(partial, from.proof),
            Late::Done => {}
        }
        None
    }

    /// The present write generation. A write begins with it, and [`Swarm::good`] compares it.
    pub(crate) fn write_generation(&self) -> u32 {
        self.write_generation.load(Ordering::Acquire)
    }

    /// The piece is verified and on the disk, written or found there in `generation`. Returns whether it was
    /// the last wanted piece. If the disk has lost what was written since then, the piece is missing again.
    pub(crate) fn good(self: &Arc<Self>, piece: Piece, generation: u32) -> bool {
        let (last, wanted) = {
            let mut picker = self.picker.lock();
            if self.write_generation() != generation {
                picker.bad(piece);
                return false;
            }
            let wanted = picker.wanted().has(piece.index());
            picker.good(piece);
            let mut finished = self.finished.write();
            finished.push(piece);
            self.finished_len.store(finished.len(), Ordering::SeqCst); // see `wake_curious`
            (wanted && picker.is_complete(), wanted)
        };
        self.counts.gained(self.torrent.geometry().piece_len(piece), wanted);
        last
    }

    /// The piece came and failed its hash: it is missing again, and its sender is banned if that is certain.
    pub(crate) fn broken(self: &Arc<Self>, partial: Partial) {
        let piece = partial.piece();
        self.accuse(&partial);
        drop(partial); // its memory is free before a starved connection looks for some
        self.picker.lock().broken(piece);
        self.retry_starved();
    }

    /// The piece on the disk is wrong, or could not be written: it is missing again.
    pub(crate) fn bad(self: &Arc<Self>, piece: Piece) {
        self.picker.lock().bad(piece);
        self.retry_starved();
    }

    /// Pieces were finished: wakes the connections that announce or fetch, tells the observer, and saves if
    /// it is time.
    pub(crate) fn wake_for_finished(self: &Arc<Self>) {
        self.wake_curious();
        // Memory may be free, or the end near; but nothing is missing that was not missing before.
        self.look_for_starved(true);
        self.observer.progressed(self);
        if self.is_time_to_save() {
            self.pool.push(Job::Save(Arc::clone(self)));
        }
    }

    /// Pieces may be missing again, or nobody's: has workers look again for those who found nothing to begin.
    pub(super) fn retry_starved(self: &Arc<Self>) {
        self.look_for_starved(false);
    }

    /// In a new order each time: where memory is short, one of them gets all that is free, and it must not
    /// always be the same one.
    fn look_for_starved(self: &Arc<Self>, again: bool) {
        self.starved_retries.fetch_add(1, Ordering::SeqCst);
        let starved = std::mem::take(&mut *self.starved.lock());
        let mut starved: Vec<_> = starved.into_values().collect();
        fastrand::shuffle(&mut starved);
        starved.into_iter().for_each(|handle| self.look_for_work(handle, again));
    }

    /// Bans the sender of a complete piece that failed its hash, if it is known.
    fn accuse(&self, partial: &Partial) {
        let culprit = self.blame.lock().bad(partial);
        if let Some(culprit) = culprit {
            self.ban(&culprit);
        }
    }

    /// A good copy of the piece is here: compares the bad ones with it, and bans their senders.
    pub(crate) fn acquit(&self, piece: Piece, data: &[u8]) {
        if self.blame.lock().has_case(piece) {
            let liars = self.blame.lock().good(piece, data);
            liars.iter().for_each(|liar| self.ban(liar));
        }
    }

    /// The pieces that we have, and how many of `finished` they include.
    #[doc(hidden)]
    pub fn have(&self) -> (Bitfield, usize) {
        let picker = self.picker.lock();
        (picker.have().clone(), self.finished_len.load(Ordering::Acquire))
    }

    /// Whether more pieces are finished than these.
    pub(crate) fn has_finished_more_than(&self, told: usize) -> bool {
        self.finished_len.load(Ordering::SeqCst) > told
    }

    /// The pieces finished after the first `cursor`, which is moved to the end.
    pub(crate) fn finished_since(&self, cursor: &mut usize) -> Vec<Piece> {
        if self.finished_len.load(Ordering::Acquire) <= *cursor {
            return Vec::new();
        }
        let finished = self.finished.read();
        let new = finished[*cursor..].to_vec();
        *cursor = finished.len();
        new
    }
}
