//! Who is connected to a torrent, and to whom to connect. Any thread; it takes the locks `members`, `picker`,
//! `starved`, `addresses` and `state`, one at a time.

use super::Swarm;
use crate::net;
use crate::peer::handle::{Handle, Mail};
use crate::peer::identity::{ConnId, SourceIdentity};
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Number of members up to which a torrent connects to peers by itself. More may connect to us.
const DIAL_MEMBERS: usize = 50;
/// How long a connection must be silent before another one from the same peer replaces it: its peer has most
/// likely lost it.
const LOST: Duration = Duration::from_secs(10);

impl Swarm {
    /// A source of content begins: from now on it may be asked for pieces, by [`Mail::Fetch`], and gives them
    /// to [`arrived`](Self::arrived). What is for BitTorrent peers alone, [`join`](Self::join) adds.
    #[doc(hidden)]
    pub fn add_source(&self, handle: &Arc<Handle>) {
        self.members.lock().insert(handle.id, Arc::clone(handle));
        self.picker.lock().joined(handle.id);
    }

    /// A source ended, for this reason: it is asked for nothing more.
    #[doc(hidden)]
    pub fn remove_source(self: &Arc<Self>, handle: &Handle, why: &dyn Display) {
        self.take_out(handle.id);
        self.retry_starved();
        self.observer.parted(self, handle, &why.to_string());
    }

    fn take_out(&self, id: ConnId) {
        self.members.lock().remove(&id);
        self.starved.lock().remove(&id);
        self.picker.lock().left(id);
    }

    /// The connection to a BitTorrent peer begins: a source that also wants to be served. False if there is
    /// another connection to the same peer that should stay.
    pub(crate) fn join(&self, handle: &Arc<Handle>) -> bool {
        let twin = {
            let mut members = self.members.lock();
            let is_twin = |other: &&Arc<Handle>| other.identity.peer_id() == handle.identity.peer_id();
            let twin = members.values().find(is_twin).cloned();
            if twin.as_ref().is_some_and(|twin| !self.prefers(handle, twin)) {
                return false;
            }
            // Under the same lock, so that two twins never join at once.
            members.insert(handle.id, Arc::clone(handle));
            twin
        };
        if let Some(twin) = twin {
            let _ = twin.mailbox.post(Mail::Close("there is another connection to the same peer"));
        }
        self.picker.lock().joined(handle.id);
        self.shared.uploads.joined(Arc::clone(handle), Instant::now());
        self.shared.stir();
        true
    }

    /// Two peers that connected to each other at once keep the same one of the two connections: the one that
    /// the peer with the greater id made.
    fn prefers(&self, new: &Handle, old: &Handle) -> bool {
        let we_are_greater = Some(self.shared.peer_id) > new.identity.peer_id();
        let at_once = new.outgoing != old.outgoing && new.outgoing == we_are_greater;
        at_once || self.supersedes(new, old)
    }

    /// A peer that vanished without closing its connection would be refused as its own twin until its silence
    /// ends that connection. Only one at the same address is accepted: a stranger could copy its peer id to
    /// close it.
    fn supersedes(&self, new: &Handle, old: &Handle) -> bool {
        let lost = self.shared.tuning.twin_silence.unwrap_or(LOST);
        new.addr.ip() == old.addr.ip() && old.silence(Instant::now()) >= lost
    }

    /// The connection to a BitTorrent peer ended, for this reason.
    pub(crate) fn leave(self: &Arc<Self>, handle: &Handle, why: &dyn Display) {
        self.take_out(handle.id);
        self.is_gone(handle.id);
        self.shared.uploads.left(handle.id, &self.shared.ledger);
        self.retry_starved();
        self.observer.parted(self, handle, &why.to_string());
    }

    /// The connection of this name, while it is there.
    pub(crate) fn member(&self, id: ConnId) -> Option<Arc<Handle>> {
        self.members.lock().get(&id).cloned()
    }

    /// The connections of the torrent.
    pub fn members(&self) -> Vec<Arc<Handle>> {
        self.members.lock().values().cloned().collect()
    }

    pub(super) fn wake_all(&self) {
        self.members().iter().for_each(|member| member.mailbox.wake());
    }

    /// Wakes the connections whose peers lack pieces and are to be told of ours at once.
    pub(super) fn wake_curious(&self) {
        let pieces = self.torrent.geometry().piece_count();
        // That a piece is finished was written before the look at `tells_later`, and a connection looks for
        // finished pieces after it has written that. So either we wake it, or it sees the piece.
        let is_to_be_woken = |member: &&Arc<Handle>| {
            member.numbers.peer_pieces.load(Ordering::Relaxed) < pieces
                && !member.numbers.tells_later.load(Ordering::SeqCst)
        };
        self.members().iter().filter(is_to_be_woken).for_each(|member| member.mailbox.wake());
    }

    pub(super) fn close_all(&self, why: &'static str) {
        for member in self.members() {
            let _ = member.mailbox.post(Mail::Close(why)); // it ended by itself
        }
    }

    /// Bans a source that sent wrong data.
    pub(crate) fn ban(&self, identity: &SourceIdentity) {
        log::warn!("{identity} sent wrong data: banned");
        if let Some(peer) = identity.peer() {
            self.shared.bans.liar(peer);
            self.shared.uploads.nudge(); // its thread writes the bans down
        }
        for member in self.members().iter().filter(|member| *member.identity == *identity) {
            let _ = member.mailbox.post(Mail::Close("it sent wrong data"));
        }
    }

    /// Adds addresses of peers to connect to; [`Engine::look_for_peers`](crate::Engine::look_for_peers) then
    /// does so without delay. An address that is `given` by the user is tried again and again, one that a
    /// tracker or a peer returned is forgotten after some failures.
    /// Those of a family that is not to be used are left out.
    pub fn add_addresses(&self, addrs: impl IntoIterator<Item = SocketAddr>, given: bool) {
        let now = Instant::now();
        let mut addresses = self.addresses.lock();
        let addrs = addrs.into_iter().map(net::canonical);
        let usable = addrs.filter(|addr| self.shared.families.has(addr.ip()));
        usable.for_each(|addr| addresses.add(addr, given, now));
        drop(addresses);
        self.concern_accept();
    }

    /// The thread `accept` has something to do for it.
    pub(super) fn concern_accept(&self) {
        self.concerns_accept.store(true, Ordering::Release);
        self.shared.stir();
    }

    /// Whether the thread `accept` has something to do for it: it has addresses, or its folder is absent.
    /// A torrent that rests has neither, and costs no lock at each turn.
    pub(crate) fn concerns_accept(&self) -> bool {
        if !self.concerns_accept.load(Ordering::Acquire) {
            return false;
        }
        // Who gives it something to do sets this after that was done, so it is never missed.
        self.concerns_accept.store(false, Ordering::Release);
        let is_absent = self.absence.lock().is_some();
        let concerns = is_absent || !self.addresses.lock().is_empty();
        if concerns {
            self.concerns_accept.store(true, Ordering::Release);
        }
        concerns
    }

    /// The next address to connect to. Not the address of a peer that has connected to us: a second
    /// connection would only end the first.
    #[doc(hidden)]
    pub fn next_address(&self) -> Option<SocketAddr> {
        if !self.may_dial() {
            return None;
        }
        let members: Vec<SocketAddr> = self.members().iter().map(|member| member.known_as()).collect();
        let (now, mut addresses) = (Instant::now(), self.addresses.lock());
        loop {
            let addr = addresses.next(self.is_complete(), now)?;
            if !members.contains(&addr) {
                return Some(addr);
            }
            addresses.ended(addr, true, now);
        }
    }

    /// When an address is due, if there is one.
    #[doc(hidden)]
    pub fn next_address_at(&self) -> Option<Instant> {
        self.may_dial().then(|| self.addresses.lock().due_at(self.is_complete()))?
    }

    fn may_dial(&self) -> bool {
        self.is_running()
            && self.members.lock().len() < DIAL_MEMBERS
            && self.addresses.lock().busy() < DIAL_MEMBERS
    }

    /// The connection to `addr` ended; `worked` if it was of use. Gives true if the user should hear of it:
    /// see [`Addresses::ended`](crate::peer::discovery::addresses::Addresses::ended).
    pub(crate) fn dialled(&self, addr: SocketAddr, worked: bool) -> bool {
        self.addresses.lock().ended(addr, worked, Instant::now())
    }

    /// It is of no use to connect to `addr` ever again.
    pub(crate) fn forget(&self, addr: SocketAddr) {
        self.addresses.lock().forget(addr);
    }
}
