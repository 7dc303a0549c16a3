//! Super-seeding (BEP 16): when a seed gives out the first copy of its torrent piece by piece, and when that
//! ends. Any thread; it takes the locks `first_copy`, `picker`, `members` and `addresses`, one at a time.

use super::Swarm;
use crate::peer::identity::ConnId;
use crate::peer::upload::super_seeding::{ENOUGH_PEERS, Show, SuperSeeding};
use crate::torrent::Piece;
use std::sync::atomic::Ordering;

/// Where the first copy is of a torrent that we seed.
#[derive(Default)]
pub enum FirstCopy {
    /// Only we have it, as far as we know.
    #[default]
    Here,
    /// It goes out piece by piece.
    GoingOut(SuperSeeding),
    /// Every piece was with some other peer once. They have to pass it on from now on.
    Out,
}

impl Swarm {
    /// Whether this connection, which has joined, announces one piece after the other.
    pub(crate) fn shows_piece_by_piece(&self, id: ConnId) -> bool {
        if !self.is_showing.load(Ordering::Acquire) && !self.begin_showing() {
            return false;
        }
        let mut first_copy = self.first_copy.lock();
        let FirstCopy::GoingOut(showing) = &mut *first_copy else { return false };
        showing.joined(id);
        true
    }

    fn begin_showing(&self) -> bool {
        let never_fetched = self.counts.downloaded.load(Ordering::Relaxed) == 0;
        let is_seed = self.is_complete() && !self.is_partial_seed();
        if !is_seed || !never_fetched || matches!(*self.first_copy.lock(), FirstCopy::Out) {
            return false;
        }
        let members = self.members.lock().len();
        let peers = members.max(self.addresses.lock().known());
        if peers < ENOUGH_PEERS {
            return false;
        }
        let begun = self.what_is_out();
        let mut first_copy = self.first_copy.lock();
        if begun.is_over() {
            *first_copy = FirstCopy::Out;
            return false;
        }
        if matches!(*first_copy, FirstCopy::Here) {
            log::info!("{}: the first copy goes out piece by piece, to {peers} peers", self.torrent.name());
            *first_copy = FirstCopy::GoingOut(begun);
            self.is_showing.store(true, Ordering::Release);
        }
        true
    }

    fn what_is_out(&self) -> SuperSeeding {
        let geometry = self.torrent.geometry();
        let mut showing = SuperSeeding::new(geometry, fastrand::u64(..));
        for (id, bits) in self.picker.lock().peers() {
            showing.joined(id);
            showing.has(id, geometry.pieces_in(bits));
        }
        showing
    }

    /// What to announce to a peer that is shown one piece after the other. `idle` if the peer got a piece and
    /// has no requests left.
    pub(crate) fn show(&self, id: ConnId, idle: bool) -> Show {
        match &mut *self.first_copy.lock() {
            FirstCopy::GoingOut(showing) => showing.show(id, idle),
            FirstCopy::Here | FirstCopy::Out => Show::All,
        }
    }

    /// Peer `id` has these pieces now.
    pub(super) fn is_out(&self, id: ConnId, pieces: impl IntoIterator<Item = Piece>) {
        if !self.is_showing.load(Ordering::Acquire) {
            return;
        }
        {
            let mut first_copy = self.first_copy.lock();
            let FirstCopy::GoingOut(showing) = &mut *first_copy else { return };
            showing.has(id, pieces);
            if !showing.is_over() {
                return;
            }
            *first_copy = FirstCopy::Out;
            self.is_showing.store(false, Ordering::Release);
        }
        log::info!("{}: the first copy is out", self.torrent.name());
        self.wake_all();
    }

    /// Peer `id` left: the pieces that only it had, or was to fetch, go out again.
    pub(super) fn is_gone(&self, id: ConnId) {
        if !self.is_showing.load(Ordering::Acquire) {
            return;
        }
        if let FirstCopy::GoingOut(showing) = &mut *self.first_copy.lock() {
            showing.left(id);
        }
        self.wake_all();
    }
}
