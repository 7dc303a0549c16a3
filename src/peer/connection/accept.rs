//! The `accept` thread: starts every connection thread, for those who connect to us and those we connect to, and joins
//! each when it ends. It owns the listener and takes no lock for longer than a look.
//!
//! It sleeps until somebody connects, a connection ended, an address to try is due, or it is told to stop. On stop it
//! tells all connections and joins them; none of them ever blocks, so that is soon.
//!
//! Who may come in: nobody who is banned by address, nobody who comes back too fast (`pace`), and as many as there is room for,
//! where the useless make room for others (`guests`). Loopback has no pace: all peers of one machine share it, and one
//! that connects in a loop would use up the turns of the others.

mod limits;
mod pace;

pub use limits::Guests;
pub use pace::Pace;

use super::Origin;
use crate::mailbox::{Inbox, Interest, Mailbox};
use crate::peer::connection;
use crate::peer::handle::Mail;
use crate::peer::identity::ConnId;
use crate::peer::swarm::Swarm;
use crate::peer::swarm::shared::Commons;
use crate::peer::swarm::table::Swarms;
use crate::threads;
use limits::Guest;
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
    pub guests: Guests,
    pub pace: Pace,
    /// The bans that were carried out, by their number.
    pub banned: u64,
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
            self.show_out_the_banned();
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

    /// Takes who waits at the door, a few at a time: whoever comes faster than that must not keep us from our mail.
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
        if self.commons.bans.has_addr(ip) {
            Some("it is banned")
        } else if !ip.is_loopback() && !self.commons.tuning.no_pace && !self.pace.admits(ip, Instant::now()) {
            Some("it comes back too fast")
        } else if !self.guests.has_room_for(ip, &self.swarms) {
            Some("there are enough connections")
        } else {
            None
        }
    }

    /// Ends the connections of those who were banned since the last look, in whatever torrent.
    fn show_out_the_banned(&mut self) {
        let bans = &self.commons.bans;
        if std::mem::replace(&mut self.banned, bans.news()) == self.banned {
            return;
        }
        let swarms = self.swarms.all();
        for member in swarms.iter().flat_map(|swarm| swarm.members()) {
            if bans.has(&member.source) {
                let _ = member.mailbox.post(Mail::Close("it is banned")); // it ended by itself
            }
        }
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

    fn next_candidate(&mut self, swarm: &Swarm) -> Option<SocketAddr> {
        // Nobody is shown out for the sake of one who is not due.
        let is_due = swarm.next_candidate_at().is_some_and(|at| at <= Instant::now());
        if !is_due || !self.guests.has_room(&self.swarms) {
            return None;
        }
        let addr = swarm.next_candidate()?;
        let ip = addr.ip().to_canonical();
        if !self.commons.bans.has_addr(ip) && self.guests.has_room_for(ip, &self.swarms) {
            return Some(addr);
        }
        swarm.dialled(addr, false);
        None
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
        self.guests.insert(id, Guest { thread, letters, ip, since: Instant::now() });
        Ok(())
    }

    fn join(&mut self, id: ConnId) {
        if let Some(guest) = self.guests.remove(id) {
            let _ = guest.thread.join(); // a panic has ended the process already
        }
    }

    fn close(mut self) {
        let guests: Vec<Guest> = self.guests.drain().collect();
        for guest in &guests {
            let _ = guest.letters.post(Mail::Close("this peer stops")); // it ended by itself
        }
        for guest in guests {
            let _ = guest.thread.join();
        }
    }
}
