//! Streams of messages as they stand in a receive buffer, read and written.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use shoal::protocol::wire::{self, BlockRequest, Message};
use shoal::torrent::BLOCK_LEN;

const MESSAGES: u32 = 1000;

/// Blocks of 16 KiB in a row.
fn pieces(data: &[u8]) -> Vec<Message<'_>> {
    let piece = |nth| Message::Piece { index: nth / 16, begin: nth % 16 * BLOCK_LEN, data };
    (0..MESSAGES).map(piece).collect()
}

/// What a busy connection says between the blocks: mostly requests and `Have`s.
fn small() -> Vec<Message<'static>> {
    let wanted = |nth: u32| BlockRequest { index: nth / 16, begin: nth % 16 * BLOCK_LEN, len: BLOCK_LEN };
    let message = |nth: u32| match nth % 10 {
        0..5 => Message::Request(wanted(nth)),
        5..8 => Message::Have(nth),
        8 => Message::Cancel(wanted(nth)),
        _ if nth % 100 == 99 => Message::Interested,
        _ => Message::Reject(wanted(nth)),
    };
    (0..MESSAGES).map(message).collect()
}

fn encoded(messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|message| message.encode(&mut out));
    out
}

fn decode_all(mut rest: &[u8]) -> usize {
    let mut count = 0;
    while let Ok(Some((message, len))) = wire::decode(rest, 1 << 16) {
        black_box(message);
        rest = &rest[len..];
        count += 1;
    }
    count
}

/// 16 MiB in 1,000 messages; the blocks stay where they are.
#[divan::bench]
fn decode_pieces(bencher: Bencher) {
    let block = vec![7; BLOCK_LEN as usize];
    let bytes = encoded(&pieces(&block));
    assert_eq!(decode_all(&bytes), MESSAGES as usize);
    bencher.counter(ItemsCount::new(MESSAGES)).bench(|| decode_all(black_box(&bytes)));
}

#[divan::bench]
fn decode_small(bencher: Bencher) {
    let bytes = encoded(&small());
    assert_eq!(decode_all(&bytes), MESSAGES as usize);
    bencher.counter(ItemsCount::new(MESSAGES)).bench(|| decode_all(black_box(&bytes)));
}

/// With a copy of each block, as only tests and scripted peers do it.
#[divan::bench]
fn encode_pieces(bencher: Bencher) {
    let block = vec![7; BLOCK_LEN as usize];
    let messages = pieces(&block);
    let mut out = encoded(&messages);
    bencher.counter(BytesCount::of_slice(&out.clone())).bench_local(|| {
        out.clear();
        messages.iter().for_each(|message| message.encode(black_box(&mut out)));
    });
}

/// What is written before a block that goes from the file to the socket.
#[divan::bench]
fn piece_headers(bencher: Bencher) {
    let wanted = |nth| BlockRequest { index: nth, begin: BLOCK_LEN, len: BLOCK_LEN };
    bencher.counter(ItemsCount::new(MESSAGES)).bench(|| {
        for nth in 0..MESSAGES {
            black_box(wire::piece_header(black_box(wanted(nth))));
        }
    });
}

#[divan::bench]
fn encode_small(bencher: Bencher) {
    let messages = small();
    let mut out = encoded(&messages);
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        out.clear();
        messages.iter().for_each(|message| message.encode(black_box(&mut out)));
    });
}
