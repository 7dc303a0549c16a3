//! Every format on a wire, as types and bytes, for both sides of the connection. Pure: no socket,
//! no clock, no lock.
//!
//! | file | format |
//! |---|---|
//! | [`handshake`] | the 68 bytes that open a connection between peers (BEP 3, 6, 10, 52) |
//! | [`wire`] | the messages between peers (BEP 3, 6, 10, 52) |
//! | [`allowed_fast`] | which pieces are allowed without an upload slot (BEP 6) |
//! | [`extension`] | the extension protocol's handshake (BEP 10) |
//! | [`upload_only`] | the extension message `upload_only` (BEP 21) |
//! | [`announce`] | announces and scrapes over HTTP (BEP 3, 7, 21, 23, 24, 48) |
//! | [`announce_udp`] | announces and scrapes over UDP (BEP 15, 41) |
//! | [`catalogue`] | a session with a shoal tracker, one JSON object per line |
//! | [`lines`] | splitting a stream into such lines |

pub mod allowed_fast;
pub mod announce;
pub mod announce_udp;
pub mod catalogue;
pub mod extension;
pub mod handshake;
pub mod lines;
pub mod upload_only;
pub mod wire;
