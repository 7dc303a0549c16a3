//! The two lists of files that an info dictionary may have: `files` in v1, and `file tree` in v2. Pure.

use super::{MAX_FILES, Result, component, shown, wrong};
use crate::bencode::{Dict, List, Value};
use crate::hash::Hash256;
use crate::torrent::paths::MAX_PATH_DEPTH;
use crate::torrent::{FileEntry, TorrentError};

/// A file as it stands in one of the two lists.
#[derive(Default)]
pub(super) struct Listed {
    pub path: Vec<String>,
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

impl Listed {
    pub(super) fn into_entry(self) -> FileEntry {
        FileEntry { path: self.path, len: self.len, executable: self.executable, pieces_root: self.root }
    }
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
    let (kind, executable) = attributes(file.get("attr"));
    let len = file_len(file.get("length"))?;
    check_link(kind, len)?;
    let path = file.get("path.utf-8").or(file.get("path")).ok_or(TorrentError::Missing("path"))?;
    let kind = if is_bitcomet_pad(path) { Kind::Pad } else { kind };
    let path = match kind {
        // A pad file is never created, so its name does not matter.
        Kind::Pad => Vec::new(),
        _ => v1_path(path.as_list().ok_or(wrong("path", "a list"))?)?,
    };
    Ok(Listed { path, len, kind, executable, root: None })
}

/// BitComet tells pad files by their names alone: `_____padding_file_0_if you see this file, ...`.
fn is_bitcomet_pad(path: Value) -> bool {
    let name = path.as_list().and_then(|names| names.iter().last()).and_then(|name| name.as_bytes());
    name.is_some_and(|name| name.starts_with(b"_____padding_file_"))
}

fn v1_path(names: List) -> Result<Vec<String>> {
    let mut path = Vec::new();
    for name in names.iter() {
        if path.len() == MAX_PATH_DEPTH {
            return Err(too_deep(&path));
        }
        let name = component(name.as_bytes().ok_or(wrong("path", "a list of strings"))?, &path)?;
        path.push(name);
    }
    if path.is_empty() { Err(wrong("path", "a list with a name in it")) } else { Ok(path) }
}

/// Collects the files below one folder of a v2 `file tree`. A file is a dictionary whose only key is "".
fn walk(folder: Dict, path: &mut Vec<String>, files: &mut Vec<Listed>) -> Result<()> {
    if path.len() == MAX_PATH_DEPTH {
        return Err(too_deep(path));
    }
    let mut last: Option<&[u8]> = None;
    for (name, value) in folder.iter() {
        // The order of the tree is the order of the pieces, so it matters here.
        if last.is_some_and(|last| last > name) {
            return Err(wrong("file tree", "sorted"));
        }
        last = Some(name);
        if std::str::from_utf8(name).is_err() {
            return Err(wrong("file tree", "UTF-8"));
        }
        path.push(component(name, path)?);
        let node = value.as_dict().ok_or(wrong("file tree", "made of dictionaries"))?;
        match node.iter().next() {
            Some((b"", file)) if node.iter().count() == 1 => {
                let file = file.as_dict().ok_or(wrong("file tree", "made of dictionaries"))?;
                files.push(limited(files.len(), v2_file(file, path)?)?);
            }
            Some((b"", _)) => return Err(TorrentError::Collision { path: shown(&path.join("/")) }),
            Some(_) => walk(node, path, files)?,
            None => return Err(wrong("file tree", "without empty folders")),
        }
        path.pop();
    }
    Ok(())
}

/// One file of a v2 `file tree`.
fn v2_file(file: Dict, path: &[String]) -> Result<Listed> {
    let (kind, executable) = attributes(file.get("attr"));
    let len = file_len(file.get("length"))?;
    check_link(kind, len)?;
    let root = match file.get("pieces root").map(Value::as_bytes) {
        Some(root) => {
            Some(root.and_then(|root| root.try_into().ok()).ok_or(wrong("pieces root", "32 bytes"))?)
        }
        None if len > 0 => return Err(TorrentError::Missing("pieces root")),
        None => None,
    };
    // In v2 padding is implied and never listed (BEP 52).
    if kind == Kind::Pad {
        return Err(wrong("file tree", "without pad files"));
    }
    Ok(Listed { path: path.to_vec(), len, kind, executable, root })
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

fn check_link(kind: Kind, len: u64) -> Result<()> {
    if kind == Kind::Link && len > 0 { Err(wrong("length", "0 for a symbolic link")) } else { Ok(()) }
}

pub(super) fn file_len(value: Option<Value>) -> Result<u64> {
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

fn too_deep(path: &[String]) -> TorrentError {
    TorrentError::TooDeep { path: shown(&path.join("/")) }
}
