//! Threads with a name, whose panic ends the process. A panic is a mistake in this program: what the thread held
//! (a lock, a place in a table, half a change) cannot be trusted any more, and others would wait for it for good.

use std::io;
use std::thread::{self, JoinHandle};

/// The stack of a thread, bytes: what the standard library takes too.
const DEFAULT_STACK: usize = 2 << 20;

/// Starts `body` on a thread called `name`. Whoever takes the handle joins it.
///
/// # Errors
/// When the system has no room for another thread.
pub fn spawn(name: impl Into<String>, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    spawn_with_stack(name, DEFAULT_STACK, body)
}

/// The same with a stack of so many bytes, for threads of which there may be thousands.
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
            // The panic's own message, with the thread's name, is on standard error already.
            eprintln!(
                "the thread `{}` panicked: ending the process",
                thread::current().name().unwrap_or("?")
            );
            std::process::exit(101);
        }
    }
}
