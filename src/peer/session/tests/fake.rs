//! A swarm that lacks everything, for the driver of one connection.

use super::*;
use crate::peer::handle::Mail;
use crate::peer::session::dispatch::{Driver, Environment};
use crate::peer::upload::super_seeding::Show;

#[derive(Default)]
pub struct FakeSwarm {
    /// How often a worker was sent to look.
    pub looks: usize,
    /// Number of pieces that came.
    pub arrived: usize,
    /// The pieces that were finished, in order.
    pub finished: Vec<Piece>,
    /// Whether all are.
    pub is_complete: bool,
}

impl Environment for FakeSwarm {
    type Helper = ();

    fn helper_id((): &()) -> ConnId {
        ConnId(0)
    }

    fn lend(&mut self, (): (), _: Vec<Block>) {}

    fn peer_has_pieces(&mut self, _: Bitfield) -> bool {
        true
    }

    fn peer_has(&mut self, _: Piece) -> bool {
        true
    }

    fn welcome(&mut self) -> bool {
        true
    }

    fn settled_in(&mut self) {}

    fn peer_holds(&mut self, _: u32) {}

    fn lacks_any(&self, _: &Bitfield) -> bool {
        true
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn finished_since(&self, told: &mut usize) -> Vec<Piece> {
        self.finished[std::mem::replace(told, self.finished.len())..].to_vec()
    }

    fn show(&mut self, _: bool) -> Show {
        Show::All
    }

    fn peer_is_interested(&mut self, _: bool) {}

    fn introduced(&mut self, _: Extended) {}

    fn look_for_work(&mut self, _: Option<Vec<Piece>>) {
        self.looks += 1;
    }

    fn arrived(&mut self, _: Partial) {
        self.arrived += 1;
    }

    fn gave_back(&mut self, _: Vec<Partial>) {}

    fn late(&mut self, _: Block, _: &[u8]) -> Option<ConnId> {
        None
    }

    fn write_to(&mut self, _: ConnId, _: Mail<()>) {}
}

pub fn driver(leecher: Leecher) -> Driver {
    Driver::new(leecher.session, ConnId(1), identity(2), 0, false)
}
