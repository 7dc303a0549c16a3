//! How peers are found: announces to the trackers that a metainfo names (BEP 3, 12, 15), and the
//! addresses they return.
//!
//! An [`Announcer`] announces one torrent on a thread of its own. Its [`AnnounceHost`] reports the progress
//! and receives the peers. Callbacks run on that thread with no lock held. The thread ends at once when it
//! is told to.

pub mod addresses;
mod announcer;
mod http;
mod resolve;
mod udp;

pub use announcer::{AnnounceConfig, AnnounceHost, AnnounceProgress, Announcer, Nudge};
