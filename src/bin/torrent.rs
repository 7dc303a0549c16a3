//! `torrent`: makes, shows and checks torrents. Results go to standard output, errors (one line) and progress to standard
//! error; the status is 0 for success, 1 for failure, 2 for wrong usage.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use shoal::torrent::create::{MIN_PIECE_LENGTH, Options, Source};
use shoal::torrent::verify::{FileState, Report, verify};
use shoal::torrent::{Format, MAX_PIECE_LENGTH, Torrent, all_cores, show, units};

/// Make, show and check torrents.
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
}

/// Make a torrent of a file or a folder
#[derive(Args)]
struct CreateArgs {
    /// The file or folder. Symbolic links in a folder are left out.
    path: PathBuf,
    /// Where to write the torrent; NAME.torrent in this folder unless told. An existing file is not overwritten.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Announce URL; may be given several times, the first is asked first
    #[arg(long, value_name = "URL", value_parser = tracker_url)]
    tracker: Vec<String>,
    /// hybrid (for every client), v2 or v1
    #[arg(long, default_value_t = Format::Hybrid)]
    format: Format,
    /// Bytes in a piece, such as 262144 or 256KiB: a power of two from 16 KiB to 64 MiB; chosen by size unless told
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

/// Check files against a torrent; the status is 1 if anything is missing or wrong
#[derive(Args)]
struct VerifyArgs {
    /// The torrent
    file: PathBuf,
    /// The folder that holds the torrent's file or folder
    dir: PathBuf,
}

/// Print a torrent's magnet link
#[derive(Args)]
struct MagnetArgs {
    /// The torrent
    file: PathBuf,
}

type Outcome = Result<ExitCode, Box<dyn Error>>;

fn main() -> ExitCode {
    let warnings = env_logger::Env::default().default_filter_or("warn");
    env_logger::Builder::from_env(warnings).format_timestamp(None).format_target(false).init();
    let outcome = match Cli::parse().command {
        Command::Create(args) => create(&args),
        Command::Show(args) => show_torrent(&args),
        Command::Verify(args) => verify_files(&args),
        Command::Magnet(args) => magnet(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("torrent: {error}");
        ExitCode::FAILURE
    })
}

fn create(args: &CreateArgs) -> Outcome {
    let source = Source::scan(&args.path)?;
    let output = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.torrent", source.name())));
    if fs::symlink_metadata(&output).is_ok() {
        // Found out again when it is written; here it saves the work.
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
    let bar = progress_bar(source.total_len(), "hashing");
    let metainfo = source.create(&options, &|bytes| bar.inc(bytes));
    bar.finish_and_clear();
    let metainfo = metainfo?;
    let torrent = Torrent::parse(&metainfo)?;
    write_new(&output, &metainfo)?;
    print(&format!("{}torrent : {}\n", show::headline(&torrent), output.display()))
}

fn show_torrent(args: &ShowArgs) -> Outcome {
    let torrent = Torrent::read(&args.file)?;
    print(&if args.json { show::json(&torrent) + "\n" } else { show::describe(&torrent) })
}

fn magnet(args: &MagnetArgs) -> Outcome {
    print(&(Torrent::read(&args.file)?.magnet() + "\n"))
}

fn verify_files(args: &VerifyArgs) -> Outcome {
    let torrent = Torrent::read(&args.file)?;
    if !args.dir.is_dir() {
        return Err(format!("{} is not a folder", args.dir.display()).into());
    }
    let bar = progress_bar(torrent.geometry().total_len(), "checking");
    let report = verify(&torrent, &args.dir, all_cores(), &|bytes| bar.inc(bytes));
    bar.finish_and_clear();
    print(&report_text(&torrent, &report, &args.dir))?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A line for each file that is not good, and a line that sums up.
fn report_text(torrent: &Torrent, report: &Report, dir: &Path) -> String {
    let mut text = String::new();
    for (file, state) in torrent.files().iter().zip(&report.files) {
        let what = match state {
            FileState::Good => continue,
            FileState::Missing => "missing".to_owned(),
            FileState::NotAFile => "not a regular file".to_owned(),
            FileState::WrongLength { found } => format!("{found} bytes long instead of {}", file.len),
            FileState::Damaged { pieces } => format!("damaged, {pieces} of its pieces do not match"),
            FileState::Unproven { pieces } => {
                format!(
                    "not to be told, {pieces} of its pieces lie partly in a file that is missing or wrong"
                )
            }
            FileState::Unreadable(why) => format!("cannot be read: {why}"),
        };
        text += &format!("{}: {what}\n", torrent.path_in(dir, file).display());
    }
    let good = report.files.iter().filter(|state| **state == FileState::Good).count();
    let (have, all) = (report.have.count(), report.have.len());
    text + &format!(
        "{}: {good} of {} files good, {have} of {all} pieces\n",
        torrent.name(),
        report.files.len()
    )
}

/// Writes to standard output. A reader that has seen enough, such as `head`, is no failure.
fn print(text: &str) -> Outcome {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write the answer: {error}").into())
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Writes a file that must not be there yet; what could not be written whole is taken away again.
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

/// A bar on standard error, if somebody is there to see it.
fn progress_bar(total: u64, doing: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}");
    let bar = ProgressBar::new(total).with_message(doing);
    if let Ok(style) = style { bar.with_style(style) } else { bar }
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
    length.ok_or_else(|| "expected a power of two from 16KiB to 64MiB".to_owned())
}
