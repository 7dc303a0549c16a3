//! Which piece to fetch next, and from whom. Pure; the swarm keeps it under its first lock, taken
//! once a piece.
//!
//! Invariant: each piece is in exactly one state at any time.
//!
//! ```text
//!             pick                complete               good
//!  Missing ─────────▶ InFlight ─────────────▶ Checking ───────▶ Have
//!     ▲   (one owner)    │                      │ ▲
//!     └──────────────────┴──────────────────────┤ │ may be on the disk
//!      owner gone or gave back; bad hash        ▼ │
//!                                            Unwanted
//! ```
//!
//! Pieces that hold nothing the user wants are *unwanted* instead of missing, and nobody fetches them. If
//! they are on the disk they count as `Have`, like any other. The download is complete when no wanted
//! piece is lacking.
//!
//! The order: first, pieces that other connections left unfinished. Then, in a new download, any piece, so
//! that there is soon something to trade; after that the rarest (`rarity`), ties at random. Or simply the
//! first piece, if the user wants to watch while it loads. Nothing depends on the order of a hash table, so a
//! run can be replayed from its seed.

mod outcome;
mod piece_set;
mod rarity;
#[cfg(test)]
mod tests;

use super::memory::Buffer;
use super::partial::Partial;
use crate::bitfield::Bitfield;
use crate::peer::identity::ConnId;
use crate::torrent::{Geometry, Piece};
use piece_set::PieceSet;
use rarity::Rarity;
use std::collections::BTreeMap;

/// Number of pieces that are picked at random at the start of a download. A rare piece comes from few peers,
/// and slowly, and a peer that has nothing to offer is served last.
const RANDOM_FIRST: u32 = 4;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    Unwanted,
    Missing,
    InFlight { owner: ConnId, helps: u16 },
    Checking,
    Have,
}

/// What a connection should do next.
pub enum Pick {
    /// Fetch what is missing of this piece. It is in flight from now on.
    Fetch(Partial),
    /// The peer has no missing piece, but this one, which is in flight over that connection: help its owner.
    Help(Piece, ConnId),
    /// There is nothing to do for this connection now.
    Nothing {
        /// Whether the peer has something that we want and lack.
        interesting: bool,
    },
}

/// What is done with a block that arrived after its connection had given up on it.
pub enum Late {
    /// The piece is in flight again, over this connection, which may need the block.
    Of(ConnId),
    /// It was the last block of the piece, which is in state `Checking` from now on.
    Complete(Partial),
    /// It is kept for the connection that fetches the piece next, or it is not needed.
    Done,
}

/// All pieces of a torrent, and what each connected peer has.
pub struct Picker {
    geometry: Geometry,
    states: Vec<State>,
    have: Bitfield,
    /// Pieces that hold something the user wants.
    wanted: Bitfield,
    /// Those of the wanted pieces that we do not have.
    lacking: PieceSet,
    /// The missing pieces, and how rare each of them is.
    rarity: Rarity,
    /// Whether pieces are fetched from the first to the last.
    in_order: bool,
    peers: BTreeMap<ConnId, PieceSet>,
    in_flight: Vec<Piece>,
    /// Missing pieces of which some blocks arrived before their connection gave them up.
    leftovers: BTreeMap<Piece, Partial>,
    /// Pieces that arrived broken. Each is fetched from one peer alone until it is good, so that it is clear
    /// who lied. The number counts the peers that gave it up since.
    alone: BTreeMap<Piece, u16>,
    random: fastrand::Rng,
}

impl Picker {
    /// All pieces are missing except those in `have`. `seed` decides ties.
    pub fn new(geometry: Geometry, have: Bitfield, seed: u64) -> Self {
        let count = geometry.piece_count();
        let mut picker = Picker {
            states: vec![State::Missing; count as usize],
            wanted: Bitfield::full(count),
            lacking: PieceSet::from(Bitfield::full(count)),
            rarity: Rarity::new(count),
            in_order: false,
            peers: BTreeMap::new(),
            in_flight: Vec::new(),
            leftovers: BTreeMap::new(),
            alone: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed),
            geometry: geometry.clone(),
            have,
        };
        for piece in geometry.pieces() {
            if picker.have.has(piece.index()) {
                picker.states[at(piece)] = State::Have;
                picker.lacking.clear(piece.index());
            } else {
                picker.rarity.insert(piece);
            }
        }
        picker
    }

    /// Only these pieces are fetched. Must be called at the start, before anything is in flight.
    pub fn want_only(&mut self, wanted: Bitfield) {
        debug_assert!(self.in_flight.is_empty() && self.checking_count() == 0);
        self.wanted = wanted;
        for piece in self.geometry.clone().pieces() {
            if !self.have.has(piece.index()) {
                if !self.wanted.has(piece.index()) {
                    self.lacking.clear(piece.index());
                }
                self.rarity.remove(piece);
                self.absent(piece);
            }
        }
    }

    /// From now on pieces are fetched from the first to the last.
    pub fn in_order(&mut self) {
        self.in_order = true;
    }

    // ---- peers and what they have -------------------------------------------------------------------------

    /// A connection began. It has no pieces until it says so.
    pub fn joined(&mut self, peer: ConnId) {
        self.peers.insert(peer, PieceSet::new(self.geometry.piece_count()));
    }

    /// The peer sent all that it has. True if it has something that we want and lack.
    pub fn peer_has_pieces(&mut self, peer: ConnId, bits: Bitfield) -> bool {
        if !self.peers.contains_key(&peer) {
            return false;
        }
        self.count(&bits, 1);
        let lacking = self.lacks_any(&bits);
        if let Some(known) = self.peers.insert(peer, PieceSet::from(bits)) {
            self.count(known.bits(), -1);
        }
        lacking
    }

    /// The peer has one more piece. True if we want it and lack it.
    pub fn peer_has(&mut self, peer: ConnId, piece: Piece) -> bool {
        let Some(its) = self.peers.get_mut(&peer) else { return false };
        if its.set(piece.index()) {
            if its.bits().is_full() {
                // It has become a seed: from now on it is counted as one, no longer piece by piece.
                let others: Vec<Piece> = self.geometry.pieces().filter(|other| *other != piece).collect();
                others.into_iter().for_each(|other| self.rarity.shift(other, -1));
            } else {
                self.rarity.shift(piece, 1);
            }
        }
        self.lacking.has(piece.index())
    }

    /// The connection ended. Its pieces in flight are missing again.
    pub fn left(&mut self, peer: ConnId) {
        if let Some(its) = self.peers.remove(&peer) {
            self.count(its.bits(), -1);
        }
        let owned: Vec<Piece> =
            self.in_flight.iter().copied().filter(|piece| self.owner(*piece) == Some(peer)).collect();
        owned.into_iter().for_each(|piece| self.release(piece));
    }

    fn count(&mut self, bits: &Bitfield, by: i8) {
        if !bits.is_full() {
            let geometry = self.geometry.clone();
            geometry.pieces_in(bits).for_each(|piece| self.rarity.shift(piece, by));
        }
    }

    // ---- picking ------------------------------------------------------------------------------------------

    /// The next piece for `peer`: one that another connection left unfinished, then a new one, then help.
    /// `memory` is for a new piece; without it no new piece is begun.
    pub fn pick(&mut self, peer: ConnId, memory: Option<Buffer>) -> Pick {
        self.pick_own(peer, memory).map_or_else(|| self.pick_help(peer), Pick::Fetch)
    }

    /// The same if only these pieces may be fetched from `peer`, as if it had no others. No help: the end of
    /// a download is for those who may fetch anything.
    pub fn pick_among(&mut self, peer: ConnId, pieces: &[Piece], memory: Option<Buffer>) -> Pick {
        let Some(its) = self.peers.get(&peer) else { return Pick::Nothing { interesting: false } };
        let mut few = PieceSet::new(self.geometry.piece_count());
        for piece in pieces.iter().filter(|piece| its.has(piece.index())) {
            few.set(piece.index());
        }
        let interesting = self.lacks_any(its.bits());
        let its = self.peers.insert(peer, few);
        let own = self.pick_own(peer, memory);
        self.peers.extend(its.map(|its| (peer, its)));
        own.map_or(Pick::Nothing { interesting }, Pick::Fetch)
    }

    /// A piece that `peer` fetches from now on.
    fn pick_own(&mut self, peer: ConnId, memory: Option<Buffer>) -> Option<Partial> {
        let its = self.peers.get(&peer)?;
        let begun = self.leftovers.keys().copied().find(|piece| its.has(piece.index()));
        if let Some(partial) = begun.and_then(|piece| self.leftovers.remove(&piece)) {
            self.take(partial.piece(), peer);
            return Some(partial);
        }
        let (memory, piece) = (memory?, self.next_new(peer)?);
        self.take(piece, peer);
        let partial = Partial::new(piece, memory, &self.geometry);
        Some(match self.alone.get(&piece) {
            Some(tries) => partial.alone(*tries),
            None => partial,
        })
    }

    /// The missing piece to begin next over `peer`.
    fn next_new(&mut self, peer: ConnId) -> Option<Piece> {
        let its = self.peers.get(&peer)?;
        let index = match self.in_order {
            true => self.rarity.first(its),
            false if self.have.count() < RANDOM_FIRST => self.rarity.any(its, &mut self.random),
            false => self.rarity.rarest(its, &mut self.random),
        };
        self.geometry.piece(index?)
    }

    fn take(&mut self, piece: Piece, owner: ConnId) {
        self.rarity.remove(piece);
        self.states[at(piece)] = State::InFlight { owner, helps: 0 };
        self.in_flight.push(piece);
    }

    /// A piece in flight elsewhere that `peer` has: the one that was helped least so far.
    fn pick_help(&mut self, peer: ConnId) -> Pick {
        let Some(its) = self.peers.get(&peer) else { return Pick::Nothing { interesting: false } };
        let helpable = self.in_flight.iter().filter_map(|piece| match self.states[at(*piece)] {
            State::InFlight { owner, helps }
                if owner != peer && its.has(piece.index()) && !self.alone.contains_key(piece) =>
            {
                Some((helps, *piece, owner))
            }
            _ => None,
        });
        match helpable.min_by_key(|(helps, _, _)| *helps) {
            Some((helps, piece, owner)) => {
                self.states[at(piece)] = State::InFlight { owner, helps: helps.saturating_add(1) };
                Pick::Help(piece, owner)
            }
            None => Pick::Nothing { interesting: self.lacks_any(its.bits()) },
        }
    }

    /// Whether `bits` contain a piece that we want and do not have.
    pub fn lacks_any(&self, bits: &Bitfield) -> bool {
        self.lacking.overlaps(bits)
    }

    // ---- what others ask ----------------------------------------------------------------------------------

    /// The pieces that we have.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// The pieces that hold something the user wants.
    pub fn wanted(&self) -> &Bitfield {
        &self.wanted
    }

    /// Whether we have every wanted piece.
    pub fn is_complete(&self) -> bool {
        self.lacking.is_empty()
    }

    /// What each connected peer has.
    pub fn peers(&self) -> impl Iterator<Item = (ConnId, &Bitfield)> {
        self.peers.iter().map(|(id, its)| (*id, its.bits()))
    }

    /// Whether no piece is in flight.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The pieces in flight, and the connection that owns each.
    pub fn in_flight(&self) -> impl Iterator<Item = (Piece, ConnId)> + '_ {
        self.in_flight.iter().filter_map(|piece| Some((*piece, self.owner(*piece)?)))
    }

    /// Number of pieces that are being checked.
    pub fn checking_count(&self) -> usize {
        self.states.iter().filter(|state| **state == State::Checking).count()
    }

    /// Panics if the invariant is broken; for tests and simulations.
    pub fn assert_invariant(&self) {
        let count = |is: fn(&State) -> bool| self.states.iter().filter(|state| is(state)).count();
        assert_eq!(count(|state| matches!(state, State::InFlight { .. })), self.in_flight.len());
        assert_eq!(count(|state| *state == State::Have), self.have.count() as usize);
        assert!(self.leftovers.keys().all(|piece| self.states[at(*piece)] == State::Missing));
        self.rarity.assert_invariant();
        self.peers.values().chain([&self.lacking]).for_each(PieceSet::assert_invariant);
        for piece in self.geometry.pieces() {
            let (index, state) = (piece.index(), self.states[at(piece)]);
            assert_eq!(state == State::Missing, self.rarity.missing().has(index), "{piece:?} is {state:?}");
            assert_eq!(state == State::Have, self.have.has(index), "{piece:?} is {state:?}");
            assert!(state != State::Unwanted || !self.wanted.has(index), "{piece:?} is wanted");
            assert_eq!(self.lacking.has(index), self.wanted.has(index) && !self.have.has(index));
            let holders = self.peers().filter(|(_, bits)| !bits.is_full() && bits.has(index)).count();
            assert_eq!(holders, usize::from(self.rarity.of(piece)), "availability of {piece:?}");
        }
    }
}

fn at(piece: Piece) -> usize {
    piece.index() as usize
}
