//! The first copy of a torrent, given out piece by piece (BEP 16). Pure; the swarm keeps it under a lock of its own.
//!
//! A lone seed that faces many empty peers is the one uplink that everybody waits for: a piece that it sends twice
//! before it has sent every piece once delays them all. Left to themselves peers do ask it for the same pieces, since
//! none knows what the others are asking for at that moment. So the seed tells each of them of other pieces: it appears
//! to have nothing, and *shows* one piece after the other. Once every piece is held by somebody else it shows
//! everything to everybody, and is a seed like any other.
//!
//! Invariant: `to_give` holds just the pieces that no peer has, in the order in which they are shown: first those
//! that the fewest are looking at.
//!
//! Where this differs from BEP 16: a peer is always shown *something* that it lacks, whether or not it passed on what it
//! got. To withhold it would leave an uplink idle that may have nobody better to serve. What passing on earns is
//! the right to be shown more at a time.

use crate::bitfield::Bitfield;
use crate::peer::identity::ConnId;
use crate::torrent::{Geometry, Piece};
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;

/// So many peers, connected or known of, are worth it. With fewer there is little to send twice.
pub const ENOUGH_PEERS: usize = 4;
/// What a peer is shown at a time at first, pieces: the one that comes, and one behind it.
const FIRST: usize = 2;
/// The most that a peer is shown at a time, bytes: two of the largest request windows.
const MOST: u32 = 16 << 20;

/// What to tell a peer of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Show {
    /// These pieces, for now.
    Pieces(Vec<Piece>),
    /// Everything: the first copy is out.
    All,
}

struct Peer {
    /// What we told it of.
    shown: Bitfield,
    has: Bitfield,
    /// How many pieces it was shown and does not have yet.
    open: usize,
    /// How many it is shown at a time.
    allowance: usize,
    /// Whether somebody got a piece from it: one that only this peer had been shown.
    passed_on: bool,
}

/// Which pieces are out, and who was shown what.
pub struct SuperSeeding {
    geometry: Geometry,
    /// Pieces without a holder, by how many look at them, then at random.
    to_give: BTreeSet<(u16, u32, Piece)>,
    /// A random place for each piece.
    order: Vec<u32>,
    /// How many peers are looking at each piece: shown it, without having it.
    looking: Vec<u16>,
    /// How many peers have it.
    holders: Vec<u16>,
    peers: BTreeMap<ConnId, Peer>,
}

impl SuperSeeding {
    /// Nobody has anything yet. `seed` decides the order.
    pub fn new(geometry: &Geometry, seed: u64) -> Self {
        let count = geometry.piece_count();
        let mut order: Vec<u32> = (0..count).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
        SuperSeeding {
            to_give: geometry.pieces().map(|piece| (0, order[at(piece)], piece)).collect(),
            order,
            looking: vec![0; count as usize],
            holders: vec![0; count as usize],
            peers: BTreeMap::new(),
            geometry: geometry.clone(),
        }
    }

    /// A connection begins to somebody who is shown nothing yet.
    pub fn joined(&mut self, id: ConnId) {
        let nothing = Bitfield::new(self.geometry.piece_count());
        let peer = Peer { shown: nothing.clone(), has: nothing, open: 0, allowance: FIRST, passed_on: false };
        self.peers.entry(id).or_insert(peer);
    }

    /// A connection ended: what only that peer had is to be given out again.
    pub fn left(&mut self, id: ConnId) {
        let Some(peer) = self.peers.remove(&id) else { return };
        for piece in self.geometry.clone().pieces() {
            let has = peer.has.has(piece.index());
            let looked = peer.shown.has(piece.index()) && !has;
            if has || looked {
                self.change(piece, -i16::from(looked), -i16::from(has));
            }
        }
    }

    /// The peer has these pieces.
    pub fn has(&mut self, id: ConnId, pieces: impl IntoIterator<Item = Piece>) {
        for piece in pieces {
            let Some(peer) = self.peers.get_mut(&id) else { return };
            if !peer.has.set(piece.index()) {
                continue;
            }
            let looked = peer.shown.has(piece.index());
            peer.open -= usize::from(looked);
            if !looked {
                self.credit(piece);
            }
            self.change(piece, -i16::from(looked), 1);
        }
    }

    /// Somebody has a piece that we did not show: whoever we did show it to, and has it, passed it on.
    fn credit(&mut self, piece: Piece) {
        let gave = |peer: &&mut Peer| peer.shown.has(piece.index()) && peer.has.has(piece.index());
        self.peers.values_mut().filter(gave).for_each(|peer| peer.passed_on = true);
    }

    /// What to tell the peer of now. `idle` if it asks us for nothing: then it could do with more at a time.
    pub fn show(&mut self, id: ConnId, idle: bool) -> Show {
        if self.to_give.is_empty() {
            return Show::All;
        }
        let alone = self.peers.len() == 1;
        let most = ((MOST / self.geometry.piece_length()) as usize).max(FIRST);
        let Some(peer) = self.peers.get_mut(&id) else { return Show::All };
        if idle && (peer.passed_on || alone) {
            peer.allowance = (peer.allowance * 2).min(most);
        }
        let room = peer.allowance.saturating_sub(peer.open);
        let unknown = |piece: &Piece| !peer.shown.has(piece.index());
        let pieces: Vec<Piece> =
            self.to_give.iter().map(|(_, _, piece)| *piece).filter(unknown).take(room).collect();
        for piece in &pieces {
            peer.shown.set(piece.index());
            peer.open += 1;
        }
        pieces.iter().for_each(|piece| self.change(*piece, 1, 0));
        Show::Pieces(pieces)
    }

    /// Whether somebody else has each piece.
    pub fn is_over(&self) -> bool {
        self.to_give.is_empty()
    }

    fn change(&mut self, piece: Piece, looking: i16, holders: i16) {
        let index = at(piece);
        self.to_give.remove(&(self.looking[index], self.order[index], piece));
        self.looking[index] = self.looking[index].saturating_add_signed(looking);
        self.holders[index] = self.holders[index].saturating_add_signed(holders);
        if self.holders[index] == 0 {
            self.to_give.insert((self.looking[index], self.order[index], piece));
        }
    }
}

fn at(piece: Piece) -> usize {
    piece.index() as usize
}
