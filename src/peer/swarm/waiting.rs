//! Waiting until a torrent is complete, without polling. Any thread; it takes the lock of `state`, and sleeps
//! on the condition variable beside it.
//!
//! **No wake-up is lost.** A waiter looks at everything it waits for under the lock of `state`, and the
//! condition variable releases that lock only when the waiter is asleep. A thread that changes one of these
//! things holds the same lock for a moment before it notifies: [`Swarm::pause`] and [`Swarm::fail`] change
//! `state` itself, and [`Swarm::now_complete`] and [`Swarm::engine_stopped`] take the lock after their flags
//! are set. So the waiter either sees the change, or sleeps already when the notification comes, which wakes
//! it.

use super::{State, Swarm};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Why a waiter has nothing more to wait for, though the torrent is not complete.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum WaitError {
    /// The torrent is paused, for this reason: an error of the disk, the user's wish, or its removal.
    #[error("the torrent is paused: {0}")]
    Paused(String),
    /// The engine was stopped.
    #[error("the engine was stopped")]
    Stopped,
}

impl Swarm {
    /// Blocks until everything that is wanted of the torrent is here, verified, and under its name. Returns
    /// at once if it is. A torrent whose peers lack a piece, or whose folder is not there, is waited for
    /// without end; [`Swarm::wait_timeout`] gives up.
    ///
    /// # Errors
    /// The torrent is paused, or the engine stopped, before the torrent is complete. A pause that ends at
    /// once may go unnoticed.
    pub fn wait(&self) -> Result<(), WaitError> {
        self.wait_until(None).map(drop)
    }

    /// Like [`Swarm::wait`], but for `time` at most. Returns whether the torrent is complete.
    ///
    /// # Errors
    /// The same as those of [`Swarm::wait`].
    pub fn wait_timeout(&self, time: Duration) -> Result<bool, WaitError> {
        self.wait_until(Instant::now().checked_add(time)) // a time beyond the clock's end is no limit
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<bool, WaitError> {
        let mut state = self.state.lock();
        loop {
            if self.is_complete() {
                return Ok(true);
            }
            if let State::Paused(why) = &*state {
                return Err(WaitError::Paused(why.clone()));
            }
            if self.shared.is_stopped() {
                return Err(WaitError::Stopped);
            }
            match deadline {
                None => self.changed.wait(&mut state),
                Some(deadline) if Instant::now() >= deadline => return Ok(false),
                Some(deadline) => drop(self.changed.wait_until(&mut state, deadline)), // the loop looks again
            }
        }
    }

    /// All that is wanted is here and has its name.
    pub(super) fn now_complete(&self) {
        self.complete.store(true, Ordering::Release);
        self.tell_waiters();
    }

    /// The engine has stopped, and [`Shared`](super::shared::Shared) says so already.
    pub(crate) fn engine_stopped(&self) {
        self.tell_waiters();
    }

    /// Wakes all waiters, after a flag was set that is not under the lock of `state`.
    fn tell_waiters(&self) {
        drop(self.state.lock()); // a waiter that looked before the flag was set sleeps by now
        self.changed.notify_all();
    }
}
