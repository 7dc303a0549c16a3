//! Which peers are served, over all torrents: the upload slots of the process. The `choke` thread runs
//! [`Uploads::run`]; any thread may call the rest. The lock is not held while mail is posted. Only the
//! ledger's lock, a leaf, is taken under it.
//!
//! The thread sleeps until a round is due, or until another thread wakes it because a slot became free or a
//! peer began to wait. The wake carries no information, so a channel with room for one is enough: everything
//! is in the state.

use super::choker::{Choker, Decision, ROUND, Waiting};
use super::interested::{ContentBytes, InterestedPeers};
use super::ledger::Ledger;
use crate::peer::bans::Bans;
use crate::peer::handle::{Handle, Mail};
use crate::peer::identity::ConnId;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// All connected peers, and which of them are served.
pub struct Uploads {
    state: Mutex<State>,
    nudge: Sender<()>,
}

/// The interested peers, and the handles for their mail.
#[derive(Default)]
struct State {
    interested: InterestedPeers,
    /// The handles of the same connections as in `interested`.
    handles: BTreeMap<ConnId, Arc<Handle>>,
}

impl Uploads {
    /// Without peers. The thread that gets the receiver runs [`run`](Self::run) with it.
    pub fn new() -> (Self, Receiver<()>) {
        let (nudge, nudges) = crossbeam_channel::bounded(1);
        (Uploads { state: Mutex::default(), nudge }, nudges)
    }

    /// A connection began.
    pub fn joined(&self, handle: Arc<Handle>, now: Instant) {
        let mut state = self.state.lock();
        state.interested.joined(handle.id, now);
        state.handles.insert(handle.id, handle);
    }

    /// The peer wants to be served, or no longer does; then others may have its slot.
    pub fn set_waiting(&self, id: ConnId, waits: bool) {
        let look = self.state.lock().interested.set_waiting(id, waits);
        if look {
            self.nudge();
        }
    }

    /// The connection ended.
    pub fn left(&self, id: ConnId, ledger: &Ledger) {
        let (handle, left) = {
            let mut state = self.state.lock();
            let Some(handle) = state.handles.remove(&id) else { return };
            let left = state.interested.left(id, traffic(&handle));
            (handle, left)
        };
        let Some((unbooked, was_admitted)) = left else { return };
        book(ledger, &handle, unbooked);
        if was_admitted {
            self.nudge();
        }
    }

    /// Wakes the choke thread.
    pub fn nudge(&self) {
        match self.nudge.try_send(()) {
            Ok(()) | Err(TrySendError::Full(())) | Err(TrySendError::Disconnected(())) => {}
        }
    }

    /// The work of the `choke` thread, until it is woken and `stopped` is true.
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
                let (waiting, idle) = self.look(now, ledger);
                choker.fill(&waiting, &idle)
            } else {
                round_at = now + ROUND;
                self.sample(now, ledger);
                let (waiting, idle) = self.look(now, ledger);
                choker.round(&waiting, &idle, now)
            };
            self.carry_out(decision);
            if nudged.is_err()
                && let Err(why) = ledger.save()
            {
                log::warn!("cannot save the ledger: {why}");
            }
            // A thread that bans a peer wakes this one: a ban should survive a crash.
            if let Err(why) = bans.save() {
                log::warn!("cannot save the bans: {why}");
            }
        }
    }

    fn sample(&self, now: Instant, ledger: &Ledger) {
        let State { interested, handles } = &mut *self.state.lock();
        interested.count(|id| handles.get(&id).map(|handle| counts(handle)).unwrap_or_default());
        for (id, unbooked) in interested.sample(now) {
            if let Some(handle) = handles.get(&id) {
                book(ledger, handle, unbooked);
            }
        }
    }

    /// The peers that want to be served, and the idle ones that have a slot.
    fn look(&self, now: Instant, ledger: &Ledger) -> (Vec<Waiting>, Vec<ConnId>) {
        let State { interested, handles } = &mut *self.state.lock();
        interested.count(|id| handles.get(&id).map(|handle| counts(handle)).unwrap_or_default());
        interested.look(now, |id| {
            handles.get(&id).and_then(|handle| handle.identity.peer()).map_or(0, |peer| ledger.credit(peer))
        })
    }

    fn carry_out(&self, decision: Decision) {
        let mut mailbox: Vec<(Arc<Handle>, Mail)> = Vec::new();
        let look_again = {
            let State { interested, handles } = &mut *self.state.lock();
            for handle in decision.evict.iter().filter_map(|id| handles.get(id)) {
                log::debug!("upload slot of {handle} is taken back");
                mailbox.push((Arc::clone(handle), Mail::Evict));
            }
            for (id, reason) in &decision.admit {
                let Some(handle) = handles.get(id) else { continue };
                log::info!("upload slot for {handle}: {reason}");
                mailbox.push((Arc::clone(handle), Mail::Admit));
            }
            interested.carry_out(&decision)
        };
        for (handle, mail) in mailbox {
            handle.numbers.admitted.store(matches!(mail, Mail::Admit), Ordering::Relaxed);
            let _ = handle.mailbox.post(mail); // fails if the connection has ended: `left` follows
        }
        if look_again {
            self.nudge();
        }
    }
}

/// Enters in the ledger what passed over a connection and is not in it yet.
fn book(ledger: &Ledger, handle: &Handle, unbooked: ContentBytes) {
    if let Some(peer) = handle.identity.peer() {
        ledger.add(peer, unbooked.received, unbooked.sent);
    }
}

fn counts(handle: &Handle) -> (ContentBytes, bool) {
    (traffic(handle), handle.numbers.asks_us.load(Ordering::Relaxed))
}

fn traffic(handle: &Handle) -> ContentBytes {
    ContentBytes { received: handle.received(), sent: handle.sent() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::mailbox;
    use crate::testing::identity;
    use crate::torrent::Proof;

    fn join(uploads: &Uploads, id: u8) -> Arc<Handle> {
        let (mailbox, _) = mailbox(4).unwrap();
        let addr = "10.0.0.1:1".parse().unwrap();
        let handle = Handle::new(ConnId(id.into()), addr, false, identity(id), Proof::V1, mailbox);
        let handle = Arc::new(handle);
        uploads.joined(Arc::clone(&handle), Instant::now());
        uploads.set_waiting(handle.id, true);
        handle
    }

    /// Bug: eight peers that asked for nothing held all slots but one for good, because they had come first.
    #[test]
    fn who_takes_nothing_with_its_slot_gives_it_to_the_next() {
        let (uploads, _nudges) = Uploads::new();
        let ledger = Ledger::open(None);
        let (lazy, busy, late) = (join(&uploads, 1), join(&uploads, 2), join(&uploads, 3));
        let mut choker = Choker::new(2, 1);
        let now = Instant::now();
        let mut fill = || {
            let (waiting, idle) = uploads.look(now, &ledger);
            uploads.carry_out(choker.fill(&waiting, &idle));
            [&lazy, &busy, &late].map(|handle| handle.is_admitted())
        };
        for _ in 0..2 {
            assert_eq!(fill(), [true, true, false]);
            busy.numbers.sent.fetch_add(1, Ordering::Relaxed);
            uploads.sample(now, &ledger);
        }
        assert_eq!(fill(), [false, true, true]);
    }
}
