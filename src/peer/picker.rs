//! Which piece to fetch next, and from whom. Pure; the swarm keeps it under its first lock, taken once a piece.
//!
//! Invariant: each piece is in exactly one state at any time.
//!
//! ```text
//!            pick                complete               good
//! Missing ─────────▶ InFlight ─────────────▶ Checking ───────▶ Have
//!    ▲   (one owner)    │                       │
//!    └──────────────────┴───────────────────────┘  owner gone or gave back; bad hash
//! ```
//!
//! A missing piece stands in the bucket of its availability, so the rarest are found without sorting. Peers that
//! have everything are only counted: a seed that comes or goes moves no piece.

use super::budget::Buffer;
use super::conn_id::ConnId;
use super::partial::Partial;
use crate::bitfield::Bitfield;
use crate::torrent::{Geometry, Piece};
use std::collections::{BTreeMap, HashSet};

#[cfg(test)]
mod tests;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    Missing,
    InFlight { owner: ConnId, helps: u16 },
    Checking,
    Have,
}

/// What a connection should do next.
pub enum Pick {
    /// Fetch what is missing of this piece; it is in flight from now on.
    Fetch(Partial),
    /// Nothing is missing that the peer has, but this is in flight elsewhere: help its owner.
    Help(Piece, ConnId),
    /// Nothing for this connection now. `interesting`: the peer has something that we lack.
    Nothing { interesting: bool },
}

/// All pieces of a torrent, and what each connected peer has.
pub struct Picker {
    geometry: Geometry,
    states: Vec<State>,
    have: Bitfield,
    /// Missing pieces by availability (seeds not counted), in no order.
    buckets: Vec<Vec<Piece>>,
    /// Where a missing piece stands in its bucket.
    places: Vec<u32>,
    /// By how many peers that are no seeds each piece is held.
    availability: Vec<u16>,
    peers: BTreeMap<ConnId, Bitfield>,
    in_flight: Vec<Piece>,
    /// Missing pieces of which some blocks came before their connection ended.
    leftovers: BTreeMap<Piece, Partial>,
    /// Pieces that came broken: fetched from one peer alone until they are good, so that it is clear who lied.
    alone: HashSet<Piece>,
    random: fastrand::Rng,
}

impl Picker {
    /// All pieces missing but those in `have`. `seed` decides ties.
    pub fn new(geometry: Geometry, have: Bitfield, seed: u64) -> Self {
        let count = geometry.piece_count() as usize;
        let mut picker = Picker {
            states: vec![State::Missing; count],
            buckets: vec![Vec::new()],
            places: vec![0; count],
            availability: vec![0; count],
            peers: BTreeMap::new(),
            in_flight: Vec::new(),
            leftovers: BTreeMap::new(),
            alone: HashSet::new(),
            random: fastrand::Rng::with_seed(seed),
            geometry,
            have,
        };
        let geometry = picker.geometry.clone();
        for piece in geometry.pieces() {
            if picker.have.has(piece.index()) {
                picker.states[at(piece)] = State::Have;
            } else {
                picker.insert(piece);
            }
        }
        picker
    }

    // ---- peers and what they have ---------------------------------------------------------------------------

    /// A connection began; it has nothing until it says so.
    pub fn joined(&mut self, peer: ConnId) {
        self.peers.insert(peer, Bitfield::new(self.geometry.piece_count()));
    }

    /// The peer told all that it has. True if there is something that we lack.
    pub fn peer_has_pieces(&mut self, peer: ConnId, bits: Bitfield) -> bool {
        let Some(known) = self.peers.get_mut(&peer) else { return false };
        let known = std::mem::replace(known, bits.clone());
        self.count(&known, -1);
        self.count(&bits, 1);
        self.lacks_any(&bits)
    }

    /// The peer has one more piece. True if we lack it.
    pub fn peer_has(&mut self, peer: ConnId, piece: Piece) -> bool {
        let Some(bits) = self.peers.get_mut(&peer) else { return false };
        if bits.set(piece.index()) {
            if bits.is_full() {
                // It turned into a seed: counted as one from now on, no longer piece by piece.
                let others: Vec<Piece> = self.geometry.pieces().filter(|other| *other != piece).collect();
                others.into_iter().for_each(|other| self.shift(other, -1));
            } else {
                self.shift(piece, 1);
            }
        }
        !self.have.has(piece.index())
    }

    /// The connection ended. Its pieces in flight are missing again.
    pub fn left(&mut self, peer: ConnId) {
        if let Some(bits) = self.peers.remove(&peer) {
            self.count(&bits, -1);
        }
        let owned: Vec<Piece> =
            self.in_flight.iter().copied().filter(|piece| self.owner(*piece) == Some(peer)).collect();
        owned.into_iter().for_each(|piece| self.release(piece));
    }

    fn count(&mut self, bits: &Bitfield, by: i8) {
        if !bits.is_full() {
            let geometry = self.geometry.clone();
            bits.iter().filter_map(|index| geometry.piece(index)).for_each(|piece| self.shift(piece, by));
        }
    }

    fn shift(&mut self, piece: Piece, by: i8) {
        let missing = self.states[at(piece)] == State::Missing;
        if missing {
            self.remove(piece);
        }
        let availability = &mut self.availability[at(piece)];
        *availability = availability.saturating_add_signed(by.into());
        if missing {
            self.insert(piece);
        }
    }

    // ---- picking --------------------------------------------------------------------------------------------

    /// The next piece for `peer`: what others left half done, then the rarest, ties at random, then help. `memory` is
    /// for a new piece; without it none is begun.
    pub fn pick(&mut self, peer: ConnId, memory: Option<Buffer>) -> Pick {
        let Some(bits) = self.peers.get(&peer) else { return Pick::Nothing { interesting: false } };
        let begun = self.leftovers.keys().copied().find(|piece| bits.has(piece.index()));
        if let Some(partial) = begun.and_then(|piece| self.leftovers.remove(&piece)) {
            self.take(partial.piece(), peer);
            return Pick::Fetch(partial);
        }
        let mut buckets = self.buckets.iter();
        if let Some(memory) = memory
            && let Some(piece) = buckets.find_map(|bucket| any_of(bucket, bits, &mut self.random))
        {
            self.take(piece, peer);
            return Pick::Fetch(Partial::new(piece, memory, &self.geometry));
        }
        self.pick_help(peer)
    }

    fn take(&mut self, piece: Piece, owner: ConnId) {
        self.remove(piece);
        self.states[at(piece)] = State::InFlight { owner, helps: 0 };
        self.in_flight.push(piece);
    }

    /// Some piece in flight elsewhere that `peer` has, the least helped so far.
    fn pick_help(&mut self, peer: ConnId) -> Pick {
        let Some(bits) = self.peers.get(&peer) else { return Pick::Nothing { interesting: false } };
        let helpable = self.in_flight.iter().filter_map(|piece| match self.states[at(*piece)] {
            State::InFlight { owner, helps }
                if owner != peer && bits.has(piece.index()) && !self.alone.contains(piece) =>
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
            None => Pick::Nothing { interesting: self.lacks_any(bits) },
        }
    }

    /// Whether there is something among `bits` that we do not have.
    pub fn lacks_any(&self, bits: &Bitfield) -> bool {
        let theirs = bits.as_bytes().iter();
        theirs.zip(self.have.as_bytes()).any(|(theirs, ours)| theirs & !ours != 0)
    }

    // ---- what becomes of a piece ----------------------------------------------------------------------------

    /// All blocks are in. False if `owner` no longer owns the piece: then it is somebody else's.
    pub fn checking(&mut self, piece: Piece, owner: ConnId) -> bool {
        if self.owner(piece) != Some(owner) {
            return false;
        }
        self.land(piece);
        self.states[at(piece)] = State::Checking;
        true
    }

    /// A missing piece is on the disk, unproven: to be checked before it is fetched. False if it is not missing, but
    /// on its way already.
    pub fn doubt(&mut self, piece: Piece) -> bool {
        let missing = self.states[at(piece)] == State::Missing;
        if missing {
            self.remove(piece);
            self.leftovers.remove(&piece);
            self.states[at(piece)] = State::Checking;
        }
        missing
    }

    /// A piece that we have is doubted: it is to be checked before anybody gets it.
    pub fn distrust(&mut self, piece: Piece) {
        if self.have.clear(piece.index()) {
            self.states[at(piece)] = State::Checking;
        }
    }

    /// The check found the piece good.
    pub fn good(&mut self, piece: Piece) {
        debug_assert_eq!(self.states[at(piece)], State::Checking);
        self.states[at(piece)] = State::Have;
        self.have.set(piece.index());
        self.alone.remove(&piece);
    }

    /// All blocks of the piece came, and some were wrong.
    pub fn broken(&mut self, piece: Piece) {
        self.bad(piece);
        self.alone.insert(piece);
    }

    /// The check found the piece bad, or it could not be written.
    pub fn bad(&mut self, piece: Piece) {
        debug_assert_eq!(self.states[at(piece)], State::Checking);
        self.states[at(piece)] = State::Missing;
        self.insert(piece);
    }

    /// `owner` will not finish the piece. What came of it is kept for the next.
    pub fn gave_back(&mut self, partial: Partial, owner: ConnId) {
        let piece = partial.piece();
        if self.owner(piece) == Some(owner) {
            self.release(piece);
            if partial.sources().is_empty() || self.alone.contains(&piece) {
                return;
            }
            self.leftovers.insert(piece, partial);
        }
    }

    /// Drops what came of unfinished pieces, to free its memory. True if there was any.
    pub fn drop_leftovers(&mut self) -> bool {
        let any = !self.leftovers.is_empty();
        self.leftovers.clear();
        any
    }

    fn release(&mut self, piece: Piece) {
        self.land(piece);
        self.states[at(piece)] = State::Missing;
        self.insert(piece);
    }

    fn land(&mut self, piece: Piece) {
        if let Some(found) = self.in_flight.iter().position(|other| *other == piece) {
            self.in_flight.swap_remove(found);
        }
    }

    fn owner(&self, piece: Piece) -> Option<ConnId> {
        match self.states[at(piece)] {
            State::InFlight { owner, .. } => Some(owner),
            _ => None,
        }
    }

    fn insert(&mut self, piece: Piece) {
        let availability = usize::from(self.availability[at(piece)]);
        if self.buckets.len() <= availability {
            self.buckets.resize_with(availability + 1, Vec::new);
        }
        self.places[at(piece)] = self.buckets[availability].len() as u32;
        self.buckets[availability].push(piece);
    }

    fn remove(&mut self, piece: Piece) {
        let bucket = &mut self.buckets[usize::from(self.availability[at(piece)])];
        let place = self.places[at(piece)] as usize;
        bucket.swap_remove(place);
        if let Some(moved) = bucket.get(place) {
            self.places[at(*moved)] = place as u32;
        }
    }

    // ---- what others ask ------------------------------------------------------------------------------------

    /// The pieces we have.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    pub fn is_complete(&self) -> bool {
        self.have.is_full()
    }

    /// What each connected peer has.
    pub fn peers(&self) -> impl Iterator<Item = (ConnId, &Bitfield)> {
        self.peers.iter().map(|(id, bits)| (*id, bits))
    }

    /// Whether no piece is in flight.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The pieces in flight, and whose they are.
    pub fn in_flight(&self) -> impl Iterator<Item = (Piece, ConnId)> + '_ {
        self.in_flight.iter().filter_map(|piece| Some((*piece, self.owner(*piece)?)))
    }

    /// How many pieces wait to be checked.
    pub fn checking_count(&self) -> usize {
        self.states.iter().filter(|state| **state == State::Checking).count()
    }

    /// Panics if the invariant is broken; for tests and simulations.
    pub fn assert_invariant(&self) {
        let missing: usize = self.buckets.iter().map(Vec::len).sum();
        assert_eq!(missing, self.states.iter().filter(|state| **state == State::Missing).count());
        for (availability, bucket) in self.buckets.iter().enumerate() {
            for (place, piece) in bucket.iter().enumerate() {
                assert_eq!(self.places[at(*piece)] as usize, place);
                assert_eq!(usize::from(self.availability[at(*piece)]), availability);
            }
        }
        let flying = self.states.iter().filter(|state| matches!(state, State::InFlight { .. })).count();
        assert_eq!(flying, self.in_flight.len());
        let had = self.states.iter().filter(|state| **state == State::Have).count();
        assert_eq!(had, self.have.count() as usize);
        assert!(self.leftovers.keys().all(|piece| self.states[at(*piece)] == State::Missing));
        for piece in self.geometry.pieces() {
            let holders =
                self.peers.values().filter(|bits| !bits.is_full() && bits.has(piece.index())).count();
            assert_eq!(holders, usize::from(self.availability[at(piece)]), "availability of {piece:?}");
        }
    }
}

/// A piece of the bucket that is among `bits`, any of them with the same chance.
fn any_of(bucket: &[Piece], bits: &Bitfield, random: &mut fastrand::Rng) -> Option<Piece> {
    let (before, after) = bucket.split_at(random.usize(..bucket.len().max(1)));
    after.iter().chain(before).copied().find(|piece| bits.has(piece.index()))
}

fn at(piece: Piece) -> usize {
    piece.index() as usize
}
