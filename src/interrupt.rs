//! Turns Ctrl-C (SIGINT) and SIGTERM, by which the user ends the program, into a message. A thread named
//! `signals` waits for them. It holds nothing and ends with the process. No lock.

use crate::threads;
use crossbeam_channel::Receiver;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;

/// A channel that gets a message at the first signal. The second signal ends the process at once, in
/// case the first is not enough.
pub fn channel() -> io::Result<Receiver<()>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let _runs_until_the_end = threads::spawn("signals", move || {
        for (count, signal) in signals.forever().enumerate() {
            if count > 0 {
                std::process::exit(128 + signal);
            }
            // If the message is not received, the program is ending already.
            let _ = sender.try_send(());
        }
    })?;
    Ok(receiver)
}
