//! One end of a connection and its turn: what `src/peer/connection.rs` does around the library's [`Driver`], with the fake
//! network for a socket and a queue for a mailbox.

use super::invariants::Invariant;
use super::network::{Cargo, End, LinkNo, NodeNo, Side};
use super::peer::{Job, Peer};
use super::requests::{Answer, Requests};
use super::world::{Env, Event, Fault};
use shoal::bitfield::Bitfield;
use shoal::peer::download::partial::Partial;
use shoal::peer::identity::ConnId;
use shoal::peer::identity::{PeerIdentity, SourceIdentity};
use shoal::peer::session::Violation;
use shoal::peer::session::dispatch::{Driver, Environment};
use shoal::peer::upload::super_seeding::Show;
use shoal::protocol::extension::Extended;
use shoal::protocol::wire::{self, BlockRequest, Message};
use shoal::torrent::{Block, Piece};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// As many pieces of mail as the real mailbox takes.
const MAILBOX: usize = shoal::peer::handle::MAILBOX;

/// What others ask of a connection; an offer of help is the helper's name.
pub type Mail = shoal::peer::handle::Mail<ConnId>;

/// Why a connection ended.
pub enum Why {
    Useless,
    Told,
    Violation(Violation),
}

pub struct Connection {
    pub id: ConnId,
    pub link: LinkNo,
    pub side: Side,
    pub far: NodeNo,
    /// The address that we dialled, if we did.
    pub dialled: Option<SocketAddr>,
    pub driver: Driver,
    pub identity: Arc<SourceIdentity>,
    pub mailbox: VecDeque<Mail>,
    /// What came and was not read yet.
    pub input: VecDeque<Cargo>,
    /// Content, bytes.
    pub received: u64,
    pub sent: u64,
    pub requests: Requests,
    /// When it answers next, and how many blocks are left to send of this time, if it answers in pulses.
    pulse_at: Duration,
    pulse_left: usize,
    /// What the session said and the network did not get yet.
    out: Vec<u8>,
    /// When its next turn is.
    pub turn_at: Option<Duration>,
}

impl Connection {
    pub fn new(
        (id, link, side, far): (ConnId, LinkNo, Side, NodeNo),
        dialled: Option<SocketAddr>,
        driver: Driver,
        identity: Arc<SourceIdentity>,
    ) -> Self {
        Connection {
            id,
            link,
            side,
            far,
            dialled,
            driver,
            identity,
            mailbox: VecDeque::new(),
            input: VecDeque::new(),
            received: 0,
            sent: 0,
            requests: Requests::default(),
            pulse_at: Duration::ZERO,
            pulse_left: 0,
            out: Vec::new(),
            turn_at: None,
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &PeerIdentity {
        self.identity.peer().expect("all sources are peers here")
    }

    /// Whether the other side is served, or will be once the mail is read.
    pub fn is_admitted(&self) -> bool {
        let last = self.mailbox.iter().rev().find(|mail| matches!(mail, Mail::Admit | Mail::Evict));
        last.map_or(!self.driver.session.is_choking(), |mail| matches!(mail, Mail::Admit))
    }

    /// Has its turn at that time, or earlier.
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
    /// One turn of a connection, if this is the time for it.
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
            let now = env.agenda.instant();
            let (driver, mut member) = self.member(conn, env);
            driver.on_mail(mail, now, &mut member).map_err(|_| Why::Told)?;
            self.note_output(conn, env);
        }
        self.receive(conn, env)?;
        let now = env.agenda.instant();
        let (driver, mut member) = self.member(conn, env);
        if !driver.announce_finished(false, now, &mut member) {
            return Err(Why::Useless);
        }
        let (driver, mut member) = self.member(conn, env);
        driver.look_for_work(now, &mut member);
        self.serve(conn, env);
        self.flush(conn, env);
        Ok(())
    }

    fn tick(&mut self, conn: &mut Connection, env: &mut Env) -> Result<(), Why> {
        let awaited = conn.driver.session.asked().len();
        conn.driver.tick(env.agenda.instant()).map_err(Why::Violation)?;
        self.note_output(conn, env); // what it need not send any more is cancelled
        if conn.driver.session.asked().len() < awaited {
            conn.requests.excuse_all_but(conn.driver.session.asked()); // snubbed
        }
        self.on_events(conn, env);
        Ok(())
    }

    // ---- what the other side says ---------------------------------------------------------------------------

    fn receive(&mut self, conn: &mut Connection, env: &mut Env) -> Result<(), Why> {
        while let Some(cargo) = conn.input.pop_front() {
            match cargo {
                Cargo::Messages(bytes) => self.on_bytes(conn, &bytes, env)?,
                Cargo::Block { wanted, corrupt } => self.on_block(conn, wanted, corrupt, env)?,
            }
        }
        conn.driver.session.ask(env.agenda.instant());
        self.note_output(conn, env);
        Ok(())
    }

    fn on_bytes(&mut self, conn: &mut Connection, bytes: &[u8], env: &mut Env) -> Result<(), Why> {
        let (mut rest, most) = (bytes, conn.driver.session.max_message_len());
        while let Some((message, len)) = wire::decode(rest, most).map_err(|why| Why::Violation(why.into()))? {
            conn.driver.session.on_message(message, env.agenda.instant()).map_err(Why::Violation)?;
            match message {
                Message::Choke => conn.requests.excuse_all_but(conn.driver.session.asked()),
                Message::Reject(wanted) => {
                    if conn.requests.answered(wanted) == Answer::Unasked {
                        env.fail(Invariant::Requests, || {
                            format!("a refusal of what nobody asked for: {wanted:?}")
                        });
                    }
                    conn.requests.excuse_all_but(conn.driver.session.asked());
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
            conn.driver.session.on_message(Message::Piece { index, begin, data: &lie }, now)
        } else {
            conn.driver.session.on_message(Message::Piece { index, begin, data: truth }, now)
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
        let (driver, mut member) = self.member(conn, env);
        driver.on_events(&mut member);
    }

    /// The driver of a connection, and what it runs over.
    fn member<'a>(&'a mut self, conn: &'a mut Connection, env: &'a mut Env) -> (&'a mut Driver, Member<'a>) {
        (&mut conn.driver, Member { peer: self, env, id: conn.id, identity: &conn.identity })
    }

    // ---- what we have to say --------------------------------------------------------------------------------

    /// One block at a time, while there is room: just in time.
    fn serve(&mut self, conn: &mut Connection, env: &mut Env) {
        let mut run = Vec::new();
        if let Some(pulse) = self.plan().pulse
            && conn.pulse_at <= env.agenda.now()
        {
            conn.pulse_at += pulse * (1 + (env.agenda.now() - conn.pulse_at).div_duration_f64(pulse) as u32);
            conn.pulse_left = conn.driver.session.uploads_waiting();
        }
        while self.manners.serves()
            && conn.driver.session.has_uploads()
            && (self.plan().pulse.is_none() || conn.pulse_left > 0)
            && env.net.room(conn.link, conn.side) > 0
        {
            conn.pulse_left = conn.pulse_left.saturating_sub(1);
            self.flush(conn, env);
            conn.driver.session.next_uploads(1, &mut run);
            for block in &run {
                let corrupt = self.manners.lies(&mut env.random);
                let cargo = Cargo::Block { wanted: (*block).into(), corrupt };
                env.net.send(conn.link, conn.side, cargo, &mut env.agenda);
                conn.sent += u64::from(block.len());
                self.counts.sent += u64::from(block.len());
            }
            conn.driver.session.uploaded(env.agenda.instant());
        }
    }

    fn flush(&mut self, conn: &mut Connection, env: &mut Env) {
        self.note_output(conn, env);
        if !conn.out.is_empty() {
            let bytes = std::mem::take(&mut conn.out);
            env.net.send(conn.link, conn.side, Cargo::Messages(bytes), &mut env.agenda);
        }
    }

    /// Takes what the session says, and enters its requests and cancels in the books before anything else happens.
    fn note_output(&mut self, conn: &mut Connection, env: &mut Env) {
        let now = env.agenda.instant();
        let most = conn.driver.session.max_message_len();
        let said = conn.driver.session.output(now);
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
        if asked && conn.driver.session.asked().len() > conn.driver.session.window() as usize {
            env.fail(Invariant::Window, || format!("{} asked for more than its window", conn.id));
        }
    }

    // ---- waiting --------------------------------------------------------------------------------------------

    fn plan_next(&mut self, conn: &mut Connection, env: &mut Env) {
        let next = conn.driver.deadline();
        let mut at = env.agenda.time_of(next);
        if self.plan().pulse.is_some() && conn.driver.session.has_uploads() {
            at = at.min(conn.pulse_at);
        }
        let at = at.max(env.agenda.now() + Duration::from_micros(1));
        conn.plan(self.no, at, env);
    }

    /// The session's own books against ours.
    fn check_requests(&mut self, conn: &Connection, env: &mut Env) {
        let (open, awaited) = (conn.requests.open(), conn.driver.session.asked().len());
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

/// A connection's place in its swarm, as `src/peer/connection/membership.rs` is for the real one.
struct Member<'a> {
    peer: &'a mut Peer,
    env: &'a mut Env,
    id: ConnId,
    identity: &'a Arc<SourceIdentity>,
}

impl Environment for Member<'_> {
    type Helper = ConnId;

    fn helper_id(helper: &ConnId) -> ConnId {
        *helper
    }

    fn lend(&mut self, helper: ConnId, blocks: Vec<Block>) {
        let answer = match blocks.is_empty() {
            true => Mail::NoWork { interesting: true },
            false => Mail::Help { owner: self.id, blocks },
        };
        self.peer.write_to(helper, answer, self.env);
    }

    fn peer_has_pieces(&mut self, pieces: Bitfield) -> bool {
        self.peer.picker.peer_has_pieces(self.id, pieces) && self.peer.is_fetching()
    }

    fn peer_has(&mut self, piece: Piece) -> bool {
        self.peer.picker.peer_has(self.id, piece) && self.peer.is_fetching()
    }

    fn welcome(&mut self) -> bool {
        let place = self.peer.newcomers.welcome();
        let is_welcome = place.is_some();
        self.peer.places.extend(place.map(|place| (self.id, place)));
        is_welcome
    }

    fn settled_in(&mut self) {
        self.peer.places.remove(&self.id);
    }

    fn peer_holds(&mut self, _pieces: u32) {} // nobody asks

    fn lacks_any(&self, of: &Bitfield) -> bool {
        self.peer.is_fetching() && self.peer.picker.lacks_any(of)
    }

    fn is_complete(&self) -> bool {
        self.peer.is_complete()
    }

    fn finished_since(&self, told: &mut usize) -> Vec<Piece> {
        let finished = self.peer.finished[*told..].to_vec();
        *told = self.peer.finished.len();
        finished
    }

    fn show(&mut self, _idle: bool) -> Show {
        Show::All // nobody gives out a first copy piece by piece here
    }

    fn peer_is_interested(&mut self, interested: bool) {
        if self.peer.room.set_waiting(self.id, interested) {
            self.peer.nudge(self.env);
        }
    }

    fn introduced(&mut self, _hello: Extended) {} // the network knows who it is

    fn look_for_work(&mut self, _only: Option<Vec<Piece>>) {
        self.peer.push(Job::Fetch { id: self.id, again: false }, self.env);
    }

    fn arrived(&mut self, partial: Partial) {
        if self.peer.picker.checking(partial.piece(), self.id) {
            self.peer.push(Job::Finish(partial), self.env);
        }
    }

    fn gave_back(&mut self, partials: Vec<Partial>) {
        self.peer.gave_back(partials, self.id, self.env);
    }

    fn late(&mut self, block: Block, data: &[u8]) -> Option<ConnId> {
        self.peer.late(block, data, self.identity, self.env)
    }

    fn write_to(&mut self, other: ConnId, mail: Mail) {
        self.peer.write_to(other, mail, self.env);
    }
}
