//! What happens around a session, mail by mail and event by event. Pure: the connection's thread runs it with
//! a swarm, and the simulation with a fake one, so that both run the same code.

use super::{Event, Session, Violation};
use crate::bitfield::Bitfield;
use crate::peer::download::partial::Partial;
use crate::peer::handle::Mail;
use crate::peer::identity::{ConnId, SourceIdentity};
use crate::peer::upload::super_seeding::Show;
use crate::protocol::extension::Extended;
use crate::torrent::{Block, Piece};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum time that a connection that found nothing to fetch waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long a peer that is busy with other pieces is told of none, so that it hears of several at a time.
const TELL_TOGETHER: Duration = Duration::from_millis(100);

/// What a session needs of the rest: the swarm that it is part of.
pub trait Environment {
    /// A connection that offers to help with a piece and waits for an answer.
    type Helper;

    /// Which connection that is.
    fn helper_id(helper: &Self::Helper) -> ConnId;

    /// Answers an offer of help: the connection may fetch these blocks, or has no work if there are none.
    fn lend(&mut self, helper: Self::Helper, blocks: Vec<Block>);

    /// The peer has these pieces. Returns whether we lack any of them.
    fn peer_has_pieces(&mut self, pieces: Bitfield) -> bool;

    /// The peer has one more piece. Returns whether we lack it.
    fn peer_has(&mut self, piece: Piece) -> bool;

    /// The peer has next to nothing, as far as it has said. Whether it may be allowed some pieces without an
    /// upload slot (BEP 6).
    fn welcome(&mut self) -> bool;

    /// The peer has something to trade by now.
    fn settled_in(&mut self);

    /// The peer has this number of pieces by now.
    fn peer_holds(&mut self, pieces: u32);

    /// Whether we lack any of these pieces.
    fn lacks_any(&self, of: &Bitfield) -> bool;

    /// Whether all that is wanted is here.
    fn is_complete(&self) -> bool;

    /// The pieces finished after the first `told`, which is moved to the end.
    fn finished_since(&self, told: &mut usize) -> Vec<Piece>;

    /// Which pieces a seed that gives out the first copy shows to this peer next (BEP 16). `idle`: the peer
    /// got what it was shown, and waits for nothing.
    fn show(&mut self, idle: bool) -> Show;

    /// The peer wants to be served, or no longer does.
    fn peer_is_interested(&mut self, interested: bool);

    /// The peer told its name and where it listens.
    fn introduced(&mut self, hello: Extended);

    /// Has a worker find the next piece for this connection: one of `only`, if they are given.
    fn look_for_work(&mut self, only: Option<Vec<Piece>>);

    /// Every block of the piece is here.
    fn arrived(&mut self, partial: Partial);

    /// This connection will not finish these pieces.
    fn gave_back(&mut self, partials: Vec<Partial>);

    /// A block came after this connection had given up on it. Returns the owner of its piece, which is to get
    /// it, if there is one.
    fn late(&mut self, block: Block, data: &[u8]) -> Option<ConnId>;

    /// Sends mail to another connection. If that has ended, it is in vain: its pieces have another owner by
    /// then.
    fn write_to(&mut self, other: ConnId, mail: Mail<Self::Helper>);
}

/// What the peer got since it was last shown pieces, while the first copy goes out.
#[derive(Copy, Clone)]
enum Got {
    Nothing,
    Piece,
}

/// A session, and what its connection remembers in addition.
pub struct Driver {
    /// The state machine.
    pub session: Session,
    id: ConnId,
    identity: Arc<SourceIdentity>,
    /// Number of the swarm's finished pieces that were announced to the peer.
    told: usize,
    /// Until when the next ones may wait.
    quiet_until: Option<Instant>,
    /// Set while the peer is shown one piece after the other (BEP 16).
    first_copy: Option<Got>,
    /// Whether a worker is looking for something to fetch.
    looking: bool,
    look_again_at: Option<Instant>,
    look_again: Duration,
}

impl Driver {
    /// The driver of connection `id`. Its session has announced the first `told` of the swarm's finished
    /// pieces, or none at all if `first_copy` goes out piece by piece.
    pub fn new(
        session: Session,
        id: ConnId,
        identity: Arc<SourceIdentity>,
        told: usize,
        first_copy: bool,
    ) -> Self {
        Driver {
            session,
            id,
            identity,
            told,
            quiet_until: None,
            first_copy: first_copy.then_some(Got::Nothing),
            looking: false,
            look_again_at: None,
            look_again: LOOK_AGAIN,
        }
    }

    /// Changes how long a connection that found nothing to fetch waits before it looks again.
    pub fn set_look_again(&mut self, look_again: Duration) {
        self.look_again = look_again;
    }

    // ---- what the rest of the engine asks of this connection ----------------------------------------------

    /// Takes one piece of mail. The error is the reason for which the connection is to end.
    pub fn on_mail<E: Environment>(
        &mut self,
        mail: Mail<E::Helper>,
        now: Instant,
        environment: &mut E,
    ) -> Result<(), &'static str> {
        match mail {
            Mail::Fetch(partial) => {
                (self.looking, self.look_again_at) = (false, None); // there is work again
                self.session.fetch(partial, now);
            }
            Mail::Help { owner, blocks } => {
                (self.looking, self.look_again_at) = (false, None);
                self.session.help(owner, &blocks, now);
            }
            Mail::NoWork { interesting } => {
                // If no worker is looking, a piece has overtaken this answer: it was found later, when memory
                // became free.
                if std::mem::take(&mut self.looking) {
                    self.look_again_at = Some(now + self.look_again);
                }
                // If the peer has got a piece since, that counts, and not what the worker saw.
                let interesting = interesting || environment.lacks_any(self.session.peer_has());
                self.session.set_interested(interesting);
            }
            Mail::Lend { piece, helper } => {
                let blocks = self.session.lend(piece, E::helper_id(&helper), now);
                environment.lend(helper, blocks);
            }
            Mail::Helped { block, data, from } => self.session.helped(block, &data, &from),
            Mail::NotHelped { helper, blocks } => self.session.not_helped(helper, &blocks),
            Mail::HelpNotNeeded(block) => self.session.help_not_needed(block),
            Mail::Admit => self.session.unchoke(),
            Mail::Evict => self.session.choke(),
            Mail::Close(why) => return Err(why),
        }
        self.on_events(environment);
        Ok(())
    }

    // ---- what the session says ----------------------------------------------------------------------------

    /// Does what follows from the session's events. Called after each message, each block and each tick.
    pub fn on_events<E: Environment>(&mut self, environment: &mut E) {
        while let Some(event) = self.session.next_event() {
            self.on_event(event, environment);
        }
    }

    fn on_event<E: Environment>(&mut self, event: Event, environment: &mut E) {
        match event {
            Event::HasPieces(pieces) => {
                let lacking = environment.peer_has_pieces(pieces);
                self.on_offer(lacking, environment);
            }
            Event::Has(piece) => {
                self.first_copy = self.first_copy.map(|_| Got::Piece);
                let lacking = environment.peer_has(piece);
                self.on_offer(lacking, environment);
            }
            Event::Newcomer => {
                if environment.welcome() {
                    self.session.allow_fast();
                }
            }
            Event::Interested(interested) => environment.peer_is_interested(interested),
            Event::Unchoked => self.look_again_at = None,
            Event::Complete(partial) => environment.arrived(partial),
            Event::GaveBack(partials) => environment.gave_back(partials),
            Event::Helped { owner, block, data } => {
                let from = Arc::clone(&self.identity);
                environment.write_to(owner, Mail::Helped { block, data, from });
            }
            Event::Late { block, data } => self.on_late(block, data, environment),
            Event::NotHelping { owner, blocks } => {
                environment.write_to(owner, Mail::NotHelped { helper: self.id, blocks });
            }
            Event::HelpNotNeeded { helper, block } => {
                environment.write_to(helper, Mail::HelpNotNeeded(block))
            }
            Event::Introduced(hello) => environment.introduced(hello),
        }
    }

    /// A block for the present owner of its piece, which may be this connection again.
    fn on_late<E: Environment>(&mut self, block: Block, data: Vec<u8>, environment: &mut E) {
        let from = Arc::clone(&self.identity);
        match environment.late(block, &data) {
            Some(owner) if owner == self.id => self.session.helped(block, &data, &from),
            Some(owner) => environment.write_to(owner, Mail::Helped { block, data, from }),
            None => {}
        }
    }

    /// The peer announced pieces.
    fn on_offer<E: Environment>(&mut self, lacking: bool, environment: &mut E) {
        environment.peer_holds(self.session.peer_has().count());
        if !self.session.is_newcomer() {
            environment.settled_in();
        }
        if lacking && !environment.is_complete() {
            self.session.set_interested(true);
            self.look_again_at = None;
        }
    }

    // ---- what there is to say and to ask ------------------------------------------------------------------

    /// Sends `Have` for finished pieces, once it is time for that. `is_idle`: nothing of ours is on its way
    /// to the peer. False if neither side has a use for the other any more.
    #[must_use]
    pub fn announce_finished<E: Environment>(
        &mut self,
        is_idle: bool,
        now: Instant,
        environment: &mut E,
    ) -> bool {
        let may_wait = self.quiet_until.is_some_and(|until| now < until) && self.tells_later();
        if !may_wait || self.session.is_about_to_speak() || environment.is_complete() {
            self.tell(now, environment);
        }
        self.show_first_copy(is_idle, environment);
        if environment.is_complete() {
            self.session.set_interested(false);
            if self.first_copy.is_none() {
                self.session.set_upload_only();
            }
        }
        !self.session.is_useless()
    }

    fn tell<E: Environment>(&mut self, now: Instant, environment: &mut E) {
        let finished = environment.finished_since(&mut self.told);
        self.quiet_until = match finished.is_empty() {
            true => self.quiet_until.filter(|until| now < *until),
            false => Some(now + TELL_TOGETHER),
        };
        self.session.announce(&finished);
    }

    /// Whether the peer need not be told of a finished piece at once: it was told of some just now, and wants
    /// pieces that it knows of. Otherwise it may wait for this very piece.
    pub fn tells_later(&self) -> bool {
        self.quiet_until.is_some() && self.session.peer_is_interested()
    }

    /// Number of the swarm's finished pieces that were announced to the peer.
    pub fn told(&self) -> usize {
        self.told
    }

    /// Announces the next pieces of the first copy, while it goes out piece by piece.
    fn show_first_copy<E: Environment>(&mut self, is_idle: bool, environment: &mut E) {
        let Some(got) = self.first_copy else { return };
        self.first_copy = Some(Got::Nothing);
        match environment.show(matches!(got, Got::Piece) && is_idle) {
            Show::Pieces(pieces) => self.session.announce(&pieces),
            Show::All => {
                self.first_copy = None;
                let all: Vec<Piece> = self.session.torrent().geometry().pieces().collect();
                self.session.announce(&all);
            }
        }
    }

    /// Has a worker find the next piece once the request window runs low.
    pub fn look_for_work<E: Environment>(&mut self, now: Instant, environment: &mut E) {
        let waits = self.look_again_at.is_some_and(|until| now < until);
        if !self.looking && !waits && self.session.wants_work() {
            self.looking = true;
            self.look_again_at = None;
            environment.look_for_work(self.session.only());
        }
    }

    /// Whether a worker is looking for something to fetch.
    pub fn is_looking(&self) -> bool {
        self.looking
    }

    /// Does what is due by the time alone. [`on_events`](Self::on_events) has to follow.
    ///
    /// # Errors
    /// If the other side was silent for too long.
    pub fn tick(&mut self, now: Instant) -> Result<(), Violation> {
        self.session.tick(now)
    }

    /// When the connection has something to do again, if nothing happens before.
    pub fn deadline(&self) -> Instant {
        let wants_work = self.session.wants_work() && !self.looking;
        let look_again_at = self.look_again_at.filter(|_| wants_work);
        [look_again_at, self.quiet_until].into_iter().flatten().fold(self.session.deadline(), Instant::min)
    }
}
