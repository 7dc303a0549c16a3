//! Creates a torrent from a file or a folder (BEP 3, 47, 52). Runs on the caller's thread and those
//! of `readers.rs`. No lock.
//!
//! The info dictionary depends only on names, lengths, content, the executable bits and the options: files
//! are sorted, and it has no date. So two machines with the same folder create the same torrent.
//!
//! In the torrent files have the names that they have on the disk, whatever these are. Who reads it makes
//! safe names of them (`names.rs`); here they are shared under their own (`locate.rs`).
//!
//! Symbolic links inside the folder are left out with a warning, and so is everything else that is neither a
//! file nor a folder. A link might lead outside the folder, few clients create torrents with links, and fewer
//! understand them. `PATH` itself may be a link.

mod draft;

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use draft::Draft;

use super::geometry::Layout;
use super::readers::{Hashes, Job, ReadError, all_cores, hash_pieces};
use super::{Format, Geometry, MAX_FILES, MAX_METAINFO_LEN, MAX_PIECE_LENGTH, MAX_PIECES, Piece, names};

/// Minimum length in bytes of a piece that we create. v2 allows no shorter ones.
pub const MIN_PIECE_LENGTH: u32 = 16 * 1024;

/// Maximum length in bytes of a piece if the user does not choose one.
const MAX_DEFAULT_PIECE_LENGTH: u32 = 16 << 20;

/// Maximum number of pieces wanted; large content has more. Lengths are powers of two, so there are
/// usually at least 1,000.
const WANTED_PIECES: u64 = 2_000;

/// Maximum number of folders that a file may lie in. Each is one more level of nesting in the `file tree` of
/// v2, of which readers of bencoding take 100.
const MAX_DEPTH: usize = 90;

/// What kind of torrent to create.
#[derive(Debug, Clone)]
pub struct Options {
    /// v1, v2 or both.
    pub format: Format,
    /// Length of a piece in bytes: a power of two from 16 KiB to 256 MiB. `None` chooses one by the
    /// size of the content.
    pub piece_length: Option<u32>,
    /// Announce URLs in tiers (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// Whether peers may come only from the trackers (BEP 27).
    pub private: bool,
    /// A comment for people.
    pub comment: Option<String>,
    /// Creation date in seconds since 1970. Not part of the info dictionary.
    pub creation_date: Option<i64>,
    /// Number of threads that hash, at least 1.
    pub threads: usize,
    /// Set to true to abandon the work.
    pub stop: Arc<AtomicBool>,
}

impl Default for Options {
    /// A hybrid torrent without trackers, created with all cores.
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

/// Why no torrent could be created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system reported.
        source: io::Error,
    },
    /// This path is neither a file nor a folder.
    #[error("cannot share {}: it is neither a file nor a folder", .0.display())]
    NeitherFileNorFolder(PathBuf),
    /// This folder has no name, so the torrent would have none.
    #[error("cannot share {}: it has no name; share what is in it", .0.display())]
    NoName(PathBuf),
    /// This path has no content.
    #[error("cannot share {}: there are no bytes in it, and a torrent needs one at least", .0.display())]
    Empty(PathBuf),
    /// There are more than [`MAX_FILES`] files. The limit was reached in this folder.
    #[error("cannot share {}: it holds more than {MAX_FILES} files; share parts of it", .0.display())]
    TooManyFiles(PathBuf),
    /// Folders are nested deeper than other programs read.
    #[error("cannot share {}: folders in it are nested more than {MAX_DEPTH} deep", .0.display())]
    TooDeep(PathBuf),
    /// v2 cannot tell this folder from its only file, because both have the same name.
    #[error(
        "cannot share {}: a v2 torrent cannot tell a folder from its only file if both have the same name; \
        rename one or use --format v1",
        .0.display()
    )]
    FolderLikeFile(PathBuf),
    /// This file changed while it was read.
    #[error("{} changed while it was read; try again when nobody writes to it", .0.display())]
    Changed(PathBuf),
    /// This piece length, in bytes, is not possible.
    #[error("a piece length of {0} bytes is not possible: it must be a power of two from 16 KiB to 256 MiB")]
    PieceLength(u32),
    /// [`Options::stop`] was set.
    #[error("stopped before all of it was read")]
    Stopped,
    /// The torrent would have too many pieces or too large a metainfo file.
    #[error("too many pieces of {piece_length} bytes: choose a greater piece length")]
    TooManyPieces {
        /// Length of a piece in bytes.
        piece_length: u32,
    },
}

/// Creates a torrent from `path` and returns the bytes of its metainfo file. `progress` is called from any of
/// the threads with the number of bytes hashed since the last call.
///
/// # Errors
/// `path` cannot be read, has content that no torrent can hold, or changed meanwhile; or
/// [`Options::stop`] was set.
pub fn create(
    path: &Path,
    options: &Options,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<u8>, CreateError> {
    Source::scan(path)?.create(options, progress)
}

/// The default piece length for `total` bytes of content: a power of two that gives 1,000 to 2,000
/// pieces, from 16 KiB to 16 MiB.
pub fn default_piece_length(total: u64) -> u32 {
    let wanted = total.div_ceil(WANTED_PIECES).min(MAX_DEFAULT_PIECE_LENGTH.into()) as u32;
    wanted.next_power_of_two().max(MIN_PIECE_LENGTH)
}

/// A file or folder from which a torrent is to be created: its list of files, without their content.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    /// As on the disk: any bytes.
    name: Vec<u8>,
    single_file: bool,
    /// Sorted by path.
    files: Vec<SourceFile>,
}

/// Path below the folder; for a single file its name.
#[derive(Debug)]
struct SourceFile {
    /// Below the folder; for a single file its name. As on the disk: any bytes.
    path: Vec<Vec<u8>>,
    len: u64,
    modified: Option<SystemTime>,
    executable: bool,
}

impl Source {
    /// Lists `path` and everything below it.
    ///
    /// # Errors
    /// Something cannot be read, or the whole has no name, or is empty or too large.
    pub fn scan(path: &Path) -> Result<Source, CreateError> {
        let failed = |source| CreateError::Read { path: path.to_owned(), source };
        let metadata = fs::metadata(path).map_err(failed)?;
        let name = match path.file_name() {
            Some(name) => name.to_owned(),
            // `.` and `..` have no name of their own.
            None => fs::canonicalize(path).map_err(failed)?.file_name().unwrap_or_default().to_owned(),
        };
        if name.is_empty() {
            return Err(CreateError::NoName(path.to_owned()));
        }
        let name = name.into_vec();
        let mut files = Vec::new();
        if metadata.is_file() {
            files.push(SourceFile::new(vec![name.clone()], &metadata));
        } else if metadata.is_dir() {
            scan_folder(path, &mut Vec::new(), &mut files)?;
        } else {
            return Err(CreateError::NeitherFileNorFolder(path.to_owned()));
        }
        // BEP 52 orders the pieces by the file tree, and so by the sorted names.
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let source = Source { path: path.to_owned(), name, single_file: metadata.is_file(), files };
        if source.total_len() == 0 { Err(CreateError::Empty(path.to_owned())) } else { Ok(source) }
    }

    /// A name for the metainfo file.
    pub fn metainfo_name(&self) -> String {
        names::of_metainfo(&self.name)
    }

    /// Bytes of all files.
    pub fn total_len(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum()
    }

    /// Reads all content and creates the torrent; see [`create`].
    ///
    /// # Errors
    /// As [`create`].
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

    /// Checks that the file has not changed since it was found. A torrent of a file that is half old
    /// and half new would be useless.
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
            self.path.join(file.path.iter().map(|name| OsStr::from_bytes(name)).collect::<PathBuf>())
        }
    }
}

impl SourceFile {
    fn new(path: Vec<Vec<u8>>, metadata: &Metadata) -> Self {
        SourceFile {
            path,
            len: metadata.len(),
            modified: metadata.modified().ok(),
            executable: metadata.permissions().mode() & 0o111 != 0,
        }
    }
}

/// Adds the files of `folder`, whose path in the torrent is `below`.
fn scan_folder(
    folder: &Path,
    below: &mut Vec<Vec<u8>>,
    files: &mut Vec<SourceFile>,
) -> Result<(), CreateError> {
    if below.len() > MAX_DEPTH {
        return Err(CreateError::TooDeep(folder.to_owned()));
    }
    let failed = |source| CreateError::Read { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        // Metadata of the entry itself: a link is not followed.
        let metadata = entry.metadata().map_err(|source| CreateError::Read { path: path.clone(), source })?;
        if !metadata.is_dir() && !metadata.is_file() {
            let what = if metadata.is_symlink() { "a symbolic link" } else { "not a regular file" };
            log::warn!("left out {}: {what}", path.display());
            continue;
        }
        below.push(entry.file_name().into_vec());
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
