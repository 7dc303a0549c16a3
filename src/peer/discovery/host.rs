//! A torrent as its announcer sees it, and what the announcer needs to start.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::net::Families;
use crate::torrent::Torrent;

/// What a torrent has transferred and still lacks, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AnnounceProgress {
    /// Bytes sent to peers since the torrent was started.
    pub uploaded: u64,
    /// Bytes received from peers since the torrent was started.
    pub downloaded: u64,
    /// Bytes still missing.
    pub left: u64,
}

/// The torrent's swarm, as the announcer sees it. It is called on the announcer's thread, and
/// should not block.
pub trait AnnounceHost: Send + Sync + 'static {
    /// The byte counts for the next announce.
    fn progress(&self) -> AnnounceProgress;

    /// Whether we have all that we want, but not the whole torrent (BEP 21).
    fn is_partial_seed(&self) -> bool {
        false
    }

    /// Peers that a tracker returned; we may be among them.
    fn found(&self, peers: &[SocketAddr]);

    /// A tracker answered, with its numbers of seeds and leechers; or none did, with the error of
    /// the last one.
    fn announced(&self, _outcome: Result<(u32, u32), &str>) {}

    /// A tracker does not answer, or refuses, for this reason, which names it. Another one may have answered.
    /// Not called again for the same tracker and reason before it has answered.
    fn failed(&self, _why: &str) {}
}

/// What an announcer needs to start.
pub struct AnnounceConfig {
    /// The torrent to announce.
    pub torrent: Arc<Torrent>,
    /// Our peer id.
    pub peer_id: [u8; 20],
    /// The TCP port on which we accept connections.
    pub port: u16,
    /// The address families in which trackers are told of us.
    pub families: Families,
    /// Reports the progress and receives the peers.
    pub host: Arc<dyn AnnounceHost>,
}
