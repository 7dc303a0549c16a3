//! Waiting that ends when the user wishes, or when the process that started this one is gone.

use super::Failure;
use crate::{interrupt, threads};
use crossbeam_channel::{Receiver, after, select};
use signal_hook::consts::SIGTERM;
use std::io::{self, Read};
use std::time::Duration;

/// The user's options to end the program.
pub struct Stop {
    options: Receiver<()>,
}

impl Stop {
    /// On SIGINT and SIGTERM.
    pub fn on_signals() -> io::Result<Self> {
        Ok(Stop { options: interrupt::channel()? })
    }

    /// Also when standard input ends, which a parent process holds open as long as it lives.
    pub fn with_parent() -> io::Result<Self> {
        let stop = Stop::on_signals()?;
        let _runs_until_the_end = threads::spawn("parent", || {
            let _ended_or_broken = io::stdin().read_to_end(&mut Vec::new());
            if let Err(why) = signal_hook::low_level::raise(SIGTERM) {
                log::error!("cannot end with the parent process: {why}");
            }
        })?;
        Ok(stop)
    }

    /// Lets time pass.
    pub fn pause(&self, time: Duration) -> Result<(), Failure> {
        match self.options.recv_timeout(time) {
            Ok(()) => Err(Failure::Interrupted),
            Err(_) => Ok(()),
        }
    }

    /// Waits for nothing else.
    pub fn forever(&self) {
        let _ = self.options.recv();
    }

    /// The next word from somebody else; `None` if none came in time, or none will.
    pub fn receive<T>(&self, from: &Receiver<T>, limit: Duration) -> Result<Option<T>, Failure> {
        select! {
            recv(self.options) -> _ => Err(Failure::Interrupted),
            recv(from) -> word => Ok(word.ok()),
            recv(after(limit)) -> _ => Ok(None),
        }
    }
}
