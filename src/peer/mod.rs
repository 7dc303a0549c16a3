//! The peer. So far its pure parts: messages, sessions, and who fetches and serves what.

pub mod admission;
pub mod blame;
pub mod budget;
pub mod candidates;
pub mod choker;
pub mod extended;
pub mod handshake;
pub mod partial;
pub mod picker;
pub mod rate;
pub mod session;
pub mod window;
pub mod wire;
