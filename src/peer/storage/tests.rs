//! Tests of the storage: links, occupied names, and files that change during use.

mod adopting;
mod older;

use super::opening::OPEN_FILES;
use super::part::{LONGEST_NAME, PART};
use super::*;
use crate::torrent::Format;
use crate::torrent::create::{Options, create};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

const PIECE_LEN: usize = 1 << 14;

impl Storage {
    /// A download of every file into `dir/NAME.part`, new or continued. Fails if `dir/NAME` exists and is
    /// something else, or if another download uses it.
    fn download(torrent: Arc<Torrent>, dir: &Path) -> Result<Self, StorageError> {
        let all = Selection::all(&torrent);
        Storage::download_files(Disk::default(), torrent, dir, &all, &Before::default(), None)
    }
}

/// Content in one folder, and another folder to download to.
struct Stage {
    from: TempDir,
    to: TempDir,
    torrent: Arc<Torrent>,
}

impl Stage {
    /// A folder `top` with these files, with their lengths in bytes.
    fn folder(files: &[(&str, usize)]) -> Self {
        let from = tempfile::tempdir().unwrap();
        for (name, len) in files {
            let path = from.path().join("top").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, crate::testing::content(*len)).unwrap();
        }
        Stage::of(from)
    }

    fn file(len: usize) -> Self {
        let from = tempfile::tempdir().unwrap();
        fs::write(from.path().join("top"), crate::testing::content(len)).unwrap();
        Stage::of(from)
    }

    fn of(from: TempDir) -> Self {
        let options =
            Options { format: Format::V1, piece_length: Some(PIECE_LEN as u32), ..Options::default() };
        let metainfo = create(&from.path().join("top"), &options, &|_| ()).unwrap();
        let torrent = Arc::new(Torrent::parse(&metainfo).unwrap());
        Stage { from, to: tempfile::tempdir().unwrap(), torrent }
    }

    fn shared(&self) -> Storage {
        Storage::shared(Arc::clone(&self.torrent), self.from.path())
    }

    fn download(&self) -> Result<Storage, StorageError> {
        Storage::download(Arc::clone(&self.torrent), self.to.path())
    }

    fn piece(&self, index: u32) -> Piece {
        self.torrent.geometry().piece(index).unwrap()
    }

    fn data(&self, piece: Piece) -> Vec<u8> {
        let mut data = vec![0; self.torrent.geometry().piece_len(piece) as usize];
        self.shared().read(piece, 0, &mut data).unwrap();
        data
    }

    fn fill(&self, storage: &Storage) {
        for piece in self.torrent.geometry().pieces() {
            storage.write(piece, &self.data(piece)).unwrap();
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn pieces_across_files_are_written_and_read_back() {
    let stage = Stage::folder(&[("a", 10_000), ("b/c", 1), ("b/empty", 0), ("d", 50_000)]);
    let storage = stage.download().unwrap();
    stage.fill(&storage);
    storage.sync().unwrap();
    for piece in stage.torrent.geometry().pieces() {
        let mut data = vec![0; stage.torrent.geometry().piece_len(piece) as usize];
        storage.read(piece, 0, &mut data).unwrap();
        assert_eq!(data, stage.data(piece));
        let mut part = vec![0; data.len().min(100) / 2];
        storage.read(piece, 7, &mut part).unwrap();
        assert_eq!(part, data[7..7 + part.len()]);
    }
    storage.finish().unwrap();
    assert_eq!(names(stage.to.path()), ["top"]);
    assert_eq!(names(&stage.to.path().join("top/b")), ["c", "empty"]);
    assert!(fs::read(stage.to.path().join("top/d")).unwrap() == crate::testing::content(50_000));
}

#[test]
fn more_files_than_may_be_open_at_once() {
    let files: Vec<String> = (0..OPEN_FILES * 2).map(|nth| format!("{nth:04}")).collect();
    let files: Vec<(&str, usize)> = files.iter().map(|name| (name.as_str(), 100)).collect();
    let stage = Stage::folder(&files);
    let storage = stage.download().unwrap();
    stage.fill(&storage);
    assert!(storage.open.read().len() <= OPEN_FILES);
    storage.sync().unwrap();
    storage.finish().unwrap();
    assert_eq!(names(&stage.to.path().join("top")).len(), OPEN_FILES * 2);
}

#[test]
fn what_is_in_the_way_stays_at_the_start_and_at_the_end() {
    let stage = Stage::file(20_000);
    let place = stage.to.path().join("top");
    let storage = stage.download().unwrap();
    stage.fill(&storage);
    fs::write(&place, b"precious").unwrap();
    assert!(matches!(storage.finish(), Err(StorageError::InTheWay(path)) if path == place));
    assert!(matches!(stage.download(), Err(StorageError::InTheWay(path)) if path == place));
    assert_eq!(fs::read(&place).unwrap(), b"precious");
    fs::remove_file(&place).unwrap();
    symlink("nowhere", &place).unwrap();
    assert!(
        matches!(storage.finish(), Err(StorageError::InTheWay(_))),
        "a link that leads nowhere is something too"
    );
    fs::remove_file(&place).unwrap();
    storage.finish().unwrap();
    assert_eq!(fs::metadata(&place).unwrap().len(), 20_000);
}

/// Bug: the end of a `.part` that was too long stayed behind the end of the finished file.
#[test]
fn a_part_that_is_too_long_is_cut() {
    let stage = Stage::file(20_000);
    fs::write(stage.to.path().join("top.part"), vec![9; 99_999]).unwrap();
    let storage = stage.download().unwrap();
    stage.fill(&storage);
    storage.finish().unwrap();
    assert!(fs::read(stage.to.path().join("top")).unwrap() == crate::testing::content(20_000));
}

/// Bug: a read during the renaming of the download made a new, empty `.part`, or failed.
#[test]
fn a_read_finds_the_files_whatever_they_are_called_now() {
    let stage = Stage::folder(&[("a", 20_000), ("b", 20_000)]);
    let storage = stage.download().unwrap();
    stage.fill(&storage);
    let finished = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut data = vec![0; PIECE_LEN];
            for _ in 0..500 {
                storage.open.write().clear(); // stands for that many other files opened since
                storage.read(stage.piece(0), 0, &mut data).unwrap();
            }
            while !finished.load(std::sync::atomic::Ordering::Acquire) {
                storage.open.write().clear();
                storage.read(stage.piece(1), 0, &mut data).unwrap();
            }
            storage.open.write().clear();
            storage.read(stage.piece(1), 0, &mut data).unwrap();
            assert_eq!(data, stage.data(stage.piece(1)));
        });
        storage.finish().unwrap();
        finished.store(true, std::sync::atomic::Ordering::Release);
    });
    assert_eq!(names(stage.to.path()), ["top"]);
}

#[test]
fn reading_makes_nothing_and_says_what_is_missing() {
    let stage = Stage::folder(&[("a", 20_000), ("sub/b", 20_000)]);
    let storage = stage.download().unwrap();
    let mut data = vec![0; PIECE_LEN];
    assert!(matches!(storage.read(stage.piece(0), 0, &mut data), Err(StorageError::Io { what: "open", .. })));
    assert!(names(&stage.to.path().join("top.part")).is_empty());

    let shared = stage.shared();
    let path = stage.from.path().join("top/a");
    File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
    let cut = shared.read(stage.piece(0), 0, &mut data).unwrap_err();
    assert!(matches!(&cut, StorageError::Truncated(cut) if *cut == path));
    assert!(!cut.to_string().contains('\n'));
}

/// Bug: the durable pieces of a `.part` that had been deleted were believed to exist.
#[test]
fn only_what_the_files_are_long_enough_for_is_durable() {
    let stage = Stage::folder(&[("a", PIECE_LEN + 100), ("b", 3 * PIECE_LEN)]);
    let pieces = stage.torrent.geometry().piece_count();
    let storage = stage.download().unwrap();
    let all = Bitfield::full(pieces);
    assert_eq!(storage.within_files(&all).count(), 0);
    stage.fill(&storage);
    assert_eq!(storage.within_files(&all), all);
    let mut some = Bitfield::new(pieces);
    some.set(0);
    some.set(3);
    assert_eq!(storage.within_files(&some), some);
    let second = File::options().write(true).open(stage.to.path().join("top.part/b")).unwrap();
    second.set_len(2 * PIECE_LEN as u64).unwrap();
    assert_eq!(storage.within_files(&all).ranges(), vec![0..3]);
}

#[test]
fn nothing_is_reached_through_a_link() {
    let outside = tempfile::tempdir().unwrap();
    let stage = Stage::folder(&[("a", 20_000), ("sub/b", 20_000)]);
    let storage = stage.download().unwrap();
    symlink(outside.path(), stage.to.path().join("top.part/sub")).unwrap();
    fs::write(outside.path().join("b"), vec![7; 20_000]).unwrap();
    let (last, mut data) = (stage.piece(2), vec![0; 40_000 - 2 * PIECE_LEN]);
    assert!(matches!(storage.write(last, &data), Err(StorageError::Link(_))));
    assert!(matches!(storage.read(last, 0, &mut data), Err(StorageError::Link(_))));
    symlink(outside.path().join("c"), stage.to.path().join("top.part/a")).unwrap();
    assert!(matches!(storage.write(stage.piece(0), &vec![1; PIECE_LEN]), Err(StorageError::Link(_))));
    assert_eq!(names(outside.path()), ["b"]);
    assert_eq!(fs::read(outside.path().join("b")).unwrap(), vec![7; 20_000]);

    for stage in [Stage::file(100), Stage::folder(&[("a", 100)])] {
        symlink(outside.path().join("d"), stage.to.path().join("top.part")).unwrap();
        assert!(matches!(stage.download(), Err(StorageError::Link(_))));
    }
    assert_eq!(names(outside.path()), ["b"]);
}

#[test]
fn shared_content_is_never_written() {
    let stage = Stage::file(20_000);
    let shared = stage.shared();
    assert!(shared.write(stage.piece(0), &vec![0; PIECE_LEN]).is_err());
    shared.finish().unwrap();
    assert!(fs::read(stage.from.path().join("top")).unwrap() == crate::testing::content(20_000));
}

#[test]
fn folders_that_cannot_be_used_are_named_at_the_start() {
    let stage = Stage::file(100);
    let file = stage.from.path().join("top");
    let refused = Storage::download(Arc::clone(&stage.torrent), &file.join("sub"));
    assert!(refused.err().unwrap().to_string().starts_with("cannot create "));
    fs::create_dir(stage.to.path().join("top.part")).unwrap();
    assert!(stage.download().err().unwrap().to_string().starts_with("cannot open "));
}

/// Bug: the changed content was served, and everybody who got it banned the innocent seed.
#[test]
fn shared_content_that_was_changed_is_not_served() {
    let stage = Stage::file(PIECE_LEN);
    let storage = Storage::shared(stage.torrent.clone(), stage.from.path());
    let piece = stage.torrent.geometry().piece(0).unwrap();
    let mut data = vec![0; PIECE_LEN];
    storage.read(piece, 0, &mut data).unwrap();
    let file = OpenOptions::new().write(true).open(stage.from.path().join("top")).unwrap();
    file.write_all_at(b"changed", 0).unwrap();
    // A later clock tick, without waiting for it
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert!(matches!(storage.read(piece, 0, &mut data), Err(StorageError::Changed(_))));
}

/// Bug: two processes that downloaded different torrents of one name wrote into one file. The lock belongs to
/// the open file, so two storages in one process stand for two processes.
#[test]
fn a_second_download_to_the_same_place_is_refused_while_the_first_lives() {
    for stage in [Stage::file(20_000), Stage::folder(&[("a", 20_000)])] {
        let part = stage.to.path().join("top.part");
        let first = stage.download().unwrap();
        assert!(matches!(stage.download(), Err(StorageError::InUse(path)) if path == part));
        drop(first);
        let given_up = stage.download().unwrap();
        given_up.release();
        let second = stage.download().unwrap();
        stage.fill(&second);
        second.finish().unwrap();
        assert!(second.held.lock().is_none());
    }
}

/// Bug: with a name so long that `NAME.part` did not fit, nothing could be downloaded.
#[test]
fn a_name_that_leaves_no_room_for_the_ending_is_shortened_meanwhile() {
    let name = "\u{e9}".repeat(127) + "x"; // 255 bytes, and a character must not be cut in two
    let from = tempfile::tempdir().unwrap();
    let path = from.path().join(&name);
    fs::write(&path, crate::testing::content(20_000)).unwrap();
    let torrent = Arc::new(Torrent::parse(&create(&path, &Options::default(), &|_| ()).unwrap()).unwrap());
    let to = tempfile::tempdir().unwrap();
    let storage = Storage::download(Arc::clone(&torrent), to.path()).unwrap();
    let part = storage.root().file_name().unwrap().to_str().unwrap().to_owned();
    assert!(part.len() <= LONGEST_NAME && part.starts_with("\u{e9}\u{e9}") && part.ends_with(PART), "{part}");
    let shared = Storage::shared(Arc::clone(&torrent), from.path());
    for piece in torrent.geometry().pieces() {
        let mut data = vec![0; torrent.geometry().piece_len(piece) as usize];
        shared.read(piece, 0, &mut data).unwrap();
        storage.write(piece, &data).unwrap();
    }
    storage.finish().unwrap();
    assert_eq!(names(to.path()), [name]);
}

/// Bug: with a name of 250 bytes the place for files that are not wanted had one of 256.
#[test]
fn every_place_of_a_download_has_a_name_that_fits() {
    for len in 240..=255 {
        let from = tempfile::tempdir().unwrap();
        let path = from.path().join("x".repeat(len));
        fs::write(&path, b"content").unwrap();
        let torrent = Torrent::parse(&create(&path, &Options::default(), &|_| ()).unwrap()).unwrap();
        let places = Places::wanted(&torrent, from.path(), &Selection::all(&torrent));
        for place in [Place::Settled, Place::Wanted, Place::Aside] {
            let base = places.base(place);
            assert!(base.file_name().unwrap().len() <= LONGEST_NAME, "{len}: {place:?}");
        }
    }
}

/// Bug: what came later was written to a file without a name, or to a new one with a hole in place
/// of the rest.
#[test]
fn a_part_that_was_removed_or_replaced_is_noticed() {
    for remove in [true, false] {
        let stage = Stage::file(3 * PIECE_LEN);
        let storage = stage.download().unwrap();
        storage.write(stage.piece(0), &stage.data(stage.piece(0))).unwrap();
        storage.sync().unwrap();
        let part = stage.to.path().join("top.part");
        fs::remove_file(&part).unwrap();
        if !remove {
            fs::write(&part, vec![0; 3 * PIECE_LEN]).unwrap();
        }
        storage.write(stage.piece(1), &stage.data(stage.piece(1))).unwrap();
        assert!(matches!(storage.sync(), Err(StorageError::Vanished(path)) if path == part));
        storage.begin_again().unwrap();
        stage.fill(&storage);
        storage.finish().unwrap();
    }

    let stage = Stage::folder(&[("a", PIECE_LEN), ("b", PIECE_LEN)]);
    let storage = stage.download().unwrap();
    storage.write(stage.piece(0), &stage.data(stage.piece(0))).unwrap();
    storage.sync().unwrap();
    storage.check_lengths().unwrap();
    let file = stage.to.path().join("top.part/a");
    fs::remove_file(&file).unwrap();
    assert!(matches!(storage.check_lengths(), Err(StorageError::Vanished(path)) if path == file));
    storage.open.write().clear(); // stands for that many other files opened since
    let again = storage.write(stage.piece(0), &stage.data(stage.piece(0)));
    assert!(
        matches!(again, Err(StorageError::Vanished(path)) if path == file),
        "it is not made anew in silence"
    );
    fs::remove_dir_all(stage.to.path().join("top.part")).unwrap();
    assert!(matches!(storage.sync(), Err(StorageError::Vanished(_))));
}

/// Bug: at the stop the changed file was recorded as durable, and the next start believed it.
#[test]
fn a_download_is_known_as_it_was_when_it_was_complete() {
    let stage = Stage::file(PIECE_LEN);
    let storage = stage.download().unwrap();
    assert!(storage.stamps().is_empty());
    stage.fill(&storage);
    storage.prepare().unwrap();
    let next = storage.known_next();
    storage.take_names().unwrap();
    let stamps = storage.stamps();
    assert_eq!(next, (stamps.clone(), storage.settled()), "as was known before");
    let file = OpenOptions::new().write(true).open(stage.to.path().join("top")).unwrap();
    file.write_all_at(b"changed", 0).unwrap();
    // A later clock tick, without waiting for it
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(storage.stamps(), stamps);
    let mut data = vec![0; PIECE_LEN];
    assert!(matches!(storage.read(stage.piece(0), 0, &mut data), Err(StorageError::Changed(_))));
}

#[test]
fn some_files_are_known_as_they_were_when_they_were_complete() {
    let stage = Stage::folder(&[("a", PIECE_LEN), ("b", PIECE_LEN), ("c", 0)]);
    let files = Selection::of_indexes(&stage.torrent, &[1, 2]).unwrap();
    let (torrent, dir) = (Arc::clone(&stage.torrent), stage.to.path());
    let storage =
        Storage::download_files(Disk::default(), torrent, dir, &files, &Before::default(), None).unwrap();
    stage.fill(&storage);
    storage.prepare().unwrap();
    let next = storage.known_next();
    storage.take_names().unwrap();
    assert_eq!(next, (Vec::new(), storage.settled()));
    assert_eq!(next.1.keys().copied().collect::<Vec<_>>(), [1, 2]);
}

/// Bug: the next piece made the file long again, with a hole in place of other pieces. They were taken for
/// durable, and the finished file had holes.
#[test]
fn a_part_that_was_cut_is_noticed_before_it_grows_again() {
    let stage = Stage::file(3 * PIECE_LEN);
    let storage = stage.download().unwrap();
    storage.write(stage.piece(0), &stage.data(stage.piece(0))).unwrap();
    let part = stage.to.path().join("top.part");
    OpenOptions::new().write(true).open(&part).unwrap().set_len(100).unwrap();
    let again = storage.write(stage.piece(2), &stage.data(stage.piece(2)));
    assert!(matches!(again, Err(StorageError::Vanished(path)) if path == part));
    storage.begin_again().unwrap();
    stage.fill(&storage);
    storage.finish().unwrap();
}

/// A folder that was removed after its files had been synced was told as "cannot sync".
#[test]
fn a_folder_that_is_gone_when_it_is_to_be_synced_has_vanished() {
    let stage = Stage::file(20_000);
    let storage = stage.download().unwrap();
    fs::remove_dir_all(stage.to.path()).unwrap();
    assert!(matches!(storage.sync(), Err(StorageError::Vanished(path)) if path == stage.to.path()));
}
