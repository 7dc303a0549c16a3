//! The program `peer IP PORT [COMMAND ...]`: joins the tracker at that address (and others) and opens a
//! shell, or carries out one command. Results go to standard output, logs and progress to standard error. The
//! exit status is 0 for success, 1 for failure, 2 for wrong usage. Runs on `main`.

use clap::Parser;
use shoal::interrupt;
use shoal::logging;
use shoal::peer::app::audience::Here;
use shoal::peer::app::banning;
use shoal::peer::app::command::{self, Command, CommandError, Download};
use shoal::peer::app::control::{Attached, Control};
use shoal::peer::app::library::Library;
use shoal::peer::app::notices;
use shoal::peer::app::room::Room;
use shoal::peer::app::settings::{Resolved, Settings, TrackerAddr};
use shoal::peer::app::shell::{self, Ends, Next, Shell, Typing};
use shoal::peer::app::watch::Watch;
use shoal::peer::engine::{Config, Engine};
use shoal::peer::storage::state_dir::StateDir;
use shoal::printable;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Share files with everybody at a tracker, and fetch theirs.
#[derive(Parser)]
#[command(version, after_help = format!("Commands:\n{}", command::HELP))]
#[command(override_usage = "peer [OPTIONS] IP PORT [COMMAND]...\n       peer [OPTIONS] [COMMAND]...")]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
    /// With `download`: the folder to download to
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// With `download`, of a folder: the wanted files, such as `1,3-5`, `*.mp4` or `extras`
    #[arg(long, value_name = "LIST")]
    files: Vec<String>,
    /// The tracker's address or name, and its port, unless --tracker, SHOAL_TRACKER or the file of --config
    /// names one; then a command to be carried out alone, without which they are read from standard input
    #[arg(value_name = "IP PORT COMMAND")]
    words: Vec<String>,
}

/// Said if it is not clear which tracker to join.
const NO_TRACKER: &str = "which tracker? Give its IP and PORT, or name it with --tracker HOST:PORT, in \
                          SHOAL_TRACKER, or in the file of --config";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let settings = match cli.settings.clone().resolve() {
        Ok(settings) => settings,
        Err(why) => return fail(&why, 1),
    };
    let (first, words) = address(&cli.words, &settings);
    let trackers = settings.trackers(first);
    let command = (!words.is_empty()).then(|| Command::from_words(words)).transpose();
    let command = command.and_then(|command| with_flags(command, &cli));
    let command = match command {
        Ok(command) if !trackers.is_empty() || command == Some(Command::Help) => command,
        Err(why) if !trackers.is_empty() => return fail(&why, 2),
        _ => return fail(NO_TRACKER, 2),
    };
    let interactive = command.is_none() && shell::is_interactive();
    logging::start(if interactive { "warn" } else { "info" });
    match run(settings, &trackers, command, cli.json, interactive) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => fail(&*why, 1),
    }
}

/// The command with the flags that belong to `download` alone.
fn with_flags(command: Option<Command>, cli: &Cli) -> Result<Option<Command>, CommandError> {
    let flag = if cli.to.is_some() { "--to" } else { "--files" };
    match command {
        Some(Command::Download(download)) => {
            let (to, files) = (cli.to.clone().or(download.to), [download.files, cli.files.clone()].concat());
            Ok(Some(Command::Download(Download { to, files, ..download })))
        }
        other if cli.to.is_none() && cli.files.is_empty() => Ok(other),
        _ => Err(CommandError::ForDownload(flag)),
    }
}

/// The tracker that the words of the command line begin with, if they do, and the rest. `list 2000` is a
/// command where another tracker is known, and a host called `list` where none is.
fn address<'a>(words: &'a [String], settings: &Resolved) -> (Option<TrackerAddr>, &'a [String]) {
    let is_command = || !settings.trackers(None).is_empty() && Command::from_words(words).is_ok();
    match words {
        [ip, port, rest @ ..] => match port.parse() {
            Ok(port) if !is_command() => (Some(TrackerAddr::new(ip, port)), rest),
            _ => (None, words),
        },
        _ => (None, words),
    }
}

fn fail(why: &(impl std::fmt::Display + ?Sized), status: u8) -> ExitCode {
    eprintln!("peer: {}", printable::lines(&why.to_string()));
    ExitCode::from(status)
}

fn run(
    settings: Resolved,
    trackers: &[String],
    command: Option<Command>,
    json: bool,
    interactive: bool,
) -> Result<bool, Box<dyn Error>> {
    let (end, stop) = interrupt::ends()?;
    if let Some(Command::Help) = command {
        print!("{}", command::HELP);
        return Ok(true);
    }
    let state = settings.config.state.clone().unwrap_or_default();
    if let Some(tracker) = trackers.first() {
        let beside = Attached { state: &state, tracker, json, interactive, stop: &stop };
        if let Some(well) = beside.run(command.as_ref())? {
            return Ok(well);
        }
    }
    // Bans are kept in the state folder, so neither the tracker nor a running engine is asked.
    if let Some(answer) = command.as_ref().and_then(|command| banning::alone(&state, command, json)) {
        print!("{}", answer?);
        return Ok(true);
    }
    // A query to the tracker needs neither our files nor our state folder, which another engine may be using.
    let question = matches!(command, Some(Command::Search(_) | Command::List | Command::Peers));
    let (uploads, downloads) = if question { Default::default() } else { settings.folders()? };
    let Resolved { mirror, config, .. } = settings;
    let config = if question { Config { state: None, ..config } } else { config };

    let peer = Arc::new(Engine::start(&config)?);
    if question {
        peer.shared.bans.learn(&StateDir::bans_under(&state)); // to be shown
    }
    let (reporter, notices) = notices::channel();
    let room = Arc::new(Room::join(Arc::clone(&peer), trackers, (&uploads, &downloads), mirror, reporter)?);
    let (control, watch) = match peer.state() {
        Some(kept) => {
            let control = Control::open(&state, Arc::clone(&room), end)
                .inspect_err(|why| log::warn!("no other process can give commands: {why}"));
            eprintln!("listening on {}", peer.addr());
            let library = Library::open(&uploads, Arc::clone(kept));
            (control.ok(), Some(Watch::start(library, Arc::clone(&room), interactive)?))
        }
        None => (None, None),
    };
    let typing = match command {
        Some(_) => Typing::nobody(),
        None => Typing::new(shell::read_lines(Ends::WithCommands)?, interactive),
    };
    let audience = Arc::new(Here::default());
    let shell =
        Shell { room: Arc::clone(&room), audience, notices, stop, typing, json, told: Default::default() };
    let well = match command {
        Some(command) => carry_out(&shell, &command),
        None => shell.run(),
    };
    drop(control);
    drop(watch);
    room.leave();
    peer.stop();
    Ok(well)
}

/// Carries out the only command. Gives true if it succeeded.
fn carry_out(shell: &Shell, command: &Command) -> bool {
    let well = matches!(shell.carry_out(command), Next::Go | Next::Exit);
    if well && matches!(command, Command::Upload(_)) {
        eprintln!(
            "nobody serves it after this command: a peer that stays here does, and goes on offering it"
        );
    }
    well
}
