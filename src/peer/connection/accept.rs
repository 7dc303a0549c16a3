//! The `accept` thread: starts the thread of every connection, accepted or dialled, and joins it when it
//! ends. It owns the listener, and holds every lock only for a look.
//!
//! It sleeps until a peer connects, a connection ends, an address is due, or it is told to stop. When it
//! stops, it tells all connections and joins them; none of them ever blocks, so that does not take long.
//!
//! A connection is refused if its address is banned, if it comes back too fast (`reconnects`), or if there is
//! no room; useless connections make room for others (`limits`). Loopback has no limit of reconnects: all
//! peers of one machine share it, and one that connects in a loop would use up the attempts of the others.

mod limits;
mod reconnects;

pub use limits::ConnectionLimits;
pub use reconnects::ReconnectLimit;

use super::Origin;
use crate::mailbox::{Inbox, Interest, Mailbox};
use crate::net;
use crate::peer::connection;
use crate::peer::handle::Mail;
use crate::peer::identity::ConnId;
use crate::peer::swarm::Swarm;
use crate::peer::swarm::busy::Busy;
use crate::peer::swarm::shared::Shared;
use crate::peer::swarm::table::Swarms;
use crate::threads;
use limits::ConnectionThread;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Maximum number of pieces of mail in the mailbox. It is read at each turn, and each connection posts once.
pub const MAILBOX: usize = 4096;
/// Maximum number of connections accepted between two looks at the mail.
const AT_ONCE: usize = 64;
/// Stack of a connection's thread, in bytes. Its depth is known, and there may be thousands of threads.
const STACK: usize = 256 * 1024;
/// How long to wait after the system had no descriptor, thread or memory for a connection.
const PAUSE: Duration = Duration::from_millis(200);
/// How often to look for new torrents and due addresses, if nothing else happens.
const LOOK: Duration = Duration::from_secs(1);

/// Mail of the `accept` thread.
pub enum AcceptMail {
    /// There may be new addresses to connect to.
    Look,
    /// A connection's thread is about to end.
    Ended(ConnId),
    /// End all connections, and then the thread.
    Stop,
}

/// The state of the thread.
pub struct Acceptor {
    /// Where peers connect to us.
    pub listener: TcpListener,
    /// The mail of this thread.
    pub inbox: Inbox<AcceptMail>,
    /// Where connections post that they end.
    pub mailbox: Mailbox<AcceptMail>,
    /// All torrents.
    pub swarms: Arc<Swarms>,
    /// Those of them that have addresses, or wait for their folders.
    pub busy: Busy,
    /// What all torrents share.
    pub shared: Arc<Shared>,
    /// The connections that exist, and how many may.
    pub connections: ConnectionLimits,
    /// How often one address may connect.
    pub reconnects: ReconnectLimit,
    /// Number of changes of the bans up to which connections were closed.
    pub banned: u64,
}

impl Acceptor {
    /// The work of the thread. Returns when it is told to stop.
    pub fn run(mut self) {
        loop {
            while let Some(mail) = self.inbox.take() {
                match mail {
                    AcceptMail::Look => {}
                    AcceptMail::Ended(id) => self.join(id),
                    AcceptMail::Stop => return self.close(),
                }
            }
            self.close_banned();
            let (wait, may_accept) = match self.accept_all().and_then(|()| self.look_at_all()) {
                Ok(wait) => (wait, true),
                Err(why) => {
                    log::warn!("cannot take another connection now: {why}");
                    (PAUSE, false)
                }
            };
            let interest = Interest { readable: may_accept, writable: false };
            if let Err(why) = self.inbox.wait(&self.listener, interest, Some(wait)) {
                log::error!("cannot wait for connections: {why}");
                thread::sleep(PAUSE);
            }
        }
    }

    /// Accepts the connections that wait, a few at a time: peers that connect faster than that must not keep
    /// the thread from its mail.
    fn accept_all(&mut self) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            match self.listener.accept() {
                Ok((socket, addr)) => self.welcome(socket, addr)?,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => break,
                // The peer has closed its connection again.
                Err(why)
                    if matches!(
                        why.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(why) => return Err(why),
            }
        }
        Ok(())
    }

    fn welcome(&mut self, socket: TcpStream, addr: SocketAddr) -> io::Result<()> {
        let addr = net::canonical(addr); // the listener is of both families
        let ip = addr.ip();
        if let Some(why) = self.refusal(ip) {
            log::debug!("{addr}: refused, {why}");
            return Ok(());
        }
        self.start(Origin::Accepted(socket, addr, Arc::clone(&self.swarms)), ip)
    }

    fn refusal(&mut self, ip: IpAddr) -> Option<&'static str> {
        if self.shared.bans.has_addr(ip) {
            Some("it is banned")
        } else if !ip.is_loopback()
            && !self.shared.tuning.no_reconnect_limit
            && !self.reconnects.admits(ip, Instant::now())
        {
            Some("it comes back too fast")
        } else if !self.connections.has_room_for(ip, &self.swarms) {
            Some("there are enough connections")
        } else {
            None
        }
    }

    /// Closes the connections of peers that were banned since the last look, in all torrents.
    fn close_banned(&mut self) {
        let bans = &self.shared.bans;
        if std::mem::replace(&mut self.banned, bans.changes()) == self.banned {
            return;
        }
        let swarms = self.swarms.all();
        for member in swarms.iter().flat_map(|swarm| swarm.members()) {
            if member.identity.peer().is_some_and(|peer| bans.has(peer)) {
                let _ = member.mailbox.post(Mail::Close("it is banned")); // it ended by itself
            }
        }
    }

    /// Connects to the addresses that are due, and has absent folders looked for. Returns how long to wait
    /// until the next time.
    fn look_at_all(&mut self) -> io::Result<Duration> {
        let mut due: Option<Instant> = None;
        for swarm in &self.busy.among(&self.swarms, &self.shared, Swarm::concerns_accept) {
            if !swarm.concerns_accept() {
                continue;
            }
            swarm.look_for_folder_if_due(Instant::now());
            while let Some(addr) = self.next_address(swarm) {
                let started = self.start(Origin::Dialled(addr, Arc::clone(swarm)), addr.ip());
                if started.is_err() {
                    swarm.dialled(addr, false);
                }
                started?;
            }
            due = due.into_iter().chain(swarm.next_address_at()).min();
        }
        let now = Instant::now();
        let wait = |due: Instant| due.saturating_duration_since(now).clamp(Duration::from_millis(20), LOOK);
        Ok(due.map_or(LOOK, wait))
    }

    fn next_address(&mut self, swarm: &Swarm) -> Option<SocketAddr> {
        // No connection is evicted for an address that is not due.
        let is_due = swarm.next_address_at().is_some_and(|at| at <= Instant::now());
        if !is_due || !self.connections.has_room(&self.swarms) {
            return None;
        }
        let addr = swarm.next_address()?;
        let ip = addr.ip();
        if !self.shared.bans.has_addr(ip) && self.connections.has_room_for(ip, &self.swarms) {
            return Some(addr);
        }
        swarm.dialled(addr, false);
        None
    }

    fn start(&mut self, origin: Origin, ip: IpAddr) -> io::Result<()> {
        let id = self.shared.next_conn();
        let (mailbox, inbox) = connection::mailbox_for_connection()?;
        let (shared, accept, reply_to) = (Arc::clone(&self.shared), self.mailbox.clone(), mailbox.clone());
        let work = move || {
            connection::run(id, origin, &shared, reply_to, inbox);
            let _ = accept.post(AcceptMail::Ended(id)); // it has ended: then it has joined all threads
        };
        let thread = threads::spawn_with_stack(id.to_string(), STACK, work)?;
        self.connections.insert(id, ConnectionThread { thread, mailbox, ip, since: Instant::now() });
        Ok(())
    }

    fn join(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.remove(id) {
            let _ = connection.thread.join(); // a panic has ended the process already
        }
    }

    fn close(mut self) {
        let connections: Vec<ConnectionThread> = self.connections.drain().collect();
        for connection in &connections {
            let _ = connection.mailbox.post(Mail::Close("this peer stops")); // it ended by itself
        }
        for connection in connections {
            let _ = connection.thread.join();
        }
    }
}
