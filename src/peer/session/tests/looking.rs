//! When a connection has a worker look for the next piece, and when it waits.

use super::fake::{FakeSwarm, driver};
use super::*;
use crate::peer::handle::Mail;

#[test]
fn who_found_nothing_waits_before_it_looks_again() {
    let leecher = Leecher::new(1, true);
    let (now, mut swarm) = (leecher.now, FakeSwarm::default());
    let mut driver = driver(leecher);
    driver.look_for_work(now, &mut swarm);
    driver.look_for_work(now, &mut swarm);
    assert_eq!(swarm.looks, 1, "one worker looks already");
    driver.on_mail(Mail::NoWork { interesting: true }, now, &mut swarm).unwrap();
    driver.look_for_work(now, &mut swarm);
    assert_eq!(swarm.looks, 1, "it has just looked");
    driver.look_for_work(now + Duration::from_secs(1), &mut swarm);
    assert_eq!(swarm.looks, 2);
}

/// Bug: a connection found nothing for want of memory. Memory became free, and another worker gave it a piece
/// before the first worker had answered. That older answer then made it wait before it looked for more, and
/// nothing woke it.
#[test]
fn an_answer_that_a_piece_has_overtaken_does_not_have_it_wait() {
    let leecher = Leecher::new(2, true);
    let (now, mut swarm) = (leecher.now, FakeSwarm::default());
    let partial = empty(leecher.torrent.geometry(), leecher.piece(0));
    let blocks: Vec<(Block, Vec<u8>)> =
        (0..4).map(|nth| leecher.block(0, nth)).map(|block| (block, leecher.data(block))).collect();
    let mut driver = driver(leecher);
    driver.look_for_work(now, &mut swarm);
    driver.on_mail(Mail::Fetch(partial), now, &mut swarm).unwrap();
    driver.on_mail(Mail::NoWork { interesting: true }, now, &mut swarm).unwrap();
    for (block, data) in &blocks {
        let message = Message::Piece { index: 0, begin: block.begin(), data };
        driver.session.on_message(message, now).unwrap();
        driver.on_events(&mut swarm);
    }
    driver.look_for_work(now, &mut swarm);
    assert_eq!((swarm.arrived, swarm.looks), (1, 2), "it looks for the next piece at once");
}
