//! The session client as the peer sees it. The work is done in [`super::link`], on the thread `tracker`.
//!
//! Requests go to the thread by its mailbox, which is bounded; answers come back through a channel of one place for each request.

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

use super::link;
use super::shared::{ANSWER, Answered, AskError, CONNECTION, ClientShared, Host, LinkMail};

/// Requests that wait to be sent. When more come than the tracker takes, questions are refused, and what was to be told
/// is made good by publishing everything again.
const MAILBOX: usize = 1024;

/// A session with a tracker, which is made again whenever it breaks. Stops when dropped.
pub struct SessionClient {
    shared: Arc<ClientShared>,
    mailbox: Mailbox<LinkMail>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SessionClient {
    /// Starts the thread, which connects to the tracker at `addr`; see [`SessionClient::wait_connected`].
    ///
    /// # Errors
    /// When `addr` is a name that is not known, or the system has no room for another thread.
    pub fn start(addr: impl ToSocketAddrs, host: Arc<dyn Host>) -> io::Result<SessionClient> {
        Self::start_as("tracker", addr, host)
    }

    /// The same on a thread of this name.
    pub(super) fn start_as(
        name: &str,
        addr: impl ToSocketAddrs,
        host: Arc<dyn Host>,
    ) -> io::Result<SessionClient> {
        let addresses: Vec<SocketAddr> = addr.to_socket_addrs()?.collect();
        let (mailbox, inbox) = mailbox(MAILBOX)?;
        let shared = ClientShared::new(host);
        let thread_shared = shared.clone();
        let thread = threads::spawn(name, move || link::run(&addresses, &thread_shared, inbox))?;
        Ok(SessionClient { shared, mailbox, thread: Mutex::new(Some(thread)) })
    }

    /// Asks the tracker and waits for the answer, some ten seconds at most. Not for the thread `tracker` itself.
    ///
    /// # Errors
    /// When there is no connection, no answer, or a refusal.
    pub fn ask(&self, request: Request) -> Result<Reply, AskError> {
        self.wait_connected(CONNECTION).map_err(AskError::NotConnected)?;
        match self.begin(request)?.recv_timeout(ANSWER) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(AskError::TimedOut),
            Err(RecvTimeoutError::Disconnected) => Err(AskError::Lost),
        }
    }

    /// Asks the tracker; the answer comes by the channel, which breaks if there will be none.
    pub(super) fn begin(&self, request: Request) -> Result<Receiver<Answered>, AskError> {
        let (answer, answered) = crossbeam_channel::bounded(1);
        match self.mailbox.post(LinkMail { request, answer: Some(answer) }) {
            Ok(()) => Ok(answered),
            Err(Undelivered::Full(_)) => Err(AskError::Busy),
            Err(Undelivered::Closed(_)) => Err(AskError::Lost),
        }
    }

    /// Tells the tracker and does not wait. What does not arrive is made good at the next connection, or as soon as there
    /// is room again, for then the host is asked for everything; a refusal is logged.
    pub fn tell(&self, request: Request) {
        if let Err(Undelivered::Full(_)) = self.mailbox.post(LinkMail { request, answer: None }) {
            self.shared.lose_word();
            self.mailbox.wake();
        }
    }

    /// Waits until there is a connection and the tracker has answered `hello`.
    ///
    /// # Errors
    /// Why there is none: at once if the last attempt has failed (another one will follow by itself), or because `timeout`
    /// is over.
    pub fn wait_connected(&self, timeout: Duration) -> Result<(), String> {
        self.shared.wait_connected(timeout)
    }

    /// Begins what [`stop`](Self::stop) waits for.
    pub(super) fn begin_stop(&self) {
        self.shared.begin_stop();
        self.mailbox.wake();
    }

    /// Takes leave of the tracker, half a second at most, and ends the thread.
    pub fn stop(&self) {
        self.begin_stop();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join(); // its panic has ended the process
        }
    }
}

impl Drop for SessionClient {
    fn drop(&mut self) {
        self.stop();
    }
}
