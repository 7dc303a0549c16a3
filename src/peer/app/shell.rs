//! The shell: carries out one command after the other, from a prompt, a pipe or the command line. Runs on
//! `main`, or on the thread of a caller at the control socket; no lock of its own.

mod downloads;
mod input;
mod telling;
mod typing;

pub use input::{Ends, is_interactive, read_lines};
pub use typing::Typing;

use super::audience::Audience;
use super::banning::{self, BanError};
use super::command::{Command, CommandError, HELP, excerpt};
use super::notices::Notice;
use super::progress::{Gauge, TICK, plural};
use super::report::{self, Standing, short};
use super::room::{Room, RoomError};
use crate::peer::bans::Who;
use crate::peer::swarm::Swarm;
use crate::torrent::InfoHash;
use crossbeam_channel::{Receiver, TryRecvError};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use telling::Known;
use thiserror::Error;
use typing::PROMPT;

/// What goes on while a file is made a torrent.
const HASHING: &str = "hashing";

/// What is said when a person does not wait for a download any longer.
pub const LEFT: &str = "goes on in the background; `status` shows how far it is\n";

/// Notices that come within this time are shown together.
const GATHERING: Duration = Duration::from_millis(250);
/// How long the first one waits for others at most.
const MOST_GATHERING: Duration = Duration::from_secs(2);

/// How a command ended, and whether the shell goes on.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// It succeeded, and the shell goes on.
    Go,
    /// It failed, the user was told why, and the shell goes on.
    Failed,
    /// It was the command to leave.
    Exit,
    /// The user wants to end the program.
    Stopped,
}

/// Why a command was not carried out: a sentence for the user.
#[derive(Debug, Error)]
enum ShellError {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Room(#[from] RoomError),
    #[error(transparent)]
    Ban(#[from] BanError),
    #[error("{0}")]
    Failed(String),
    /// The user was told already.
    #[error("not all went well")]
    Told,
    #[error("stopped; {0}")]
    Stopped(&'static str),
}

/// Carries out commands in a room.
pub struct Shell {
    /// The room that the commands are about.
    pub room: Arc<Room>,
    /// Hears the answers.
    pub audience: Arc<dyn Audience>,
    /// Notices to show while the shell waits for a command.
    pub notices: Receiver<Notice>,
    /// Receives something when the user wants to end the program.
    pub stop: Receiver<()>,
    /// Who gives it lines; nobody for a single command.
    pub typing: Typing,
    /// Whether answers are printed as JSON.
    pub json: bool,
    /// The downloads that a command has followed to their end: their notices are no news.
    pub told: Mutex<BTreeSet<InfoHash>>,
}

impl Shell {
    /// Reads and carries out commands until the last one. False if one failed and no person was there
    /// to see it.
    pub fn run(&self) -> bool {
        let (mut all_well, by_person) = (true, self.typing.by_person());
        if by_person {
            println!("`help` lists the commands.");
        }
        let show = |notice| self.show_notice(notice);
        while let Some(line) = self.typing.next(&*self.audience, &self.stop, &self.notices, show) {
            match self.line(&line) {
                Next::Go => {}
                Next::Failed => all_well &= by_person,
                Next::Exit => return all_well,
                Next::Stopped => return false,
            }
        }
        if by_person {
            println!(); // what is printed next begins on a new line
        }
        all_well
    }

    fn line(&self, line: &str) -> Next {
        match Command::from_line(line) {
            Ok(Some(command)) => self.carry_out(&command),
            Ok(None) => Next::Go,
            Err(why) => self.failed(&why.into()),
        }
    }

    /// Carries out one command. Errors go to standard error, one line each.
    pub fn carry_out(&self, command: &Command) -> Next {
        match self.try_command(command) {
            Ok(()) if *command == Command::Exit => Next::Exit,
            Ok(()) => Next::Go,
            Err(why) => self.failed(&why),
        }
    }

    fn failed(&self, why: &ShellError) -> Next {
        if !matches!(why, ShellError::Told) {
            self.complain(why);
        }
        if matches!(why, ShellError::Stopped(_)) { Next::Stopped } else { Next::Failed }
    }

    fn try_command(&self, command: &Command) -> Result<(), ShellError> {
        match command {
            Command::Help => self.print(HELP),
            Command::Search(words) => self.search(words),
            Command::List => self.search(""),
            Command::Download(download) => self.download(download),
            Command::Upload(path) => self.upload(path),
            Command::Status => self.status(),
            Command::Peers => self.peers(),
            Command::Preferred => self.preferred(),
            Command::Ban(name) => self.ban(name),
            Command::Unban(name) => self.unban(name),
            Command::Bans => self.bans(),
            Command::Pause(name) => self.pause(name),
            Command::Resume(name) => self.resume(name),
            Command::Remove(name) => self.remove(name),
            Command::Exit => Ok(()),
        }
    }

    fn search(&self, words: &str) -> Result<(), ShellError> {
        let entries = self.room.search(words)?;
        if self.json {
            return self.print_json(&json!(entries));
        }
        if entries.is_empty() && words.is_empty() {
            return self.print("nothing is shared here now\n");
        }
        if entries.is_empty() {
            let words = excerpt(words);
            return self.print(&format!("nothing with `{words}` in its name is shared here now\n"));
        }
        self.print(&report::entries(&entries))
    }

    // ---- the rest -----------------------------------------------------------------------------------------

    fn upload(&self, path: &Path) -> Result<(), ShellError> {
        let stopped = Arc::new(AtomicBool::new(false));
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let hashed = Mutex::new((0u64, Instant::now()));
        let swarm = self.room.offer(path, &stopped, &|more, total| {
            let mut hashed = hashed.lock();
            hashed.0 += more;
            if hashed.1.elapsed() < TICK {
                return;
            }
            hashed.1 = Instant::now();
            self.audience.progress(&[Gauge {
                name: name.clone(),
                bytes: hashed.0,
                total,
                doing: HASHING.into(),
            }]);
            if self.is_stopped() || self.audience.is_gone() {
                stopped.store(true, Ordering::Relaxed);
            }
        });
        self.audience.progress(&[]);
        if stopped.load(Ordering::Relaxed) {
            return Err(ShellError::Stopped("nothing is offered"));
        }
        let swarm = swarm?;
        let (name, key) = (swarm.torrent.name(), swarm.torrent.key());
        if self.json {
            return self.print_json(&json!({ "name": name, "key": key }));
        }
        self.print(&format!(
            "{}  {name} is offered to everybody; `status` shows how far they are\n",
            short(&key)
        ))
    }

    fn status(&self) -> Result<(), ShellError> {
        let swarms = self.room.peer().swarms.all();
        let standings: Vec<Standing> =
            swarms.iter().map(|swarm| Standing::new(Arc::clone(swarm), &self.room)).collect();
        let work = self.room.peer().worker_stats.read();
        let trackers = self.room.trackers();
        if self.json {
            let mut status = report::status_json(&standings, &work);
            status["trackers"] = report::trackers_json(&trackers);
            return self.print_json(&report::with_banned(status, &self.room.peer().shared.bans.all()));
        }
        match standings.is_empty() {
            true => self.print("nothing is here yet\n")?,
            false => self.print(&report::status(&standings, &work))?,
        }
        self.print(&report::trackers(&trackers))?;
        match self.room.peer().shared.bans.all().len() as u64 {
            0 => Ok(()),
            banned => {
                self.print(&format!("{} banned: `bans` lists them\n", plural(banned, "name or address")))
            }
        }
    }

    fn peers(&self) -> Result<(), ShellError> {
        let at_tracker = self.room.peers(None)?;
        let banned = self.room.peer().shared.bans.all();
        let swarms = self.room.peer().swarms.all();
        if self.json {
            let connected: Vec<_> = swarms.iter().flat_map(|swarm| report::connections_json(swarm)).collect();
            let at_tracker: Vec<_> = at_tracker.iter().map(report::peer_json).collect();
            let answer = json!({ "tracker": at_tracker, "connected": connected });
            return self.print_json(&report::with_banned(answer, &banned));
        }
        let connected: String = swarms.iter().map(|swarm| report::connections(swarm)).collect();
        let at_tracker = match at_tracker.is_empty() {
            true => "nobody else is at the tracker\n".to_owned(),
            false => format!("at the tracker:\n{}", report::peers(&at_tracker)),
        };
        let connected = if connected.is_empty() { connected } else { format!("connected:\n{connected}") };
        let banned =
            if banned.is_empty() { String::new() } else { format!("banned:\n{}", report::bans(&banned)) };
        self.print(&(at_tracker + &connected + &banned))
    }

    // ---- bans ---------------------------------------------------------------------------------------------

    fn ban(&self, name: &str) -> Result<(), ShellError> {
        let peer = self.room.peer();
        let members: Vec<_> = peer.swarms.all().iter().flat_map(|swarm| swarm.members()).collect();
        let banned = banning::ban(&peer.shared.bans, peer.shared.peer_id, &members, name)?;
        peer.look_for_peers(); // wakes the thread that closes connections to banned peers
        self.confirm_bans(&banned, "banned")
    }

    fn unban(&self, name: &str) -> Result<(), ShellError> {
        let lifted = banning::unban(&self.room.peer().shared.bans, name)?;
        self.confirm_bans(&lifted, "unbanned")
    }

    fn confirm_bans(&self, changed: &[Who], what: &str) -> Result<(), ShellError> {
        self.room.peer().shared.uploads.nudge(); // its thread saves the bans
        self.print(&banning::confirm(changed, what, self.json))
    }

    fn bans(&self) -> Result<(), ShellError> {
        let bans = self.room.peer().shared.bans.all();
        if self.json {
            return self.print_json(&report::with_banned(json!({}), &bans));
        }
        self.print(&report::bans(&bans))
    }

    fn preferred(&self) -> Result<(), ShellError> {
        let shared = &self.room.peer().shared;
        let accounts = shared.ledger.accounts();
        if self.json {
            return self.print_json(&report::preferred_json(&accounts));
        }
        if accounts.is_empty() {
            return self.print("nobody has sent or got anything yet\n");
        }
        self.print(&report::preferred(&accounts))
    }

    fn pause(&self, name: &str) -> Result<(), ShellError> {
        let swarm = self.here(name)?;
        swarm.pause("by the user");
        self.confirm(&swarm, "is paused")
    }

    fn resume(&self, name: &str) -> Result<(), ShellError> {
        // Of two versions of one name it is the one that does not go on.
        let all = self.room.peer().swarms.all();
        let paused: Vec<_> = all.iter().filter(|swarm| !swarm.is_running()).cloned().collect();
        let swarm = self.here_among(name, &paused).or_else(|_| self.here(name))?;
        self.room.go_on(&swarm)?;
        self.room.peer().look_for_peers();
        self.confirm(&swarm, "goes on")
    }

    fn remove(&self, name: &str) -> Result<(), ShellError> {
        let swarm = self.here(name)?;
        self.room.remove(swarm.torrent.info_hash());
        self.confirm(&swarm, "is forgotten; its files stay")
    }

    /// Answers a command that changed something.
    fn confirm(&self, swarm: &Swarm, what: &str) -> Result<(), ShellError> {
        let (name, key) = (swarm.torrent.name(), swarm.torrent.key());
        if self.json {
            return self.print_json(&json!({ "name": name, "key": key }));
        }
        self.print(&format!("{name} {what}\n"))
    }

    /// The torrent here with this name, or with a key that begins with it.
    fn here(&self, name: &str) -> Result<Arc<Swarm>, ShellError> {
        self.here_among(name, &self.room.peer().swarms.all())
    }

    fn here_among(&self, name: &str, all: &[Arc<Swarm>]) -> Result<Arc<Swarm>, ShellError> {
        let placed: Vec<_> = all.iter().filter(|swarm| self.room.label(swarm) == name).collect();
        let named: Vec<_> = match placed.is_empty() {
            true => all.iter().filter(|swarm| swarm.torrent.name() == name).collect(),
            false => placed,
        };
        let key = name.to_ascii_lowercase();
        let keyed = all.iter().filter(|swarm| name.len() >= 6 && swarm.torrent.key().starts_with(&key));
        let found = if named.is_empty() { keyed.collect() } else { named };
        let name = excerpt(name);
        match found.as_slice() {
            [one] => Ok(Arc::clone(one)),
            [] => Err(ShellError::Failed(format!("nothing called `{name}` is here; `status` shows what is"))),
            several => {
                let line = |swarm: &&Arc<Swarm>| {
                    format!("\n{}  {}", short(&swarm.torrent.key()), swarm.storage.root().display())
                };
                let lines: String = several.iter().map(line).collect();
                let count = plural(several.len() as u64, "torrent");
                Err(ShellError::Failed(format!("{count} are called `{name}`, choose by key:{lines}")))
            }
        }
    }

    // ---- printing -----------------------------------------------------------------------------------------

    fn print(&self, text: &str) -> Result<(), ShellError> {
        self.audience.print(text).map_err(|why| ShellError::Failed(format!("cannot write the answer: {why}")))
    }

    fn print_json(&self, value: &serde_json::Value) -> Result<(), ShellError> {
        self.print(&format!("{value}\n"))
    }

    fn complain(&self, why: &ShellError) {
        self.audience.complain(&why.to_string());
    }

    /// Whether the user wants to end the program, or it ends.
    fn is_stopped(&self) -> bool {
        !matches!(self.stop.try_recv(), Err(TryRecvError::Empty))
    }

    /// Shows a notice above the prompt, with those that come soon after it.
    fn show_notice(&self, first: Notice) {
        if !self.typing.by_person() {
            return self.log_notice(&first);
        }
        let (mut notices, until) = (vec![first], Instant::now() + MOST_GATHERING);
        while Instant::now() < until {
            match self.notices.recv_timeout(GATHERING) {
                Ok(notice) => notices.push(notice),
                Err(_) => break,
            }
        }
        let lines = self.words(notices);
        if !lines.is_empty() {
            print!("\r"); // over the prompt
            let _ = self.print(&format!("{}\n{PROMPT}", lines.join("\n")));
        }
    }

    /// Nobody sees notices. A torrent that was paused by an error is told in the log.
    fn log_notice(&self, notice: &Notice) {
        if let Notice::Paused(..) = notice {
            self.words(vec![notice.clone()]).iter().for_each(|line| log::error!("{line}"));
        }
    }

    /// Notices in words, without what a command has told already.
    fn words(&self, mut notices: Vec<Notice>) -> Vec<String> {
        let mut told = self.told.lock();
        notices.retain(|notice| !matches!(notice, Notice::Completed(hash) if told.remove(hash)));
        drop(told);
        telling::words(&notices, |hash| {
            let swarm = self.room.peer().swarms.get(hash)?;
            Some(Known { name: self.room.label(&swarm), is_complete: swarm.is_complete() })
        })
    }
}
