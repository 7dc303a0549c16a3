//! The `accept` thread: starts every connection thread, for those who connect to us and those we connect to, and joins
//! each when it ends. It owns the listener and takes no lock for longer than a look.
//!
//! It sleeps until somebody connects, a connection ended, an address to try is due, or it is told to stop. On stop it
//! tells all connections and joins them; none of them ever blocks, so that is soon.
//!
//! Who may come in: nobody who is banned by address, nobody who comes back too fast (`reconnects`), and as many as there is room for,
//! where the useless make room for others (`connections`). Loopback has no reconnects: all peers of one machine share it, and one
//! that connects in a loop would use up the turns of the others.

mod limits;
mod reconnects;

pub use limits::ConnectionLimits;
pub use reconnects::ReconnectLimit;

use super::Origin;
use crate::mailbox::{Inbox, Interest, Mailbox};
use crate::peer::connection;
use crate::peer::handle::Mail;
use crate::peer::identity::ConnId;
use crate::peer::swarm::Swarm;
use crate::peer::swarm::shared::Shared;
use crate::peer::swarm::table::Swarms;
use crate::threads;
use limits::ConnectionThread;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Room in the thread's mailbox: it is read at each turn, and each connection posts once.
pub const MAILBOX: usize = 4096;
/// So many connections are taken between two looks at the mail.
const AT_ONCE: usize = 64;
/// The stack of a connection thread: its depth is known, and there may be thousands.
const STACK: usize = 256 * 1024;
/// After the system refused a connection for want of something, so long is waited.
const PAUSE: Duration = Duration::from_millis(200);
/// With nothing else to do, it looks so often for torrents that came and addresses that are due.
const LOOK: Duration = Duration::from_secs(1);

/// What the `accept` thread is told.
pub enum AcceptMail {
    /// There may be somebody to connect to.
    Look,
    /// A connection's thread is about to end.
    Ended(ConnId),
    /// End all connections, and then yourself.
    Stop,
}

/// The thread's own state.
pub struct Acceptor {
    /// Where peers connect to us.
    pub listener: TcpListener,
    /// The mail of this thread.
    pub inbox: Inbox<AcceptMail>,
    /// Where connections post that they end.
    pub mailbox: Mailbox<AcceptMail>,
    /// All torrents.
    pub swarms: Arc<Swarms>,
    /// What all torrents share.
    pub shared: Arc<Shared>,
    /// The connections that exist, and how many may.
    pub connections: ConnectionLimits,
    /// How often one address may connect.
    pub reconnects: ReconnectLimit,
    /// The bans that were carried out, by their number.
    pub banned: u64,
}

impl Acceptor {
    /// The work of the thread, until it is told to stop.
    pub fn run(mut self) {
        let mut not_before = Instant::now();
        loop {
            while let Some(mail) = self.inbox.take() {
                match mail {
                    AcceptMail::Look => {}
                    AcceptMail::Ended(id) => self.join(id),
                    AcceptMail::Stop => return self.close(),
                }
            }
            self.close_banned();
            let accepted = self.accept_all().and_then(|()| self.dial_all());
            if let Err(why) = accepted {
                log::warn!("cannot take another connection now: {why}");
                not_before = Instant::now() + PAUSE;
            }
            let now = Instant::now();
            let may_accept = now >= not_before;
            let due =
                if may_accept { self.next_look(now) } else { not_before.saturating_duration_since(now) };
            let interest = Interest { readable: may_accept, writable: false };
            if let Err(why) = self.inbox.wait(&self.listener, interest, Some(due)) {
                log::error!("cannot wait for connections: {why}");
                thread::sleep(PAUSE);
            }
        }
    }

    fn next_look(&self, now: Instant) -> Duration {
        let due = self.swarms.all().iter().filter_map(|swarm| swarm.next_address_at()).min();
        due.map_or(LOOK, |due| due.saturating_duration_since(now).clamp(Duration::from_millis(20), LOOK))
    }

    /// Takes who waits at the accept, a few at a time: whoever comes faster than that must not keep us from our mail.
    fn accept_all(&mut self) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            match self.listener.accept() {
                Ok((socket, addr)) => self.welcome(socket, addr)?,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => break,
                // The one who connected has gone again.
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
        let ip = addr.ip().to_canonical();
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

    /// Ends the connections of those who were banned since the last look, in whatever torrent.
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

    fn dial_all(&mut self) -> io::Result<()> {
        for swarm in self.swarms.all() {
            while let Some(addr) = self.next_address(&swarm) {
                let started = self.start(Origin::Dialled(addr, Arc::clone(&swarm)), addr.ip());
                started.inspect_err(|_| swarm.dialled(addr, false))?;
            }
        }
        Ok(())
    }

    fn next_address(&mut self, swarm: &Swarm) -> Option<SocketAddr> {
        // Nobody is shown out for the sake of one who is not due.
        let is_due = swarm.next_address_at().is_some_and(|at| at <= Instant::now());
        if !is_due || !self.connections.has_room(&self.swarms) {
            return None;
        }
        let addr = swarm.next_address()?;
        let ip = addr.ip().to_canonical();
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
            let _ = accept.post(AcceptMail::Ended(id)); // the accept is closed: it joins everybody anyway
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
