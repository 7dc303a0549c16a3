//! Downloads a torrent from the peers that are named on the command line.
//!
//!     cargo run --example download -- film.torrent ~/films 192.0.2.7:6881

use shoal::{AddTorrent, Config, Engine, Observer, Swarm, Torrent};
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const USAGE: &str = "usage: download FILE.torrent FOLDER IP:PORT...";

/// Prints each percent once. Called by the engine's threads.
#[derive(Default)]
struct Percent(AtomicU32);

impl Observer for Percent {
    fn progressed(&self, swarm: &Swarm) {
        let progress = swarm.progress();
        let percent = progress.have * 100 / progress.pieces.max(1);
        if self.0.fetch_max(percent, Ordering::Relaxed) < percent {
            println!("{percent} % of {} bytes, {} peers", progress.total, progress.peers);
        }
    }
}

fn main() -> ExitCode {
    let (file, folder, peers) = match arguments() {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match download(&file, &folder, &peers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("download: {why}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<(PathBuf, PathBuf, Vec<SocketAddr>), String> {
    let mut words = std::env::args_os().skip(1);
    let file = words.next().ok_or("which torrent?")?;
    let folder = words.next().ok_or("to which folder?")?;
    let peer = |word: std::ffi::OsString| {
        let word = word.to_string_lossy();
        word.parse().map_err(|_| format!("{word} is not the address of a peer, as 192.0.2.7:6881"))
    };
    let peers: Vec<SocketAddr> = words.map(peer).collect::<Result<_, _>>()?;
    if peers.is_empty() { Err("from which peers?".into()) } else { Ok((file.into(), folder.into(), peers)) }
}

fn download(file: &Path, folder: &Path, peers: &[SocketAddr]) -> Result<(), Box<dyn Error>> {
    let torrent = Arc::new(Torrent::read(file)?);
    let engine = Engine::start(&Config::default())?;
    let add = AddTorrent::download(Arc::clone(&torrent), folder);
    let swarm = engine.add(add.observed_by(Arc::new(Percent::default())))?;
    swarm.add_addresses(peers.iter().copied(), true);
    engine.look_for_peers();
    swarm.wait()?;
    println!("{} is complete", folder.join(torrent.name()).display());
    Ok(()) // dropping the engine ends its connections and its threads
}
