//! What happens to torrents, as news for whoever waits for it: the command line or the shell.
//!
//! Workers post, the one who waits reads. The channel has a bound; what does not fit is dropped, because the
//! reader looks at the torrents' progress anyway and is only woken earlier by the news.

use super::swarm::{Observer, Swarm};
use crate::torrent::InfoHash;
use crossbeam_channel::{Receiver, Sender};

/// More news than anybody waits for at once.
const ROOM: usize = 1024;

/// Something that ended a torrent's download, for now or for good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    Completed(InfoHash),
    Paused(InfoHash, String),
}

/// Passes the news on into a channel.
pub struct Watch {
    news: Sender<News>,
}

impl Watch {
    pub fn new() -> (Self, Receiver<News>) {
        let (news, reader) = crossbeam_channel::bounded(ROOM);
        (Watch { news }, reader)
    }
}

impl Observer for Watch {
    fn progressed(&self, _: &Swarm) {}

    fn completed(&self, swarm: &Swarm) {
        let _ = self.news.try_send(News::Completed(swarm.torrent.info_hash()));
    }

    fn paused(&self, swarm: &Swarm, why: &str) {
        let _ = self.news.try_send(News::Paused(swarm.torrent.info_hash(), why.to_owned()));
    }
}
