//! Writes the metainfo file of a torrent that is hashed (BEP 3, 52). Pure.

use super::{Hashes, Options, Source, SourceFile};
use crate::bencode::{self, DictWriter, ListWriter};
use crate::hash::{self, Hash256};
use crate::torrent::Geometry;

/// A torrent whose pieces are hashed, ready to be written.
pub(super) struct Draft<'a> {
    source: &'a Source,
    options: &'a Options,
    geometry: &'a Geometry,
    pieces: &'a [Hashes],
    /// The merkle root of each file. v1 torrents and empty files have none.
    roots: Vec<Option<Hash256>>,
}

/// A file with its index, in the order of the torrent.
type Numbered<'a> = (usize, &'a SourceFile);

impl<'a> Draft<'a> {
    pub(super) fn new(
        source: &'a Source,
        options: &'a Options,
        geometry: &'a Geometry,
        pieces: &'a [Hashes],
    ) -> Self {
        let mut draft = Draft { source, options, geometry, pieces, roots: Vec::new() };
        draft.roots = (0..source.files.len()).map(|file| draft.root(file)).collect();
        draft
    }

    /// The bytes of the metainfo file.
    pub(super) fn metainfo(&self) -> Vec<u8> {
        let Options { trackers, comment, creation_date, .. } = self.options;
        let layers = self.layers();
        bencode::dict(|d| {
            if let Some(first) = trackers.iter().flatten().next() {
                d.bytes("announce", first);
            }
            if trackers.iter().flatten().count() > 1 {
                d.list("announce-list", |tiers| {
                    trackers
                        .iter()
                        .for_each(|tier| tiers.list(|urls| tier.iter().for_each(|url| urls.bytes(url))));
                });
            }
            if let Some(comment) = comment {
                d.bytes("comment", comment);
            }
            d.bytes("created by", concat!("shoal/", env!("CARGO_PKG_VERSION")));
            if let Some(date) = creation_date {
                d.int("creation date", *date);
            }
            d.dict("info", |info| self.info(info));
            if self.options.format.has_v2() {
                d.dict("piece layers", |d| {
                    layers.iter().for_each(|(root, layer)| d.bytes(root, layer.as_flattened()))
                });
            }
        })
    }

    fn info(&self, d: &mut DictWriter) {
        let (v1, v2) = (self.options.format.has_v1(), self.options.format.has_v2());
        let single = self.source.files.first().filter(|_| self.source.single_file);
        if v1 && single.is_some_and(|file| file.executable) {
            d.bytes("attr", "x");
        }
        if v2 {
            let files: Vec<Numbered> = self.source.files.iter().enumerate().collect();
            d.dict("file tree", |tree| self.folder(&files, 0, tree));
        }
        match single {
            Some(file) if v1 => d.int("length", file.len as i64),
            None if v1 => d.list("files", |files| self.v1_files(files)),
            _ => {}
        }
        if v2 {
            d.int("meta version", 2);
        }
        d.bytes("name", &self.source.name);
        d.int("piece length", self.geometry.piece_length().into());
        if v1 {
            d.bytes(
                "pieces",
                self.pieces.iter().filter_map(|piece| piece.sha1).flatten().collect::<Vec<u8>>(),
            );
        }
        if self.options.private {
            d.int("private", 1);
        }
    }

    /// The v1 list of files. In a hybrid torrent, pad files fill the space from each file's end to the next
    /// piece (BEP 47). The last file needs none.
    fn v1_files(&self, list: &mut ListWriter) {
        let piece_length = u64::from(self.geometry.piece_length());
        let mut gap = 0;
        for file in &self.source.files {
            if file.len > 0 && gap > 0 {
                list.dict(|d| {
                    d.bytes("attr", "p");
                    d.int("length", gap as i64);
                    d.list("path", |path| {
                        [".pad", &gap.to_string()].into_iter().for_each(|name| path.bytes(name))
                    });
                });
            }
            list.dict(|d| {
                if file.executable {
                    d.bytes("attr", "x");
                }
                d.int("length", file.len as i64);
                d.list("path", |path| file.path.iter().for_each(|name| path.bytes(name)));
            });
            if self.options.format.has_v2() && file.len > 0 {
                gap = file.len.next_multiple_of(piece_length) - file.len;
            }
        }
    }

    /// One folder of the v2 `file tree`. `files` are the files below it, sorted; their paths agree
    /// in the first `depth` names.
    fn folder(&self, files: &[Numbered], depth: usize, tree: &mut DictWriter) {
        for group in files.chunk_by(|(_, a), (_, b)| a.path.get(depth) == b.path.get(depth)) {
            let [(number, file), ..] = *group else { continue };
            let Some(name) = file.path.get(depth) else { continue };
            tree.dict(name, |node| {
                if file.path.len() == depth + 1 {
                    node.dict("", |d| self.v2_file(number, file, d));
                } else {
                    self.folder(group, depth + 1, node);
                }
            });
        }
    }

    fn v2_file(&self, number: usize, file: &SourceFile, d: &mut DictWriter) {
        if file.executable {
            d.bytes("attr", "x");
        }
        d.int("length", file.len as i64);
        if let Some(Some(root)) = self.roots.get(number) {
            d.bytes("pieces root", root);
        }
    }

    /// `piece layers`: the roots of the pieces of each file that has more than one piece, by the root of the
    /// file, sorted. Files with the same content share an entry.
    fn layers(&self) -> Vec<(Hash256, Vec<Hash256>)> {
        let files =
            self.roots.iter().enumerate().filter_map(|(file, root)| Some(((*root)?, self.layer(file))));
        let mut layers: Vec<_> = files.filter(|(_, layer)| layer.len() > 1).collect();
        layers.sort_unstable_by_key(|(root, _)| *root);
        layers.dedup_by_key(|(root, _)| *root);
        layers
    }

    /// A file's merkle root. A file of one piece has the root of that piece.
    fn root(&self, file: usize) -> Option<Hash256> {
        match self.layer(file).as_slice() {
            [] => None,
            [only] => Some(*only),
            layer => Some(hash::file_root(layer, self.geometry.piece_length())),
        }
    }

    /// The merkle roots of a file's pieces; none in v1.
    fn layer(&self, file: usize) -> Vec<Hash256> {
        let range = self.geometry.pieces_of(file);
        let pieces = self.pieces.get(range.start as usize..range.end as usize).unwrap_or_default();
        pieces.iter().filter_map(|piece| piece.root).collect()
    }
}
