//! Where the shell's lines come from. A thread called `input` reads them, so that notices can be shown, and a
//! download can be left to the background, while nothing is typed. No lock.
//!
//! The shell ends with its input only where somebody could know: a person who typed Ctrl-D, or commands that
//! were piped in and have all been carried out. If nothing ever comes (`</dev/null`, `nohup`, a service), the
//! peer runs until a signal ends it. A shell that was put into the background with `&` does not read from the
//! terminal, which would stop the whole process; it does as soon as it is in the foreground again.

use crate::threads;
use crossbeam_channel::{Receiver, Sender};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Maximum length of a line in bytes; no command needs more.
const MOST_LINE: usize = 64 * 1024;
/// How often a peer in the background looks whether it is in the foreground.
const LOOK: Duration = Duration::from_millis(500);
/// Meanwhile it waits that long for a line.
const LOOK_POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };

/// Whether a person is typing: standard input and output are a terminal, and it is ours.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal() && is_ours(io::stdin().as_fd())
}

/// When a shell ends by itself.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Ends {
    /// When there is no more input.
    WithInput,
    /// The same, but if there never was any, it runs until a signal ends it.
    WithCommands,
}

/// Starts the `input` thread. It holds nothing, and ends with its input or with the process.
pub fn read_lines(ends: Ends) -> io::Result<Receiver<String>> {
    // Room for one line: the shell takes the next line when the last command is done.
    let (sender, lines) = crossbeam_channel::bounded(1);
    let _runs_until_the_end = threads::spawn("input", move || {
        if !pass_on(&sender) && ends == Ends::WithCommands {
            log::info!("no commands come from standard input: running until SIGINT or SIGTERM");
            std::mem::forget(sender); // the shell waits for a signal, and not for the end of its input
        }
    })?;
    Ok(lines)
}

/// Passes all lines on. False if there was none, and nobody who could have typed any.
fn pass_on(lines: &Sender<String>) -> bool {
    let Ok(input) = io::stdin().as_fd().try_clone_to_owned() else { return false };
    let is_terminal = input.is_terminal();
    let mut input = BufReader::new(File::from(input));
    let mut any = false;
    loop {
        if is_terminal && input.buffer().is_empty() {
            wait_for_line(input.get_ref().as_fd());
        }
        let mut line = Vec::new();
        match io::Read::by_ref(&mut input).take(MOST_LINE as u64).read_until(b'\n', &mut line) {
            Ok(0) => return any || is_terminal,
            Err(_) => return any, // closed, not for reading, or a terminal that is gone
            Ok(_) => {
                any = true;
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if lines.send(line).is_err() {
                    return true;
                }
            }
        }
    }
}

/// Waits until the terminal is ours and something was typed.
fn wait_for_line(terminal: BorrowedFd<'_>) {
    loop {
        let typed = poll(&mut [PollFd::new(&terminal, PollFlags::IN)], Some(&LOOK_POLL));
        match (is_ours(terminal), typed) {
            (true, Ok(0)) => {}
            (true, _) => return,
            (false, _) => std::thread::sleep(LOOK),
        }
    }
}

/// Whether we are in the foreground of this terminal. One that cannot say is gone, as reading will tell.
fn is_ours(terminal: BorrowedFd<'_>) -> bool {
    tcgetpgrp(terminal).map_or(true, |group| group == getpgrp())
}
