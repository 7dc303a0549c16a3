//! The commands of the shell, and how a line is split into words. Pure.

use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// A command of the user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Lists the commands.
    Help,
    /// Searches the catalogue for names with all of these words.
    Search(String),
    /// Lists the whole catalogue.
    List,
    /// Downloads torrents. In the shell several words may be one name: that is tried first.
    Download(Download),
    /// Shares a file or folder.
    Upload(PathBuf),
    /// Shows the state of each torrent.
    Status,
    /// Shows the connected peers.
    Peers,
    /// Shows which peers sent us most.
    Preferred,
    /// Bans an address, the peer connected at IP:PORT, or a peer id.
    Ban(String),
    /// Removes a ban.
    Unban(String),
    /// Lists the bans.
    Bans,
    /// Pauses a torrent.
    Pause(String),
    /// Resumes a paused torrent.
    Resume(String),
    /// Removes a torrent; its files stay.
    Remove(String),
    /// Leaves the shell.
    Exit,
}

/// What to download.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Download {
    /// Names, paths, keys, patterns, or folders of the catalogue.
    pub names: Vec<String>,
    /// The folder to download to, if it is not the usual one.
    pub to: Option<PathBuf>,
    /// Of a torrent with several files: the wanted ones, as for `torrent download --files`; all if empty.
    pub files: Vec<String>,
}

impl Download {
    fn from_words(words: &[String]) -> Result<Self, CommandError> {
        let mut download = Download::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag @ ("--to" | "--files"), value)) => (flag, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            let mut value = |what| {
                let value = value.clone().or_else(|| words.next().cloned());
                value.ok_or(CommandError::Missing(if flag == "--to" { "--to" } else { "--files" }, what))
            };
            match flag {
                "--to" => download.to = Some(at_home(&value("the folder to download to")?)),
                "--files" => download.files.push(value("the numbers, names or patterns of files")?),
                _ => download.names.push(word.clone()),
            }
        }
        let needed = "a name or key, as `search` shows them";
        if download.names.is_empty() { Err(CommandError::Missing("download", needed)) } else { Ok(download) }
    }
}

/// What is wrong with a line.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CommandError {
    /// There is no such command.
    #[error("there is no command `{}`; `help` lists those there are", excerpt(.0))]
    Unknown(String),
    /// The command needs an argument: the command, and what it needs.
    #[error("`{0}` needs {1}")]
    Missing(&'static str, &'static str),
    /// The command takes no argument.
    #[error("`{0}` takes nothing behind it")]
    TooMuch(&'static str),
    /// This flag belongs to `download`, and there is none.
    #[error("`{0}` goes with `download` alone")]
    ForDownload(&'static str),
    /// A quotation mark is not closed.
    #[error("a quotation mark is missing; one that belongs to a name is written \\\" or \\'")]
    OpenQuote,
}

/// What `help` prints.
pub const HELP: &str = "\
search WORDS          what the catalogue has with all these words in its name
list                  all of the catalogue
download NAME|KEY...  fetch files from whoever has them (Enter puts it into the background); a NAME may be a
                      path, a folder or a pattern; --to DIR, and of a folder --files LIST
upload PATH           publish a file or folder from anywhere, and offer it to everybody
status                what is here, how far it is, and how far the room is with what you offered
peers                 who is at the tracker, and who is connected
preferred             who gave us most, for they are served first
ban ADDRESS|ID        never talk to a peer again; IP, IP:PORT as `peers` shows it, or a peer id
unban ADDRESS|ID      forgive it
bans                  who is banned, and why
pause NAME|KEY        stop fetching and serving
resume NAME|KEY       go on after a pause
remove NAME|KEY       forget a torrent; its files stay
exit                  leave

A KEY may be shortened to its first six digits or more.
";

/// Maximum number of characters of the user's own words that an answer repeats.
const MOST_REPEATED: usize = 60;

/// The words as they may be printed: without control characters, and shortened.
pub fn excerpt(words: &str) -> String {
    let mut shown: String = words.chars().filter(|c| !c.is_control()).take(MOST_REPEATED).collect();
    if words.chars().nth(MOST_REPEATED).is_some() {
        shown.push('…');
    }
    shown
}

impl Command {
    /// Reads a command from words, as they come from a command line.
    pub fn from_words(words: &[String]) -> Result<Self, CommandError> {
        let (first, rest) = match words.split_first() {
            Some((first, rest)) => (first, rest),
            None => return Ok(Command::Help),
        };
        let verb = first.trim_end_matches(':').to_ascii_lowercase();
        let all = || rest.join(" ");
        let one =
            |verb, what| if rest.is_empty() { Err(CommandError::Missing(verb, what)) } else { Ok(all()) };
        let none =
            |verb, command| if rest.is_empty() { Ok(command) } else { Err(CommandError::TooMuch(verb)) };
        match verb.as_str() {
            "help" | "?" => Ok(Command::Help),
            "search" | "find" => one("search", "words to look for").map(Command::Search),
            "list" | "ls" => none("list", Command::List),
            "download" | "get" => Download::from_words(rest).map(Command::Download),
            "upload" | "offer" => {
                one("upload", "the path of a file or folder").map(|path| Command::Upload(at_home(&path)))
            }
            "status" => none("status", Command::Status),
            "peers" => none("peers", Command::Peers),
            "preferred" => none("preferred", Command::Preferred),
            "ban" | "block" => one("ban", "an address as `peers` shows it, or a peer id").map(Command::Ban),
            "unban" | "unblock" | "forgive" => {
                one("unban", "an address or peer id, as `bans` shows them").map(Command::Unban)
            }
            "bans" | "banned" => none("bans", Command::Bans),
            "pause" => one("pause", "a name or key, as `status` shows them").map(Command::Pause),
            "resume" => one("resume", "a name or key, as `status` shows them").map(Command::Resume),
            "remove" => one("remove", "a name or key, as `status` shows them").map(Command::Remove),
            "exit" | "quit" | "bye" => none("exit", Command::Exit),
            _ => Err(CommandError::Unknown(first.clone())),
        }
    }

    /// The same command for a process in another folder.
    ///
    /// # Errors
    /// If the current folder is not known.
    pub fn from_here(self) -> io::Result<Self> {
        match self {
            Command::Upload(path) => Ok(Command::Upload(std::path::absolute(path)?)),
            Command::Download(Download { to: Some(to), names, files }) => {
                Ok(Command::Download(Download { to: Some(std::path::absolute(to)?), names, files }))
            }
            other => Ok(other),
        }
    }

    /// Reads a line of the shell. `None` if it is empty or a comment. Words in quotation marks are one word.
    pub fn from_line(line: &str) -> Result<Option<Self>, CommandError> {
        let words = split(line)?;
        if words.is_empty() || words[0].starts_with('#') {
            return Ok(None);
        }
        Command::from_words(&words).map(Some)
    }
}

/// Replaces `~` at the beginning with the home folder, as other shells do.
fn at_home(path: &str) -> PathBuf {
    let below = match path.strip_prefix('~') {
        Some("") => Some(""),
        Some(rest) => rest.strip_prefix('/'),
        None => None,
    };
    match (below, std::env::home_dir()) {
        (Some(below), Some(home)) => home.join(below),
        _ => path.into(),
    }
}

/// Splits a line at white space. Quotation marks, double or single, keep words together. A
/// backslash is removed before white space and before a quotation mark, which it keeps; elsewhere
/// it is an ordinary character.
fn split(line: &str) -> Result<Vec<String>, CommandError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            None if c == '\\' => {
                let kept = chars.next_if(|c| c.is_whitespace() || matches!(c, '"' | '\''));
                word.get_or_insert_default().push(kept.unwrap_or(c));
            }
            Some(open) if c == '\\' => {
                let kept = chars.next_if(|c| *c == open);
                word.get_or_insert_default().push(kept.unwrap_or(c));
            }
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            // Within a word a quotation mark is an ordinary character.
            None if matches!(c, '"' | '\'') && word.is_none() => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() { Err(CommandError::OpenQuote) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Result<Option<Command>, CommandError> {
        Command::from_line(line)
    }

    #[test]
    fn the_words_are_forgiving() {
        let plain = |name: &str| Download { names: vec![name.to_owned()], ..Download::default() };
        let download = Ok(Some(Command::Download(plain("got5.mp4"))));
        for line in ["download got5.mp4", "DOWNLOAD: got5.mp4", "  Download   got5.mp4 ", "get \"got5.mp4\""]
        {
            assert_eq!(read(line), download, "{line}");
        }
        assert_eq!(read("search  the  sea"), Ok(Some(Command::Search("the sea".into()))));
        assert_eq!(read("upload '/a b/c'"), Ok(Some(Command::Upload("/a b/c".into()))));
        assert_eq!(read("upload /a\\ b/c"), Ok(Some(Command::Upload("/a b/c".into()))));
        assert_eq!(read("search don't"), Ok(Some(Command::Search("don't".into()))));
        assert_eq!(read(r"search don\'t \o/"), Ok(Some(Command::Search(r"don't \o/".into()))));
        let named = |name: &str| Ok(Some(Command::Download(plain(name))));
        assert_eq!(read(r#"download 12"-mix"#), named(r#"12"-mix"#));
        assert_eq!(read(r#"download "the 12\" mix""#), named(r#"the 12" mix"#));
        let chosen = Download { to: Some("/x y".into()), files: vec!["1,3".into()], ..plain("course") };
        for line in ["download course --to '/x y' --files 1,3", "download --files=1,3 '--to=/x y' course"] {
            assert_eq!(read(line), Ok(Some(Command::Download(chosen.clone()))), "{line}");
        }
        assert_eq!(read("QUIT"), Ok(Some(Command::Exit)));
        assert_eq!(read("BAN: 10.0.0.1"), Ok(Some(Command::Ban("10.0.0.1".into()))));
        assert_eq!(read("unblock 10.0.0.1"), Ok(Some(Command::Unban("10.0.0.1".into()))));
        assert_eq!(read("bans"), Ok(Some(Command::Bans)));
        assert_eq!(read("   "), Ok(None));
        assert_eq!(read("# a remark"), Ok(None));
    }

    #[test]
    fn a_tilde_is_the_home_folder() {
        let home = std::env::home_dir().unwrap();
        assert_eq!(read("upload ~/a b"), Ok(Some(Command::Upload(home.join("a b")))));
        assert_eq!(read("upload ~"), Ok(Some(Command::Upload(home))));
        assert_eq!(read("upload ~other/x"), Ok(Some(Command::Upload("~other/x".into()))));
    }

    #[test]
    fn wrong_lines_get_one_clear_sentence() {
        for line in [
            "frobnicate",
            "download",
            "search",
            "upload \"x",
            "list everything",
            "pause",
            "download --to x",
            "download a --files",
            "exit now",
            "ban",
            "unban",
        ] {
            let message = read(line).unwrap_err().to_string();
            assert!(!message.is_empty() && !message.contains('\n'), "{message}");
        }
        assert_eq!(read("frobnicate"), Err(CommandError::Unknown("frobnicate".into())));
        let flood = read(&format!("\x1b[2J{}", "a".repeat(60_000))).unwrap_err().to_string();
        assert!(flood.len() < 200 && !flood.contains('\x1b'), "{flood}");
    }

    proptest! {
        #[test]
        fn any_line_is_a_command_or_an_error(line in "\\PC{0,60}") {
            match read(&line) {
                Ok(Some(_)) => prop_assert!(!line.trim().is_empty()),
                Ok(None) => prop_assert!(line.trim().is_empty() || line.contains('#'), "it says something"),
                Err(why) => {
                    let why = why.to_string();
                    prop_assert!(!why.is_empty() && !why.chars().any(char::is_control), "{}", why);
                }
            }
        }
    }
}
