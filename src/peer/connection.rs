//! The thread that owns a socket: `conn-N`, one for each connection, and the only one that ever reads or writes it.
//!
//! It never blocks in a write: two peers that both did, each with the other's requests unread in its buffers, would
//! wait for each other for ever. The socket is non-blocking, and the one place that sleeps (`Connection::wait`)
//! waits for three things at once: the socket readable, the socket writable (only while something is left to
//! write), and mail. It takes no lock for a block: those of the picker are taken once a piece.

pub mod accept;
mod end;
mod input;
mod opening;
pub mod outbox;
mod sending;

pub use end::End;
pub use opening::Origin;

use super::bandwidth::traffic::Counted;
use super::handle::{Handle, Helper, MAILBOX, Mail};
use super::identity::ConnId;
use super::identity::PeerIdentity;
use super::session::{Event, Session};
use super::swarm::Swarm;
use super::swarm::shared::Shared;
use crate::bitfield::Bitfield;
use crate::mailbox::{Inbox, Interest, Mailbox, mailbox};
use crate::net;
use crate::protocol::extension::Extended;
use crate::protocol::handshake::HandshakeError;
use crate::protocol::wire;
use crate::torrent::{Block, Piece};
use input::{Filled, Input, LARGE_BUFFER};
use opening::{Opened, open};
use outbox::Outbox;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A connection that found nothing to fetch looks again after so long at the latest.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A connection over which nothing passed for so long gives its buffers back: hundreds may be idle.
const REST: Duration = Duration::from_secs(5);

/// What the thread that starts connections keeps of one.
pub fn mailbox_for_connection() -> io::Result<(Mailbox<Mail>, Inbox<Mail>)> {
    mailbox(MAILBOX)
}

/// The whole life of connection `id`, on its own thread.
pub fn run(id: ConnId, origin: Origin, shared: &Shared, mailbox: Mailbox<Mail>, mut inbox: Inbox<Mail>) {
    let (addr, dialled) = match &origin {
        Origin::Accepted(_, addr, _) => (*addr, None),
        Origin::Dialled(addr, swarm) => (*addr, Some(Arc::clone(swarm))),
    };
    let opened = open(origin, shared, &mut inbox);
    let end =
        opened.and_then(|opened| Connection::start(id, addr, dialled.is_some(), opened, mailbox, inbox));
    // Of use was a connection over which content passed; one that came about and ended at once is not tried again
    // as soon.
    let (end, worked) = match end {
        Ok(connection) => {
            let handle = Arc::clone(&connection.handle);
            (connection.live(), handle.received() + handle.sent() > 0)
        }
        Err(end) => (end, false),
    };
    log::debug!("{addr}: connection ended: {end}");
    if let Some(swarm) = dialled {
        swarm.dialled(addr, worked);
        if matches!(end, End::Handshake(HandshakeError::Ourselves) | End::Banned) {
            swarm.forget(addr);
        }
    }
}

/// What the peer got of late, while it is told of one piece after the other.
#[derive(Copy, Clone)]
enum Got {
    Nothing,
    Piece,
}

/// One connection after its handshake.
struct Connection {
    socket: TcpStream,
    inbox: Inbox<Mail>,
    session: Session,
    swarm: Arc<Swarm>,
    handle: Arc<Handle>,
    input: Input,
    outbox: Outbox,
    /// How many of the swarm's finished pieces we told.
    told: usize,
    /// Whether the peer is told of one piece after the other (BEP 16), and got one since it was last told.
    showing: Option<Got>,
    /// Whether a worker is looking for something to fetch.
    looking: bool,
    look_again_at: Option<Instant>,
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
        let Opened { socket, swarm, agreement } = opened;
        socket.set_nodelay(true)?;
        net::do_not_pace_loopback(&socket, addr);
        net::keep_alive(&socket)?; // a peer that comes back is a twin of the one that died until that is noticed
        if let Some(bytes) = swarm.shared.tuning.socket_buffer {
            set_socket_recv_buffer_size(&socket, bytes).map_err(io::Error::from)?;
            set_socket_send_buffer_size(&socket, bytes).map_err(io::Error::from)?;
        }
        let identity = Arc::new(PeerIdentity { addr: addr.ip(), peer_id: agreement.peer_id });
        if swarm.shared.bans.has(&identity) {
            return Err(End::Banned);
        }
        let handle =
            Arc::new(Handle::new(id, addr, outgoing, Arc::clone(&identity), agreement.proof, mailbox));
        if !swarm.join(&handle) {
            return Err(End::Told("there is another connection to the same peer"));
        }
        if !swarm.is_running() {
            let end = End::Told("the torrent is paused"); // meanwhile, and who paused it did not see us
            swarm.leave(&handle, &end);
            return Err(end);
        }
        let (have, told) = swarm.have();
        let showing = swarm.shows_piece_by_piece(id).then_some(Got::Nothing);
        let have = if showing.is_some() { Bitfield::new(have.len()) } else { have };
        let port = outgoing.then(|| swarm.shared.port());
        let now = Instant::now();
        let mut session = Session::new(Arc::clone(&swarm.torrent), agreement, identity, &have, port, now);
        if let Some(blocks) = swarm.shared.tuning.first_window {
            session.set_window(blocks);
        }
        if let Some(patience) = swarm.shared.tuning.patience {
            session.set_patience(patience);
        }
        log::debug!("{addr}: connected for {} ({:?})", swarm.torrent.name(), agreement.proof);
        Ok(Connection {
            input: Input::new(session.max_message_len()),
            socket,
            inbox,
            session,
            swarm,
            handle,
            outbox: Outbox::default(),
            told,
            showing,
            looking: false,
            look_again_at: None,
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
        let end = loop {
            if let Err(end) = self.turn() {
                break end;
            }
        };
        if end.is_offence() && self.swarm.shared.bans.offended(&self.handle.identity) {
            log::warn!("{} broke the rules again ({end}): banned for a while", self.handle);
        }
        self.session.give_back_all();
        self.on_events();
        self.swarm.leave(&self.handle, &end);
        end
    }

    fn turn(&mut self) -> Result<(), End> {
        self.take_mail()?;
        self.receive()?;
        self.announce_finished()?;
        self.look_for_work();
        self.serve()?;
        self.wait()
    }

    // ---- what the rest of the peer asks of this connection --------------------------------------------------

    fn take_mail(&mut self) -> Result<(), End> {
        self.now = Instant::now();
        if self.inbox.overflowed() {
            return Err(End::Overflowed);
        }
        while let Some(mail) = self.inbox.take() {
            self.on_mail(mail)?;
        }
        Ok(())
    }

    fn on_mail(&mut self, mail: Mail) -> Result<(), End> {
        match mail {
            Mail::Fetch(partial) => {
                (self.looking, self.look_again_at) = (false, None); // there is work again
                self.session.fetch(partial, self.now);
            }
            Mail::Help { owner, blocks } => {
                (self.looking, self.look_again_at) = (false, None);
                self.session.help(owner, &blocks, self.now);
            }
            Mail::NoWork { interesting } => {
                self.looking = false;
                let look_again = self.swarm.shared.tuning.look_again.unwrap_or(LOOK_AGAIN);
                self.look_again_at = Some(self.now + look_again);
                // The peer may have got something since: then that counts, and not what the worker saw.
                self.session.set_interested(interesting || self.swarm.lacks_any(self.session.peer_has()));
            }
            Mail::Lend { piece, helper } => self.lend(piece, helper),
            Mail::Helped { block, data, from } => self.session.helped(block, &data, &from),
            Mail::NotHelped { helper, blocks } => self.session.not_helped(helper, &blocks),
            Mail::HelpNotNeeded(block) => self.session.help_not_needed(block),
            Mail::Admit => self.session.unchoke(),
            Mail::Evict => self.session.choke(),
            Mail::Close(why) => return Err(End::Told(why)),
        }
        self.on_events();
        Ok(())
    }

    fn lend(&mut self, piece: Piece, helper: Helper) {
        let blocks = self.session.lend(piece, helper.id(), self.now);
        if !blocks.is_empty() {
            helper.accept(self.handle.id, blocks);
        }
    }

    // ---- what the other side says ---------------------------------------------------------------------------

    fn receive(&mut self) -> Result<(), End> {
        if self.readable && !self.is_held(self.read_at) {
            self.read_at = self.swarm.shared.down.ready(self.now).err().map(|wait| self.now + wait);
            if self.read_at.is_none() {
                self.read()?;
            }
        }
        self.session.ask(self.now);
        Ok(())
    }

    fn read(&mut self) -> Result<(), End> {
        // No more than the rate allows soon: a debt of a full buffer would silence the other connections for long.
        let most = self.swarm.shared.down.portion(LARGE_BUFFER as u32) as usize;
        let socket = Counted { socket: &self.socket, traffic: &self.swarm.shared.traffic };
        let Filled { read, landed } = self.input.fill(socket, self.session.landing(), most)?;
        self.swarm.shared.down.spend(read);
        if read > 0 {
            self.rest_at = Some(self.now + REST);
            self.handle.heard(self.now);
        }
        for _ in 0..landed {
            let bytes = self.session.landed(self.now) as usize;
            count(&self.handle.numbers.received, &self.swarm.counts.downloaded, bytes);
            self.on_events();
        }
        while let Some((message, len)) = self.input.next()? {
            self.session.on_message(message, self.now)?;
            if let wire::Message::Piece { data, .. } = message {
                count(&self.handle.numbers.received, &self.swarm.counts.downloaded, data.len());
            }
            self.input.consume(len);
            self.on_events();
        }
        Ok(())
    }

    fn on_events(&mut self) {
        while let Some(event) = self.session.next_event() {
            self.on_event(event);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::HasPieces(bits) => {
                let lacking = self.swarm.peer_has_pieces(self.handle.id, bits);
                self.on_offer(lacking);
            }
            Event::Has(piece) => {
                self.showing = self.showing.map(|_| Got::Piece);
                let lacking = self.swarm.peer_has(self.handle.id, piece);
                self.on_offer(lacking);
            }
            Event::Interested(interested) => {
                self.handle.numbers.wants_us.store(interested, Ordering::Relaxed);
                self.swarm.shared.uploads.set_waiting(self.handle.id, interested);
            }
            Event::Unchoked => self.look_again_at = None,
            Event::Complete(partial) => self.swarm.arrived(partial, &self.handle),
            Event::GaveBack(partials) => self.swarm.gave_back(partials, self.handle.id),
            Event::Helped { owner, block, data } => {
                let from = Arc::clone(&self.handle.identity);
                self.write_to(owner, Mail::Helped { block, data, from });
            }
            Event::Late { block, data } => self.on_late(block, data),
            Event::NotHelping { owner, blocks } => {
                self.write_to(owner, Mail::NotHelped { helper: self.handle.id, blocks })
            }
            Event::HelpNotNeeded { helper, block } => self.write_to(helper, Mail::HelpNotNeeded(block)),
            Event::Introduced(Extended { client, port, .. }) => self.handle.introduce(client, port),
        }
    }

    /// A block for whoever owns its piece by now, which may be this connection again.
    fn on_late(&mut self, block: Block, data: Vec<u8>) {
        let from = Arc::clone(&self.handle.identity);
        match self.swarm.late(block, &data, &self.handle) {
            Some(owner) if owner == self.handle.id => self.session.helped(block, &data, &from),
            Some(owner) => self.write_to(owner, Mail::Helped { block, data, from }),
            None => {}
        }
    }

    /// The peer told of something it has.
    fn on_offer(&mut self, lacking: bool) {
        let count = self.session.peer_has().count();
        self.handle.numbers.peer_pieces.store(count, Ordering::Relaxed);
        if lacking && !self.swarm.is_complete() {
            self.session.set_interested(true);
            self.look_again_at = None;
        }
    }

    /// Tells another connection. If it has ended the mail is in vain: its pieces are somebody else's by now.
    fn write_to(&self, other: ConnId, mail: Mail) {
        if let Some(other) = self.swarm.member(other) {
            let _ = other.mailbox.post(mail);
        }
    }

    // ---- waiting --------------------------------------------------------------------------------------------

    /// The only place that sleeps: until the socket is readable, or writable while something is left to write, or
    /// mail has come, or time has something to say.
    fn wait(&mut self) -> Result<(), End> {
        self.now = Instant::now();
        self.handle.numbers.serves_us.store(!self.session.is_choked(), Ordering::Relaxed);
        let asks_us = self.session.has_uploads() || !self.outbox.is_empty();
        self.handle.numbers.asks_us.store(asks_us, Ordering::Relaxed);
        let wants_work = self.session.wants_work() && !self.looking;
        let timers = [
            Some(self.session.deadline()),
            self.read_at,
            self.serve_at.filter(|_| self.session.has_uploads()),
            self.look_again_at.filter(|_| wants_work),
            self.rest_at,
        ];
        let next = timers.into_iter().flatten().min().unwrap_or(self.now);
        let to_serve = self.session.has_uploads() && !self.is_held(self.serve_at);
        let writable = to_serve || !self.outbox.is_empty();
        let interest = Interest { readable: !self.is_held(self.read_at), writable };
        let ready =
            self.inbox.wait(&self.socket, interest, Some(next.saturating_duration_since(self.now)))?;
        self.readable = ready.readable;
        self.now = Instant::now();
        self.session.tick(self.now)?;
        self.rest_if_idle();
        self.on_events();
        Ok(())
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

fn count(own: &std::sync::atomic::AtomicU64, all: &std::sync::atomic::AtomicU64, bytes: usize) {
    own.fetch_add(bytes as u64, Ordering::Relaxed);
    all.fetch_add(bytes as u64, Ordering::Relaxed);
}
