//! Named threads whose panic ends the process. A panic is a bug in this program. What the thread held
//! (a lock, a place in a table, half of a change) cannot be trusted any more, and other threads would
//! wait for it forever. No lock.

use std::io;
use std::thread::{self, JoinHandle};

/// Stack size of a thread in bytes; the same as in the standard library.
const DEFAULT_STACK: usize = 2 << 20;

/// Starts `body` on a thread called `name`. The caller joins it by the handle.
///
/// # Errors
/// The system cannot start another thread.
pub fn spawn(name: impl Into<String>, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    spawn_with_stack(name, DEFAULT_STACK, body)
}

/// [`spawn`] with a stack of `stack` bytes, for threads of which there may be thousands.
///
/// # Errors
/// As for [`spawn`].
pub fn spawn_with_stack(
    name: impl Into<String>,
    stack: usize,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).stack_size(stack).spawn(move || {
        let _guard = EndProcessOnPanic;
        body();
    })
}

struct EndProcessOnPanic;

impl Drop for EndProcessOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            // The panic's own message, with the thread's name, is already on standard error.
            eprintln!(
                "the thread `{}` panicked: ending the process",
                thread::current().name().unwrap_or("?")
            );
            std::process::exit(101);
        }
    }
}
