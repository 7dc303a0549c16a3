//! What happens, as notices for whoever waits for it: the command line or the shell.
//!
//! Workers and the tracker's thread post, one thread reads. The channel has a bound; what does not fit is dropped,
//! because the reader looks how things stand anyway and is only woken earlier by the notices.

use crate::peer::swarm::{Observer, Swarm};
use crate::protocol::catalogue::Event;
use crate::torrent::InfoHash;
use crossbeam_channel::{Receiver, Sender};
use std::path::PathBuf;

/// More notices than anybody waits for at once.
const ROOM: usize = 4096;

/// Something worth telling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A download is complete.
    Completed(InfoHash),
    /// A torrent stopped, with the reason.
    Paused(InfoHash, String),
    /// A file of the upload folder is read, which may take a while.
    Hashing(PathBuf),
    /// The tracker's catalogue changed.
    Catalogue(Event),
    /// The connection to the tracker came or went.
    Tracker { up: bool, why: String },
}

/// The end to post into.
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
