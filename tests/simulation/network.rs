//! The fake network: links with latency and jitter between peers whose lines have a rate in each direction.
//!
//! A link has two lanes. What one end sends waits in its lane for the peer's uplink, which serves its
//! lanes in turn, one cargo at a time. Then it travels for the time of the latency, waits for the
//! receiver's downlink, and arrives. A lane keeps its order, and as in TCP a limited number of its bytes
//! is on the way at a time.
//!
//! Invariant: bytes sent = bytes delivered + bytes on their way + bytes lost with their link.

use super::clock::Agenda;
use super::world::Event;
use shoal::peer::identity::ConnId;
use shoal::protocol::wire::{BlockRequest, PIECE_HEADER_LEN};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A connection puts blocks into its lane while fewer bytes than this wait there. It stands for the
/// socket's buffer.
pub const ROOM: usize = 32 * 1024;
/// The bytes of one lane that are on the way at a time: what the receiver's line takes in a round trip plus
/// this time, about the result of congestion control; within bounds.
const QUEUE: Duration = Duration::from_millis(100);
const LEAST_FLIGHT: usize = 20 * 1024;
pub const MOST_FLIGHT: usize = 512 * 1024;

pub type NodeNo = usize;
pub type LinkNo = usize;
/// Which end of a link: 0 is the one that dialled.
pub type Side = usize;

/// What travels. A block is sent as its description and rebuilt at the receiver; everything else is sent as
/// the bytes on the wire.
#[derive(Clone, Debug)]
pub enum Cargo {
    Messages(Vec<u8>),
    Block { wanted: BlockRequest, corrupt: bool },
}

impl Cargo {
    /// Bytes on the wire.
    fn len(&self) -> usize {
        match self {
            Cargo::Messages(bytes) => bytes.len(),
            Cargo::Block { wanted, .. } => PIECE_HEADER_LEN + wanted.len as usize,
        }
    }
}

/// One end of a link.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct End {
    pub node: NodeNo,
    pub conn: ConnId,
}

struct Link {
    ends: [End; 2],
    latency: Duration,
    jitter: Duration,
    /// Maximum number of bytes of each lane that are on the way at a time.
    flights: [usize; 2],
    lanes: [Lane; 2],
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Cargo>,
    waiting_bytes: usize,
    flying: VecDeque<Cargo>,
    flying_bytes: usize,
    /// No cargo arrives earlier than one that was sent before it.
    arrives_at: Duration,
    /// Whether it is in its peer's `turns`.
    queued: bool,
    /// Whether its sender waits for room.
    wanted: bool,
}

/// A peer's connection to the network: bytes per second.
#[derive(Copy, Clone, Debug)]
pub struct Line {
    pub up: f64,
    pub down: f64,
    /// Rate of blocks, if they go out more slowly than the rest: for the peer that sends one byte per second.
    pub blocks: Option<f64>,
}

struct Port {
    line: Line,
    /// Lanes with something to send, in turn.
    turns: VecDeque<(LinkNo, Side)>,
    busy: bool,
    /// Nothing is sent before this time.
    stalled_until: Duration,
    down_free_at: Duration,
}

/// Bytes on the wire.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct Carried {
    pub sent: u64,
    pub delivered: u64,
    pub lost: u64,
}

/// Peers that cannot reach the others for a while.
pub struct Partition {
    pub inside: Vec<bool>,
    pub until: Duration,
}

pub struct Network {
    ports: Vec<Port>,
    links: BTreeMap<LinkNo, Link>,
    next: LinkNo,
    pub partition: Option<Partition>,
    pub carried: Carried,
}

impl Network {
    pub fn new(lines: impl IntoIterator<Item = Line>) -> Self {
        let port = |line| Port {
            line,
            turns: VecDeque::new(),
            busy: false,
            stalled_until: Duration::ZERO,
            down_free_at: Duration::ZERO,
        };
        Network {
            ports: lines.into_iter().map(port).collect(),
            links: BTreeMap::new(),
            next: 0,
            partition: None,
            carried: Carried::default(),
        }
    }

    pub fn open(&mut self, ends: [End; 2], latency: Duration, jitter: Duration) -> LinkNo {
        let link = self.next;
        self.next += 1;
        let flight = |to: End| {
            let bytes = self.ports[to.node].line.down * (latency * 2 + QUEUE).as_secs_f64();
            (bytes as usize).clamp(LEAST_FLIGHT, MOST_FLIGHT)
        };
        let flights = [flight(ends[1]), flight(ends[0])];
        self.links.insert(link, Link { ends, latency, jitter, flights, lanes: Default::default() });
        link
    }

    pub fn is_open(&self, link: LinkNo) -> bool {
        self.links.contains_key(&link)
    }

    /// Ends a link; what was on its way is lost. The other end of `from` is told, unless the link
    /// just goes dead.
    pub fn close(&mut self, link: LinkNo, from: Side, dead: bool, agenda: &mut Agenda<Event>) {
        let Some(link) = self.links.remove(&link) else { return };
        for lane in &link.lanes {
            self.carried.lost += (lane.waiting_bytes + lane.flying_bytes) as u64;
        }
        if !dead {
            agenda.after(link.latency, Event::Closed(link.ends[1 - from]));
        }
    }

    /// Random links, to be cut.
    pub fn any_link(&self, random: &mut fastrand::Rng) -> Option<(LinkNo, [End; 2])> {
        let nth = random.usize(..self.links.len().max(1));
        self.links.iter().nth(nth).map(|(no, link)| (*no, link.ends))
    }

    /// Number of bytes of blocks that the lane takes now. If it is 0, the sender gets a turn when
    /// there is room.
    pub fn room(&mut self, link: LinkNo, side: Side) -> usize {
        let Some(link) = self.links.get_mut(&link) else { return 0 };
        let lane = &mut link.lanes[side];
        let room = ROOM.saturating_sub(lane.waiting_bytes);
        lane.wanted |= room == 0;
        room
    }

    pub fn send(&mut self, no: LinkNo, side: Side, cargo: Cargo, agenda: &mut Agenda<Event>) {
        self.carried.sent += cargo.len() as u64;
        let Some(link) = self.links.get_mut(&no) else {
            self.carried.lost += cargo.len() as u64; // the other end is dead, and this one does not know yet
            return;
        };
        let lane = &mut link.lanes[side];
        lane.waiting_bytes += cargo.len();
        lane.waiting.push_back(cargo);
        self.queue(no, side, agenda);
    }

    fn queue(&mut self, no: LinkNo, side: Side, agenda: &mut Agenda<Event>) {
        let Some(link) = self.links.get_mut(&no) else { return };
        let (node, flight, lane) = (link.ends[side].node, link.flights[side], &mut link.lanes[side]);
        if lane.queued || lane.waiting.is_empty() || lane.flying_bytes >= flight {
            return;
        }
        lane.queued = true;
        let port = &mut self.ports[node];
        port.turns.push_back((no, side));
        if !port.busy {
            port.busy = true;
            agenda.after(Duration::ZERO, Event::Uplink(node));
        }
    }

    /// Nothing leaves the peer for this time.
    pub fn stall(&mut self, node: NodeNo, until: Duration) {
        let port = &mut self.ports[node];
        port.stalled_until = port.stalled_until.max(until);
    }

    /// The peer's uplink is free: the next lane's turn.
    pub fn on_uplink(&mut self, node: NodeNo, agenda: &mut Agenda<Event>, random: &mut fastrand::Rng) {
        let port = &mut self.ports[node];
        if port.stalled_until > agenda.now() {
            return agenda.at(port.stalled_until, Event::Uplink(node));
        }
        while let Some((no, side)) = self.ports[node].turns.pop_front() {
            let Some(link) = self.links.get_mut(&no) else { continue };
            let lane = &mut link.lanes[side];
            lane.queued = false;
            let Some(cargo) = lane.waiting.pop_front() else { continue };
            let (len, line) = (cargo.len(), self.ports[node].line);
            let is_block = matches!(cargo, Cargo::Block { .. });
            let rate = line.blocks.filter(|_| is_block).unwrap_or(line.up);
            let gone_at = agenda.now() + Duration::from_secs_f64(len as f64 / rate);
            lane.waiting_bytes -= len;
            lane.flying_bytes += len;
            lane.flying.push_back(cargo);
            let jitter = link.jitter.mul_f64(random.f64());
            lane.arrives_at = lane.arrives_at.max(gone_at + link.latency + jitter);
            agenda.at(lane.arrives_at, Event::Arrive(no, side));
            if lane.wanted && lane.waiting_bytes < ROOM {
                lane.wanted = false;
                agenda.at(gone_at, Event::Wake(link.ends[side]));
            }
            self.queue(no, side, agenda);
            return agenda.at(gone_at, Event::Uplink(node));
        }
        self.ports[node].busy = false;
    }

    /// The front of a lane has reached the receiver's downlink.
    pub fn on_arrive(&mut self, no: LinkNo, side: Side, agenda: &mut Agenda<Event>) {
        let Some(link) = self.links.get(&no) else { return };
        let receiver = link.ends[1 - side].node;
        if let Some(until) = self.parted(link.ends[0].node, link.ends[1].node, agenda.now()) {
            return agenda.at(until, Event::Arrive(no, side));
        }
        let len = link.lanes[side].flying.front().map_or(0, Cargo::len);
        let port = &mut self.ports[receiver];
        let busy = Duration::from_secs_f64(len as f64 / port.line.down);
        port.down_free_at = port.down_free_at.max(agenda.now()) + busy;
        agenda.at(port.down_free_at, Event::Deliver(no, side));
    }

    /// The front of a lane has arrived: who gets it, and what.
    pub fn on_deliver(&mut self, no: LinkNo, side: Side, agenda: &mut Agenda<Event>) -> Option<(End, Cargo)> {
        let link = self.links.get_mut(&no)?;
        let (to, lane) = (link.ends[1 - side], &mut link.lanes[side]);
        let cargo = lane.flying.pop_front()?;
        lane.flying_bytes -= cargo.len();
        self.carried.delivered += cargo.len() as u64;
        self.queue(no, side, agenda);
        Some((to, cargo))
    }

    /// Until when these two cannot reach each other; `None` if they can.
    pub fn parted(&self, a: NodeNo, b: NodeNo, now: Duration) -> Option<Duration> {
        let partition = self.partition.as_ref().filter(|partition| now < partition.until)?;
        (partition.inside[a] != partition.inside[b]).then_some(partition.until)
    }

    /// Whether nothing at all is on its way over a link.
    pub fn is_quiet(&self, link: LinkNo) -> bool {
        let quiet = |lane: &Lane| lane.waiting.is_empty() && lane.flying.is_empty();
        self.links.get(&link).is_some_and(|link| link.lanes.iter().all(quiet))
    }

    /// Bytes on their way, counted one by one.
    pub fn under_way(&self) -> u64 {
        let lanes = self.links.values().flat_map(|link| &link.lanes);
        lanes.flat_map(|lane| lane.waiting.iter().chain(&lane.flying)).map(|cargo| cargo.len() as u64).sum()
    }
}
