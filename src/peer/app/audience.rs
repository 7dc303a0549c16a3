//! Who a command's answers go to: the terminal or pipe that this process was started with, or a caller at the
//! control socket ([`control`](super::control)). Any thread; the lock of [`Here`] is a leaf.

use super::progress::{Drawing, Gauge};
use crate::printable;
use parking_lot::Mutex;
use std::io::{self, Write};

/// Hears the answers to a command.
pub trait Audience: Send + Sync {
    /// Results, without what could harm a terminal. A reader that has closed the pipe is not an error.
    fn print(&self, text: &str) -> io::Result<()>;

    /// What went wrong, one sentence.
    fn complain(&self, why: &str);

    /// How far everything is that a command waits for. Nothing clears what was shown.
    fn progress(&self, gauges: &[Gauge]);

    /// Whether nobody hears the answers any more.
    fn is_gone(&self) -> bool;
}

/// Standard output and standard error of this process.
#[derive(Default)]
pub struct Here {
    drawing: Mutex<Drawing>,
}

impl Audience for Here {
    fn print(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout();
        match out.write_all(printable::lines(text).as_bytes()).and_then(|()| out.flush()) {
            Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(why),
            _ => Ok(()),
        }
    }

    fn complain(&self, why: &str) {
        eprintln!("peer: {}", printable::lines(why));
    }

    fn progress(&self, gauges: &[Gauge]) {
        self.drawing.lock().show(gauges);
    }

    fn is_gone(&self) -> bool {
        false
    }
}
