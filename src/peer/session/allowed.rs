//! Pieces that pass without an upload slot (BEP 6), so that a newcomer behind full slots has something to
//! trade soon: which of ours we allow the other side, and which of its own it allows us. Pure.
//!
//! What bounds it: few newcomers at a time are allowed any (`upload::newcomers`), only while they have fewer
//! pieces than such a set, each piece three times (`upload_queue`), and within the same rate limits as
//! everything else.

use super::Session;
use super::event::{Event, Violation};
use crate::protocol::allowed_fast::{self, SET_SIZE};
use crate::protocol::wire::Message;
use crate::torrent::{Piece, Proof};
use std::time::Instant;

impl Session {
    /// Whether the other side has so little that it may fetch allowed pieces.
    pub fn is_newcomer(&self) -> bool {
        (self.peer_has.count() as usize) < SET_SIZE
    }

    /// The other side counts as a newcomer until it says what it has. So what it is allowed goes out together
    /// with what we have, and its first requests come back together with its interest, a round trip before
    /// an upload slot could have been given.
    pub(super) fn may_be_newcomer(&mut self) {
        if self.agreement.fast && self.is_newcomer() && self.told.count() > 0 && !self.uploads.allows_some() {
            self.events.push_back(Event::Newcomer);
        }
    }

    /// The other side said what it has. As a rule it does so once. A newcomer for whom there was no place
    /// when the connection began may find one now.
    pub(super) fn on_first_word(&mut self) {
        if !std::mem::replace(&mut self.has_spoken, true) {
            self.may_be_newcomer();
        }
    }

    /// Allows the other side some of the pieces that we told it of. A seed that does not show what it has
    /// (BEP 16) told of none.
    pub fn allow_fast(&mut self) {
        let Some(addr) = self.requests.peer_addr() else { return };
        let hashes = self.torrent.hashes();
        let v2 = hashes.v2_short().filter(|_| self.agreement.proof == Proof::V2);
        let info_hash = v2.unwrap_or(hashes.info_hash());
        for index in allowed_fast::set(addr, info_hash, self.told.len(), SET_SIZE) {
            if let Some(piece) = self.torrent.geometry().piece(index)
                && self.told.has(index)
                && !self.peer_has.has(index)
            {
                self.uploads.allow(piece, self.torrent.geometry().piece_len(piece));
                Message::AllowedFast(index).encode(&mut self.out);
            }
        }
    }

    /// The other side lets us request this piece even while it chokes us.
    pub(super) fn on_allowed_fast(&mut self, index: u32, now: Instant) -> Result<(), Violation> {
        self.on_hint(now)?;
        if let Some(piece) = self.torrent.geometry().piece(index) {
            self.requests.allow(piece);
        }
        Ok(())
    }

    /// While the other side chokes us, the only pieces that are worth looking for: those that it allows, that
    /// it has, and that we lack.
    pub fn only(&self) -> Option<Vec<Piece>> {
        let is_of_use = |piece: &Piece| self.peer_has.has(piece.index()) && !self.told.has(piece.index());
        self.requests.only().map(|pieces| pieces.filter(is_of_use).collect())
    }
}
