//! Two sessions on a wire in memory fetch from each other.

use super::*;
use crate::peer::download::picker::{Pick, Picker};

/// One end of a wire: a session, with all that the rest of an engine does for it.
struct End {
    session: Session,
    picker: Picker,
    content: Vec<u8>,
    torrent: Arc<Torrent>,
    finished: Vec<Piece>,
}

const PEER: ConnId = ConnId(1);

impl End {
    fn new(torrent: &Arc<Torrent>, content: &[u8], have: Bitfield, modern: bool, now: Instant) -> Self {
        let mut picker = Picker::new(torrent.geometry().clone(), have.clone(), 1);
        picker.joined(PEER);
        let mut session = session(torrent, &have, modern, now);
        session.unchoke();
        End { session, picker, content: content.to_vec(), torrent: Arc::clone(torrent), finished: Vec::new() }
    }

    /// Takes what the other end sent, and returns what this end sends.
    fn turn(&mut self, mut input: &[u8], now: Instant) -> Vec<u8> {
        while let Some((message, len)) = wire::decode(input, 1 << 20).unwrap() {
            self.session.on_message(message, now).unwrap();
            input = &input[len..];
            while let Some(event) = self.session.next_event() {
                self.on_event(event);
            }
            self.session.requests.assert_invariant();
        }
        self.session.ask(now);
        while self.session.wants_work() {
            match self.picker.pick(PEER, Some(buffer())) {
                Pick::Fetch(partial) => self.session.fetch(partial, now),
                _ => break,
            }
        }
        self.picker.assert_invariant();
        self.session.announce(&std::mem::take(&mut self.finished));
        let mut out = std::mem::take(self.session.output(now));
        let mut run = Vec::new();
        while self.session.has_uploads() {
            self.session.next_uploads(1 << 18, &mut run);
            for block in &run {
                let at = (block.piece().index() * PIECE_LEN + block.begin()) as usize;
                let data = &self.content[at..at + block.len() as usize];
                Message::Piece { index: block.piece().index(), begin: block.begin(), data }.encode(&mut out);
            }
        }
        out
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::HasPieces(bits) => {
                let lacking = self.picker.peer_has_pieces(PEER, bits);
                self.session.set_interested(lacking);
            }
            Event::Has(piece) => {
                let lacking = self.picker.peer_has(PEER, piece);
                self.session.set_interested(lacking || self.session.is_interested());
            }
            Event::Complete(partial) => {
                let piece = partial.piece();
                assert!(self.picker.checking(piece, PEER));
                assert!(self.torrent.verify(piece, partial.data(), crate::torrent::Proof::V1));
                let at = (piece.index() * PIECE_LEN) as usize;
                self.content[at..at + partial.data().len()].copy_from_slice(partial.data());
                self.picker.good(piece);
                self.finished.push(piece);
            }
            Event::GaveBack(partials) => {
                partials.into_iter().for_each(|partial| self.picker.gave_back(partial, PEER));
            }
            _ => {}
        }
    }
}

fn buffer() -> crate::peer::download::memory::Buffer {
    crate::peer::download::memory::Budget::new(usize::MAX).reserve(PIECE_LEN).unwrap()
}

#[test]
fn two_halves_become_two_wholes_on_a_wire_in_memory() {
    let whole = content(50 * PIECE_LEN as usize + 777);
    let torrent = torrent(&whole, PIECE_LEN);
    let pieces = torrent.geometry().piece_count();
    for modern in [true, false] {
        let mut now = Instant::now();
        let mut ends: Vec<End> = (0..2)
            .map(|half| {
                let mut have = Bitfield::new(pieces);
                (0..pieces).filter(|piece| piece % 2 == half).for_each(|piece| assert!(have.set(piece)));
                let mut content = whole.clone();
                for (index, piece) in content.chunks_mut(PIECE_LEN as usize).enumerate() {
                    if !have.has(index as u32) {
                        piece.fill(0);
                    }
                }
                End::new(&torrent, &content, have, modern, now)
            })
            .collect();
        let mut wire = Vec::new();
        for turn in 0..1000 {
            now += Duration::from_millis(10);
            wire = ends[turn % 2].turn(&wire, now);
            if ends.iter().all(|end| end.picker.is_complete()) {
                break;
            }
        }
        assert!(ends.iter().all(|end| end.content == whole), "after 5 s of virtual time");
    }
}
