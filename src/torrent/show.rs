//! Describes a torrent, for people (text) and for programs (JSON). Pure.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::Serialize;

use super::units::thousands;
use super::{Renamed, Torrent};
use crate::printable::line;

/// The four lines that every description begins with: name, key, size in bytes and number of pieces.
pub fn headline(torrent: &Torrent) -> String {
    format!(
        "Name : {}\nKey : {}\nsize : {}\nn_parts : {}\n",
        line(torrent.name()),
        torrent.key(),
        thousands(torrent.geometry().total_len()),
        torrent.geometry().piece_count()
    )
}

/// Everything that people may want to know, one fact per line: first `headline`, then the rest.
pub fn describe(torrent: &Torrent) -> String {
    Description(torrent).to_string()
}

struct Description<'a>(&'a Torrent);

impl Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let torrent = self.0;
        f.write_str(&headline(torrent))?;
        if let Some(renamed) = torrent.renamed() {
            writeln!(f, "in the torrent : {}", InTorrent(renamed))?;
        }
        writeln!(f, "format : {}", torrent.format())?;
        if let Some(hash) = torrent.v1_hash() {
            writeln!(f, "v1 info-hash : {hash}")?;
        }
        if let Some(hash) = torrent.v2_hash() {
            writeln!(f, "v2 info-hash : {}", HEXLOWER.encode(&hash))?;
        }
        writeln!(f, "piece length : {}", thousands(torrent.geometry().piece_length().into()))?;
        writeln!(f, "private : {}", if torrent.private() { "yes" } else { "no" })?;
        for (label, text) in [("comment", torrent.comment()), ("created by", torrent.created_by())] {
            if let Some(text) = text {
                writeln!(f, "{label} : {}", line(text))?;
            }
        }
        if let Some(date) = torrent.creation_date() {
            match Timestamp::from_second(date) {
                Ok(date) => writeln!(f, "created : {date}")?,
                Err(_) => writeln!(f, "created : {date} (seconds since 1970)")?,
            }
        }
        for (tier, urls) in torrent.trackers().iter().enumerate() {
            writeln!(f, "trackers {} : {}", tier + 1, line(&urls.join(" ")))?;
        }
        writeln!(f, "files : {}", torrent.files().len())?;
        for (number, file) in (1..).zip(torrent.files()) {
            writeln!(f, "  {number:>5}  {:>15}  {}", thousands(file.len), file.path.join("/"))?;
            if let Some(renamed) = file.renamed.as_deref().filter(|_| !torrent.is_single_file()) {
                writeln!(f, "{:26}in the torrent : {}", "", InTorrent(renamed))?;
            }
        }
        Ok(())
    }
}

/// The name or path of something that has another one on disk, and why.
struct InTorrent<'a>(&'a Renamed);

impl Display for InTorrent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why: Vec<&str> = self.0.why().iter().map(|why| why.as_str()).collect();
        f.write_str("`")?;
        for c in self.0.original().chars() {
            match c {
                '\\' | '\'' | '"' => f.write_char(c)?,
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
        write!(f, "`, which {}", why.join(", "))
    }
}

/// The same as one JSON object. Lengths are in bytes. Names are those on disk; where the torrent has another
/// one, `in_torrent` holds it and the reasons.
pub fn json(torrent: &Torrent) -> String {
    #[derive(Serialize)]
    struct RenamedJson<'a> {
        name: Cow<'a, str>,
        why: Vec<&'static str>,
    }
    #[derive(Serialize)]
    struct FileJson<'a> {
        number: usize,
        path: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        in_torrent: Option<RenamedJson<'a>>,
        size: u64,
        executable: bool,
    }
    #[derive(Serialize)]
    struct TorrentJson<'a> {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        in_torrent: Option<RenamedJson<'a>>,
        key: String,
        size: u64,
        n_parts: u32,
        format: String,
        v1_hash: Option<String>,
        v2_hash: Option<String>,
        piece_length: u32,
        private: bool,
        comment: Option<&'a str>,
        created_by: Option<&'a str>,
        creation_date: Option<i64>,
        single_file: bool,
        trackers: &'a [Vec<String>],
        files: Vec<FileJson<'a>>,
        magnet: String,
    }
    fn in_torrent(renamed: &Renamed) -> RenamedJson<'_> {
        let why = renamed.why().iter().map(|why| why.as_str());
        RenamedJson { name: renamed.original(), why: why.collect() }
    }
    let files = (1..).zip(torrent.files()).map(|(number, file)| FileJson {
        number,
        path: file.path.join("/"),
        in_torrent: file.renamed.as_deref().map(in_torrent),
        size: file.len,
        executable: file.executable,
    });
    let description = TorrentJson {
        name: torrent.name(),
        in_torrent: torrent.renamed().map(in_torrent),
        key: torrent.key(),
        size: torrent.geometry().total_len(),
        n_parts: torrent.geometry().piece_count(),
        format: torrent.format().to_string(),
        v1_hash: torrent.v1_hash().map(|hash| hash.to_string()),
        v2_hash: torrent.v2_hash().map(|hash| HEXLOWER.encode(&hash)),
        piece_length: torrent.geometry().piece_length(),
        private: torrent.private(),
        comment: torrent.comment(),
        created_by: torrent.created_by(),
        creation_date: torrent.creation_date(),
        single_file: torrent.is_single_file(),
        trackers: torrent.trackers(),
        files: files.collect(),
        magnet: torrent.magnet(),
    };
    // Only strings and numbers: JSON can hold all of them.
    serde_json::to_string_pretty(&description).unwrap_or_default()
}
