//! The client of shoal trackers: their catalogue of torrents, and which peers have which pieces.
//!
//! - A [`SessionClient`] speaks JSON lines with one shoal tracker, on the thread `tracker`, over a connection
//!   that it makes again whenever it breaks. Its [`Host`] says what to publish, and receives the events.
//! - [`Trackers`] are several such clients, with a thread `tracker-N` each, that look like one from outside.
//!
//! Callbacks run on these threads, with no lock held. Both clients end at once when they are told to.

mod client;
mod dedup;
mod link;
mod shared;
mod trackers;

pub use client::SessionClient;
pub use shared::{AskError, Host, Publication};
pub use trackers::{FoundTorrent, Standing, Trackers};
