//! A mailbox for a thread that owns a non-blocking socket: a bounded channel plus a wake-up, so that one
//! call, [`Inbox::wait`], sleeps until the socket is ready *or* mail has arrived. Any thread may hold a
//! [`Mailbox`]; the [`Inbox`] belongs to the one thread that reads it. There is no lock.
//!
//! No thread ever waits for room. A full mailbox is marked as overflowed, and its owner is woken so
//! that it can end: either it is stuck, or its peer is hostile. The bound is counted here, because
//! a channel of fixed size allocates memory for all its places at once, and that would be most of
//! the cost of an idle connection.
//!
//! # Why no wake-up is lost, and why most cost nothing
//!
//! The owner sleeps in `poll(2)` on its socket and on a *bell*, a file descriptor that becomes readable when
//! it is rung. One atomic, `state`, decides whether the bell must be rung. It has three values:
//!
//! | state | meaning | who sets it |
//! |---|---|---|
//! | `AWAKE` | the owner runs, no caller has come since it last looked | the owner, when it leaves `wait` |
//! | `ASLEEP` | the owner is in `poll` or about to enter it | the owner, if it finds `AWAKE` |
//! | `CALLED` | a caller has come since the owner last looked | any thread that posts or wakes |
//!
//! A caller puts its mail into the channel *first*, and then swaps `state` to `CALLED`. All changes
//! of one atomic have one order, so that swap comes either before or after the owner's change from
//! `AWAKE` to `ASLEEP`:
//!
//! - *Before*: the owner's change fails, because it finds `CALLED`. It does not sleep, and `wait`
//!   returns at once.
//! - *After*: the swap returns `ASLEEP`, and that caller rings the bell. The bell stays readable until it is
//!   read, so it does not matter whether the owner had entered `poll` already.
//! - A swap that returns `CALLED` came after another caller's swap, to which one of the two cases applies.
//!
//! When the owner leaves `wait`, it swaps `state` back to `AWAKE`. That swap reads what the callers' swaps
//! wrote. So everything that a caller did before its call, including its mail, is visible to the owner after
//! that `wait`. While the owner is awake, a caller pays for one atomic swap. While it sleeps, only the first
//! caller pays for a system call.
//!
//! A caller may be paused between its swap and its ring, while the socket wakes the owner. The late ring then
//! makes one later `wait` return without cause. That is allowed: `wait` may return early, never late.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendError, Sender};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const CALLED: u8 = 2;

/// Creates a mailbox that holds at most `capacity` pieces of mail.
///
/// # Errors
/// The process may not open another file descriptor.
pub fn mailbox<T: Send>(capacity: usize) -> io::Result<(Mailbox<T>, Inbox<T>)> {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let shared = Arc::new(Shared {
        state: AtomicU8::new(AWAKE),
        overflowed: AtomicBool::new(false),
        capacity,
        waiting: AtomicUsize::new(0),
        bell: Bell::new()?,
    });
    Ok((Mailbox { sender, shared: shared.clone() }, Inbox { receiver, shared }))
}

/// What both ends share.
struct Shared {
    state: AtomicU8,
    overflowed: AtomicBool,
    capacity: usize,
    /// Number of pieces of mail in the channel or about to be put there.
    waiting: AtomicUsize,
    bell: Bell,
}

/// The sending end. Cheap to clone. It may outlive the inbox.
pub struct Mailbox<T> {
    sender: Sender<T>,
    shared: Arc<Shared>,
}

impl<T> Mailbox<T> {
    /// Puts `mail` into the mailbox and wakes the owner. Never waits.
    ///
    /// # Errors
    /// The mail is returned if the mailbox is full (its owner is told, see [`Inbox::overflowed`])
    /// or its owner is gone.
    pub fn post(&self, mail: T) -> Result<(), Undelivered<T>> {
        if self.shared.waiting.fetch_add(1, Ordering::Relaxed) >= self.shared.capacity {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            self.shared.overflowed.store(true, Ordering::Release);
            self.wake();
            return Err(Undelivered::Full(mail));
        }
        if let Err(SendError(mail)) = self.sender.send(mail) {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Undelivered::Closed(mail));
        }
        self.wake();
        Ok(())
    }

    /// Makes the owner's current or next [`Inbox::wait`] return, without mail.
    pub fn wake(&self) {
        if self.shared.state.swap(CALLED, Ordering::AcqRel) == ASLEEP {
            self.shared.bell.ring();
        }
    }
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Mailbox { sender: self.sender.clone(), shared: self.shared.clone() }
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({} waiting)", self.sender.len())
    }
}

/// Mail that was not delivered, returned to the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered<T> {
    /// The mailbox is full.
    #[error("the mailbox is full")]
    Full(T),
    /// The owner of the mailbox is gone.
    #[error("the owner of the mailbox is gone")]
    Closed(T),
}

/// The receiving end, for the one thread that also owns the socket.
pub struct Inbox<T> {
    receiver: Receiver<T>,
    shared: Arc<Shared>,
}

/// Which readiness of a socket to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interest {
    /// Wait until it can be read.
    pub readable: bool,
    /// Wait until it can be written.
    pub writable: bool,
}

impl Interest {
    /// Wait until it can be read.
    pub const READ: Interest = Interest { readable: true, writable: false };
    /// Wait until it can be written.
    pub const WRITE: Interest = Interest { readable: false, writable: true };
}

/// What a socket is ready for. Both are false if mail, a wake-up or the time-out ended the wait. Both are
/// true if the socket failed or the remote side hung up: reading or writing then tells which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready {
    /// It can be read.
    pub readable: bool,
    /// It can be written.
    pub writable: bool,
}

impl<T> Inbox<T> {
    /// The next piece of mail, if there is one. Never waits.
    pub fn take(&mut self) -> Option<T> {
        let mail = self.receiver.try_recv().ok()?;
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(mail)
    }

    /// Whether mail was ever refused because the mailbox was full. The owner should then end.
    pub fn overflowed(&self) -> bool {
        self.shared.overflowed.load(Ordering::Acquire)
    }

    /// Sleeps until `socket` is ready for something of `interest`, mail arrives, a thread wakes
    /// this inbox, or `timeout` is over (`None`: no limit). Returns at once while there is mail.
    /// May return without cause.
    ///
    /// # Errors
    /// The system refuses to wait at all, for lack of memory.
    pub fn wait(
        &mut self,
        socket: &(impl AsFd + ?Sized),
        interest: Interest,
        timeout: Option<Duration>,
    ) -> io::Result<Ready> {
        self.sleep(Some((socket.as_fd(), interest)), timeout)
    }

    /// [`wait`](Inbox::wait) without a socket: sleeps until mail, a wake-up or the end of `timeout`.
    ///
    /// # Errors
    /// As for [`Inbox::wait`].
    pub fn wait_for_mail(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.sleep(None, timeout).map(|_| ())
    }

    fn sleep(
        &mut self,
        socket: Option<(BorrowedFd<'_>, Interest)>,
        timeout: Option<Duration>,
    ) -> io::Result<Ready> {
        let shared = &*self.shared;
        let may_sleep = self.receiver.is_empty()
            && shared.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok();
        let timeout = if may_sleep { timeout } else { Some(Duration::ZERO) };
        let ready = poll_both(&shared.bell, socket, timeout);
        shared.state.swap(AWAKE, Ordering::AcqRel);
        ready
    }
}

/// Without this, the channel would keep unread mail, with everything that it owns, as long as a [`Mailbox`]
/// exists. Mail posted while this runs still waits for that.
impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        while self.receiver.try_recv().is_ok() {}
    }
}

/// One `poll(2)` on the bell and the socket. If it is interrupted, that counts as a wake-up without cause.
fn poll_both(
    bell: &Bell,
    socket: Option<(BorrowedFd<'_>, Interest)>,
    timeout: Option<Duration>,
) -> io::Result<Ready> {
    // A time-out too long to express counts as no time-out.
    let timeout = timeout.and_then(|limit| Timespec::try_from(limit).ok());
    let (socket, wanted) = match socket {
        Some((socket, interest)) => (socket, flags(interest)),
        None => (bell.as_fd(), PollFlags::empty()),
    };
    let mut fds =
        [PollFd::from_borrowed_fd(bell.as_fd(), PollFlags::IN), PollFd::from_borrowed_fd(socket, wanted)];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let [rung, happened] = fds.map(|fd| fd.revents());
    if !rung.is_empty() {
        bell.hush();
    }
    let failed = happened.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
    Ok(Ready {
        readable: failed || happened.contains(PollFlags::IN),
        writable: failed || happened.contains(PollFlags::OUT),
    })
}

fn flags(interest: Interest) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, interest.readable);
    flags.set(PollFlags::OUT, interest.writable);
    flags
}

#[cfg(any(target_os = "linux", target_os = "android"))]
use eventfd::Bell;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use pipe::Bell;

/// The bell as a Linux eventfd: one descriptor; any number of rings is one event.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod eventfd {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    use rustix::event::{EventfdFlags, eventfd};

    pub(super) struct Bell(OwnedFd);

    impl Bell {
        pub(super) fn new() -> io::Result<Bell> {
            Ok(Bell(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
        }

        pub(super) fn ring(&self) {
            // Fails only after 2^64 - 2 unread rings, and then the bell is readable anyway.
            let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        }

        pub(super) fn hush(&self) {
            let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
        }
    }

    impl AsFd for Bell {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
}

/// The bell as a pipe, for every other Unix.
#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
mod pipe {
    use std::io::{self, PipeReader, PipeWriter, Read, Write};
    use std::os::fd::{AsFd, BorrowedFd};

    pub(super) struct Bell {
        reader: PipeReader,
        writer: PipeWriter,
    }

    impl Bell {
        pub(super) fn new() -> io::Result<Bell> {
            let (reader, writer) = io::pipe()?;
            rustix::io::ioctl_fionbio(&reader, true)?;
            rustix::io::ioctl_fionbio(&writer, true)?;
            Ok(Bell { reader, writer })
        }

        pub(super) fn ring(&self) {
            // A full pipe is readable, which is the only purpose of a ring.
            let _ = (&self.writer).write(&[1]);
        }

        pub(super) fn hush(&self) {
            // There is at most one ring for each sleep, so there are only a few bytes. If more than 64 are
            // left, they cost another early return.
            let _ = (&self.reader).read(&mut [0u8; 64]);
        }
    }

    impl AsFd for Bell {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.reader.as_fd()
        }
    }
}

#[cfg(test)]
mod tests;
