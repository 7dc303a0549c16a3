//! What lies under a download's final name before the download begins, left there by another program or an
//! earlier run. Looks at each file and says what of it is right. Only reads. Runs on the thread that adds the
//! torrent, and those that hash; no lock.
//!
//! A file is ours if one piece of it is right, and more than zeros: every file that has a hole matches a
//! piece of zeros. Nothing but zeros is nothing, too: clients reserve space that way. Anything else is
//! somebody's file that only has the same name, and nothing is done to it.

use crate::bitfield::Bitfield;
use crate::torrent::verify::{FileState, check_pieces, judge};
use crate::torrent::{Piece, Torrent, all_cores};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Maximum number of bytes that are read at a time to look for one that is not zero.
const AT_ONCE: usize = 256 * 1024;

/// What was found in a file.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// All of it is right.
    Whole,
    /// Its length is right, and so is each piece that can be checked. The others (v1) also hold bytes of a
    /// file that is missing or wrong.
    Unproven {
        /// Whether some of it is right for certain.
        ours: bool,
    },
    /// Some of it is right, or it holds only zeros, or nothing.
    Partly,
    /// Nothing of it is right.
    Foreign,
    /// It was complete, and its user has changed it since.
    Changed,
}

/// What was found in all files.
pub struct Look {
    /// The pieces that are right.
    pub good: Bitfield,
    /// What was found in each file that was looked at, by index.
    pub findings: Vec<(usize, Finding)>,
}

impl Look {
    /// The files are the content of another torrent: nothing of them is ours that is not right as it is.
    pub fn belongs_to_another(&mut self) {
        for (_, finding) in &mut self.findings {
            *finding = match *finding {
                Finding::Unproven { .. } => Finding::Unproven { ours: false },
                Finding::Partly => Finding::Foreign,
                same => same,
            };
        }
    }

    /// Files that were complete, and have another size or time now: what is not right in them was changed by
    /// their user.
    pub fn are_the_user_s(&mut self, was_complete: impl Fn(usize) -> bool) {
        for (_, finding) in self.findings.iter_mut().filter(|(index, _)| was_complete(*index)) {
            *finding = match *finding {
                Finding::Unproven { .. } => Finding::Unproven { ours: false },
                Finding::Partly | Finding::Foreign => Finding::Changed,
                same => same,
            };
        }
    }
}

/// Looks at the files `present`, by index, with their lengths in bytes. The files `known` are right; any
/// other is missing. `path_of` gives a path where each file can be read.
pub fn look(
    torrent: &Torrent,
    path_of: &(dyn Fn(usize) -> PathBuf + Sync),
    present: &[(usize, u64)],
    known: impl Fn(usize) -> bool,
) -> Look {
    let geometry = torrent.geometry();
    let mut looked = Bitfield::new(geometry.piece_count());
    for piece in present.iter().flat_map(|(file, _)| geometry.pieces_of(*file)) {
        looked.set(piece);
    }
    let pieces: Vec<Piece> = geometry.pieces_in(&looked).collect();
    let good = check_pieces(torrent, path_of, &pieces, all_cores(), &|_| ());
    let missing = |file| if known(file) { FileState::Good } else { FileState::Missing };
    let mut states: Vec<FileState> = (0..torrent.files().len()).map(missing).collect();
    for (file, found) in present.iter().copied() {
        states[file] = match torrent.files()[file].len == found {
            true => FileState::Good,
            false => FileState::WrongLength { found },
        };
    }
    judge(torrent, &looked, &good, &mut states);
    let finding = |(file, len): (usize, u64)| {
        let is_ours = || is_partly_right(torrent, file, &path_of(file), &good);
        let finding = match states[file] {
            FileState::Good => Finding::Whole,
            FileState::Unproven { .. } => Finding::Unproven { ours: is_ours() },
            _ if is_ours() || is_blank(&path_of(file), len, torrent.files()[file].len) => Finding::Partly,
            _ => Finding::Foreign,
        };
        (file, finding)
    };
    let findings = present.iter().copied().map(finding).collect();
    Look { good, findings }
}

/// Whether the file holds bytes of a good piece that are not all zero.
fn is_partly_right(torrent: &Torrent, index: usize, path: &Path, good: &Bitfield) -> bool {
    let geometry = torrent.geometry();
    let Ok(file) = fs::File::open(path) else { return false };
    let pieces = geometry.pieces_of(index).filter(|piece| good.has(*piece));
    let spans = pieces.filter_map(|piece| geometry.piece(piece)).flat_map(|piece| {
        let spans = geometry.spans(piece, 0, geometry.piece_len(piece));
        spans.filter(|span| span.file == Some(index))
    });
    let mut spans = spans.map(|span| (span.offset, span.len as u64));
    spans.any(|(offset, len)| is_zeros(&file, offset, len).is_ok_and(|zeros| !zeros))
}

/// Whether the file is no longer than it should be, and nothing was written to it but zeros.
fn is_blank(path: &Path, len: u64, should_be: u64) -> bool {
    len <= should_be && fs::File::open(path).and_then(|file| is_zeros(&file, 0, len)).unwrap_or(false)
}

fn is_zeros(file: &fs::File, mut offset: u64, len: u64) -> io::Result<bool> {
    let (end, mut buffer) = (offset + len, vec![0; AT_ONCE.min(len as usize)]);
    while offset < end {
        let most = (end - offset).min(buffer.len() as u64) as usize;
        file.read_exact_at(&mut buffer[..most], offset)?;
        if buffer[..most].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset += most as u64;
    }
    Ok(true)
}
