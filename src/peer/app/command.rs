//! The words of the shell. Pure.

use std::path::PathBuf;
use thiserror::Error;

/// What the user wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    Help,
    Search(String),
    List,
    /// Names or keys. In the shell several words may be one name: that is tried first.
    Download(Vec<String>),
    Upload(PathBuf),
    Status,
    Peers,
    Preferred,
    /// An address, IP:PORT of somebody connected, or a peer id.
    Ban(String),
    Unban(String),
    Bans,
    Pause(String),
    Resume(String),
    Remove(String),
    Exit,
}

/// What is wrong with a line.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CommandError {
    #[error("there is no command `{}`; `help` lists those there are", excerpt(.0))]
    Unknown(String),
    #[error("`{0}` needs {1}")]
    Missing(&'static str, &'static str),
    #[error("`{0}` takes nothing behind it")]
    TooMuch(&'static str),
    #[error("a quotation mark is missing")]
    OpenQuote,
}

/// What `help` prints.
pub const HELP: &str = "\
search WORDS          what the catalogue has with all these words in its name
list                  all of the catalogue
download NAME|KEY...  fetch files from whoever has them (Enter puts it into the background)
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

/// The most of a user's own words that an answer repeats, characters.
const MOST_REPEATED: usize = 60;

/// The words as they may be printed: no control characters, and not too many.
pub fn excerpt(words: &str) -> String {
    let mut shown: String = words.chars().filter(|c| !c.is_control()).take(MOST_REPEATED).collect();
    if words.chars().nth(MOST_REPEATED).is_some() {
        shown.push('…');
    }
    shown
}

impl Command {
    /// Reads words as they come from a command line: the first is the command.
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
            "download" | "get" if !rest.is_empty() => Ok(Command::Download(rest.to_vec())),
            "download" | "get" => {
                Err(CommandError::Missing("download", "a name or key, as `search` shows them"))
            }
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

    /// Reads a line of the shell. `None` if there is nothing on it. Words in quotation marks are one word.
    pub fn from_line(line: &str) -> Result<Option<Self>, CommandError> {
        let words = split(line)?;
        if words.is_empty() || words[0].starts_with('#') {
            return Ok(None);
        }
        Command::from_words(&words).map(Some)
    }
}

/// `~/x` is below the home folder, as in other shells.
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

/// Words between white space; quotation marks, double or single, hold some together. A backslash keeps the white space
/// or quotation mark behind it, and is a mail elsewhere.
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
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            // Within a word an apostrophe is a mail.
            None if c == '"' || (c == '\'' && word.is_none()) => {
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
        let download = Ok(Some(Command::Download(vec!["got5.mp4".into()])));
        for line in ["download got5.mp4", "DOWNLOAD: got5.mp4", "  Download   got5.mp4 ", "get \"got5.mp4\""]
        {
            assert_eq!(read(line), download, "{line}");
        }
        assert_eq!(read("search  the  sea"), Ok(Some(Command::Search("the sea".into()))));
        assert_eq!(read("upload '/a b/c'"), Ok(Some(Command::Upload("/a b/c".into()))));
        assert_eq!(read("upload /a\\ b/c"), Ok(Some(Command::Upload("/a b/c".into()))));
        assert_eq!(read("search don't"), Ok(Some(Command::Search("don't".into()))));
        assert_eq!(read(r"search don\'t \o/"), Ok(Some(Command::Search(r"don't \o/".into()))));
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
            let _ = read(&line);
        }
    }
}
