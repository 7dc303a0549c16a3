//! Torrents that libtorrent 2.1 made (`tests/fixtures`), read here: same hashes, same files, same pieces.
//!
//! Their content is made by [`content`] from a seed, so only the metainfo files are kept.

use std::path::Path;

use shoal::torrent::{BLOCK_LEN, Format, Piece, Proof, Torrent};

/// `len` bytes from a linear congruential generator, as when the fixtures were made.
fn content(len: usize, seed: u32) -> Vec<u8> {
    let mut x = seed;
    let mut next = || {
        x = x.wrapping_mul(1_103_515_245).wrapping_add(12_345) & 0x7fff_ffff;
        (x >> 16) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Path, length and seed of the files of `folder`, in order of their names.
const FOLDER: [(&str, usize, u32); 6] = [
    ("a.txt", 5, 2),
    ("big.bin", 150_000, 3),
    ("empty", 0, 4),
    ("sub/deep/q", 16_384, 5),
    ("sub/z", 32_769, 6),
    ("zz", 40_000, 7),
];

fn fixture(name: &str) -> Torrent {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("{name}.torrent"));
    Torrent::read(&path).unwrap()
}

fn content_of(torrent: &Torrent, file: usize) -> Vec<u8> {
    if torrent.is_single_file() {
        return content(100_000, 1);
    }
    let path = torrent.files()[file].path.join("/");
    let (_, len, seed) = FOLDER.iter().find(|(name, ..)| *name == path).unwrap();
    content(*len, *seed)
}

fn piece_data(torrent: &Torrent, contents: &[Vec<u8>], piece: Piece) -> Vec<u8> {
    let geometry = torrent.geometry();
    let mut data = Vec::new();
    for span in geometry.spans(piece, 0, geometry.piece_len(piece)) {
        match span.file {
            Some(file) => data.extend(&contents[file][span.offset as usize..][..span.len]),
            None => data.resize(data.len() + span.len, 0),
        }
    }
    data
}

#[test]
fn hashes_are_those_that_libtorrent_computes() {
    let table = [
        ("single-v1", Format::V1, 4, "133ee747eef87abbfdaccbb1069c3a23d0fd741a"),
        ("single-hybrid", Format::Hybrid, 4, "e5e9514ad868ab53baf1e7cb62bb2e0c01bc49da"),
        ("single-v2", Format::V2, 4, "050a2e33dee9cd7014bdaca807435aa009c218e80c2108b8c4776f77a8117923"),
        ("folder-v1", Format::V1, 8, "fb6306291689becb17342d7635e223b2f3f3a9a6"),
        ("folder-hybrid", Format::Hybrid, 11, "f804b56d1f24d2ed9a7a93825a58d8a37966ed3e"),
        ("folder-v2", Format::V2, 11, "5a61900924a1d793cd703f6a7cde30fd5cb9a4b05483ed0f1e28980ff6735f27"),
    ];
    for (name, format, pieces, key) in table {
        let torrent = fixture(name);
        assert_eq!(torrent.format(), format, "{name}");
        assert_eq!(torrent.geometry().piece_count(), pieces, "{name}");
        assert_eq!(torrent.key(), key, "{name}");
        assert_eq!(torrent.is_single_file(), name.starts_with("single"), "{name}");
        assert_eq!(torrent.trackers().concat(), ["http://127.0.0.1:6969/announce", "udp://127.0.0.1:6969"]);
        assert_eq!(torrent.comment(), Some("made by libtorrent"));
    }
    let short = fixture("folder-hybrid").v2_short().unwrap().to_string();
    assert_eq!(short, "0aa89f1b8686fdb9a410bb56322fbcb28594a5bb");
}

#[test]
fn every_piece_verifies_by_every_proof_and_no_damaged_one_does() {
    for name in ["single-v1", "single-hybrid", "single-v2", "folder-v1", "folder-hybrid", "folder-v2"] {
        let torrent = fixture(name);
        let contents: Vec<_> = (0..torrent.files().len()).map(|file| content_of(&torrent, file)).collect();
        let total: usize = contents.iter().map(Vec::len).sum();
        assert_eq!(torrent.geometry().total_len(), total as u64);
        for piece in torrent.geometry().pieces() {
            let mut data = piece_data(&torrent, &contents, piece);
            for proof in [Proof::V1, Proof::V2] {
                assert!(torrent.verify(piece, &data, proof), "{name} {piece:?} {proof:?}");
                assert!(!torrent.verify(piece, &data[1..], proof));
            }
            data[0] ^= 1;
            assert!(!torrent.verify(piece, &data, Proof::V1));
            assert!(!torrent.verify(piece, &data, Proof::V2));
        }
    }
}

#[test]
fn hybrid_pieces_end_with_their_file_and_are_padded_for_v1() {
    let torrent = fixture("folder-hybrid");
    let geometry = torrent.geometry();
    let first = geometry.piece(0).unwrap();
    assert_eq!(geometry.piece_len(first), 5);
    assert_eq!(geometry.padded_len(first), 32_768);
    assert_eq!(geometry.requested(0, 16_384, BLOCK_LEN).map(|block| block.begin()), Some(16_384));
    let paths: Vec<_> = torrent.files().iter().map(|file| file.path.join("/")).collect();
    assert_eq!(paths, FOLDER.map(|(path, ..)| path));
}
