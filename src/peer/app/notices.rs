//! What happens, as news for whoever waits for it: the command line or the shell.
//!
//! Workers and the tracker's thread post, one thread reads. The channel has a bound; what does not fit is dropped,
//! because the reader looks how things stand anyway and is only woken earlier by the news.

use crate::peer::swarm::{Observer, Swarm};
use crate::protocol::catalogue::Event;
use crate::torrent::InfoHash;
use crossbeam_channel::{Receiver, Sender};
use std::path::PathBuf;

/// More news than anybody waits for at once.
const ROOM: usize = 4096;

/// Something worth telling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
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
    news: Sender<News>,
}

/// A channel for news.
pub fn channel() -> (Reporter, Receiver<News>) {
    let (news, reader) = crossbeam_channel::bounded(ROOM);
    (Reporter { news }, reader)
}

impl Reporter {
    pub fn tell(&self, news: News) {
        let _ = self.news.try_send(news);
    }
}

impl Observer for Reporter {
    fn progressed(&self, _: &Swarm) {}

    fn completed(&self, swarm: &Swarm) {
        self.tell(News::Completed(swarm.torrent.info_hash()));
    }

    fn paused(&self, swarm: &Swarm, why: &str) {
        self.tell(News::Paused(swarm.torrent.info_hash(), why.to_owned()));
    }
}
