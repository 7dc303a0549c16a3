//! Super-seeding (BEP 16): the first copy of a torrent is given out piece by piece. Pure; the swarm keeps it
//! under a lock of its own.
//!
//! A lone seed with many empty peers is the one uplink that all of them wait for. A piece that it sends twice
//! before it has sent every piece once delays them all. Peers left to themselves do ask it for the same
//! pieces, since none knows what the others are asking for at that moment. So the seed appears to have
//! nothing, and *shows* each peer other pieces, one after the other. Once every piece is held by some peer it
//! shows everything to all of them, and is a seed like any other.
//!
//! Invariant: `to_give` holds exactly the pieces that no peer has, in the order in which they are shown:
//! first those that the fewest peers are looking at.
//!
//! Difference from BEP 16: a peer is always shown *something* that it lacks, whether or not it passed on what
//! it got. Otherwise the uplink could be idle, perhaps with no better peer to serve. A peer that passes
//! pieces on is shown more of them at a time.

use crate::bitfield::Bitfield;
use crate::peer::identity::ConnId;
use crate::torrent::{Geometry, Piece};
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;

/// Minimum number of peers, connected or known, for super-seeding. With fewer there is little to send twice.
pub const ENOUGH_PEERS: usize = 4;
/// Number of pieces that a peer is shown at a time at first: the one that it is getting, and the next.
const FIRST: usize = 2;
/// Maximum that a peer is shown at a time, in bytes: two of the largest request windows.
const MOST: u32 = 16 << 20;

/// What to tell a peer that we have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Show {
    /// These pieces, for now.
    Pieces(Vec<Piece>),
    /// Everything: the first copy is complete.
    All,
}

/// A connected peer.
struct Peer {
    /// The pieces that we told it of.
    shown: Bitfield,
    /// The pieces that it has.
    has: Bitfield,
    /// Number of pieces that it was shown and does not have yet.
    open: usize,
    /// Maximum number of pieces that it is shown at a time.
    allowance: usize,
    /// Whether another peer got a piece from it that only this peer had been shown.
    passed_on: bool,
}

/// Which pieces other peers have, and which peer was shown what.
pub struct SuperSeeding {
    geometry: Geometry,
    /// Pieces that no peer has, by the number of peers looking at them, then at random.
    to_give: BTreeSet<(u16, u32, Piece)>,
    /// A random rank for each piece.
    order: Vec<u32>,
    /// Number of peers looking at each piece: they were shown it and do not have it.
    looking: Vec<u16>,
    /// Number of peers that have each piece.
    holders: Vec<u16>,
    peers: BTreeMap<ConnId, Peer>,
}

impl SuperSeeding {
    /// No peer has anything yet. `seed` decides the order.
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

    /// A connection began. The peer was shown nothing yet.
    pub fn joined(&mut self, id: ConnId) {
        let nothing = Bitfield::new(self.geometry.piece_count());
        let peer = Peer { shown: nothing.clone(), has: nothing, open: 0, allowance: FIRST, passed_on: false };
        self.peers.entry(id).or_insert(peer);
    }

    /// A connection ended. Pieces that only this peer had are to be given out again.
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

    /// A peer has a piece that we did not show it. Peers that were shown the piece and have it count as
    /// having passed it on.
    fn credit(&mut self, piece: Piece) {
        let gave = |peer: &&mut Peer| peer.shown.has(piece.index()) && peer.has.has(piece.index());
        self.peers.values_mut().filter(gave).for_each(|peer| peer.passed_on = true);
    }

    /// What to tell the peer that we have now. `idle` if it asks us for nothing: then it may be shown more
    /// at a time.
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

    /// Whether each piece is held by some other peer.
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
