//! Number of holders of each piece, among the members that hold a known part of a torrent. Pure.

use crate::bitfield::Bitfield;

/// Number of holders of each piece. Seeds are not counted: they hold everything.
#[derive(Debug, Default)]
pub struct Coverage {
    n_parts: u32,
    /// Number of members that hold a known part.
    partial: usize,
    /// Number of holders of each piece among them; empty if there are no such members, which is by far
    /// the usual case.
    counts: Vec<u32>,
    /// Number of zeros in `counts`.
    bare: u32,
}

impl Coverage {
    pub fn new(n_parts: u32) -> Coverage {
        Coverage { n_parts, ..Coverage::default() }
    }

    pub fn n_parts(&self) -> u32 {
        self.n_parts
    }

    /// Adds a member that holds the pieces `bits`.
    pub fn add(&mut self, bits: &Bitfield) {
        if self.partial == 0 {
            self.counts = vec![0; self.n_parts as usize];
            self.bare = self.n_parts;
        }
        self.partial += 1;
        bits.iter().for_each(|piece| self.gain(piece));
    }

    /// Notes that a member that was added holds one piece more.
    pub fn gain(&mut self, piece: u32) {
        if let Some(count) = self.counts.get_mut(piece as usize) {
            self.bare -= u32::from(*count == 0);
            *count += 1;
        }
    }

    /// Removes a member that holds the pieces `bits`.
    pub fn remove(&mut self, bits: &Bitfield) {
        self.partial -= 1;
        if self.partial == 0 {
            self.counts = Vec::new();
            return;
        }
        for piece in bits.iter() {
            if let Some(count) = self.counts.get_mut(piece as usize) {
                *count -= 1;
                self.bare += u32::from(*count == 0);
            }
        }
    }

    /// Whether every piece has a holder.
    pub fn is_complete(&self) -> bool {
        self.partial > 0 && self.bare == 0
    }

    /// Number of pieces without a holder, and the first of them.
    pub fn lacks(&self) -> (u32, u32) {
        match self.counts.iter().position(|count| *count == 0) {
            _ if self.partial == 0 => (self.n_parts, 0),
            Some(first) => (self.bare, first as u32),
            None => (0, 0),
        }
    }
}
