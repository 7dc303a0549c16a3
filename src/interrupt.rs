//! The user's wish to end the program: Ctrl-C (SIGINT) or SIGTERM, as a message. A thread called `signals` waits for
//! them; it holds nothing and ends with the process.

use crate::threads;
use crossbeam_channel::Receiver;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;

/// The first signal gives a message; the second ends the process at once, in case the first is not enough.
pub fn channel() -> io::Result<Receiver<()>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let _runs_until_the_end = threads::spawn("signals", move || {
        for (count, signal) in signals.forever().enumerate() {
            if count > 0 {
                std::process::exit(128 + signal);
            }
            let _ = sender.try_send(()); // nobody waits any more: the program is ending
        }
    })?;
    Ok(receiver)
}
