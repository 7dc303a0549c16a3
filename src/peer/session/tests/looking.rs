//! When a connection has a worker look for the next piece, and when it waits.

use super::*;
use crate::peer::handle::Mail;
use crate::peer::session::dispatch::{Driver, Environment};
use crate::peer::upload::super_seeding::Show;

/// A swarm that lacks everything, and counts how often a worker is sent to look.
#[derive(Default)]
struct Workers {
    looks: usize,
    arrived: usize,
}

impl Environment for Workers {
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
        false
    }

    fn finished_since(&self, _: &mut usize) -> Vec<Piece> {
        Vec::new()
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

fn driver(leecher: Leecher) -> Driver {
    Driver::new(leecher.session, ConnId(1), identity(2), 0, false)
}

#[test]
fn who_found_nothing_waits_before_it_looks_again() {
    let leecher = Leecher::new(1, true);
    let (now, mut workers) = (leecher.now, Workers::default());
    let mut driver = driver(leecher);
    driver.look_for_work(now, &mut workers);
    driver.look_for_work(now, &mut workers);
    assert_eq!(workers.looks, 1, "one worker looks already");
    driver.on_mail(Mail::NoWork { interesting: true }, now, &mut workers).unwrap();
    driver.look_for_work(now, &mut workers);
    assert_eq!(workers.looks, 1, "it has just looked");
    driver.look_for_work(now + Duration::from_secs(1), &mut workers);
    assert_eq!(workers.looks, 2);
}

/// Bug: a connection found nothing for want of memory. Memory became free, and another worker gave it a piece
/// before the first worker had answered. That older answer then made it wait before it looked for more, and
/// nothing woke it.
#[test]
fn an_answer_that_a_piece_has_overtaken_does_not_have_it_wait() {
    let leecher = Leecher::new(2, true);
    let (now, mut workers) = (leecher.now, Workers::default());
    let partial = empty(leecher.torrent.geometry(), leecher.piece(0));
    let blocks: Vec<(Block, Vec<u8>)> =
        (0..4).map(|nth| leecher.block(0, nth)).map(|block| (block, leecher.data(block))).collect();
    let mut driver = driver(leecher);
    driver.look_for_work(now, &mut workers);
    driver.on_mail(Mail::Fetch(partial), now, &mut workers).unwrap();
    driver.on_mail(Mail::NoWork { interesting: true }, now, &mut workers).unwrap();
    for (block, data) in &blocks {
        let message = Message::Piece { index: 0, begin: block.begin(), data };
        driver.session.on_message(message, now).unwrap();
        driver.on_events(&mut workers);
    }
    driver.look_for_work(now, &mut workers);
    assert_eq!((workers.arrived, workers.looks), (1, 2), "it looks for the next piece at once");
}
