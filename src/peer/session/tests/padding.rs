//! The block at the end of a file of a hybrid torrent: v1 counts the padding behind it, v2 does not.

use super::*;
use crate::torrent::create::{Options, create};
use crate::torrent::{Format, Proof};

/// Bytes of the first file in its last block, which is the second one.
const REST: u32 = 5000;

/// A leecher of two files, the first of which ends within a piece. Its content is the stream with padding.
fn leecher(proof: Proof) -> Leecher {
    let files =
        [("a", BLOCK_LEN + REST), ("b", 2 * PIECE_LEN)].map(|(name, len)| (name, content(len as usize)));
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(folder.path().join(name), bytes).unwrap());
    let options = Options { format: Format::Hybrid, piece_length: Some(PIECE_LEN), ..Options::default() };
    let torrent = Arc::new(Torrent::parse(&create(folder.path(), &options, &|_| ()).unwrap()).unwrap());
    let mut stream = files[0].1.clone();
    stream.resize(PIECE_LEN as usize, 0);
    stream.extend(&files[1].1);
    let (now, agreement) = (Instant::now(), Agreement { proof, ..agreement(2, true) });
    let none = Bitfield::new(3);
    let session = Session::new(Arc::clone(&torrent), agreement, identity(2), &none, None, now);
    let mut leecher = Leecher { session, torrent, content: stream, now };
    for message in [Message::HaveAll, Message::Unchoke] {
        leecher.hears(message).unwrap();
    }
    leecher.session.set_interested(true);
    leecher.says();
    leecher.events();
    leecher
}

/// Requests and cancels that the session sent.
fn names(leecher: &mut Leecher) -> Vec<BlockRequest> {
    let bytes = std::mem::take(leecher.session.output(leecher.now));
    let (mut rest, mut names) = (&bytes[..], Vec::new());
    while let Some((message, len)) = wire::decode(rest, 1 << 20).unwrap() {
        if let Message::Request(name) | Message::Cancel(name) = message {
            names.push(name);
        }
        rest = &rest[len..];
    }
    names
}

/// The peer sends so many bytes from this offset of the first piece.
fn gets(leecher: &mut Leecher, begin: u32, len: u32) -> Result<(), Violation> {
    let data = leecher.content[begin as usize..(begin + len) as usize].to_vec();
    leecher.hears(Message::Piece { index: 0, begin, data: &data })
}

fn complete(leecher: &mut Leecher) -> Partial {
    match leecher.events().pop() {
        Some(Event::Complete(partial)) => partial,
        _ => panic!("it is complete"),
    }
}

/// Bug: rqbit, which knows whole v1 blocks only, hung up each time that it was asked for the end of a file.
#[test]
fn the_last_block_of_a_file_is_requested_over_v1_with_its_padding_and_over_v2_without() {
    for (proof, len, other) in [(Proof::V1, BLOCK_LEN, REST), (Proof::V2, REST, BLOCK_LEN)] {
        let mut leecher = leecher(proof);
        leecher.fetch(0);
        assert_eq!(names(&mut leecher), [wanted(0, 0, BLOCK_LEN), wanted(0, BLOCK_LEN, len)]);
        gets(&mut leecher, 0, BLOCK_LEN).unwrap();
        let unasked = Err(Violation::Unasked(wanted(0, BLOCK_LEN, other)));
        assert_eq!(gets(&mut leecher, BLOCK_LEN, other), unasked);
        gets(&mut leecher, BLOCK_LEN, len).unwrap();
        let partial = complete(&mut leecher);
        assert_eq!(partial.data(), &leecher.content[..(BLOCK_LEN + REST) as usize]);
        assert!(leecher.torrent.verify(partial.piece(), partial.data(), proof));
    }
}

#[test]
fn what_a_peer_puts_into_the_padding_does_not_matter() {
    let mut leecher = leecher(Proof::V1);
    leecher.fetch(0);
    gets(&mut leecher, 0, BLOCK_LEN).unwrap();
    leecher.content[(BLOCK_LEN + REST) as usize..PIECE_LEN as usize].fill(7);
    gets(&mut leecher, BLOCK_LEN, BLOCK_LEN).unwrap();
    let partial = complete(&mut leecher);
    assert!(leecher.torrent.verify(partial.piece(), partial.data(), Proof::V1));
}

#[test]
fn cancels_and_rejects_name_the_block_as_its_request_did() {
    for (proof, len, other) in [(Proof::V1, BLOCK_LEN, REST), (Proof::V2, REST, BLOCK_LEN)] {
        let mut leecher = leecher(proof);
        leecher.fetch(0);
        leecher.says();
        let block = leecher.block(0, 1);
        leecher.session.helped(block, &leecher.data(block), &identity(9));
        assert_eq!(names(&mut leecher), [wanted(0, BLOCK_LEN, len)], "cancelled");
        leecher.session.help(ConnId(8), &[leecher.block(1, 0), block], leecher.now);
        leecher.says();
        leecher.session.help_not_needed(block);
        assert_eq!(names(&mut leecher), [wanted(0, BLOCK_LEN, len)], "cancelled as a helper");

        leecher.session.give_back_all();
        leecher.hears(Message::Unchoke).unwrap();
        leecher.events();
        leecher.fetch(0);
        leecher.hears(Message::Reject(wanted(0, BLOCK_LEN, other))).unwrap();
        assert!(leecher.given_back().is_empty(), "nobody asked for that");
        leecher.hears(Message::Reject(wanted(0, BLOCK_LEN, len))).unwrap();
        assert_eq!(leecher.given_back(), [(0, 2)]);
    }
}

/// One connection speaks v1, and the other v2: the block is the same, though they name it differently.
#[test]
fn connections_of_both_versions_help_each_other_with_the_end_of_a_file() {
    for (owns, helps, len) in [(Proof::V2, Proof::V1, BLOCK_LEN), (Proof::V1, Proof::V2, REST)] {
        let (mut owner, mut helper) = (leecher(owns), leecher(helps));
        owner.fetch(0);
        let lent = owner.lends(0, ConnId(7));
        assert_eq!(lent, [owner.block(0, 1)]);
        helper.session.help(ConnId(8), &lent, helper.now);
        assert_eq!(names(&mut helper), [wanted(0, BLOCK_LEN, len)]);
        gets(&mut helper, BLOCK_LEN, len).unwrap();
        let Some(Event::Helped { block, data, .. }) = helper.events().pop() else { panic!("it helped") };
        assert_eq!((block, data.len()), (lent[0], REST as usize));
        owner.session.helped(block, &data, &identity(7));
        gets(&mut owner, 0, BLOCK_LEN).unwrap();
        let partial = complete(&mut owner);
        assert_eq!(partial.data(), &owner.content[..(BLOCK_LEN + REST) as usize]);
    }
}

#[test]
fn a_late_block_is_passed_on_without_its_padding() {
    let mut leecher = leecher(Proof::V1);
    leecher.fetch(0);
    leecher.hears(Message::Choke).unwrap();
    leecher.events();
    gets(&mut leecher, BLOCK_LEN, BLOCK_LEN).unwrap();
    let late = leecher.events().pop();
    assert!(matches!(late, Some(Event::Late { data, .. }) if data.len() == REST as usize));
}

/// The memory of a piece has no place for padding.
#[test]
fn a_block_with_padding_does_not_land() {
    for (proof, blocks) in [(Proof::V1, 1), (Proof::V2, 6)] {
        let mut leecher = leecher(proof);
        leecher.fetch(0);
        leecher.fetch(1);
        assert_eq!(leecher.session.landing().blocks().count(), blocks, "before the first with padding");
    }
}
