//! The threads of the connections, `client-N`. Each serves one connection at a time. When it ends, the thread
//! waits a while for another one, because starting a thread costs more than most requests: clients that
//! announce over HTTP open a connection for each announce. No lock: a connection is handed over by a channel
//! without a buffer, so either a thread is waiting at the other end, or a new one is started.
//!
//! The number of threads is bounded by `limits.connections`, plus a few that are just ending.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::mailbox::{Inbox, mailbox};
use crate::threads;

use super::connection::ClientConnection;
use super::shared::{ConnectionId, TrackerShared, Waker};
use super::{http, session};

/// How long an idle thread waits for another connection.
const IDLE: Duration = Duration::from_secs(5);

/// A connection that has just been accepted.
struct NewConnection {
    socket: TcpStream,
    remote: SocketAddr,
    id: ConnectionId,
}

/// Hands connections to threads. Owned by the thread `accept`.
pub struct Clients {
    shared: Arc<TrackerShared>,
    threads: Vec<JoinHandle<()>>,
    next: ConnectionId,
    to_idle: Sender<NewConnection>,
    idle: Receiver<NewConnection>,
}

impl Clients {
    pub fn new(shared: Arc<TrackerShared>) -> Clients {
        let (to_idle, idle) = crossbeam_channel::bounded(0);
        Clients { shared, threads: Vec::new(), next: 1, to_idle, idle }
    }

    /// Gives a connection to an idle thread, or starts a new one.
    ///
    /// # Errors
    /// If there are too many connections, or the system cannot start another thread.
    pub fn welcome(&mut self, socket: TcpStream, remote: SocketAddr) -> io::Result<()> {
        let id = self.next;
        self.next += 1;
        if !self.shared.enter(id, remote.ip().to_canonical()) {
            return Err(io::Error::other("there are as many connections as the limits allow"));
        }
        let new = match self.to_idle.try_send(NewConnection { socket, remote, id }) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(new) | TrySendError::Disconnected(new)) => new,
        };
        let started = self.start(new);
        if started.is_err() {
            self.shared.exit(id);
        }
        started
    }

    fn start(&mut self, new: NewConnection) -> io::Result<()> {
        self.join_finished();
        let (waker, mut inbox) = mailbox(1)?;
        let (shared, idle) = (self.shared.clone(), self.idle.clone());
        let thread = threads::spawn(format!("client-{}", new.id), move || {
            let mut next = Some(new);
            while let Some(new) = next {
                serve(&shared, new, &waker, &mut inbox);
                next = idle.recv_timeout(IDLE).ok();
            }
        })?;
        self.threads.push(thread);
        Ok(())
    }

    fn join_finished(&mut self) {
        for thread in self.threads.extract_if(.., |thread| thread.is_finished()) {
            let _ = thread.join(); // its panic has ended the process
        }
    }

    /// Waits until all threads have ended. They have been told to stop before.
    pub fn join(self) {
        let Clients { threads, to_idle, .. } = self;
        drop(to_idle);
        for thread in threads {
            let _ = thread.join(); // its panic has ended the process
        }
    }
}

/// Serves one connection on the thread `client-N`.
fn serve(shared: &Arc<TrackerShared>, new: NewConnection, waker: &Waker, inbox: &mut Inbox<()>) {
    let NewConnection { socket, remote, id } = new;
    shared.open(id, waker.clone());
    match ClientConnection::new(socket, remote, inbox, shared) {
        Ok(mut connection) => greet(shared, &mut connection, id),
        Err(error) => log::debug!("{remote} cannot be served: {error}"),
    }
    shared.exit(id);
}

/// Waits for the first bytes, which tell the protocol.
fn greet(shared: &TrackerShared, connection: &mut ClientConnection, id: ConnectionId) {
    let mut begun = Vec::new();
    match connection.fill(&mut begun, Instant::now() + shared.limits.greeting) {
        Ok(()) if begun.starts_with(b"{") => session::serve(shared, connection, id, &begun),
        Ok(()) => http::serve(shared, connection, begun),
        Err(end) => log::debug!("{} asked for nothing: {end}", connection.remote()),
    }
}
