//! The thread that owns a socket: `conn-N`, one for each connection, and the only one that reads or writes
//! it.
//!
//! It never blocks in a write: two peers that both did, each with the other's requests unread in its buffers,
//! would wait for each other without end. The socket is non-blocking, and the one place that sleeps
//! (`Connection::wait`) waits for three things at once: the socket readable, the socket writable (only while
//! something is left to write), and mail. It takes no lock for a block: the picker's locks are taken once for
//! each piece.

pub(crate) mod accept;
mod end;
mod input;
mod membership;
mod opening;
mod outbox;
mod sending;
mod spares;
mod transport;

pub use end::End;
pub use opening::Origin;

use super::handle::{Handle, MAILBOX, Mail};
use super::identity::ConnId;
use super::identity::{PeerIdentity, SourceIdentity};
use super::session::Session;
use super::session::dispatch::Driver;
use super::swarm::shared::Shared;
use crate::bitfield::Bitfield;
use crate::mailbox::{Inbox, Interest, Mailbox, mailbox};
use crate::protocol::handshake::HandshakeError;
use crate::protocol::wire;
use crate::torrent::Block;
use input::{Filled, Input, LARGE_BUFFER};
use membership::Membership;
use opening::{Opened, open};
use outbox::Outbox;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use transport::Transport;

/// How long a connection must be idle before it gives its buffers back: hundreds may be idle.
const REST: Duration = Duration::from_secs(5);

/// The mailbox of a new connection, for the thread that starts it.
pub fn mailbox_for_connection() -> io::Result<(Mailbox<Mail>, Inbox<Mail>)> {
    mailbox(MAILBOX)
}

/// The whole life of connection `id`, on its own thread.
pub fn run(id: ConnId, origin: Origin, shared: &Arc<Shared>, mailbox: Mailbox<Mail>, mut inbox: Inbox<Mail>) {
    let (addr, dialled) = match &origin {
        Origin::Accepted(_, addr, _) => (*addr, None),
        Origin::Dialled(addr, swarm) => (*addr, Some(Arc::clone(swarm))),
    };
    let opened = open(origin, shared, &mut inbox);
    let end =
        opened.and_then(|opened| Connection::start(id, addr, dialled.is_some(), opened, mailbox, inbox));
    // A connection was useful if content passed over it. An address whose connection began and ended at once
    // is not tried again as soon.
    let (end, worked) = match end {
        Ok(connection) => {
            let handle = Arc::clone(&connection.member.handle);
            (connection.live(), handle.received() + handle.sent() > 0)
        }
        Err(end) => (end, false),
    };
    log::debug!("{addr}: connection ended: {end}");
    if let Some(swarm) = dialled {
        let is_news = swarm.dialled(addr, worked);
        if matches!(end, End::Handshake(HandshakeError::Ourselves) | End::Banned) {
            swarm.forget(addr);
        } else if is_news && let End::Handshake(why) = end {
            log::warn!("{addr}: {why}"); // the user named it, and will wonder why nothing comes from there
        }
    }
}

/// One connection after its handshake.
struct Connection {
    transport: Box<dyn Transport>,
    inbox: Inbox<Mail>,
    driver: Driver,
    member: Membership,
    input: Input,
    outbox: Outbox,
    /// Whether the socket may have something for us.
    readable: bool,
    /// Until when a rate limit has us neither read nor serve.
    read_at: Option<Instant>,
    serve_at: Option<Instant>,
    /// When the buffers are given back, if nothing passes before.
    rest_at: Option<Instant>,
    /// Blocks being served, kept for its memory.
    run: Vec<Block>,
    now: Instant,
}

impl Connection {
    fn start(
        id: ConnId,
        addr: SocketAddr,
        outgoing: bool,
        opened: Opened,
        mailbox: Mailbox<Mail>,
        inbox: Inbox<Mail>,
    ) -> Result<Self, End> {
        let Opened { transport, swarm, agreement } = opened;
        let peer = PeerIdentity { addr: addr.ip(), peer_id: agreement.peer_id };
        if swarm.shared.bans.has(&peer) {
            return Err(End::Banned);
        }
        let identity = Arc::new(SourceIdentity::from(peer));
        let handle =
            Arc::new(Handle::new(id, addr, outgoing, Arc::clone(&identity), agreement.proof, mailbox));
        if !swarm.join(&handle) {
            return Err(End::Told("there is another connection to the same peer"));
        }
        if !swarm.is_running() {
            // It was paused meanwhile, and this connection was not closed with the others.
            let end = End::Told("the torrent is paused");
            swarm.leave(&handle, &end);
            return Err(end);
        }
        let (have, told) = swarm.have();
        let first_copy = swarm.shows_piece_by_piece(id);
        let have = if first_copy { Bitfield::new(have.len()) } else { have };
        let port = outgoing.then(|| swarm.shared.port());
        let now = Instant::now();
        let torrent = Arc::clone(&swarm.torrent);
        let mut session = Session::new(torrent, agreement, Arc::clone(&identity), &have, port, now);
        if let Some(blocks) = swarm.shared.tuning.first_window {
            session.set_window(blocks);
        }
        if let Some(patience) = swarm.shared.tuning.patience {
            session.set_patience(patience);
        }
        let mut driver = Driver::new(session, id, identity, told, first_copy);
        if let Some(look_again) = swarm.shared.tuning.look_again {
            driver.set_look_again(look_again);
        }
        log::debug!("{addr}: connected for {} ({:?})", swarm.torrent.name(), agreement.proof);
        Ok(Connection {
            input: Input::new(driver.session.max_message_len()),
            transport,
            inbox,
            driver,
            member: Membership { swarm, handle, place: None },
            outbox: Outbox::default(),
            readable: true,
            read_at: None,
            serve_at: None,
            rest_at: None,
            run: Vec::new(),
            now,
        })
    }

    /// From the first message to the last.
    fn live(mut self) -> End {
        self.on_events();
        let end = loop {
            if let Err(end) = self.turn() {
                break end;
            }
        };
        let bans = &self.member.swarm.shared.bans;
        let offender = self.member.handle.identity.peer().filter(|_| end.is_offence());
        if offender.is_some_and(|peer| bans.offended(peer)) {
            log::warn!("{} broke the rules again ({end}): banned for a while", self.member.handle);
        }
        self.driver.session.give_back_all();
        self.on_events();
        self.member.swarm.leave(&self.member.handle, &end);
        end
    }

    fn turn(&mut self) -> Result<(), End> {
        self.take_mail()?;
        self.receive()?;
        self.announce_finished()?;
        self.driver.look_for_work(self.now, &mut self.member);
        self.serve()?;
        self.wait()
    }

    // ---- what the rest of the engine asks of this connection ----------------------------------------------

    fn take_mail(&mut self) -> Result<(), End> {
        self.now = Instant::now();
        if self.inbox.overflowed() {
            return Err(End::Overflowed);
        }
        while let Some(mail) = self.inbox.take() {
            self.driver.on_mail(mail, self.now, &mut self.member).map_err(End::Told)?;
        }
        Ok(())
    }

    // ---- what the other side says -------------------------------------------------------------------------

    fn receive(&mut self) -> Result<(), End> {
        if self.readable && !self.is_held(self.read_at) {
            self.read_at = self.member.swarm.shared.down.ready(self.now).err().map(|wait| self.now + wait);
            if self.read_at.is_none() {
                self.read()?;
            }
        }
        self.driver.session.ask(self.now);
        Ok(())
    }

    fn read(&mut self) -> Result<(), End> {
        // No more than the rate allows soon: a debt of a full buffer would keep the other connections from
        // reading for long.
        let most = self.member.swarm.shared.down.portion(LARGE_BUFFER as u32) as usize;
        let Filled { read, landed } =
            self.input.fill(&mut self.transport, self.driver.session.landing(), most)?;
        self.member.swarm.shared.down.spend(read);
        if read > 0 {
            self.rest_at = Some(self.now + REST);
            self.member.handle.heard(self.now);
        }
        for _ in 0..landed {
            let bytes = self.driver.session.landed(self.now) as usize;
            self.member.received(bytes);
            self.on_events();
        }
        while let Some((message, len)) = self.input.next()? {
            self.driver.session.on_message(message, self.now)?;
            if let wire::Message::Piece { data, .. } = message {
                self.member.received(data.len());
            }
            self.input.consume(len);
            self.on_events();
        }
        Ok(())
    }

    fn on_events(&mut self) {
        self.driver.on_events(&mut self.member);
    }

    // ---- waiting ------------------------------------------------------------------------------------------

    /// The only place that sleeps: until the socket is readable, or writable while something is left to
    /// write, or mail comes, or a timer is due.
    fn wait(&mut self) -> Result<(), End> {
        self.now = Instant::now();
        self.member.handle.numbers.serves_us.store(!self.driver.session.is_choked(), Ordering::Relaxed);
        let asks_us = self.driver.session.has_uploads() || !self.outbox.is_empty();
        self.member.handle.numbers.asks_us.store(asks_us, Ordering::Relaxed);
        let timers = [
            Some(self.driver.deadline()),
            self.read_at,
            self.serve_at.filter(|_| self.driver.session.has_uploads()),
            self.rest_at,
        ];
        let next = timers.into_iter().flatten().min().unwrap_or(self.now);
        let to_serve = self.driver.session.has_uploads() && !self.is_held(self.serve_at);
        let writable = to_serve || !self.outbox.is_empty();
        let interest = Interest { readable: !self.is_held(self.read_at), writable };
        // The descriptor does not show what the transport holds already.
        let holds_input = interest.readable && self.transport.holds_input();
        let has_something = holds_input || self.has_news();
        let timeout = if has_something { Duration::ZERO } else { next.saturating_duration_since(self.now) };
        let ready = self.inbox.wait(&self.transport, interest, Some(timeout))?;
        self.readable = ready.readable || holds_input;
        self.now = Instant::now();
        self.driver.tick(self.now)?;
        self.rest_if_idle();
        self.on_events();
        Ok(())
    }

    /// From now on whoever finishes a piece wakes this thread if the peer is to be told at once. True if one
    /// was finished before, so that nobody did.
    fn has_news(&self) -> bool {
        let tells_later = &self.member.handle.numbers.tells_later;
        let (before, now) = (tells_later.load(Ordering::Relaxed), self.driver.tells_later());
        if before != now {
            tells_later.store(now, Ordering::SeqCst);
        }
        before && !now && self.member.swarm.has_finished_more_than(self.driver.told())
    }

    fn rest_if_idle(&mut self) {
        if self.rest_at.is_some_and(|rest_at| self.now >= rest_at) {
            self.rest_at = None;
            self.input.rest();
            self.outbox.rest();
        }
    }

    fn is_held(&self, until: Option<Instant>) -> bool {
        until.is_some_and(|until| self.now < until)
    }
}
