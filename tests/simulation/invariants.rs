//! The invariants of a swarm, and the sweeps that check those that are too expensive to check at every step.
//!
//! At every step: the requests of the connection that had its turn, the owners of pieces when one is picked
//! or a connection ends, the slots whenever they are given. At every sweep: owners, slots, bytes and progress
//! of all peers, and all requests of a few. At the end: everything.

use super::network::NodeNo;
use super::peer::Peer;
use super::scenario::Scenario;
use super::world::Env;
use std::fmt;
use std::time::Duration;

/// The invariants.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Invariant {
    /// Each piece in flight is owned by a live connection.
    Owners,
    /// Each request ends as a block, a refusal, a cancel or a choke, or with its connection; none is
    /// answered twice.
    Requests,
    /// Never more requests outstanding than the window allows.
    Window,
    /// Never more peers unchoked than there are slots.
    Slots,
    /// Bytes sent = bytes delivered + bytes under way + bytes lost with their link.
    Bytes,
    /// Few bytes arrive that are of no use.
    Waste,
    /// Honest peers neither ban each other nor break the protocol.
    Honest,
    /// No mailbox overflows.
    Mailbox,
    /// A peer that is connected to a peer with a piece that it lacks gets blocks within the time limit.
    Starved,
    /// Every download completes.
    Unfinished,
}

/// A broken invariant.
#[derive(Clone, Debug)]
pub struct Broken {
    pub invariant: Invariant,
    pub at: Duration,
    pub detail: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} broken after {:.6} s: {}", self.invariant, self.at.as_secs_f64(), self.detail)
    }
}

#[derive(Default)]
pub struct Sweeper {
    sweeps: usize,
}

impl Sweeper {
    pub const EVERY: Duration = Duration::from_secs(5);
    /// Each sweep checks all requests of every n-th peer, with this n.
    const SAMPLE: usize = 16;

    pub fn sweep(&mut self, scenario: &Scenario, peers: &mut [Peer], env: &mut Env) {
        self.sweeps += 1;
        for peer in peers.iter().filter(|peer| peer.alive) {
            peer.check_owners(env);
            peer.check_slots(env);
            if peer.no % Self::SAMPLE == self.sweeps % Self::SAMPLE {
                check_books(peer);
            }
        }
        check_bytes(peers, env);
        check_answers(peers, env);
        check_progress(scenario, peers, env);
    }

    /// Checks everything at the end of a run.
    pub fn last(&self, scenario: &Scenario, peers: &[Peer], env: &mut Env) {
        for peer in peers.iter().filter(|peer| peer.alive) {
            peer.check_owners(env);
            peer.check_slots(env);
            check_books(peer);
        }
        check_bytes(peers, env);
        check_answers(peers, env);
        check_waste(scenario, peers, env);
    }
}

/// Panics if a pure part contradicts itself.
fn check_books(peer: &Peer) {
    peer.picker.assert_invariant();
    peer.conns.values().for_each(|conn| conn.driver.session.assert_invariant());
}

fn check_bytes(peers: &[Peer], env: &mut Env) {
    let (carried, under_way) = (env.net.carried, env.net.under_way());
    if carried.sent != carried.delivered + carried.lost + under_way {
        env.fail(Invariant::Bytes, || format!("{carried:?}, {under_way} under way"));
    }
    let sum = |count: fn(&Peer) -> u64| peers.iter().map(count).sum::<u64>();
    let (sent, received) = (sum(|peer| peer.counts.sent), sum(|peer| peer.counts.received));
    if received > sent || received > carried.delivered {
        env.fail(Invariant::Bytes, || format!("{received} bytes of content came, {sent} were sent"));
    }
    if let Some(peer) = peers.iter().find(|peer| peer.counts.gained > peer.counts.received) {
        env.fail(Invariant::Bytes, || format!("peer {} has more than it got: {:?}", peer.no, peer.counts));
    }
}

/// If nothing is on its way, the requests that one end waits for are those that the other end has to answer.
fn check_answers(peers: &[Peer], env: &mut Env) {
    for peer in peers {
        for conn in peer.conns.values() {
            if !conn.input.is_empty() || !env.net.is_quiet(conn.link) {
                continue;
            }
            let far = peers[conn.far].conns.values().find(|far| far.link == conn.link);
            let Some(far) = far.filter(|far| far.input.is_empty()) else { continue };
            let (unanswered, waiting) = (conn.requests.unanswered(), far.driver.session.uploads_waiting());
            if unanswered != waiting {
                env.fail(Invariant::Requests, || {
                    format!(
                        "peer {} waits for {unanswered} answers of peer {}, where {waiting} requests wait",
                        peer.no, conn.far
                    )
                });
            }
        }
    }
}

fn check_progress(scenario: &Scenario, peers: &mut [Peer], env: &mut Env) {
    let now = env.agenda.now();
    for no in 0..peers.len() {
        let peer = &peers[no];
        if !peer.alive || !peer.is_lacking() {
            continue;
        }
        if !has_source(peer, peers, env) {
            peers[no].progress_at = now;
        } else if now.saturating_sub(peer.progress_at) > scenario.patience {
            env.fail(Invariant::Starved, || describe(peer, peers));
        }
    }
}

/// Whether it is connected to a peer that would send it what it lacks.
fn has_source(peer: &Peer, peers: &[Peer], env: &Env) -> bool {
    let (have, now) = (peer.picker.have(), env.agenda.now());
    peer.conns.values().map(|conn| &peers[conn.far]).any(|far| {
        far.alive
            && far.manners.is_honest()
            && env.net.parted(peer.no, far.no, now).is_none()
            && far.picker.have().iter().any(|index| !have.has(index))
    })
}

/// Describes the state of a peer that lacks something.
pub fn describe(peer: &Peer, peers: &[Peer]) -> String {
    let mut text = format!(
        "peer {} ({:?}, memory {}, {:?}) has {} of {} pieces, in flight {:?}, and got nothing since {:?}; connections:",
        peer.no,
        peer.plan().line,
        peer.plan().memory,
        peer.counts,
        peer.picker.have().count(),
        peer.picker.have().len(),
        peer.picker.in_flight().map(|(piece, owner)| (piece.index(), owner.0)).collect::<Vec<_>>(),
        peer.progress_at,
    );
    for conn in peer.conns.values() {
        let far: NodeNo = conn.far;
        text += &format!(
            "\n  {} to peer {far} ({:?}, {:.0} B/s up, alive: {}, has {}): interested {}, choked {}, asked {}, wants work {}, looking {}",
            conn.id,
            peers[far].manners,
            peers[far].plan().line.up,
            peers[far].alive,
            conn.driver.session.peer_has().count(),
            conn.driver.session.is_interested(),
            conn.driver.session.is_choked(),
            conn.driver.session.asked().len(),
            conn.driver.session.wants_work(),
            conn.driver.is_looking(),
        );
    }
    text
}

fn check_waste(scenario: &Scenario, peers: &[Peer], env: &mut Env) {
    let honest = || peers.iter().filter(|peer| peer.manners.is_honest());
    let received: u64 = honest().map(|peer| peer.counts.received).sum();
    let gained: u64 = honest().map(|peer| peer.counts.gained).sum();
    if received > gained + scenario.waste(gained) {
        env.fail(Invariant::Waste, || {
            let late: u64 = honest().map(|peer| peer.counts.late).sum();
            let broken: u64 = honest().map(|peer| peer.counts.broken).sum();
            format!(
                "{received} bytes came for {gained} that were of use; {late} blocks late, {broken} pieces broken"
            )
        });
    }
}
