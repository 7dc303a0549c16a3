//! One end of a connection and its turn: what `src/peer/connection.rs` does around a [`Session`], with the
//! fake network for a socket and a queue for a mailbox.

use super::invariants::Invariant;
use super::network::{Cargo, End, LinkNo, NodeNo, Side};
use super::peer::{Job, Peer};
use super::requests::{Answer, Requests};
use super::world::{Env, Event, Fault};
use shoal::peer::download::partial::Partial;
use shoal::peer::identity::ConnId;
use shoal::peer::identity::PeerIdentity;
use shoal::peer::session::{self, Session, Violation};
use shoal::protocol::wire::{self, BlockRequest, Message};
use shoal::torrent::{Block, Piece};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// As in `src/peer/connection.rs`.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const MAILBOX: usize = 4096;

/// Mail for a connection; `src/peer/handle.rs` says more.
pub enum Mail {
    Fetch(Partial),
    NoWork { interesting: bool },
    Lend { piece: Piece, helper: ConnId },
    Help { owner: ConnId, blocks: Vec<Block> },
    Helped { block: Block, data: Vec<u8>, from: Arc<PeerIdentity> },
    NotHelped { helper: ConnId, blocks: Vec<Block> },
    HelpNotNeeded(Block),
    Admit,
    Evict,
    Close,
}

/// Why a connection ended.
pub enum Why {
    BothComplete,
    Told,
    Violation(Violation),
}

pub struct Connection {
    pub id: ConnId,
    pub link: LinkNo,
    pub side: Side,
    pub far: NodeNo,
    /// The address that we dialled; `None` if the other side dialled.
    pub dialled: Option<SocketAddr>,
    pub session: Session,
    pub identity: Arc<PeerIdentity>,
    pub mailbox: VecDeque<Mail>,
    /// What arrived and is not read yet.
    pub input: VecDeque<Cargo>,
    pub told: usize,
    pub looking: bool,
    pub look_again_at: Option<Instant>,
    /// Bytes of content.
    pub received: u64,
    pub sent: u64,
    pub requests: Requests,
    /// Output of the session that the network has not taken yet.
    out: Vec<u8>,
    /// Time of its next turn.
    pub turn_at: Option<Duration>,
}

impl Connection {
    pub fn new(
        (id, link, side, far): (ConnId, LinkNo, Side, NodeNo),
        dialled: Option<SocketAddr>,
        session: Session,
        identity: Arc<PeerIdentity>,
        told: usize,
    ) -> Self {
        Connection {
            id,
            link,
            side,
            far,
            dialled,
            session,
            identity,
            mailbox: VecDeque::new(),
            input: VecDeque::new(),
            told,
            looking: false,
            look_again_at: None,
            received: 0,
            sent: 0,
            requests: Requests::default(),
            out: Vec::new(),
            turn_at: None,
        }
    }

    /// Whether the other side is unchoked, or will be when the mail is read.
    pub fn is_admitted(&self) -> bool {
        let last = self.mailbox.iter().rev().find(|mail| matches!(mail, Mail::Admit | Mail::Evict));
        last.map_or(!self.session.is_choking(), |mail| matches!(mail, Mail::Admit))
    }

    /// Plans a turn at that time, or earlier.
    pub fn plan(&mut self, node: NodeNo, at: Duration, env: &mut Env) {
        if self.turn_at.is_none_or(|planned| at < planned) {
            self.turn_at = Some(at);
            env.agenda.at(at, Event::Turn(End { node, conn: self.id }));
        }
    }

    pub fn post(&mut self, node: NodeNo, mail: Mail, env: &mut Env) {
        self.mailbox.push_back(mail);
        if self.mailbox.len() > MAILBOX {
            env.fail(Invariant::Mailbox, || format!("{} of peer {node} has {MAILBOX} letters", self.id));
        }
        let soon = env.agenda.now() + env.hand_over();
        self.plan(node, soon, env);
    }
}

impl Peer {
    /// One turn of a connection, if it is due.
    pub fn turn(&mut self, id: ConnId, env: &mut Env) {
        let due = |conn: &Connection| conn.turn_at.is_some_and(|at| at <= env.agenda.now());
        if !self.conns.get(&id).is_some_and(due) {
            return;
        }
        let Some(mut conn) = self.conns.remove(&id) else { return };
        conn.turn_at = None;
        env.turn = Some((self.no, id));
        let outcome = self.run_turn(&mut conn, env);
        env.turn = None;
        match outcome {
            Ok(()) => {
                self.plan_next(&mut conn, env);
                self.check_requests(&conn, env);
                self.conns.insert(id, conn);
            }
            Err(why) => self.end(conn, why, env),
        }
    }

    fn run_turn(&mut self, conn: &mut Connection, env: &mut Env) -> Result<(), Why> {
        self.tick(conn, env)?;
        while let Some(mail) = conn.mailbox.pop_front() {
            self.on_mail(conn, mail, env)?;
        }
        self.receive(conn, env)?;
        self.announce_finished(conn)?;
        self.look_for_work(conn, env);
        self.serve(conn, env);
        self.flush(conn, env);
        Ok(())
    }

    fn tick(&mut self, conn: &mut Connection, env: &mut Env) -> Result<(), Why> {
        let awaited = conn.session.asked().len();
        conn.session.tick(env.agenda.instant()).map_err(Why::Violation)?;
        self.note_output(conn, env); // requests that need no answer any more are cancelled
        if conn.session.asked().len() < awaited {
            conn.requests.excuse_all_but(conn.session.asked()); // snubbed
        }
        self.on_events(conn, env);
        Ok(())
    }

    fn on_mail(&mut self, conn: &mut Connection, mail: Mail, env: &mut Env) -> Result<(), Why> {
        let now = env.agenda.instant();
        match mail {
            Mail::Fetch(partial) => {
                conn.looking = false;
                conn.session.fetch(partial, now);
            }
            Mail::Help { owner, blocks } => {
                conn.looking = false;
                conn.session.help(owner, &blocks, now);
            }
            Mail::NoWork { interesting } => {
                conn.looking = false;
                conn.look_again_at = Some(now + LOOK_AGAIN);
                let lacks = interesting || self.picker.lacks_any(conn.session.peer_has());
                conn.session.set_interested(lacks);
            }
            Mail::Lend { piece, helper } => {
                let blocks = conn.session.lend(piece, helper, now);
                let answer = match blocks.is_empty() {
                    true => Mail::NoWork { interesting: true },
                    false => Mail::Help { owner: conn.id, blocks },
                };
                self.write_to(helper, answer, env);
            }
            Mail::Helped { block, data, from } => conn.session.helped(block, &data, &from),
            Mail::NotHelped { helper, blocks } => conn.session.not_helped(helper, &blocks),
            Mail::HelpNotNeeded(block) => conn.session.help_not_needed(block),
            Mail::Admit => conn.session.unchoke(),
            Mail::Evict => conn.session.choke(),
            Mail::Close => return Err(Why::Told),
        }
        self.note_output(conn, env);
        self.on_events(conn, env);
        Ok(())
    }

    // ---- what the other side says -------------------------------------------------------------------------

    fn receive(&mut self, conn: &mut Connection, env: &mut Env) -> Result<(), Why> {
        while let Some(cargo) = conn.input.pop_front() {
            match cargo {
                Cargo::Messages(bytes) => self.on_bytes(conn, &bytes, env)?,
                Cargo::Block { wanted, corrupt } => self.on_block(conn, wanted, corrupt, env)?,
            }
        }
        conn.session.ask(env.agenda.instant());
        self.note_output(conn, env);
        Ok(())
    }

    fn on_bytes(&mut self, conn: &mut Connection, bytes: &[u8], env: &mut Env) -> Result<(), Why> {
        let (mut rest, most) = (bytes, conn.session.max_message_len());
        while let Some((message, len)) = wire::decode(rest, most).map_err(|why| Why::Violation(why.into()))? {
            conn.session.on_message(message, env.agenda.instant()).map_err(Why::Violation)?;
            match message {
                Message::Choke => conn.requests.excuse_all_but(conn.session.asked()),
                Message::Reject(wanted) => {
                    if conn.requests.answered(wanted) == Answer::Unasked {
                        env.fail(Invariant::Requests, || {
                            format!("a refusal of what nobody asked for: {wanted:?}")
                        });
                    }
                    conn.requests.excuse_all_but(conn.session.asked());
                }
                _ => {}
            }
            rest = &rest[len..];
            self.note_output(conn, env);
            self.on_events(conn, env);
        }
        Ok(())
    }

    /// A block, rebuilt from its description.
    fn on_block(
        &mut self,
        conn: &mut Connection,
        wanted: BlockRequest,
        corrupt: bool,
        env: &mut Env,
    ) -> Result<(), Why> {
        let BlockRequest { index, begin, len } = wanted;
        match conn.requests.answered(wanted) {
            Answer::Awaited => {}
            Answer::Excused => self.counts.late += 1,
            Answer::Unasked => {
                env.fail(Invariant::Requests, || format!("a block that nobody asked for: {wanted:?}"));
            }
        }
        let now = env.agenda.instant();
        let truth = env.content.block(wanted);
        if corrupt {
            let mut lie = truth.to_vec();
            lie[0] ^= 1;
            conn.session.on_message(Message::Piece { index, begin, data: &lie }, now)
        } else {
            conn.session.on_message(Message::Piece { index, begin, data: truth }, now)
        }
        .map_err(Why::Violation)?;
        conn.received += u64::from(len);
        self.counts.received += u64::from(len);
        self.progress_at = env.agenda.now();
        env.counts.blocks += 1;
        self.note_output(conn, env);
        self.on_events(conn, env);
        Ok(())
    }

    pub fn on_events(&mut self, conn: &mut Connection, env: &mut Env) {
        while let Some(event) = conn.session.next_event() {
            self.on_event(conn, event, env);
        }
    }

    fn on_event(&mut self, conn: &mut Connection, event: session::Event, env: &mut Env) {
        use session::Event;
        match event {
            Event::HasPieces(bits) => {
                let lacking = self.picker.peer_has_pieces(conn.id, bits);
                self.on_offer(conn, lacking);
            }
            Event::Has(piece) => {
                let lacking = self.picker.peer_has(conn.id, piece);
                self.on_offer(conn, lacking);
            }
            Event::Interested(interested) => {
                if self.room.set_waiting(conn.id, interested) {
                    self.nudge(env);
                }
            }
            Event::Unchoked => conn.look_again_at = None,
            Event::Complete(partial) => {
                if self.picker.checking(partial.piece(), conn.id) {
                    self.push(Job::Finish(partial), env);
                }
            }
            Event::GaveBack(partials) => self.gave_back(partials, conn.id, env),
            Event::Helped { owner, block, data } => {
                let from = Arc::clone(&conn.identity);
                self.write_to(owner, Mail::Helped { block, data, from }, env);
            }
            Event::Late { block, data } => self.on_late(conn, block, data, env),
            Event::NotHelping { owner, blocks } => {
                self.write_to(owner, Mail::NotHelped { helper: conn.id, blocks }, env);
            }
            Event::HelpNotNeeded { helper, block } => self.write_to(helper, Mail::HelpNotNeeded(block), env),
            Event::Introduced(_) => {}
        }
    }

    fn on_late(&mut self, conn: &mut Connection, block: Block, data: Vec<u8>, env: &mut Env) {
        let from = Arc::clone(&conn.identity);
        match self.late(block, &data, &from, env) {
            Some(owner) if owner == conn.id => conn.session.helped(block, &data, &from),
            Some(owner) => self.write_to(owner, Mail::Helped { block, data, from }, env),
            None => {}
        }
    }

    fn on_offer(&mut self, conn: &mut Connection, lacking: bool) {
        if lacking && self.is_fetching() {
            conn.session.set_interested(true);
            conn.look_again_at = None;
        }
    }

    // ---- what we have to say ------------------------------------------------------------------------------

    fn announce_finished(&mut self, conn: &mut Connection) -> Result<(), Why> {
        if let Some(news) = self.finished.get(conn.told..) {
            conn.session.announce(news);
            conn.told = self.finished.len();
        }
        if self.is_complete() {
            conn.session.set_interested(false);
            if conn.session.peer_has().is_full() {
                return Err(Why::BothComplete);
            }
        }
        Ok(())
    }

    fn look_for_work(&mut self, conn: &mut Connection, env: &mut Env) {
        let held = conn.look_again_at.is_some_and(|until| env.agenda.instant() < until);
        if !conn.looking && !held && conn.session.wants_work() {
            conn.looking = true;
            conn.look_again_at = None;
            self.push(Job::Fetch(conn.id), env);
        }
    }

    /// Sends one block at a time, while there is room, as late as possible.
    fn serve(&mut self, conn: &mut Connection, env: &mut Env) {
        let mut run = Vec::new();
        while self.manners.serves() && conn.session.has_uploads() && env.net.room(conn.link, conn.side) > 0 {
            self.flush(conn, env);
            conn.session.next_uploads(1, &mut run);
            for block in &run {
                let corrupt = self.manners.lies(&mut env.random);
                let cargo = Cargo::Block { wanted: (*block).into(), corrupt };
                env.net.send(conn.link, conn.side, cargo, &mut env.agenda);
                conn.sent += u64::from(block.len());
                self.counts.sent += u64::from(block.len());
            }
            conn.session.uploaded(env.agenda.instant());
        }
    }

    fn flush(&mut self, conn: &mut Connection, env: &mut Env) {
        self.note_output(conn, env);
        if !conn.out.is_empty() {
            let bytes = std::mem::take(&mut conn.out);
            env.net.send(conn.link, conn.side, Cargo::Messages(bytes), &mut env.agenda);
        }
    }

    /// Takes the session's output, and notes its requests and cancels before anything else happens.
    fn note_output(&mut self, conn: &mut Connection, env: &mut Env) {
        let now = env.agenda.instant();
        let most = conn.session.max_message_len();
        let said = conn.session.output(now);
        let (mut at, mut asked) = (0, false);
        while let Ok(Some((message, len))) = wire::decode(&said[at..], most) {
            let forgotten = matches!(message, Message::Cancel(_)) && env.fault == Some(Fault::NeverCancel);
            match message {
                Message::Request(wanted) => {
                    conn.requests.asked(wanted);
                    asked = true;
                }
                Message::Cancel(wanted) if !forgotten && !conn.requests.cancelled(wanted) => {
                    env.fail(Invariant::Requests, || format!("cancelled what was not asked for: {wanted:?}"));
                }
                _ => {}
            }
            if !forgotten {
                conn.out.extend_from_slice(&said[at..at + len]);
            }
            at += len;
        }
        said.clear();
        if asked && conn.session.asked().len() > conn.session.window() as usize {
            env.fail(Invariant::Window, || format!("{} asked for more than its window", conn.id));
        }
    }

    // ---- waiting ------------------------------------------------------------------------------------------

    fn plan_next(&mut self, conn: &mut Connection, env: &mut Env) {
        let wants_work = conn.session.wants_work() && !conn.looking;
        let again = conn.look_again_at.filter(|_| wants_work);
        let next = again.map_or(conn.session.deadline(), |again| again.min(conn.session.deadline()));
        let at = env.agenda.time_of(next).max(env.agenda.now() + Duration::from_micros(1));
        conn.plan(self.no, at, env);
    }

    /// Compares the session's requests with those noted here.
    fn check_requests(&mut self, conn: &Connection, env: &mut Env) {
        let (open, awaited) = (conn.requests.open(), conn.session.asked().len());
        if open != awaited {
            env.fail(Invariant::Requests, || {
                format!(
                    "peer {}: {open} requests of {} to peer {} are open, and its session waits for {awaited}",
                    self.no, conn.id, conn.far
                )
            });
        }
    }
}
