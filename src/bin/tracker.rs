//! The program `tracker`: reads the command line, starts the tracker, and stops it on SIGINT or SIGTERM.
//! Runs on `main`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use ipnet::IpNet;
use shoal::tracker::front::{self, Front, PublicUrl};
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
    /// Where others reach it over HTTP, to be named in the torrents that it hands out; otherwise as each
    /// request calls it.
    #[arg(long, env = "SHOAL_TRACKER_PUBLIC_URL", value_name = "URL")]
    public_url: Option<PublicUrl>,
    /// A proxy, or a network of proxies, whose X-Forwarded-For says who asks; may be given several times.
    #[arg(long, env = "SHOAL_TRACKER_TRUSTED_PROXY", value_name = "IP|NETWORK", value_parser = front::proxy)]
    #[arg(value_delimiter = ',')]
    trusted_proxy: Vec<IpNet>,
    /// Most threads that answer UDP. There is one per core.
    #[arg(long, env = "SHOAL_TRACKER_UDP_THREADS", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256), default_value_t = 16)]
    udp_threads: u16,
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
    let front = Front { public_url: args.public_url, trusted_proxies: args.trusted_proxy };
    let limits = Limits { udp_threads: args.udp_threads.into(), ..Limits::default() };
    let config = Config { listen: args.listen, data: args.data, limits, front };
    let tracker = Tracker::start(config)?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "tracker listening on {}", tracker.addr())?;
    stdout.flush()?;
    let _ = stop.recv();
    tracker.stop();
    Ok(())
}
