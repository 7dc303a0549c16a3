//! How often each piece of a torrent is held by members that hold a part of it and say which. Pure.

use crate::bitfield::Bitfield;

/// Holders of each piece. Seeds are not among them, they hold everything.
#[derive(Debug, Default)]
pub struct Coverage {
    n_parts: u32,
    /// Members that hold a known part.
    partial: usize,
    /// Holders of each piece among those; empty when there are none, which is the common case by far.
    counts: Vec<u32>,
    /// How many of `counts` are zero.
    bare: u32,
}

impl Coverage {
    pub fn new(n_parts: u32) -> Coverage {
        Coverage { n_parts, ..Coverage::default() }
    }

    pub fn n_parts(&self) -> u32 {
        self.n_parts
    }

    pub fn add(&mut self, bits: &Bitfield) {
        if self.partial == 0 {
            self.counts = vec![0; self.n_parts as usize];
            self.bare = self.n_parts;
        }
        self.partial += 1;
        bits.iter().for_each(|piece| self.gain(piece));
    }

    /// A member that was added holds one piece more.
    pub fn gain(&mut self, piece: u32) {
        if let Some(count) = self.counts.get_mut(piece as usize) {
            self.bare -= u32::from(*count == 0);
            *count += 1;
        }
    }

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

    /// Whether every piece is held by somebody.
    pub fn is_complete(&self) -> bool {
        self.partial > 0 && self.bare == 0
    }

    /// How many pieces nobody holds, and the first of them.
    pub fn lacks(&self) -> (u32, u32) {
        match self.counts.iter().position(|count| *count == 0) {
            _ if self.partial == 0 => (self.n_parts, 0),
            Some(first) => (self.bare, first as u32),
            None => (0, 0),
        }
    }
}
