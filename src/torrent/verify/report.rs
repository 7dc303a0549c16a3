//! What a check found, as text and as JSON. Pure.

use super::{FileState, Report};
use crate::printable::line;
use crate::torrent::Torrent;
use serde::Serialize;

/// A line for each file that was asked for and is not good, and a line that sums up.
pub fn text(torrent: &Torrent, report: &Report) -> String {
    let mut text = String::new();
    for (file, state) in report.asked() {
        let (file, path) = (&torrent.files()[file], &report.paths[file]);
        let what = match state {
            FileState::Good => continue,
            FileState::Missing => "missing".to_owned(),
            FileState::NotAFile => "not a regular file".to_owned(),
            FileState::WrongLength { found } => format!("{found} bytes long instead of {}", file.len),
            FileState::Damaged { pieces } => format!("damaged, {pieces} of its pieces do not match"),
            FileState::Unproven { pieces } => {
                format!("unproven, {pieces} of its pieces lie partly in a file that is missing or wrong")
            }
            FileState::Unreadable(why) => format!("cannot be read: {why}"),
        };
        text += &format!("{}: {what}\n", path.display());
    }
    let (files, good) = (report.asked.count(), count(report, |state| *state == FileState::Good));
    let unproven = match count(report, |state| matches!(state, FileState::Unproven { .. })) {
        0 => String::new(),
        unproven => format!(", {unproven} unproven"),
    };
    let (name, have, pieces) = (line(torrent.name()), report.have.count(), report.pieces);
    text + &format!("{name}: {good} of {files} files good{unproven}, {have} of {pieces} pieces\n")
}

/// The same as one JSON object, with every file that was asked for. Lengths are in bytes.
pub fn json(torrent: &Torrent, report: &Report) -> String {
    #[derive(Serialize)]
    struct FileJson {
        number: usize,
        path: String,
        size: u64,
        state: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        found: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        n_parts: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    }
    #[derive(Serialize)]
    struct ReportJson<'a> {
        name: &'a str,
        key: String,
        good: bool,
        have: u32,
        n_parts: u32,
        files: Vec<FileJson>,
    }
    let file = |(file, state): (usize, &FileState)| {
        let entry = &torrent.files()[file];
        let (state, found, n_parts, why) = match state {
            FileState::Good => ("good", None, None, None),
            FileState::Missing => ("missing", None, None, None),
            FileState::NotAFile => ("not a file", None, None, None),
            FileState::WrongLength { found } => ("wrong length", Some(*found), None, None),
            FileState::Damaged { pieces } => ("damaged", None, Some(*pieces), None),
            FileState::Unproven { pieces } => ("unproven", None, Some(*pieces), None),
            FileState::Unreadable(why) => ("unreadable", None, None, Some(why.clone())),
        };
        let path = report.paths[file].display().to_string();
        FileJson { number: file + 1, path, size: entry.len, state, found, n_parts, why }
    };
    let report = ReportJson {
        name: torrent.name(),
        key: torrent.key(),
        good: report.is_good(),
        have: report.have.count(),
        n_parts: report.pieces,
        files: report.asked().map(file).collect(),
    };
    // Only strings and numbers: JSON can hold all of them.
    serde_json::to_string_pretty(&report).unwrap_or_default()
}

fn count(report: &Report, is_it: impl Fn(&FileState) -> bool) -> usize {
    report.asked().filter(|(_, state)| is_it(state)).count()
}
