//! How peers are found: announces to the trackers that a metainfo names (BEP 3, 12, 15), and the
//! addresses they return.
//!
//! An [`Announcer`] announces one torrent on a thread of its own. Its [`AnnounceHost`] reports the progress
//! and receives the peers. Callbacks run on that thread with no lock held. The thread ends at once when it
//! is told to.

pub mod addresses;
mod announcer;
mod host;
mod http;
mod resolve;
mod tracker;
mod udp;

use std::time::Duration;

pub use announcer::{Announcer, Nudge};
pub use host::{AnnounceConfig, AnnounceHost, AnnounceProgress};

/// Why an announce has no reply; the texts are for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failure {
    /// There is no way to the tracker in this address family: it has no such address, or we have no such
    /// network.
    NoWay(String),
    /// It does not answer, or breaks off.
    Silent(String),
    /// It answers, but not with what we want. Perhaps it says when it may be asked again.
    Refused { why: String, retry_in: Option<Duration> },
}

impl Failure {
    fn why(&self) -> &str {
        match self {
            Failure::NoWay(why) | Failure::Silent(why) | Failure::Refused { why, .. } => why,
        }
    }
}
