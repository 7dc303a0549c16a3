//! A whole swarm in one thread: it handles one event after the other, until every download is complete, an
//! invariant is broken, or the time is over.

use super::clock::Agenda;
use super::invariants::{Broken, Invariant, Sweeper, describe};
use super::network::{Cargo, End, LinkNo, Network, NodeNo, Partition, Side};
use super::peer::{Peer, address, number};
use super::scenario::{Happening, Plan, Scenario};
use shoal::peer::identity::ConnId;
use shoal::protocol::handshake::{self, Agreement, Greeting, Initiator};
use shoal::protocol::wire::BlockRequest;
use shoal::torrent::{Geometry, Piece, Torrent};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Number of addresses that the tracker gives, and how often.
const ADDRESSES: usize = 50;
const ANNOUNCE: Duration = Duration::from_secs(30);
/// How often the `accept` thread looks for an address to dial.
const DIAL: Duration = Duration::from_secs(1);

/// The events. Those that a peer plans for itself carry the number of its life.
#[derive(Copy, Clone, Hash, Debug)]
pub enum Event {
    /// A connection has its turn, if it is still due.
    Turn(End),
    /// A connection should have a turn.
    Wake(End),
    Uplink(NodeNo),
    Arrive(LinkNo, Side),
    Deliver(LinkNo, Side),
    /// The far end has closed.
    Closed(End),
    /// A peer's workers take their next job.
    Job(NodeNo),
    Nudge(NodeNo),
    Round(NodeNo, u32),
    /// A peer asks the tracker.
    Look(NodeNo, u32),
    Dial(NodeNo, u32),
    /// A connection request has arrived; and its result is back.
    Meet(NodeNo, NodeNo, u32),
    Met(NodeNo, NodeNo, u32, Option<(LinkNo, ConnId)>),
    Completed(NodeNo),
    Happens(usize),
    Sweep,
}

/// A deliberate mistake in the code around the pure parts, which the invariants have to detect.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Blocks that arrived from another peer are not cancelled.
    NeverCancel,
    /// The pieces of a connection that ends are not given back.
    ForgetPieces,
    /// Slots are given before they are taken back.
    AdmitTooMany,
}

/// The content that all peers want.
pub struct Content {
    bytes: Vec<u8>,
    geometry: Geometry,
}

impl Content {
    pub fn block(&self, wanted: BlockRequest) -> &[u8] {
        let start = wanted.index as usize * self.geometry.piece_length() as usize + wanted.begin as usize;
        &self.bytes[start..start + wanted.len as usize]
    }

    pub fn piece(&self, piece: Piece) -> &[u8] {
        let len = self.geometry.piece_len(piece);
        self.block(BlockRequest { index: piece.index(), begin: 0, len })
    }
}

#[derive(Copy, Clone, Default, Debug)]
pub struct Tally {
    pub events: u64,
    pub blocks: u64,
    pub bans: u64,
}

/// State that all peers share: time, the network, random numbers, and the content.
pub struct Env {
    pub agenda: Agenda<Event>,
    pub net: Network,
    pub random: fastrand::Rng,
    pub torrent: Arc<Torrent>,
    pub content: Arc<Content>,
    /// The peers that may be banned.
    pub liars: BTreeSet<NodeNo>,
    pub fault: Option<Fault>,
    pub counts: Tally,
    /// The connection whose turn it is.
    pub turn: Option<(NodeNo, ConnId)>,
    broken: Option<Broken>,
}

impl Env {
    /// How long it takes until another thread sees a message.
    pub fn hand_over(&mut self) -> Duration {
        Duration::from_micros(self.random.u64(20..1000))
    }

    /// An invariant does not hold. The first one counts.
    pub fn fail(&mut self, invariant: Invariant, detail: impl FnOnce() -> String) {
        if self.broken.is_none() {
            self.broken = Some(Broken { invariant, at: self.agenda.now(), detail: detail() });
        }
    }
}

/// The result of a run.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Report {
    pub peers: usize,
    pub downloads: usize,
    pub completions: usize,
    pub virtual_time: Duration,
    pub events: u64,
    pub blocks: u64,
    pub bans: u64,
    /// Bytes of content that arrived at honest peers, and those of pieces that they did not have.
    pub received: u64,
    pub gained: u64,
    /// How long each download took.
    pub times: Vec<Duration>,
    /// Of everything that happened.
    pub digest: u64,
}

pub struct World {
    scenario: Scenario,
    peers: Vec<Peer>,
    env: Env,
    sweeper: Sweeper,
    digest: DefaultHasher,
    /// Faults that have not happened yet.
    ahead: usize,
}

impl World {
    pub fn new(scenario: Scenario, fault: Option<Fault>) -> Self {
        let torrent = torrent(scenario.length, scenario.piece_length);
        let mut random = fastrand::Rng::with_seed(scenario.seed ^ 0x5eed);
        let mut bytes = vec![0; scenario.length];
        random.fill(&mut bytes);
        let content = Arc::new(Content { bytes, geometry: torrent.geometry().clone() });
        let mut env = Env {
            agenda: Agenda::new(),
            net: Network::new(scenario.plans.iter().map(|plan| plan.line)),
            random,
            torrent,
            content,
            liars: scenario.liars(),
            fault,
            counts: Tally::default(),
            turn: None,
            broken: None,
        };
        let plans = scenario.plans.iter().cloned().enumerate();
        let peers = plans.map(|(no, plan)| Peer::new(no, plan, &mut env)).collect();
        for (nth, (at, _)) in scenario.happenings.iter().enumerate() {
            env.agenda.at(*at, Event::Happens(nth));
        }
        env.agenda.after(Duration::ZERO, Event::Sweep);
        let ahead = scenario.happenings.len();
        World { scenario, peers, env, sweeper: Sweeper::default(), digest: DefaultHasher::new(), ahead }
    }

    /// Runs to the end.
    pub fn run(mut self) -> Result<Report, Broken> {
        while let Some(event) = self.env.agenda.next() {
            self.env.counts.events += 1;
            (self.env.agenda.now(), event).hash(&mut self.digest);
            self.on_event(event);
            if let Some(broken) = self.env.broken.take() {
                return Err(broken);
            }
            if matches!(event, Event::Completed(_) | Event::Happens(_)) && self.is_done() {
                break;
            }
            if self.env.agenda.now() > self.scenario.deadline {
                self.unfinished();
                break;
            }
        }
        self.sweeper.last(&self.scenario, &self.peers, &mut self.env);
        match self.env.broken.take() {
            Some(broken) => Err(broken),
            None => Ok(self.report()),
        }
    }

    fn is_done(&self) -> bool {
        self.ahead == 0 && !self.peers.iter().any(|peer| peer.alive && peer.is_lacking())
    }

    fn unfinished(&mut self) {
        let lacking = self.peers.iter().find(|peer| peer.alive && peer.is_lacking());
        if let Some(peer) = lacking {
            self.env.fail(Invariant::Unfinished, || describe(peer, &self.peers));
        }
    }

    fn report(&self) -> Report {
        let honest = || self.peers.iter().filter(|peer| peer.manners.is_honest());
        let had_all = |plan: &Plan| plan.source.as_ref().is_some_and(|had| had.is_full());
        let downloads = || honest().filter(|peer| !had_all(peer.plan()) && !peer.plan().only_serves);
        let time = |peer: &Peer| Some(peer.completed_at?.saturating_sub(peer.joined_at));
        let times: Vec<Duration> = downloads().filter_map(time).collect();
        let mut digest = self.digest.clone();
        self.env.net.carried.sent.hash(&mut digest);
        Report {
            peers: self.peers.len(),
            downloads: downloads().count(),
            completions: times.len(),
            virtual_time: self.env.agenda.now(),
            events: self.env.counts.events,
            blocks: self.env.counts.blocks,
            bans: self.env.counts.bans,
            received: honest().map(|peer| peer.counts.received).sum(),
            gained: honest().map(|peer| peer.counts.gained).sum(),
            times,
            digest: digest.finish(),
        }
    }

    // ---- events -------------------------------------------------------------------------------------------

    fn on_event(&mut self, event: Event) {
        let World { peers, env, .. } = self;
        match event {
            Event::Turn(end) => peers[end.node].turn(end.conn, env),
            Event::Wake(end) => wake(&mut peers[end.node], end, env),
            Event::Uplink(node) => env.net.on_uplink(node, &mut env.agenda, &mut env.random),
            Event::Arrive(link, side) => env.net.on_arrive(link, side, &mut env.agenda),
            Event::Deliver(link, side) => {
                if let Some((end, cargo)) = env.net.on_deliver(link, side, &mut env.agenda) {
                    deliver(&mut peers[end.node], end, cargo, env);
                }
            }
            Event::Closed(end) => peers[end.node].closed(end.conn, env),
            Event::Job(node) => peers[node].work(env),
            Event::Nudge(node) => peers[node].on_nudge(env),
            Event::Round(node, life) if peers[node].is_in(life) => peers[node].on_round(env),
            Event::Look(node, life) if peers[node].is_in(life) => self.look(node, life),
            Event::Dial(node, life) if peers[node].is_in(life) => self.dial(node, life),
            Event::Round(..) | Event::Look(..) | Event::Dial(..) => {}
            Event::Meet(from, to, life) => self.meet(from, to, life),
            Event::Met(from, to, life, link) => self.met(from, to, life, link),
            Event::Completed(node) => self.completed(node),
            Event::Happens(nth) => self.happens(nth),
            Event::Sweep => {
                self.sweeper.sweep(&self.scenario, peers, env);
                env.agenda.after(Sweeper::EVERY, Event::Sweep);
            }
        }
    }

    /// The tracker's answer: some of the live peers.
    fn look(&mut self, node: NodeNo, life: u32) {
        let env = &mut self.env;
        let mut there: Vec<SocketAddr> = self
            .peers
            .iter()
            .filter(|peer| peer.alive && peer.no != node)
            .map(|peer| address(peer.no))
            .collect();
        env.random.shuffle(&mut there);
        self.peers[node].hear_of(there.into_iter().take(ADDRESSES), env);
        env.agenda.after(ANNOUNCE, Event::Look(node, life));
    }

    fn dial(&mut self, node: NodeNo, life: u32) {
        let (peers, env) = (&mut self.peers, &mut self.env);
        while let Some(addr) = peers[node].next_address(env) {
            let to = number(addr.ip());
            let there_and_back = self.scenario.latency(node, to) * 3;
            env.agenda.after(there_and_back, Event::Meet(node, to, life));
        }
        env.agenda.after(DIAL, Event::Dial(node, life));
    }

    /// A handshake has reached `to`, which may answer.
    fn meet(&mut self, from: NodeNo, to: NodeNo, life: u32) {
        let latency = self.scenario.latency(from, to);
        let env = &mut self.env;
        let reachable = self.peers[to].alive && env.net.parted(from, to, env.agenda.now()).is_none();
        let link = (reachable && self.peers[from].is_in(life) && self.peers[to].has_room())
            .then(|| {
                let conns = [self.peers[from].new_conn(), self.peers[to].new_conn()];
                let ends = [End { node: from, conn: conns[0] }, End { node: to, conn: conns[1] }];
                let link = env.net.open(ends, latency, latency.mul_f64(self.scenario.jitter));
                let (_, agreement) = shake_hands(&env.torrent, &self.peers[from], &self.peers[to]);
                let joined = self.peers[to].join((conns[1], link, 1, from), agreement, None, env);
                if !joined {
                    env.net.close(link, 1, true, &mut env.agenda);
                }
                joined.then_some((link, conns[0]))
            })
            .flatten();
        env.agenda.after(latency, Event::Met(from, to, life, link));
    }

    fn met(&mut self, from: NodeNo, to: NodeNo, life: u32, link: Option<(LinkNo, ConnId)>) {
        let env = &mut self.env;
        let alive = self.peers[from].is_in(life);
        let (agreement, _) = shake_hands(&env.torrent, &self.peers[from], &self.peers[to]);
        let joined = link.is_some_and(|(link, conn)| {
            let open = alive && env.net.is_open(link);
            open && self.peers[from].join((conn, link, 0, to), agreement, Some(address(to)), env)
        });
        if !joined {
            if let Some((link, _)) = link {
                env.net.close(link, 0, false, &mut env.agenda);
            }
            if alive {
                self.peers[from].dialled(address(to), false, env);
            }
        }
    }

    fn completed(&mut self, node: NodeNo) {
        if let Some(stays) = self.peers[node].plan().leaves_after {
            let at = self.env.agenda.now() + stays;
            self.scenario.happenings.push((at, Happening::Die(node)));
            self.env.agenda.at(at, Event::Happens(self.scenario.happenings.len() - 1));
            self.ahead += 1;
        }
    }

    // ---- what befalls the swarm ---------------------------------------------------------------------------

    fn happens(&mut self, nth: usize) {
        self.ahead -= 1;
        let env = &mut self.env;
        let now = env.agenda.now();
        match self.scenario.happenings[nth].1.clone() {
            Happening::Start(node) if !self.peers[node].alive => self.peers[node].start(env),
            Happening::Start(_) => {}
            Happening::Die(node) => {
                for (link, side) in self.peers[node].stop() {
                    // Some die without their connections being closed.
                    let dead = env.random.u8(..) < 64;
                    env.net.close(link, side, dead, &mut env.agenda);
                }
            }
            Happening::Cut(links) => {
                for _ in 0..links {
                    if let Some((link, ends)) = env.net.any_link(&mut env.random) {
                        env.net.close(link, 0, false, &mut env.agenda);
                        env.agenda.after(Duration::ZERO, Event::Closed(ends[0]));
                    }
                }
            }
            Happening::Stall(node, time) => env.net.stall(node, now + time),
            Happening::Part(inside, time) => {
                env.net.partition = Some(Partition { inside, until: now + time })
            }
        }
    }
}

fn wake(peer: &mut Peer, end: End, env: &mut Env) {
    let now = env.agenda.now();
    if let Some(conn) = peer.conns.get_mut(&end.conn) {
        conn.plan(end.node, now, env);
    }
}

fn deliver(peer: &mut Peer, end: End, cargo: Cargo, env: &mut Env) {
    if let Some(conn) = peer.conns.get_mut(&end.conn) {
        conn.input.push_back(cargo);
        wake(peer, end, env);
    }
}

/// The bytes of both handshakes, read by the other side: what `from` and `to` agree on.
fn shake_hands(torrent: &Torrent, from: &Peer, to: &Peer) -> (Agreement, Agreement) {
    let (initiator, hello) = Initiator::new(torrent.hashes(), from.id);
    let greeting = Greeting::decode(&hello).expect("our own handshake");
    let (responder, reply) = handshake::reply(greeting, torrent.hashes(), to.id);
    let ours = initiator.accept(&reply).expect("an answer to it");
    (ours, responder.accept(handshake::peer_id(&hello)).expect("two different peers"))
}

/// A v1 torrent of one file. Its hashes are zeros, because they are not used here.
fn torrent(length: usize, piece_length: u32) -> Arc<Torrent> {
    let hashes = 20 * length.div_ceil(piece_length as usize);
    let head =
        format!("d4:infod6:lengthi{length}e4:name4:file12:piece lengthi{piece_length}e6:pieces{hashes}:");
    let bytes = [head.as_bytes(), &vec![0; hashes], b"ee"].concat();
    Arc::new(Torrent::parse(&bytes).expect("a torrent"))
}
