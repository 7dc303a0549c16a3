//! The program `torrent`: makes, shows, checks, downloads and serves torrents. Results go to standard output,
//! errors (one line) and progress to standard error. The exit status is 0 for success, 1 for failure, 2 for
//! wrong usage. Runs on `main`.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};

use shoal::interrupt;
use shoal::logging;
use shoal::peer::app::progress::bytes_bar;
use shoal::peer::app::settings::{Count, Rate, count, families, rate};
use shoal::peer::app::standalone::{self, Order};
use shoal::peer::app::web;
use shoal::peer::engine::Config;
use shoal::peer::storage::files_in;
use shoal::peer::swarm::options::DownloadOptions;
use shoal::printable;
use shoal::torrent::create::{MIN_PIECE_LENGTH, Options, Source};
use shoal::torrent::verify::{report, verify_some};
use shoal::torrent::{
    Format, MAX_PIECE_LENGTH, Magnet, Selection, Torrent, TorrentError, all_cores, show, units,
};

/// Make, show, check, download and serve torrents.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Create(CreateArgs),
    Show(ShowArgs),
    Verify(VerifyArgs),
    Magnet(MagnetArgs),
    Download(DownloadArgs),
    Seed(SeedArgs),
}

/// Make a torrent of a file or a folder
#[derive(Args)]
struct CreateArgs {
    /// The file or folder. Symbolic links in a folder are left out.
    path: PathBuf,
    /// Where to write the torrent; NAME.torrent in this folder unless told. An existing file is
    /// not overwritten.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Announce URL; may be given several times, the first is asked first
    #[arg(long, value_name = "URL", value_parser = tracker_url)]
    tracker: Vec<String>,
    /// hybrid (for every client), v2 or v1
    #[arg(long, default_value_t = Format::Hybrid)]
    format: Format,
    /// Bytes in a piece, such as 262144 or 256KiB: a power of two from 16 KiB to 256 MiB; chosen by
    /// size unless told
    #[arg(long, value_name = "N", value_parser = piece_length)]
    piece_length: Option<u32>,
    /// Let peers come from the trackers only
    #[arg(long)]
    private: bool,
    /// A remark for those who look at the torrent
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
}

/// Show what a torrent says
#[derive(Args)]
struct ShowArgs {
    /// The torrent
    file: PathBuf,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Check files against a torrent; the status is 1 if anything is missing, wrong or unproven
#[derive(Args)]
struct VerifyArgs {
    /// The torrent
    file: PathBuf,
    /// The folder that holds the torrent's file or folder
    dir: PathBuf,
    /// Only these files, named as for `download`
    #[arg(long, value_name = "LIST")]
    files: Vec<String>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Print a torrent's magnet link
#[derive(Args)]
struct MagnetArgs {
    /// The torrent
    file: PathBuf,
}

/// Download torrents, going on where an earlier run stopped
#[derive(Args)]
struct DownloadArgs {
    /// The torrents
    #[arg(required = true, value_name = "FILE|URL")]
    torrents: Vec<String>,
    /// Where to put what they hold
    #[arg(short, long, default_value = ".")]
    dir: PathBuf,
    /// Only these files: numbers as `torrent show` prints them, such as 1,3-5, or names and patterns, such as
    /// '*.mp4'. The same command with other files, or without, goes on from there
    #[arg(long, value_name = "LIST")]
    files: Vec<String>,
    /// From the first piece to the last, to watch while it loads; otherwise the rarest come first, which is
    /// faster for all
    #[arg(long)]
    sequential: bool,
    /// Go on serving when everything is here
    #[arg(long)]
    seed: bool,
    #[command(flatten)]
    network: NetworkArgs,
}

/// Serve content that is already here
#[derive(Args)]
struct SeedArgs {
    /// The torrent
    file: PathBuf,
    /// The folder that holds the torrent's file or folder
    dir: PathBuf,
    #[command(flatten)]
    network: NetworkArgs,
}

/// How to meet other peers
#[derive(Args)]
struct NetworkArgs {
    /// A peer to connect to; may be given several times
    #[arg(long = "peer", value_name = "IP:PORT")]
    peers: Vec<SocketAddr>,
    /// A tracker to announce to, before those that the torrent names; may be given several times
    #[arg(long, value_name = "URL", value_parser = tracker_url)]
    tracker: Vec<String>,
    /// Where others may connect to; the first free port of 6881 to 6889 unless told
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Use IPv4 alone: to listen, to connect and to announce
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6 alone
    #[arg(short = '6', long)]
    ipv6: bool,
    /// The most to send, in bytes a second, such as 5MB or 512KiB
    #[arg(long, value_name = "RATE", value_parser = rate)]
    up: Option<Rate>,
    /// The most to receive
    #[arg(long, value_name = "RATE", value_parser = rate)]
    down: Option<Rate>,
    /// How many peers are served at once
    #[arg(long, value_name = "N", value_parser = count)]
    #[arg(default_value_t = Count::at_least_one(Config::default().slots))]
    slots: Count,
    /// How many connections there may be
    #[arg(long, value_name = "N", value_parser = count)]
    #[arg(default_value_t = Count::at_least_one(Config::default().max_connections))]
    max_connections: Count,
}

impl NetworkArgs {
    /// The torrent with the trackers that the user named.
    fn with_trackers(&self, torrent: Arc<Torrent>) -> Result<Arc<Torrent>, TorrentError> {
        match self.tracker.is_empty() {
            true => Ok(torrent),
            false => torrent.with_trackers(&self.tracker).map(Arc::new),
        }
    }

    fn config(&self, state: Option<PathBuf>) -> Config {
        Config {
            listen: self.listen,
            families: families(self.ipv4, self.ipv6),
            state,
            slots: self.slots.get(),
            max_connections: self.max_connections.get(),
            up: self.up.map(Rate::bytes),
            down: self.down.map(Rate::bytes),
            ..Config::default()
        }
    }
}

/// The exit status for wrong usage, as clap has it.
const WRONG_USAGE: u8 = 2;

type Outcome = Result<ExitCode, Box<dyn Error>>;

fn main() -> ExitCode {
    logging::start("warn");
    let outcome = match Cli::parse().command {
        Command::Create(args) => create(&args),
        Command::Show(args) => show_torrent(&args),
        Command::Verify(args) => verify_files(&args),
        Command::Magnet(args) => magnet(&args),
        Command::Download(args) => download(&args),
        Command::Seed(args) => seed(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("torrent: {}", printable::lines(&error.to_string()));
        ExitCode::FAILURE
    })
}

fn create(args: &CreateArgs) -> Outcome {
    let source = Source::scan(&args.path)?;
    let output = args.output.clone().unwrap_or_else(|| PathBuf::from(source.metainfo_name()));
    if fs::symlink_metadata(&output).is_ok() {
        // This is checked again when the file is written. Checking it here avoids useless work.
        return Err(in_the_way(&output).into());
    }
    let options = Options {
        format: args.format,
        piece_length: args.piece_length,
        trackers: args.tracker.iter().map(|url| vec![url.clone()]).collect(),
        private: args.private,
        comment: args.comment.clone(),
        creation_date: SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|now| now.as_secs() as i64),
        ..Options::default()
    };
    let bar = bytes_bar(source.total_len(), "hashing");
    let metainfo = source.create(&options, &|bytes| bar.inc(bytes));
    bar.finish_and_clear();
    let metainfo = metainfo?;
    let torrent = Torrent::parse(&metainfo)?;
    write_new(&output, &metainfo)?;
    print(&format!("{}torrent : {}\n", show::headline(&torrent), output.display()))
}

fn show_torrent(args: &ShowArgs) -> Outcome {
    let torrent = read(&args.file)?;
    print(&if args.json { show::json(&torrent) + "\n" } else { show::describe(&torrent) })
}

fn magnet(args: &MagnetArgs) -> Outcome {
    print(&(read(&args.file)?.magnet() + "\n"))
}

fn verify_files(args: &VerifyArgs) -> Outcome {
    let torrent = Arc::new(read(&args.file)?);
    holds(&args.dir, &torrent)?;
    let asked = match chosen(&args.files, std::slice::from_ref(&torrent)) {
        Ok(files) => files.unwrap_or_else(|| Selection::all(&torrent)),
        Err(why) => return Ok(wrong_usage(&why)),
    };
    let bar = bytes_bar(asked.len(&torrent), "checking");
    // A download of some files keeps what came of their neighbours beside them.
    let path_of = files_in(&torrent, &args.dir);
    let progress = |bytes| bar.inc(bytes);
    let found = verify_some(&torrent, &args.dir, &asked, &path_of, all_cores(), &progress);
    bar.finish_and_clear();
    print(&match args.json {
        true => report::json(&torrent, &found) + "\n",
        false => report::text(&torrent, &found),
    })?;
    Ok(if found.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn download(args: &DownloadArgs) -> Outcome {
    let mut torrents: Vec<Arc<Torrent>> = Vec::new();
    for name in &args.torrents {
        let torrent = args.network.with_trackers(open_torrent(name)?)?;
        if torrents.iter().all(|other| other.info_hash() != torrent.info_hash()) {
            torrents.push(torrent);
        }
    }
    let files = match chosen(&args.files, &torrents) {
        Ok(files) => files,
        Err(why) => return Ok(wrong_usage(&why)),
    };
    if args.dir.exists() && !args.dir.is_dir() {
        return Err(format!("{} is a file; give -d the folder to download into", args.dir.display()).into());
    }
    // Several processes may download into one folder at the same time, so each torrent has its
    // own state folder.
    let state = torrents.first().map(|torrent| args.dir.join(".shoal").join(torrent.key()));
    let order = Order {
        torrents,
        dir: args.dir.clone(),
        peers: args.network.peers.clone(),
        config: args.network.config(state),
        stay: args.seed,
        options: DownloadOptions { files, in_order: args.sequential },
    };
    standalone::download(&order, &interrupt::channel()?, |line| {
        let _ = print(&format!("{line}\n")); // if the output was closed, the files are still wanted
    })?;
    let _ = fs::remove_dir(args.dir.join(".shoal")); // other downloads may need it, or this one to seed
    Ok(ExitCode::SUCCESS)
}

/// Whether a folder can be the one that holds the torrent's file or folder. If not, says what to give
/// instead.
fn holds(dir: &Path, torrent: &Torrent) -> Result<(), String> {
    let shown = dir.display();
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let instead = format!("give the folder that holds it: {}", above.display());
    if !dir.is_dir() {
        return Err(match dir.exists() {
            true => format!("{shown} is not a folder; {instead}"),
            false => format!("there is no folder {shown}"),
        });
    }
    let is_content = dir.file_name().is_some_and(|name| name == torrent.name());
    if is_content && !torrent.is_single_file() && !dir.join(torrent.name()).exists() {
        return Err(format!("{shown} seems to be the torrent's content itself; {instead}"));
    }
    Ok(())
}

fn wrong_usage(why: &str) -> ExitCode {
    eprintln!("torrent: {why}");
    ExitCode::from(WRONG_USAGE)
}

/// The files that `--files` names.
fn chosen(words: &[String], torrents: &[Arc<Torrent>]) -> Result<Option<Selection>, String> {
    match torrents {
        _ if words.is_empty() => Ok(None),
        [torrent] => Selection::parse(torrent, words).map(Some).map_err(|why| why.to_string()),
        _ => Err("--files goes with one torrent at a time".to_owned()),
    }
}

fn open_torrent(name: &str) -> Result<Arc<Torrent>, Box<dyn Error>> {
    if name.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("magnet:")) {
        let magnet: Magnet = name.parse()?;
        for why in &magnet.passed_over {
            eprintln!("passed over: {}", printable::lines(&why.to_string()));
        }
        let name = magnet.name.clone().unwrap_or_else(|| magnet.info_hash().to_string());
        return Err(format!("{name}: a magnet link alone is not enough yet, give the .torrent file").into());
    }
    Ok(Arc::new(read(Path::new(name))?))
}

/// Reads a torrent, from a file or a URL. An error names it, because there may be several.
fn read(path: &Path) -> Result<Torrent, Box<dyn Error>> {
    if let Some(url) = path.to_str().filter(|path| web::is_url(path)) {
        return Ok(web::torrent_at(url)?);
    }
    Torrent::read(path).map_err(|why| match why {
        TorrentError::Read { .. } => why.into(), // that error names the file already
        why => format!("{}: {why}", path.display()).into(),
    })
}

fn seed(args: &SeedArgs) -> Outcome {
    let torrent = args.network.with_trackers(Arc::new(read(&args.file)?))?;
    holds(&args.dir, &torrent)?;
    let order = Order {
        torrents: vec![torrent],
        dir: args.dir.clone(),
        peers: args.network.peers.clone(),
        config: args.network.config(None),
        stay: true,
        options: DownloadOptions::default(),
    };
    standalone::seed(&order, &interrupt::channel()?, |line| {
        let _ = print(&format!("{line}\n")); // if the output was closed, nobody wants to know
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to standard output. It is no failure if the reader, such as `head`, has closed it.
fn print(text: &str) -> Outcome {
    match io::stdout().write_all(printable::lines(text).as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write the answer: {error}").into())
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Writes a file that must not exist yet. A file that could not be written in full is removed.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => in_the_way(path),
        _ => format!("cannot write {}: {error}", path.display()),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    if let Err(error) = file.write_all(bytes).and_then(|()| file.sync_all()) {
        let _ = fs::remove_file(path);
        return Err(failed(error).into());
    }
    Ok(())
}

fn in_the_way(path: &Path) -> String {
    format!("{} exists already and is not overwritten; choose another name with -o", path.display())
}

fn tracker_url(text: &str) -> Result<String, &'static str> {
    let known = ["http://", "https://", "udp://"].iter().any(|scheme| text.starts_with(scheme));
    let plain = !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if known && plain { Ok(text.to_owned()) } else { Err("expected a URL with http://, https:// or udp://") }
}

fn piece_length(text: &str) -> Result<u32, String> {
    let bytes = units::parse_bytes(text)?;
    let length = u32::try_from(bytes).ok().filter(|length| length.is_power_of_two());
    let length = length.filter(|length| (MIN_PIECE_LENGTH..=MAX_PIECE_LENGTH).contains(length));
    length.ok_or_else(|| "expected a power of two from 16KiB to 256MiB".to_owned())
}
