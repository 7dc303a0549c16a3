//! `torrent download` and `torrent seed`: ordinary torrents, without the catalogue of a shoal tracker. Runs
//! on `main`, which only waits: for notices of the torrents, for the user to end it, and for the next time to
//! draw the bars. No lock of its own.

use super::notices::{self, Notice};
use super::pace::Pace;
use super::progress::{Drawing, Gauge, TICK, plural};
use super::visitors::Visitors;
use crate::peer::discovery::{AnnounceConfig, AnnounceHost, AnnounceProgress, Announcer, Nudge};
use crate::peer::engine::{AddTorrent, Config, Engine, StartError};
use crate::peer::storage::state_dir::StateError;
use crate::peer::swarm::options::DownloadOptions;
use crate::peer::swarm::{State, Swarm};
use crate::torrent::units::thousands;
use crate::torrent::{InfoHash, Selection, Torrent};
use crossbeam_channel::{Receiver, select};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use thiserror::Error;

/// What to do with some torrents.
pub struct Order {
    /// The torrents.
    pub torrents: Vec<Arc<Torrent>>,
    /// The folder that has the content, or will have it.
    pub dir: PathBuf,
    /// Peers to connect to, beside those that the trackers return.
    pub peers: Vec<SocketAddr>,
    /// The settings of the engine.
    pub config: Config,
    /// Whether to keep serving once everything is complete.
    pub stay: bool,
    /// What to download. If only some files are wanted, they are of the only torrent.
    pub options: DownloadOptions,
}

/// Why an order was not carried out.
#[derive(Debug, Error)]
pub enum OrderError {
    /// Another process is downloading the torrent to this folder.
    #[error("{0} is being downloaded to this folder already, by another `torrent download`")]
    Twice(String),
    /// The engine did not start, or did not add a torrent.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
    /// A torrent stopped, for this reason.
    #[error("{0}")]
    Paused(String),
    /// The user stopped it before everything was complete.
    #[error("stopped before everything was there; the same command goes on from here")]
    Stopped,
    /// Content that should be served is missing or does not match.
    #[error("{0} is not all there, or not what the torrent says: `torrent verify` tells more")]
    Incomplete(String),
}

/// Downloads all torrents until they are complete, or until something comes from `stop`; with `stay`, until
/// the latter. `report` is called with a line for each torrent that is complete.
pub fn download(order: &Order, stop: &Receiver<()>, mut report: impl FnMut(&str)) -> Result<(), OrderError> {
    let (reporter, notices) = notices::channel();
    let reporter = Arc::new(reporter);
    let peer = Engine::start(&order.config).map_err(|why| match (&why, order.torrents.first()) {
        (StartError::State(StateError::InUse(_)), Some(first)) => OrderError::Twice(first.name().to_owned()),
        _ => why.into(),
    });
    let peer = Arc::new(peer?);
    eprintln!("listening on {}", peer.addr());
    let mut swarms = Vec::new();
    for torrent in &order.torrents {
        let add = AddTorrent::download(Arc::clone(torrent), &order.dir).with(order.options.clone());
        swarms.push(peer.add(add.observed_by(reporter.clone()))?);
        if let Some(files) = order.options.files.as_ref().filter(|files| !files.is_all()) {
            let (chosen, bytes) = (show_chosen(files, torrent), thousands(files.len(torrent)));
            eprintln!("{}: {chosen} are wanted, {bytes} bytes", torrent.name());
        }
    }
    let announcers = announce(&peer, &swarms, &order.peers)?;
    let mut reported = vec![false; swarms.len()];
    let mut paces: Vec<Pace> = swarms.iter().map(|swarm| Pace::of(swarm, Instant::now())).collect();
    let mut drawing = Drawing::default();
    loop {
        for (swarm, reported) in swarms.iter().zip(&mut reported) {
            if swarm.is_complete() && !std::mem::replace(reported, true) {
                announcers
                    .iter()
                    .filter(|(hash, _)| *hash == swarm.torrent.info_hash())
                    .for_each(|(_, announcer)| announcer.nudge(completed(swarm)));
                let name = swarm.storage.root();
                let line = match order.options.files.as_ref().filter(|_| swarm.is_partial_seed()) {
                    Some(files) => {
                        format!("{}: {} complete", name.display(), show_chosen(files, &swarm.torrent))
                    }
                    None => format!("{}: complete", name.display()),
                };
                drawing.aside(|| report(&line));
            }
        }
        let ended = |swarm: &Arc<Swarm>| swarm.is_complete() || swarm.is_paused();
        if !order.stay && swarms.iter().all(ended) {
            break;
        }
        let gauge = |(swarm, pace): (&Arc<Swarm>, &mut Pace)| {
            Gauge::of(swarm.torrent.name(), swarm, pace.rates(swarm.counts.totals(), Instant::now()).down)
        };
        drawing.show(&swarms.iter().zip(&mut paces).map(gauge).collect::<Vec<_>>());
        select! {
            recv(notices) -> _ => {}
            recv(stop) -> _ => break,
            default(TICK) => {}
        }
    }
    drop(drawing);
    drop(announcers);
    peer.stop();
    let outcome = outcome(&swarms);
    let whole = order.options.files.as_ref().is_none_or(Selection::is_all);
    if outcome.is_ok() && !order.stay && whole {
        peer.discard(&order.torrents);
    }
    outcome
}

/// What the trackers hear of a torrent that is complete now. A download has been completed if content was
/// fetched for it; what was here at the start was completed in an earlier run, which said so, or by somebody
/// else.
fn completed(swarm: &Swarm) -> Nudge {
    if swarm.progress().downloaded > 0 { Nudge::Completed } else { Nudge::Found }
}

/// `2 of 5 files`.
fn show_chosen(files: &Selection, torrent: &Torrent) -> String {
    format!("{} of {}", files.count(), plural(torrent.files().len() as u64, "file"))
}

fn outcome(swarms: &[Arc<Swarm>]) -> Result<(), OrderError> {
    for swarm in swarms {
        if let State::Paused(why) = swarm.progress().state {
            return Err(OrderError::Paused(why));
        }
    }
    if swarms.iter().all(|swarm| swarm.is_complete()) { Ok(()) } else { Err(OrderError::Stopped) }
}

/// Serves all torrents until something comes from `stop`. `report` is then called with lines on who came, and
/// how much went out.
pub fn seed(order: &Order, stop: &Receiver<()>, mut report: impl FnMut(&str)) -> Result<(), OrderError> {
    let (reporter, notices) = notices::channel();
    let visitors = Arc::new(Visitors::new(reporter));
    let peer = Arc::new(Engine::start(&order.config)?);
    let mut swarms = Vec::new();
    for torrent in &order.torrents {
        let add = AddTorrent::seed(Arc::clone(torrent), &order.dir);
        swarms.push(peer.add(add.observed_by(visitors.clone()))?);
    }
    let mut drawing = Drawing::default();
    while swarms.iter().any(|swarm| swarm.progress().checking > 0) {
        drawing
            .show(&swarms.iter().map(|swarm| Gauge::of(swarm.torrent.name(), swarm, 0)).collect::<Vec<_>>());
        if stop.recv_timeout(TICK / 10).is_ok() {
            return Ok(());
        }
    }
    drop(drawing);
    if let Some(broken) = swarms.iter().find(|swarm| !swarm.is_complete()) {
        return Err(OrderError::Incomplete(broken.torrent.name().to_owned()));
    }
    eprintln!("listening on {}", peer.addr());
    let announcers = announce(&peer, &swarms, &order.peers)?;
    let outcome = loop {
        select! {
            recv(notices) -> notice => if let Ok(Notice::Paused(_, why)) = notice {
                break Err(OrderError::Paused(why));
            },
            recv(stop) -> _ => break Ok(()),
        }
    };
    drop(announcers);
    peer.stop(); // which ends all connections, and each tells what went out
    visitors.summary().iter().for_each(|line| report(line));
    outcome
}

/// Connects to the peers that the user named, and announces the torrents to their trackers while
/// the result lives.
fn announce(
    peer: &Arc<Engine>,
    swarms: &[Arc<Swarm>],
    peers: &[SocketAddr],
) -> io::Result<Vec<(InfoHash, Announcer)>> {
    let mut announcers = Vec::new();
    for swarm in swarms {
        swarm.add_addresses(peers.iter().copied(), true);
        let config = AnnounceConfig {
            torrent: Arc::clone(&swarm.torrent),
            peer_id: peer.shared.peer_id.0,
            port: peer.addr().port(),
            families: peer.shared.families,
            host: Arc::new(Announced { peer: Arc::clone(peer), swarm: Arc::clone(swarm) }),
        };
        let announcer = Announcer::start(config)?;
        if announcer.is_none() && peers.is_empty() {
            log::warn!(
                "{} names no HTTP or UDP tracker: waiting for others to connect",
                swarm.torrent.name()
            );
        }
        announcers.extend(announcer.map(|announcer| (swarm.torrent.info_hash(), announcer)));
    }
    peer.look_for_peers();
    Ok(announcers)
}

/// A torrent as its announcer sees it.
struct Announced {
    peer: Arc<Engine>,
    swarm: Arc<Swarm>,
}

impl AnnounceHost for Announced {
    fn progress(&self) -> AnnounceProgress {
        let progress = self.swarm.progress();
        AnnounceProgress { uploaded: progress.uploaded, downloaded: progress.downloaded, left: progress.left }
    }

    fn is_partial_seed(&self) -> bool {
        self.swarm.is_partial_seed()
    }

    fn found(&self, peers: &[SocketAddr]) {
        self.swarm.add_addresses(peers.iter().copied(), false);
        self.peer.look_for_peers();
    }

    fn announced(&self, outcome: Result<(u32, u32), &str>) {
        match outcome {
            Ok((seeds, others)) => {
                log::info!("{}: {seeds} seeds, {others} others", self.swarm.torrent.name())
            }
            Err(why) => log::info!("{}: no tracker answers: {why}", self.swarm.torrent.name()),
        }
    }

    fn failed(&self, why: &str) {
        log::warn!("{}: {why}", self.swarm.torrent.name());
    }
}
