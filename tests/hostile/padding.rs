//! Clients that count the padding behind a file otherwise than we do. Both are honest.

use crate::common::raw::{Raw, hello};
use crate::common::*;
use shoal::bitfield::Bitfield;
use shoal::peer::engine::AddTorrent;
use shoal::protocol::handshake::{HANDSHAKE_LEN, Hello};
use shoal::protocol::wire::{BlockRequest, Message};
use shoal::torrent::{BLOCK_LEN, Format, Torrent};
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

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

    fn path(&self) -> PathBuf {
        self.from.path().join("files")
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

/// Bug: rqbit serves whole v1 blocks and hangs up on any other request, so that a hybrid folder never finished.
#[test]
fn a_hybrid_folder_is_downloaded_from_a_seed_that_serves_whole_v1_blocks_only() {
    let folder = Folder::new(Format::Hybrid);
    let to = tempfile::tempdir().unwrap();
    let leecher = peer();
    let swarm = leecher.add(AddTorrent::download(folder.torrent.clone(), to.path())).unwrap();
    let mut seed = Raw::seed(leecher.addr(), &folder.torrent, 1, true);
    thread::scope(|scope| {
        let served = scope.spawn(|| {
            let geometry = folder.torrent.geometry();
            seed.listen(|socket, message| {
                let Message::Request(wanted) = message else { return ControlFlow::Continue(()) };
                let piece = geometry.piece(wanted.index).unwrap();
                let left = geometry.padded_len(piece) - wanted.begin;
                if !wanted.begin.is_multiple_of(BLOCK_LEN) || wanted.len != left.min(BLOCK_LEN) {
                    return ControlFlow::Break(wanted);
                }
                let (BlockRequest { index, begin, .. }, data) = (wanted, folder.data(wanted));
                let mut bytes = Vec::new();
                Message::Piece { index, begin, data }.encode(&mut bytes);
                let _ = socket.write_all(&bytes);
                ControlFlow::Continue(())
            })
        });
        wait_until("it is complete or shown out", || swarm.is_complete() || served.is_finished());
        drop(leecher);
        assert_eq!(served.join().unwrap(), None, "that is no block of v1");
    });
    assert!(swarm.is_complete());
    assert_same(&folder.path(), &to.path().join("files"));
}

/// Seeds of a hybrid folder, one that speaks v1 and one that upgrades to v2: each is asked as it counts.
#[test]
fn a_seed_of_v1_and_one_of_v2_are_each_asked_as_they_count() {
    let folder = Folder::new(Format::Hybrid);
    for v2 in [false, true] {
        let to = tempfile::tempdir().unwrap();
        let leecher = peer();
        let swarm = leecher.add(AddTorrent::download(folder.torrent.clone(), to.path())).unwrap();
        let mut seed = Raw::connect(leecher.addr());
        seed.send_bytes(&Hello { v2, ..hello(folder.torrent.info_hash(), 1, true) }.encode());
        let mut reply = [0; HANDSHAKE_LEN];
        seed.socket.read_exact(&mut reply).unwrap();
        let expected = folder.torrent.hashes().v2_short().filter(|_| v2);
        let expected = expected.unwrap_or(folder.torrent.info_hash());
        assert_eq!(Hello::decode(&reply).unwrap().info_hash, expected);
        let geometry = folder.torrent.geometry();
        seed.send(Message::Bitfield(Bitfield::full(geometry.piece_count()).as_bytes()));
        seed.send(Message::Unchoke);
        let is_right = |wanted: BlockRequest| {
            let piece = geometry.piece(wanted.index).unwrap();
            let len = if v2 { geometry.piece_len(piece) } else { geometry.padded_len(piece) };
            wanted.len == BLOCK_LEN.min(len - wanted.begin)
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                seed.serve(|wanted| {
                    assert!(is_right(wanted), "{wanted:?}");
                    folder.data(wanted).to_vec()
                })
            });
            wait_until("it is complete", || swarm.is_complete());
            drop(leecher);
        });
        assert_same(&folder.path(), &to.path().join("files"));
    }
}
