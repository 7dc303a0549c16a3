//! Which files of a torrent a user wants, as written on a command line. Pure.
//!
//! Numbers are those that `torrent show` prints. A name is the path of a file or folder, or a
//! pattern of either; where a file has another name in the torrent than on disk, either of them.

use super::{Geometry, Renamed, Torrent};
use crate::bitfield::Bitfield;
use glob::{MatchOptions, Pattern};
use std::ops::RangeInclusive;
use thiserror::Error;

/// `*` also matches across folders, so `*.mp4` means every such file. Case matters.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: false,
    require_literal_leading_dot: false,
};

/// Some of a torrent's files, at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection {
    /// One entry for each file.
    wanted: Vec<bool>,
}

/// What is wrong with a choice of files.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SelectionError {
    /// There is no file of this number.
    #[error(
        "there is no file {number}: {name} has {}",
        if *.files == 1 { "1 file".into() } else { format!("{} files", .files) }
    )]
    NoSuchFile {
        /// The number, counted from 1.
        number: u64,
        /// Name of the torrent.
        name: String,
        /// Number of files in the torrent.
        files: usize,
    },
    /// No file has this name, or matches this pattern.
    #[error("no file of {name} is called `{word}`; `torrent show` lists them")]
    NoMatch {
        /// The name or pattern.
        word: String,
        /// Name of the torrent.
        name: String,
    },
    /// The pattern is not valid: the pattern, and why.
    #[error("`{0}` is no pattern of names: {1}")]
    BadPattern(String, &'static str),
    /// No file is chosen.
    #[error("no file is chosen")]
    Nothing,
}

impl Selection {
    /// Every file.
    pub fn all(torrent: &Torrent) -> Self {
        Selection { wanted: vec![true; torrent.files().len()] }
    }

    /// The files with these indexes; `None` if there are none, or there is no such file.
    pub fn of_indexes(torrent: &Torrent, indexes: &[usize]) -> Option<Self> {
        let mut wanted = vec![false; torrent.files().len()];
        for index in indexes {
            *wanted.get_mut(*index)? = true;
        }
        (!indexes.is_empty()).then_some(Selection { wanted })
    }

    /// The indexes of the files; `None` if it is all of them.
    pub fn indexes(&self) -> Option<Vec<usize>> {
        let chosen: Vec<usize> = (0..self.wanted.len()).filter(|index| self.wanted[*index]).collect();
        (chosen.len() < self.wanted.len()).then_some(chosen)
    }

    /// The files that `words` name. Each word is a list with commas: `1,3-5`, `*.mp4`, `extras`,
    /// `extras/two.txt`.
    ///
    /// # Errors
    /// A number, name or pattern names no file, or there is none.
    pub fn parse(torrent: &Torrent, words: &[String]) -> Result<Self, SelectionError> {
        let mut chosen = Selection { wanted: vec![false; torrent.files().len()] };
        let words = words.iter().flat_map(|list| list.split(',')).map(str::trim);
        for word in words.filter(|word| !word.is_empty()) {
            match numbers(word) {
                Some(range) => chosen.add_numbers(torrent, range)?,
                None => chosen.add_names(torrent, word)?,
            }
        }
        if chosen.count() == 0 { Err(SelectionError::Nothing) } else { Ok(chosen) }
    }

    fn add_numbers(&mut self, torrent: &Torrent, range: RangeInclusive<u64>) -> Result<(), SelectionError> {
        let files = self.wanted.len();
        for number in [*range.start(), *range.end()] {
            if number == 0 || number > files as u64 {
                return Err(SelectionError::NoSuchFile { number, name: torrent.name().to_owned(), files });
            }
        }
        let numbered = (1..).zip(&mut self.wanted);
        numbered.filter(|(number, _)| range.contains(number)).for_each(|(_, wanted)| *wanted = true);
        Ok(())
    }

    fn add_names(&mut self, torrent: &Torrent, word: &str) -> Result<(), SelectionError> {
        let word = word.strip_prefix("./").unwrap_or(word).trim_end_matches('/');
        let pattern =
            Pattern::new(word).map_err(|why| SelectionError::BadPattern(word.to_owned(), why.msg))?;
        let mut found = false;
        for (file, wanted) in torrent.files().iter().zip(&mut self.wanted) {
            let path = file.path.join("/");
            let is_below = path.strip_prefix(word).is_some_and(|rest| rest.starts_with('/'));
            let in_torrent = file.renamed.as_deref().map(Renamed::original);
            let names = [Some(path.as_str()), file.path.last().map(String::as_str), in_torrent.as_deref()];
            let matches = |name: &str| name == word || pattern.matches_with(name, MATCHING);
            if is_below || names.into_iter().flatten().any(matches) {
                (*wanted, found) = (true, true);
            }
        }
        let unmatched = || SelectionError::NoMatch { word: word.to_owned(), name: torrent.name().to_owned() };
        if found { Ok(()) } else { Err(unmatched()) }
    }

    /// Whether the file of this index is selected.
    pub fn has(&self, file: usize) -> bool {
        self.wanted.get(file).copied().unwrap_or(false)
    }

    /// Whether every file is selected.
    pub fn is_all(&self) -> bool {
        self.wanted.iter().all(|wanted| *wanted)
    }

    /// Number of files in the selection.
    pub fn count(&self) -> usize {
        self.wanted.iter().filter(|wanted| **wanted).count()
    }

    /// Bytes of the selected files.
    pub fn len(&self, torrent: &Torrent) -> u64 {
        let files = torrent.files().iter().zip(&self.wanted);
        files.filter(|(_, wanted)| **wanted).map(|(file, _)| file.len).sum()
    }

    /// Always false: a selection has at least one file.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The pieces that hold bytes of these files. In v1 they may hold bytes of neighbouring files too.
    pub fn pieces(&self, geometry: &Geometry) -> Bitfield {
        if self.is_all() {
            // Including pieces that hold only padding.
            return Bitfield::full(geometry.piece_count());
        }
        let mut pieces = Bitfield::new(geometry.piece_count());
        let files = (0..self.wanted.len()).filter(|file| self.has(*file));
        files.flat_map(|file| geometry.pieces_of(file)).for_each(|index| {
            pieces.set(index);
        });
        pieces
    }
}

/// Reads `7` or `3-5`. `None` if it is something else.
fn numbers(word: &str) -> Option<RangeInclusive<u64>> {
    let number = |text: &str| text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse().ok())?;
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last): (u64, u64) = (number(first)?, number(last)?);
    Some(first.min(last)..=first.max(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A v1 torrent of files of 1,000 bytes each, in pieces of 16 KiB.
    fn torrent(paths: &[&str]) -> Torrent {
        let list = |path: &str| {
            let parts: Vec<String> = path.split('/').map(|part| format!("{}:{part}", part.len())).collect();
            format!("d6:lengthi1000e4:pathl{}ee", parts.concat())
        };
        let files: Vec<String> = paths.iter().map(|path| list(path)).collect();
        let pieces = (paths.len() * 1000).div_ceil(16384);
        let info = format!(
            "d4:infod5:filesl{}e4:name4:show12:piece lengthi16384e6:pieces{}:{}ee",
            files.concat(),
            pieces * 20,
            "x".repeat(pieces * 20)
        );
        Torrent::parse(info.as_bytes()).unwrap()
    }

    fn chosen(torrent: &Torrent, words: &[&str]) -> Result<Vec<usize>, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let selection = Selection::parse(torrent, &words).map_err(|why| why.to_string())?;
        Ok((0..torrent.files().len()).filter(|file| selection.has(*file)).collect())
    }

    #[test]
    fn files_are_chosen_by_number_name_and_pattern() {
        let show = torrent(&["a.mp4", "b.txt", "extras/c.mp4", "extras/d.txt", "7"]);
        let table: [(&[&str], &[usize]); 12] = [
            (&["1"], &[0]),
            (&["1,3-4"], &[0, 2, 3]),
            (&["4-3", "1"], &[0, 2, 3]),
            (&["*.mp4"], &[0, 2]),
            (&["extras/*.mp4"], &[2]),
            (&["extras"], &[2, 3]),
            (&["extras/", " b.txt ,"], &[1, 2, 3]),
            (&["extras/d.txt"], &[3]),
            (&["d.txt"], &[3]),
            (&["[ab].*"], &[0, 1]),
            (&["./7"], &[4]),
            (&["*"], &[0, 1, 2, 3, 4]),
        ];
        for (words, files) in table {
            assert_eq!(chosen(&show, words).as_deref(), Ok(files), "{words:?}");
        }
    }

    #[test]
    fn a_file_is_chosen_by_its_name_on_disk_or_in_the_torrent() {
        let show = torrent(&["a\\b.mp4", "a_b.mp4", "x/c:"]);
        let table: [(&str, &[usize]); 4] =
            [("a\\b.mp4", &[0]), ("a_b.1.mp4", &[0]), ("a_b.mp4", &[1]), ("x/c*", &[2])];
        for (word, files) in table {
            assert_eq!(chosen(&show, &[word]).as_deref(), Ok(files), "{word}");
        }
    }

    #[test]
    fn a_wrong_choice_gets_one_clear_sentence() {
        let show = torrent(&["a.mp4", "b.txt"]);
        let table = [
            ("3", "there is no file 3: show has 2 files"),
            ("0", "there is no file 0"),
            ("1-99999999999", "there is no file 99999999999"),
            ("*.mkv", "no file of show is called `*.mkv`"),
            ("A.MP4", "no file of show is called `A.MP4`"),
            ("[a", "`[a` is no pattern"),
            ("1-x", "no file of show is called `1-x`"),
            (",", "no file is chosen"),
        ];
        for (word, message) in table {
            let why = chosen(&show, &[word]).unwrap_err();
            assert!(why.starts_with(message) && !why.contains('\n'), "{word}: {why}");
        }
    }

    #[test]
    fn the_pieces_of_a_file_are_those_that_hold_some_of_it() {
        let paths: Vec<String> = (0..40).map(|n| format!("{n}.bin")).collect();
        let show = torrent(&paths.iter().map(String::as_str).collect::<Vec<_>>());
        let pieces = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let selection = Selection::parse(&show, &words).unwrap();
            (selection.pieces(show.geometry()).iter().collect::<Vec<u32>>(), selection.len(&show))
        };
        assert_eq!(pieces(&["1"]), (vec![0], 1000));
        assert_eq!(pieces(&["17"]), (vec![0, 1], 1000), "byte 16,384 is in it");
        assert_eq!(pieces(&["40", "1"]), (vec![0, 2], 2000));
        assert_eq!(Selection::all(&show).pieces(show.geometry()).count(), 3);
    }
}
