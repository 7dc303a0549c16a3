//! The real programs as processes: started in a folder of their own, spoken to through their pipes, killed
//! when the test is over. What a process prints, on both outputs, is read by a thread as it comes, so none
//! ever waits for its reader.

#![allow(dead_code)] // each test file uses its own part of it

use crate::common::LIMIT;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// A command for one of our programs, in `folder`, deaf to the settings of whoever runs the tests.
pub fn program(name: &str, folder: &Path) -> Command {
    let path = match name {
        "peer" => env!("CARGO_BIN_EXE_peer"),
        "tracker" => env!("CARGO_BIN_EXE_tracker"),
        "torrent" => env!("CARGO_BIN_EXE_torrent"),
        "experiment" => env!("CARGO_BIN_EXE_experiment"),
        other => panic!("there is no program {other}"),
    };
    let mut command = Command::new(path);
    for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("SHOAL_")) {
        command.env_remove(variable);
    }
    command.current_dir(folder).env("SHOAL_LOG", "warn");
    command
}

/// What a program says that ends by itself.
pub struct Said {
    pub status: i32,
    pub out: String,
    pub err: String,
}

/// Runs a program to its end, without any input.
pub fn run(name: &str, folder: &Path, args: &[&str]) -> Said {
    let output = program(name, folder).args(args).stdin(Stdio::null()).output().unwrap();
    said(&output)
}

pub fn said(output: &Output) -> Said {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let status = output.status.code().expect("it ends by itself");
    Said { status, out: text(&output.stdout), err: text(&output.stderr) }
}

impl Said {
    /// Its standard output, if it succeeded.
    pub fn good(self) -> String {
        assert_eq!(self.status, 0, "{}", self.err);
        self.out
    }

    /// The one line about what was wrong, if it failed with this status and said nothing else. Where the peer
    /// listens is no complaint.
    pub fn bad(self, status: i32) -> String {
        let complaint: Vec<&str> =
            self.err.lines().filter(|line| !line.starts_with("listening on ")).collect();
        assert_eq!((self.status, self.out.as_str()), (status, ""), "{}", self.err);
        assert_eq!(complaint.len(), 1, "{}", self.err);
        complaint[0].to_owned()
    }
}

/// Lines as they come.
#[derive(Default)]
struct Lines {
    lines: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

impl Lines {
    fn read(&self, from: PipeReader) {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let mut lines = self.lines.lock().unwrap();
            lines.0.push(String::from_utf8_lossy(&line).trim_end().to_owned());
            self.more.notify_all();
        }
        self.lines.lock().unwrap().1 = true;
        self.more.notify_all();
    }

    /// The position behind the first line from `start` on for which `is_it` holds.
    fn wait(&self, start: usize, what: &str, is_it: impl Fn(&str) -> bool) -> usize {
        let until = Instant::now() + LIMIT;
        let mut lines = self.lines.lock().unwrap();
        loop {
            if let Some(found) = lines.0[start..].iter().position(|line| is_it(line)) {
                return start + found + 1;
            }
            let so_far = || lines.0.join("\n");
            assert!(!lines.1, "it ended without {what}; it said:\n{}", so_far());
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}; it said:\n{}", so_far());
            lines = self.more.wait_timeout(lines, left).unwrap().0;
        }
    }
}

/// A process that goes on until the test has seen enough of it.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Arc<Lines>,
    /// How many lines the test has taken note of.
    seen: usize,
    questions: usize,
}

/// Whether a line tells of the log, or how far a download is.
fn is_aside(line: &str) -> bool {
    line.starts_with('[') || line.contains(" %, ")
}

impl Process {
    pub fn start(command: Command) -> Self {
        Process::start_with(command, Stdio::piped())
    }

    /// Starts it with this standard input.
    pub fn start_with(mut command: Command, input: Stdio) -> Self {
        let (from, to) = std::io::pipe().unwrap();
        command.stdin(input).stdout(to.try_clone().unwrap()).stderr(to);
        let mut child = command.spawn().unwrap();
        drop(command); // it holds our ends of the pipe
        let lines = Arc::new(Lines::default());
        let reader = Arc::clone(&lines);
        std::thread::spawn(move || reader.read(from));
        Process { input: child.stdin.take(), child, lines, seen: 0, questions: 0 }
    }

    /// Waits for a line with these words, and gives it.
    pub fn expect(&mut self, words: &str) -> String {
        self.seen = self.lines.wait(self.seen, words, |line| line.contains(words));
        self.lines.lines.lock().unwrap().0[self.seen - 1].clone()
    }

    /// Where it listens.
    pub fn listening(&mut self) -> SocketAddr {
        let line = self.expect("listening on ");
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Gives it a line.
    pub fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// What a shell answers to a line, without what its threads log meanwhile. A word that it does not know
    /// shows where the answer ends.
    pub fn ask(&mut self, line: &str) -> Vec<String> {
        self.questions += 1;
        let end = format!("question-{}", self.questions);
        self.say(&format!("{line}\n{end}"));
        let start = self.seen;
        self.expect(&format!("there is no command `{end}`"));
        let lines = self.lines.lines.lock().unwrap();
        lines.0[start..self.seen - 1].iter().filter(|line| !is_aside(line)).cloned().collect()
    }

    /// The same of a shell that answers in JSON.
    pub fn ask_json(&mut self, line: &str) -> Value {
        let answer = self.ask(line);
        assert_eq!(answer.len(), 1, "{answer:#?}");
        serde_json::from_str(&answer[0]).unwrap()
    }

    /// Nothing more will be said to it.
    pub fn hang_up(&mut self) {
        self.input = None;
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end, and gives its status.
    pub fn end(&mut self) -> ExitStatus {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("it said:\n{}", self.lines.lines.lock().unwrap().0.join("\n"));
        }
    }
}

/// A tracker, and a place for its peers' folders.
pub struct Swarm {
    pub place: tempfile::TempDir,
    pub tracker: Process,
    pub addr: SocketAddr,
}

impl Swarm {
    pub fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut tracker = start_tracker(place.path(), "127.0.0.1:0");
        let addr = tracker.listening();
        Swarm { place, tracker, addr }
    }

    /// The tracker begins again on the same port, with what it kept.
    pub fn restart_tracker(&mut self) {
        self.tracker = start_tracker(self.place.path(), &self.addr.to_string());
        self.tracker.listening();
    }

    /// The folder of a peer, in which it has its `uploads` and `downloads`.
    pub fn home(&self, name: &str) -> PathBuf {
        let home = self.place.path().join(name);
        fs::create_dir_all(home.join("uploads")).unwrap();
        home
    }

    /// Writes a file below `uploads` of a peer.
    pub fn shares(&self, name: &str, path: &str, content: &[u8]) -> PathBuf {
        let path = self.home(name).join("uploads").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub fn download(&self, name: &str, file: &str) -> PathBuf {
        self.home(name).join("downloads").join(file)
    }

    /// A command line that joins this tracker.
    pub fn peer_command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = program("peer", &self.home(name));
        let (ip, port) = (self.addr.ip().to_string(), self.addr.port().to_string());
        command.args([&ip, &port, "--listen", "127.0.0.1:0"]).args(args);
        command
    }

    /// A peer whose shell reads from the test.
    pub fn peer(&self, name: &str, args: &[&str]) -> Process {
        let mut peer = Process::start(self.peer_command(name, args));
        peer.listening();
        peer
    }

    /// Carries out one command and ends.
    pub fn once(&self, name: &str, args: &[&str]) -> Said {
        said(&self.peer_command(name, args).stdin(Stdio::null()).output().unwrap())
    }

    /// The names and keys in the catalogue, as a peer without files is told.
    pub fn catalogue(&self) -> Vec<(String, String)> {
        let list: Vec<Value> =
            serde_json::from_str(&self.once("somebody", &["list", "--json"]).good()).unwrap();
        let text = |entry: &Value, what: &str| entry[what].as_str().unwrap().to_owned();
        list.iter().map(|entry| (text(entry, "name"), text(entry, "key"))).collect()
    }

    pub fn names(&self) -> Vec<String> {
        self.catalogue().into_iter().map(|(name, _)| name).collect()
    }

    /// The key of the file that has this name.
    pub fn key(&self, name: &str) -> Option<String> {
        self.catalogue().into_iter().find(|(known, _)| known == name).map(|(_, key)| key)
    }
}

fn start_tracker(place: &Path, listen: &str) -> Process {
    let mut command = program("tracker", place);
    command.args(["--listen", listen, "--data", "catalogue"]);
    Process::start(command)
}
