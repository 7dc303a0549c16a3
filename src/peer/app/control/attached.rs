//! A process beside a running peer: that peer carries out its command, or each line of its shell. Runs on
//! `main`; no lock.

use super::Ask;
use super::caller::Ended::{self, Done, Left};
use super::caller::{ask, is_running};
use crate::logging;
use crate::peer::app::audience::{Audience, Here};
use crate::peer::app::command::{Command, HELP};
use crate::peer::app::shell::{self, Ends};
use crossbeam_channel::{Receiver, never, select};
use std::io;
use std::path::Path;

/// What a person is told first.
const WELCOME: &str = "a peer runs here already: it carries out the commands, and `exit` leaves it running\n";

/// A process that wants something from the peer that uses a state folder.
pub struct Attached<'a> {
    /// The state folder.
    pub state: &'a Path,
    /// The tracker that the user named.
    pub tracker: &'a str,
    /// Whether answers are printed as JSON.
    pub json: bool,
    /// Whether a person is typing.
    pub interactive: bool,
    /// Receives something when the user wants to end this program.
    pub stop: &'a Receiver<()>,
}

impl Attached<'_> {
    /// Has the command carried out, or without one all lines from standard input. Gives whether all went
    /// well, or `None` if no peer uses the folder, or no line came.
    ///
    /// # Errors
    /// If the peer does not answer to the end, standard input cannot be read, or standard output not be
    /// written.
    pub fn run(&self, command: Option<&Command>) -> io::Result<Option<bool>> {
        match command {
            Some(command) => {
                Ok(self.ask(command.clone(), &never())?.map(|ended| matches!(ended, Done(true))))
            }
            None if is_running(self.state) => self.shell(),
            None => Ok(None),
        }
    }

    fn shell(&self) -> io::Result<Option<bool>> {
        let (here, lines) = (Here::default(), shell::read_lines(Ends::WithInput)?);
        if self.interactive {
            here.print(WELCOME)?;
        }
        let mut well = self.interactive.then_some(true);
        let mut typed = None;
        loop {
            let next = match typed.take().or_else(|| lines.try_recv().ok()) {
                None => self.wait_for_line(&here, &lines)?,
                typed => typed,
            };
            let Some(line) = next else { break };
            match self.line(&here, &line, &lines) {
                Ok(Some(Done(this))) => well = Some(well.unwrap_or(true) && (this || self.interactive)),
                Ok(Some(Left(line))) => typed = Some(line),
                Ok(None) => return Ok(Some(well.unwrap_or(true))),
                Err(why) => {
                    here.complain(&why.to_string());
                    return Ok(Some(false));
                }
            }
        }
        if self.interactive {
            here.print("\n")?;
        }
        Ok(well)
    }

    /// The next line that a person types. `None` at the end.
    fn wait_for_line(&self, here: &Here, lines: &Receiver<String>) -> io::Result<Option<String>> {
        shell::prompt(here, self.interactive)?;
        let line = select! {
            recv(lines) -> line => line.ok(),
            recv(self.stop) -> _ => None,
        };
        logging::set_prompt(None);
        Ok(line)
    }

    /// Carries out a line. `None` if it was the last one.
    fn line(&self, here: &Here, line: &str, lines: &Receiver<String>) -> io::Result<Option<Ended>> {
        let command = match Command::from_line(line) {
            Ok(None) => return Ok(Some(Done(true))),
            Ok(Some(Command::Exit)) => return Ok(None),
            Ok(Some(Command::Help)) => return here.print(HELP).map(|()| Some(Done(true))),
            Ok(Some(command)) => command,
            Err(why) => {
                here.complain(&why.to_string());
                return Ok(Some(Done(false)));
            }
        };
        let nobody_types = never();
        let waits = self.interactive && matches!(command, Command::Download(_));
        let enter = if waits { lines } else { &nobody_types };
        match self.ask(command, enter)? {
            Some(ended) => Ok(Some(ended)),
            None => Err(io::Error::other("the peer has ended")),
        }
    }

    fn ask(&self, command: Command, enter: &Receiver<String>) -> io::Result<Option<Ended>> {
        let question =
            Ask { command: command.from_here()?, json: self.json, tracker: self.tracker.to_owned() };
        ask(self.state, &question, self.stop, enter)
    }
}
