//! The client of shoal trackers: their catalogue of torrents, and who has what of them.
//!
//! - [`SessionClient`] speaks JSON lines with a shoal tracker, on the thread `tracker`, over one connection that it keeps
//!   up. The peer gives it a [`Host`], from which it learns what to publish, and which hears of events.
//! - [`Trackers`] are several such clients, with a thread `tracker-N` each, which look like one from outside.
//!
//! Callbacks run on these threads and with no lock held; both clients end at once when told to.

mod client;
mod dedup;
mod link;
mod shared;
mod trackers;

pub use client::SessionClient;
pub use shared::{AskError, Host, Publication};
pub use trackers::{Standing, Trackers};
