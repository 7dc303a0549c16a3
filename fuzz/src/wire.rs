//! The messages of a connection, and its handshake: decoding and encoding undo each other.

use shoal::protocol::extension::Extended;
use shoal::protocol::handshake::{HANDSHAKE_LEN, Hello, check_start};
use shoal::protocol::wire::{self, Message};

/// Small, so that the bound is met often.
const MAX_LEN: u32 = 512;

pub fn check(data: &[u8]) {
    handshake(data);
    messages(data);
    if let Some(hello) = Extended::decode(data) {
        assert_eq!(Extended::decode(&hello.encode()), Some(hello));
    }
}

fn handshake(data: &[u8]) {
    let Some((bytes, _)) = data.split_first_chunk::<HANDSHAKE_LEN>() else { return };
    match Hello::decode(bytes) {
        Ok(hello) => {
            let again = hello.encode();
            assert_eq!(Hello::decode(&again), Ok(hello));
            assert_eq!((&again[..20], &again[28..]), (&bytes[..20], &bytes[28..]));
            assert!((0..HANDSHAKE_LEN).all(|end| check_start(&bytes[..end]).is_ok()));
        }
        Err(_) => assert!(check_start(bytes).is_err()),
    }
}

fn messages(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some((message, len))) = wire::decode(rest, MAX_LEN) {
        let (taken, left) = rest.split_at(len);
        assert!(len <= 4 + MAX_LEN as usize);
        let mut again = Vec::new();
        message.encode(&mut again);
        if !matches!(message, Message::Unknown(_)) {
            assert_eq!(again, taken, "a message has one spelling");
        }
        assert_eq!(wire::decode(&again, MAX_LEN), Ok(Some((message, again.len()))));
        assert_eq!(
            wire::decode(&taken[..len - 1], MAX_LEN),
            Ok(None),
            "a part of a message is no message yet"
        );
        if let Message::Piece { index, begin, data } = message {
            let wanted = wire::BlockRequest { index, begin, len: data.len() as u32 };
            assert_eq!(wire::piece_header(wanted), taken[..wire::PIECE_HEADER_LEN]);
        }
        rest = left;
    }
}
