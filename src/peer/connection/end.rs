//! Why a connection ended, in one sentence for the log. Pure.

use crate::peer::session::Violation;
use crate::protocol::handshake::HandshakeError;
use std::io;
use thiserror::Error;

/// Why a connection ended.
#[derive(Debug, Error)]
pub enum End {
    #[error("it closed the connection")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    #[error("{0}")]
    Violation(#[from] Violation),
    #[error("no handshake came in time")]
    NoHandshake,
    #[error("both sides have everything that they want of each other")]
    Useless,
    #[error("it asks without reading the answers")]
    Clogged,
    #[error("it is banned")]
    Banned,
    #[error("this thread fell behind its mail")]
    Overflowed,
    #[error("{0}")]
    Told(&'static str),
}

impl End {
    /// Whether the other side broke the rules, which one time may be an accident and many times is none.
    pub fn is_offence(&self) -> bool {
        match self {
            End::Violation(violation) => *violation != Violation::Silent,
            End::Clogged => true,
            _ => false,
        }
    }
}
