//! The command `tracker`: reads the command line, starts the tracker, and stops it on SIGINT or SIGTERM.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use shoal::tracker::{Config, Limits, Tracker};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Keeps a searchable catalogue of torrents and tells peers who holds which piece.
///
/// One port serves shoal peers, BitTorrent clients (http://HOST:PORT/announce) and browsers (http://HOST:PORT/).
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
    env_logger::Builder::from_env(env_logger::Env::new().filter_or("SHOAL_LOG", "info")).init();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tracker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    raise_descriptor_limit();
    // Before the threads start, so that a signal during the start is not lost.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let tracker = Tracker::start(Config { listen: args.listen, data: args.data, limits: Limits::default() })?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "tracker listening on {}", tracker.addr())?;
    stdout.flush()?;
    signals.forever().next();
    tracker.stop();
    Ok(())
}

/// A connection takes two descriptors, and many systems begin with 1024 for a process that may have more.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        log::warn!("cannot raise the limit of open files: {error}");
    }
}
