//! Clients that count the padding behind a file otherwise than we do. Both are honest.

use crate::common::raw::Raw;
use crate::common::*;
use shoal::peer::engine::AddTorrent;
use shoal::protocol::wire::{BlockRequest, Message};
use shoal::torrent::{BLOCK_LEN, Format, Torrent};
use std::sync::Arc;

const PIECE_LEN: u32 = 4 * BLOCK_LEN;
/// None ends with a block, the second is shorter than one, and the fourth ends with a piece less a byte.
const LENS: [usize; 5] = [100_000, 77, 65_536 + 1, 2 * 65_536 - 1, 40_000];

/// A folder of files that end in the middle of blocks, and its torrent.
struct Folder {
    from: tempfile::TempDir,
    torrent: Arc<Torrent>,
    /// The stream of v1, padding included, and more zeros behind it.
    stream: Vec<u8>,
}

impl Folder {
    fn new(format: Format) -> Self {
        let from = tempfile::tempdir().unwrap();
        std::fs::create_dir(from.path().join("files")).unwrap();
        let mut stream = Vec::new();
        for (nth, len) in LENS.into_iter().enumerate() {
            let bytes = content(nth as u64, len);
            std::fs::write(from.path().join(format!("files/{nth}")), &bytes).unwrap();
            stream.extend(bytes);
            stream.resize(stream.len().next_multiple_of(PIECE_LEN as usize), 0);
        }
        let torrent = torrent_of(&from.path().join("files"), format, Some(PIECE_LEN));
        Folder { from, torrent, stream }
    }

    fn data(&self, wanted: BlockRequest) -> &[u8] {
        let at = (wanted.index * PIECE_LEN + wanted.begin) as usize;
        &self.stream[at..at + wanted.len as usize]
    }
}

/// Bug: libtorrent 2.0 (qBittorrent, Deluge) requests the last block of a v2 file whole. We hung up each time.
#[test]
fn a_peer_that_requests_whole_blocks_at_the_ends_of_v2_files_gets_zeros_behind_them() {
    let folder = Folder::new(Format::V2);
    let seed = peer();
    seed.add(AddTorrent::verified(folder.torrent.clone(), folder.from.path())).unwrap();
    let mut raw = Raw::leech(seed.addr(), &folder.torrent, 1, true);
    let geometry = folder.torrent.geometry();
    for piece in geometry.pieces() {
        for nth in 0..geometry.block_count(piece) {
            let whole = BlockRequest { index: piece.index(), begin: nth * BLOCK_LEN, len: BLOCK_LEN };
            raw.send(Message::Request(whole));
            assert_eq!(raw.block(), Some((whole, folder.data(whole).to_vec())));
        }
        let beyond = BlockRequest { index: piece.index(), begin: PIECE_LEN - 1, len: 2 };
        raw.send(Message::Request(beyond));
        raw.wait_for("it is refused", |message| message == Message::Reject(beyond));
    }
}
