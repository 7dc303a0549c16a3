//! Making a torrent of a file or a folder, with all cores (BEP 3, 47, 52).
//!
//! The info dictionary depends on nothing but names, lengths, bytes, the executable bits and the options: files are sorted,
//! no date is in it. So two machines that hold the same folder make the same torrent.
//!
//! Symbolic links inside the folder are left out, with a warning, and so is whatever is neither file nor folder. A link might
//! lead outside, and torrents with links in them are made by few clients and understood by fewer. `PATH` itself may be a link.

mod draft;

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use draft::Draft;

use super::geometry::Layout;
use super::readers::{Hashes, Job, ReadError, all_cores, hash_pieces};
use super::{
    Format, Geometry, MAX_FILES, MAX_METAINFO_LEN, MAX_PATH_DEPTH, MAX_PIECE_LENGTH, MAX_PIECES, Piece,
    unsafe_name,
};

/// The shortest piece we make, and the shortest that v2 allows, in bytes.
pub const MIN_PIECE_LENGTH: u32 = 16 * 1024;

/// The longest piece that is chosen unless asked for, in bytes.
const MAX_DEFAULT_PIECE_LENGTH: u32 = 16 << 20;

/// The number of pieces not to go beyond if it can be helped. Lengths are powers of two, so there will be 1,000 or more.
const WANTED_PIECES: u64 = 2_000;

/// What kind of torrent to make.
#[derive(Debug, Clone)]
pub struct Options {
    pub format: Format,
    /// Bytes: a power of two from 16 KiB to 64 MiB. `None` chooses by size.
    pub piece_length: Option<u32>,
    /// Announce URLs in tiers (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// Peers are to come from the trackers only (BEP 27).
    pub private: bool,
    pub comment: Option<String>,
    /// Seconds since 1970. Not part of the info dictionary.
    pub creation_date: Option<i64>,
    /// How many threads hash, at least 1.
    pub threads: usize,
    /// Once it is true, the work is given up.
    pub stop: Arc<AtomicBool>,
}

impl Default for Options {
    /// A hybrid torrent without trackers, made with all cores.
    fn default() -> Self {
        Options {
            format: Format::Hybrid,
            piece_length: None,
            trackers: Vec::new(),
            private: false,
            comment: None,
            creation_date: None,
            threads: all_cores(),
            stop: Arc::default(),
        }
    }
}

/// Why no torrent could be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot share {}: it is neither a file nor a folder", .0.display())]
    NeitherFileNorFolder(PathBuf),
    #[error("cannot share {}: its name {why}; rename it first", path.display())]
    Name { path: PathBuf, why: &'static str },
    #[error("cannot share {}: there are no bytes in it, and a torrent needs one at least", .0.display())]
    Empty(PathBuf),
    #[error("cannot share {}: it holds more than {MAX_FILES} files; share parts of it", .0.display())]
    TooManyFiles(PathBuf),
    #[error("cannot share {}: folders in it are nested more than {MAX_PATH_DEPTH} deep", .0.display())]
    TooDeep(PathBuf),
    #[error("cannot share {}: a v2 torrent cannot tell a folder from its only file if both have the same name; rename one or use --format v1", .0.display())]
    FolderLikeFile(PathBuf),
    #[error("{} changed while it was read; try again when nobody writes to it", .0.display())]
    Changed(PathBuf),
    #[error("a piece length of {0} bytes is not possible: it must be a power of two from 16 KiB to 64 MiB")]
    PieceLength(u32),
    #[error("stopped before all of it was read")]
    Stopped,
    #[error("too many pieces of {piece_length} bytes: choose a greater piece length")]
    TooManyPieces { piece_length: u32 },
}

/// Makes a torrent of `path`, and gives the bytes of its metainfo file. `progress` is told, from any of the threads, how
/// many more bytes were hashed.
pub fn create(
    path: &Path,
    options: &Options,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<u8>, CreateError> {
    Source::scan(path)?.create(options, progress)
}

/// The piece length for `total` bytes of content: a power of two that makes 1,000 to 2,000 pieces, 16 KiB to 16 MiB.
pub fn default_piece_length(total: u64) -> u32 {
    let wanted = total.div_ceil(WANTED_PIECES).min(MAX_DEFAULT_PIECE_LENGTH.into()) as u32;
    wanted.next_power_of_two().max(MIN_PIECE_LENGTH)
}

/// A file or folder that is to become a torrent: what is in it, not yet read.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    name: String,
    single_file: bool,
    /// Sorted by path.
    files: Vec<SourceFile>,
}

#[derive(Debug)]
struct SourceFile {
    /// Below the folder; for a single file its name.
    path: Vec<String>,
    len: u64,
    modified: Option<SystemTime>,
    executable: bool,
}

impl Source {
    /// Looks at `path` and everything below it.
    pub fn scan(path: &Path) -> Result<Source, CreateError> {
        let failed = |source| CreateError::Read { path: path.to_owned(), source };
        let metadata = fs::metadata(path).map_err(failed)?;
        let name = match path.file_name() {
            Some(name) => name.to_owned(),
            // `.` and `..` have no name of their own.
            None => fs::canonicalize(path).map_err(failed)?.file_name().unwrap_or_default().to_owned(),
        };
        let name = checked_name(&name, path)?;
        let mut files = Vec::new();
        if metadata.is_file() {
            files.push(SourceFile::new(vec![name.clone()], &metadata));
        } else if metadata.is_dir() {
            scan_folder(path, &mut Vec::new(), &mut files)?;
        } else {
            return Err(CreateError::NeitherFileNorFolder(path.to_owned()));
        }
        // BEP 52 has the pieces in the order of the file tree, which is that of the sorted names.
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let source = Source { path: path.to_owned(), name, single_file: metadata.is_file(), files };
        if source.total_len() == 0 { Err(CreateError::Empty(path.to_owned())) } else { Ok(source) }
    }

    /// What the torrent will be called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of all files.
    pub fn total_len(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum()
    }

    /// Reads everything and makes the torrent; see [`create`].
    pub fn create(&self, options: &Options, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<u8>, CreateError> {
        let ambiguous = !self.single_file && matches!(&*self.files, [only] if only.path == [&*self.name]);
        if options.format.has_v2() && ambiguous {
            return Err(CreateError::FolderLikeFile(self.path.clone()));
        }
        let geometry = self.geometry(options)?;
        let pieces = self.hash(&geometry, options, progress)?;
        for file in &self.files {
            self.check_unchanged(file)?;
        }
        let metainfo = Draft::new(self, options, &geometry, &pieces).metainfo();
        if metainfo.len() > MAX_METAINFO_LEN {
            return Err(CreateError::TooManyPieces { piece_length: geometry.piece_length() });
        }
        Ok(metainfo)
    }

    fn geometry(&self, options: &Options) -> Result<Geometry, CreateError> {
        let piece_length = options.piece_length.unwrap_or_else(|| default_piece_length(self.total_len()));
        if !piece_length.is_power_of_two() || !(MIN_PIECE_LENGTH..=MAX_PIECE_LENGTH).contains(&piece_length) {
            return Err(CreateError::PieceLength(piece_length));
        }
        let too_many = || CreateError::TooManyPieces { piece_length };
        let mut layout = Layout::new(piece_length);
        for file in &self.files {
            if options.format.has_v2() && file.len > 0 {
                layout.pad(layout.to_next_piece()).ok_or_else(too_many)?;
            }
            layout.file(file.len).ok_or_else(too_many)?;
        }
        layout.finish(options.format.has_v2(), MAX_PIECES).ok_or_else(too_many)
    }

    /// The hashes of all pieces, in order.
    fn hash(
        &self,
        geometry: &Geometry,
        options: &Options,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Hashes>, CreateError> {
        let pieces: Vec<Piece> = geometry.pieces().collect();
        let job = Job {
            geometry,
            path_of: &|file| self.path_of(&self.files[file]),
            pieces: &pieces,
            v1: options.format.has_v1(),
            v2: options.format.has_v2(),
            threads: options.threads,
        };
        let progress = |bytes| match options.stop.load(Ordering::Relaxed) {
            true => Err(CreateError::Stopped),
            false => {
                progress(bytes);
                Ok(())
            }
        };
        let mut hashes =
            hash_pieces(job, progress, |_, hashes| hashes.map_err(|error| self.unreadable(error)))?;
        hashes.sort_unstable_by_key(|(piece, _)| *piece);
        Ok(hashes.into_iter().map(|(_, hashes)| hashes).collect())
    }

    fn unreadable(&self, error: ReadError) -> CreateError {
        let path = self.path_of(&self.files[error.file]);
        match error.source.kind() {
            io::ErrorKind::UnexpectedEof => CreateError::Changed(path),
            _ => CreateError::Read { path, source: error.source },
        }
    }

    /// Whether the file is as it was when it was found; a torrent of a file half old and half new would be of no use.
    fn check_unchanged(&self, file: &SourceFile) -> Result<(), CreateError> {
        let path = self.path_of(file);
        match fs::metadata(&path) {
            Ok(now) if now.len() == file.len && now.modified().ok() == file.modified => Ok(()),
            Ok(_) => Err(CreateError::Changed(path)),
            Err(source) => Err(CreateError::Read { path, source }),
        }
    }

    fn path_of(&self, file: &SourceFile) -> PathBuf {
        if self.single_file {
            self.path.clone()
        } else {
            self.path.join(file.path.iter().collect::<PathBuf>())
        }
    }
}

impl SourceFile {
    fn new(path: Vec<String>, metadata: &Metadata) -> Self {
        SourceFile {
            path,
            len: metadata.len(),
            modified: metadata.modified().ok(),
            executable: metadata.permissions().mode() & 0o111 != 0,
        }
    }
}

/// Adds the files of `folder`, which is `below` the root of the torrent.
fn scan_folder(
    folder: &Path,
    below: &mut Vec<String>,
    files: &mut Vec<SourceFile>,
) -> Result<(), CreateError> {
    if below.len() == MAX_PATH_DEPTH {
        return Err(CreateError::TooDeep(folder.to_owned()));
    }
    let failed = |source| CreateError::Read { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        // Of the entry itself: a link is not followed.
        let metadata = entry.metadata().map_err(|source| CreateError::Read { path: path.clone(), source })?;
        if !metadata.is_dir() && !metadata.is_file() {
            let what = if metadata.is_symlink() { "a symbolic link" } else { "not a regular file" };
            log::warn!("left out {}: {what}", path.display());
            continue;
        }
        below.push(checked_name(&entry.file_name(), &path)?);
        if metadata.is_dir() {
            scan_folder(&path, below, files)?;
        } else if files.len() == MAX_FILES {
            return Err(CreateError::TooManyFiles(folder.to_owned()));
        } else {
            files.push(SourceFile::new(below.clone(), &metadata));
        }
        below.pop();
    }
    Ok(())
}

/// A name that everybody who gets the torrent will accept.
fn checked_name(name: &std::ffi::OsStr, path: &Path) -> Result<String, CreateError> {
    let why = match name.to_str() {
        Some(text) => match unsafe_name(text) {
            None => return Ok(text.to_owned()),
            Some(why) => why,
        },
        None => "is not in UTF-8",
    };
    Err(CreateError::Name { path: path.to_owned(), why })
}
