//! The program `experiment`: moves files of four sizes between a seeder and some leechers many times, and
//! makes tables and plots of times and bytes. Tables go to standard output, everything else to standard
//! error. The exit status is 0 for success, 1 for failure, 2 for wrong usage. Runs on `main`.

use clap::{Parser, ValueEnum};
use shoal::experiment::client::{Kind, Settings};
use shoal::experiment::plan::Plan;
use shoal::experiment::roles::{self, Part};
use shoal::experiment::stop::Stop;
use shoal::experiment::{Failure, Role, all, report, rows};
use shoal::logging;
use shoal::peer::app::settings::TrackerAddr;
use shoal::tracker::{Config, Tracker};
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measure throughput and protocol overhead of shoal, or of libtorrent, as docs/EXPERIMENT.md tells.
///
/// `experiment` alone does it all on this machine. On several: `experiment --role tracker` on one,
/// `experiment --role seed HOST:PORT` on one, `experiment --role leech HOST:PORT` on the others. Run again,
/// it goes on where it was interrupted.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Where the tracker is, for seed and leech
    #[arg(value_name = "TRACKER", required_if_eq_any([("role", "seed"), ("role", "leech")]))]
    tracker: Option<TrackerAddr>,
    /// What this process does
    #[arg(long, default_value = "all")]
    role: Job,
    /// The client under test: shoal or libtorrent
    #[arg(long, default_value_t = Kind::Shoal)]
    client: Kind,
    /// How often each file is fetched by each peer; sizes that are not named keep their defaults
    #[arg(long, value_name = "10kB=N,100kB=N,1MB=N,10MB=N", default_value_t = Plan::default())]
    repetitions: Plan,
    /// How many leechers there are
    #[arg(long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=500))]
    leechers: u16,
    /// Where tables, plots and rows go; what libtorrent did into a folder `libtorrent` in it
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
    /// Where the files to be moved are made and kept [default: `files` among the results]
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// By which the rows tell this leecher from others [default: the role]
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// Where the client serves, or the tracker listens [default: 0.0.0.0, the tracker on port 6969, clients
    /// on any; with `all` 127.0.0.1]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// The interpreter that has libtorrent [default: the one that `make interop` installs, or python3]
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// With `report`: also take the rows of these result folders, from other machines; may be
    /// given several times
    #[arg(long, value_name = "DIR")]
    with: Vec<PathBuf>,
    /// End when standard input does
    #[arg(long, hide = true)]
    with_parent: bool,
}

#[derive(Copy, Clone, PartialEq, Eq, ValueEnum)]
enum Job {
    /// A tracker, a seeder and the leechers, on this machine
    All,
    /// The tracker at which the others meet
    Tracker,
    /// Serves the A files, and fetches the B files from the leechers
    Seed,
    /// Fetches the A files from the seeder, and serves the B files
    Leech,
    /// Makes tables and plots of the rows that are there
    Report,
}

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start("warn,shoal::experiment=info");
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // A process that its parent told to end does not report that.
            if !(cli.with_parent && matches!(why.downcast_ref(), Some(Failure::Interrupted))) {
                eprintln!("experiment: {why}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Outcome {
    if cli.role == Job::Report {
        return report(cli);
    }
    let stop = if cli.with_parent { Stop::with_parent() } else { Stop::on_signals() }?;
    match cli.role {
        Job::Tracker => track(cli, &stop),
        Job::Seed => play(cli, Role::Seed, &stop),
        Job::Leech => play(cli, Role::Leech, &stop),
        Job::All | Job::Report => {
            all::run(&part(cli, Role::Seed, Ipv4Addr::LOCALHOST), &stop)?;
            report(cli)
        }
    }
}

fn track(cli: &Cli, stop: &Stop) -> Outcome {
    let listen = cli.listen.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 6969)));
    let tracker = Tracker::start(Config { listen, ..Config::default() })?;
    println!("tracker listening on {}", tracker.addr());
    stop.forever();
    tracker.stop();
    Ok(())
}

fn play(cli: &Cli, role: Role, stop: &Stop) -> Outcome {
    roles::play(&part(cli, role, Ipv4Addr::UNSPECIFIED), stop)?;
    // The parent process reports for all.
    if cli.with_parent { Ok(()) } else { report(cli) }
}

fn report(cli: &Cli) -> Outcome {
    print!("{}", report::report(&cli.results, &cli.with)?);
    eprintln!("tables and plots are in {}", cli.results.display());
    Ok(())
}

fn part(cli: &Cli, role: Role, ip: Ipv4Addr) -> Part {
    Part {
        role,
        name: cli.name.clone().unwrap_or_else(|| role.to_string()),
        tracker: cli.tracker.as_ref().map(|tracker| tracker.to_string()).unwrap_or_default(),
        leechers: cli.leechers.into(),
        plan: cli.repetitions,
        results: cli.results.clone(),
        files: cli.files.clone().unwrap_or_else(|| cli.results.join("files")),
        kind: cli.client,
        client: Settings {
            listen: cli.listen.unwrap_or(SocketAddr::from((ip, 0))),
            python: cli.python.clone().unwrap_or_else(python),
        },
    }
}

fn python() -> PathBuf {
    let ours = Path::new("tests/interop/.venv/bin/python");
    if ours.exists() { ours.to_owned() } else { PathBuf::from("python3") }
}

fn name(text: &str) -> Result<String, &'static str> {
    if rows::is_name(text) { Ok(text.to_owned()) } else { Err("letters, digits and -_. please") }
}
