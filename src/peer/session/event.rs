//! What a session tells the rest of the engine, and why it ends. Pure.

use super::{REQQ, SILENCE};
use crate::bitfield::Bitfield;
use crate::peer::download::partial::Partial;
use crate::peer::identity::ConnId;
use crate::protocol::extension::Extended;
use crate::protocol::wire::{BlockRequest, WireError};
use crate::torrent::{Block, Piece};
use thiserror::Error;

/// What the other side did that the rest of the engine has to know.
pub enum Event {
    /// It has these pieces.
    HasPieces(Bitfield),
    /// It has one more piece.
    Has(Piece),
    /// It has next to nothing, or has not said what it has: it may be allowed some pieces without an upload
    /// slot (BEP 6).
    Newcomer,
    /// It wants, or no longer wants, to be served.
    Interested(bool),
    /// It serves us from now on.
    Unchoked,
    /// All blocks of the piece are here. It has to be verified.
    Complete(Partial),
    /// The peer will not finish these pieces. Another one should.
    GaveBack(Vec<Partial>),
    /// A block that we fetched to help another connection.
    Helped {
        /// The connection that owns the piece.
        owner: ConnId,
        /// Which block.
        block: Block,
        /// Its bytes.
        data: Vec<u8>,
    },
    /// A block came after we had given up on it. The connection that fetches its piece now may have a use for
    /// it.
    Late {
        /// Which block.
        block: Block,
        /// Its bytes.
        data: Vec<u8>,
    },
    /// These blocks, which we were to fetch for another connection, will not come over this one.
    NotHelping {
        /// The connection that owns the piece.
        owner: ConnId,
        /// What will not come.
        blocks: Vec<Block>,
    },
    /// A block that we lent came from elsewhere first: the helper need not fetch it.
    HelpNotNeeded {
        /// The connection that was to fetch it.
        helper: ConnId,
        /// Which block.
        block: Block,
    },
    /// It told its name and how many requests it keeps.
    Introduced(Extended),
}

/// Why the other side's behaviour ends the connection.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Violation {
    /// Its bytes are not a message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It named a piece by a number that is too large.
    #[error("it spoke of piece {0}, which this torrent does not have")]
    NoSuchPiece(u32),
    /// Its bitfield is of the wrong length, or has bits after the last piece.
    #[error("its bitfield is not of this torrent")]
    BadBitfield,
    /// It sent a block that we did not request.
    #[error("it sent a block nobody asked for (piece {}, offset {}, {} bytes)", .0.index, .0.begin, .0.len)]
    Unasked(BlockRequest),
    /// It sent more requests than are kept, and without the Fast extension (BEP 6) none can be rejected.
    #[error("it sent more requests than the {REQQ} we keep")]
    TooManyRequests,
    /// It sent a message of an extension that the handshakes did not agree on.
    #[error("it used message {0} without having agreed to it")]
    NotAgreed(&'static str),
    /// It sends more messages without content than are allowed.
    #[error("it floods us with messages that carry nothing")]
    Flood,
    /// It sent nothing for too long.
    #[error("it was silent for {} s", SILENCE.as_secs())]
    Silent,
}
