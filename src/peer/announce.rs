//! The peer's tracker clients: how it finds others and is found.
//!
//! - [`SessionClient`] speaks JSON lines with a shoal tracker, on the thread `tracker`, over one connection that it keeps
//!   up. The peer gives it a [`Host`], from which it learns what to publish, and which hears of events.
//! - [`Trackers`] are several such clients, with a thread `tracker-N` each, which look like one from outside.
//! - [`Announcer`] announces one torrent to the trackers that its metainfo names (BEP 3, 12, 15), on a thread of its own.
//!   The peer gives it an [`AnnounceHost`], which tells the progress and hears of peers.
//!
//! Both run callbacks on their own thread and with no lock held; both end at once when told to.

mod echoes;
mod http;
mod link;
mod session;
mod shared;
mod trackers;
mod udp;

pub use http::{AnnounceConfig, AnnounceHost, Announcer, Nudge, Progress};
pub use session::SessionClient;
pub use shared::{AskError, Host, Publication};
pub use trackers::{Standing, Trackers};
