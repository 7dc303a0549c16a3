//! How others are found: announces to the trackers that a metainfo names (BEP 3, 12, 15), and the addresses that came of it.
//!
//! [`Announcer`] announces one torrent on a thread of its own. The peer gives it an [`AnnounceHost`], which tells the progress
//! and hears of peers. Callbacks run on that thread with no lock held; it ends at once when told to.

pub mod addresses;
mod announcer;
mod http;
mod udp;

pub use announcer::{AnnounceConfig, AnnounceHost, AnnounceProgress, Announcer, Nudge};
