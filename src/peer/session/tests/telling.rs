//! When a peer is told of finished pieces: at once if it may wait for them, else of several together.

use super::fake::{FakeSwarm, driver};
use super::*;
use crate::peer::session::dispatch::Driver;

/// The driver of a leecher's connection, and its swarm, which finishes the pieces one by one.
struct Told {
    driver: Driver,
    swarm: FakeSwarm,
    pieces: Vec<Piece>,
    now: Instant,
}

impl Told {
    fn new() -> Told {
        let leecher = Leecher::new(9, true);
        let (now, pieces) = (leecher.now, leecher.torrent.geometry().pieces().collect());
        Told { driver: driver(leecher), swarm: FakeSwarm::default(), pieces, now }
    }

    fn finishes(&mut self, piece: usize) {
        self.swarm.finished.push(self.pieces[piece]);
    }

    fn hears(&mut self, message: Message<'_>) {
        self.driver.session.on_message(message, self.now).unwrap();
        self.driver.on_events(&mut self.swarm);
    }

    /// One turn of the connection, some milliseconds later: what it says.
    fn says_after(&mut self, millis: u64) -> Vec<String> {
        self.now += Duration::from_millis(millis);
        assert!(self.driver.announce_finished(false, self.now, &mut self.swarm));
        says(&mut self.driver.session, self.now)
    }
}

#[test]
fn a_peer_that_is_busy_is_told_of_several_pieces_together() {
    let mut told = Told::new();
    told.hears(Message::Interested);
    told.finishes(0);
    assert_eq!(told.says_after(0), ["have 0"], "nothing was said of late");
    assert!(told.driver.tells_later());
    for piece in 1..4 {
        told.finishes(piece);
        assert!(told.says_after(20).is_empty());
    }
    assert!(told.driver.deadline() <= told.now + Duration::from_millis(40), "it wakes in time by itself");
    assert_eq!(told.says_after(40), ["have 1", "have 2", "have 3"]);
    assert!(told.says_after(100).is_empty());
    assert!(!told.driver.tells_later(), "from now on somebody has to wake it");
    told.finishes(4);
    assert_eq!(told.says_after(0), ["have 4"]);
}

#[test]
fn a_peer_that_wants_nothing_of_us_so_far_is_told_at_once() {
    let mut told = Told::new();
    for piece in 0..2 {
        told.finishes(piece);
        assert_eq!(told.says_after(0), [format!("have {piece}")]);
        assert!(!told.driver.tells_later());
    }
    told.hears(Message::Interested);
    told.finishes(2);
    assert!(told.says_after(0).is_empty(), "it knows of two others");
    told.hears(Message::NotInterested);
    assert_eq!(told.says_after(0), ["have 2"]);
}

#[test]
fn what_is_said_anyway_takes_the_news_along_and_so_does_the_end() {
    let mut told = Told::new();
    told.hears(Message::Interested);
    told.finishes(0);
    assert_eq!(told.says_after(0), ["have 0"]);
    told.finishes(1);
    told.driver.session.unchoke();
    assert_eq!(told.says_after(0), ["unchoke", "have 1"]);
    told.finishes(2);
    assert!(told.says_after(0).is_empty());
    told.hears(Message::Request(wanted(0, 0, BLOCK_LEN)));
    assert_eq!(told.says_after(0), ["have 2"], "a block goes out");
    told.driver.session.next_uploads(BLOCK_LEN, &mut Vec::new());
    told.finishes(3);
    assert!(told.says_after(0).is_empty());
    told.swarm.is_complete = true;
    let is_of_use = told.driver.announce_finished(false, told.now, &mut told.swarm);
    assert!(!is_of_use, "it is a seed, so neither needs the other");
    assert_eq!(says(&mut told.driver.session, told.now)[0], "have 3");
}
