//! What the room's thread is asked to do.

use crate::protocol::catalogue::{Entry, Giver};

/// What the room's thread is asked to do.
pub(super) enum Task {
    /// Look at the torrents now, not only when the second is over.
    Look,
    /// Fetch a torrent that was offered.
    Fetch(Offer),
    /// Nobody has the torrent with this key any more.
    Gone(String),
    /// End.
    Stop,
}

/// An offer of another peer.
pub(super) struct Offer {
    pub entry: Entry,
    pub by: Giver,
    /// The keys of what that peer offered before, and what this is a newer version of.
    pub replaces: Vec<String>,
}
