//! How the engine is configured: flags override the environment (`SHOAL_...`), which overrides the file given
//! with `--config`, which overrides the defaults. Runs on `main`, before anything else; no lock.

use crate::net::Families;
use crate::peer::engine::Config;
use crate::peer::storage::state_dir::StateDir;
use crate::torrent::units::parse_bytes;
use clap::Args;
use clap::builder::BoolishValueParser;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use thiserror::Error;

/// What is wrong with the settings.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The configuration file cannot be read.
    #[error("cannot read the configuration {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        why: io::Error,
    },
    /// The configuration file has an error.
    #[error("{}, line {line}: {why}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line of the error, counted from 1.
        line: usize,
        /// What is wrong there.
        why: String,
    },
    /// A folder cannot be used.
    #[error("the {what} folder {} {why}", path.display())]
    Folder {
        /// Which folder: `upload` or `download`.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The settings as they were given: flags, with the environment behind them.
#[derive(Args, Clone, Default, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Another tracker to join, beside the one that is named first; may be given several times
    #[arg(long, env = "SHOAL_TRACKER", value_name = "HOST:PORT", value_delimiter = ',')]
    #[serde(deserialize_with = "one_or_several")]
    tracker: Vec<TrackerAddr>,
    /// Where others may connect to; the first free port of 6881 to 6889 unless told
    #[arg(long, env = "SHOAL_LISTEN", value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Use IPv4 alone: to listen, to connect and for the trackers
    #[arg(short = '4', long, env = "SHOAL_IPV4", value_parser = BoolishValueParser::new())]
    #[arg(conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6 alone
    #[arg(short = '6', long, env = "SHOAL_IPV6", value_parser = BoolishValueParser::new())]
    ipv6: bool,
    /// Share every file under this folder [default: uploads]
    #[arg(long, env = "SHOAL_UPLOADS", value_name = "DIR")]
    uploads: Option<PathBuf>,
    /// Put downloads here [default: downloads]
    #[arg(long, env = "SHOAL_DOWNLOADS", value_name = "DIR")]
    downloads: Option<PathBuf>,
    /// Keep what survives a restart here [default: .shoal]
    #[arg(long, env = "SHOAL_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// How many peers are served at once [default: 8]
    #[arg(long, env = "SHOAL_SLOTS", value_name = "N", value_parser = count)]
    slots: Option<Count>,
    /// How many workers fetch and check pieces [default: one for each core, at least 2]
    #[arg(long, env = "SHOAL_WORKERS", value_name = "N", value_parser = count)]
    workers: Option<Count>,
    /// How many connections there may be [default: 500]
    #[arg(long, env = "SHOAL_MAX_CONNECTIONS", value_name = "N", value_parser = count)]
    max_connections: Option<Count>,
    /// The most to send, in bytes a second, such as 5MB or 512KiB
    #[arg(long, env = "SHOAL_UP", value_name = "RATE", value_parser = rate)]
    up: Option<Rate>,
    /// The most to receive
    #[arg(long, env = "SHOAL_DOWN", value_name = "RATE", value_parser = rate)]
    down: Option<Rate>,
    /// Fetch whatever is offered to everybody
    #[arg(long, env = "SHOAL_MIRROR", value_parser = BoolishValueParser::new())]
    mirror: bool,
    /// Read settings from this file; they go by the names of the flags
    #[arg(long, env = "SHOAL_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
}

/// The address of a tracker: `HOST:PORT`, where the host is a name or an IP address.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct TrackerAddr(String);

impl TrackerAddr {
    /// The address of the tracker at this host and port.
    pub fn new(host: &str, port: u16) -> Self {
        match host.parse() {
            Ok(IpAddr::V6(ip)) => TrackerAddr(format!("[{ip}]:{port}")),
            _ => TrackerAddr(format!("{host}:{port}")),
        }
    }
}

impl fmt::Display for TrackerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrackerAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        match parts {
            Some((host, port)) if !host.is_empty() && port != 0 => {
                Ok(TrackerAddr::new(host.trim_matches(['[', ']']), port))
            }
            _ => Err(format!("`{text}` is not a tracker's HOST:PORT")),
        }
    }
}

impl TryFrom<String> for TrackerAddr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Reads one tracker, or a list of them.
fn one_or_several<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<TrackerAddr>, D::Error> {
    let several = match toml::Value::deserialize(from)? {
        toml::Value::Array(several) => several,
        one => vec![one],
    };
    let read = |value: toml::Value| match value.as_str() {
        Some(text) => text.parse(),
        None => Err("a tracker is \"HOST:PORT\", and several are a list of such texts".to_owned()),
    };
    several.into_iter().map(read).collect::<Result<_, String>>().map_err(D::Error::custom)
}

/// How many of something there may be: 1 or more.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "i64")]
pub struct Count(usize);

impl TryFrom<i64> for Count {
    type Error = &'static str;

    fn try_from(number: i64) -> Result<Self, &'static str> {
        usize::try_from(number).ok().filter(|number| *number > 0).map(Count).ok_or(NO_COUNT)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Count {
    /// The number, or 1 if it is less.
    pub fn at_least_one(number: usize) -> Self {
        Count(number.max(1))
    }

    /// The number.
    pub fn get(self) -> usize {
        self.0
    }
}

/// Reads a number that is not 0.
pub fn count(text: &str) -> Result<Count, &'static str> {
    text.parse::<i64>().map_err(|_| NO_COUNT).and_then(Count::try_from)
}

const NO_COUNT: &str = "expected a number, 1 or more";

/// A rate in bytes per second, as users write it.
#[derive(Copy, Clone, Debug, Deserialize)]
#[serde(try_from = "toml::Value")]
pub struct Rate(u64);

impl TryFrom<toml::Value> for Rate {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        match value {
            toml::Value::Integer(bytes) => {
                u64::try_from(bytes).map_err(|_| "a rate is not negative".to_owned()).and_then(positive)
            }
            toml::Value::String(text) => rate(&text),
            _ => Err("a rate is a number of bytes a second, or a text such as \"5MB\"".to_owned()),
        }
    }
}

/// Reads a rate such as `5MB`.
pub fn rate(text: &str) -> Result<Rate, String> {
    parse_bytes(text).map_err(str::to_owned).and_then(positive)
}

fn positive(bytes: u64) -> Result<Rate, String> {
    if bytes == 0 {
        Err("a rate of 0 would stop everything; leave it out for no limit".to_owned())
    } else {
        Ok(Rate(bytes))
    }
}

impl Rate {
    /// Bytes per second.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

/// The settings, with defaults for what was not given.
#[derive(Clone, Debug)]
pub struct Resolved {
    uploads: Folder,
    downloads: Folder,
    trackers: Vec<TrackerAddr>,
    /// Whether to fetch everything that is offered to everybody.
    pub mirror: bool,
    /// The settings of the engine.
    pub config: Config,
}

impl Resolved {
    /// The addresses of all trackers, each only once: `first`, then those of the settings.
    pub fn trackers(&self, first: Option<TrackerAddr>) -> Vec<String> {
        let mut addrs: Vec<String> = first.into_iter().map(|TrackerAddr(addr)| addr).collect();
        for TrackerAddr(addr) in &self.trackers {
            if !addrs.contains(addr) {
                addrs.push(addr.clone());
            }
        }
        addrs
    }

    /// The upload and the download folder. A default folder is made if necessary, and so is a download folder
    /// that the user named. An upload folder that the user named must exist, since its name may be a typing
    /// error. One that earlier runs used may be absent for a while, and is not made.
    pub fn folders(&self) -> Result<(PathBuf, PathBuf), SettingsError> {
        let state = self.config.state.as_deref();
        Ok((self.uploads.open(state)?, self.downloads.open(state)?))
    }
}

impl Settings {
    /// Takes what was not given from the configuration file, and the rest from the defaults.
    pub fn resolve(self) -> Result<Resolved, SettingsError> {
        let file = self.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let default = Config::default();
        let config = Config {
            listen: self.listen.or(file.listen),
            families: match self.ipv4 || self.ipv6 {
                true => families(self.ipv4, self.ipv6),
                false => families(file.ipv4, file.ipv6),
            },
            state: Some(self.state.or(file.state).unwrap_or_else(|| ".shoal".into())),
            slots: self.slots.or(file.slots).map_or(default.slots, Count::get),
            workers: self.workers.or(file.workers).map(Count::get),
            max_connections: self
                .max_connections
                .or(file.max_connections)
                .map_or(default.max_connections, Count::get),
            up: self.up.or(file.up).map(Rate::bytes),
            down: self.down.or(file.down).map(Rate::bytes),
            tuning: default.tuning,
            disk: default.disk,
        };
        let named = self.uploads.or(file.uploads);
        let must_exist = named.is_some();
        let path = named.unwrap_or_else(|| "uploads".into());
        let uploads = Folder { what: "upload", path, must_exist };
        let path = self.downloads.or(file.downloads).unwrap_or_else(|| "downloads".into());
        let downloads = Folder { what: "download", path, must_exist: false };
        let trackers = if self.tracker.is_empty() { file.tracker } else { self.tracker };
        Ok(Resolved { uploads, downloads, trackers, mirror: self.mirror || file.mirror, config })
    }
}

/// The address families that `-4` and `-6` leave.
pub fn families(only_v4: bool, only_v6: bool) -> Families {
    match (only_v4, only_v6) {
        (true, false) => Families::V4,
        (false, true) => Families::V6,
        _ => Families::Both,
    }
}

fn read(path: &Path) -> Result<Settings, SettingsError> {
    let text =
        fs::read_to_string(path).map_err(|why| SettingsError::Unreadable { path: path.to_owned(), why })?;
    toml::from_str(&text).map_err(|why| {
        let before = why.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        let why = why.message().trim_end().replace('\n', ", ");
        SettingsError::Broken { path: path.to_owned(), line, why }
    })
}

/// A folder of the settings, not looked at yet.
#[derive(Clone, Debug)]
struct Folder {
    what: &'static str,
    path: PathBuf,
    must_exist: bool,
}

impl Folder {
    /// Its full path.
    fn open(&self, state: Option<&Path>) -> Result<PathBuf, SettingsError> {
        let Folder { what, path, must_exist } = self;
        let failed = |why: String| SettingsError::Folder { what, path: path.clone(), why };
        if let Some(absent) = full_path(path).filter(|full| !full.exists())
            && state.is_some_and(|state| StateDir::has_used(state, &absent))
        {
            return Ok(absent);
        }
        if path.is_file() {
            return Err(failed("is a file".to_owned()));
        }
        if !must_exist {
            fs::create_dir_all(path).map_err(|why| failed(format!("cannot be made: {why}")))?;
        }
        match fs::read_dir(path) {
            Ok(_) => Ok(fs::canonicalize(path).unwrap_or_else(|_| path.clone())),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Err(failed("does not exist".to_owned())),
            Err(why) => Err(failed(format!("cannot be read: {why}"))),
        }
    }
}

/// The full path of a folder that may not be there, if the folder above it is.
fn full_path(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let above = fs::canonicalize(path.parent()?).ok();
    above.zip(path.file_name()).map(|(above, name)| above.join(name)).or(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bitfield::Bitfield;
    use crate::peer::storage::resume::Resume;

    fn resume_in(dir: &Path) -> Resume {
        Resume::new(dir, &Bitfield::full(1), vec![], false)
    }

    #[test]
    fn flags_override_the_file_which_overrides_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shoal.toml");
        let uploads = dir.path().to_str().unwrap();
        fs::write(
            &path,
            format!("slots = 3\nup = \"5MB\"\ndown = 100\nuploads = {uploads:?}\ndownloads = {uploads:?}"),
        )
        .unwrap();
        let settings = Settings { slots: Some(Count(2)), config: Some(path), ..Settings::default() };
        let resolved = settings.resolve().unwrap();
        assert_eq!(resolved.config.slots, 2);
        assert_eq!((resolved.config.up, resolved.config.down), (Some(5_000_000), Some(100)));
        assert_eq!(resolved.config.max_connections, 500);
    }

    #[test]
    fn trackers_of_the_flags_override_those_of_the_file_and_each_is_joined_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shoal.toml");
        fs::write(&path, "tracker = [\"b:1\", \"[::1]:2\", \"a:1\", \"b:1\"]").unwrap();
        let settings = Settings { config: Some(path), ..Settings::default() };
        let all = |settings: Settings| settings.resolve().unwrap().trackers(Some(TrackerAddr::new("a", 1)));
        assert_eq!(all(settings.clone()), ["a:1", "b:1", "[::1]:2"]);
        let flags = vec!["c:3".parse().unwrap()];
        assert_eq!(all(Settings { tracker: flags, ..settings }), ["a:1", "c:3"]);
        assert_eq!(TrackerAddr::new("::1", 4), "[::1]:4".parse().unwrap());
        for wrong in ["host", "host:", ":1", "host:0", "host:70000"] {
            assert!(wrong.parse::<TrackerAddr>().unwrap_err().contains(wrong));
        }
    }

    #[test]
    fn a_wrong_file_or_folder_gets_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shoal.toml");
        for text in ["slots = \"many\"", "tracker = [\"host\"]", "slotz = 3", "up = 0", "not toml at all"] {
            fs::write(&path, text).unwrap();
            let why = Settings { config: Some(path.clone()), ..Settings::default() }
                .resolve()
                .unwrap_err()
                .to_string();
            assert!(why.contains("shoal.toml, line 1: ") && !why.contains('\n'), "{why}");
        }
        let used = dir.path().canonicalize().unwrap().join("away");
        let state = dir.path().join("state");
        StateDir::open(&state).unwrap().resume("key").save(&resume_in(&used)).unwrap();
        let away = Settings { downloads: Some(used.clone()), state: Some(state), ..Settings::default() };
        let away = Settings { uploads: Some(dir.path().to_owned()), ..away };
        assert_eq!(away.resolve().unwrap().folders().unwrap().1, used, "it is absent for a while");
        assert!(!used.exists());
        let missing = Settings { uploads: Some(dir.path().join("none")), ..Settings::default() };
        let why = missing.resolve().unwrap().folders().unwrap_err().to_string();
        assert!(why.contains("does not exist"), "{why}");
    }
}
