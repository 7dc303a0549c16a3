//! Who is served, over all torrents: the upload slots of the process. The `choke` thread runs [`Uploads::run`]; any
//! thread may call the rest. The lock is never held over a mailbox; under it only the ledger's, a leaf, is taken.
//!
//! The thread sleeps until a round is due or somebody nudges it because a slot became free or a peer came to wait. A
//! nudge carries nothing, so a channel with room for one is enough: what it is about stands in the state.

use super::admission::Candidate;
use super::bans::Bans;
use super::choker::{Choker, Decision, ROUND, Waiting};
use super::conn_id::ConnId;
use super::handle::{Handle, Mail};
use super::ledger::Ledger;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The span over which a peer's rate counts (tit for tat).
const SPAN: Duration = Duration::from_secs(20);

/// For so many rounds somebody may have a slot and take nothing. In one alone it may have come just before the end.
const PATIENCE: u32 = 2;

/// All connected peers, and who of them is served.
pub struct Uploads {
    room: Mutex<Room>,
    nudge: Sender<()>,
}

#[derive(Default)]
struct Room {
    /// Bounded by the number of connections.
    peers: BTreeMap<ConnId, Peer>,
    arrivals: u64,
}

struct Peer {
    handle: Arc<Handle>,
    since: Instant,
    /// The order in which it came to wait; `None` while it does not want anything.
    waits: Option<u64>,
    admitted: bool,
    /// When, and how much it had sent us by then. At most one a round of [`SPAN`], so three or four.
    samples: VecDeque<(Instant, u64)>,
    /// How much of its traffic the ledger knows: received, sent.
    booked: (u64, u64),
    /// For how many rounds it had a slot, wanted to be served, and took nothing.
    unused: u32,
}

impl Uploads {
    /// Nobody yet. Whoever gets the receiver runs [`run`](Self::run) with it.
    pub fn new() -> (Self, Receiver<()>) {
        let (nudge, nudges) = crossbeam_channel::bounded(1);
        (Uploads { room: Mutex::default(), nudge }, nudges)
    }

    /// A connection began.
    pub fn joined(&self, handle: Arc<Handle>, now: Instant) {
        let samples = VecDeque::from([(now, handle.received())]);
        let peer =
            Peer { since: now, waits: None, admitted: false, samples, booked: (0, 0), unused: 0, handle };
        self.room.lock().peers.insert(peer.handle.id, peer);
    }

    /// The peer wants to be served, or no longer does, which makes its slot one that others may have.
    pub fn set_waiting(&self, id: ConnId, waits: bool) {
        {
            let mut room = self.room.lock();
            room.arrivals += 1;
            let arrival = room.arrivals;
            let Some(peer) = room.peers.get_mut(&id) else { return };
            peer.waits = waits.then_some(arrival);
            if waits == peer.admitted {
                return; // it has what it wants, or nothing to give back
            }
        }
        self.nudge();
    }

    /// The connection ended.
    pub fn left(&self, id: ConnId, ledger: &Ledger) {
        let Some(mut peer) = self.room.lock().peers.remove(&id) else { return };
        peer.book(ledger);
        if peer.admitted {
            self.nudge();
        }
    }

    /// Has the choke thread look at once.
    pub fn nudge(&self) {
        match self.nudge.try_send(()) {
            Ok(()) | Err(TrySendError::Full(())) | Err(TrySendError::Disconnected(())) => {}
        }
    }

    /// The work of the `choke` thread, until `stopped` and nudged.
    pub fn run(
        &self,
        nudges: &Receiver<()>,
        mut choker: Choker,
        ledger: &Ledger,
        bans: &Bans,
        stopped: impl Fn() -> bool,
    ) {
        let mut round_at = Instant::now() + ROUND;
        loop {
            let nudged = nudges.recv_deadline(round_at);
            if stopped() || nudged == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            let now = Instant::now();
            let decision = if nudged.is_ok() {
                let (waiting, idle) = self.waiting(now, ledger);
                choker.fill(&waiting, &idle)
            } else {
                round_at = now + ROUND;
                self.sample(now, ledger);
                let (waiting, idle) = self.waiting(now, ledger);
                choker.round(&waiting, &idle, now)
            };
            self.carry_out(decision);
            if nudged.is_err()
                && let Err(why) = ledger.save()
            {
                log::warn!("cannot save the ledger: {why}");
            }
            // Whoever bans somebody nudges: a ban should outlive a crash.
            if let Err(why) = bans.save() {
                log::warn!("cannot save the bans: {why}");
            }
        }
    }

    fn sample(&self, now: Instant, ledger: &Ledger) {
        let mut room = self.room.lock();
        let Room { peers, arrivals } = &mut *room;
        for peer in peers.values_mut() {
            if peer.leaves_its_slot_unused() {
                *arrivals += 1;
                peer.waits = Some(*arrivals);
            }
            while peer.samples.len() > 1 && now.saturating_duration_since(peer.samples[1].0) >= SPAN {
                peer.samples.pop_front();
            }
            peer.samples.push_back((now, peer.handle.received()));
            peer.book(ledger);
        }
    }

    /// Those who want to be served, and those who have a slot and do not.
    fn waiting(&self, now: Instant, ledger: &Ledger) -> (Vec<Waiting>, Vec<ConnId>) {
        let room = self.room.lock();
        let idle = room.peers.iter().filter(|(_, peer)| peer.admitted && peer.waits.is_none());
        let idle = idle.map(|(id, _)| *id).collect();
        let waiting = room.peers.iter().filter_map(|(id, peer)| {
            let (arrival, credit) = (peer.waits?, ledger.credit(&peer.handle.source));
            let candidate = Candidate { id: *id, rate: peer.rate(now), credit, arrival };
            Some(Waiting { candidate, since: peer.since, admitted: peer.admitted })
        });
        (waiting.collect(), idle)
    }

    fn carry_out(&self, decision: Decision) {
        let mut letters: Vec<(Arc<Handle>, Mail)> = Vec::new();
        let mut waits_again = false;
        {
            let mut room = self.room.lock();
            for id in &decision.evict {
                let Some(peer) = room.peers.get_mut(id) else { continue };
                peer.admitted = false;
                waits_again |= peer.waits.is_some(); // it was idle when the choker looked
                log::debug!("upload slot of {} is taken back", peer.handle);
                letters.push((Arc::clone(&peer.handle), Mail::Evict));
            }
            for (id, reason) in &decision.admit {
                let Some(peer) = room.peers.get_mut(id) else { continue };
                peer.admitted = true;
                log::info!("upload slot for {}: {reason}", peer.handle);
                letters.push((Arc::clone(&peer.handle), Mail::Admit));
            }
        }
        for (handle, letter) in letters {
            handle.numbers.admitted.store(matches!(letter, Mail::Admit), Ordering::Relaxed);
            let _ = handle.mailbox.post(letter); // it ended: `left` follows
        }
        if waits_again {
            self.nudge();
        }
    }
}

impl Peer {
    /// Bytes per second over the last [`SPAN`], as far back as the samples go.
    fn rate(&self, now: Instant) -> u64 {
        let Some((since, then)) = self.samples.front() else { return 0 };
        let seconds = now.saturating_duration_since(*since).as_secs_f64().max(1.0);
        ((self.handle.received() - then) as f64 / seconds) as u64
    }

    /// Whoever says that it wants to be served, has a slot and takes nothing for [`PATIENCE`] rounds, goes to the end of
    /// the queue. A handful of such peers would otherwise hold all slots but the optimistic one for ever, since
    /// they came first.
    fn leaves_its_slot_unused(&mut self) -> bool {
        let unused = self.admitted && self.waits.is_some() && self.handle.sent() == self.booked.1;
        self.unused = if unused { self.unused + 1 } else { 0 };
        self.unused >= PATIENCE
    }

    fn book(&mut self, ledger: &Ledger) {
        let now = (self.handle.received(), self.handle.sent());
        ledger.add(&self.handle.source, now.0 - self.booked.0, now.1 - self.booked.1);
        self.booked = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::mailbox;
    use crate::peer::handle::Handle;
    use crate::peer::testing::source;
    use crate::torrent::Proof;

    fn join(uploads: &Uploads, id: u8) -> Arc<Handle> {
        let (letters, _) = mailbox(4).unwrap();
        let addr = "10.0.0.1:1".parse().unwrap();
        let handle = Handle::new(ConnId(id.into()), addr, false, source(id), Proof::V1, letters);
        let handle = Arc::new(handle);
        uploads.joined(Arc::clone(&handle), Instant::now());
        uploads.set_waiting(handle.id, true);
        handle
    }

    /// Eight peers that asked for nothing held all slots but one for good, because they had come first.
    #[test]
    fn who_takes_nothing_with_its_slot_goes_to_the_end_of_the_queue() {
        let (uploads, _nudges) = Uploads::new();
        let ledger = Ledger::open(None);
        let (lazy, busy, late) = (join(&uploads, 1), join(&uploads, 2), join(&uploads, 3));
        let mut choker = Choker::new(2, 1);
        let now = Instant::now();
        let fill = |choker: &mut Choker| {
            let (waiting, idle) = uploads.waiting(now, &ledger);
            uploads.carry_out(choker.fill(&waiting, &idle));
        };
        fill(&mut choker);
        assert!(lazy.is_admitted() && busy.is_admitted() && !late.is_admitted());
        let order = || {
            let mut waiting = uploads.waiting(now, &ledger).0;
            waiting.sort_by_key(|peer| peer.candidate.arrival);
            waiting.iter().map(|peer| peer.candidate.id.0).collect::<Vec<_>>()
        };
        for _ in 0..PATIENCE {
            assert_eq!(order(), [1, 2, 3]);
            busy.numbers.sent.fetch_add(1, Ordering::Relaxed);
            uploads.sample(now, &ledger);
        }
        assert_eq!(order(), [2, 3, 1]);
    }
}
