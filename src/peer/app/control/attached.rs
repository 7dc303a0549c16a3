//! A process beside a running peer: that peer carries out its command, or each line of its shell. Runs on
//! `main`; no lock.

use super::Ask;
use super::caller::{ask, is_running};
use crate::peer::app::audience::{Audience, Here};
use crate::peer::app::command::{Command, HELP};
use crate::peer::app::shell::{self, Ends, Typing};
use crossbeam_channel::{Receiver, never};
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
            Some(command) => self.ask(command.clone(), &Typing::nobody()),
            None if is_running(self.state) => self.shell(),
            None => Ok(None),
        }
    }

    fn shell(&self) -> io::Result<Option<bool>> {
        let here = Here::default();
        let typing = Typing::new(shell::read_lines(Ends::WithInput)?, self.interactive);
        if self.interactive {
            here.print(WELCOME)?;
        }
        let mut well = self.interactive.then_some(true);
        while let Some(line) = typing.next(&here, self.stop, &never::<()>(), |()| ()) {
            match self.line(&here, &line, &typing) {
                Ok(Some(this)) => well = Some(well.unwrap_or(true) && (this || self.interactive)),
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

    /// Carries out a line, and gives whether it went well. `None` if it was the last one.
    fn line(&self, here: &Here, line: &str, typing: &Typing) -> io::Result<Option<bool>> {
        match Command::from_line(line) {
            Ok(None) => Ok(Some(true)),
            Ok(Some(Command::Exit)) => Ok(None),
            Ok(Some(Command::Help)) => here.print(HELP).map(|()| Some(true)),
            Ok(Some(command)) => match self.ask(command, typing)? {
                Some(well) => Ok(Some(well)),
                None => Err(io::Error::other("the peer has ended")),
            },
            Err(why) => {
                here.complain(&why.to_string());
                Ok(Some(false))
            }
        }
    }

    fn ask(&self, command: Command, typing: &Typing) -> io::Result<Option<bool>> {
        let question =
            Ask { command: command.from_here()?, json: self.json, tracker: self.tracker.to_owned() };
        ask(self.state, &question, self.stop, typing)
    }
}
