//! Requests of the other side: which are served, refused or dropped, and which end the connection.

use super::*;

#[test]
fn requests_are_served_in_order_in_runs_of_neighbours() {
    let (mut seed, _, now) = seed(true);
    seed.unchoke();
    for nth in [0, 1, 2, 0] {
        seed.on_message(Message::Request(wanted(0, nth * BLOCK_LEN, BLOCK_LEN)), now).unwrap();
    }
    seed.on_message(Message::Request(wanted(1, BLOCK_LEN, BLOCK_LEN)), now).unwrap();
    let mut run = Vec::new();
    let mut runs = Vec::new();
    while seed.has_uploads() {
        seed.next_uploads(2 * BLOCK_LEN, &mut run);
        runs.push(
            run.iter().map(|block| (block.piece().index(), block.begin() / BLOCK_LEN)).collect::<Vec<_>>(),
        );
    }
    assert_eq!(runs, [vec![(0, 0), (0, 1)], vec![(0, 2)], vec![(0, 0)], vec![(1, 1)]]);
}

const OUTSIDE: [BlockRequest; 7] = [
    wanted(2, 0, BLOCK_LEN),
    wanted(u32::MAX, 0, BLOCK_LEN),
    wanted(0, PIECE_LEN, 1),
    wanted(0, u32::MAX, BLOCK_LEN),
    wanted(0, 0, 0),
    wanted(0, 0, 128 * 1024 + 1),
    wanted(0, PIECE_LEN - 1, 2),
];

/// Bug: they ended the connection, and a peer that sent a few was banned.
#[test]
fn requests_outside_pieces_are_rejected_and_the_next_one_is_served() {
    for modern in [true, false] {
        let (mut seed, _, now) = seed(modern);
        for is_choking in [true, false] {
            if !is_choking {
                seed.unchoke();
            }
            seed.output(now).clear();
            for bad in OUTSIDE {
                seed.on_message(Message::Request(bad), now).unwrap();
                let mut expected = Vec::new();
                if modern {
                    Message::Reject(bad).encode(&mut expected);
                }
                assert_eq!(*seed.output(now), expected, "rejected where that is understood");
                seed.output(now).clear();
                seed.on_message(Message::Cancel(bad), now).unwrap();
                assert!(seed.output(now).is_empty() && !seed.has_uploads());
            }
        }
        seed.on_message(Message::Request(wanted(0, PIECE_LEN - 1, 1)), now).unwrap();
        assert!(seed.has_uploads());
    }
}

#[test]
fn requests_outside_pieces_without_end_are_a_flood() {
    for modern in [true, false] {
        for what in [Message::Request(OUTSIDE[0]), Message::Cancel(OUTSIDE[0])] {
            let (mut seed, _, now) = seed(modern);
            let ends = (0..10_000).find_map(|_| seed.on_message(what, now).err());
            assert_eq!(ends, Some(Violation::Flood));
        }
    }
}

#[test]
fn no_more_requests_are_kept_than_we_said() {
    for modern in [true, false] {
        let (mut seed, _, now) = seed(modern);
        seed.unchoke();
        says(&mut seed, now);
        let request = Message::Request(wanted(0, 0, BLOCK_LEN));
        for _ in 0..REQQ {
            seed.on_message(request, now).unwrap();
        }
        let one_more = seed.on_message(request, now);
        assert_eq!(one_more, if modern { Ok(()) } else { Err(Violation::TooManyRequests) });
        assert_eq!(says(&mut seed, now).len(), usize::from(modern), "a refusal where they are understood");
        assert_eq!(seed.uploads.waiting(), REQQ);
    }
}

#[test]
fn choked_peers_get_refusals_or_nothing_and_a_choke_empties_the_queue() {
    for modern in [true, false] {
        let (mut seed, _, now) = seed(modern);
        let request = Message::Request(wanted(0, 0, BLOCK_LEN));
        seed.on_message(request, now).unwrap();
        assert!(!seed.has_uploads());
        seed.unchoke();
        seed.unchoke();
        seed.on_message(request, now).unwrap();
        assert!(seed.has_uploads());
        seed.choke();
        seed.choke();
        assert!(!seed.has_uploads());
        let refusals = ["reject 0:0", "unchoke", "choke", "reject 0:0"];
        let expected: Vec<&str> =
            refusals.into_iter().filter(|said| modern || !said.starts_with("reject")).collect();
        assert_eq!(says(&mut seed, now), expected);
    }
}

#[test]
fn a_cancelled_request_is_not_served() {
    let (mut seed, _, now) = seed(true);
    seed.unchoke();
    says(&mut seed, now);
    for nth in 0..3 {
        seed.on_message(Message::Request(wanted(0, nth * BLOCK_LEN, BLOCK_LEN)), now).unwrap();
    }
    let second = Message::Cancel(wanted(0, BLOCK_LEN, BLOCK_LEN));
    seed.on_message(second, now).unwrap();
    seed.on_message(second, now).unwrap(); // served or cancelled already: nothing to do
    assert_eq!(says(&mut seed, now), ["reject 0:1"]);
    let mut run = Vec::new();
    seed.next_uploads(u32::MAX, &mut run);
    assert_eq!(run.len(), 1);
    assert_eq!(seed.uploads.waiting(), 1);
}

#[test]
fn pieces_we_lack_are_not_served_until_we_said_that_we_have_them() {
    let (torrent, now) = (torrent(&content(2 * PIECE_LEN as usize), PIECE_LEN), Instant::now());
    let mut session = session(&torrent, &Bitfield::new(2), true, now);
    session.unchoke();
    says(&mut session, now);
    let request = Message::Request(wanted(1, 0, BLOCK_LEN));
    session.on_message(request, now).unwrap();
    let second = torrent.geometry().piece(1).unwrap();
    session.announce(&[second, second]);
    session.on_message(request, now).unwrap();
    assert_eq!(says(&mut session, now), ["reject 1:0", "have 1"]);
    assert!(session.has_uploads());
}

/// Its file may have vanished since it was requested.
#[test]
fn a_block_that_cannot_be_served_is_rejected_where_that_is_understood() {
    for (modern, answer) in [(true, vec!["reject 0:1"]), (false, vec![])] {
        let (mut seed, _, now) = seed(modern);
        seed.unchoke();
        says(&mut seed, now);
        seed.on_message(Message::Request(wanted(0, BLOCK_LEN, BLOCK_LEN)), now).unwrap();
        let mut run = Vec::new();
        seed.next_uploads(BLOCK_LEN, &mut run);
        seed.refuse(run[0]);
        assert_eq!(says(&mut seed, now), answer);
    }
}

#[test]
fn the_longest_message_of_a_torrent_has_room_for_a_block() {
    let (seed, ..) = seed(true);
    let mut sent = wire::piece_header(wanted(0, 0, BLOCK_LEN)).to_vec();
    sent.extend_from_slice(&[0; BLOCK_LEN as usize]);
    let read = wire::decode(&sent, seed.max_message_len()).unwrap();
    assert!(matches!(read, Some((Message::Piece { .. }, len)) if len == sent.len()));
}
