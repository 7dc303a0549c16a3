//! A connection as a member of its swarm: what its session needs of the rest. Runs on the connection's
//! thread, and takes the swarm's locks one at a time.

use crate::bitfield::Bitfield;
use crate::peer::download::partial::Partial;
use crate::peer::handle::{Handle, Helper, Mail};
use crate::peer::identity::ConnId;
use crate::peer::session::dispatch::Environment;
use crate::peer::swarm::Swarm;
use crate::peer::upload::newcomers::Place;
use crate::peer::upload::super_seeding::Show;
use crate::protocol::extension::Extended;
use crate::torrent::{Block, Piece};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One connection as a member of its torrent's swarm.
pub struct Membership {
    /// The torrent.
    pub swarm: Arc<Swarm>,
    /// The connection as others see it.
    pub handle: Arc<Handle>,
    /// Held while the peer is served as a newcomer.
    pub place: Option<Place>,
}

impl Membership {
    /// Counts bytes of content that came in.
    pub fn received(&self, bytes: usize) {
        self.handle.numbers.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.swarm.counts.downloaded.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes of content that go out.
    pub fn sent(&self, bytes: usize) {
        self.handle.numbers.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.swarm.counts.uploaded.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Environment for Membership {
    type Helper = Helper;

    fn helper_id(helper: &Helper) -> ConnId {
        helper.id()
    }

    fn lend(&mut self, helper: Helper, blocks: Vec<Block>) {
        if !blocks.is_empty() {
            helper.accept(self.handle.id, blocks); // dropped, it answers that there is no work
        }
    }

    fn peer_has_pieces(&mut self, pieces: Bitfield) -> bool {
        self.swarm.peer_has_pieces(self.handle.id, pieces)
    }

    fn peer_has(&mut self, piece: Piece) -> bool {
        self.swarm.peer_has(self.handle.id, piece)
    }

    fn welcome(&mut self) -> bool {
        self.place = self.swarm.shared.newcomers.welcome();
        self.place.is_some()
    }

    fn settled_in(&mut self) {
        self.place = None;
    }

    fn peer_holds(&mut self, pieces: u32) {
        self.handle.numbers.peer_pieces.store(pieces, Ordering::Relaxed);
    }

    fn lacks_any(&self, of: &Bitfield) -> bool {
        self.swarm.lacks_any(of)
    }

    fn is_complete(&self) -> bool {
        self.swarm.is_complete()
    }

    fn finished_since(&self, told: &mut usize) -> Vec<Piece> {
        self.swarm.finished_since(told)
    }

    fn show(&mut self, idle: bool) -> Show {
        self.swarm.show(self.handle.id, idle)
    }

    fn peer_is_interested(&mut self, interested: bool) {
        self.handle.numbers.wants_us.store(interested, Ordering::Relaxed);
        self.swarm.shared.uploads.set_waiting(self.handle.id, interested);
    }

    fn introduced(&mut self, hello: Extended) {
        self.handle.introduce(hello.client, hello.port);
    }

    fn look_for_work(&mut self, only: Option<Vec<Piece>>) {
        self.handle.set_only(only);
        self.swarm.look_for_work(Arc::clone(&self.handle), false);
    }

    fn arrived(&mut self, partial: Partial) {
        self.swarm.arrived(partial, &self.handle);
    }

    fn gave_back(&mut self, partials: Vec<Partial>) {
        self.swarm.gave_back(partials, self.handle.id);
    }

    fn late(&mut self, block: Block, data: &[u8]) -> Option<ConnId> {
        self.swarm.late(block, data, &self.handle)
    }

    fn write_to(&mut self, other: ConnId, mail: Mail) {
        if let Some(other) = self.swarm.member(other) {
            let _ = other.mailbox.post(mail); // it ended: its pieces have another owner by now
        }
    }
}
