//! Which names the files of a torrent get on disk. A metainfo file may call them anything: its names are the
//! bytes of a stranger, perhaps of another system and another century. Here they become paths that stay below
//! the torrent's own folder, and that no two files share. Pure: the answer depends on the info dictionary
//! alone, never on a disk or a system, so it is the same after every start and on every machine.
//!
//! Names that are safe already, and differ in more than upper and lower case, are left as they are.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Maximum number of components of a path on disk. Shared content seldom goes deeper than 20.
pub const MAX_PATH_DEPTH: usize = 64;

/// Maximum length of a path below the torrent's folder, in bytes. Linux takes 4,096 for a whole path.
const MAX_PATH_LEN: usize = 2_000;

/// Maximum length of a name in bytes on common file systems.
const MAX_NAME_LEN: usize = 255;

/// Length in bytes of a name that was too long. It leaves room for what is put before or behind a name here.
const CUT_NAME_LEN: usize = 240;

/// Maximum length in bytes of an extension that a shortened name keeps, with its dot.
const MAX_EXTENSION_LEN: usize = 16;

/// Names that open a device on some system, in any folder.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// Why a file or folder has another name on disk than in its torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A name in the path is empty.
    Empty,
    /// A name is `.` or `..`.
    Dots,
    /// A name contains a slash.
    Slash,
    /// A name contains a backslash.
    Backslash,
    /// A name contains a control character, or one that ends a line.
    Control,
    /// A name contains a character that makes what follows read in another direction.
    Direction,
    /// A name is not in UTF-8.
    NotUtf8,
    /// A name is that of a drive.
    Drive,
    /// A name is that of a device.
    Device,
    /// A name, or the whole path, is longer than a file system takes.
    TooLong,
    /// There are too many folders in the path.
    TooDeep,
    /// Another file has that name, or one that differs from it in upper and lower case alone.
    SameName,
    /// A folder has that name.
    LikeFolder,
}

impl Why {
    /// The reason as the end of a sentence about the name.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Empty => "has an empty part",
            Why::Dots => "has `.` or `..` in it",
            Why::Slash => "contains a slash",
            Why::Backslash => "contains a backslash",
            Why::Control => "contains a control character",
            Why::Direction => "contains a character that turns the direction of reading",
            Why::NotUtf8 => "is not in UTF-8",
            Why::Drive => "is a drive",
            Why::Device => "is the name of a device",
            Why::TooLong => "is too long",
            Why::TooDeep => "lies in more than 64 folders",
            Why::SameName => "is like that of another file",
            Why::LikeFolder => "is like that of a folder",
        }
    }
}

/// What a torrent itself calls a file or folder that has another name on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// As in the metainfo, in any encoding. The names of a path are joined with slashes.
    original: Box<[u8]>,
    why: Vec<Why>,
}

impl Renamed {
    /// The name or path in the torrent. What is not UTF-8 in it is replaced. Not safe to use on a disk.
    pub fn original(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.original)
    }

    /// Why it is another one on disk; at least one reason.
    pub fn why(&self) -> &[Why] {
        &self.why
    }

    /// The path with the names of the torrent itself, if that is a path at all, and one that stays below
    /// where it begins. Fit to look whether somebody else made such a file; never written to.
    pub(super) fn literal(&self) -> Option<PathBuf> {
        let names = || self.original.split(|byte| *byte == b'/');
        let is_plain = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
        names().all(is_plain).then(|| names().map(OsStr::from_bytes).collect())
    }
}

/// The names in the path of a file, as the torrent has them: any bytes.
pub(super) type Original<'a> = &'a [&'a [u8]];

/// The path of a file on disk, and what the torrent calls it if that is something else.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub path: Vec<String>,
    pub renamed: Option<Box<Renamed>>,
}

/// The reasons that were found so far, each once.
#[derive(Default)]
struct Reasons(Vec<Why>);

impl Reasons {
    fn add(&mut self, why: Why) {
        if !self.0.contains(&why) {
            self.0.push(why);
        }
    }

    fn of(self, original: impl FnOnce() -> Box<[u8]>) -> Option<Box<Renamed>> {
        (!self.0.is_empty()).then(|| Box::new(Renamed { original: original(), why: self.0 }))
    }
}

/// The name on disk of a torrent's only file, or of the folder that holds its files. A torrent without a name
/// of its own gets `key`, so that two of them do not meet.
pub(super) fn of_torrent(original: &[u8], key: &str) -> (String, Option<Box<Renamed>>) {
    let mut why = Reasons::default();
    let name = match original {
        b"" | b"." | b".." => {
            why.add(if original.is_empty() { Why::Empty } else { Why::Dots });
            key.to_owned()
        }
        _ => safe_name(original, &mut why),
    };
    (name, why.of(|| original.into()))
}

/// The path on disk of each file, given its names in the torrent. Every path is safe and different from all
/// others in more than case, and none leads through a file.
pub(super) fn of_files(originals: &[Original]) -> Vec<Named> {
    let mut named: Vec<Named> = originals.iter().map(|original| safe_path(original)).collect();
    for (file, why, path) in told_apart(&named) {
        named[file].path = path;
        let nothing_yet = || Box::new(Renamed { original: joined(originals[file]), why: Vec::new() });
        named[file].renamed.get_or_insert_with(nothing_yet).why.push(why);
    }
    named
}

/// The folders on disk that a path leads through, whose last part is a file: safe names, as those of a
/// torrent's own folders.
pub fn folders_on_disk(path: &str) -> PathBuf {
    let names: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
    let safe = safe_path(&names).path;
    safe.iter().take(safe.len().saturating_sub(1)).collect()
}

/// What to call the metainfo file of content with this name.
pub fn of_metainfo(content: &[u8]) -> String {
    format!("{}.torrent", shortened(&safe_name(content, &mut Reasons::default())))
}

// ---- one name, one path -----------------------------------------------------------------------------------

fn safe_path(original: Original) -> Named {
    let mut why = Reasons::default();
    let mut names: Vec<&[u8]> = original.iter().copied().filter(|name| !name.is_empty()).collect();
    if names.len() < original.len() || names.is_empty() {
        why.add(Why::Empty);
    }
    if names.len() > MAX_PATH_DEPTH {
        // What is left out are the folders in the middle: the first ones and the last name tell the most.
        names.drain(MAX_PATH_DEPTH - 1..names.len() - 1);
        why.add(Why::TooDeep);
    }
    let mut path: Vec<String> = names.into_iter().map(|name| safe_name(name, &mut why)).collect();
    if path.is_empty() {
        path.push("_".to_owned());
    }
    let mut len: usize = path.iter().map(|name| name.len() + 1).sum();
    while len > MAX_PATH_LEN && path.len() > 1 {
        len -= path.remove(path.len() - 2).len() + 1;
        why.add(Why::TooLong);
    }
    Named { path, renamed: why.of(|| joined(original)) }
}

/// One name that may stand in a path on any disk. Bytes that are not UTF-8 are replaced by U+FFFD, and
/// characters that do not belong into a name by `_`.
fn safe_name(original: &[u8], why: &mut Reasons) -> String {
    let text = String::from_utf8_lossy(original);
    if let Cow::Owned(_) = text {
        why.add(Why::NotUtf8);
    }
    let safe = |c: char| match wrong_in_a_name(c) {
        None => c,
        Some(reason) => {
            why.add(reason);
            '_'
        }
    };
    let mut name = match text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'/' && byte != b'\\')
    {
        true => text.into_owned(), // nearly all names, and there may be 200,000
        false => text.chars().map(safe).collect(),
    };
    if name.len() > MAX_NAME_LEN {
        why.add(Why::TooLong);
        name = shortened(&name);
    }
    if matches!(&*name, "." | "..") {
        why.add(Why::Dots);
        name = "_".to_owned();
    } else if is_drive(&name) {
        why.add(Why::Drive);
        name = name.replace(':', "_");
    } else if is_device(&name) {
        why.add(Why::Device);
        name = format!("_{}", shortened(&name));
    }
    name
}

fn wrong_in_a_name(c: char) -> Option<Why> {
    match c {
        '/' => Some(Why::Slash),
        '\\' => Some(Why::Backslash),
        '\u{2028}' | '\u{2029}' => Some(Why::Control),
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Some(Why::Direction),
        _ if c.is_control() => Some(Why::Control),
        _ => None,
    }
}

fn is_drive(name: &str) -> bool {
    matches!(name.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic())
}

/// `CON`, `nul`, `COM1` and similar names. With an extension (`aux.c`, a file of the Linux kernel) they are
/// ordinary names, except for old versions of Windows.
fn is_device(name: &str) -> bool {
    let stem = name.trim_end_matches([' ', '.']);
    let is_port = |port: &[u8]| port.eq_ignore_ascii_case(b"com") || port.eq_ignore_ascii_case(b"lpt");
    DEVICES.iter().any(|device| stem.eq_ignore_ascii_case(device))
        || matches!(stem.as_bytes(), [port @ .., b'0'..=b'9'] if is_port(port))
}

/// The name, cut at a character if it is longer than [`CUT_NAME_LEN`]. Its extension is kept.
fn shortened(name: &str) -> String {
    let (stem, extension) = split(name);
    let room = CUT_NAME_LEN - extension.len();
    if stem.len() <= room {
        return name.to_owned();
    }
    let end = (0..=room).rev().find(|end| stem.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{extension}", &stem[..end])
}

/// The name without its extension, and the extension with its dot; it is empty if there is none.
fn split(name: &str) -> (&str, &str) {
    let dot = name.rfind('.').filter(|dot| *dot > 0 && name.len() - dot <= MAX_EXTENSION_LEN);
    name.split_at(dot.unwrap_or(name.len()))
}

fn joined(original: Original) -> Box<[u8]> {
    original.join(&b'/').into()
}

// ---- all paths together -----------------------------------------------------------------------------------

/// The files whose path is that of another file or of a folder, with the reason and a new path. A folder
/// keeps its name; of several files the first one does that has this very name in the torrent.
fn told_apart(named: &[Named]) -> Vec<(usize, Why, Vec<String>)> {
    let with_key = |(file, named): (usize, &Named)| (key(&named.path), named.renamed.is_some(), file);
    let mut keys: Vec<(String, bool, usize)> = named.iter().enumerate().map(with_key).collect();
    keys.sort_unstable();
    let is_taken = |key: &str| {
        let next = keys.get(keys.partition_point(|(other, ..)| other.as_str() < key));
        next.is_some_and(|(other, ..)| other == key || is_below(other, key))
    };
    let mut clashing = Vec::new();
    let mut groups = keys.chunk_by(|(a, ..), (b, ..)| a == b).peekable();
    while let Some(group) = groups.next() {
        let (key, ..) = &group[0];
        // Whatever lies below a path comes directly behind it.
        let is_folder = groups.peek().is_some_and(|next| is_below(&next[0].0, key));
        let kept = usize::from(!is_folder);
        let why = if is_folder { Why::LikeFolder } else { Why::SameName };
        clashing.extend(group[kept..].iter().map(|(.., file)| (*file, why)));
    }
    clashing.sort_unstable_by_key(|(file, _)| *file);

    let mut given = HashSet::new();
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut told_apart = Vec::with_capacity(clashing.len());
    for (file, why) in clashing {
        let mut path = named[file].path.clone();
        let name = shortened(&path.pop().unwrap_or_default());
        let (stem, extension) = split(&name);
        // One count for all files of a name, so that a thousand of them do not look a thousand times each.
        let number = numbers.entry(key(&path) + "\0" + &name.to_lowercase()).or_default();
        loop {
            *number += 1;
            path.push(format!("{stem}.{number}{extension}"));
            let key = key(&path);
            if !is_taken(&key) && given.insert(key) {
                break;
            }
            path.pop();
        }
        told_apart.push((file, why, path));
    }
    told_apart
}

/// A path as file systems see it that do not tell upper from lower case. No safe name has the separator.
fn key(path: &[String]) -> String {
    path.join("\0").to_lowercase()
}

/// Whether a path lies below a folder, both given by their keys.
fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('\0'))
}

#[cfg(test)]
mod tests;
