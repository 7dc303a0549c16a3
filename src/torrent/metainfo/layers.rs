//! The `piece layers` of a metainfo file with a v2 part (BEP 52): the merkle roots of the pieces of each file
//! that has several. They stand outside of the info dictionary, and are checked against the roots in it.
//! Pure.

use std::collections::{HashMap, HashSet};

use super::{Result, shown, wrong};
use crate::bencode::Value;
use crate::hash::{self, Hash256};
use crate::torrent::{FileEntry, Geometry, PieceLayers, TorrentError};

/// The layers by the root of their file.
type ByRoot<'a> = HashMap<&'a [u8], &'a [u8]>;

/// Reads and checks the layers of these files. `None` if one is missing, in a torrent that has v1 hashes too:
/// these are enough then.
pub(super) fn read(
    files: &[FileEntry],
    geometry: &Geometry,
    layers: Option<Value<'_>>,
    has_v1: bool,
) -> Result<Option<PieceLayers>> {
    let layers = by_root(layers)?;
    let longer = |file: &&FileEntry| file.len > geometry.piece_length().into();
    let roots = files.iter().filter(longer).filter_map(|file| file.pieces_root.as_ref());
    let needed: HashSet<&[u8]> = roots.map(|root| &root[..]).collect();
    if layers.keys().any(|root| !needed.contains(root)) {
        return Err(TorrentError::Contradiction("one of its piece layers is of none of its files"));
    }
    if has_v1 && needed.iter().any(|root| !layers.contains_key(root)) {
        return Ok(None);
    }
    let roots = piece_roots(files, geometry, &layers)?;
    Ok(Some(PieceLayers { roots }))
}

/// The `piece layers` dictionary. A torrent of small files needs none.
fn by_root(layers: Option<Value<'_>>) -> Result<ByRoot<'_>> {
    match layers {
        Some(layers) => {
            let layers = layers.as_dict().ok_or(wrong("piece layers", "a dictionary"))?;
            Ok(layers.iter().filter_map(|(root, layer)| Some((root, layer.as_bytes()?))).collect())
        }
        None => Ok(HashMap::new()),
    }
}

/// The merkle root of every piece. A file of one piece has that piece's root. A longer file has a piece
/// layer, which is checked here against the root of the file.
fn piece_roots(files: &[FileEntry], geometry: &Geometry, layers: &ByRoot) -> Result<Vec<Hash256>> {
    let mut roots = Vec::with_capacity(geometry.piece_count() as usize);
    for file in files {
        let Some(root) = file.pieces_root.filter(|_| file.len > 0) else { continue };
        if file.len <= geometry.piece_length().into() {
            roots.push(root);
            continue;
        }
        let bad = |why| TorrentError::Layer { path: shown(&file.path.join("/")), why };
        let layer = layers.get(root.as_slice()).ok_or_else(|| bad("is missing"))?;
        let (layer, rest) = layer.as_chunks::<32>();
        if !rest.is_empty() || layer.len() as u64 != file.len.div_ceil(geometry.piece_length().into()) {
            return Err(bad("has the wrong length"));
        }
        if hash::file_root(layer, geometry.piece_length()) != root {
            return Err(bad("does not match the root of the file"));
        }
        roots.extend_from_slice(layer);
    }
    Ok(roots)
}
