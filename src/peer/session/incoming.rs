//! What each message of the other side means: [`Session::on_message`] and its arms. Pure.

use super::Session;
use super::event::{Event, Violation};
use super::flood::{BLOCK, BYTES, HAVE, IDLE, STIR};
use super::upload_queue::Refused;
use crate::bitfield::Bitfield;
use crate::peer::download::requests::{Arrival, Came};
use crate::protocol::wire::{BlockRequest, HashRange, Message};
use crate::torrent::Block;
use std::time::Instant;

/// Minimum length in bytes of a request that is free. A shorter one costs us more than the block is worth,
/// unless the whole piece is shorter.
const SMALL: u32 = 2048;

impl Session {
    /// Takes one message. What follows from it is in [`next_event`](Self::next_event) and in the output.
    pub fn on_message(&mut self, message: Message<'_>, now: Instant) -> Result<(), Violation> {
        self.heard_at = now;
        match message {
            Message::KeepAlive | Message::Port(_) | Message::Unknown(_) => self.idle(now),
            Message::Choke => self.on_choke(now),
            Message::Unchoke => self.on_unchoke(now),
            Message::Interested => self.on_interested(true, now),
            Message::NotInterested => self.on_interested(false, now),
            Message::Have(index) => self.on_have(index, now),
            Message::Bitfield(bytes) => self.on_bitfield(bytes, now),
            Message::HaveAll => self.on_have_all(now),
            Message::HaveNone => self.on_have_none(now),
            Message::Request(wanted) => self.on_request(wanted, now),
            Message::Cancel(wanted) => self.on_cancel(wanted, now),
            Message::Piece { index, begin, data } => self.on_piece(index, begin, data, now),
            Message::Reject(wanted) => self.on_reject(wanted, now),
            Message::Suggest(_) => self.on_hint(now),
            Message::AllowedFast(index) => self.on_allowed_fast(index, now),
            Message::Extended { id, payload } => self.on_extended(id, payload, now),
            Message::HashRequest(range) => self.on_hash_request(range, now),
            Message::Hashes { .. } | Message::HashReject(_) => self.idle(now), // we ask for none
        }
    }

    fn on_choke(&mut self, now: Instant) -> Result<(), Violation> {
        self.spend(if self.requests.is_choked() { IDLE } else { STIR }, now)?;
        let given_back = self.requests.choked();
        self.give_back(given_back);
        Ok(())
    }

    fn on_unchoke(&mut self, now: Instant) -> Result<(), Violation> {
        // A peer could repeat it to excuse itself without end for blocks that it owes us.
        if !self.requests.is_choked() {
            return self.idle(now);
        }
        self.spend(STIR, now)?;
        self.requests.unchoked(now);
        self.events.push_back(Event::Unchoked);
        Ok(())
    }

    fn on_interested(&mut self, interested: bool, now: Instant) -> Result<(), Violation> {
        if self.peer_interested == interested {
            return self.idle(now);
        }
        self.spend(STIR, now)?;
        self.peer_interested = interested;
        self.events.push_back(Event::Interested(interested));
        Ok(())
    }

    fn on_have(&mut self, index: u32, now: Instant) -> Result<(), Violation> {
        let piece = self.piece(index)?;
        if !self.peer_has.set(index) {
            return self.idle(now);
        }
        self.flood.earn(HAVE);
        self.requests.encouraged();
        self.events.push_back(Event::Has(piece));
        Ok(())
    }

    fn on_bitfield(&mut self, bytes: &[u8], now: Instant) -> Result<(), Violation> {
        self.spend(STIR + (bytes.len() / BYTES) as u64, now)?;
        let bits = Bitfield::from_bytes(bytes, self.told.len()).ok_or(Violation::BadBitfield)?;
        self.on_all_at_once(bits);
        Ok(())
    }

    fn on_have_all(&mut self, now: Instant) -> Result<(), Violation> {
        self.idle(now)?;
        self.fast("have all")?;
        self.on_all_at_once(Bitfield::full(self.told.len()));
        Ok(())
    }

    fn on_have_none(&mut self, now: Instant) -> Result<(), Violation> {
        self.idle(now)?;
        self.fast("have none")?;
        self.on_first_word();
        Ok(())
    }

    /// The pieces that it has, in one message. As a rule it comes first and once. aria2 sends it again
    /// instead of many `Have` messages, so it adds to what we know.
    fn on_all_at_once(&mut self, mut bits: Bitfield) {
        if self.peer_has.is_full() {
            return;
        }
        for index in self.peer_has.iter() {
            bits.set(index);
        }
        if bits.count() > self.peer_has.count() {
            self.requests.encouraged();
            self.peer_has = bits.clone();
            self.events.push_back(Event::HasPieces(bits));
        }
        self.on_first_word();
    }

    fn on_request(&mut self, wanted: BlockRequest, now: Instant) -> Result<(), Violation> {
        // Out of range is no crime (BEP 6): some clients count padding, or the end of a torrent, otherwise.
        let Some(block) = self.requested(wanted) else {
            self.reject(wanted);
            return self.idle(now);
        };
        if wanted.len < SMALL.min(self.torrent.geometry().piece_len(block.piece())) {
            self.idle(now)?;
        }
        match self.uploads.asked(block, self.told.has(wanted.index), self.is_newcomer()) {
            Ok(()) => Ok(()),
            Err(Refused::Full) if !self.agreement.fast => Err(Violation::TooManyRequests),
            Err(Refused::Full | Refused::NotNow) => {
                self.reject(wanted);
                self.idle(now)
            }
        }
    }

    fn on_cancel(&mut self, wanted: BlockRequest, now: Instant) -> Result<(), Violation> {
        self.idle(now)?;
        if self.requested(wanted).is_some_and(|block| self.uploads.cancelled(block)) {
            self.reject(wanted);
        }
        Ok(())
    }

    fn on_piece(&mut self, index: u32, begin: u32, data: &[u8], now: Instant) -> Result<(), Violation> {
        self.piece(index)?;
        let name = BlockRequest { index, begin, len: data.len() as u32 };
        let unasked = Violation::Unasked(name);
        let Some(block) = self.our_block(name) else { return Err(unasked) };
        let data = &data[..block.len() as usize]; // without padding
        let arrival = self.requests.arrived(block, Came::Elsewhere(data), now).ok_or(unasked)?;
        self.flood.earn(BLOCK);
        if arrival.late {
            self.events.push_back(Event::Late { block, data: data.to_vec() });
        }
        if let Some(owner) = arrival.owner {
            self.events.push_back(Event::Helped { owner, block, data: data.to_vec() });
        }
        self.on_arrival(block, arrival);
        Ok(())
    }

    /// The first block of [`landing`](Self::landing) came whole, with its header, and lies in its place.
    /// Returns its length in bytes.
    pub fn landed(&mut self, now: Instant) -> u32 {
        self.heard_at = now;
        let Some((block, arrival)) = self.requests.landed(now) else { return 0 };
        self.flood.earn(BLOCK);
        self.on_arrival(block, arrival);
        block.len()
    }

    pub(super) fn on_arrival(&mut self, block: Block, arrival: Arrival) {
        for helper in arrival.helpers {
            self.events.push_back(Event::HelpNotNeeded { helper, block });
        }
        self.events.extend(arrival.complete.map(Event::Complete));
    }

    fn on_reject(&mut self, wanted: BlockRequest, now: Instant) -> Result<(), Violation> {
        self.idle(now)?;
        self.fast("reject")?;
        if let Some(block) = self.our_block(wanted) {
            let given_back = self.requests.rejected(block);
            self.give_back(given_back);
        }
        Ok(())
    }

    pub(super) fn on_hint(&mut self, now: Instant) -> Result<(), Violation> {
        self.idle(now)?;
        self.fast("suggest or allowed fast")
    }

    /// Serves no hashes yet (BEP 52). Leaf hashes, requested after a bad piece, are refused. Piece layers,
    /// which only a peer without the `.torrent` lacks, get no answer: libtorrent repeats a refused request at
    /// once and without end, and an unanswered one after three seconds.
    fn on_hash_request(&mut self, range: HashRange, now: Instant) -> Result<(), Violation> {
        self.idle(now)?;
        if range.base_layer == 0 {
            Message::HashReject(range).encode(&mut self.out);
        }
        Ok(())
    }
}
