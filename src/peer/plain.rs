//! `torrent download` and `torrent seed`: plain torrents, without our tracker's catalogue. Runs on `main`, which
//! only waits: for news of the torrents, for the user to end it, and for the next look at the bars.

use super::news::{self, News};
use super::progress::{Bars, TICK};
use super::swarm::{State, Swarm};
use super::{Config, Peer, StartError};
use crate::torrent::Torrent;
use crossbeam_channel::{Receiver, select};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// What to do with plain torrents.
pub struct Order {
    pub torrents: Vec<Arc<Torrent>>,
    /// Where the content is, or is to be.
    pub dir: PathBuf,
    /// Peers to connect to, whatever the trackers say.
    pub peers: Vec<SocketAddr>,
    pub config: Config,
    /// Whether to go on serving once everything is here.
    pub stay: bool,
}

/// Why an order was not carried out.
#[derive(Debug, Error)]
pub enum OrderError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{0}")]
    Paused(String),
    #[error("stopped before everything was there; the same command goes on from here")]
    Stopped,
    #[error("{0} is not all there, or not what the torrent says: `torrent verify` tells more")]
    Incomplete(String),
}

/// Downloads all torrents, and stays if told to, until something comes from `stop`. `report` is called with a line
/// for each torrent that is complete.
pub fn download(order: &Order, stop: &Receiver<()>, mut report: impl FnMut(&str)) -> Result<(), OrderError> {
    let (reporter, news) = news::channel();
    let reporter = Arc::new(reporter);
    let peer = Peer::start(&order.config)?;
    eprintln!("listening on {}", peer.addr());
    let mut swarms = Vec::new();
    for torrent in &order.torrents {
        swarms.push(peer.download(Arc::clone(torrent), &order.dir, reporter.clone())?);
    }
    announce(&peer, &swarms, &order.peers);
    let mut reported = vec![false; swarms.len()];
    let mut bars = Bars::new(&swarms);
    loop {
        for (swarm, reported) in swarms.iter().zip(&mut reported) {
            if swarm.is_complete() && !std::mem::replace(reported, true) {
                report(&format!("{}: complete", swarm.storage.root().display()));
            }
        }
        let ended = |swarm: &Arc<Swarm>| swarm.is_complete() || !swarm.is_running();
        if !order.stay && swarms.iter().all(ended) {
            break;
        }
        bars.draw();
        select! {
            recv(news) -> _ => {}
            recv(stop) -> _ => break,
            default(TICK) => {}
        }
    }
    bars.clear();
    outcome(&swarms)
}

fn outcome(swarms: &[Arc<Swarm>]) -> Result<(), OrderError> {
    for swarm in swarms {
        if let State::Paused(why) = swarm.progress().state {
            return Err(OrderError::Paused(why));
        }
    }
    if swarms.iter().all(|swarm| swarm.is_complete()) { Ok(()) } else { Err(OrderError::Stopped) }
}

/// Serves all torrents until something comes from `stop`.
pub fn seed(order: &Order, stop: &Receiver<()>) -> Result<(), OrderError> {
    let (reporter, news) = news::channel();
    let reporter = Arc::new(reporter);
    let peer = Peer::start(&order.config)?;
    let mut swarms = Vec::new();
    for torrent in &order.torrents {
        swarms.push(peer.seed(Arc::clone(torrent), &order.dir, reporter.clone())?);
    }
    let mut bars = Bars::new(&swarms);
    while swarms.iter().any(|swarm| swarm.progress().checking > 0) {
        bars.draw();
        if stop.recv_timeout(TICK / 10).is_ok() {
            return Ok(());
        }
    }
    bars.clear();
    if let Some(broken) = swarms.iter().find(|swarm| !swarm.is_complete()) {
        return Err(OrderError::Incomplete(broken.torrent.name().to_owned()));
    }
    eprintln!("listening on {}", peer.addr());
    announce(&peer, &swarms, &order.peers);
    loop {
        select! {
            recv(news) -> news => if let Ok(News::Paused(_, why)) = news {
                return Err(OrderError::Paused(why));
            },
            recv(stop) -> _ => return Ok(()),
        }
    }
}

/// Makes the torrents known to their trackers, and tries the peers the user named.
fn announce(peer: &Peer, swarms: &[Arc<Swarm>], peers: &[SocketAddr]) {
    for swarm in swarms {
        swarm.add_candidates(peers.iter().copied(), true);
    }
    peer.look_for_peers();
}
