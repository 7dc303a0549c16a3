//! An actor of the demo: one process, what it is asked, what it answers, and what it logs. Two threads of its
//! own read its output, so that it never waits for us; `main` does all the rest.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use shoal::threads;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Nothing in the demo takes half as long, except on a very busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
/// Number of lines of each log that are shown when something goes wrong.
const LAST_WORDS: usize = 5;
/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// The user's request to end the demo. It is checked wherever the demo waits, so that no process
/// is left behind.
pub static INTERRUPT: OnceLock<Receiver<()>> = OnceLock::new();

/// Waits until `look` sees something; an error that names `what` if it never does.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        if INTERRUPT.get().is_some_and(|interrupt| interrupt.try_recv().is_ok()) {
            return Err("interrupted".into());
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("waited {} s in vain for {what}", PATIENCE.as_secs()).into());
        }
        thread::sleep(GLANCE);
    }
}

/// All logs, for the case that something goes wrong.
static LOGS: Mutex<Vec<(&str, Log)>> = Mutex::new(Vec::new());

/// Prints the end of each log.
pub fn print_last_words() {
    for (name, log) in LOGS.lock().iter() {
        let lines = log.lines.lock();
        let last = lines.iter().skip(lines.len().saturating_sub(LAST_WORDS));
        last.for_each(|(_, line)| eprintln!("{name:<7} {line}"));
    }
}

/// What an actor logged, each line with the time it came. It outlives the process, for one that comes back.
#[derive(Clone, Default)]
pub struct Log {
    lines: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Log {
    fn add(&self, line: String) {
        self.lines.lock().push((Instant::now(), line));
    }

    /// How many lines there are: those that come later stand behind this mark.
    pub fn mark(&self) -> usize {
        self.lines.lock().len()
    }

    /// The first line behind `mark` with `words` in it.
    pub fn find(&self, mark: usize, words: &str) -> Option<String> {
        self.lines.lock().iter().skip(mark).map(|(_, line)| line).find(|line| line.contains(words)).cloned()
    }

    /// All lines with `words` in them.
    pub fn all(&self, words: &str) -> Vec<(Instant, String)> {
        self.lines.lock().iter().filter(|(_, line)| line.contains(words)).cloned().collect()
    }
}

/// A running process.
pub struct Actor {
    pub name: &'static str,
    pub log: Log,
    child: Child,
    answers: Receiver<std::result::Result<String, String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Actor {
    /// Starts `command` under a name, with everything it says going to us.
    pub fn start(name: &'static str, command: &mut Command, log: Log) -> Result<Self> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|why| format!("cannot start {name}: {why}"))?;
        // One question at a time is asked, so few answers wait. The bound is for a process that
        // prints without end.
        let (answer, answers) = crossbeam_channel::bounded(64);
        let (out, err) = (child.stdout.take(), child.stderr.take());
        LOGS.lock().push((name, log.clone()));
        let mut actor = Actor { name, log: log.clone(), child, answers, readers: Vec::new() };
        if let (Some(out), Some(err)) = (out, err) {
            let complaint = answer.clone();
            let read = move || each_line(out, |line| send(&answer, Ok(line)));
            actor.readers.push(threads::spawn(format!("{name}-answers"), read)?);
            let read = move || {
                each_line(err, |line| match line.starts_with("peer: ") {
                    true => send(&complaint, Err(line)),
                    false => log.add(line),
                })
            };
            actor.readers.push(threads::spawn(format!("{name}-log"), read)?);
        }
        Ok(actor)
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives the shell a line.
    pub fn tell(&self, line: &str) -> Result<()> {
        let input = self.child.stdin.as_ref().ok_or("no standard input")?;
        let told = writeln!(&mut { input }, "{line}");
        told.map_err(|why| format!("{} does not listen: {why}", self.name).into())
    }

    /// The next line of its standard output.
    pub fn answer(&self) -> Result<String> {
        until(&format!("an answer of {}", self.name), || match self.answers.recv_timeout(GLANCE) {
            Ok(answer) => answer.map(Some).map_err(Into::into),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(format!("{} has ended", self.name).into()),
        })
    }

    /// Asks the shell something, and reads the answer, which is one line of JSON.
    pub fn ask<T: DeserializeOwned>(&self, question: &str) -> Result<T> {
        self.tell(question)?;
        let answer = self.answer()?;
        let read = serde_json::from_str(&answer);
        read.map_err(|why| format!("{} answered `{answer}` to `{question}`: {why}", self.name).into())
    }

    /// Waits for a log line behind `mark` with `words` in it. Nothing is asked meanwhile, so all that can
    /// come as an answer is a complaint.
    pub fn hear(&self, mark: usize, words: &str) -> Result<String> {
        until(&format!("{} to say `{words}`", self.name), || match self.answers.try_recv() {
            Ok(Err(complaint)) => Err(complaint.into()),
            Err(TryRecvError::Disconnected) if self.log.find(mark, words).is_none() => {
                Err(format!("{} has ended", self.name).into())
            }
            _ => Ok(self.log.find(mark, words)),
        })
    }

    /// SIGKILL: the process can neither say goodbye nor save anything.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM: a request to end.
    pub fn terminate(&self) -> Result<()> {
        use rustix::process::{Pid, Signal, kill_process};
        Ok(kill_process(Pid::from_child(&self.child), Signal::TERM)?)
    }

    /// Waits for the end, which should be a good one.
    pub fn end(&mut self) -> Result<()> {
        let name = self.name;
        let status: ExitStatus = until(&format!("the end of {name}"), || Ok(self.child.try_wait()?))?;
        if status.success() { Ok(()) } else { Err(format!("{name} ended with {status}").into()) }
    }
}

/// Whatever happens, the process does not outlive its actor.
impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has ended already, or ends now
        let _ = self.child.wait();
        self.readers.drain(..).for_each(|reader| {
            let _ = reader.join(); // its panic ends the demo
        });
    }
}

fn send<T>(to: &Sender<T>, what: T) {
    let _ = to.try_send(what); // full: it was not asked for
}

fn each_line(from: impl Read, mut then: impl FnMut(String)) {
    BufReader::new(from).lines().map_while(std::io::Result::ok).for_each(&mut then);
}
