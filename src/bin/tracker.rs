//! The program `tracker`: reads the command line, starts the tracker, and stops it on SIGINT or SIGTERM.
//! Runs on `main`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use shoal::tracker::{Config, Limits, Tracker};
use shoal::{interrupt, logging};

/// Keeps a searchable catalogue of torrents and tells peers who holds which piece.
///
/// One port serves shoal peers, BitTorrent clients (http://HOST:PORT/announce) and browsers
/// (http://HOST:PORT/).
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Address and port to listen on; port 0 for any.
    #[arg(long, env = "SHOAL_TRACKER_LISTEN", default_value = "0.0.0.0:6969", value_name = "IP:PORT")]
    listen: SocketAddr,
    /// Folder for the catalogue. Without it nothing is kept across restarts.
    #[arg(long, env = "SHOAL_TRACKER_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    logging::start("info");
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tracker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    // This comes before the threads start, so that a signal during the start is not lost.
    let stop = interrupt::channel()?;
    let tracker = Tracker::start(Config { listen: args.listen, data: args.data, limits: Limits::default() })?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "tracker listening on {}", tracker.addr())?;
    stdout.flush()?;
    let _ = stop.recv();
    tracker.stop();
    Ok(())
}
