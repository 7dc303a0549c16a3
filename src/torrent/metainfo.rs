//! Reads metainfo files: v1 (BEP 3), v2 (BEP 52) and hybrid, with tracker tiers (BEP 12), the private flag
//! (BEP 27) and pad files (BEP 47). Pure.
//!
//! Every torrent that passes has these properties: every path is safe, and no two paths collide, whatever the
//! names in the torrent (`names.rs`); no sum overflows; there are as many hashes as pieces; every v2 piece
//! layer matches the root of its file; a hybrid torrent says the same in both parts. Symbolic links (BEP 47,
//! attr `l`) are dropped like pad files: they have no content, and we create no links.

mod layers;
mod listed;

use std::ops::Range;
use std::sync::Arc;

use listed::{Kind, Listed};

use super::geometry::{Geometry, Layout};
use super::names::{self, Named, Renamed};
use super::{FileEntry, Info, InfoHash, InfoHashes, PieceLayers, Torrent, TorrentError};
use crate::bencode::{self, Dict, List, Value};
use crate::hash::{self, LEAF_LEN};

/// Maximum size of a metainfo file in bytes. 3.3 million pieces in v1, or 2 million in v2, fit.
pub const MAX_METAINFO_LEN: usize = 64 << 20;

/// Maximum number of files in a torrent. Each costs some 200 bytes of memory at once, and an open
/// file sooner or later.
pub const MAX_FILES: usize = 200_000;

/// Maximum number of pieces in a torrent. A connection's bitfield then takes at most 512 KiB.
pub const MAX_PIECES: u32 = 4 << 20;

/// Maximum length of a piece in bytes. A piece is held in memory until its hash is known.
pub const MAX_PIECE_LENGTH: u32 = 256 << 20;

/// Maximum of `piece length` in bytes, for content that is shorter: nobody reads more.
const MAX_NOMINAL_PIECE_LENGTH: u32 = 512 << 20;

/// Maximum number of trackers that we keep. A torrent that lists more would make us flood them.
const MAX_TRACKERS: usize = 100;

/// Maximum length in bytes of a comment, and of a URL.
const MAX_TEXT_LEN: usize = 16 * 1024;

type Result<T> = std::result::Result<T, TorrentError>;

/// Reads a complete metainfo file.
pub(super) fn parse(bytes: Vec<u8>) -> Result<Torrent> {
    if bytes.len() > MAX_METAINFO_LEN {
        return Err(too_large());
    }
    // Only the info dictionary has an identity. What stands around it may be odd.
    let root = bencode::parse_leniently(&bytes)?.0.as_dict().ok_or(TorrentError::NotATorrent)?;
    let [info, layers, announce, tiers, comment, created_by, date] = root.pick([
        "info",
        "piece layers",
        "announce",
        "announce-list",
        "comment",
        "created by",
        "creation date",
    ]);
    let info = info.and_then(Value::as_dict).ok_or(TorrentError::NotATorrent)?;
    let parts = InfoParts::read(info.raw(), &bytes)?;
    let layers = parts.layers(layers)?;
    let (trackers, comment, created_by) = (trackers(tiers, announce), text(comment), text(created_by));
    let creation_date = date.and_then(Value::as_int);
    Ok(Torrent { info: parts.into_info(bytes.into()), layers, trackers, comment, created_by, creation_date })
}

/// Reads an info dictionary that came alone.
pub(super) fn parse_info(bytes: &[u8]) -> Result<Info> {
    if bytes.len() > MAX_METAINFO_LEN {
        return Err(too_large());
    }
    Ok(InfoParts::read(bytes, bytes)?.into_info(bytes.into()))
}

fn too_large() -> TorrentError {
    TorrentError::TooLarge { what: "the file", limit: MAX_METAINFO_LEN as u64, unit: "bytes" }
}

/// An [`Info`] without the bytes that it was read from.
struct InfoParts {
    range: Range<usize>,
    hashes: InfoHashes,
    name: String,
    renamed: Option<Box<Renamed>>,
    single_file: bool,
    geometry: Geometry,
    files: Vec<FileEntry>,
    pieces: Option<Range<usize>>,
    private: bool,
}

impl InfoParts {
    /// Reads and checks an info dictionary, strictly. `info` was borrowed from `whole`.
    fn read(info: &[u8], whole: &[u8]) -> Result<Self> {
        let range = range_of(info, whole);
        let in_whole = |error: bencode::Error| bencode::Error { at: range.start + error.at, ..error };
        let dict = bencode::parse(info).map_err(in_whole)?.as_dict().ok_or(TorrentError::NotATorrent)?;
        let fields = Fields::read(dict);
        let content = fields.content()?;
        let v1 = content.pieces.is_some().then(|| InfoHash(hash::sha1(dict.raw())));
        let v2 = content.has_v2.then(|| hash::sha256(dict.raw()));
        let hashes = InfoHashes::new(v1, v2).ok_or(TorrentError::Missing("pieces"))?;
        let (name, renamed) = names::of_torrent(fields.name()?, &hashes.key());
        let named = match content.single_file {
            true => vec![Named { path: vec![name.clone()], renamed: renamed.clone() }],
            false => {
                let originals: Vec<names::Original> = content.files.iter().map(|file| &*file.path).collect();
                names::of_files(&originals)
            }
        };
        let files = content.files.iter().zip(named).map(|(file, named)| FileEntry {
            path: named.path,
            renamed: named.renamed,
            len: file.len,
            executable: file.executable,
            pieces_root: file.root,
        });
        Ok(InfoParts {
            range,
            hashes,
            name,
            renamed,
            single_file: content.single_file,
            files: files.collect(),
            geometry: content.geometry,
            pieces: content.pieces.map(|pieces| range_of(pieces, whole)),
            private: fields.private.and_then(Value::as_int).is_some_and(|private| private != 0),
        })
    }

    /// The piece layers of a torrent with a v2 part, checked. A hybrid torrent can do without.
    fn layers(&self, layers: Option<Value<'_>>) -> Result<Option<PieceLayers>> {
        let format = self.hashes.format();
        if format.has_v2() {
            layers::read(&self.files, &self.geometry, layers, format.has_v1())
        } else {
            Ok(None)
        }
    }

    fn into_info(self, whole: Arc<[u8]>) -> Info {
        let InfoParts { range, hashes, name, renamed, single_file, geometry, files, pieces, private } = self;
        Info { whole, range, hashes, name, renamed, single_file, geometry, files, pieces, private }
    }
}

/// The position of `part`, which was borrowed from `whole`, in `whole`.
fn range_of(part: &[u8], whole: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

/// The entries of the info dictionary that we use, not checked.
struct Fields<'a> {
    name: Option<Value<'a>>,
    /// The name that is in UTF-8 for certain, if there is another.
    name_utf8: Option<Value<'a>>,
    piece_length: Option<Value<'a>>,
    meta_version: Option<Value<'a>>,
    pieces: Option<Value<'a>>,
    length: Option<Value<'a>>,
    /// Attributes of the only file, if there is no list of files.
    attr: Option<Value<'a>>,
    files: Option<Value<'a>>,
    file_tree: Option<Value<'a>>,
    private: Option<Value<'a>>,
}

/// The content of the torrent, checked.
struct Content<'a> {
    single_file: bool,
    geometry: Geometry,
    /// Without pad files and links.
    files: Vec<Listed<'a>>,
    /// The v1 hashes.
    pieces: Option<&'a [u8]>,
    has_v2: bool,
}

impl<'a> Fields<'a> {
    fn read(info: Dict<'a>) -> Self {
        let [name, name_utf8, piece_length, meta_version, pieces] =
            info.pick(["name", "name.utf-8", "piece length", "meta version", "pieces"]);
        let [length, attr, files, file_tree, private] =
            info.pick(["length", "attr", "files", "file tree", "private"]);
        Fields {
            name,
            name_utf8,
            piece_length,
            meta_version,
            pieces,
            length,
            attr,
            files,
            file_tree,
            private,
        }
    }

    fn name(&self) -> Result<&'a [u8]> {
        either([self.name_utf8, self.name], Value::as_bytes, "name", "a string")
    }

    fn content(&self) -> Result<Content<'a>> {
        let has_v2 = match self.meta_version.and_then(Value::as_int) {
            Some(2) => true,
            Some(3..) => return Err(TorrentError::Unsupported("`meta version` is greater than 2")),
            _ if self.file_tree.and_then(Value::as_dict).is_some() => {
                return Err(TorrentError::Contradiction(
                    "it has a `file tree`, and its `meta version` is not 2",
                ));
            }
            _ => false,
        };
        let has_v1 = !has_v2 || (self.pieces.is_some() && (self.length.is_some() || self.files.is_some()));
        let piece_length = self.piece_length(has_v2)?;
        let v1 = if has_v1 { Some(self.v1_files()?) } else { None };
        let v2 = if has_v2 { Some(self.v2_files()?) } else { None };
        let geometry = match (&v1, &v2) {
            (Some(v1), None) => v1_geometry(v1, piece_length, false)?,
            (Some(v1), Some(v2)) => hybrid_geometry(v1, v2, piece_length)?,
            (None, v2) => v2_geometry(v2.iter().flatten(), piece_length)?,
        };
        let pieces = if has_v1 { Some(self.pieces(geometry.piece_count())?) } else { None };
        // The v2 list of a hybrid torrent has the roots.
        let mut files = v2.or(v1).unwrap_or_default();
        files.retain(|file| file.kind == Kind::File);
        if files.len() > MAX_FILES {
            return Err(listed::too_many());
        }
        let single_file = match has_v1 {
            true => self.list_of_files().is_none(),
            false => matches!(files.as_slice(), [only] if *only.path == [self.name()?]),
        };
        Ok(Content { single_file, geometry, files, pieces, has_v2 })
    }

    fn piece_length(&self, has_v2: bool) -> Result<u32> {
        let value = self.piece_length.ok_or(TorrentError::Missing("piece length"))?;
        let length = value.as_int().ok_or(wrong("piece length", "a number"))?;
        let length = u32::try_from(length)
            .ok()
            .filter(|length| (1..=MAX_NOMINAL_PIECE_LENGTH).contains(length))
            .ok_or(wrong("piece length", "between 1 byte and 512 MiB"))?;
        if has_v2 && (!length.is_power_of_two() || (length as usize) < LEAF_LEN) {
            return Err(wrong("piece length", "a power of two of at least 16 KiB, as the torrent is v2"));
        }
        Ok(length)
    }

    /// The v1 hashes, one for each piece.
    fn pieces(&self, piece_count: u32) -> Result<&'a [u8]> {
        let value = self.pieces.ok_or(TorrentError::Missing("pieces"))?;
        let pieces = value.as_bytes().ok_or(wrong("pieces", "a string"))?;
        if pieces.len() % 20 != 0 {
            return Err(wrong("pieces", "a multiple of 20 bytes"));
        }
        if pieces.len() / 20 != piece_count as usize {
            return Err(TorrentError::PieceCount { hashes: pieces.len() / 20, pieces: piece_count });
        }
        Ok(pieces)
    }

    /// The v1 list of files; a single file has none, and may have something else in its place.
    fn list_of_files(&self) -> Option<List<'a>> {
        self.files.and_then(Value::as_list)
    }

    fn v1_files(&self) -> Result<Vec<Listed<'a>>> {
        match (self.list_of_files(), self.length) {
            (Some(files), _) => listed::v1_files(files),
            (None, Some(length)) => Ok(vec![Listed {
                path: vec![self.name()?],
                len: listed::file_len(Kind::File, Some(length))?,
                executable: listed::attributes(self.attr).1,
                ..Listed::default()
            }]),
            (None, None) if self.files.is_some() => Err(wrong("files", "a list")),
            (None, None) => Err(TorrentError::Missing("length` or `files")),
        }
    }

    fn v2_files(&self) -> Result<Vec<Listed<'a>>> {
        let tree = self.file_tree.ok_or(TorrentError::Missing("file tree"))?;
        listed::v2_files(tree.as_dict().ok_or(wrong("file tree", "a dictionary"))?)
    }
}

/// v1: everything is in the stream in the order of the list.
fn v1_geometry(files: &[Listed], piece_length: u32, aligned: bool) -> Result<Geometry> {
    let mut layout = Layout::new(piece_length);
    for file in files {
        match file.kind {
            Kind::File => layout.file(file.len),
            Kind::Pad => layout.pad(file.len),
            Kind::Link => Some(()),
        }
        .ok_or(TorrentError::Overflow)?;
    }
    finish(layout, aligned)
}

/// v2: each file that is not empty starts a piece.
fn v2_geometry<'a>(files: impl Iterator<Item = &'a Listed<'a>>, piece_length: u32) -> Result<Geometry> {
    let mut layout = Layout::new(piece_length);
    for file in files.filter(|file| file.kind == Kind::File) {
        if file.len > 0 {
            layout.pad(layout.to_next_piece()).ok_or(TorrentError::Overflow)?;
        }
        layout.file(file.len).ok_or(TorrentError::Overflow)?;
    }
    finish(layout, true)
}

/// Hybrid: as in the v1 list, which may end in padding. Apart from that both lists must be the same.
fn hybrid_geometry(v1: &[Listed], v2: &[Listed], piece_length: u32) -> Result<Geometry> {
    fn real<'a>(files: &'a [Listed]) -> impl Iterator<Item = (&'a [&'a [u8]], u64)> {
        files.iter().filter(|file| file.kind == Kind::File).map(|file| (file.path.as_slice(), file.len))
    }
    if !real(v1).eq(real(v2)) {
        return Err(TorrentError::Contradiction("its v1 and v2 parts list different files"));
    }
    let geometry = v1_geometry(v1, piece_length, true)?;
    if !geometry.places_files_like(&v2_geometry(v2.iter(), piece_length)?) {
        return Err(TorrentError::Contradiction("its pad files do not align the files to pieces"));
    }
    Ok(geometry)
}

fn finish(layout: Layout, aligned: bool) -> Result<Geometry> {
    let too_many = TorrentError::TooLarge { what: "the content", limit: MAX_PIECES.into(), unit: "pieces" };
    let geometry = layout.finish(aligned, MAX_PIECES).ok_or(too_many)?;
    let longest = TorrentError::TooLarge { what: "a piece", limit: MAX_PIECE_LENGTH.into(), unit: "bytes" };
    match geometry.total_len() {
        0 => Err(TorrentError::Empty),
        _ if geometry.longest_piece() > MAX_PIECE_LENGTH => Err(longest),
        _ => Ok(geometry),
    }
}

/// Announce URLs in tiers (BEP 12); `announce` alone is one tier. Entries that are empty or not
/// text are skipped.
pub(super) fn trackers(tiers: Option<Value>, announce: Option<Value>) -> Vec<Vec<String>> {
    let listed = tiers.and_then(Value::as_list).into_iter().flat_map(List::iter);
    let mut room = MAX_TRACKERS;
    let mut tiers = Vec::new();
    for tier in listed {
        let urls = tier.as_list().into_iter().flat_map(List::iter).filter_map(url);
        let urls: Vec<String> = urls.take(room).collect();
        room -= urls.len();
        if !urls.is_empty() {
            tiers.push(urls);
        }
    }
    if tiers.is_empty() {
        tiers.extend(announce.and_then(url).map(|url| vec![url]));
    }
    tiers
}

fn url(value: Value) -> Option<String> {
    let url = value.as_str()?.trim();
    let good = (1..=MAX_TEXT_LEN).contains(&url.len()) && !url.chars().any(char::is_control);
    good.then(|| url.to_owned())
}

/// A text beside the content. It is for people, so invalid UTF-8 is replaced instead of refused.
fn text(value: Option<Value>) -> Option<String> {
    let bytes = value?.as_bytes().filter(|bytes| bytes.len() <= MAX_TEXT_LEN)?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// The first of two values that is of the right kind: what a program wrote twice, it may have written wrong
/// once.
fn either<'a, T>(
    values: [Option<Value<'a>>; 2],
    of_kind: fn(Value<'a>) -> Option<T>,
    key: &'static str,
    must: &'static str,
) -> Result<T> {
    let found = values.into_iter().flatten().find_map(of_kind);
    let is_there = values.iter().any(Option::is_some);
    found.ok_or(if is_there { wrong(key, must) } else { TorrentError::Missing(key) })
}

fn wrong(key: &'static str, must: &'static str) -> TorrentError {
    TorrentError::Wrong { key, must }
}

/// An untrusted text made safe to show on one line.
fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let mut line: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        line.push('…');
    }
    line
}
