//! Why a connection ended, in one sentence for the log. Pure.

use crate::peer::session::Violation;
use crate::protocol::handshake::HandshakeError;
use std::io;
use thiserror::Error;

/// Why a connection ended.
#[derive(Debug, Error)]
pub enum End {
    /// The other side closed the connection.
    #[error("it closed the connection")]
    Closed,
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The handshakes do not fit.
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    /// The other side broke a rule of the protocol.
    #[error("{0}")]
    Violation(#[from] Violation),
    /// The other side did not connect, or did not send its handshake, in time.
    #[error("no handshake came in time")]
    NoHandshake,
    /// Neither side wants anything of the other.
    #[error("both sides have everything that they want of each other")]
    Useless,
    /// The other side requests blocks and does not read them.
    #[error("it asks without reading the answers")]
    Clogged,
    /// The peer is banned.
    #[error("it is banned")]
    Banned,
    /// The mailbox of the connection was full.
    #[error("this thread fell behind its mail")]
    Overflowed,
    /// Another thread ended the connection, for this reason.
    #[error("{0}")]
    Told(&'static str),
}

impl End {
    /// Whether the other side broke the rules. Once may be an accident; many times is not.
    pub fn is_offence(&self) -> bool {
        match self {
            End::Violation(violation) => *violation != Violation::Silent,
            End::Clogged => true,
            _ => false,
        }
    }
}
