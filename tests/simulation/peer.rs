//! One peer with one torrent: what `src/peer/swarm.rs`, `src/peer/workers.rs` and `src/peer/upload/slots.rs`
//! do around the library's pure parts. What they hand to another thread happens a little later here.

use super::connection::{Connection, Mail, Why};
use super::invariants::Invariant;
use super::network::{LinkNo, NodeNo, Side};
use super::scenario::{Manners, Plan};
use super::world::{Env, Event, Fault};
use shoal::bitfield::Bitfield;
use shoal::peer::discovery::addresses::Addresses;
use shoal::peer::download::blame::Blame;
use shoal::peer::download::memory::Budget;
use shoal::peer::download::partial::Partial;
use shoal::peer::download::picker::{Late, Pick, Picker};
use shoal::peer::identity::ConnId;
use shoal::peer::identity::{PeerIdentity, SourceIdentity};
use shoal::peer::session::Session;
use shoal::peer::session::dispatch::Driver;
use shoal::peer::upload::choker::{Choker, Decision, ROUND};
use shoal::peer::upload::interested::{ContentBytes, InterestedPeers};
use shoal::peer::upload::ledger::Ledger;
use shoal::peer::upload::newcomers::{Newcomers, Place};
use shoal::protocol::handshake::{Agreement, PeerId};
use shoal::torrent::{Block, Piece};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Jobs of the pool's workers.
pub enum Job {
    /// `again`: the connection knows that there was nothing to begin.
    Fetch {
        id: ConnId,
        again: bool,
    },
    Finish(Partial),
}

/// Bytes and blocks since the peer first came.
#[derive(Copy, Clone, Default, Debug)]
pub struct Counts {
    /// Bytes of content that arrived, and that were handed to the network.
    pub received: u64,
    pub sent: u64,
    /// Bytes of content of the verified pieces.
    pub gained: u64,
    /// Blocks that arrived when they were not waited for any more.
    pub late: u64,
    /// Pieces that failed verification.
    pub broken: u64,
}

pub struct Peer {
    pub no: NodeNo,
    pub id: PeerId,
    pub manners: Manners,
    plan: Plan,
    pub picker: Picker,
    /// In the order in which they were finished since the peer last started.
    pub finished: Vec<Piece>,
    starved: BTreeSet<ConnId>,
    blame: Blame,
    addresses: Addresses,
    budget: Arc<Budget>,
    pub room: InterestedPeers,
    choker: Choker,
    ledger: Ledger,
    pub newcomers: Arc<Newcomers>,
    pub places: BTreeMap<ConnId, Place>,
    banned: BTreeSet<IpAddr>,
    pub conns: BTreeMap<ConnId, Connection>,
    jobs: VecDeque<Job>,
    nudged: bool,
    next_conn: u64,
    pub alive: bool,
    /// Number of its starts.
    life: u32,
    /// Time of the last block, or of the start.
    pub progress_at: Duration,
    pub joined_at: Duration,
    pub completed_at: Option<Duration>,
    pub counts: Counts,
}

impl Peer {
    pub fn new(no: NodeNo, plan: Plan, env: &mut Env) -> Self {
        let mut id = *b"-SH0001-000000000000";
        env.random.fill(&mut id[8..]);
        let pieces = env.torrent.geometry().piece_count();
        let have = plan.source.clone().unwrap_or_else(|| Bitfield::new(pieces));
        Peer {
            no,
            id: PeerId(id),
            manners: plan.manners,
            picker: Picker::new(env.torrent.geometry().clone(), have, env.random.u64(..)),
            finished: Vec::new(),
            starved: BTreeSet::new(),
            blame: Blame::default(),
            addresses: Addresses::default(),
            budget: Budget::new(plan.memory),
            room: InterestedPeers::default(),
            choker: Choker::new(plan.slots, env.random.u64(..)),
            ledger: Ledger::open(None),
            newcomers: Arc::default(),
            places: BTreeMap::new(),
            banned: BTreeSet::new(),
            conns: BTreeMap::new(),
            jobs: VecDeque::new(),
            nudged: false,
            next_conn: 1,
            alive: false,
            life: 0,
            progress_at: Duration::ZERO,
            joined_at: Duration::ZERO,
            completed_at: None,
            counts: Counts::default(),
            plan,
        }
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn is_complete(&self) -> bool {
        self.picker.is_complete()
    }

    /// Whether it wants the pieces that it does not have.
    pub fn is_fetching(&self) -> bool {
        !self.plan.only_serves && !self.is_complete()
    }

    /// Whether its download is not complete; false for peers that misbehave, which need not complete.
    pub fn is_lacking(&self) -> bool {
        self.manners.is_honest() && self.is_fetching()
    }

    /// Starts, or restarts with the pieces that are on its disk.
    pub fn start(&mut self, env: &mut Env) {
        self.alive = true;
        self.life += 1;
        let now = env.agenda.now();
        (self.joined_at, self.progress_at) = (now, now);
        let have = self.picker.have().clone();
        self.picker = Picker::new(env.torrent.geometry().clone(), have, env.random.u64(..));
        self.finished.clear();
        self.addresses = Addresses::default();
        self.blame = Blame::default();
        self.room = InterestedPeers::default();
        self.choker = Choker::new(self.plan.slots, env.random.u64(..));
        self.completed_at = self.is_complete().then_some(now);
        let first_round = ROUND.mul_f64(env.random.f64());
        env.agenda.after(first_round, Event::Round(self.no, self.life));
        env.agenda.after(Duration::ZERO, Event::Look(self.no, self.life));
        env.agenda.after(Duration::ZERO, Event::Dial(self.no, self.life));
    }

    /// Whether it is alive, and was not restarted since the life `life`.
    pub fn is_in(&self, life: u32) -> bool {
        self.alive && self.life == life
    }

    /// Ends without sending anything. Gives its links.
    pub fn stop(&mut self) -> Vec<(LinkNo, Side)> {
        self.alive = false;
        self.jobs.clear();
        self.starved.clear();
        self.places.clear();
        self.nudged = false;
        std::mem::take(&mut self.conns).into_values().map(|conn| (conn.link, conn.side)).collect()
    }

    // ---- meeting others -----------------------------------------------------------------------------------

    pub fn new_conn(&mut self) -> ConnId {
        self.next_conn += 1;
        ConnId(self.next_conn)
    }

    pub fn hear_of(&mut self, addrs: impl Iterator<Item = SocketAddr>, env: &Env) {
        let now = env.agenda.instant();
        addrs.for_each(|addr| self.addresses.add(addr, false, now));
    }

    /// An address to dial now.
    pub fn next_address(&mut self, env: &Env) -> Option<SocketAddr> {
        let most = self.plan.dial;
        if self.is_complete() || self.conns.len() >= most || self.addresses.busy() >= most {
            return None;
        }
        loop {
            let addr = self.addresses.next(false, env.agenda.instant())?;
            let known = self.conns.values().any(|conn| conn.peer().addr == addr.ip());
            if !known && addr != address(self.no) {
                return Some(addr);
            }
            self.addresses.ended(addr, true, env.agenda.instant());
        }
    }

    pub fn dialled(&mut self, addr: SocketAddr, worked: bool, env: &Env) {
        self.addresses.ended(addr, worked, env.agenda.instant());
    }

    pub fn has_room(&self) -> bool {
        self.conns.len() < self.plan.connections
    }

    /// Begins a connection, unless there is a better one to the same peer or the peer is banned.
    pub fn join(
        &mut self,
        (id, link, side, far): (ConnId, LinkNo, Side, NodeNo),
        agreement: Agreement,
        dialled: Option<SocketAddr>,
        env: &mut Env,
    ) -> bool {
        let peer = PeerIdentity { addr: address(far).ip(), peer_id: agreement.peer_id };
        if self.banned.contains(&peer.addr) {
            return false;
        }
        let twin = self.conns.values().find(|other| other.peer().peer_id == peer.peer_id);
        if let Some(twin) = twin {
            // As in `Swarm::prefers`.
            let (old, new) = (twin.dialled.is_some(), dialled.is_some());
            if new == old || new != (self.id > peer.peer_id) {
                return false;
            }
            self.write_to(twin.id, Mail::Close("there is another connection to the same peer"), env);
        }
        let identity = Arc::new(SourceIdentity::Peer(peer));
        let now = env.agenda.instant();
        let (have, port) = (self.picker.have().clone(), dialled.map(|_| 6881));
        let session =
            Session::new(Arc::clone(&env.torrent), agreement, Arc::clone(&identity), &have, port, now);
        self.picker.joined(id);
        self.room.joined(id, now);
        let told = self.finished.len();
        let driver = Driver::new(session, id, Arc::clone(&identity), told, false);
        let mut conn = Connection::new((id, link, side, far), dialled, driver, identity);
        self.on_events(&mut conn, env);
        conn.plan(self.no, env.agenda.now(), env);
        self.conns.insert(id, conn);
        true
    }

    /// The other side closed the connection.
    pub fn closed(&mut self, id: ConnId, env: &mut Env) {
        if let Some(conn) = self.conns.remove(&id) {
            self.end(conn, Why::Told, env);
        }
    }

    /// The end of a connection, which is no longer among `conns`.
    pub fn end(&mut self, mut conn: Connection, why: Why, env: &mut Env) {
        if let Why::Violation(violation) = &why
            && *violation != shoal::peer::session::Violation::Silent
        {
            env.fail(Invariant::Honest, || {
                format!("peer {} says of peer {}: {violation}", self.no, conn.far)
            });
        }
        let id = conn.id;
        if env.fault != Some(Fault::ForgetPieces) {
            conn.driver.session.give_back_all();
            self.on_events(&mut conn, env);
            self.picker.left(id);
        }
        for mail in conn.mailbox.drain(..) {
            if let Mail::Lend { helper, .. } = mail {
                self.write_to(helper, Mail::NoWork { interesting: true }, env);
            }
        }
        env.net.close(conn.link, conn.side, false, &mut env.agenda);
        self.starved.remove(&id);
        self.places.remove(&id);
        let traffic = ContentBytes { received: conn.received, sent: conn.sent };
        if let Some((unbooked, was_admitted)) = self.room.left(id, traffic) {
            self.ledger.add(conn.peer(), unbooked.received, unbooked.sent);
            if was_admitted {
                self.nudge(env);
            }
        }
        if let Some(addr) = conn.dialled {
            self.dialled(addr, conn.received + conn.sent > 0, env);
        }
        self.retry_starved(env);
        self.check_owners(env);
    }

    /// Sends mail to another connection. If that has ended, the mail is dropped, except for an offer of help.
    pub fn write_to(&mut self, id: ConnId, mail: Mail, env: &mut Env) {
        match (self.conns.get_mut(&id), mail) {
            (Some(conn), mail) => conn.post(self.no, mail, env),
            (None, Mail::Lend { helper, .. }) => {
                self.write_to(helper, Mail::NoWork { interesting: true }, env);
            }
            (None, _) => {}
        }
    }

    // ---- pieces -------------------------------------------------------------------------------------------

    /// Plans a job for a worker.
    pub fn push(&mut self, job: Job, env: &mut Env) {
        self.jobs.push_back(job);
        let soon = env.hand_over();
        env.agenda.after(soon, Event::Job(self.no));
    }

    pub fn work(&mut self, env: &mut Env) {
        match self.jobs.pop_front() {
            Some(Job::Fetch { id, again }) => self.fetch(id, again, env),
            Some(Job::Finish(partial)) => self.finish(partial, env),
            None => {} // it died meanwhile
        }
    }

    fn fetch(&mut self, id: ConnId, again: bool, env: &mut Env) {
        let len = env.torrent.geometry().piece_length();
        let memory = self.budget.reserve(len).or_else(|| {
            let starving = self.picker.is_idle();
            starving.then(|| self.budget.overdraw(len))?
        });
        let only = self.conns.get(&id).and_then(|conn| conn.driver.session.only());
        let pick = match only {
            Some(pieces) => self.picker.pick_among(id, &pieces, memory),
            None => self.picker.pick(id, memory),
        };
        // As in `Swarm::pick` and in the workers' `fetch`.
        let finds_none = matches!(pick, Pick::Help(..) | Pick::Nothing { interesting: true });
        if finds_none && self.conns.contains_key(&id) {
            self.starved.insert(id);
        } else {
            self.starved.remove(&id);
        }
        if finds_none && again {
            return;
        }
        match pick {
            Pick::Fetch(partial) => match self.conns.get_mut(&id) {
                Some(conn) => conn.post(self.no, Mail::Fetch(partial), env),
                None => self.gave_back(vec![partial], id, env),
            },
            Pick::Help(piece, owner) => self.write_to(owner, Mail::Lend { piece, helper: id }, env),
            Pick::Nothing { interesting } => {
                self.write_to(id, Mail::NoWork { interesting }, env);
            }
        }
        self.check_owners(env);
    }

    pub fn gave_back(&mut self, partials: Vec<Partial>, owner: ConnId, env: &mut Env) {
        let memory_is_short = self.budget.is_half_spent();
        partials.into_iter().for_each(|partial| self.picker.gave_back(partial, owner));
        if memory_is_short {
            self.picker.drop_leftovers();
        }
        self.retry_starved(env);
    }

    /// As in `Swarm::late`.
    pub fn late(
        &mut self,
        block: Block,
        data: &[u8],
        from: &Arc<SourceIdentity>,
        env: &mut Env,
    ) -> Option<ConnId> {
        let len = env.torrent.geometry().piece_length();
        let memory = (!self.budget.is_half_spent()).then(|| self.budget.reserve(len)).flatten();
        match self.picker.late(block, data, from, memory) {
            Late::Of(owner) => return Some(owner),
            Late::Complete(partial) => self.push(Job::Finish(partial), env),
            Late::Done => {}
        }
        None
    }

    fn retry_starved(&mut self, env: &mut Env) {
        self.look_for_starved(false, env);
    }

    fn look_for_starved(&mut self, again: bool, env: &mut Env) {
        for id in std::mem::take(&mut self.starved) {
            self.push(Job::Fetch { id, again }, env);
        }
    }

    /// Checks a piece: a comparison stands for the hash.
    fn finish(&mut self, partial: Partial, env: &mut Env) {
        let piece = partial.piece();
        let content = Arc::clone(&env.content);
        let truth = content.piece(piece);
        if partial.data() != truth {
            self.counts.broken += 1;
            if let Some(culprit) = self.blame.bad(&partial) {
                self.ban(&culprit, env);
            }
            drop(partial);
            self.picker.broken(piece);
            return self.retry_starved(env);
        }
        if self.blame.has_case(piece) {
            for liar in self.blame.good(piece, truth) {
                self.ban(&liar, env);
            }
        }
        self.counts.gained += truth.len() as u64;
        self.progress_at = env.agenda.now();
        drop(partial);
        self.picker.good(piece);
        self.finished.push(piece);
        if self.is_complete() {
            self.completed_at = Some(env.agenda.now());
            env.agenda.after(Duration::ZERO, Event::Completed(self.no));
        }
        let soon = env.agenda.now() + env.hand_over();
        self.conns.values_mut().for_each(|conn| conn.plan(self.no, soon, env));
        self.look_for_starved(true, env);
    }

    fn ban(&mut self, identity: &SourceIdentity, env: &mut Env) {
        let Some(peer) = identity.peer() else { return };
        env.counts.bans += 1;
        let accused = number(peer.addr);
        if !env.liars.contains(&accused) {
            env.fail(Invariant::Honest, || {
                format!("peer {} banned peer {accused}, which is honest", self.no)
            });
        }
        self.banned.insert(peer.addr);
        let members: Vec<ConnId> =
            self.conns.values().filter(|conn| *conn.identity == *identity).map(|conn| conn.id).collect();
        for id in members {
            self.write_to(id, Mail::Close("it sent wrong data"), env);
        }
    }

    /// Every piece in flight is owned by a connection that can deliver it or give it back.
    pub fn check_owners(&self, env: &mut Env) {
        for (piece, owner) in self.picker.in_flight() {
            // During its turn a connection is kept apart from the others.
            if !self.conns.contains_key(&owner) && env.turn != Some((self.no, owner)) {
                let index = piece.index();
                env.fail(Invariant::Owners, || {
                    format!("piece {index} of peer {} is in flight over {owner}, which has ended", self.no)
                });
            }
        }
    }

    // ---- upload slots -------------------------------------------------------------------------------------

    /// Plans a run of the choker.
    pub fn nudge(&mut self, env: &mut Env) {
        if !std::mem::replace(&mut self.nudged, true) {
            let soon = env.hand_over();
            env.agenda.after(soon, Event::Nudge(self.no));
        }
    }

    pub fn on_nudge(&mut self, env: &mut Env) {
        self.nudged = false;
        self.count_traffic();
        let (waiting, idle) = self.room.look(env.agenda.instant(), |id| self.credit(id));
        let decision = self.choker.fill(&waiting, &idle);
        self.carry_out(decision, env);
    }

    pub fn on_round(&mut self, env: &mut Env) {
        self.count_traffic();
        let now = env.agenda.instant();
        for (id, unbooked) in self.room.sample(now) {
            if let Some(conn) = self.conns.get(&id) {
                self.ledger.add(conn.peer(), unbooked.received, unbooked.sent);
            }
        }
        let (waiting, idle) = self.room.look(now, |id| self.credit(id));
        let decision = self.choker.round(&waiting, &idle, now);
        self.carry_out(decision, env);
        env.agenda.after(ROUND, Event::Round(self.no, self.life));
    }

    fn count_traffic(&mut self) {
        let conns = &self.conns;
        let counts = |conn: &Connection| {
            (ContentBytes { received: conn.received, sent: conn.sent }, conn.driver.session.has_uploads())
        };
        self.room.count(|id| conns.get(&id).map(counts).unwrap_or_default());
    }

    fn credit(&self, id: ConnId) -> u64 {
        self.conns.get(&id).map_or(0, |conn| self.ledger.credit(conn.peer()))
    }

    fn carry_out(&mut self, mut decision: Decision, env: &mut Env) {
        if env.fault == Some(Fault::AdmitTooMany) {
            decision.evict.clear();
        }
        let look_again = self.room.carry_out(&decision);
        for id in &decision.evict {
            self.write_to(*id, Mail::Evict, env);
        }
        for (id, _) in &decision.admit {
            self.write_to(*id, Mail::Admit, env);
        }
        if look_again {
            self.nudge(env);
        }
        self.check_slots(env);
    }

    pub fn check_slots(&self, env: &mut Env) {
        let in_fact = self.conns.values().filter(|conn| conn.is_admitted()).count();
        let (slots, by_the_books) = (self.plan.slots, self.room.admitted());
        if in_fact.max(by_the_books) > slots {
            env.fail(Invariant::Slots, || {
                format!("peer {} serves {in_fact} ({by_the_books} by its books) with {slots} slots", self.no)
            });
        }
    }
}

/// The address of a peer.
pub fn address(node: NodeNo) -> SocketAddr {
    SocketAddr::from(([10, 0, (node / 250) as u8, (node % 250) as u8 + 1], 6881))
}

/// The peer at an address.
pub fn number(addr: IpAddr) -> NodeNo {
    match addr {
        IpAddr::V4(addr) => usize::from(addr.octets()[2]) * 250 + usize::from(addr.octets()[3]) - 1,
        IpAddr::V6(_) => NodeNo::MAX,
    }
}
