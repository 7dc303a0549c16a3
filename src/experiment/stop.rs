//! Waits that end early when the user ends the program, or when the parent process is gone. Used on `main`;
//! the thread `parent` watches standard input. No lock.

use super::Failure;
use crate::{interrupt, threads};
use crossbeam_channel::{Receiver, after, select};
use signal_hook::consts::SIGTERM;
use std::io::{self, Read};
use std::time::Duration;

/// The user's request to end the program.
pub struct Stop {
    options: Receiver<()>,
}

impl Stop {
    /// Stops on SIGINT and SIGTERM.
    pub fn on_signals() -> io::Result<Self> {
        Ok(Stop { options: interrupt::channel()? })
    }

    /// Stops also when standard input ends, which the parent process holds open while it lives.
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

    /// Waits for the time `time`.
    pub fn pause(&self, time: Duration) -> Result<(), Failure> {
        match self.options.recv_timeout(time) {
            Ok(()) => Err(Failure::Interrupted),
            Err(_) => Ok(()),
        }
    }

    /// Waits until the user ends the program.
    pub fn forever(&self) {
        let _ = self.options.recv();
    }

    /// The next message of `from`; `None` if none came within `limit`, or the sender is gone.
    pub fn receive<T>(&self, from: &Receiver<T>, limit: Duration) -> Result<Option<T>, Failure> {
        select! {
            recv(self.options) -> _ => Err(Failure::Interrupted),
            recv(from) -> word => Ok(word.ok()),
            recv(after(limit)) -> _ => Ok(None),
        }
    }
}
