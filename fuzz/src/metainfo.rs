//! Metainfo files: a torrent that is accepted is sound. Its hashes are of the original bytes, no path leads
//! out of the download folder, pieces and files cover each other, and its magnet link names the same torrent.

use std::collections::HashSet;
use std::path::{Component, Path};

use shoal::bencode;
use shoal::hash;
use shoal::torrent::{BLOCK_LEN, Magnet, Piece, Proof, Torrent, show};

/// Maximum number of pieces examined from either end: a few bytes of input can make millions.
const MOST_PIECES: u32 = 300;
/// The longest piece for which memory is taken.
const MOST_BYTES: u32 = 1 << 20;

pub fn check(data: &[u8]) {
    let Ok(torrent) = Torrent::parse(data) else { return };
    hashes(&torrent, data);
    paths(&torrent);
    geometry(&torrent);
    words(&torrent);
}

fn hashes(torrent: &Torrent, data: &[u8]) {
    assert_eq!(torrent.bytes(), data);
    let info =
        bencode::parse_leniently(data).unwrap().0.as_dict().unwrap().get("info").unwrap().as_dict().unwrap();
    assert_eq!(torrent.info_bytes(), info.raw());
    assert!(bencode::parse(info.raw()).is_ok(), "what is hashed is read strictly");
    assert!(torrent.v1_hash().is_none_or(|hash| hash.0 == hash::sha1(info.raw())));
    assert!(torrent.v2_hash().is_none_or(|v2| v2 == hash::sha256(info.raw())));
    assert!(torrent.v1_hash().is_some() || torrent.v2_hash().is_some());
    assert_eq!(Some(torrent.info_hash()), torrent.wire_hashes().next());
}

fn paths(torrent: &Torrent) {
    let folder = Path::new("/downloads/here");
    let mut seen = HashSet::new();
    for file in torrent.files() {
        let path = torrent.path_in(folder, file);
        let below = path.strip_prefix(folder).unwrap_or_else(|_| panic!("{} leads out", path.display()));
        assert!(below.components().all(|part| matches!(part, Component::Normal(_))), "{}", path.display());
        let own = if torrent.is_single_file() { 0 } else { 1 };
        assert_eq!(below.components().count(), own + file.path.len());
        assert!(below.starts_with(torrent.name()));
        let folded: Vec<String> = file.path.iter().map(|name| name.to_lowercase()).collect();
        assert!(seen.insert(folded), "a path is there once, in upper or lower case");
        let is_same = file.renamed.as_ref().is_none_or(|renamed| !renamed.why().is_empty());
        assert!(is_same, "a name is changed for a reason");
    }
    for path in &seen {
        assert!((1..path.len()).all(|above| !seen.contains(&path[..above])), "no path leads through a file");
    }
}

fn geometry(torrent: &Torrent) {
    let geometry = torrent.geometry();
    let total: u64 = torrent.files().iter().map(|file| file.len).sum();
    assert_eq!(total, geometry.total_len());
    let count = geometry.piece_count();
    assert!(count > 0 && geometry.piece(count).is_none());
    let last = count.saturating_sub(MOST_PIECES).max(MOST_PIECES)..count;
    for index in (0..count.min(MOST_PIECES)).chain(last) {
        piece(torrent, geometry.piece(index).unwrap());
    }
    for file in 0..torrent.files().len().min(300) {
        let pieces = geometry.pieces_of(file);
        assert_eq!(pieces.is_empty(), torrent.files()[file].len == 0);
        assert!(pieces.end <= count);
    }
}

/// The blocks of a piece follow each other to its end, and so do its stretches of files.
fn piece(torrent: &Torrent, piece: Piece) {
    let geometry = torrent.geometry();
    let (len, padded) = (geometry.piece_len(piece), geometry.padded_len(piece));
    assert!(0 < len && len <= padded && padded <= geometry.piece_length());
    assert!(len <= geometry.longest_piece());
    let mut at = 0;
    for nth in 0..geometry.block_count(piece) {
        let block = geometry.block(piece, nth);
        assert_eq!(block.begin(), at);
        assert_eq!(geometry.block_at(piece, at, block.len()), Some(block));
        assert_eq!(geometry.requested(piece.index(), at, block.len()), Some(block));
        at += BLOCK_LEN.min(len - at);
    }
    assert_eq!(at, len);
    let mut covered = 0;
    for span in geometry.spans(piece, 0, len) {
        let end = span.offset + span.len as u64;
        assert!(span.file.is_none_or(|file| end <= torrent.files()[file].len), "a stretch ends in its file");
        covered += span.len;
    }
    assert_eq!(covered, len as usize);
    if len <= MOST_BYTES && piece.index() == 0 {
        let zeros = vec![0; len as usize];
        for proof in [Proof::V1, Proof::V2] {
            torrent.verify(piece, &zeros, proof);
            assert!(!torrent.verify(piece, &zeros[1..], proof));
        }
    }
}

fn words(torrent: &Torrent) {
    let text = format!("{}{}", show::headline(torrent), show::describe(torrent));
    assert!(!text.is_empty());
    let json: serde_json::Value = serde_json::from_str(&show::json(torrent)).unwrap();
    assert!(json.is_object());
    // A link has room for fewer trackers than a torrent may list.
    let magnet = torrent.magnet();
    if magnet.len() < 60_000 {
        let magnet: Magnet = magnet.parse().unwrap();
        assert_eq!((magnet.v1, magnet.v2), (torrent.v1_hash(), torrent.v2_hash()));
        assert_eq!(magnet.name.as_deref(), Some(torrent.name()));
    }
}
