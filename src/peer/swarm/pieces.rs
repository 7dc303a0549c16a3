//! What becomes of a torrent's pieces: picked, arrived, good or broken, and how everybody hears of it.

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

/// Pieces checked by one job.
const CHECK_BATCH: u32 = 16;

/// A look at what is on the disk, shared by the jobs that it takes.
#[doc(hidden)]
pub struct Look {
    /// How many pieces are looked for.
    pub pieces: u32,
    left: AtomicU32,
    found: AtomicU32,
}

impl Look {
    fn new(pieces: u32) -> Self {
        Look { pieces, left: AtomicU32::new(pieces), found: AtomicU32::new(0) }
    }

    /// One job is done, and found so many. How many all of them found, if it was the last.
    pub(crate) fn add(&self, pieces: Range<u32>, found: u32) -> Option<u32> {
        self.found.fetch_add(found, Ordering::Relaxed);
        let count = pieces.end - pieces.start;
        let last = self.left.fetch_sub(count, Ordering::AcqRel) == count; // the others' `found` came before
        last.then(|| self.found.load(Ordering::Relaxed))
    }
}

impl Swarm {
    /// Has the workers look which of `pieces` are on the disk; until then they are not fetched.
    pub(crate) fn check(self: &Arc<Self>, pieces: impl Iterator<Item = Piece>) {
        let unverified: Vec<Piece> =
            pieces.filter(|piece| self.picker.lock().mark_unverified(*piece)).collect();
        self.look_for(unverified);
    }

    /// Has the workers look for pieces of which the picker knows that they wait for that.
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

    /// The peer told what it has: whether that is something we lack.
    #[doc(hidden)]
    pub fn peer_has_pieces(&self, id: ConnId, bits: Bitfield) -> bool {
        self.is_out(id, self.torrent.geometry().pieces_in(&bits));
        self.picker.lock().peer_has_pieces(id, bits) && !self.storage.is_shared()
    }

    /// The peer has one more piece: whether that is something we lack.
    pub(crate) fn peer_has(&self, id: ConnId, piece: Piece) -> bool {
        self.is_out(id, [piece]);
        self.picker.lock().peer_has(id, piece) && !self.storage.is_shared()
    }

    /// Whether there is something among these pieces that we are to fetch.
    pub(crate) fn lacks_any(&self, of: &Bitfield) -> bool {
        !self.storage.is_shared() && self.picker.lock().lacks_any(of)
    }

    /// The next piece for a connection, with the memory for it. If there is none to begin now, though its peer has some, the
    /// connection is starved: it is asked again as soon as a piece or memory becomes free.
    pub(crate) fn pick(&self, handle: &Arc<Handle>) -> Pick {
        loop {
            let fed_before = self.starved_retries.load(Ordering::SeqCst);
            let (pick, short_of_memory) = self.look_for_piece(handle);
            let is_starved = match pick {
                Pick::Fetch(_) => false,
                Pick::Help(..) => short_of_memory,
                Pick::Nothing { interesting } => interesting,
            };
            if !is_starved {
                return pick;
            }
            self.starved.lock().insert(handle.id, Arc::clone(handle));
            if self.member(handle.id).is_none() {
                self.starved.lock().remove(&handle.id); // it ended while we looked
                return pick;
            }
            // Whatever became free before we stood there was offered to others.
            if self.starved_retries.load(Ordering::SeqCst) == fed_before
                || self.starved.lock().remove(&handle.id).is_none()
            {
                return pick;
            }
        }
    }

    /// What there is to do for a connection, and whether it is for want of memory that it is not a new piece.
    fn look_for_piece(&self, handle: &Handle) -> (Pick, bool) {
        if !self.is_running() || self.storage.is_shared() {
            return (Pick::Nothing { interesting: false }, false);
        }
        let (budget, len) = (&self.shared.budget, self.torrent.geometry().piece_length());
        let memory = budget.reserve(len).or_else(|| {
            let starving = self.picker.lock().is_idle();
            starving.then(|| budget.overdraw(len))?
        });
        let short_of_memory = memory.is_none();
        (self.picker.lock().pick(handle.id, memory), short_of_memory)
    }

    /// A connection will not finish these.
    #[doc(hidden)]
    pub fn gave_back(self: &Arc<Self>, partials: Vec<Partial>, owner: ConnId) {
        let memory_is_short = self.shared.budget.is_half_spent() || !self.is_running();
        {
            let mut picker = self.picker.lock();
            partials.into_iter().for_each(|partial| picker.gave_back(partial, owner));
            if memory_is_short {
                picker.drop_leftovers(); // somebody may need the memory who cannot finish these
            }
        }
        self.retry_starved();
    }

    /// A block came that its connection had given up on. Gives the owner of its piece, which it is to be brought to, if there is one;
    /// else it is kept for the next.
    pub(crate) fn late(self: &Arc<Self>, block: Block, data: &[u8], from: &Handle) -> Option<ConnId> {
        let budget = &self.shared.budget;
        let spare = || budget.reserve(self.torrent.geometry().piece_length());
        let memory = (!budget.is_half_spent()).then(spare).flatten();
        let late = self.picker.lock().late(block, data, &from.identity, memory);
        match late {
            Late::Of(owner) => return Some(owner),
            Late::Complete(partial) => self.finish(partial, from.proof),
            Late::Done => {}
        }
        None
    }

    /// In which generation a write begins. What it is for, [`Swarm::good`] wants to know.
    pub(crate) fn write_generation(&self) -> u32 {
        self.write_generation.load(Ordering::Acquire)
    }

    /// The piece is verified and on the disk, written or found there in `generation`: true if it was the last that was wanted. If the disk has
    /// lost what was written since then, the piece is missing again.
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
            self.finished_len.store(finished.len(), Ordering::Release);
            (wanted && picker.is_complete(), wanted)
        };
        self.counts.gained(self.torrent.geometry().piece_len(piece), wanted);
        last
    }

    /// The piece came and failed its hash: it is missing again, and whoever is to blame for that is banned.
    pub(crate) fn broken(self: &Arc<Self>, partial: Partial) {
        let piece = partial.piece();
        self.accuse(&partial);
        drop(partial); // its memory is free before anybody looks for some
        self.picker.lock().broken(piece);
        self.retry_starved();
    }

    /// The piece on the disk is not what it should be, or could not be written: it is missing again.
    pub(crate) fn bad(self: &Arc<Self>, piece: Piece) {
        self.picker.lock().bad(piece);
        self.retry_starved();
    }

    /// Lets everybody know that pieces were finished who has a use for that.
    pub(crate) fn wake_for_finished(self: &Arc<Self>) {
        self.wake_curious();
        self.retry_starved();
        self.observer.progressed(self);
        if self.is_time_to_save() {
            self.pool.push(Job::Save(Arc::clone(self)));
        }
    }

    pub(super) fn retry_starved(self: &Arc<Self>) {
        self.starved_retries.fetch_add(1, Ordering::SeqCst);
        let starved = std::mem::take(&mut *self.starved.lock());
        starved.into_values().for_each(|handle| self.pool.push(Job::Fetch(Arc::clone(self), handle)));
    }

    /// Blame for a complete piece that failed its hash.
    fn accuse(&self, partial: &Partial) {
        let culprit = self.blame.lock().bad(partial);
        if let Some(culprit) = culprit {
            self.ban(&culprit);
        }
    }

    /// A good copy is here: finds out who sent bad ones.
    pub(crate) fn acquit(&self, piece: Piece, data: &[u8]) {
        if self.blame.lock().has_case(piece) {
            let liars = self.blame.lock().good(piece, data);
            liars.iter().for_each(|liar| self.ban(liar));
        }
    }

    /// The pieces we have, and how many of the finished ones that covers.
    #[doc(hidden)]
    pub fn have(&self) -> (Bitfield, usize) {
        let picker = self.picker.lock();
        (picker.have().clone(), self.finished_len.load(Ordering::Acquire))
    }

    /// Pieces finished after the first `cursor`, which moves along.
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
