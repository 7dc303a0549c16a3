//! shoal as the client under test, in this process: an engine that serves, and a new one for each repetition
//! that fetches. `main` waits for their threads. No lock.

use super::{Client, LIMIT, Measured, Settings};
use crate::experiment::Failure;
use crate::experiment::stop::Stop;
use crate::peer::engine::{AddTorrent, Config, Engine, StartError};
use crate::peer::swarm::shared::Tuning;
use crate::peer::swarm::{Observer, Swarm};
use crate::torrent::Torrent;
use crossbeam_channel::Sender;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

pub struct Shoal {
    listen: SocketAddr,
    serving: Engine,
}

impl Shoal {
    pub fn start(settings: &Settings) -> Result<Self, Failure> {
        let serving = Engine::start(&config(settings.listen)).map_err(failed)?;
        Ok(Shoal { listen: settings.listen, serving })
    }
}

/// An engine without saved state. It has no reconnect limit, because each repetition connects from
/// the same address.
fn config(listen: SocketAddr) -> Config {
    let tuning = Tuning { no_reconnect_limit: true, ..Tuning::default() };
    Config { listen: Some(listen), state: None, tuning, ..Config::default() }
}

fn failed(why: StartError) -> Failure {
    Failure::Client(why.to_string())
}

impl Client for Shoal {
    fn port(&self) -> u16 {
        self.serving.addr().port()
    }

    fn serve(&mut self, torrent: &Arc<Torrent>, dir: &Path, _: &Stop) -> Result<(), Failure> {
        self.serving.add(AddTorrent::verified(Arc::clone(torrent), dir)).map_err(failed)?;
        Ok(())
    }

    fn fetch(
        &mut self,
        torrent: &Arc<Torrent>,
        dir: &Path,
        from: &[SocketAddr],
        stop: &Stop,
    ) -> Result<Measured, Failure> {
        let peer = Engine::start(&config(SocketAddr::new(self.listen.ip(), 0))).map_err(failed)?;
        let (watch, outcome) = Watch::new();
        let start = Instant::now();
        let swarm =
            peer.add(AddTorrent::download(Arc::clone(torrent), dir).observed_by(watch)).map_err(failed)?;
        swarm.add_addresses(from.iter().copied(), true);
        peer.look_for_peers();
        let end = match stop.receive(&outcome, LIMIT)? {
            Some(Ok(end)) => end,
            Some(Err(why)) => return Err(Failure::Client(why)),
            None => return Err(Failure::Client(format!("{} did not come in time", torrent.name()))),
        };
        peer.stop(); // joins its connections, so all bytes are counted
        let (received, sent) = peer.shared.traffic.totals();
        Ok(Measured { time: end - start, received, sent })
    }
}

/// Reports when a download ends, or why it is paused.
struct Watch {
    outcome: Sender<Result<Instant, String>>,
}

impl Watch {
    fn new() -> (Arc<Self>, crossbeam_channel::Receiver<Result<Instant, String>>) {
        let (outcome, receiver) = crossbeam_channel::bounded(1); // only the first outcome counts
        (Arc::new(Watch { outcome }), receiver)
    }
}

impl Observer for Watch {
    fn completed(&self, _: &Swarm) {
        let _ = self.outcome.try_send(Ok(Instant::now()));
    }

    fn paused(&self, _: &Swarm, why: &str) {
        let _ = self.outcome.try_send(Err(why.to_owned()));
    }
}
