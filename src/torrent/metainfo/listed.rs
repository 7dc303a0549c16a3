//! The two lists of files that an info dictionary may have: `files` in v1, and `file tree` in v2. Pure.

use super::{MAX_FILES, Result, either, wrong};
use crate::bencode::{Dict, List, Value};
use crate::hash::Hash256;
use crate::torrent::TorrentError;

/// A file as it stands in one of the two lists.
#[derive(Default)]
pub(super) struct Listed<'a> {
    /// Its names in the torrent: any bytes.
    pub path: Vec<&'a [u8]>,
    pub len: u64,
    pub kind: Kind,
    pub executable: bool,
    /// Root of the merkle tree; only in v2, and not of an empty file.
    pub root: Option<Hash256>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    #[default]
    File,
    Pad,
    Link,
}

/// The v1 list.
pub(super) fn v1_files(files: List) -> Result<Vec<Listed>> {
    files.iter().enumerate().map(|(count, file)| limited(count, v1_file(file)?)).collect()
}

/// The files of the v2 tree, in its order.
pub(super) fn v2_files(tree: Dict) -> Result<Vec<Listed>> {
    let mut files = Vec::new();
    walk(tree, &mut Vec::new(), &mut files)?;
    Ok(files)
}

/// One entry of `files` (BEP 3), with its attributes (BEP 47).
fn v1_file(value: Value) -> Result<Listed> {
    let file = value.as_dict().ok_or(wrong("files", "a list of dictionaries"))?;
    let [attr, length, path, path_utf8] = file.pick(["attr", "length", "path", "path.utf-8"]);
    let (kind, executable) = attributes(attr);
    let len = file_len(kind, length)?;
    // A pad file is never created, so its name does not matter, nor whether it has one.
    if kind == Kind::Pad {
        return Ok(Listed { len, kind, ..Listed::default() });
    }
    let path = v1_path(either([path_utf8, path], Value::as_list, "path", "a list")?)?;
    let kind = if is_bitcomet_pad(&path) { Kind::Pad } else { kind };
    Ok(Listed { path, len, kind, executable, root: None })
}

/// BitComet tells pad files by their names alone: `_____padding_file_0_if you see this file, ...`.
fn is_bitcomet_pad(path: &[&[u8]]) -> bool {
    path.last().is_some_and(|name| name.starts_with(b"_____padding_file_"))
}

fn v1_path(names: List<'_>) -> Result<Vec<&[u8]>> {
    let path: Option<Vec<&[u8]>> = names.iter().map(Value::as_bytes).collect();
    match path.ok_or(wrong("path", "a list of strings"))? {
        path if path.is_empty() => Err(wrong("path", "a list with a name in it")),
        path => Ok(path),
    }
}

/// Collects the files below one folder of a v2 `file tree`. What a file is stands in its own dictionary under
/// the key "". A folder without entries is passed over. The depth has the bound of all bencoding.
fn walk<'a>(folder: Dict<'a>, path: &mut Vec<&'a [u8]>, files: &mut Vec<Listed<'a>>) -> Result<()> {
    let mut last: Option<&[u8]> = None;
    for (name, value) in folder.iter() {
        // The order of the tree is the order of the pieces, so it matters here.
        if last.is_some_and(|last| last > name) {
            return Err(wrong("file tree", "sorted"));
        }
        last = Some(name);
        let node = value.as_dict().ok_or(wrong("file tree", "made of dictionaries"))?;
        match name {
            b"" if path.is_empty() => return Err(wrong("file tree", "a folder with names in it")),
            b"" => files.push(limited(files.len(), v2_file(node, path)?)?),
            _ => {
                path.push(name);
                walk(node, path, files)?;
                path.pop();
            }
        }
    }
    Ok(())
}

/// One file of a v2 `file tree`.
fn v2_file<'a>(file: Dict<'a>, path: &[&'a [u8]]) -> Result<Listed<'a>> {
    let [attr, length, root] = file.pick(["attr", "length", "pieces root"]);
    let (kind, executable) = attributes(attr);
    // In v2 padding is implied and never listed (BEP 52).
    if kind == Kind::Pad {
        return Err(wrong("file tree", "without pad files"));
    }
    let len = file_len(kind, length)?;
    let root = if len > 0 { Some(v2_root(root)?) } else { None };
    Ok(Listed { path: path.to_vec(), len, kind, executable, root })
}

fn v2_root(value: Option<Value>) -> Result<Hash256> {
    let root = value.ok_or(TorrentError::Missing("pieces root"))?.as_bytes();
    let root: Hash256 = root.and_then(|root| root.try_into().ok()).ok_or(wrong("pieces root", "32 bytes"))?;
    // No content has this root. Some programs wrote it where they had none.
    if root == [0; 32] { Err(wrong("pieces root", "something else than zeros")) } else { Ok(root) }
}

/// Attributes of BEP 47: `p` is a pad file, `l` a symbolic link, `x` an executable file.
pub(super) fn attributes(attr: Option<Value>) -> (Kind, bool) {
    let attr = attr.and_then(Value::as_bytes).unwrap_or_default();
    let kind = match attr {
        _ if attr.contains(&b'p') => Kind::Pad,
        _ if attr.contains(&b'l') => Kind::Link,
        _ => Kind::File,
    };
    (kind, attr.contains(&b'x'))
}

/// The length of a file of that kind. A symbolic link takes no room, whatever it says.
pub(super) fn file_len(kind: Kind, value: Option<Value>) -> Result<u64> {
    if kind == Kind::Link {
        return Ok(0);
    }
    let len = value.ok_or(TorrentError::Missing("length"))?.as_int();
    len.and_then(|len| u64::try_from(len).ok()).ok_or(wrong("length", "a number that is not negative"))
}

/// Returns `file` if a list may have it as entry number `count`, counted from 0. A hybrid torrent has up to
/// one pad file for each file. The real files are counted once both lists are there.
fn limited(count: usize, file: Listed) -> Result<Listed> {
    if count < 2 * MAX_FILES { Ok(file) } else { Err(too_many()) }
}

pub(super) fn too_many() -> TorrentError {
    TorrentError::TooLarge { what: "the list", limit: MAX_FILES as u64, unit: "files" }
}
