//! A torrent that is known by its hashes alone, as from a magnet link: a type of its own, and not a swarm
//! with holes. It takes the info dictionary and the piece layers as they come, which may be apart (BEP 9,
//! 52), accepts nothing that does not match the hashes, and becomes a [`Torrent`] when all is there. Pure.

use crate::bencode;
use crate::hash::Hash256;
use crate::torrent::{Info, InfoHashes, Magnet, Torrent, TorrentError};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// A torrent whose metainfo is not here yet.
pub struct PendingTorrent {
    hashes: InfoHashes,
    /// From the link. Untrusted: it may be shown, but not used as a path.
    name: Option<String>,
    trackers: Vec<String>,
    info: Option<Info>,
    /// The piece layers that came, by the root of their file. Bounded by the number of files in `info`.
    layers: BTreeMap<Hash256, Vec<u8>>,
}

/// Why a part of the metainfo is not accepted.
#[derive(Debug, Error)]
pub enum PendingError {
    /// The info-hashes are not of this info dictionary: its sender lies.
    #[error("the info dictionary does not match the info-hash")]
    OtherInfo,
    /// The info dictionary is the right one, and not one that we can use.
    #[error(transparent)]
    Unusable(#[from] TorrentError),
    /// No file that still needs a piece layer has this root.
    #[error("a piece layer came that no file needs")]
    UnwantedLayer,
    /// The metainfo is not complete.
    #[error("the metainfo is not complete yet")]
    Incomplete,
}

impl PendingTorrent {
    /// A torrent of which only the hashes are known.
    pub fn new(hashes: InfoHashes) -> Self {
        PendingTorrent { hashes, name: None, trackers: Vec::new(), info: None, layers: BTreeMap::new() }
    }

    /// The torrent of a magnet link; `None` for one without hashes.
    pub fn of_magnet(magnet: &Magnet) -> Option<Self> {
        let pending = PendingTorrent::new(magnet.hashes()?);
        Some(PendingTorrent { name: magnet.name.clone(), trackers: magnet.trackers.clone(), ..pending })
    }

    /// The hashes that handshakes and announces for it carry.
    pub fn hashes(&self) -> &InfoHashes {
        &self.hashes
    }

    /// What to call it until its name is known: the link's name, or the info-hash.
    pub fn label(&self) -> String {
        let known = self.info.as_ref().map(|info| info.name().to_owned());
        known.or_else(|| self.name.clone()).unwrap_or_else(|| self.hashes.key())
    }

    /// Takes the info dictionary.
    ///
    /// # Errors
    /// If the hashes are not of it, or it is not a sound one.
    pub fn take_info(&mut self, bytes: &[u8]) -> Result<(), PendingError> {
        if !self.hashes.are_of(bytes) {
            return Err(PendingError::OtherInfo);
        }
        let info = Info::parse(bytes)?;
        self.hashes = *info.hashes(); // a link of one hash may lead to a hybrid
        self.info = Some(info);
        Ok(())
    }

    /// The roots of the files whose piece layer is missing; none before the info dictionary is here.
    pub fn missing_layers(&self) -> BTreeSet<Hash256> {
        let roots = self.info.iter().flat_map(Info::layered_roots);
        roots.filter(|root| !self.layers.contains_key(root)).collect()
    }

    /// Takes the piece layer of the files with this root: 32 bytes for each piece. It is verified with the
    /// rest.
    ///
    /// # Errors
    /// If no file lacks that layer.
    pub fn take_layer(&mut self, root: Hash256, layer: &[u8]) -> Result<(), PendingError> {
        if !self.missing_layers().contains(&root) {
            return Err(PendingError::UnwantedLayer);
        }
        self.layers.insert(root, layer.to_owned());
        Ok(())
    }

    /// The torrent, once all of its metainfo is here.
    ///
    /// # Errors
    /// If something is missing, or a piece layer does not match the root of its file.
    pub fn complete(&self) -> Result<Torrent, PendingError> {
        let info = self.info.as_ref().ok_or(PendingError::Incomplete)?;
        if !self.missing_layers().is_empty() {
            return Err(PendingError::Incomplete);
        }
        let metainfo = bencode::dict(|dict| {
            if !self.trackers.is_empty() {
                let tiers = self.trackers.iter();
                dict.list("announce-list", |list| {
                    tiers.for_each(|url| list.list(|tier| tier.bytes(url.as_bytes())))
                });
            }
            dict.raw("info", info.bytes());
            if !self.layers.is_empty() {
                dict.dict("piece layers", |layers| {
                    self.layers.iter().for_each(|(root, layer)| layers.bytes(root, layer));
                });
            }
        });
        Ok(Torrent::parse(&metainfo)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::content;
    use crate::torrent::Format;
    use crate::torrent::create::{Options, create};

    /// A folder with a file of five pieces and one of a single piece.
    fn torrent(format: Format) -> Torrent {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("large"), content(5 << 14)).unwrap();
        std::fs::write(path.join("small"), content(100)).unwrap();
        let tracker = vec!["http://10.0.0.1/announce".to_owned()];
        let options =
            Options { format, piece_length: Some(1 << 14), trackers: vec![tracker], ..Options::default() };
        Torrent::parse(&create(&path, &options, &|_| ()).unwrap()).unwrap()
    }

    /// The piece layers that the metainfo file has.
    fn layers(torrent: &Torrent) -> Vec<(Hash256, Vec<u8>)> {
        let metainfo = bencode::parse(torrent.bytes()).unwrap().as_dict().unwrap();
        let layers = metainfo.get("piece layers").and_then(|layers| layers.as_dict());
        let layer = |(root, layer): (&[u8], bencode::Value)| {
            (root.try_into().unwrap(), layer.as_bytes().unwrap().to_owned())
        };
        layers.into_iter().flat_map(|layers| layers.iter()).map(layer).collect()
    }

    #[test]
    fn info_and_layers_that_come_apart_make_the_same_torrent() {
        for format in [Format::V1, Format::V2, Format::Hybrid] {
            let whole = torrent(format);
            let magnet: Magnet = whole.magnet().parse().unwrap();
            let mut pending = PendingTorrent::of_magnet(&magnet).unwrap();
            assert_eq!(pending.label(), "folder");
            assert!(matches!(pending.complete(), Err(PendingError::Incomplete)));
            pending.take_info(whole.info_bytes()).unwrap();
            let expected = layers(&whole);
            assert_eq!(expected.len(), usize::from(format.has_v2()), "only the large file has a layer");
            assert_eq!(pending.missing_layers(), expected.iter().map(|(root, _)| *root).collect());
            for (root, layer) in &expected {
                assert!(matches!(pending.complete(), Err(PendingError::Incomplete)));
                pending.take_layer(*root, layer).unwrap();
            }
            let made = pending.complete().unwrap();
            assert_eq!((made.hashes(), made.trackers()), (whole.hashes(), whole.trackers()));
            assert_eq!(made.files(), whole.files());
            let roots = |torrent: &Torrent| -> Vec<_> {
                torrent.geometry().pieces().map(|piece| torrent.piece_root(piece)).collect()
            };
            assert_eq!(roots(&made), roots(&whole));
        }
    }

    #[test]
    fn lies_are_refused() {
        let (whole, other) = (torrent(Format::V2), torrent(Format::V1));
        let mut pending = PendingTorrent::new(*whole.hashes());
        assert!(matches!(pending.take_info(other.info_bytes()), Err(PendingError::OtherInfo)));
        assert!(matches!(pending.take_layer([7; 32], &[0; 32]), Err(PendingError::UnwantedLayer)));
        pending.take_info(whole.info_bytes()).unwrap();
        assert!(matches!(pending.take_layer([7; 32], &[0; 32]), Err(PendingError::UnwantedLayer)));
        let (root, mut layer) = layers(&whole).remove(0);
        layer[0] ^= 1;
        pending.take_layer(root, &layer).unwrap();
        assert!(matches!(pending.complete(), Err(PendingError::Unusable(TorrentError::Layer { .. }))));
    }

    #[test]
    fn a_link_of_one_hash_may_lead_to_a_hybrid() {
        let whole = torrent(Format::Hybrid);
        let only_v1 = InfoHashes::new(whole.v1_hash(), None).unwrap();
        let mut pending = PendingTorrent::new(only_v1);
        assert_eq!(pending.label(), whole.key());
        pending.take_info(whole.info_bytes()).unwrap();
        assert_eq!(pending.hashes(), whole.hashes());
    }
}
