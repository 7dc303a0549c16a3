//! Turns Ctrl-C (SIGINT), SIGTERM, and SIGHUP, which is sent when the terminal is closed, into a message. A
//! thread named `signals` waits for them. It holds nothing and ends with the process. No lock.

use crate::threads;
use crossbeam_channel::{Receiver, Sender};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;

/// A channel that gets a message at the first signal. The second signal ends the process at once, in
/// case the first is not enough.
///
/// # Errors
/// If the signals cannot be caught, or the thread not be started.
pub fn channel() -> io::Result<Receiver<()>> {
    ends().map(|(_, receiver)| receiver)
}

/// The same channel, with its sending end, for other ways to end the program.
///
/// # Errors
/// As for [`channel`].
pub fn ends() -> io::Result<(Sender<()>, Receiver<()>)> {
    let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    let mut signals = Signals::new([SIGINT, SIGTERM].into_iter().chain(hangup))?;
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let end = sender.clone();
    let _runs_until_the_end = threads::spawn("signals", move || {
        for (count, signal) in signals.forever().enumerate() {
            if count > 0 {
                std::process::exit(128 + signal);
            }
            // If the message is not received, the program is ending already.
            let _ = sender.try_send(());
        }
    })?;
    Ok((end, receiver))
}

/// Whether this process was started with a signal ignored, as `nohup` does with SIGHUP. To catch the signal
/// would undo that.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (signal - 1) & 1 == 1
}
