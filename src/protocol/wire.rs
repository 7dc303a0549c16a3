//! The messages of a connection between peers as types and bytes (BEP 3, 6, 10, 52). Pure: no
//! socket, no state.
//!
//! Decoding borrows from the receive buffer, so a block is not copied before it is known that it was
//! requested. A message's length is checked against the torrent's bound before any more bytes are awaited.

use thiserror::Error;

/// Length in bytes of what precedes a block on the wire: length prefix, message id, piece index, offset.
pub const PIECE_HEADER_LEN: usize = 4 + 1 + 4 + 4;

/// A range of bytes of one piece as the peer named it, unchecked.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct BlockRequest {
    /// Piece index.
    pub index: u32,
    /// Offset within the piece, in bytes.
    pub begin: u32,
    /// Length in bytes.
    pub len: u32,
}

impl From<crate::torrent::Block> for BlockRequest {
    fn from(block: crate::torrent::Block) -> Self {
        BlockRequest { index: block.piece().index(), begin: block.begin(), len: block.len() }
    }
}

/// A range of one layer of a file's merkle tree (BEP 52).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct HashRange {
    /// Root of the file's merkle tree.
    pub pieces_root: [u8; 32],
    /// The layer; 0 is that of the leaves.
    pub base_layer: u32,
    /// Index of the first hash within the layer.
    pub index: u32,
    /// Number of hashes.
    pub length: u32,
    /// Number of layers, above the base layer, that the proof covers.
    pub proof_layers: u32,
}

/// One message, borrowing its payload.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// A message of length 0 (BEP 3).
    KeepAlive,
    /// The sender will not answer requests (BEP 3).
    Choke,
    /// The sender will answer requests (BEP 3).
    Unchoke,
    /// The sender wants pieces that the receiver has (BEP 3).
    Interested,
    /// The sender wants none of the receiver's pieces (BEP 3).
    NotInterested,
    /// The sender has got the piece of this index (BEP 3).
    Have(u32),
    /// The pieces that the sender has, one bit each, highest bit first (BEP 3).
    Bitfield(&'a [u8]),
    /// Asks for a block (BEP 3).
    Request(BlockRequest),
    /// A block (BEP 3).
    Piece {
        /// Piece index.
        index: u32,
        /// Offset within the piece, in bytes.
        begin: u32,
        /// The block's bytes.
        data: &'a [u8],
    },
    /// Takes a request back (BEP 3).
    Cancel(BlockRequest),
    /// The sender's DHT port (BEP 5).
    Port(u16),
    /// Suggests that the receiver downloads the piece of this index (BEP 6).
    Suggest(u32),
    /// The sender has every piece (BEP 6).
    HaveAll,
    /// The sender has no piece (BEP 6).
    HaveNone,
    /// The request will not be answered (BEP 6).
    Reject(BlockRequest),
    /// The piece of this index may be requested even while choked (BEP 6).
    AllowedFast(u32),
    /// An extension message (BEP 10).
    Extended {
        /// The id that the receiver chose for it; 0 is the extension handshake.
        id: u8,
        /// Its content, in the extension's own format.
        payload: &'a [u8],
    },
    /// Asks for hashes of a merkle tree (BEP 52).
    HashRequest(HashRange),
    /// Hashes of a merkle tree (BEP 52).
    Hashes {
        /// The range that was asked for.
        range: HashRange,
        /// The hashes, 32 bytes each, then those of the proof.
        hashes: &'a [u8],
    },
    /// The hashes will not be sent (BEP 52).
    HashReject(HashRange),
    /// A message of an unknown id, to be ignored.
    Unknown(u8),
}

/// Why bytes are not a message.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum WireError {
    /// The announced length exceeds the torrent's bound.
    #[error("it announced a message of {len} bytes, where {max} are the most this torrent can need")]
    TooLong {
        /// The announced length, in bytes.
        len: u32,
        /// Maximum length, in bytes.
        max: u32,
    },
    /// The length does not fit the message.
    #[error("its message {id} has {len} bytes, which is no length for it")]
    BadLength {
        /// The message id.
        id: u8,
        /// Length in bytes, with the id.
        len: usize,
    },
}

mod id {
    pub const CHOKE: u8 = 0;
    pub const UNCHOKE: u8 = 1;
    pub const INTERESTED: u8 = 2;
    pub const NOT_INTERESTED: u8 = 3;
    pub const HAVE: u8 = 4;
    pub const BITFIELD: u8 = 5;
    pub const REQUEST: u8 = 6;
    pub const PIECE: u8 = 7;
    pub const CANCEL: u8 = 8;
    pub const PORT: u8 = 9;
    pub const SUGGEST: u8 = 13;
    pub const HAVE_ALL: u8 = 14;
    pub const HAVE_NONE: u8 = 15;
    pub const REJECT: u8 = 16;
    pub const ALLOWED_FAST: u8 = 17;
    pub const EXTENDED: u8 = 20;
    pub const HASH_REQUEST: u8 = 21;
    pub const HASHES: u8 = 22;
    pub const HASH_REJECT: u8 = 23;
}

/// Maximum length in bytes of a message after its length prefix, in a torrent of `pieces` pieces. It allows a
/// bitfield, a block of 16 KiB, and an extension message of up to 64 KiB.
pub fn max_len(pieces: u32) -> u32 {
    (1 + pieces.div_ceil(8)).max(64 * 1024)
}

/// Reads the message at the start of `input`, and how many bytes it takes. `None` while it is incomplete.
pub fn decode(input: &[u8], max_len: u32) -> Result<Option<(Message<'_>, usize)>, WireError> {
    let Some((prefix, rest)) = input.split_first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_be_bytes(*prefix);
    if len > max_len {
        return Err(WireError::TooLong { len, max: max_len });
    }
    let Some(body) = rest.get(..len as usize) else { return Ok(None) };
    let message = match body.split_first() {
        None => Message::KeepAlive,
        Some((&id, payload)) => decode_body(id, payload)?,
    };
    Ok(Some((message, 4 + len as usize)))
}

fn decode_body(id: u8, payload: &[u8]) -> Result<Message<'_>, WireError> {
    let mut fields = Fields { id, payload, rest: payload };
    let message = match id {
        id::CHOKE => Message::Choke,
        id::UNCHOKE => Message::Unchoke,
        id::INTERESTED => Message::Interested,
        id::NOT_INTERESTED => Message::NotInterested,
        id::HAVE => Message::Have(fields.u32()?),
        id::BITFIELD => Message::Bitfield(fields.take_rest()),
        id::REQUEST => Message::Request(fields.wanted()?),
        id::PIECE => Message::Piece { index: fields.u32()?, begin: fields.u32()?, data: fields.take_rest() },
        id::CANCEL => Message::Cancel(fields.wanted()?),
        id::PORT => Message::Port(u16::from_be_bytes(fields.array()?)),
        id::SUGGEST => Message::Suggest(fields.u32()?),
        id::HAVE_ALL => Message::HaveAll,
        id::HAVE_NONE => Message::HaveNone,
        id::REJECT => Message::Reject(fields.wanted()?),
        id::ALLOWED_FAST => Message::AllowedFast(fields.u32()?),
        id::EXTENDED => Message::Extended { id: fields.array::<1>()?[0], payload: fields.take_rest() },
        id::HASH_REQUEST => Message::HashRequest(fields.hash_range()?),
        id::HASHES => Message::Hashes { range: fields.hash_range()?, hashes: fields.take_rest() },
        id::HASH_REJECT => Message::HashReject(fields.hash_range()?),
        _ => return Ok(Message::Unknown(id)),
    };
    fields.end()?;
    Ok(message)
}

/// Reads a payload field by field. A payload that is too short or too long is the same error.
struct Fields<'a> {
    id: u8,
    payload: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (field, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.bad_length())?;
        self.rest = rest;
        Ok(*field)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    fn wanted(&mut self) -> Result<BlockRequest, WireError> {
        Ok(BlockRequest { index: self.u32()?, begin: self.u32()?, len: self.u32()? })
    }

    fn hash_range(&mut self) -> Result<HashRange, WireError> {
        Ok(HashRange {
            pieces_root: self.array()?,
            base_layer: self.u32()?,
            index: self.u32()?,
            length: self.u32()?,
            proof_layers: self.u32()?,
        })
    }

    fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    fn end(&self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.bad_length()) }
    }

    fn bad_length(&self) -> WireError {
        WireError::BadLength { id: self.id, len: self.payload.len() + 1 }
    }
}

impl Message<'_> {
    /// Appends the message, with its length prefix.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        self.encode_body(out);
        let len = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match *self {
            Message::KeepAlive => {}
            Message::Choke => out.push(id::CHOKE),
            Message::Unchoke => out.push(id::UNCHOKE),
            Message::Interested => out.push(id::INTERESTED),
            Message::NotInterested => out.push(id::NOT_INTERESTED),
            Message::Have(index) => put(out, id::HAVE, &[index]),
            Message::Bitfield(bits) => {
                out.push(id::BITFIELD);
                out.extend_from_slice(bits);
            }
            Message::Request(w) => put(out, id::REQUEST, &[w.index, w.begin, w.len]),
            Message::Piece { index, begin, data } => {
                put(out, id::PIECE, &[index, begin]);
                out.extend_from_slice(data);
            }
            Message::Cancel(w) => put(out, id::CANCEL, &[w.index, w.begin, w.len]),
            Message::Port(port) => {
                out.push(id::PORT);
                out.extend_from_slice(&port.to_be_bytes());
            }
            Message::Suggest(index) => put(out, id::SUGGEST, &[index]),
            Message::HaveAll => out.push(id::HAVE_ALL),
            Message::HaveNone => out.push(id::HAVE_NONE),
            Message::Reject(w) => put(out, id::REJECT, &[w.index, w.begin, w.len]),
            Message::AllowedFast(index) => put(out, id::ALLOWED_FAST, &[index]),
            Message::Extended { id, payload } => {
                out.extend_from_slice(&[id::EXTENDED, id]);
                out.extend_from_slice(payload);
            }
            Message::HashRequest(range) => put_hash_range(out, id::HASH_REQUEST, &range),
            Message::Hashes { range, hashes } => {
                put_hash_range(out, id::HASHES, &range);
                out.extend_from_slice(hashes);
            }
            Message::HashReject(range) => put_hash_range(out, id::HASH_REJECT, &range),
            Message::Unknown(id) => out.push(id),
        }
    }
}

fn put(out: &mut Vec<u8>, id: u8, fields: &[u32]) {
    out.push(id);
    for field in fields {
        out.extend_from_slice(&field.to_be_bytes());
    }
}

fn put_hash_range(out: &mut Vec<u8>, id: u8, range: &HashRange) {
    out.push(id);
    out.extend_from_slice(&range.pieces_root);
    for field in [range.base_layer, range.index, range.length, range.proof_layers] {
        out.extend_from_slice(&field.to_be_bytes());
    }
}

/// What precedes the `wanted.len` bytes of a block on the wire, so that a block can be sent without
/// copying it.
pub fn piece_header(wanted: BlockRequest) -> [u8; PIECE_HEADER_LEN] {
    let mut header = [0; PIECE_HEADER_LEN];
    header[..4].copy_from_slice(&(9 + wanted.len).to_be_bytes());
    header[4] = id::PIECE;
    header[5..9].copy_from_slice(&wanted.index.to_be_bytes());
    header[9..].copy_from_slice(&wanted.begin.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wanted() -> impl Strategy<Value = BlockRequest> {
        any::<(u32, u32, u32)>().prop_map(|(index, begin, len)| BlockRequest { index, begin, len })
    }

    fn hash_range() -> impl Strategy<Value = HashRange> {
        any::<([u8; 32], u32, u32, u32, u32)>().prop_map(
            |(pieces_root, base_layer, index, length, proof_layers)| HashRange {
                pieces_root,
                base_layer,
                index,
                length,
                proof_layers,
            },
        )
    }

    /// Any message, with `payload` if it carries one.
    fn message(payload: &'static [u8]) -> impl Strategy<Value = Message<'static>> {
        prop_oneof![
            Just(Message::KeepAlive),
            Just(Message::Choke),
            Just(Message::Unchoke),
            Just(Message::Interested),
            Just(Message::NotInterested),
            any::<u32>().prop_map(Message::Have),
            Just(Message::Bitfield(payload)),
            wanted().prop_map(Message::Request),
            any::<(u32, u32)>().prop_map(move |(index, begin)| Message::Piece {
                index,
                begin,
                data: payload
            }),
            wanted().prop_map(Message::Cancel),
            any::<u16>().prop_map(Message::Port),
            any::<u32>().prop_map(Message::Suggest),
            Just(Message::HaveAll),
            Just(Message::HaveNone),
            wanted().prop_map(Message::Reject),
            any::<u32>().prop_map(Message::AllowedFast),
            any::<u8>().prop_map(move |id| Message::Extended { id, payload }),
            hash_range().prop_map(Message::HashRequest),
            hash_range().prop_map(move |range| Message::Hashes { range, hashes: payload }),
            hash_range().prop_map(Message::HashReject),
            (24u8..).prop_map(Message::Unknown),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(messages in prop::collection::vec(message(b"some payload"), 0..20)) {
            let mut bytes = Vec::new();
            messages.iter().for_each(|m| m.encode(&mut bytes));
            let mut rest = &bytes[..];
            for expected in &messages {
                let (message, len) = decode(rest, 1 << 16).unwrap().unwrap();
                prop_assert_eq!(&message, expected);
                rest = &rest[len..];
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn every_prefix_of_a_message_is_not_there_yet(message in message(b"some payload")) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            for end in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..end], 1 << 16), Ok(None));
            }
        }

        #[test]
        fn any_bytes_give_a_message_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            tame in any::<bool>(),
        ) {
            let mut bytes = bytes;
            if tame && bytes.len() >= 4 {
                // A length that fits, so that the body is reached.
                let len = bytes.len() as u32 - 4;
                bytes[..4].copy_from_slice(&len.to_be_bytes());
            }
            if let Ok(Some((_, used))) = decode(&bytes, 1 << 16) {
                prop_assert!(used <= bytes.len());
            }
        }
    }

    #[test]
    fn a_piece_header_is_the_start_of_a_piece_message() {
        let mut whole = Vec::new();
        Message::Piece { index: 7, begin: 16384, data: &[9; 100] }.encode(&mut whole);
        assert_eq!(
            piece_header(BlockRequest { index: 7, begin: 16384, len: 100 }),
            whole[..PIECE_HEADER_LEN]
        );
    }

    #[test]
    fn a_length_over_the_bound_is_refused_before_it_is_waited_for() {
        assert_eq!(decode(&[0xff; 4], 100), Err(WireError::TooLong { len: u32::MAX, max: 100 }));
        assert_eq!(
            decode(&[0, 0, 0, 2, id::HAVE, 0], 100),
            Err(WireError::BadLength { id: id::HAVE, len: 2 })
        );
        assert_eq!(
            decode(&[0, 0, 0, 2, id::CHOKE, 0], 100),
            Err(WireError::BadLength { id: id::CHOKE, len: 2 })
        );
    }
}
