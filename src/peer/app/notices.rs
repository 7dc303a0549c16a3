//! Notices of what happens, for the thread that waits for them: the command line or the shell. Any thread may
//! send; no lock.
//!
//! Workers and the tracker's thread send, and one thread receives. The channel is bounded, and a notice that
//! does not fit is dropped: the receiver checks the state anyway, and notices only wake it earlier.

use crate::peer::swarm::{Observer, Swarm};
use crate::protocol::catalogue::Event;
use crate::torrent::InfoHash;
use crossbeam_channel::{Receiver, Sender};
use std::path::PathBuf;

/// Maximum number of notices in the channel: more than are ever expected at once.
const ROOM: usize = 4096;

/// Something that the user may want to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A download is complete.
    Completed(InfoHash),
    /// A torrent stopped, with the reason.
    Paused(InfoHash, String),
    /// A file of the upload folder is being hashed, which may take a while.
    Hashing(PathBuf),
    /// A sentence on what of the upload folder is not shared.
    LeftOut(String),
    /// The tracker's catalogue changed.
    Catalogue(Event),
    /// The connection to the tracker was made (`up`), or lost or not made, because of `why`.
    Tracker {
        /// Whether there is a connection.
        up: bool,
        /// Why there is none.
        why: String,
    },
}

/// The sending end of the channel.
#[derive(Clone)]
pub struct Reporter {
    notices: Sender<Notice>,
}

/// A channel for notices.
pub fn channel() -> (Reporter, Receiver<Notice>) {
    let (notices, reader) = crossbeam_channel::bounded(ROOM);
    (Reporter { notices }, reader)
}

impl Reporter {
    /// Sends a notice; drops it if the channel is full.
    pub fn tell(&self, notice: Notice) {
        let _ = self.notices.try_send(notice);
    }
}

impl Observer for Reporter {
    fn completed(&self, swarm: &Swarm) {
        self.tell(Notice::Completed(swarm.torrent.info_hash()));
    }

    fn paused(&self, swarm: &Swarm, why: &str) {
        self.tell(Notice::Paused(swarm.torrent.info_hash(), why.to_owned()));
    }
}
