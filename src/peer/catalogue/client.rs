//! The session client as the engine uses it. Any thread. The work is done in [`super::link`], on the thread
//! `tracker`. A lock guards only the thread's handle, until it is joined.
//!
//! Requests reach the thread through its mailbox, which is bounded. Each answer returns through a channel of
//! its own, with room for one.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;

use crate::mailbox::{Mailbox, Undelivered, mailbox};
use crate::protocol::catalogue::{Reply, Request};
use crate::threads;
use crate::torrent::InfoHash;

use super::link;
use super::shared::{ANSWER, Answered, AskError, CONNECTION, ClientShared, Host, LinkMail};

/// Maximum number of requests that wait in the mailbox. If the tracker is too slow, questions are refused,
/// and publications that do not fit are repaired by publishing everything again.
const MAILBOX: usize = 1024;

/// A session with a tracker, made again whenever it breaks. It stops when it is dropped.
pub struct SessionClient {
    shared: Arc<ClientShared>,
    mailbox: Mailbox<LinkMail>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SessionClient {
    /// Starts the thread, which connects to the tracker at `addr`; see [`SessionClient::wait_connected`].
    ///
    /// # Errors
    /// If the name `addr` cannot be resolved, or the thread or its mailbox cannot be made.
    pub fn start(addr: impl ToSocketAddrs, host: Arc<dyn Host>) -> io::Result<SessionClient> {
        Self::start_as("tracker", addr, host)
    }

    /// The same on a thread of this name.
    pub(super) fn start_as(
        name: &str,
        addr: impl ToSocketAddrs,
        host: Arc<dyn Host>,
    ) -> io::Result<SessionClient> {
        let addresses = addr.to_socket_addrs()?.filter(|address| host.families().has(address.ip()));
        let addresses: Vec<SocketAddr> = addresses.collect();
        let (mailbox, inbox) = mailbox(MAILBOX)?;
        let shared = ClientShared::new(host);
        let thread_shared = shared.clone();
        let thread = threads::spawn(name, move || link::run(&addresses, &thread_shared, inbox))?;
        Ok(SessionClient { shared, mailbox, thread: Mutex::new(Some(thread)) })
    }

    /// Asks the tracker and waits for the answer, about twelve seconds at most. Must not be called on
    /// the thread `tracker`.
    ///
    /// # Errors
    /// If there is no connection, no answer, or a refusal.
    pub fn ask(&self, request: Request) -> Result<Reply, AskError> {
        self.wait_connected(CONNECTION).map_err(AskError::NotConnected)?;
        match self.begin(request)?.recv_timeout(ANSWER) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(AskError::TimedOut),
            Err(RecvTimeoutError::Disconnected) => Err(AskError::Lost),
        }
    }

    /// Asks the tracker. The answer comes through the channel, which is closed if there will be none.
    pub(super) fn begin(&self, request: Request) -> Result<Receiver<Answered>, AskError> {
        let (answer, answered) = crossbeam_channel::bounded(1);
        match self.mailbox.post(LinkMail { request, answer: Some(answer) }) {
            Ok(()) => Ok(answered),
            Err(Undelivered::Full(mail)) => {
                self.has_no_room(mail);
                Err(AskError::Busy)
            }
            Err(Undelivered::Closed(_)) => Err(AskError::Lost),
        }
    }

    /// Sends to the tracker and does not wait. If the request is lost, everything is published again at the
    /// next connection, or as soon as the mailbox has room. A refusal is logged.
    pub fn tell(&self, request: Request) {
        if let Err(Undelivered::Full(mail)) = self.mailbox.post(LinkMail { request, answer: None }) {
            self.has_no_room(mail);
        }
    }

    fn has_no_room(&self, mail: LinkMail) {
        self.shared.has_no_room(mail);
        self.mailbox.wake();
    }

    /// Has the tracker told, in one go and without waiting, what these torrents are now: published, or no
    /// longer. A refusal is logged.
    pub(super) fn refresh(&self, hashes: &[InfoHash]) {
        self.shared.refresh(hashes);
        self.mailbox.wake();
    }

    /// Waits until there is a connection and the tracker has answered `hello`.
    ///
    /// # Errors
    /// Why there is no connection: at once if the last attempt has failed (the next one follows by itself),
    /// or after `timeout`.
    pub fn wait_connected(&self, timeout: Duration) -> Result<(), String> {
        self.shared.wait_connected(timeout)
    }

    /// Tells the thread to end, without waiting for it as [`stop`](Self::stop) does.
    pub(super) fn begin_stop(&self) {
        self.shared.begin_stop();
        self.mailbox.wake();
    }

    /// Says goodbye to the tracker, for half a second at most, and ends the thread.
    pub fn stop(&self) {
        self.begin_stop();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join(); // a panic of the thread has already ended the process
        }
    }
}

impl Drop for SessionClient {
    fn drop(&mut self) {
        self.stop();
    }
}
