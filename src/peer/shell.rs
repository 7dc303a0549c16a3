//! The shell: one command after the other, from a prompt, a pipe or the command line. Runs on `main`, which owns nothing
//! but its input; a thread called `input` reads lines for it, so that news can be shown and a download be left
//! to the background while nothing is typed.

use super::command::{Command, HELP};
use super::news::News;
use super::progress::{Bars, TICK, show_bytes};
use super::report::{self, Standing, short};
use super::room::{Room, RoomError};
use super::swarm::{State, Swarm};
use crate::threads;
use crate::tracker::protocol::Event;
use crossbeam_channel::{Receiver, select};
use serde_json::json;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

/// The longest line that is read; no command needs more.
const MOST_LINE: usize = 64 * 1024;

/// Whether the shell goes on after a command.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Next {
    Go,
    Exit,
}

/// Carries out commands in a room.
pub struct Shell {
    pub room: Arc<Room>,
    pub news: Receiver<News>,
    /// The user's wish to end it.
    pub stop: Receiver<()>,
    /// Lines of the user; never any for a command that came on the command line.
    pub lines: Receiver<String>,
    /// Whether somebody is typing: with a prompt and news.
    pub interactive: bool,
    pub json: bool,
}

/// Starts the `input` thread. It holds nothing, and ends with its input or the process.
pub fn read_lines() -> io::Result<Receiver<String>> {
    // One line ahead: the shell reads the next when it has done the last.
    let (sender, lines) = crossbeam_channel::bounded(1);
    let _runs_until_the_end = threads::spawn("input", move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            match io::Read::take(&mut input, MOST_LINE as u64).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {
                    let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            }
        }
    })?;
    Ok(lines)
}

/// Whether standard input is a person.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

impl Shell {
    /// Reads and carries out commands until the last. False if one of them failed and nobody was there to see it.
    pub fn run(&self) -> bool {
        let mut all_well = true;
        if self.interactive {
            println!("`help` lists the commands.");
        }
        self.prompt();
        loop {
            select! {
                recv(self.lines) -> line => match line {
                    Ok(line) => match self.line(&line) {
                        Ok(Next::Go) => self.prompt(),
                        Ok(Next::Exit) => return all_well,
                        Err(why) => {
                            self.complain(&why);
                            all_well &= self.interactive;
                            self.prompt();
                        }
                    },
                    Err(_) => return all_well,
                },
                recv(self.news) -> news => if let Ok(news) = news {
                    self.show_news(&news);
                },
                recv(self.stop) -> _ => return all_well,
            }
        }
    }

    fn line(&self, line: &str) -> Result<Next, String> {
        match Command::from_line(line).map_err(|why| why.to_string())? {
            Some(command) => self.carry_out(&command),
            None => Ok(Next::Go),
        }
    }

    /// Carries out one command. An error is one line for the user.
    pub fn carry_out(&self, command: &Command) -> Result<Next, String> {
        let done = match command {
            Command::Help => self.print(HELP),
            Command::Search(words) => self.search(words),
            Command::List => self.search(""),
            Command::Download(names) => self.download(names),
            Command::Upload(path) => self.upload(path),
            Command::Status => self.status(),
            Command::Peers => self.peers(),
            Command::Preferred => self.preferred(),
            Command::Pause(name) => self.here(name).map(|swarm| swarm.pause("paused by the user")),
            Command::Resume(name) => self.resume(name),
            Command::Remove(name) => self.here(name).map(|swarm| self.room.remove(swarm.torrent.info_hash())),
            Command::Exit => return Ok(Next::Exit),
        };
        done.map(|()| Next::Go)
    }

    fn search(&self, words: &str) -> Result<(), String> {
        let entries = self.room.search(words).map_err(|why| why.to_string())?;
        if self.json {
            return self.print_json(&json!(entries));
        }
        if entries.is_empty() && words.is_empty() {
            return self.print("nothing is shared here now\n");
        }
        if entries.is_empty() {
            return self.print(&format!("nothing with `{words}` in its name is shared here now\n"));
        }
        self.print(&report::entries(&entries))
    }

    // ---- downloads ------------------------------------------------------------------------------------------

    fn download(&self, names: &[String]) -> Result<(), String> {
        let swarms = self.begin(names)?;
        self.follow(&swarms)
    }

    /// Begins all downloads. Several words may be one name with spaces in it: that is tried first.
    fn begin(&self, names: &[String]) -> Result<Vec<Arc<Swarm>>, String> {
        if names.len() > 1
            && let Ok(swarm) = self.room.download(&names.join(" "))
        {
            return Ok(vec![swarm]);
        }
        names.iter().map(|name| self.room.download(name).map_err(|why| self.explain(&why))).collect()
    }

    /// The error, with the choice of keys where a name was ambiguous.
    fn explain(&self, why: &RoomError) -> String {
        match why {
            RoomError::Refused(refusal) if !refusal.choices.is_empty() => {
                format!("{why}:\n{}", report::entries(&refusal.choices).trim_end())
            }
            why => why.to_string(),
        }
    }

    /// Waits for downloads, with bars on a terminal. Enter leaves them to the background.
    fn follow(&self, swarms: &[Arc<Swarm>]) -> Result<(), String> {
        let nobody_types = crossbeam_channel::never();
        let enter = if self.interactive { &self.lines } else { &nobody_types };
        let mut bars = Bars::new(swarms);
        let ended = |swarm: &Arc<Swarm>| swarm.is_complete() || !swarm.is_running();
        while !swarms.iter().all(ended) {
            bars.draw();
            let left_alone = select! {
                recv(self.news) -> _ => false,
                recv(enter) -> _ => true,
                recv(self.stop) -> _ => return Err("stopped; the download goes on when this peer is started again".into()),
                default(TICK) => false,
            };
            if left_alone {
                bars.clear();
                return self.print("goes on in the background; `status` shows how far it is\n");
            }
        }
        bars.clear();
        swarms.iter().try_for_each(|swarm| self.report(swarm))
    }

    fn report(&self, swarm: &Swarm) -> Result<(), String> {
        let progress = swarm.progress();
        if let State::Paused(why) = progress.state {
            return Err(format!("{}: {why}", swarm.torrent.name()));
        }
        let path = swarm.storage.root();
        if self.json {
            return self
                .print_json(&json!({ "key": swarm.torrent.key(), "path": path, "size": progress.total }));
        }
        self.print(&format!("{}: complete, {}\n", path.display(), show_bytes(progress.total)))
    }

    // ---- the rest -------------------------------------------------------------------------------------------

    fn upload(&self, path: &Path) -> Result<(), String> {
        let swarm = self.room.offer(path).map_err(|why| why.to_string())?;
        let (name, key) = (swarm.torrent.name(), swarm.torrent.key());
        if self.json {
            return self.print_json(&json!({ "name": name, "key": key }));
        }
        self.print(&format!(
            "{}  {name} is offered to everybody; `status` shows how far they are\n",
            short(&key)
        ))
    }

    fn status(&self) -> Result<(), String> {
        let swarms = self.room.peer().swarms.all();
        let standings: Vec<Standing> =
            swarms.into_iter().map(|swarm| Standing::new(swarm, &self.room)).collect();
        let work = self.room.peer().tally.read();
        if self.json {
            return self.print_json(&report::status_json(&standings, &work));
        }
        if standings.is_empty() {
            return self.print("nothing is here yet\n");
        }
        self.print(&report::status(&standings, &work))
    }

    fn peers(&self) -> Result<(), String> {
        let at_tracker = self.room.peers(None).map_err(|why| why.to_string())?;
        let swarms = self.room.peer().swarms.all();
        if self.json {
            let connected: Vec<_> = swarms.iter().flat_map(|swarm| report::connections_json(swarm)).collect();
            let at_tracker: Vec<_> = at_tracker.iter().map(report::peer_json).collect();
            return self.print_json(&json!({ "tracker": at_tracker, "connected": connected }));
        }
        let connected: String = swarms.iter().map(|swarm| report::connections(swarm)).collect();
        let at_tracker = match at_tracker.is_empty() {
            true => "nobody else is at the tracker\n".to_owned(),
            false => format!("at the tracker:\n{}", report::peers(&at_tracker)),
        };
        let connected = if connected.is_empty() { connected } else { format!("connected:\n{connected}") };
        self.print(&(at_tracker + &connected))
    }

    fn preferred(&self) -> Result<(), String> {
        let commons = &self.room.peer().commons;
        let accounts = commons.ledger.accounts();
        if self.json {
            return self.print_json(&report::preferred_json(&accounts));
        }
        if accounts.is_empty() {
            return self.print("nobody has sent or got anything yet\n");
        }
        self.print(&report::preferred(&accounts))
    }

    fn resume(&self, name: &str) -> Result<(), String> {
        let swarm = self.here(name)?;
        swarm.unpause();
        self.room.peer().look_for_peers();
        Ok(())
    }

    /// The torrent here that goes by this name, or whose key begins so.
    fn here(&self, name: &str) -> Result<Arc<Swarm>, String> {
        let all = self.room.peer().swarms.all();
        let named: Vec<_> = all.iter().filter(|swarm| swarm.torrent.name() == name).collect();
        let keyed = all.iter().filter(|swarm| name.len() >= 6 && swarm.torrent.key().starts_with(name));
        let found = if named.is_empty() { keyed.collect() } else { named };
        match found.as_slice() {
            [one] => Ok(Arc::clone(one)),
            [] => Err(format!("nothing called `{name}` is here; `status` shows what is")),
            several => {
                let keys = several.iter().map(|swarm| format!("\n{}", swarm.torrent.key()));
                Err(format!("several are called `{name}`, name one by its key:{}", keys.collect::<String>()))
            }
        }
    }

    // ---- printing -------------------------------------------------------------------------------------------

    fn prompt(&self) {
        if self.interactive {
            let _ = self.print("> ");
        }
    }

    /// Results go to standard output; a reader that has seen enough is no failure.
    fn print(&self, text: &str) -> Result<(), String> {
        let mut out = io::stdout();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(why) if why.kind() != io::ErrorKind::BrokenPipe => {
                Err(format!("cannot write the answer: {why}"))
            }
            _ => Ok(()),
        }
    }

    fn print_json(&self, value: &serde_json::Value) -> Result<(), String> {
        self.print(&format!("{value}\n"))
    }

    fn complain(&self, why: &str) {
        eprintln!("peer: {why}");
    }

    /// News while somebody is looking at the prompt.
    fn show_news(&self, news: &News) {
        if !self.interactive {
            return;
        }
        let text = match news {
            News::Completed(hash) => match self.room.peer().swarms.get(*hash) {
                Some(swarm) => format!("{} is complete", swarm.torrent.name()),
                None => return,
            },
            News::Paused(hash, why) => match self.room.peer().swarms.get(*hash) {
                Some(swarm) => format!("{} is paused: {why}", swarm.torrent.name()),
                None => return,
            },
            News::Catalogue(Event::Added { entry }) => {
                format!("added: {}  {}", short(&entry.key), entry.name)
            }
            News::Catalogue(Event::Removed { key, name, reason }) => {
                format!("removed: {}  {name} ({reason})", short(key))
            }
            News::Catalogue(Event::Offered { entry, .. }) => {
                format!("offered: {}  {}", short(&entry.key), entry.name)
            }
            News::Tracker { up: true, .. } => return,
            News::Tracker { up: false, why } => format!("the tracker is gone ({why}); trying again"),
        };
        let _ = self.print(&format!("\r{text}\n> "));
    }
}
