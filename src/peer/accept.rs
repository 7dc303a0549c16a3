//! The `accept` thread: starts every connection thread, for those who connect to us and those we connect to, and joins
//! each when it ends. It owns the listener and takes no lock for longer than a look.
//!
//! It sleeps until somebody connects, a connection ended, an address to try is due, or it is told to stop. On stop it
//! tells all connections and joins them; none of them ever blocks, so that is soon.

use super::commons::Commons;
use super::conn_id::ConnId;
use super::connection::{self, Origin};
use super::handle::Mail;
use super::swarm::Swarm;
use super::swarms::Swarms;
use crate::mailbox::{Inbox, Interest, Mailbox};
use crate::threads;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Room in the thread's mailbox: it is read at each turn, and each connection posts once.
pub const MAILBOX: usize = 4096;
/// Connections from or to one address. Loopback is exempt: all peers of one machine share it.
const PER_ADDRESS: usize = 32;
/// The stack of a connection thread: its depth is known, and there may be thousands.
const STACK: usize = 256 * 1024;
/// After the system refused a connection for want of something, so long is waited.
const PAUSE: Duration = Duration::from_millis(200);
/// With nothing else to do, it looks so often for torrents that came and addresses that are due.
const LOOK: Duration = Duration::from_secs(1);

/// What the `accept` thread is told.
pub enum Knock {
    /// There may be somebody to connect to.
    Look,
    /// A connection's thread is about to end.
    Ended(ConnId),
    /// End all connections, and then yourself.
    Stop,
}

/// The thread's own state.
pub struct Door {
    pub listener: TcpListener,
    pub inbox: Inbox<Knock>,
    pub mailbox: Mailbox<Knock>,
    pub swarms: Arc<Swarms>,
    pub commons: Arc<Commons>,
    pub max_connections: usize,
    pub guests: HashMap<ConnId, Guest>,
}

/// One connection's thread.
pub struct Guest {
    thread: JoinHandle<()>,
    letters: Mailbox<Mail>,
    ip: IpAddr,
}

impl Door {
    /// The work of the thread, until it is told to stop.
    pub fn run(mut self) {
        let mut not_before = Instant::now();
        loop {
            while let Some(knock) = self.inbox.take() {
                match knock {
                    Knock::Look => {}
                    Knock::Ended(id) => self.join(id),
                    Knock::Stop => return self.close(),
                }
            }
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
        let due = self.swarms.all().iter().filter_map(|swarm| swarm.next_candidate_at()).min();
        due.map_or(LOOK, |due| due.saturating_duration_since(now).clamp(Duration::from_millis(20), LOOK))
    }

    fn accept_all(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((socket, addr)) => self.welcome(socket, addr)?,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The one who connected has gone again.
                Err(why)
                    if matches!(
                        why.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(why) => return Err(why),
            }
        }
    }

    fn welcome(&mut self, socket: TcpStream, addr: SocketAddr) -> io::Result<()> {
        if !self.has_room_for(addr.ip()) {
            log::debug!("{addr}: refused, there are enough connections");
            return Ok(());
        }
        self.start(Origin::Accepted(socket, addr, Arc::clone(&self.swarms)), addr.ip())
    }

    fn dial_all(&mut self) -> io::Result<()> {
        for swarm in self.swarms.all() {
            while let Some(addr) = self.next_candidate(&swarm) {
                let started = self.start(Origin::Dialled(addr, Arc::clone(&swarm)), addr.ip());
                started.inspect_err(|_| swarm.dialled(addr, false))?;
            }
        }
        Ok(())
    }

    fn next_candidate(&self, swarm: &Swarm) -> Option<SocketAddr> {
        let addr = (self.guests.len() < self.max_connections).then(|| swarm.next_candidate())??;
        if self.has_room_for(addr.ip()) {
            return Some(addr);
        }
        swarm.dialled(addr, false);
        None
    }

    fn has_room_for(&self, ip: IpAddr) -> bool {
        let same = || self.guests.values().filter(|guest| guest.ip == ip).count();
        self.guests.len() < self.max_connections && (ip.is_loopback() || same() < PER_ADDRESS)
    }

    fn start(&mut self, origin: Origin, ip: IpAddr) -> io::Result<()> {
        let id = self.commons.next_conn();
        let (letters, inbox) = connection::mailbox_for_connection()?;
        let (commons, door, reply_to) = (Arc::clone(&self.commons), self.mailbox.clone(), letters.clone());
        let work = move || {
            connection::run(id, origin, &commons, reply_to, inbox);
            let _ = door.post(Knock::Ended(id)); // the door is closed: it joins everybody anyway
        };
        let thread = threads::spawn_with_stack(id.to_string(), STACK, work)?;
        self.guests.insert(id, Guest { thread, letters, ip });
        Ok(())
    }

    fn join(&mut self, id: ConnId) {
        if let Some(guest) = self.guests.remove(&id) {
            let _ = guest.thread.join(); // a panic has ended the process already
        }
    }

    fn close(mut self) {
        for guest in self.guests.values() {
            let _ = guest.letters.post(Mail::Close("this peer stops")); // it ended by itself
        }
        for (_, guest) in self.guests.drain() {
            let _ = guest.thread.join();
        }
    }
}
